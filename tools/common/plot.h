/* plot.h - charts as SVG inside an HTML page: axes with ticks, lines, areas and labelled
 * points.  Colours are the page's: series number i has the class s<i mod PLOT_SERIES>. */
#ifndef TOOLS_PLOT_H
#define TOOLS_PLOT_H

#include <stddef.h>
#include <stdio.h>

enum { PLOT_SERIES = 6 };

enum plot_scale {
    PLOT_LINEAR,
    PLOT_LOG,
    PLOT_NINES, /* shares below 1: 0.9, 0.99 and 0.999 are equally far apart */
};

/* What is beyond min and max is drawn at the edge. */
struct plot_axis {
    const char *label;
    enum plot_scale scale;
    double min, max;
};

struct plot {
    FILE *f;
    struct plot_axis x, y;
};

/* Widen min and max to hold a value.  Start with both NAN. */
void plot_hold(struct plot_axis *a, double v);

/* The frame, ticks and labels.  Before that a margin is put around the values, but not
 * below 0 nor if the scale is PLOT_NINES. */
void plot_open(struct plot *p, FILE *f, struct plot_axis x, struct plot_axis y);
void plot_line(const struct plot *p, size_t series, const double *x, const double *y,
               size_t n);
/* A line, filled down to the axis. */
void plot_area(const struct plot *p, size_t series, const double *x, const double *y,
               size_t n);
/* A point with an error bar and a label. */
void plot_point(const struct plot *p, size_t series, double x, double y, double error,
                const char *label);
void plot_close(const struct plot *p);

#endif
