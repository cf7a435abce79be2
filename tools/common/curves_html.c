/* curves_html.c - hit rates as a page that needs nothing else; see curves.h. */
#include "curves.h"
#include "page.h"
#include "plot.h"

#include <inttypes.h>
#include <math.h>

static double unit_of(const struct curves *c, const char **label)
{
    const bool small = c->log->sum_bytes < UINT64_C(1) << 31;
    *label = small ? "cache, MiB" : "cache, GiB";
    return small ? 0x1p20 : 0x1p30;
}

/* What a policy reaches at each size. */
typedef double (*value_fn)(const struct curves *c, enum replay_policy policy, uint32_t i);

static double decode_hits(const struct curves *c, enum replay_policy p, uint32_t i)
{
    return 100 * curves_hit_rate(c, p, i, false);
}

static double prompt_hits(const struct curves *c, enum replay_policy p, uint32_t i)
{
    return 100 * curves_hit_rate(c, p, i, true);
}

static bool is_known(const struct curves *c, value_fn value)
{
    for (int p = 0; p < REPLAY_POLICIES; p++)
        if (c->wanted[p]) return isfinite(value(c, p, 0));
    return false;
}

static void chart(const struct curves *c, FILE *f, const char *title, const char *label,
                  value_fn value)
{
    struct plot_axis x = { NULL, PLOT_LOG, NAN, NAN }, y = { label, PLOT_LINEAR, 0, NAN };
    const double unit = unit_of(c, &x.label);
    double at[CURVE_MAX_SIZES], v[CURVE_MAX_SIZES];
    struct plot plot;
    if (!is_known(c, value)) return;
    for (uint32_t i = 0; i < c->n_sizes; i++) {
        at[i] = (double)c->sizes[i] / unit;
        plot_hold(&x, at[i]);
        for (int p = 0; p < REPLAY_POLICIES; p++)
            if (c->wanted[p]) plot_hold(&y, value(c, p, i));
    }
    page_figure(f, title);
    plot_open(&plot, f, x, y);
    for (int p = 0; p < REPLAY_POLICIES; p++) {
        if (!c->wanted[p]) continue;
        for (uint32_t i = 0; i < c->n_sizes; i++) v[i] = value(c, p, i);
        plot_line(&plot, (size_t)p, at, v, c->n_sizes);
    }
    plot_close(&plot);
    page_figure_end(f);
}

/* A line over the layers. */
static void layers(const struct curves *c, FILE *f, const char *title, const char *label,
                   size_t member)
{
    struct plot_axis x = { "layer", PLOT_LINEAR, NAN, NAN },
                     y = { label, PLOT_LINEAR, 0, NAN };
    double at[TRACE_MAX_LAYERS], v[TRACE_MAX_LAYERS];
    struct plot plot;
    const uint32_t n = c->log->model->n_layer;
    for (uint32_t i = 0; i < n; i++) {
        const char *layer = (const char *)&c->locality->layers[i];
        at[i] = i;
        v[i] = 100 * *(const double *)(const void *)(layer + member);
        plot_hold(&x, at[i]);
        plot_hold(&y, v[i]);
    }
    page_figure(f, title);
    plot_open(&plot, f, x, y);
    plot_line(&plot, 0, at, v, n);
    plot_close(&plot);
    page_figure_end(f);
}

static void cell(FILE *f, double v, const char *format)
{
    fputs("<td>", f);
    if (isfinite(v)) fprintf(f, format, v);
    fputs("</td>", f);
}

static void table(const struct curves *c, FILE *f)
{
    char size[24];
    fputs("<div class=\"wide\"><table><tr><th>policy</th><th>cache</th><th>of all</th>"
          "<th>hits, decoding</th><th>hits, prompts</th><th>tok/s</th></tr>\n",
          f);
    for (int p = 0; p < REPLAY_POLICIES; p++)
        for (uint32_t i = 0; c->wanted[p] && i < c->n_sizes; i++) {
            fputs("<tr><td>", f);
            page_key(f, (size_t)p);
            fprintf(f, "%s</td><td>%s</td>", replay_policy_name(p),
                    out_size(size, c->sizes[i]));
            cell(f, 100 * (double)c->sizes[i] / (double)c->log->sum_bytes, "%.1f %%");
            cell(f, decode_hits(c, p, i), "%.2f %%");
            cell(f, prompt_hits(c, p, i), "%.2f %%");
            cell(f, curves_per_second(c, p, i), "%.2f");
            fputs("</tr>\n", f);
        }
    fputs("</table></div>\n", f);
}

void curves_html(const struct curves *c, FILE *f)
{
    const struct locality *l = c->locality;
    page_start(f, c->name, "q3n-trace");
    fputs("<h1>Experts in ", f);
    out_html(f, c->name);
    fprintf(f,
            "</h1>\n<p>%" PRIu64 " tokens of prompts, %" PRIu64 " decoded; %" PRIu32
            " layers of %" PRIu32 " experts, %" PRIu32 " used by a token.%s</p>\n<p>",
            l->prompt_tokens, l->decoded_tokens, c->log->model->n_layer,
            c->log->model->n_expert, c->log->model->n_used,
            c->from ? " The first half filled the caches and is not counted." : "");
    for (int p = 0; p < REPLAY_POLICIES; p++) {
        if (!c->wanted[p]) continue;
        page_key(f, (size_t)p);
        fprintf(f, "%s&#8195;", replay_policy_name(p));
    }
    fputs("</p>\n<div class=\"charts\">\n", f);
    chart(c, f, "Experts found in the cache while decoding", "% of uses", decode_hits);
    chart(c, f, "Experts found in the cache in prompts", "% of uses", prompt_hits);
    chart(c, f, "Predicted speed of decoding", "tokens per second", curves_per_second);
    layers(c, f, "Uses that fall on the hottest tenth of a layer", "% of uses",
           offsetof(struct layer_locality, top));
    layers(c, f, "Experts that the token before had too", "% of uses",
           offsetof(struct layer_locality, repeated));
    fputs("</div>\n", f);
    table(c, f);
    page_end(f);
}
