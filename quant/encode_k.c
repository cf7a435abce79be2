/* encode_k.c - encoders of Q2_K to Q6_K.
 *
 * In three steps: search a scale (and a min) for each sub-block of 16 or 32 weights; make
 * these small integers times a binary16 for the whole super-block; choose the codes again
 * with the scales as they can be stored.  A sub-block whose stored scale is 0 keeps the
 * codes of the first step. */
#include "blocks.h"
#include "encode_ref.h"
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

/* ---- The codes of the third step ------------------------------------------ */

/* Codes of n weights: nearest to (x + add) / d within low..high, stored from 0. */
static void codes_for(const float *x, int n, float d, float add, int low, int high,
                      uint8_t *codes)
{
    if (d == 0) return;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp(round_even((x[i] + add) / d), low, high) - low);
}

/* 2-bit codes: a byte of a half holds weights 32 apart. */
static void pack2(const uint8_t *codes, uint8_t qs[64])
{
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 128 * h + i;
            qs[32 * h + i] = (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 |
                                       (c[96] & 3) << 6);
        }
}

/* 4-bit codes: a byte of a quarter holds weights 32 apart. */
static void pack4(const uint8_t *codes, uint8_t qs[128])
{
    for (int q = 0; q < 4; q++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 64 * q + i;
            qs[32 * q + i] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
        }
}

/* Bit `bit` of code i goes to bit i / 32 of byte i % 32. */
static void pack_bit(const uint8_t *codes, int bit, uint8_t mask[32])
{
    memset(mask, 0, 32);
    for (int i = 0; i < QK_K; i++)
        mask[i % 32] |= (uint8_t)((codes[i] >> bit & 1) << i / 32);
}

/* ---- Q2_K ----------------------------------------------------------------- */

static void encode_block_q2_k(const float *x, const float *weights, struct block_q2_k *b)
{
    float w[QK_K], scale[16], min[16], sum[16];
    uint8_t codes[QK_K], ls[16], lm[16];
    if (weights) {
        const struct search_affine how = { 3, -0.9f, 0.05f, 36, false };
        importance(x, weights, QK_K, sum_of_squares(x, QK_K) / QK_K, w);
        search_affine(x, w, 16, 16, &how, scale, min, codes);
        sums(w, 16, 16, sum);
        b->d = f32_to_f16(search_positive(scale, sum, 16, 15, ls));
        b->dmin = f32_to_f16(search_positive(min, sum, 16, 15, lm));
    } else {
        const struct search_affine how = { 3, -0.5f, 0.1f, 15, true };
        for (int i = 0; i < QK_K; i++) w[i] = fabsf(x[i]);
        search_affine(x, w, 16, 16, &how, scale, min, codes);
        b->d = scale_by_highest(scale, 16, 15, ls);
        b->dmin = scale_by_highest(min, 16, 15, lm);
    }
    const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int j = 0; j < 16; j++) {
        b->scales[j] = (uint8_t)(ls[j] | lm[j] << 4);
        codes_for(x + 16 * j, 16, d * (float)ls[j], dmin * (float)lm[j], 0, 3,
                  codes + 16 * j);
    }
    pack2(codes, b->qs);
}

/* ---- Q4_K, Q5_K ----------------------------------------------------------- */

static const struct search_affine with_importance_q4 = { 15, -0.9f, 0.05f, 36, false },
                                  without_q4 = { 15, -1.0f, 0.1f, 20, false },
                                  with_importance_q5 = { 31, -0.9f, 0.05f, 36, false },
                                  without_q5 = { 31, -0.5f, 0.1f, 15, false };

/* Without importances: root mean square of the sub-block, plus the magnitude. */
static void weights_by_size(const float *x, float *w)
{
    for (int j = 0; j < 8; j++, x += 32, w += 32) {
        const float rms = sqrtf(sum_of_squares(x, 32) / 32);
        for (int i = 0; i < 32; i++) w[i] = rms + fabsf(x[i]);
    }
}

