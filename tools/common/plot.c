/* plot.c - see plot.h. */
#include "plot.h"

#include "out.h"

#include <math.h>
#include <stdbool.h>

/* The drawing in units of the viewBox, and the frame inside it. */
enum { WIDTH = 640, HEIGHT = 320, LEFT = 70, RIGHT = 624, TOP = 12, BOTTOM = 268 };

/* ==== Scales ============================================================== */

static double transform(enum plot_scale scale, double v)
{
    if (scale == PLOT_LOG) return log10(v);
    return scale == PLOT_NINES ? -log10(1 - v) : v;
}

static double inverse(enum plot_scale scale, double t)
{
    if (scale == PLOT_LOG) return pow(10, t);
    return scale == PLOT_NINES ? 1 - pow(10, -t) : t;
}

/* Between 0 at min and 1 at max. */
static double fraction(const struct plot_axis *a, double v)
{
    if (!(v > a->min)) return 0;
    if (!(v < a->max)) return 1;
    const double low = transform(a->scale, a->min), high = transform(a->scale, a->max);
    return (transform(a->scale, v) - low) / (high - low);
}

static double across(const struct plot *p, double x)
{
    return LEFT + fraction(&p->x, x) * (RIGHT - LEFT);
}

static double down(const struct plot *p, double y)
{
    return BOTTOM - fraction(&p->y, y) * (BOTTOM - TOP);
}

void plot_hold(struct plot_axis *a, double v)
{
    if (!isfinite(v) || (a->scale == PLOT_LOG && v <= 0)) return;
    if (!(v >= a->min)) a->min = v;
    if (!(v <= a->max)) a->max = v;
}

/* A margin of 4 %; something to show where there is but one value, or none. */
static void widen(struct plot_axis *a)
{
    if (!isfinite(a->min)) a->min = a->max = 1;
    if (a->scale == PLOT_NINES) return;
    const double low = transform(a->scale, a->min), high = transform(a->scale, a->max);
    const double least = a->scale == PLOT_LOG ? 0.1 : 1e-6 + 0.02 * fabs(high);
    const double margin = fmax(0.04 * (high - low), high > low ? 0 : least);
    if (a->min != 0) a->min = inverse(a->scale, low - margin);
    a->max = inverse(a->scale, high + margin);
}

/* ==== Ticks =============================================================== */

static bool inside(const struct plot_axis *a, double v)
{
    return v >= a->min && v <= a->max;
}

static void tick(const struct plot *p, bool is_x, double v, const char *text)
{
    const double at = is_x ? across(p, v) : down(p, v);
    if (!inside(is_x ? &p->x : &p->y, v)) return;
    if (is_x)
        fprintf(p->f,
                "<path class=\"grid\" d=\"M%.1f %dV%d\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
                at, TOP, BOTTOM, at, BOTTOM + 16, text);
    else
        fprintf(p->f,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
                LEFT, at, RIGHT, LEFT - 6, at + 4, text);
}

static void number_tick(const struct plot *p, bool is_x, double v)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", v);
    tick(p, is_x, v, text);
}

/* Steps of 1, 2 or 5 times a power of ten, six at most. */
static void linear_ticks(const struct plot *p, bool is_x)
{
    const struct plot_axis *a = is_x ? &p->x : &p->y;
    const double rough = (a->max - a->min) / 6, unit = pow(10, floor(log10(rough)));
    const double n = rough / unit, step = unit * (n <= 1   ? 1
                                                  : n <= 2 ? 2
                                                  : n <= 5 ? 5
                                                           : 10);
    const double first = ceil(a->min / step);
    for (int i = 0; i < 8; i++) number_tick(p, is_x, (first + i) * step);
}

/* Powers of ten; 2 and 5 times them too where there are few. */
static void log_ticks(const struct plot *p, bool is_x)
{
    static const double factors[] = { 1, 2, 5 };
    const struct plot_axis *a = is_x ? &p->x : &p->y;
    const int low = (int)floor(log10(a->min)), high = (int)floor(log10(a->max));
    const int n = high - low < 3 ? 3 : 1;
    for (int k = low; k <= high; k++)
        for (int i = 0; i < n; i++) number_tick(p, is_x, factors[i] * pow(10, k));
}

static void nines_ticks(const struct plot *p, bool is_x)
{
    static const struct {
        double v;
        const char *text;
    } ticks[] = { { 0, "0 %" },           { 0.5, "50 %" },     { 0.9, "90 %" },
                  { 0.99, "99 %" },       { 0.999, "99.9 %" }, { 0.9999, "99.99 %" },
                  { 0.99999, "99.999 %" } };
    for (size_t i = 0; i < sizeof ticks / sizeof *ticks; i++)
        tick(p, is_x, ticks[i].v, ticks[i].text);
}

static void ticks(const struct plot *p, bool is_x)
{
    const enum plot_scale scale = is_x ? p->x.scale : p->y.scale;
    if (scale == PLOT_LOG) log_ticks(p, is_x);
    else if (scale == PLOT_NINES) nines_ticks(p, is_x);
    else linear_ticks(p, is_x);
}

/* ==== Drawing ============================================================= */

void plot_open(struct plot *p, FILE *f, struct plot_axis x, struct plot_axis y)
{
    *p = (struct plot){ f, x, y };
    widen(&p->x);
    widen(&p->y);
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s by %s\">\n",
            WIDTH, HEIGHT, y.label, x.label);
    ticks(p, true);
    ticks(p, false);
    fprintf(f, "<path class=\"frame\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, BOTTOM, RIGHT);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
            (LEFT + RIGHT) / 2, HEIGHT - 12, x.label);
    fprintf(f,
            "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\">%s"
            "</text>\n",
            (TOP + BOTTOM) / 2, y.label);
}

void plot_close(const struct plot *p) { fputs("</svg>\n", p->f); }

static void path(const struct plot *p, const double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(p->f, "%c%.1f %.1f", i ? 'L' : 'M', across(p, x[i]), down(p, y[i]));
}

void plot_line(const struct plot *p, size_t series, const double *x, const double *y,
               size_t n)
{
    if (!n) return;
    fprintf(p->f, "<path class=\"line s%zu\" d=\"", series % PLOT_SERIES);
    path(p, x, y, n);
    fputs("\"/>\n", p->f);
}

void plot_area(const struct plot *p, size_t series, const double *x, const double *y,
               size_t n)
{
    if (!n) return;
    fprintf(p->f, "<path class=\"area s%zu\" d=\"", series % PLOT_SERIES);
    path(p, x, y, n);
    fprintf(p->f, "L%.1f %dL%.1f %dZ\"/>\n", across(p, x[n - 1]), BOTTOM, across(p, x[0]),
            BOTTOM);
    plot_line(p, series, x, y, n);
}

void plot_point(const struct plot *p, size_t series, double x, double y, double error,
                const char *label)
{
    const double at = across(p, x), height = down(p, y);
    const bool left = at > (LEFT + RIGHT) / 2.0; /* of the point, where there is room */
    fprintf(p->f, "<path class=\"line s%zu\" d=\"M%.1f %.1fV%.1f\"/>",
            series % PLOT_SERIES, at, down(p, y - error), down(p, y + error));
    fprintf(p->f, "<circle class=\"s%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>",
            series % PLOT_SERIES, at, height);
    fprintf(p->f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
            at + (left ? -10 : 10), height + 4, left ? "end" : "start");
    out_html(p->f, label);
    fputs("</text>\n", p->f);
}
