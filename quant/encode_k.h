/* encode_k.h - encoders of Q2_K to Q6_K.
 *
 * A template, for encode_k.c and x86/encode_avx2.c and its like, which define
 * SEARCH(name), the searches of search.h and divide() as that instruction set has them,
 * and ENCODER(name), what the encoders are called.
 *
 * In three steps: search a scale (and a min) for each sub-block of 16 or 32 weights; make
 * these small integers times a binary16 for the whole super-block; choose the codes again
 * with the scales as they can be stored.  A sub-block whose stored scale is 0 keeps the
 * codes of the first step. */
#include "blocks.h"
#include "codes.h"
#include "fp.h"
#include "scales.h"
#include "search.h"

#include <math.h>
#include <string.h>

/* ---- The integers of the second step -------------------------------------- */

static void sums(const float *w, int blocks, int n, float *sum)
{
    for (int b = 0; b < blocks; b++) {
        sum[b] = 0;
        for (int i = 0; i < n; i++) sum[b] += w[b * n + i];
    }
}

static float highest(const float *v, int n)
{
    float high = 0;
    for (int i = 0; i < n; i++)
        if (v[i] > high) high = v[i];
    return high;
}

/* v ~ d * code, code in 0..max, with the largest value at max. */
static uint16_t scale_by_highest(const float *v, int n, int max, uint8_t *codes)
{
    const float high = highest(v, n), r = high > 0 ? (float)max / high : 0;
    for (int j = 0; j < n; j++) {
        const uint8_t l = (uint8_t)round_even(r * v[j]);
        codes[j] = l < max ? l : (uint8_t)max;
    }
    return f32_to_f16(high / (float)max);
}

/* ---- Q2_K ----------------------------------------------------------------- */

static void encode_block_q2_k(const float *x, const float *weights, struct block_q2_k *b)
{
    float w[QK_K], scale[16], min[16], sum[16];
    uint8_t codes[QK_K], ls[16], lm[16];
    if (weights) {
        const struct search_affine how = { 3, -0.9f, 0.05f, 36, false };
        importance(x, weights, QK_K, sum_of_squares(x, QK_K) / QK_K, w);
        SEARCH(affine)(x, w, 16, 16, &how, scale, min, codes);
        sums(w, 16, 16, sum);
        b->d = f32_to_f16(search_positive(scale, sum, 16, 15, ls));
        b->dmin = f32_to_f16(search_positive(min, sum, 16, 15, lm));
    } else {
        const struct search_affine how = { 3, -0.5f, 0.1f, 15, true };
        for (int i = 0; i < QK_K; i++) w[i] = fabsf(x[i]);
        SEARCH(affine)(x, w, 16, 16, &how, scale, min, codes);
        b->d = scale_by_highest(scale, 16, 15, ls);
        b->dmin = scale_by_highest(min, 16, 15, lm);
    }
    const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int j = 0; j < 16; j++) {
        b->scales[j] = (uint8_t)(ls[j] | lm[j] << 4);
        SEARCH(divide)
        (x + 16 * j, 16, d * (float)ls[j], dmin * (float)lm[j], 0, 3, codes + 16 * j);
    }
    pack2(codes, b->qs);
}

/* ---- Q4_K, Q5_K ----------------------------------------------------------- */

static const struct search_affine with_importance_q4 = { 15, -0.9f, 0.05f, 36, false },
                                  without_q4 = { 15, -1.0f, 0.1f, 20, false },
                                  with_importance_q5 = { 31, -0.9f, 0.05f, 36, false },
                                  without_q5 = { 31, -0.5f, 0.1f, 15, false };

/* Without importances: root mean square of the sub-block, plus the magnitude. */
static void weights_by_size(const float *x, int n, float *w)
{
    for (int j = 0; j < n; j += 32, x += 32, w += 32) {
        const float rms = sqrtf(sum_of_squares(x, 32) / 32);
        for (int i = 0; i < 32; i++) w[i] = rms + fabsf(x[i]);
    }
}

/* Two super-blocks are searched at once: 16 sub-blocks, as many as the widest vectors
 * have lanes. */
struct sub_blocks {
    float w[2 * QK_K], scale[16], min[16];
    uint8_t codes[2 * QK_K];
};

/* The first step; scales, d and dmin lie alike in both types. */
static void find_scale_min(const float *x, const float *weights, int blocks,
                           const struct search_affine *how, struct sub_blocks *s)
{
    if (weights)
        for (int b = 0; b < blocks; b++)
            importance(x + QK_K * b, weights + QK_K * b, QK_K,
                       2 * sum_of_squares(x + QK_K * b, QK_K) / QK_K, s->w + QK_K * b);
    else weights_by_size(x, QK_K * blocks, s->w);
    SEARCH(affine)(x, s->w, 8 * blocks, 32, how, s->scale, s->min, s->codes);
}

/* The other steps, for super-block b of them.  Returns its codes. */
static const uint8_t *store_scale_min(const float *x, bool weighted, int max,
                                      struct sub_blocks *s, int b, uint16_t d_dmin[2],
                                      uint8_t packed[12])
{
    const float *scale = s->scale + 8 * b, *min = s->min + 8 * b;
    uint8_t ls[8], lm[8], *codes = s->codes + QK_K * b;
    if (weighted) {
        float sum[8];
        sums(s->w + QK_K * b, 8, 32, sum);
        d_dmin[0] = f32_to_f16(search_positive(scale, sum, 8, 63, ls));
        d_dmin[1] = f32_to_f16(search_positive(min, sum, 8, 63, lm));
    } else {
        d_dmin[0] = scale_by_highest(scale, 8, 63, ls);
        d_dmin[1] = scale_by_highest(min, 8, 63, lm);
    }
    pack_scale_min(ls, lm, packed);
    const float d = f16_to_f32(d_dmin[0]), dmin = f16_to_f32(d_dmin[1]);
    for (int j = 0; j < 8; j++) SEARCH(divide)
    (x + QK_K * b + 32 * j, 32, d * (float)ls[j], dmin * (float)lm[j], 0, max,
     codes + 32 * j);
    return codes;
}

