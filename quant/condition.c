/* condition.c - see condition.h. */
#include "condition.h"
#include "decode.h"
#include "imatrix_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POOL_TOKENS = 8,   /* what pool and flat profile count for, */
    PRIOR_TOKENS = 32, /* and the prior: measured on simulated experts */
    ENOUGH = 64,       /* tokens: down is left alone */
    FEW = 16,
};

static double load(const uint8_t *p, uint64_t i)
{
    float v;
    memcpy(&v, p + 4 * i, sizeof v);
    return (double)v;
}

/* ---- Memory of the matrix --------------------------------------------------- */

static void *keep(imatrix *m, void *block)
{
    void **blocks = block ? realloc(m->blocks, (m->n_blocks + 1) * sizeof *blocks) : NULL;
    if (!blocks) {
        free(block);
        return NULL;
    }
    m->blocks = blocks;
    return blocks[m->n_blocks++] = block;
}

static bool make_room(imatrix *m, struct imatrix_entry *e)
{
    e->priors = keep(m, calloc(e->n_slices, sizeof *e->priors));
    e->prior_tokens = keep(m, calloc(e->n_slices, sizeof *e->prior_tokens));
    return e->priors && e->prior_tokens;
}

/* ---- Gate and up ------------------------------------------------------------ */

/* The mean over all rows of all experts; all ones if there are none. */
static int pool(imatrix *m, struct imatrix_entry *e, ggf_error *err)
{
    float *mean = keep(m, malloc(e->width * sizeof *mean));
    if (!mean || !make_room(m, e)) return ggf_no_memory(err);
    double rows = 0;
    for (uint64_t s = 0; s < e->n_slices; s++) rows += load(e->counts, s);
    for (uint64_t i = 0; i < e->width; i++) {
        double sum = 0;
        for (uint64_t s = 0; s < e->n_slices; s++) sum += load(e->sums, s * e->width + i);
        mean[i] = rows > 0 ? (float)(sum / rows) : 1.0f;
    }
    for (uint64_t s = 0; s < e->n_slices; s++) {
        e->priors[s] = mean;
        e->prior_tokens[s] = POOL_TOKENS;
    }
    return 0;
}

/* ---- Down, from gate and up ------------------------------------------------- */

/* Given a = mean + sd z, b is normal with a mean linear in z.  The integral over z by the
 * trapezoidal rule, which converges faster than any power of the step here. */
double expected_square(const struct normal_pair *p)
{
    enum { STEPS = 24 }; /* to each side, a quarter each: z from -6 to 6 */
    const double rest = (1 - p->correlation * p->correlation) * p->sd_b * p->sd_b;
    double sum = 0, weights = 0;
    for (int i = -STEPS; i <= STEPS; i++) {
        const double z = i * 0.25, w = exp(-z * z / 2), a = p->mean_a + p->sd_a * z;
        const double silu = a / (1 + exp(-a));
        const double b = p->mean_b + p->correlation * p->sd_b * z;
        sum += w * silu * silu * (b * b + rest);
        weights += w;
    }
    return sum / weights;
}

/* What the priors of a layer are made of. */
struct source {
    const struct imatrix_entry *input; /* of the router: the layer's x */
    const struct ggf_tensor *gate, *up;
    uint64_t up_row; /* of an expert, where up's rows start */
};

static const struct ggf_tensor *tensor(const ggf_file *f, const char *stem,
                                       const char *name, uint64_t n, uint64_t rows,
                                       uint64_t experts)
{
    char full[96];
    snprintf(full, sizeof full, "%s%s", stem, name);
    const struct ggf_tensor *t = ggf_find_tensor(f, full);
    const bool fits = t && t->ne[0] == n && t->ne[1] == rows && t->ne[2] == experts &&
                      t->ne[3] == 1 && decode_for(t->type);
    return fits ? t : NULL;
}

/* False if anything is missing. */
static bool find_source(struct source *s, const imatrix *m, const ggf_file *f,
                        const struct imatrix_entry *down)
{
    char stem[64], router[96];
    const char *at = strstr(down->name, "ffn_down_exps");
    snprintf(stem, sizeof stem, "%.*s", (int)(at - down->name), down->name);
    snprintf(router, sizeof router, "%sffn_gate_inp.weight", stem);
    const struct imatrix_entry *x = imatrix_find(m, router);
    if (!x || !x->means || !x->counts || x->n_slices != 1 || !(load(x->counts, 0) > 0))
        return false;
    const uint64_t n = x->width, rows = down->width, experts = down->n_slices;
    *s = (struct source){ .input = x };
    s->gate = tensor(f, stem, "ffn_gate_exps.weight", n, rows, experts);
    s->up = tensor(f, stem, "ffn_up_exps.weight", n, rows, experts);
    if (s->gate && s->up) return true;
    s->gate = s->up = tensor(f, stem, "ffn_gate_up_exps.weight", n, 2 * rows, experts);
    s->up_row = rows;
    return s->gate != NULL;
}

