/* eval_html.c - the results of an evaluation as one page that needs nothing else: a
 * table, and charts as SVG. */
#include "eval.h"
#include "page.h"
#include "plot.h"

#include <math.h>
#include <string.h>

enum { CURVE_POINTS = 160, BINS_PER_DECADE = 6, MAX_BINS = 96, MAX_LAYERS = 1024 };

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static const char *base_path(const struct eval *e)
{
    return e->base ? e->base->path : e->o->base;
}

/* ==== The table =========================================================== */

static void table_row(const struct eval *e, uint32_t i, FILE *f)
{
    const struct eval_model *m = &e->models[i];
    const struct divergence *d = &m->d;
    const struct estimate ppl = eval_ppl(e, m), kld = divergence_kld(d),
                          top = divergence_same_top(d);
    char size[24];
    fputs("<tr><td>", f);
    page_key(f, i);
    out_html(f, file_name(m->path));
    fprintf(f, "</td><td>%s</td><td>%.4f ± %.4f</td><td>%.6f ± %.6f</td>",
            out_size(size, q3n_model_info(m->model)->bytes_files), ppl.mean, ppl.error,
            kld.mean, kld.error);
    const double shares[] = { 0.5, 0.9, 0.99, 0.999, 1 };
    for (size_t k = 0; k < sizeof shares / sizeof *shares; k++)
        fprintf(f, "<td>%.5f</td>", percentile(d->ranked_kld, d->n, shares[k]));
    fprintf(f, "<td>%.2f ± %.2f %%</td>", 100 * top.mean, 100 * top.error);
    if (i) {
        const struct interval r = m->paired.ratio;
        fprintf(f, "<td>%.3f", r.value);
        if (r.low <= r.high) fprintf(f, " (%.3f to %.3f)", r.low, r.high);
        fprintf(f, "</td><td>%zu of %zu</td>", m->paired.closer, m->paired.n_windows);
    } else if (e->n_models > 1) {
        fputs("<td></td><td></td>", f);
    }
    fputs("</tr>\n", f);
}

static void table(const struct eval *e, FILE *f)
{
    fputs("<div class=\"wide\"><table><tr><th>model</th><th>size</th><th>perplexity</th>"
          "<th>mean KLD</th><th>median</th><th>90 %</th><th>99 %</th><th>99.9 %</th>"
          "<th>max</th><th>same top token</th>",
          f);
    if (e->n_models > 1) fputs("<th>KLD ratio (95 %)</th><th>windows closer</th>", f);
    fputs("</tr>\n", f);
    for (uint32_t i = 0; i < e->n_models; i++) table_row(e, i, f);
    fputs("</table></div>\n", f);
}

/* ==== Charts ============================================================== */

static void figure_end(const struct plot *p)
{
    plot_close(p);
    page_figure_end(p->f);
}

static void percentiles(const struct eval *e, FILE *f)
{
    const size_t n = e->models->d.n;
    struct plot_axis x = { "share of predictions", PLOT_NINES, 0, 1 - 1.0 / (double)n },
                     y = { "KLD", PLOT_LOG, NAN, NAN };
    double share[CURVE_POINTS], kld[CURVE_POINTS];
    struct plot p;
    for (int k = 0; k < CURVE_POINTS; k++)
        share[k] = 1 - pow((double)n, -(double)k / (CURVE_POINTS - 1));
    for (uint32_t i = 0; i < e->n_models; i++)
        for (int k = 0; k < CURVE_POINTS; k++)
            plot_hold(&y, percentile(e->models[i].d.ranked_kld, n, share[k]));
    page_figure(f, "KLD that a share of the predictions stays below");
    plot_open(&p, f, x, y);
    for (uint32_t i = 0; i < e->n_models; i++) {
        for (int k = 0; k < CURVE_POINTS; k++)
            kld[k] = percentile(e->models[i].d.ranked_kld, n, share[k]);
        plot_line(&p, i, share, kld, CURVE_POINTS);
    }
    figure_end(&p);
}

/* Bins of equal width in log KLD, from `low` (a power of ten's exponent) on. */
struct bins {
    double low;
    int n;
    double edges[2 * MAX_BINS], percent[2 * MAX_BINS]; /* a step each */
};

/* Predictions below the least bin count in it. */
static void fill(struct bins *b, const struct divergence *d)
{
    for (int k = 0; k < 2 * b->n; k++) {
        b->edges[k] = pow(10, b->low + (k + 1) / 2 / (double)BINS_PER_DECADE);
        b->percent[k] = 0;
    }
    for (size_t i = 0; i < d->n; i++) {
        const double v = (double)d->kld[i];
        int k = v > 0 ? (int)floor((log10(v) - b->low) * BINS_PER_DECADE) : 0;
        k = k < 0 ? 0 : k < b->n ? k : b->n - 1;
        b->percent[2 * k] += 100.0 / (double)d->n;
    }
    for (int k = 0; k < b->n; k++) b->percent[2 * k + 1] = b->percent[2 * k];
}

