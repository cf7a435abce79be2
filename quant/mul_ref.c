/* mul_ref.c - reference products of quantized rows with encoded activations.
 *
 * Every type comes down to the same thing: codes in groups of 16 or 32 that share a scale
 * and a min, weight = scale * code - min.  An unpacker for each type says how; two loops
 * multiply, in the steps that mul.h prescribes. */
#include "act.h"
#include "blocks.h"
#include "fp.h"
#include "grids.h"
#include "mul_ref.h"
#include "scales.h"

#include <math.h>
#include <stdbool.h>

/* Scales and mins are given for every 16 weights, also where 32 share them.  In a block
 * of 256 mins are whole numbers times `min`; in one of 32 that is all. */
struct codes {
    int8_t q[QK_K];
    float scale[QK_K / 16], min;
    uint8_t mins[QK_K / 16];
};
typedef void (*unpack_fn)(struct codes *c, const void *block);

/* ---- 32 weights: i in the low half of byte i, 16 + i in the high half ---- */

static void nibbles(int8_t *q, const uint8_t *qs, int offset)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4) - offset);
    }
}

static void add_fifth_bits(int8_t *q, uint32_t qh)
{
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(q[i] + (int)(qh >> i & 1) * 16);
}

static void levels(int8_t *q, const uint8_t *qs, const int8_t level[16])
{
    for (int i = 0; i < 16; i++) {
        q[i] = level[qs[i] & 15];
        q[i + 16] = level[qs[i] >> 4];
    }
}

static void unpack_q4_0(struct codes *c, const void *block)
{
    const struct block_q4_0 *b = block;
    nibbles(c->q, b->qs, 8);
    c->scale[0] = f16_to_f32(b->d);
}

static void unpack_q4_1(struct codes *c, const void *block)
{
    const struct block_q4_1 *b = block;
    nibbles(c->q, b->qs, 0);
    c->scale[0] = f16_to_f32(b->d);
    c->min = -f16_to_f32(b->m);
}

static void unpack_q5_0(struct codes *c, const void *block)
{
    const struct block_q5_0 *b = block;
    nibbles(c->q, b->qs, 16);
    add_fifth_bits(c->q, b->qh);
    c->scale[0] = f16_to_f32(b->d);
}

static void unpack_q5_1(struct codes *c, const void *block)
{
    const struct block_q5_1 *b = block;
    nibbles(c->q, b->qs, 0);
    add_fifth_bits(c->q, b->qh);
    c->scale[0] = f16_to_f32(b->d);
    c->min = -f16_to_f32(b->m);
}

static void unpack_q8_0(struct codes *c, const void *block)
{
    const struct block_q8_0 *b = block;
    for (int i = 0; i < 32; i++) c->q[i] = b->qs[i];
    c->scale[0] = f16_to_f32(b->d);
}

static void unpack_iq4_nl(struct codes *c, const void *block)
{
    const struct block_iq4_nl *b = block;
    levels(c->q, b->qs, levels_iq4_nl);
    c->scale[0] = f16_to_f32(b->d);
}

static void unpack_mxfp4(struct codes *c, const void *block)
{
    const struct block_mxfp4 *b = block;
    levels(c->q, b->qs, levels_fp4);
    c->scale[0] = e8m0_half(b->e);
}

/* ---- 256 weights ---- */

/* Two bits of weight i: byte i % 32 of the half that i is in, bits 2 * (i % 128 / 32). */
static int two_bits(const uint8_t *qs, int i)
{
    return qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
}

static void unpack_q2_k(struct codes *c, const void *block)
{
    const struct block_q2_k *b = block;
    const float d = f16_to_f32(b->d);
    for (int i = 0; i < QK_K; i++) c->q[i] = (int8_t)two_bits(b->qs, i);
    c->min = f16_to_f32(b->dmin);
    for (int j = 0; j < 16; j++) {
        c->scale[j] = d * (float)(b->scales[j] & 15);
        c->mins[j] = b->scales[j] >> 4;
    }
}

static void unpack_q3_k(struct codes *c, const void *block)
{
    const struct block_q3_k *b = block;
    const float d = f16_to_f32(b->d);
    uint8_t scale[16];
    unpack_scales_q3(b->scales, scale);
    for (int i = 0; i < QK_K; i++)
        c->q[i] = (int8_t)(two_bits(b->qs, i) - (b->hmask[i % 32] >> i / 32 & 1 ? 0 : 4));
    for (int j = 0; j < 16; j++) c->scale[j] = d * (float)(scale[j] - 32);
}

/* Four bits of weight i in Q4_K and Q5_K: 64 weights in 32 bytes. */
static int four_bits(const uint8_t *qs, int i)
{
    return qs[i / 64 * 32 + i % 32] >> (i / 32 & 1) * 4 & 15;
}

static void scales_and_mins(struct codes *c, float d, float dmin,
                            const uint8_t packed[12])
{
    uint8_t scale[8], min[8];
    unpack_scale_min(packed, scale, min);
    c->min = dmin;
    for (int j = 0; j < 16; j++) {
        c->scale[j] = d * (float)scale[j / 2];
        c->mins[j] = min[j / 2];
    }
}

