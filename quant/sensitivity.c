/* sensitivity.c - see sensitivity.h.
 *
 * places.h draws blocks; here they are stored in each type and read back, a batch at a
 * time, and the error is e = E / X, E and X being sums over blocks of w (x - x')^2 and
 * w x^2.
 *
 * Two samples: in most types a block takes a hundred times as long to encode as to read,
 * and to encode as Q4_0.  So m blocks are encoded in all types, 8 m in Q4_0 alone, and
 * the estimate is by regression on what the latter tell (Cochran, Sampling Techniques,
 * 3rd ed., 12.6; e, x, a: of a block, a the error as Q4_0; X, A sums over m, X', A' over
 * 8 m):
 *
 *     E/X + b (A'/X' - A/X),   b = sum (e - (E/X) x)(a - (A/X) x) / sum (a - (A/X) x)^2
 *
 * with the variance V ((1 - c^2) / m + c^2 / 8m), where V is that of e - (E/X) x over the
 * mean x squared, c its correlation with a - (A/X) x.  A first draw tells which m the
 * wanted standard error takes. */
#include "sensitivity.h"

#include "decode.h"
#include "encode.h"
#include "pages.h"
#include "places.h"
#include "refine.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_DRAW = 128, BLOCKS = 1024, WIDER = 8, BATCH = 16 };
static const double default_spread = 0.01;
static const uint32_t helper_type = GGF_Q4_0; /* quick, and most rows fit it */

/* Sums over blocks: x of the energies, e of the errors, a of those as Q4_0. */
struct sums {
    uint64_t n;
    double x, xx, a, aa, ax;
    double e[SENSITIVITY_TYPES], ee[SENSITIVITY_TYPES], ex[SENSITIVITY_TYPES],
        ea[SENSITIVITY_TYPES];
};

struct batch {
    int n;
    size_t start[BATCH + 1]; /* of the blocks in x, w, y */
    double factor[BATCH], energy[BATCH], helper[BATCH];
    float x[BATCH * PLACE_BLOCK], w[BATCH * PLACE_BLOCK], y[BATCH * PLACE_BLOCK];
    uint8_t stored[BATCH * PLACE_BLOCK * sizeof(float)];
};

struct sampler {
    struct sensitivity *s;
    struct places places;
    int refine;
    bool helped; /* blocks are stored as Q4_0, too */
    bool bad;    /* a value met is not finite, or too large for a type */
    uint64_t sampled;
    struct sums sums;      /* of blocks stored in all types */
    double wide_x, wide_a; /* of all */
    struct batch batch;
};

/* ---- Blocks ----------------------------------------------------------------- */

/* Types that look at the root mean square of what they are given as a row: blocks, which
 * are pieces of different rows, are given one by one. */
static bool looks_at_row(uint32_t type)
{
    return type == GGF_Q4_0 || type == GGF_Q4_1 || type == GGF_Q5_0 || type == GGF_Q5_1;
}

static void store_and_read(struct batch *b, uint32_t type, int refine, bool weighted)
{
    const encode_fn encode = encode_for(type);
    const size_t all = b->start[b->n];
    for (int i = 0; i < b->n; i++) {
        const bool apart = looks_at_row(type);
        const size_t first = b->start[i], n = apart ? b->start[i + 1] - first : all;
        const float *const w = weighted ? b->w + first : NULL;
        uint8_t *const to = b->stored + ggf_row_bytes(type, first);
        encode(b->x + first, n, w, to);
        refine_row(type, refine, b->x + first, n, w, to);
        if (!apart) break;
    }
    decode_for(type)(b->stored, b->y, all);
}

/* factor * sum w (x - y)^2 of block i; without y: of w x^2. */
static double block_sum(const struct batch *b, int i, bool weighted, const float *y)
{
    double sum = 0;
    for (size_t k = b->start[i]; k < b->start[i + 1]; k++) {
        const double d = (double)b->x[k] - (y ? (double)y[k] : 0);
        sum += (weighted ? (double)b->w[k] : 1) * d * d;
    }
    return b->factor[i] * sum;
}

