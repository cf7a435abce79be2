/* output_error.c - see output_error.h. */
#include "output_error.h"

#include "../ops/vec.h"
#include "../../quant/decode.h"
#include "../../quant/encode.h"
#include "../../quant/refine.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

/* Rows looked at of a matrix, and of all experts of a tensor together. */
enum { ROWS = 96, EXPERT_ROWS = 384 };
enum { ROW_BYTES = 4 }; /* for an element of a stored row, at most */

/* Sums over rows of energies x and errors e. */
struct sums {
    uint64_t n;
    double x, xx;
    double e[GGF_TYPE_COUNT], ee[GGF_TYPE_COUNT], ex[GGF_TYPE_COUNT];
};

struct work {
    const q3n_capture *capture;
    struct vec_ops ops;
    struct error_entry *entry;
    int refine;
    float *row, *other, *weights; /* a row as it is, as stored, its importances */
    uint8_t *stored;
    struct sums sums;
};

/* Sum over tokens of (row . input)^2, with the router's weights. */
static double energy(const struct work *w, const float *row, const struct captured *in)
{
    double sum = 0;
    for (uint32_t i = 0; i < in->rows; i++) {
        const uint32_t at = in->at ? in->at[i] : i;
        const double y = (double)w->ops.dot(row, in->x + (size_t)at * in->n, in->n);
        const double g = in->weights ? (double)in->weights[i] : 1;
        sum += g * g * y * y;
    }
    return sum;
}

static bool is_wanted(const struct error_entry *e, uint32_t type)
{
    return type != e->tensor->type && !isnan(e->error[type]) && encode_for(type);
}

static void add_row(struct work *w, uint64_t expert, uint64_t row,
                    const struct captured *in)
{
    const struct error_entry *e = w->entry;
    const struct ggf_tensor *t = e->tensor;
    const uint64_t n = t->ne[0];
    struct sums *s = &w->sums;
    decode_for(t->type)(t->data + ggf_row_bytes(t->type, n) * (expert * t->ne[1] + row),
                        w->row, n);
    if (e->importances) imatrix_weights(e->importances, expert * n, n, w->weights);
    const float *weights = e->importances ? w->weights : NULL;
    const double x = energy(w, w->row, in);
    s->n++;
    s->x += x;
    s->xx += x * x;
    for (uint32_t k = 0; k < GGF_TYPE_COUNT; k++) {
        if (!is_wanted(e, k)) continue;
        encode_for(k)(w->row, n, weights, w->stored);
        refine_row(k, w->refine, w->row, n, weights, w->stored);
        decode_for(k)(w->stored, w->other, n);
        for (uint64_t i = 0; i < n; i++) w->other[i] -= w->row[i];
        const double d = energy(w, w->other, in);
        s->e[k] += d;
        s->ee[k] += d * d;
        s->ex[k] += d * x;
    }
}

static uint64_t count_active(const struct work *w)
{
    const struct ggf_tensor *t = w->entry->tensor;
    struct captured in;
    uint64_t n = 0;
    for (uint64_t i = 0; i < t->ne[2]; i++)
        n += q3n_capture_inputs(w->capture, t->name, (uint32_t)i, &in);
    return n;
}

/* Rows at equal distances, in each expert that was used other ones. */
static void add_rows(struct work *w)
{
    const struct ggf_tensor *t = w->entry->tensor;
    const uint64_t active = count_active(w), most = t->ne[2] > 1 ? EXPERT_ROWS : ROWS;
    if (!active) return;
    uint64_t rows = (most + active - 1) / active, nth = 0;
    if (rows > t->ne[1]) rows = t->ne[1];
    for (uint64_t i = 0; i < t->ne[2]; i++) {
        struct captured in;
        if (!q3n_capture_inputs(w->capture, t->name, (uint32_t)i, &in)) continue;
        if (in.n != t->ne[0]) return;
        const double shift = ((double)nth++ + 0.5) / (double)active;
        for (uint64_t k = 0; k < rows; k++)
            add_row(w, i,
                    (uint64_t)(((double)k + shift) * (double)t->ne[1] / (double)rows),
                    &in);
    }
}

/* The ratio of sums, and its standard error as that of sums over rows. */
static bool take_over(struct work *w)
{
    struct error_entry *e = w->entry;
    const struct sums *s = &w->sums;
    const double n = (double)s->n;
    if (s->n < 2 || !(s->x > 0) || !isfinite(s->xx)) return false;
    for (uint32_t k = 0; k < GGF_TYPE_COUNT; k++) {
        if (!is_wanted(e, k) || !isfinite(s->ee[k])) continue;
        const double r = s->e[k] / s->x;
        const double left = s->ee[k] - 2 * r * s->ex[k] + r * r * s->xx;
        e->error[k] = r;
        e->spread[k] = r > 0 ? sqrt(fmax(left, 0) * n / (n - 1)) / s->e[k] : 0;
    }
    return true;
}

static int replace(struct error_entry *e, const q3n_capture *c, int refine, bool *done,
                   ggf_error *err)
{
    const uint64_t n = e->tensor->ne[0];
    struct work w = { .capture = c,
                      .entry = e,
                      .refine = refine,
                      .row = calloc(n, sizeof(float)),
                      .other = calloc(n, sizeof(float)),
                      .weights = calloc(n, sizeof(float)),
                      .stored = calloc(n, ROW_BYTES) };
    const bool ok = w.row && w.other && w.weights && w.stored;
    *done = false;
    if (ok) {
        vec_ops_init(&w.ops);
        add_rows(&w);
        *done = take_over(&w);
    }
    free(w.row);
    free(w.other);
    free(w.weights);
    free(w.stored);
    return ok ? 0 : ggf_no_memory(err);
}

int q3n_output_errors(size_t *n_replaced, const q3n_capture *capture,
                      struct error_table *table, int refine, int threads, ggf_error *err)
{
    /* NOLINTNEXTLINE(clang-analyzer-deadcode*): used by the pragma below */
    const int n_threads = threads > 0 ? threads : omp_get_num_procs();
    int status = 0;
    size_t count = 0;
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 1) reduction(+ : count)
    for (size_t i = 0; i < table->n; i++) {
        struct error_entry *e = &table->entries[i];
        bool done = false;
        ggf_error mine;
        if (!e->sampled) continue;
        const int s = replace(e, capture, refine, &done, &mine);
        count += done;
#pragma omp critical(output_errors)
        if (s && !status) {
            status = s;
            if (err) *err = mine;
        }
    }
    *n_replaced = count;
    return status;
}