static void encode_blocks_q4_k(const float *x, const float *weights, int blocks,
                               struct block_q4_k *b)
{
    const struct search_affine *how = weights ? &with_importance_q4 : &without_q4;
    struct sub_blocks s;
    find_scale_min(x, weights, blocks, how, &s);
    for (int i = 0; i < blocks; i++, b++) {
        uint16_t d[2];
        pack4(store_scale_min(x, weights, how->max, &s, i, d, b->scales), b->qs);
        b->d = d[0];
        b->dmin = d[1];
    }
}

static void encode_blocks_q5_k(const float *x, const float *weights, int blocks,
                               struct block_q5_k *b)
{
    const struct search_affine *how = weights ? &with_importance_q5 : &without_q5;
    struct sub_blocks s;
    find_scale_min(x, weights, blocks, how, &s);
    for (int i = 0; i < blocks; i++, b++) {
        uint16_t d[2];
        const uint8_t *codes = store_scale_min(x, weights, how->max, &s, i, d, b->scales);
        b->d = d[0];
        b->dmin = d[1];
        pack4(codes, b->qs);
        pack_bit(codes, 4, b->qh);
    }
}

/* ---- Q3_K ----------------------------------------------------------------- */

/* 6 bits that mean -32..31, the scale of largest magnitude at -32. */
static uint16_t scales_q3_by_largest(const float scale[16], uint8_t ls[16])
{
    const float most = largest(scale, 16);
    memset(ls, 0, 16);
    if (most == 0) return 0;
    const float r = -32.0f / most;
    for (int j = 0; j < 16; j++)
        ls[j] = (uint8_t)(clamp(round_even(r * scale[j]), -32, 31) + 32);
    return f32_to_f16(1 / r);
}

static void encode_block_q3_k(const float *x, const float *weights, struct block_q3_k *b)
{
    float w[QK_K], scale[16], sum[16], d;
    uint8_t codes[QK_K], ls[16];
    if (weights) {
        importance(x, weights, QK_K, 2 * sum_of_squares(x, QK_K) / QK_K, w);
        SEARCH(symmetric)(x, w, 16, 16, 4, scale, codes);
        sums(w, 16, 16, sum);
        SEARCH(symmetric)(scale, sum, 1, 16, 32, &d, ls);
        b->d = f32_to_f16(d);
    } else {
        SEARCH(symmetric_q3)(x, 16, scale, codes);
        b->d = scales_q3_by_largest(scale, ls);
    }
    d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++)
        SEARCH(divide)(x + 16 * j, 16, d * (float)(ls[j] - 32), 0, -4, 3, codes + 16 * j);
    pack_scales_q3(ls, b->scales);
    pack2(codes, b->qs);
    pack_bit(codes, 2, b->hmask);
}

/* ---- Q6_K ----------------------------------------------------------------- */

static void encode_block_q6_k(const float *x, const float *weights, struct block_q6_k *b)
{
    float w[QK_K], scale[16];
    uint8_t codes[QK_K];
    for (int i = 0; i < QK_K && !weights; i++) w[i] = x[i] * x[i];
    SEARCH(symmetric)(x, weights ? weights : w, 16, 16, 32, scale, codes);
    const float most = largest(scale, 16);
    if (fabsf(most) < SEARCH_EPSILON) {
        memset(b, 0, sizeof *b);
        return;
    }
    const float r = -128.0f / most;
    b->d = f32_to_f16(1 / r);
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++) {
        const int ls = round_even(r * scale[j]);
        b->scales[j] = (int8_t)(ls < 127 ? ls : 127);
        SEARCH(divide)
        (x + 16 * j, 16, d * (float)b->scales[j], 0, -32, 31, codes + 16 * j);
    }
    pack6(codes, b->ql, b->qh);
    pack6(codes + 128, b->ql + 64, b->qh + 32);
}

#define ENCODE_ROWS(name)                                                                \
    decl_encode_fn(ENCODER(name))                                                        \
    {                                                                                    \
        struct block_##name *b = dst;                                                    \
        for (size_t i = 0; i < n; i += QK_K, b++)                                        \
            encode_block_##name(x + i, weights ? weights + i : NULL, b);                 \
    }
ENCODE_ROWS(q2_k)
ENCODE_ROWS(q3_k)
ENCODE_ROWS(q6_k)

#define ENCODE_ROWS_BY_TWO(name)                                                         \
    decl_encode_fn(ENCODER(name))                                                        \
    {                                                                                    \
        struct block_##name *b = dst;                                                    \
        for (size_t i = 0; i < n; i += 2 * QK_K, b += 2)                                 \
            encode_blocks_##name(x + i, weights ? weights + i : NULL,                    \
                                 n - i < 2 * QK_K ? 1 : 2, b);                           \
    }
ENCODE_ROWS_BY_TWO(q4_k)
ENCODE_ROWS_BY_TWO(q5_k)
