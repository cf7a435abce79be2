/* table.h - columns of text, each as wide as its widest cell. */
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include <stdbool.h>
#include <stdio.h>

/* Column heads; one that starts with '>' is right-aligned, and so is its column. */
struct table {
    const char *const *heads; /* ends with NULL */
    int columns;
    char **cells;
    size_t count, room;
    bool failed; /* out of memory */
};

void table_start(struct table *t, const char *const *heads);
/* The next cell, left to right, row by row. */
void table_cell(struct table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A line across before the next row, for a sum. */
void table_rule(struct table *t);
/* Print, with bold heads if bold, and free.  Columns without any text are left out, all
 * of them and their heads if there are no rows.  False: out of memory, and nothing was
 * printed. */
bool table_print(struct table *t, FILE *f, bool bold);

#endif
