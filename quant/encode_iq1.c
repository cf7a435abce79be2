/* encode_iq1.c - encoders of IQ1_S and IQ1_M.
 *
 * Weights are -1, 0 or 1, moved by a shift of an eighth, times the scale of 32 (IQ1_S) or
 * 16.  Sorted by value, the first are -1, the last 1: all ways to cut the sorted weights
 * in three are tried with either shift, and the one that explains most wins.  Then each
 * group of 8 goes to a point of the grid.
 *
 * All sums start at the first weight and round after each operation, as in search.h. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grid_search.h"
#include "grids.h"
#include "search.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* What the levels 0, 1, 2 mean with shift up and down. */
static const float values[2][3] = { { -0.875f, 0.125f, 1.125f },
                                    { -1.125f, -0.125f, 0.875f } };

/* What was found for a sub-block.  `down` has a bit for each half: shifted down. */
struct fit {
    float scale; /* 0: nothing found */
    unsigned down;
    unsigned index[4];
};

/* The best cut so far: levels are 0 before `one`, 2 from `two` on. */
struct cut {
    float scale, best;
    int one, two;
    unsigned down;
};

static inline void better(float a, float b, int one, int two, unsigned down,
                          struct cut *c)
{
    if (!(b > 0 && a * a > c->best * b)) return;
    *c = (struct cut){ a / b, a / b * a, one, two, down };
}

/* Rising; equal values stay in order. */
static void sort(const float *x, int n, int *order)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && x[i] < x[order[at - 1]]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

static void code_groups(const int *level, int n, uint16_t *code)
{
    memset(code, 0, (size_t)n / 8 * sizeof *code);
    for (int i = 0; i < n; i++) code[i / 8] |= (uint16_t)(level[i] << 2 * (i % 8));
}

/* The value of weight i's level. */
static inline float value_of(const uint16_t *code, int n, unsigned down, int i)
{
    return values[down >> i / (n / 2) & 1][code[i / 8] >> 2 * (i % 8) & 3];
}

/* Move groups to points of the grid; if there were any to move, fit the scale again. */
static void to_grid(const struct grid *grid, const float *x, const float *w, int n,
                    float *scale, unsigned down, uint16_t *code)
{
    bool moved = false;
    for (int g = 0; g < n / 8; g++) {
        float cost[32] = { 0 };
        if (grid_has(grid, code[g])) continue;
        const float *value = values[down >> g / (n / 16) & 1];
        for (int i = 0; i < 8; i++)
            for (int l = 0; l < 3; l++) {
                const float d = *scale * value[l] - x[8 * g + i];
                cost[4 * i + l] = w[8 * g + i] * d * d;
            }
        code[g] = (uint16_t)grid_nearest(grid, code[g], cost);
        moved = true;
    }
    if (!moved) return;
    float a = 0, b = 0;
    for (int i = 0; i < n; i++) {
        const float q = value_of(code, n, down, i), wq = w[i] * q;
        a += wq * x[i];
        b += wq * q;
    }
    if (a > 0 && b > 0) *scale = a / b;
}

/* From a cut to points. */
static void finish(const struct grid *grid, const float *x, const float *w, int n,
                   const int *order, const struct cut *c, struct fit *f)
{
    int level[32];
    uint16_t code[4];
    const bool flip = c->scale < 0;
    for (int j = 0; j < n; j++) {
        const int l = j < c->one ? 0 : j < c->two ? 1 : 2;
        level[order[j]] = flip ? 2 - l : l;
    }
    f->scale = flip ? -c->scale : c->scale;
    f->down = flip ? c->down ^ 3 : c->down;
    code_groups(level, n, code);
    to_grid(grid, x, w, n, &f->scale, f->down, code);
    for (int g = 0; g < n / 8; g++) f->index[g] = grid_index(grid, code[g]);
}

static float largest_scale(const struct fit *f, int n)
{
    float most = 0;
    for (int j = 0; j < n; j++)
        if (!(most > f[j].scale)) most = f[j].scale;
    return most;
}

