/* decode_k.c - reference decoders of the super-blocks of 256 weights whose codes are
 * numbers: Q2_K to Q8_K, IQ4_XS, TQ1_0 and TQ2_0.
 *
 * The scales (and mins) of 16 or 32 weights are themselves small integers, times one
 * binary16 for the whole super-block.  The order of operations is part of the definition:
 * scale, then product, then sum, each rounded to binary32. */
#include "blocks.h"
#include "decode_ref.h"
#include "fp.h"
#include "grids.h"
#include "scales.h"

/* The 2-bit code of weight i: the 32 bytes of a half hold 4 runs of 32 weights. */
static int code2(const uint8_t *qs, int i)
{
    return qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3;
}

decl_decode_fn(decode_q2_k_c)
{
    const struct block_q2_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        for (int i = 0; i < QK_K; i++) {
            const uint8_t s = b->scales[i / 16]; /* scale low, min high */
            dst[i] =
                d * (float)(s & 15) * (float)code2(b->qs, i) - dmin * (float)(s >> 4);
        }
    }
}

decl_decode_fn(decode_q3_k_c)
{
    const struct block_q3_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        uint8_t scale[16];
        unpack_scales_q3(b->scales, scale);
        for (int i = 0; i < QK_K; i++) {
            /* Bit i / 32 of the mask is the third bit, inverted: clear takes 4 away. */
            const int high = b->hmask[i % 32] >> i / 32 & 1 ? 0 : 4;
            dst[i] = d * (float)(scale[i / 16] - 32) * (float)(code2(b->qs, i) - high);
        }
    }
}

/* The 4-bit code of weight i: the 32 bytes of a quarter hold 2 runs of 32 weights. */
static int code4(const uint8_t *qs, int i)
{
    return qs[32 * (i / 64) + i % 32] >> 4 * (i / 32 & 1) & 15;
}

decl_decode_fn(decode_q4_k_c)
{
    const struct block_q4_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        uint8_t scale[8], min[8];
        unpack_scale_min(b->scales, scale, min);
        for (int i = 0; i < QK_K; i++)
            dst[i] = d * (float)scale[i / 32] * (float)code4(b->qs, i) -
                     dmin * (float)min[i / 32];
    }
}

decl_decode_fn(decode_q5_k_c)
{
    const struct block_q5_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
        uint8_t scale[8], min[8];
        unpack_scale_min(b->scales, scale, min);
        for (int i = 0; i < QK_K; i++) {
            const int code = code4(b->qs, i) | (b->qh[i % 32] >> i / 32 & 1) << 4;
            dst[i] = d * (float)scale[i / 32] * (float)code - dmin * (float)min[i / 32];
        }
    }
}

/* A half of 128 weights: 64 bytes with the low 4 bits of runs 0 1 and, in their high
 * halves, 2 3; 32 bytes with the high 2 bits of the four runs. */
decl_decode_fn(decode_q6_k_c)
{
    const struct block_q6_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_K; i++) {
            const int half = i / 128, run = i / 32 % 4, l = i % 32;
            const int low = b->ql[64 * half + 32 * (run & 1) + l] >> 4 * (run >> 1) & 15;
            const int high = b->qh[32 * half + l] >> 2 * run & 3;
            dst[i] = d * (float)b->scales[i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

decl_decode_fn(decode_q8_k_c)
{
    const struct block_q8_k *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K)
        for (int i = 0; i < QK_K; i++) dst[i] = b->d * (float)b->qs[i];
}

/* Eight blocks like those of IQ4_NL, with scales of 6 bits that mean -32..31. */
decl_decode_fn(decode_iq4_xs_c)
{
    const struct block_iq4_xs *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int k = 0; k < 8; k++) {
            const int low = b->scales_l[k / 2] >> 4 * (k & 1) & 15;
            const int scale = low | (b->scales_h >> 2 * k & 3) << 4;
            const float dl = d * (float)(scale - 32);
            for (int i = 0; i < 16; i++) {
                const uint8_t code = b->qs[16 * k + i];
                dst[32 * k + i] = dl * (float)levels_iq4_nl[code & 15];
                dst[32 * k + i + 16] = dl * (float)levels_iq4_nl[code >> 4];
            }
        }
    }
}

/* Digit k, 0 the most significant, of five ternary digits that a byte holds as a fraction
 * of 256: multiplying by 3 pushes a digit out at the top. */
static int ternary(uint8_t byte, int k)
{
    static const uint8_t power[5] = { 1, 3, 9, 27, 81 };
    return (uint8_t)(byte * power[k]) * 3 >> 8;
}

decl_decode_fn(decode_tq1_0_c)
{
    const struct block_tq1_0 *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_K; i++) {
            int digit; /* 32 bytes of five runs, 16 of five, 4 of four */
            if (i < 160) digit = ternary(b->qs[i % 32], i / 32);
            else if (i < 240) digit = ternary(b->qs[32 + i % 16], (i - 160) / 16);
            else digit = ternary(b->qh[i % 4], (i - 240) / 4);
            dst[i] = (float)(digit - 1) * d;
        }
    }
}

decl_decode_fn(decode_tq2_0_c)
{
    const struct block_tq2_0 *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_K; i++) dst[i] = (float)(code2(b->qs, i) - 1) * d;
    }
}
