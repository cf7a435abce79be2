/* page.h - a page of HTML that needs nothing else: its head and its end.  Tables and
 * charts (plot.h) between them have the style for light and dark. */
#ifndef TOOLS_PAGE_H
#define TOOLS_PAGE_H

#include "../../libgguf/libgguf.h"

#include <stdio.h>

/* Up to <body>.  The title and the program's name in the window's title; the heading is
 * the caller's. */
void page_start(FILE *f, const char *title, const char *program);
void page_end(FILE *f);

/* A chart goes between these; charts between <div class="charts"> and </div>. */
void page_figure(FILE *f, const char *title);
void page_figure_end(FILE *f);

/* The square in the colour of series i of a plot. */
void page_key(FILE *f, size_t series);

/* Make a page and write it. */
int page_write(ggf_output *out, void (*make)(const void *user, FILE *f), const void *user,
               ggf_error *err);

#endif