static void unpack_q4_k(struct codes *c, const void *block)
{
    const struct block_q4_k *b = block;
    for (int i = 0; i < QK_K; i++) c->q[i] = (int8_t)four_bits(b->qs, i);
    scales_and_mins(c, f16_to_f32(b->d), f16_to_f32(b->dmin), b->scales);
}

static void unpack_q5_k(struct codes *c, const void *block)
{
    const struct block_q5_k *b = block;
    for (int i = 0; i < QK_K; i++)
        c->q[i] = (int8_t)(four_bits(b->qs, i) | (b->qh[i % 32] >> i / 32 & 1) << 4);
    scales_and_mins(c, f16_to_f32(b->d), f16_to_f32(b->dmin), b->scales);
}

static void unpack_q6_k(struct codes *c, const void *block)
{
    const struct block_q6_k *b = block;
    const float d = f16_to_f32(b->d);
    for (int i = 0; i < QK_K; i++) {
        const int half = i / 128, k = i % 128 / 32; /* k: quarter of the half */
        const int low = b->ql[half * 64 + i % 32 + 32 * (k & 1)] >> k / 2 * 4 & 15;
        const int high = b->qh[half * 32 + i % 32] >> 2 * k & 3;
        c->q[i] = (int8_t)((low | high << 4) - 32);
    }
    for (int j = 0; j < 16; j++) c->scale[j] = d * (float)b->scales[j];
}

static void unpack_iq4_xs(struct codes *c, const void *block)
{
    const struct block_iq4_xs *b = block;
    const float d = f16_to_f32(b->d);
    for (int k = 0; k < 8; k++) {
        const int low = b->scales_l[k / 2] >> (k & 1) * 4 & 15;
        const int high = b->scales_h >> 2 * k & 3;
        levels(c->q + 32 * k, b->qs + 16 * k, levels_iq4_nl);
        c->scale[2 * k] = c->scale[2 * k + 1] = d * (float)((low | high << 4) - 32);
    }
}

/* ---- 256 weights on a grid; decode_grid.c says where the bits lie ---- */

/* n codes: magnitudes, negated where the sign bit is set. */
static void put_signed(int8_t *q, int n, uint64_t bytes, unsigned signs)
{
    for (int i = 0; i < n; i++) {
        const int v = (int)(bytes >> 8 * i & 255);
        q[i] = (int8_t)(signs >> i & 1 ? -v : v);
    }
}

/* The scale of group j of 16, in half steps of a quarter of d. */
static void set_scale_iq2(struct codes *c, int j, float d, unsigned scale)
{
    c->scale[j] = d * (0.5f + (float)scale) * 0.25f;
}

static void unpack_iq2_xxs(struct codes *c, const void *block)
{
    const struct block_iq2_xxs *b = block;
    for (int g = 0; g < 32; g++) {
        const uint32_t index = b->qs[2 * (g / 4)] >> 8 * (g % 4) & 255;
        const uint32_t word = b->qs[2 * (g / 4) + 1];
        put_signed(c->q + 8 * g, 8, grid_bytes_iq2(grid_iq2_xxs[index]),
                   grid_signs(word >> 7 * (g % 4) & 127));
        set_scale_iq2(c, g / 2, f16_to_f32(b->d), word >> 28);
    }
}

static void unpack_iq2_xs(struct codes *c, const void *block)
{
    const struct block_iq2_xs *b = block;
    for (int g = 0; g < 32; g++) {
        put_signed(c->q + 8 * g, 8, grid_bytes_iq2(grid_iq2_xs[b->qs[g] & 511]),
                   grid_signs(b->qs[g] >> 9));
        set_scale_iq2(c, g / 2, f16_to_f32(b->d), b->scales[g / 4] >> 2 * (g & 2) & 15);
    }
}

static void unpack_iq2_s(struct codes *c, const void *block)
{
    const struct block_iq2_s *b = block;
    for (int g = 0; g < 32; g++) {
        const unsigned index = b->qs[g] | (b->qh[g / 4] >> 2 * (g % 4) & 3u) << 8;
        put_signed(c->q + 8 * g, 8, grid_bytes_iq2(grid_iq2_s[index]), b->signs[g]);
        set_scale_iq2(c, g / 2, f16_to_f32(b->d), b->scales[g / 4] >> 2 * (g & 2) & 15);
    }
}

static void unpack_iq3_xxs(struct codes *c, const void *block)
{
    const struct block_iq3_xxs *b = block;
    for (int g = 0; g < 64; g++) {
        const uint32_t word = b->signs[g / 8];
        const unsigned signs = grid_signs(word >> 7 * (g / 2 % 4) & 127);
        put_signed(c->q + 4 * g, 4, grid_bytes_iq3_xxs(grid_iq3_xxs[b->qs[g]]),
                   signs >> 4 * (g & 1));
        c->scale[g / 4] = f16_to_f32(b->d) * (0.5f + (float)(word >> 28)) * 0.5f;
    }
}

