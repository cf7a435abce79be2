/* encode_grid.c - encoders of IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S.
 *
 * A sub-block of 16 or 32 weights has signs and magnitudes apart.  Its scale is searched
 * among a handful of ranges around the largest magnitude; in each the groups of 8 or 4
 * magnitudes go to points of the grid, and the range that explains most wins.  Then the
 * scales become small integers times a binary16 for the super-block.
 *
 * All sums start at the first weight and round after each operation, as in search.h.
 * What the five types do differently is in `struct kind`. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grid_search.h"
#include "search.h"

#include <math.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Which groups get their points anew once the scale is known. */
enum refine { REFINE_OFF, REFINE_ALL, REFINE_ALWAYS };

struct kind {
    int n, dim, bits; /* weights in a sub-block and in a group; bits of a level */
    int levels;       /* 0..levels - 1, meaning 1, 3, 5... times the scale */
    float step;       /* ranges tried: top level + step * (-tries..tries) */
    int tries;
    float zero;         /* a largest magnitude below this is 0 */
    bool parity;        /* the number of minus signs in 8 weights is even */
    bool positive;      /* the largest magnitude is estimated (search_positive) */
    enum refine refine; /* OFF, ALL: if some group's levels were no point */
};

struct sub {
    float x[32], w[32]; /* magnitudes (one may be negative, for parity) and weights */
    float root[32];     /* sqrt(w) */
    float wx[32];       /* w * x */
};

/* A sub-block as it is stored, but for the scale. */
struct fit {
    bool zero; /* nothing but zeros */
    float scale;
    unsigned index[8]; /* of each group's point */
    uint8_t signs[4];  /* of 8 weights each */
};

/* ---- One sub-block ---------------------------------------------------------- */

/* Turn the sign of the weight where that costs least. */
static void make_even(const float *x, const float *w, float *magnitude, uint8_t *signs)
{
    int at = 0;
    float least = w[0] * x[0] * x[0];
    for (int i = 1; i < 8; i++) {
        const float cost = w[i] * x[i] * x[i];
        if (cost < least) {
            least = cost;
            at = i;
        }
    }
    magnitude[at] = -magnitude[at];
    *signs ^= (uint8_t)(1 << at);
}

ALWAYS_INLINE void load(const struct kind k, const float *x, const float *w,
                        struct sub *s, uint8_t *signs)
{
    for (int g = 0; g < k.n / 8; g++) {
        const float *v = x + 8 * g;
        signs[g] = 0;
        for (int i = 0; i < 8; i++) {
            s->x[8 * g + i] = v[i] >= 0 ? v[i] : -v[i];
            if (!(v[i] >= 0)) signs[g] |= (uint8_t)(1 << i);
        }
        if (k.parity && __builtin_parity(signs[g]))
            make_even(v, w + 8 * g, s->x + 8 * g, &signs[g]);
    }
    for (int i = 0; i < k.n; i++) {
        s->w[i] = w[i];
        s->root[i] = sqrtf(w[i]);
        s->wx[i] = w[i] * s->x[i];
    }
}