/* The scale 2 * code + 1 in units of 1 / id. */
static unsigned scale_code(float id, float scale)
{
    return (unsigned)clamp(round_even(0.5f * (id * scale - 1)), 0, 7);
}

/* ---- IQ1_S ------------------------------------------------------------------ */

/* Sums are differences of running ones, of w x and of w. */
static void cut_32(const float *x, const float *w, const int *order, struct cut *c)
{
    float sx[33] = { 0 }, sw[33] = { 0 };
    for (int j = 0; j < 32; j++) {
        sx[j + 1] = sx[j] + w[order[j]] * x[order[j]];
        sw[j + 1] = sw[j] + w[order[j]];
    }
    for (int one = 0; one <= 32; one++)
        for (int two = one; two <= 32; two++)
            for (unsigned s = 0; s < 2; s++) {
                const float *v = values[s];
                const float a = (sx[one] - sx[0]) * v[0] + (sx[two] - sx[one]) * v[1] +
                                (sx[32] - sx[two]) * v[2];
                const float b = (sw[one] - sw[0]) * v[0] * v[0] +
                                (sw[two] - sw[one]) * v[1] * v[1] +
                                (sw[32] - sw[two]) * v[2] * v[2];
                better(a, b, one, two, 3 * s, c);
            }
}

static void fit_32(const struct grid *grid, const float *x, const float *w, struct fit *f)
{
    int order[32];
    struct cut c = { 0, -FLT_MAX, -1, -1, 0 };
    *f = (struct fit){ 0 };
    if (fabsf(largest(x, 32)) < 1e-12f) return;
    sort(x, 32, order);
    cut_32(x, w, order, &c);
    if (c.one >= 0) finish(grid, x, w, 32, order, &c, f);
}

static void encode_block_iq1_s(const float *x, const float *weights,
                               struct block_iq1_s *b)
{
    const struct grid *grid = grid_get(GRID_IQ1);
    float w[QK_K];
    struct fit f[8];
    memset(b, 0, sizeof *b);
    importance(x, weights, QK_K, 2 * sum_of_squares(x, QK_K) / QK_K, w);
    for (int j = 0; j < 8; j++) {
        fit_32(grid, x + 32 * j, w + 32 * j, &f[j]);
        for (int g = 0; g < 4; g++) {
            b->qs[4 * j + g] = (uint8_t)f[j].index[g];
            b->qh[j] |= (uint16_t)(f[j].index[g] >> 8 << 3 * g);
        }
    }
    const float most = largest_scale(f, 8);
    if (most == 0) return;
    const float d = most / 15, id = 1 / d;
    b->d = f32_to_f16(d * 1.125f);
    for (int j = 0; j < 8; j++)
        b->qh[j] |=
            (uint16_t)(scale_code(id, f[j].scale) << 12 | (f[j].down ? 0x8000 : 0));
}

/* ---- IQ1_M ------------------------------------------------------------------ */

/* A sorted weight's part in both sums, for each level and the four ways to shift two
 * halves: bit 0 for the second, 1 for the first. */
struct part {
    float a[3][4], b[3][4];
};

static void make_parts(const float *x, const float *w, const int *order, struct part *p)
{
    for (int j = 0; j < 16; j++) {
        const int i = order[j];
        for (int l = 0; l < 3; l++)
            for (int k = 0; k < 4; k++) {
                const float v = values[i < 8 ? k >> 1 : k & 1][l];
                p[j].a[l][k] = w[i] * v * x[i];
                p[j].b[l][k] = w[i] * v * v;
            }
    }
}

struct total {
    float a[4], b[4];
};

static inline void add(struct total *t, const struct part *p, int level)
{
    for (int k = 0; k < 4; k++) t->a[k] += p->a[level][k];
    for (int k = 0; k < 4; k++) t->b[k] += p->b[level][k];
}

