/* encode_simple.c - encoders of the types with blocks of 32 weights and evenly spaced
 * levels, and of MXFP4.
 *
 * Without importances Q4 and Q5 take the scale from the largest values; with them they
 * search for it, and the importances are weighted by the size of the values compared with
 * the row's mean square. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grids.h"
#include "search.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* Towards zero; what x86 makes of values that fit no int, on every machine. */
static inline int to_int(float f)
{
    return f >= -0x1p31f && f < 0x1p31f ? (int)f : INT_MIN;
}

/* Ties away from zero, as roundf(). */
static inline int round_away(float f)
{
    const int i = to_int(f);
    if (i == INT_MIN) return i; /* no number to round */
    const float rest = f - (float)i;
    return rest >= 0.5f ? i + 1 : rest <= -0.5f ? i - 1 : i;
}

static inline float inverse(float d) { return d != 0 ? 1 / d : 0; }

static void pack_halves(const uint8_t codes[32], uint8_t qs[16])
{
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

static uint32_t pack_fifth_bits(const uint8_t codes[32])
{
    uint32_t qh = 0;
    for (int i = 0; i < 32; i++) qh |= (uint32_t)(codes[i] >> 4 & 1) << i;
    return qh;
}

/* ---- Q4_0, Q5_0: x ~ d * (code - half) ------------------------------------ */

static float symmetric(const float *x, int half, uint8_t codes[32])
{
    const float d = largest(x, 32) / (float)-half, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        const int8_t q = (int8_t)to_int(x[i] * id + ((float)half + 0.5f));
        codes[i] = (uint8_t)(q < 2 * half - 1 ? q : 2 * half - 1);
    }
    return d;
}

static float symmetric_weighted(const float *x, const float *weights, float sigma2,
                                int half, uint8_t codes[32])
{
    float w[32], scale;
    importance(x, weights, 32, sigma2, w);
    search_symmetric(x, w, 1, 32, half, &scale, codes);
    return scale;
}

decl_encode_fn(encode_q4_0)
{
    struct block_q4_0 *b = dst;
    const float sigma2 = weights ? sum_of_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n; i += QK_32, b++) {
        uint8_t codes[32];
        const float d = weights ? symmetric_weighted(x + i, weights + i, sigma2, 8, codes)
                                : symmetric(x + i, 8, codes);
        b->d = f32_to_f16(d);
        pack_halves(codes, b->qs);
    }
}

decl_encode_fn(encode_q5_0)
{
    struct block_q5_0 *b = dst;
    const float sigma2 = weights ? sum_of_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n; i += QK_32, b++) {
        uint8_t codes[32];
        const float d = weights
                            ? symmetric_weighted(x + i, weights + i, sigma2, 16, codes)
                            : symmetric(x + i, 16, codes);
        b->d = f32_to_f16(d);
        b->qh = pack_fifth_bits(codes);
        pack_halves(codes, b->qs);
    }
}

/* ---- Q4_1, Q5_1: x ~ d * code + m ----------------------------------------- */

static float affine(const float *x, int max, float *m, uint8_t codes[32])
{
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    const float d = (high - low) / (float)max, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        const int8_t q = (int8_t)to_int((x[i] - low) * id + 0.5f);
        codes[i] = (uint8_t)(q < max ? q : max);
    }
    *m = low;
    return d;
}

static float affine_weighted(const float *x, const float *weights, float sigma2, int max,
                             float *m, uint8_t codes[32])
{
    const struct search_affine how = { max, -0.9f, 0.05f, 36, false };
    float w[32], scale, min;
    importance(x, weights, 32, sigma2, w);
    search_affine(x, w, 1, 32, &how, &scale, &min, codes);
    *m = -min;
    return scale;
}

decl_encode_fn(encode_q4_1)
{
    struct block_q4_1 *b = dst;
    const float sigma2 = weights ? sum_of_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n; i += QK_32, b++) {
        uint8_t codes[32];
        float m;
        const float d = weights
                            ? affine_weighted(x + i, weights + i, sigma2, 15, &m, codes)
                            : affine(x + i, 15, &m, codes);
        b->d = f32_to_f16(d);
        b->m = f32_to_f16(m);
        pack_halves(codes, b->qs);
    }
}

decl_encode_fn(encode_q5_1)
{
    struct block_q5_1 *b = dst;
    const float sigma2 = weights ? sum_of_squares(x, n) / (float)n : 0;
    for (size_t i = 0; i < n; i += QK_32, b++) {
        uint8_t codes[32];
        float m;
        const float d = weights
                            ? affine_weighted(x + i, weights + i, sigma2, 31, &m, codes)
                            : affine(x + i, 31, &m, codes);
        b->d = f32_to_f16(d);
        b->m = f32_to_f16(m);
        b->qh = pack_fifth_bits(codes);
        pack_halves(codes, b->qs);
    }
}

/* ---- Q8_0, MXFP4: importances make no difference -------------------------- */

decl_encode_fn(encode_q8_0)
{
    (void)weights;
    struct block_q8_0 *b = dst;
    for (; n; n -= QK_32, b++, x += QK_32) {
        const float d = fabsf(largest(x, QK_32)) / 127, id = inverse(d);
        b->d = f32_to_f16(d);
        for (int i = 0; i < QK_32; i++) b->qs[i] = (int8_t)round_away(x[i] * id);
    }
}

/* The power of two that brings the largest value to 4..8.  The logarithm is rounded to
 * float first: just below a power of two it rounds up to it, and the bytes depend on
 * that. */
static uint8_t mxfp4_exponent(float most)
{
    if (!(most > 0)) return 0;
    return (uint8_t)to_int(floorf((float)log2((double)most)) - 2 + 127);
}

/* The nearest of the 16 values, the first of equals; levels rise with the code in each
 * sign, so only those of the value's sign are tried. */
static void mxfp4_codes(const float *x, float d, uint8_t codes[32])
{
    float error[32];
    for (int i = 0; i < 32; i++) {
        error[i] = fabsf(x[i]);
        codes[i] = 0;
    }
    for (int c = 1; c < 8; c++) {
        const float v = (float)levels_fp4[c] * d;
        for (int i = 0; i < 32; i++) {
            const float e = fabsf(v - fabsf(x[i]));
            if (e < error[i]) {
                error[i] = e;
                codes[i] = (uint8_t)(x[i] < 0 ? c + 8 : c);
            }
        }
    }
}

decl_encode_fn(encode_mxfp4)
{
    (void)weights;
    struct block_mxfp4 *b = dst;
    for (; n; n -= QK_32, b++, x += QK_32) {
        uint8_t codes[32];
        b->e = mxfp4_exponent(fabsf(largest(x, QK_32)));
        mxfp4_codes(x, e8m0_half(b->e), codes);
        pack_halves(codes, b->qs);
    }
}
