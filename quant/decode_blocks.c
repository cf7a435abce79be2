/* decode_blocks.c - reference decoders of the types with blocks of 32 to 128 weights.
 *
 * The order of operations is part of the definition: a product, then a sum, each rounded
 * to binary32.  In blocks of 32 with 4-bit codes, weight i sits in the low half of byte i
 * and weight 16 + i in the high half. */
#include "blocks.h"
#include "decode_ref.h"
#include "fp.h"
#include "grids.h"

decl_decode_fn(decode_q4_0_c)
{
    const struct block_q4_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)((b->qs[i] & 15) - 8) * d;
            dst[i + 16] = (float)((b->qs[i] >> 4) - 8) * d;
        }
    }
}

decl_decode_fn(decode_q4_1_c)
{
    const struct block_q4_1 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)(b->qs[i] & 15) * d + m;
            dst[i + 16] = (float)(b->qs[i] >> 4) * d + m;
        }
    }
}

/* Bit i of qh is the fifth bit of weight i. */
static int code5(const uint8_t *qs, uint32_t qh, int i)
{
    const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (int)(qh >> i & 1) << 4;
}

decl_decode_fn(decode_q5_0_c)
{
    const struct block_q5_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_32; i++) dst[i] = (float)(code5(b->qs, b->qh, i) - 16) * d;
    }
}

decl_decode_fn(decode_q5_1_c)
{
    const struct block_q5_1 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
        for (int i = 0; i < QK_32; i++) dst[i] = (float)code5(b->qs, b->qh, i) * d + m;
    }
}

decl_decode_fn(decode_q8_0_c)
{
    const struct block_q8_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_32; i++) dst[i] = (float)b->qs[i] * d;
    }
}

decl_decode_fn(decode_q8_1_c)
{
    const struct block_q8_1 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_32; i++) dst[i] = (float)b->qs[i] * d;
    }
}

/* 16 bytes of codes to 32 weights: a level by table, times the scale. */
static void decode_levels(const int8_t levels[16], float d, const uint8_t *qs, float *dst)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = (float)levels[qs[i] & 15] * d;
        dst[i + 16] = (float)levels[qs[i] >> 4] * d;
    }
}

decl_decode_fn(decode_iq4_nl_c)
{
    const struct block_iq4_nl *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        decode_levels(levels_iq4_nl, f16_to_f32(b->d), b->qs, dst);
}

decl_decode_fn(decode_mxfp4_c)
{
    const struct block_mxfp4 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        decode_levels(levels_fp4, e8m0_half(b->e), b->qs, dst);
}

/* A scale for 16 weights; low halves and high halves of 8 bytes are neighbours. */
decl_decode_fn(decode_nvfp4_c)
{
    const struct block_nvfp4 *b = src;
    for (; n; n -= QK_NVFP4, b++)
        for (int s = 0; s < 4; s++, dst += 16) {
            const float d = ue4m3_half(b->d[s]);
            for (int i = 0; i < 8; i++) {
                dst[i] = (float)levels_fp4[b->qs[8 * s + i] & 15] * d;
                dst[i + 8] = (float)levels_fp4[b->qs[8 * s + i] >> 4] * d;
            }
        }
}

/* Levels -1, 0, 1, 2, four to a byte. */
decl_decode_fn(decode_q2_0_c)
{
    const struct block_q2_0 *b = src;
    for (; n; n -= QK_Q2_0, b++, dst += QK_Q2_0) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_Q2_0; i++)
            dst[i] = (float)((b->qs[i / 4] >> 2 * (i % 4) & 3) - 1) * d;
    }
}

/* A set bit is +d, a clear one -d. */
decl_decode_fn(decode_q1_0_c)
{
    const struct block_q1_0 *b = src;
    for (; n; n -= QK_Q1_0, b++, dst += QK_Q1_0) {
        const float d = f16_to_f32(b->d);
        for (int i = 0; i < QK_Q1_0; i++) dst[i] = b->qs[i / 8] >> i % 8 & 1 ? d : -d;
    }
}