static void cut_16(const struct part *p, struct cut *c)
{
    struct total before = { { 0 }, { 0 } }; /* `one` */
    for (int one = 0; one <= 16; one++) {
        struct total so_far = before; /* up to `two` */
        for (int two = one; two <= 16; two++) {
            struct total t = so_far;
            for (int j = two; j < 16; j++) add(&t, &p[j], 2);
            for (unsigned k = 0; k < 4; k++) better(t.a[k], t.b[k], one, two, k, c);
            if (two < 16) add(&so_far, &p[two], 1);
        }
        if (one < 16) add(&before, &p[one], 0);
    }
}

/* In f->down, bit 0 is for the first half. */
static void fit_16(const struct grid *grid, const float *x, const float *w, struct fit *f)
{
    int order[16];
    struct part p[16];
    struct cut c = { 0, -FLT_MAX, -1, -1, 0 };
    *f = (struct fit){ 0 };
    if (fabsf(largest(x, 16)) < 1e-7f) return;
    sort(x, 16, order);
    make_parts(x, w, order, p);
    cut_16(p, &c);
    if (c.one < 0) return;
    c.down = c.down >> 1 | (c.down & 1) << 1;
    finish(grid, x, w, 16, order, &c, f);
}

/* With all codes chosen, the scale that fits the whole super-block best. */
static float refit(const struct fit *f, const unsigned *code, const float *x,
                   const float *w, float d)
{
    float a = 0, b = 0;
    for (int j = 0; j < 16; j++) {
        uint16_t points[2];
        for (int g = 0; g < 2; g++) points[g] = grid_iq1[f[j].index[g]];
        for (int i = 0; i < 16; i++) {
            const float q = value_of(points, 16, f[j].down, i) * (float)(2 * code[j] + 1),
                        wq = w[16 * j + i] * q;
            a += wq * x[16 * j + i];
            b += wq * q;
        }
    }
    return b > 0 ? a / b : d;
}

static void encode_block_iq1_m(const float *x, const float *weights,
                               struct block_iq1_m *b)
{
    const struct grid *grid = grid_get(GRID_IQ1);
    float w[QK_K];
    struct fit f[16];
    unsigned code[16];
    memset(b, 0, sizeof *b);
    if (weights) importance(x, weights, QK_K, 2 * sum_of_squares(x, QK_K) / QK_K, w);
    for (int i = 0; i < QK_K && !weights; i++) w[i] = x[i] * x[i];
    for (int j = 0; j < 16; j++) {
        fit_16(grid, x + 16 * j, w + 16 * j, &f[j]);
        for (int g = 0; g < 2; g++) {
            b->qs[2 * j + g] = (uint8_t)f[j].index[g];
            b->qh[j] |= (uint8_t)(f[j].index[g] >> 8 << 4 * g);
        }
    }
    const float most = largest_scale(f, 16);
    if (most == 0) return;
    const float d = most / 15, id = 1 / d;
    for (int j = 0; j < 16; j++) {
        code[j] = scale_code(id, f[j].scale);
        b->scales[j / 4] |= (uint16_t)(code[j] << 3 * (j % 4));
        b->qh[j] |= (uint8_t)((f[j].down & 1) << 3 | (f[j].down >> 1) << 7);
    }
    const unsigned h = f32_to_f16(refit(f, code, x, w, d) * 1.1125f);
    for (int k = 0; k < 4; k++) b->scales[k] |= (uint16_t)((h >> 4 * k & 15) << 12);
}

#define ENCODE_ROWS(name)                                                                \
    decl_encode_fn(encode_##name)                                                        \
    {                                                                                    \
        struct block_##name *b = dst;                                                    \
        for (size_t i = 0; i < n; i += QK_K, b++)                                        \
            encode_block_##name(x + i, weights ? weights + i : NULL, b);                 \
    }
ENCODE_ROWS(iq1_s)
ENCODE_ROWS(iq1_m)
