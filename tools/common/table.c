/* table.c - see table.h. */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2

static const char rule_mark[] = "\n"; /* a row of these is a line across */

void table_start(struct table *t, const char *const *heads)
{
    *t = (struct table){ .heads = heads };
    while (heads[t->columns]) t->columns++;
}

static void add(struct table *t, char *cell)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        char **cells = realloc(t->cells, t->room * sizeof *cells);
        if (!cells) {
            t->failed = true;
            t->room = t->count;
            free(cell);
            return;
        }
        t->cells = cells;
    }
    if (!cell) t->failed = true;
    t->cells[t->count++] = cell;
}

void table_cell(struct table *t, const char *format, ...)
{
    va_list ap;
    char *cell = NULL;
    va_start(ap, format);
    if (vasprintf(&cell, format, ap) < 0) cell = NULL;
    va_end(ap);
    add(t, cell);
}

void table_rule(struct table *t)
{
    for (int i = 0; i < t->columns; i++) add(t, strdup(rule_mark));
}

/* Characters of UTF-8 text: all bytes but the continuing ones. */
static int width(const char *s)
{
    int n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static bool is_right(const struct table *t, int column)
{
    return t->heads[column][0] == '>';
}

static const char *head(const struct table *t, int column)
{
    return t->heads[column] + is_right(t, column);
}

/* The widths of the columns; 0 for one that has no text. */
static int *measure(const struct table *t)
{
    int *widths = calloc((size_t)t->columns, sizeof *widths);
    for (size_t i = 0; widths && i < t->count; i++) {
        const int n = strcmp(t->cells[i], rule_mark) ? width(t->cells[i]) : 0;
        int *w = &widths[i % (size_t)t->columns];
        if (n > *w) *w = n;
    }
    for (int c = 0; widths && c < t->columns; c++)
        if (widths[c] && width(head(t, c)) > widths[c]) widths[c] = width(head(t, c));
    return widths;
}

static void print_row(const struct table *t, FILE *f, const int *widths,
                      char *const *cells)
{
    int owed = 0; /* spaces not printed yet, so that none end a line */
    for (int c = 0; c < t->columns; c++) {
        const char *cell = cells ? cells[c] : head(t, c);
        if (!widths[c]) continue;
        const bool rule = !strcmp(cell, rule_mark);
        const int pad = rule ? 0 : widths[c] - width(cell);
        if (is_right(t, c)) owed += pad;
        if (*cell) {
            fprintf(f, "%*s", owed, "");
            owed = 0;
        }
        if (rule)
            for (int i = 0; i < widths[c]; i++) putc('-', f);
        else fputs(cell, f);
        owed += (is_right(t, c) ? 0 : pad) + GAP;
    }
}

bool table_print(struct table *t, FILE *f, bool bold)
{
    int *widths = t->failed ? NULL : measure(t);
    if (widths && t->count) {
        if (bold) fputs("\033[1m", f);
        print_row(t, f, widths, NULL);
        fputs(bold ? "\033[0m\n" : "\n", f);
        for (size_t i = 0; i + (size_t)t->columns <= t->count; i += (size_t)t->columns) {
            print_row(t, f, widths, t->cells + i);
            putc('\n', f);
        }
    }
    for (size_t i = 0; i < t->count; i++) free(t->cells[i]);
    free(t->cells);
    free(widths);
    return widths != NULL;
}
