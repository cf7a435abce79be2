/* sensitivity.c - see sensitivity.h.
 *
 * Blocks of 256 columns (the last of a row may be shorter) are numbered expert by expert,
 * row by row.  A draw of n cuts the numbers into n equal ranges and takes a random one
 * of each, so experts and rows have their share.  The first draw tells how many blocks
 * the wanted standard error takes; the second draws what is missing.  The standard error
 * is that of a ratio of sums. */
#include "sensitivity.h"

#include "decode.h"
#include "encode.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, FIRST_DRAW = 256, BLOCKS = 2048 };
static const double default_spread = 0.01;

/* What one block contributes: e to the error of each type, x to the energy. */
struct sums {
    double e[SENSITIVITY_TYPES], x;
    double ee[SENSITIVITY_TYPES], ex[SENSITIVITY_TYPES], xx;
    uint64_t n;
};

struct sampler {
    struct sensitivity *s;
    decode_fn read;
    uint64_t row_blocks;
    uint64_t first, n_blocks; /* numbers of blocks */
    uint64_t seed;
    double *use; /* for each expert; NULL: all alike */
    struct sums sums;
};

/* SplitMix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* So that a tensor has its places whatever else is measured (FNV-1a). */
static uint64_t seed_of(const struct sensitivity *s)
{
    uint64_t h = 0xcbf29ce484222325;
    for (const char *c = s->tensor->name; *c; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3;
    return h + s->first_slice;
}

static double token_count(const struct imatrix_entry *w, uint64_t slice)
{
    float count;
    memcpy(&count, w->counts + slice * sizeof count, sizeof count);
    return count > 0 ? (double)count : 0;
}

/* The share of tokens that each expert saw, where the matrix counts them. */
static double *expert_use(const struct sensitivity *s)
{
    const struct imatrix_entry *w = s->weights;
    const uint64_t n = s->tensor->ne[2];
    if (!w || !w->counts || w->n_slices != n || n < 2 || s->n_slices == 1) return NULL;
    const uint64_t first = s->first_slice, end = s->n_slices ? first + s->n_slices : n;
    double *use = calloc(n, sizeof *use), total = 0;
    for (uint64_t i = first; use && i < end; i++) total += use[i] = token_count(w, i);
    for (uint64_t i = first; use && i < end; i++) use[i] = total > 0 ? use[i] / total : 1;
    return use;
}

static double block_error(const float *x, const float *y, const float *w, size_t n)
{
    double e = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (y ? (double)y[i] : 0);
        e += (w ? (double)w[i] : 1) * d * d;
    }
    return e;
}

static void add_block(struct sampler *p, uint64_t number)
{
    const uint64_t index = p->first + number;
    struct sensitivity *s = p->s;
    const struct ggf_tensor *t = s->tensor;
    const uint64_t row = index / p->row_blocks, column = index % p->row_blocks * BLOCK;
    const uint64_t slice = row / t->ne[1] % t->ne[2];
    const uint64_t left = t->ne[0] - column, n = left < BLOCK ? left : BLOCK;
    const double use = p->use ? p->use[slice] : 1;
    float x[BLOCK], y[BLOCK], weights[BLOCK], *w = s->weights ? weights : NULL;
    uint8_t stored[BLOCK * sizeof(float)];
    if (w) imatrix_weights(s->weights, slice * t->ne[0] + column, n, w);
    p->read(t->data + ggf_row_bytes(t->type, t->ne[0]) * row +
                ggf_row_bytes(t->type, column),
            x, n);
    const double energy = use * block_error(x, NULL, w, n);
    struct sums *sums = &p->sums;
    sums->x += energy;
    sums->xx += energy * energy;
    for (int k = 0; k < s->n_types && isfinite(energy); k++) {
        encode_for(s->types[k])(x, n, w, stored);
        decode_for(s->types[k])(stored, y, n);
        const double e = use * block_error(x, y, w, n);
        sums->e[k] += e;
        sums->ee[k] += e * e;
        sums->ex[k] += e * energy;
    }
    sums->n++;
    s->sampled += n;
}

