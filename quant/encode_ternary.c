/* encode_ternary.c - encoders of the types with two or three levels: Q1_0, Q2_0, TQ1_0
 * and TQ2_0.  Their scale is the mean or the largest magnitude; importances make no
 * difference. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "search.h"

#include <string.h>

/* Two levels, -d and d. */
decl_encode_fn(encode_q1_0)
{
    (void)weights;
    struct block_q1_0 *b = dst;
    for (; n; n -= QK_Q1_0, b++, x += QK_Q1_0) {
        float sum = 0;
        for (int i = 0; i < QK_Q1_0; i++) sum += fabsf(x[i]);
        b->d = f32_to_f16(sum / QK_Q1_0);
        memset(b->qs, 0, sizeof b->qs);
        for (int i = 0; i < QK_Q1_0; i++) b->qs[i / 8] |= (uint8_t)((x[i] >= 0) << i % 8);
    }
}

/* The nearest of -1, 0, 1 times the largest magnitude, stored from 0; returns that. */
static float ternary(const float *x, int n, uint8_t *codes)
{
    const float d = fabsf(largest(x, n)), id = d > 0 ? 1 / d : 0;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp(round_away(x[i] * id), -1, 1) + 1);
    return d;
}

/* The fourth level, 2 d, is not used. */
decl_encode_fn(encode_q2_0)
{
    (void)weights;
    struct block_q2_0 *b = dst;
    for (; n; n -= QK_Q2_0, b++, x += QK_Q2_0) {
        uint8_t codes[QK_Q2_0];
        b->d = f32_to_f16(ternary(x, QK_Q2_0, codes));
        memset(b->qs, 0, sizeof b->qs);
        for (int i = 0; i < QK_Q2_0; i++)
            b->qs[i / 4] |= (uint8_t)(codes[i] << 2 * (i % 4));
    }
}

/* A byte of a half holds weights 32 apart. */
decl_encode_fn(encode_tq2_0)
{
    (void)weights;
    struct block_tq2_0 *b = dst;
    for (; n; n -= QK_K, b++, x += QK_K) {
        uint8_t codes[QK_K];
        b->d = f32_to_f16(ternary(x, QK_K, codes));
        memset(b->qs, 0, sizeof b->qs);
        for (int i = 0; i < QK_K; i++)
            b->qs[32 * (i / 128) + i % 32] |= (uint8_t)(codes[i] << 2 * (i % 128 / 32));
    }
}

/* Up to five digits to the base 3, `apart` codes from one to the next, the first highest,
 * as a fraction of 256: decoders multiply by 3 and see the digit come out on top. */
static uint8_t digits(const uint8_t *codes, int n, int apart)
{
    unsigned v = 0;
    for (int i = 0; i < 5; i++) v = 3 * v + (i < n ? codes[apart * i] : 0u);
    return (uint8_t)((v * 256 + 242) / 243);
}

decl_encode_fn(encode_tq1_0)
{
    (void)weights;
    struct block_tq1_0 *b = dst;
    for (; n; n -= QK_K, b++, x += QK_K) {
        uint8_t codes[QK_K];
        b->d = f32_to_f16(ternary(x, QK_K, codes));
        for (int i = 0; i < 32; i++) b->qs[i] = digits(codes + i, 5, 32);
        for (int i = 0; i < 16; i++) b->qs[32 + i] = digits(codes + 160 + i, 5, 16);
        for (int i = 0; i < 4; i++) b->qh[i] = digits(codes + 240 + i, 4, 4);
    }
}