/* What each level of each weight of a group costs. */
ALWAYS_INLINE void make_costs(const struct kind k, const struct sub *s, int first,
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
ALWAYS_INLINE unsigned choose(const struct kind k, const struct grid *grid,
                              const struct sub *s, float id, float scale, unsigned which,
                              uint16_t *code)
{
    int level[32];
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
ALWAYS_INLINE void sums(const struct kind k, const struct sub *s, const uint16_t *code,
                        float *a, float *b)
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
ALWAYS_INLINE float search(const struct kind k, const struct grid *grid,
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
ALWAYS_INLINE void fit(const struct kind k, enum grid_id id, const float *x,
                       const float *w, struct fit *f)
{
    struct sub s;
    uint16_t code[8] = { 0 };
    uint8_t signs[4];
    *f = (struct fit){ .zero = true };
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
    const struct grid *grid = grid_get(id);
    scale = search(k, grid, &s, scale, most, code);
    const uint8_t flip = scale < 0 ? 0xff : 0;
    f->zero = false;
    f->scale = fabsf(scale);
    for (int g = 0; g < k.n / k.dim; g++) f->index[g] = grid_index(grid, code[g]);
    for (int g = 0; g < k.n / 8; g++) f->signs[g] = signs[g] ^ flip;
}

/* ---- The super-block -------------------------------------------------------- */

/* The weights of errors: by importance, or without these `base` and by size. */
static void make_weights(const float *x, const float *weights, float sigma2, float base,
                         float *w)
{
    if (weights) importance(x, weights, QK_K, sigma2, w);
    else
        for (int i = 0; i < QK_K; i++) w[i] = base + x[i] * x[i];
}

/* The largest scale is 31 times that of the super-block, the others are odd multiples.
 * False if all are 0. */
static bool make_scales(const struct fit *f, int n, float *d, uint8_t codes[16])
{
    float most = 0;
    for (int j = 0; j < n; j++)
        if (!(most > f[j].scale)) most = f[j].scale;
    if (most == 0) return false;
    *d = most / 31;
    const float id = 1 / *d;
    for (int j = 0; j < n; j++)
        codes[j] = (uint8_t)clamp(round_even(0.5f * (id * f[j].scale - 1)), 0, 15);
    return true;
}

/* Four times 7 signs and a scale. */
static uint32_t signs_and_scale(const uint8_t signs[4], unsigned scale)
{
    return (signs[0] & 127u) | (signs[1] & 127u) << 7 | (signs[2] & 127u) << 14 |
           (signs[3] & 127u) << 21 | scale << 28;
}

/* ---- IQ2_XXS ---------------------------------------------------------------- */

static void encode_block_iq2_xxs(const float *x, const float *weights,
                                 struct block_iq2_xxs *b)
{
    static const struct kind k = {
        32, 8, 2, 3, 0.1f, 6, 1e-15f, true, true, REFINE_ALWAYS
    };
    float w[QK_K], d;
    struct fit f[8];
    uint8_t scale[16];
    memset(b, 0, sizeof *b);
    make_weights(x, weights, sum_of_squares(x, QK_K) / QK_K, 0, w);
    for (int j = 0; j < 8; j++) fit(k, GRID_IQ2_XXS, x + 32 * j, w + 32 * j, &f[j]);
    if (!make_scales(f, 8, &d, scale)) return;
    b->d = f32_to_f16(d);
    for (int j = 0; j < 8; j++) {
        const unsigned *i = f[j].index;
        b->qs[2 * j] = i[0] | i[1] << 8 | i[2] << 16 | i[3] << 24;
        b->qs[2 * j + 1] = signs_and_scale(f[j].signs, scale[j]);
    }
}

/* ---- IQ2_XS, IQ2_S ---------------------------------------------------------- */

static void encode_block_iq2_xs(const float *x, const float *weights,
                                struct block_iq2_xs *b)
{
    static const struct kind k = {
        16, 8, 2, 3, 0.1f, 9, 1e-15f, true, false, REFINE_OFF
    };
    float w[QK_K], d;
    struct fit f[16];
    uint8_t scale[16];
    memset(b, 0, sizeof *b);
    make_weights(x, weights, sum_of_squares(x, QK_K) / QK_K, 0, w);
    for (int j = 0; j < 16; j++) fit(k, GRID_IQ2_XS, x + 16 * j, w + 16 * j, &f[j]);
    if (!make_scales(f, 16, &d, scale)) return;
    b->d = f32_to_f16(d);
    for (int j = 0; j < 16; j++) {
        for (int g = 0; g < 2; g++)
            b->qs[2 * j + g] = (uint16_t)(f[j].index[g] | (f[j].signs[g] & 127u) << 9);
        b->scales[j / 2] |= (uint8_t)(scale[j] << 4 * (j & 1));
    }
}

static void encode_block_iq2_s(const float *x, const float *weights,
                               struct block_iq2_s *b)
{
    static const struct kind k = {
        16, 8, 2, 3, 0.1f, 9, 1e-8f, false, false, REFINE_OFF
    };
    const float sigma2 = 2 * sum_of_squares(x, QK_K) / QK_K;
    float w[QK_K], d;
    struct fit f[16];
    uint8_t scale[16];
    memset(b, 0, sizeof *b);
    make_weights(x, weights, sigma2, 0.25f * sigma2, w);
    for (int j = 0; j < 16; j++) fit(k, GRID_IQ2_S, x + 16 * j, w + 16 * j, &f[j]);
    if (!make_scales(f, 16, &d, scale)) return;
    b->d = f32_to_f16(d * 0.9875f);
    for (int j = 0; j < 16; j++) {
        for (int g = 0; g < 2; g++) {
            b->qs[2 * j + g] = (uint8_t)f[j].index[g];
            b->qh[j / 2] |= (uint8_t)(f[j].index[g] >> 8 << (4 * (j & 1) + 2 * g));
            b->signs[2 * j + g] = f[j].signs[g];
        }
        b->scales[j / 2] |= (uint8_t)(scale[j] << 4 * (j & 1));
    }
}

/* ---- IQ3_XXS, IQ3_S --------------------------------------------------------- */

static void encode_block_iq3_xxs(const float *x, const float *weights,
                                 struct block_iq3_xxs *b)
{
    static const struct kind k = {
        32, 4, 3, 8, 0.2f, 15, 1e-8f, true, false, REFINE_OFF
    };
    float w[QK_K], d;
    struct fit f[8];
    uint8_t scale[16];
    memset(b, 0, sizeof *b);
    make_weights(x, weights, 2 * sum_of_squares(x, QK_K) / QK_K, 0, w);
    for (int j = 0; j < 8; j++) fit(k, GRID_IQ3_XXS, x + 32 * j, w + 32 * j, &f[j]);
    if (!make_scales(f, 8, &d, scale)) return;
    b->d = f32_to_f16(d * 1.0125f);
    for (int j = 0; j < 8; j++) {
        for (int g = 0; g < 8; g++) b->qs[8 * j + g] = (uint8_t)f[j].index[g];
        b->signs[j] = signs_and_scale(f[j].signs, scale[j]);
    }
}

/* llama.cpp leaves sub-blocks of zeros out of the indices and signs, so that those after
 * them come too early and decode wrong; `leave_out` does that too. */
ALWAYS_INLINE void encode_block_iq3_s_as(const float *x, const float *weights,
                                         bool leave_out, struct block_iq3_s *b)
{
    static const struct kind k = { 32, 4, 3, 8, 0.2f, 9, 0, false, false, REFINE_ALL };
    float w[QK_K], d;
    struct fit f[8];
    uint8_t scale[16];
    memset(b, 0, sizeof *b);
    make_weights(x, weights, 2 * sum_of_squares(x, QK_K) / QK_K, 0, w);
    for (int j = 0; j < 8; j++) fit(k, GRID_IQ3_S, x + 32 * j, w + 32 * j, &f[j]);
    if (!make_scales(f, 8, &d, scale)) return;
    b->d = f32_to_f16(d * 1.033f);
    for (int j = 0, slot = 0; j < 8; j++) {
        b->scales[j / 2] |= (uint8_t)(scale[j] << 4 * (j & 1));
        if (f[j].zero && leave_out) continue;
        for (int g = 0; g < 8; g++) {
            b->qs[8 * slot + g] = (uint8_t)f[j].index[g];
            b->qh[j] |= (uint8_t)(f[j].index[g] >> 8 << g);
        }
        memcpy(b->signs + 4 * slot++, f[j].signs, 4);
    }
}

static void encode_block_iq3_s(const float *x, const float *weights,
                               struct block_iq3_s *b)
{
    encode_block_iq3_s_as(x, weights, false, b);
}

static void encode_block_iq3_s_compat(const float *x, const float *weights,
                                      struct block_iq3_s *b)
{
    encode_block_iq3_s_as(x, weights, true, b);
}

#define ENCODE_ROWS(name, layout)                                                        \
    decl_encode_fn(encode_##name)                                                        \
    {                                                                                    \
        struct block_##layout *b = dst;                                                  \
        for (size_t i = 0; i < n; i += QK_K, b++)                                        \
            encode_block_##name(x + i, weights ? weights + i : NULL, b);                 \
    }
ENCODE_ROWS(iq2_xxs, iq2_xxs)
ENCODE_ROWS(iq2_xs, iq2_xs)
ENCODE_ROWS(iq2_s, iq2_s)
ENCODE_ROWS(iq3_xxs, iq3_xxs)
ENCODE_ROWS(iq3_s, iq3_s)
ENCODE_ROWS(iq3_s_compat, iq3_s)