static void unpack_iq3_s(struct codes *c, const void *block)
{
    const struct block_iq3_s *b = block;
    for (int g = 0; g < 64; g++) {
        const unsigned index = b->qs[g] | (b->qh[g / 8] >> g % 8 & 1u) << 8;
        const int scale = b->scales[g / 16] >> 4 * (g / 8 & 1) & 15;
        put_signed(c->q + 4 * g, 4, grid_bytes_iq3_s(grid_iq3_s[index]),
                   b->signs[g / 2] >> 4 * (g & 1));
        c->scale[g / 4] = f16_to_f32(b->d) * (float)(1 + 2 * scale);
    }
}

/* ---- The product ---- */

struct layout {
    unpack_fn unpack;
    int group; /* weights that share a scale */
    bool has_min;
    size_t block, bytes;
};

/* The products of n neighbours. */
static int32_t sum_codes(const int8_t *q, const int8_t *x, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += q[i] * x[i];
    return sum;
}

static float add_super_block(const struct layout *l, float y, const struct codes *c,
                             const struct act_block *x)
{
    float total = 0;
    for (int i = 0; i < QK_K; i += l->group)
        total =
            fmaf((float)sum_codes(c->q + i, x->q + i, l->group), c->scale[i / 16], total);
    if (l->has_min) {
        int32_t mins = 0;
        for (int j = 0; j < QK_K / 16; j++) mins += c->mins[j] * x->sum[j];
        total = fmaf((float)mins, -c->min, total);
    }
    return fmaf(total, x->d[0], y);
}

/* Block j of 32 of the activations x. */
static float add_block(const struct layout *l, float total, const struct codes *c,
                       const struct act_block *x, size_t j)
{
    float part = (float)sum_codes(c->q, x->q + QK_32 * j, QK_32) * c->scale[0];
    if (l->has_min)
        part = fmaf((float)(x->sum[2 * j] + x->sum[2 * j + 1]), -c->min, part);
    return fmaf(part, x->d[j], total);
}

/* y += the columns of an activation block, for all tokens. */
static void add_columns(const struct layout *l, float *y, size_t y_stride,
                        const uint8_t *w, const uint8_t *x, size_t x_stride,
                        size_t tokens, size_t columns)
{
    struct codes c[ACT_BLOCK / QK_32];
    for (size_t i = 0; i < columns; i += l->block)
        l->unpack(&c[i / l->block], w + i / l->block * l->bytes);
    for (size_t t = 0; t < tokens; t++) {
        const struct act_block *a = (const void *)(x + t * x_stride);
        float *to = y + t * y_stride, total = 0;
        if (l->block == QK_K) {
            *to = add_super_block(l, *to, c, a);
            continue;
        }
        for (size_t j = 0; j < columns / QK_32; j++)
            total = add_block(l, total, &c[j], a, j);
        *to += total;
    }
}

static void mul_ref(const struct layout *l, float *y, size_t y_stride, const void *w,
                    size_t w_stride, size_t rows, const void *x, size_t x_stride,
                    size_t tokens, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * w_stride, *act = x;
        for (size_t t = 0; t < tokens; t++) y[t * y_stride + r] = 0;
        for (size_t i = 0; i < n; i += ACT_BLOCK, act += sizeof(struct act_block))
            add_columns(l, y + r, y_stride, row + i / l->block * l->bytes, act, x_stride,
                        tokens, n - i < ACT_BLOCK ? n - i : ACT_BLOCK);
    }
}

#define MUL_REF(name, qk, group, has_min)                                                \
    decl_mul_fn(mul_##name##_c)                                                          \
    {                                                                                    \
        const struct layout l = { unpack_##name, group, has_min, qk,                     \
                                  sizeof(struct block_##name) };                         \
        mul_ref(&l, y, y_stride, w, w_stride, rows, x, x_stride, tokens, n);             \
    }

MUL_REF(q4_0, QK_32, 32, false)
MUL_REF(q4_1, QK_32, 32, true)
MUL_REF(q5_0, QK_32, 32, false)
MUL_REF(q5_1, QK_32, 32, true)
MUL_REF(q8_0, QK_32, 32, false)
MUL_REF(iq4_nl, QK_32, 32, false)
MUL_REF(mxfp4, QK_32, 32, false)
MUL_REF(q2_k, QK_K, 16, true)
MUL_REF(q3_k, QK_K, 16, false)
MUL_REF(q4_k, QK_K, 32, true)
MUL_REF(q5_k, QK_K, 32, true)
MUL_REF(q6_k, QK_K, 16, false)
MUL_REF(iq4_xs, QK_K, 32, false)
MUL_REF(iq2_xxs, QK_K, 32, false)
MUL_REF(iq2_xs, QK_K, 16, false)
MUL_REF(iq2_s, QK_K, 16, false)
MUL_REF(iq3_xxs, QK_K, 32, false)
MUL_REF(iq3_s, QK_K, 32, false)