static void add_helper(struct sampler *p, bool in_all)
{
    struct batch *b = &p->batch;
    const bool weighted = p->s->weights != NULL;
    if (p->helped) store_and_read(b, helper_type, 0, weighted);
    for (int i = 0; i < b->n; i++) {
        const double x = b->energy[i];
        const double a = p->helped ? block_sum(b, i, weighted, b->y) : 0;
        b->helper[i] = a;
        p->wide_x += x;
        p->wide_a += a;
        if (!in_all) continue;
        p->sums.n++;
        p->sums.x += x;
        p->sums.xx += x * x;
        p->sums.a += a;
        p->sums.aa += a * a;
        p->sums.ax += a * x;
    }
}

/* Count in the blocks of the batch, stored in all types or as Q4_0 alone. */
static void flush(struct sampler *p, bool in_all)
{
    struct batch *b = &p->batch;
    struct sums *sums = &p->sums;
    if (!b->n) return;
    add_helper(p, in_all);
    for (int k = 0; in_all && k < p->s->n_types; k++) {
        store_and_read(b, p->s->types[k], p->refine, p->s->weights != NULL);
        for (int i = 0; i < b->n; i++) {
            const double e = block_sum(b, i, p->s->weights != NULL, b->y);
            sums->e[k] += e;
            sums->ee[k] += e * e;
            sums->ex[k] += e * b->energy[i];
            sums->ea[k] += e * b->helper[i];
        }
        p->bad |= !isfinite(sums->e[k]);
    }
    b->n = 0;
}

static void add(struct sampler *p, struct place place, bool in_all)
{
    const struct ggf_tensor *t = p->s->tensor;
    struct batch *b = &p->batch;
    const size_t at = b->start[b->n];
    decode_for(t->type)(t->data + ggf_row_bytes(t->type, t->ne[0]) * place.row +
                            ggf_row_bytes(t->type, place.column),
                        b->x + at, place.n);
    if (p->s->weights)
        imatrix_weights(p->s->weights, place.slice * t->ne[0] + place.column, place.n,
                        b->w + at);
    b->factor[b->n] = place.factor;
    b->start[b->n + 1] = at + place.n;
    b->energy[b->n] = block_sum(b, b->n, p->s->weights != NULL, NULL);
    p->bad |= !isfinite(b->energy[b->n]);
    p->sampled += place.n;
    if (++b->n == BATCH && !p->bad) flush(p, in_all);
    if (b->n == BATCH) b->n = 0;
}

/* ---- The estimate ----------------------------------------------------------- */

/* How the error of type k varies among blocks: see the head of this file. */
struct variation {
    double ratio;     /* E/X */
    double slope;     /* b */
    double variance;  /* V / (E/X)^2 */
    double explained; /* c^2 */
};

static struct variation variation(const struct sums *s, int k)
{
    struct variation v = { 0 };
    if (s->x <= 0 || s->e[k] <= 0 || s->n < 2) return v;
    const double n = (double)s->n, mean = s->x / n, r = s->e[k] / s->x, ra = s->a / s->x;
    const double e = s->ee[k] - 2 * r * s->ex[k] + r * r * s->xx;
    const double a = s->aa - 2 * ra * s->ax + ra * ra * s->xx;
    const double ea = s->ea[k] - ra * s->ex[k] - r * s->ax + r * ra * s->xx;
    v.ratio = r;
    if (e > 0) v.variance = e / (n - 1) / (mean * mean * r * r);
    if (e > 0 && a > 0) {
        v.slope = ea / a;
        v.explained = fmin(1, ea / a * (ea / e));
    }
    return v;
}

/* Blocks that a relative standard error takes, WIDER times as many being read. */
static uint64_t blocks_for(const struct sampler *p, double wanted, uint64_t most)
{
    double need = 0;
    for (int k = 0; k < p->s->n_types; k++) {
        const struct variation v = variation(&p->sums, k);
        const double left = 1 - v.explained * (1 - 1.0 / WIDER);
        need = fmax(need, v.variance * left / (wanted * wanted));
    }
    return need < (double)most ? (uint64_t)ceil(need) : most;
}

static double largest_spread(const struct sensitivity *s)
{
    double most = 0;
    for (int k = 0; k < s->n_types; k++) most = fmax(most, s->spread[k]);
    return most;
}

