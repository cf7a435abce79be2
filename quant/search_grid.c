/* search_grid.c - see search_grid.h.
 *
 * All sums start at the first weight and round after each operation, as in search.h. */
#include "search_grid.h"
#include "search.h"

#include <math.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

struct sub {
    float x[32], w[32]; /* magnitudes and weights */
    float root[32];     /* sqrt(w) */
    float wx[32];       /* w * x */
};

ALWAYS_INLINE void load(const struct grid_kind k, const float *x, const float *w,
                        struct sub *s, uint8_t *signs)
{
    split_signs(&k, x, w, s->x, signs);
    for (int i = 0; i < k.n; i++) {
        s->w[i] = w[i];
        s->root[i] = sqrtf(w[i]);
        s->wx[i] = w[i] * s->x[i];
    }
}

/* What each level of each weight of a group costs. */
ALWAYS_INLINE void make_costs(const struct grid_kind k, const struct sub *s, int first,
                              float scale, float cost[32])
{
    for (int i = 0; i < k.dim; i++)
        for (int l = 0; l < k.levels; l++) {
            const float d = scale * (float)(2 * l + 1) - s->x[first + i];
            cost[(i << k.bits) + l] = s->root[first + i] * d * d;
        }
}

/* Points for the groups whose bit is set in `which`.  Returns the bits of those whose
 * levels were none. */
ALWAYS_INLINE unsigned choose(const struct grid_kind k, const struct grid *grid,
                              const struct sub *s, float id, float scale, unsigned which,
                              uint16_t *code)
{
    int level[32] = { 0 };
    unsigned off = 0;
    for (int i = 0; i < k.n; i++)
        level[i] = clamp(round_even(0.5f * (id * s->x[i] - 1)), 0, k.levels - 1);
    for (int g = 0; g < k.n / k.dim; g++) {
        if (!(which >> g & 1)) continue;
        unsigned c = 0;
        for (int i = 0; i < k.dim; i++) c |= (unsigned)level[k.dim * g + i] << k.bits * i;
        if (!grid_has(grid, c)) {
            float cost[32] = { 0 };
            make_costs(k, s, k.dim * g, scale, cost);
            c = grid_nearest(grid, c, cost);
            off |= 1u << g;
        }
        code[g] = (uint16_t)c;
    }
    return off;
}

/* A = sum w x q, B = sum w q^2: the best scale for these points is A / B, and the error
 * falls with A^2 / B. */
ALWAYS_INLINE void sums(const struct grid_kind k, const struct sub *s,
                        const uint16_t *code, float *a, float *b)
{
    float q[32];
    const unsigned mask = (1u << k.bits) - 1;
    for (int i = 0; i < k.n; i++)
        q[i] = (float)(2 * (code[i / k.dim] >> k.bits * (i % k.dim) & mask) + 1);
    *a = *b = 0;
    for (int i = 0; i < k.n; i++) {
        *a += s->wx[i] * q[i];
        *b += s->w[i] * q[i] * q[i];
    }
}

/* The scale and the points.  `most` is what the top level stands for at first. */
ALWAYS_INLINE float search(const struct grid_kind k, const struct grid *grid,
                           const struct sub *s, float scale, float most, uint16_t *code)
{
    const unsigned all = (1u << k.n / k.dim) - 1;
    const float top = (float)(2 * k.levels - 1);
    unsigned off = k.refine == REFINE_OFF ? 0 : all;
    float best = 0, a, b;
    for (int t = -k.tries; t <= k.tries; t++) {
        uint16_t c[8];
        const float id = (top + k.step * (float)t) / most;
        const unsigned o = choose(k, grid, s, id, 1 / id, all, c);
        sums(k, s, c, &a, &b);
        if (b > 0 && a * a > best * b) {
            scale = a / b;
            best = scale * a;
            off = o;
            memcpy(code, c, sizeof c);
        }
    }
    if (k.refine == REFINE_ALWAYS || (k.refine == REFINE_ALL && off)) off = all;
    if (!off || !(scale > 0)) return scale;
    choose(k, grid, s, 1 / scale, scale, off, code);
    sums(k, s, code, &a, &b);
    return b > 0 ? a / b : scale;
}

static float highest(const float *x, int n)
{
    float high = x[0];
    for (int i = 1; i < n; i++)
        if (x[i] > high) high = x[i];
    return high;
}

/* x has the signs; w are the weights of errors. */
ALWAYS_INLINE void fit(const struct grid_kind k, const struct grid *grid, const float *x,
                       const float *w, struct grid_fit *f)
{
    struct sub s = { { 0 }, { 0 }, { 0 }, { 0 } };
    uint16_t code[8] = { 0 };
    uint8_t signs[4];
    *f = (struct grid_fit){ .zero = true };
    load(k, x, w, &s, signs);
    float most = highest(s.x, k.n);
    if (k.zero > 0 ? most < k.zero : most == 0) return;
    float scale = most / (float)(2 * k.levels - 1);
    if (k.positive) {
        uint8_t levels[32];
        scale = search_positive(s.x, s.w, k.n, k.levels + 1, levels);
        most = scale * (float)k.levels;
        if (most <= 0) return;
    }
    scale = search(k, grid, &s, scale, most, code);
    const uint8_t flip = scale < 0 ? 0xff : 0;
    f->zero = false;
    f->scale = fabsf(scale);
    for (int g = 0; g < k.n / k.dim; g++) f->index[g] = grid_index(grid, code[g]);
    for (int g = 0; g < k.n / 8; g++) f->signs[g] = signs[g] ^ flip;
}

/* A copy of fit() for each kind. */
ALWAYS_INLINE void fit_all(enum grid_id id, const float *x, const float *w, int blocks,
                           struct grid_fit *f)
{
    const struct grid_kind k = grid_kinds[id];
    const struct grid *grid = grid_get(id);
    for (int j = 0; j < blocks; j++) fit(k, grid, x + k.n * j, w + k.n * j, &f[j]);
}

void search_grid(enum grid_id id, const float *x, const float *w, int blocks,
                 struct grid_fit *f)
{
    switch (id) {
    case GRID_IQ2_XXS: fit_all(GRID_IQ2_XXS, x, w, blocks, f); break;
    case GRID_IQ2_XS: fit_all(GRID_IQ2_XS, x, w, blocks, f); break;
    case GRID_IQ2_S: fit_all(GRID_IQ2_S, x, w, blocks, f); break;
    case GRID_IQ3_XXS: fit_all(GRID_IQ3_XXS, x, w, blocks, f); break;
    default: fit_all(GRID_IQ3_S, x, w, blocks, f); break;
    }
}