/* All three steps; scales, d and dmin lie alike in both types. */
static void encode_scale_min(const float *x, const float *weights,
                             const struct search_affine *how, uint16_t d_dmin[2],
                             uint8_t packed[12], uint8_t codes[QK_K])
{
    float w[QK_K], scale[8], min[8], sum[8];
    uint8_t ls[8], lm[8];
    if (weights) importance(x, weights, QK_K, 2 * sum_of_squares(x, QK_K) / QK_K, w);
    else weights_by_size(x, w);
    search_affine(x, w, 8, 32, how, scale, min, codes);
    if (weights) {
        sums(w, 8, 32, sum);
        d_dmin[0] = f32_to_f16(search_positive(scale, sum, 8, 63, ls));
        d_dmin[1] = f32_to_f16(search_positive(min, sum, 8, 63, lm));
    } else {
        d_dmin[0] = scale_by_highest(scale, 8, 63, ls);
        d_dmin[1] = scale_by_highest(min, 8, 63, lm);
    }
    pack_scale_min(ls, lm, packed);
    const float d = f16_to_f32(d_dmin[0]), dmin = f16_to_f32(d_dmin[1]);
    for (int j = 0; j < 8; j++)
        codes_for(x + 32 * j, 32, d * (float)ls[j], dmin * (float)lm[j], 0, how->max,
                  codes + 32 * j);
}

static void encode_block_q4_k(const float *x, const float *weights, struct block_q4_k *b)
{
    uint16_t d[2];
    uint8_t codes[QK_K];
    encode_scale_min(x, weights, weights ? &with_importance_q4 : &without_q4, d,
                     b->scales, codes);
    b->d = d[0];
    b->dmin = d[1];
    pack4(codes, b->qs);
}

static void encode_block_q5_k(const float *x, const float *weights, struct block_q5_k *b)
{
    uint16_t d[2];
    uint8_t codes[QK_K];
    encode_scale_min(x, weights, weights ? &with_importance_q5 : &without_q5, d,
                     b->scales, codes);
    b->d = d[0];
    b->dmin = d[1];
    pack4(codes, b->qs);
    pack_bit(codes, 4, b->qh);
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
        search_symmetric(x, w, 16, 16, 4, scale, codes);
        sums(w, 16, 16, sum);
        search_symmetric(scale, sum, 1, 16, 32, &d, ls);
        b->d = f32_to_f16(d);
    } else {
        search_symmetric_q3(x, 16, scale, codes);
        b->d = scales_q3_by_largest(scale, ls);
    }
    d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++)
        codes_for(x + 16 * j, 16, d * (float)(ls[j] - 32), 0, -4, 3, codes + 16 * j);
    pack_scales_q3(ls, b->scales);
    pack2(codes, b->qs);
    pack_bit(codes, 2, b->hmask);
}

/* ---- Q6_K ----------------------------------------------------------------- */

/* A half: runs 0 1 of 32 codes in the low nibbles of 64 bytes, 2 3 in the high ones; the
 * upper two bits of all four in 32 more. */
static void pack6(const uint8_t *codes, uint8_t ql[64], uint8_t qh[32])
{
    for (int i = 0; i < 32; i++) {
        const uint8_t *c = codes + i;
        ql[i] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
        ql[i + 32] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
        qh[i] =
            (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
    }
}

static void encode_block_q6_k(const float *x, const float *weights, struct block_q6_k *b)
{
    float w[QK_K], scale[16];
    uint8_t codes[QK_K];
    for (int i = 0; i < QK_K && !weights; i++) w[i] = x[i] * x[i];
    search_symmetric(x, weights ? weights : w, 16, 16, 32, scale, codes);
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
        codes_for(x + 16 * j, 16, d * (float)b->scales[j], 0, -32, 31, codes + 16 * j);
    }
    pack6(codes, b->ql, b->qh);
    pack6(codes + 128, b->ql + 64, b->qh + 32);
}

#define ENCODE_ROWS(name)                                                                \
    decl_encode_fn(encode_##name)                                                        \
    {                                                                                    \
        struct block_##name *b = dst;                                                    \
        for (size_t i = 0; i < n; i += QK_K, b++)                                        \
            encode_block_##name(x + i, weights ? weights + i : NULL, b);                 \
    }
ENCODE_ROWS(q2_k)
ENCODE_ROWS(q3_k)
ENCODE_ROWS(q4_k)
ENCODE_ROWS(q5_k)
ENCODE_ROWS(q6_k)