/* From the sample; the regression may not turn the sign. */
static void estimate(struct sampler *p, uint64_t n_wide)
{
    struct sensitivity *s = p->s;
    const struct sums *sums = &p->sums;
    for (int k = 0; k < s->n_types; k++) {
        const struct variation v = variation(sums, k);
        const double shift =
            sums->x > 0 && p->wide_x > 0 ? p->wide_a / p->wide_x - sums->a / sums->x : 0;
        s->error[k] = v.ratio + v.slope * shift;
        if (s->error[k] <= 0) s->error[k] = v.ratio;
        s->spread[k] = sqrt(v.variance * ((1 - v.explained) / (double)sums->n +
                                          v.explained / (double)n_wide));
    }
    s->energy = p->wide_x / (double)n_wide * p->places.average;
}

static void take_all(struct sampler *p)
{
    struct sensitivity *s = p->s;
    for (uint64_t i = 0; i < p->places.n && !p->bad; i++)
        add(p, places_at(&p->places, i), true);
    flush(p, true);
    for (int k = 0; k < s->n_types; k++) {
        s->error[k] = p->sums.x > 0 ? p->sums.e[k] / p->sums.x : 0;
        s->spread[k] = 0;
    }
    s->energy = p->sums.x / (double)p->sampled;
}

static void draw(struct sampler *p, uint64_t from, uint64_t to, bool in_all)
{
    for (uint64_t i = from; i < to && !p->bad; i++)
        add(p, places_draw(&p->places, i), in_all);
    if (!p->bad) flush(p, in_all);
}

static void take_sample(struct sampler *p, double wanted, uint64_t most)
{
    const uint64_t first = most < FIRST_DRAW ? most : FIRST_DRAW;
    p->helped = p->s->tensor->ne[0] % 32 == 0;
    draw(p, 0, first, true);
    estimate(p, first);
    if (p->bad || largest_spread(p->s) <= wanted) return;
    uint64_t m = blocks_for(p, wanted, most);
    if (m < first) m = first;
    const uint64_t wide = m * WIDER < p->places.n ? m * WIDER : p->places.n;
    draw(p, first, m, true);
    draw(p, m, wide, false);
    estimate(p, wide);
}

/* ---- Tensors ---------------------------------------------------------------- */

/* Of the pages that lie within the data of the range. */
static void advise(const struct sampler *p, int advice)
{
    const struct ggf_tensor *t = p->s->tensor;
    const uint64_t slice = t->bytes / t->ne[3] / t->ne[2];
    pages_advise(t->data + slice * p->places.first_slice, slice * p->places.n_slices,
                 advice);
}

static int measure_tensor(struct sensitivity *s, const struct sensitivity_options *o,
                          ggf_error *err)
{
    struct sampler *p = calloc(1, sizeof *p);
    if (!p) return ggf_no_memory(err);
    int status =
        places_init(&p->places, s->tensor, s->weights, s->first_slice, s->n_slices, err);
    if (!status) {
        const uint64_t most = o->blocks ? o->blocks : BLOCKS;
        const bool whole = p->places.n <= most;
        p->s = s;
        p->refine = o->refine;
        if (o->mapped && !whole) advise(p, MADV_RANDOM);
        if (whole) take_all(p);
        else take_sample(p, o->spread > 0 ? o->spread : default_spread, most);
        if (o->mapped && !whole) advise(p, MADV_NORMAL);
        if (o->mapped) advise(p, MADV_DONTNEED);
        s->sampled = p->sampled;
    }
    if (!status && p->bad)
        status = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                          "tensor '%s' holds an infinite or NaN value, or one too large",
                          s->tensor->name);
    places_free(&p->places);
    free(p);
    return status;
}

int sensitivity_measure(struct sensitivity *list, size_t n,
                        const struct sensitivity_options *o, ggf_error *err)
{
    /* NOLINTNEXTLINE(clang-analyzer-deadcode*): used by the pragma below */
    const int threads = o->threads > 0 ? o->threads : omp_get_num_procs();
    size_t done = 0, failed = n;
    int status = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (size_t i = 0; i < n; i++) {
        ggf_error e;
        const int s = measure_tensor(&list[i], o, &e);
#pragma omp critical(sensitivity)
        {
            if (s && i < failed) { /* the first in the list */
                failed = i;
                status = s;
                if (err) *err = e;
            }
            if (o->progress) o->progress(o->user, ++done, n);
        }
    }
    return status;
}