static void histogram(const struct eval *e, FILE *f)
{
    struct plot_axis kld = { "KLD", PLOT_LOG, NAN, NAN },
                     x = { "KLD", PLOT_LOG, NAN, NAN },
                     y = { "% of predictions", PLOT_LINEAR, 0, 0 };
    struct plot p;
    for (uint32_t i = 0; i < e->n_models; i++) {
        const struct divergence *d = &e->models[i].d;
        plot_hold(&kld, fmax(percentile(d->ranked_kld, d->n, 0.001), 1e-9));
        plot_hold(&kld, percentile(d->ranked_kld, d->n, 1));
    }
    struct bins b = { .low = floor(log10(kld.min)) };
    const int n = (int)ceil((log10(kld.max) - b.low) * BINS_PER_DECADE);
    b.n = n < 1 ? 1 : n < MAX_BINS ? n : MAX_BINS;
    for (uint32_t i = 0; i < e->n_models; i++) {
        fill(&b, &e->models[i].d);
        for (int k = 0; k < 2 * b.n; k++) {
            plot_hold(&x, b.edges[k]);
            plot_hold(&y, b.percent[k]);
        }
    }
    page_figure(f, "How often which KLD");
    plot_open(&p, f, x, y);
    for (uint32_t i = 0; i < e->n_models; i++) {
        fill(&b, &e->models[i].d);
        plot_area(&p, i, b.edges, b.percent, 2 * (size_t)b.n);
    }
    figure_end(&p);
}

static double size_of(const struct eval_model *m, double unit)
{
    return (double)q3n_model_info(m->model)->bytes_files / unit;
}

static void sizes(const struct eval *e, FILE *f)
{
    struct plot_axis x = { "size, GiB", PLOT_LINEAR, NAN, NAN },
                     y = { "mean KLD", PLOT_LOG, NAN, NAN };
    const bool small = size_of(e->models, 0x1p30) < 1;
    const double unit = small ? 0x1p20 : 0x1p30;
    struct plot p;
    if (small) x.label = "size, MiB";
    for (uint32_t i = 0; i < e->n_models; i++) {
        const struct estimate kld = divergence_kld(&e->models[i].d);
        plot_hold(&x, size_of(&e->models[i], unit));
        plot_hold(&y, kld.mean - 1.96 * kld.error);
        plot_hold(&y, kld.mean + 1.96 * kld.error);
    }
    page_figure(f, "Size and distance, with 95 % of error");
    plot_open(&p, f, x, y);
    for (uint32_t i = 0; i < e->n_models; i++) {
        const struct eval_model *m = &e->models[i];
        const struct estimate kld = divergence_kld(&m->d);
        plot_point(&p, i, size_of(m, unit), kld.mean, 1.96 * kld.error,
                   file_name(m->path));
    }
    figure_end(&p);
}

static double overlap(const struct follow *follow, uint32_t layer)
{
    return 100 * follow_layer(follow, layer).overlap.mean;
}

static double state_error(const struct follow *follow, uint32_t layer)
{
    return follow_layer(follow, layer).state_error;
}

/* What `of` says of each layer of a model; returns their number, 0 if nothing is known.
 */
static uint32_t layer_values(const struct eval_model *m, double *x, double *y,
                             double (*of)(const struct follow *, uint32_t))
{
    uint32_t n = m->follow ? follow_layers(m->follow) : 0;
    if (n > MAX_LAYERS) n = MAX_LAYERS;
    for (uint32_t l = 0; l < n; l++) {
        x[l] = l;
        y[l] = of(m->follow, l);
    }
    return n;
}

/* A chart of it, for all models that were followed. */
static void layers(const struct eval *e, FILE *f, const char *title, const char *label,
                   double (*of)(const struct follow *, uint32_t))
{
    struct plot_axis x = { "layer", PLOT_LINEAR, NAN, NAN },
                     y = { label, PLOT_LINEAR, NAN, NAN };
    double at[MAX_LAYERS], value[MAX_LAYERS];
    struct plot p;
    for (uint32_t i = 0; i < e->n_models; i++)
        for (uint32_t n = layer_values(&e->models[i], at, value, of); n--;) {
            plot_hold(&x, at[n]);
            plot_hold(&y, value[n]);
        }
    page_figure(f, title);
    plot_open(&p, f, x, y);
    for (uint32_t i = 0; i < e->n_models; i++)
        plot_line(&p, i, at, value, layer_values(&e->models[i], at, value, of));
    figure_end(&p);
}

/* ==== The page ============================================================ */

void eval_html(const struct eval *e, FILE *f)
{
    bool followed = false;
    for (uint32_t i = 0; i < e->n_models; i++) followed |= e->models[i].follow != NULL;
    page_start(f, file_name(e->models->path), "q3n-eval");
    fputs("<h1>Distance from ", f);
    out_html(f, file_name(base_path(e)));
    fprintf(f, "</h1>\n<p>%zu predictions in %u windows of %u tokens.</p>\n", e->done,
            e->windows.n_windows, e->windows.n_ctx);
    table(e, f);
    fputs("<div class=\"charts\">\n", f);
    percentiles(e, f);
    histogram(e, f);
    if (e->n_models > 1) sizes(e, f);
    if (followed) {
        layers(e, f, "Experts that both routers chose", "% of all chosen", overlap);
        layers(e, f, "Error of the state that enters a layer", "relative error",
               state_error);
    }
    fputs("</div>\n", f);
    page_end(f);
}