static void draw(struct sampler *p, uint64_t n)
{
    for (uint64_t i = 0; i < n && isfinite(p->sums.x); i++) {
        const uint64_t low = (uint64_t)((double)p->n_blocks * (double)i / (double)n);
        const uint64_t high =
            (uint64_t)((double)p->n_blocks * (double)(i + 1) / (double)n);
        add_block(p, low + next_random(&p->seed) % (high > low ? high - low : 1));
    }
}

/* Relative standard errors of the ratios e/x; returns the largest. */
static double find_spreads(const struct sums *s, int n_types, double *spread)
{
    double most = 0;
    const double n = (double)s->n;
    for (int k = 0; k < n_types; k++) {
        spread[k] = 0;
        if (s->e[k] <= 0 || s->x <= 0 || s->n < 2) continue;
        const double r = s->e[k] / s->x;
        const double residues = s->ee[k] - 2 * r * s->ex[k] + r * r * s->xx;
        if (residues > 0) spread[k] = sqrt(residues * n / (n - 1)) / s->e[k];
        most = fmax(most, spread[k]);
    }
    return most;
}

static void measure(struct sampler *p, const struct sensitivity_options *o)
{
    struct sensitivity *s = p->s;
    const double wanted = o->spread > 0 ? o->spread : default_spread;
    const uint64_t cap = o->blocks ? o->blocks : BLOCKS;
    const uint64_t first = cap < FIRST_DRAW ? cap : FIRST_DRAW;
    if (p->n_blocks <= cap) {
        for (uint64_t i = 0; i < p->n_blocks && isfinite(p->sums.x); i++) add_block(p, i);
    } else {
        draw(p, first);
        const double spread = find_spreads(&p->sums, s->n_types, s->spread);
        const double needed = (double)first * pow(spread / wanted, 2);
        const uint64_t total = needed < (double)cap ? (uint64_t)needed : cap;
        if (total > first) draw(p, total - first);
        find_spreads(&p->sums, s->n_types, s->spread);
    }
    for (int k = 0; k < s->n_types; k++)
        s->error[k] = p->sums.x > 0 ? p->sums.e[k] / p->sums.x : 0;
    s->energy = s->sampled ? p->sums.x / (double)s->sampled : 0;
}

static int measure_tensor(struct sensitivity *s, const struct sensitivity_options *o,
                          ggf_error *err)
{
    const struct ggf_tensor *t = s->tensor;
    struct sampler p = { .s = s,
                         .read = decode_for(t->type),
                         .row_blocks = (t->ne[0] + BLOCK - 1) / BLOCK,
                         .seed = seed_of(s),
                         .use = expert_use(s) };
    p.first = p.row_blocks * t->ne[1] * s->first_slice;
    p.n_blocks =
        p.row_blocks * (s->n_slices ? t->ne[1] * s->n_slices : t->count / t->ne[0]);
    memset(s->spread, 0, sizeof s->spread);
    s->sampled = 0;
    measure(&p, o);
    free(p.use);
    if (isfinite(p.sums.x)) return 0;
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "tensor '%s' holds an infinite or NaN value, or one too large",
                    t->name);
}

int sensitivity_measure(struct sensitivity *list, size_t n,
                        const struct sensitivity_options *o, ggf_error *err)
{
    /* NOLINTNEXTLINE(clang-analyzer-deadcode*): used by the pragma below */
    const int threads = o->threads > 0 ? o->threads : omp_get_num_procs();
    size_t done = 0;
    int status = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (size_t i = 0; i < n; i++) {
        ggf_error e;
        const int s = measure_tensor(&list[i], o, &e);
#pragma omp critical(sensitivity)
        {
            if (s && !status) {
                status = s;
                if (err) *err = e;
            }
            if (o->progress) o->progress(o->user, ++done, n);
        }
    }
    return status;
}