static void decode_row(const struct ggf_tensor *t, uint64_t expert, uint64_t row,
                       float *out)
{
    const size_t bytes = ggf_row_bytes(t->type, t->ne[0]);
    decode_for(t->type)(t->data + (expert * t->ne[1] + row) * bytes, out, t->ne[0]);
}

/* What a row of gate and one of up make of x with these means and variances. */
static struct normal_pair pair_of(const float *gate, const float *up, const double *mean,
                                  const double *variance, uint64_t n)
{
    struct normal_pair p = { 0 };
    double aa = 0, bb = 0, ab = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double g = (double)gate[i], u = (double)up[i];
        p.mean_a += g * mean[i];
        p.mean_b += u * mean[i];
        aa += g * g * variance[i];
        bb += u * u * variance[i];
        ab += g * u * variance[i];
    }
    p.sd_a = sqrt(aa);
    p.sd_b = sqrt(bb);
    p.correlation = aa > 0 && bb > 0 ? ab / (p.sd_a * p.sd_b) : 0;
    return p;
}

/* E[h^2] of each hidden unit of an expert. */
static bool compute_prior(const struct source *s, uint64_t expert, uint64_t units,
                          float *out)
{
    const uint64_t n = s->input->width;
    const double rows = load(s->input->counts, 0);
    double *moments = malloc(2 * n * sizeof *moments);
    float *weights = malloc(2 * n * sizeof *weights);
    const bool ok = moments && weights;
    for (uint64_t i = 0; ok && i < n; i++) {
        const double mean = load(s->input->means, i) / rows;
        moments[i] = mean;
        moments[n + i] = fmax(load(s->input->sums, i) / rows - mean * mean, 0);
    }
    for (uint64_t j = 0; ok && j < units; j++) {
        decode_row(s->gate, expert, j, weights);
        decode_row(s->up, expert, s->up_row + j, weights + n);
        const struct normal_pair p =
            pair_of(weights, weights + n, moments, moments + n, n);
        out[j] = (float)expected_square(&p);
    }
    free(moments);
    free(weights);
    return ok;
}

/* ---- Down, drawn to its own mean -------------------------------------------- */

static void flatten(const struct imatrix_entry *e, uint64_t slice, float *out)
{
    const double rows = load(e->counts, slice);
    double sum = 0;
    for (uint64_t i = 0; i < e->width; i++) sum += load(e->sums, slice * e->width + i);
    const double mean = rows > 0 ? sum / rows / (double)e->width : 1;
    for (uint64_t i = 0; i < e->width; i++) out[i] = (float)mean;
}

static int down(imatrix *m, struct imatrix_entry *e, const ggf_file *f,
                struct condition_report *r, ggf_error *err)
{
    struct source source = { 0 };
    const bool known = find_source(&source, m, f, e);
    if (!make_room(m, e)) return ggf_no_memory(err);
    for (uint64_t s = 0; s < e->n_slices; s++) {
        const double rows = load(e->counts, s);
        r->experts++;
        r->unseen += !(rows > 0);
        r->few += rows > 0 && rows < FEW;
        if (rows >= ENOUGH) continue;
        r->computed += known;
        r->flat += !known;
        if (known && !(source.gate->data && source.up->data)) continue;
        float *prior = keep(m, malloc(e->width * sizeof *prior));
        if (!prior) return ggf_no_memory(err);
        if (!known) flatten(e, s, prior);
        else if (!compute_prior(&source, s, e->width, prior)) return ggf_no_memory(err);
        e->priors[s] = prior;
        e->prior_tokens[s] = known ? PRIOR_TOKENS : POOL_TOKENS;
    }
    return 0;
}

int imatrix_condition(imatrix *m, const ggf_file *model, struct condition_report *report,
                      ggf_error *err)
{
    *report = (struct condition_report){ 0 };
    int s = 0;
    for (uint64_t i = 0; i < m->n_entries && !s; i++) {
        struct imatrix_entry *e = &m->entries[i];
        if (!e->counts || e->n_slices < 2 || e->priors) continue;
        if (strstr(e->name, "ffn_down_exps")) {
            s = down(m, e, model, report, err);
        } else {
            s = pool(m, e, err);
            if (!strstr(e->name, "ffn_up_exps")) report->pooled += e->n_slices;
        }
    }
    if (s || report->experts) return s;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the importance matrix has no counts of experts");
}
