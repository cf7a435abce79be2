/* unpack.cuh - stored weights as the device multiplies them: codes of 8 bits and scales.
 *
 * Every quantized type comes down to units of 32 weights: signed codes, and for each 32
 * or each half of 16 a scale and maybe a min; weight = scale * code - min.  Lane t of
 * four takes word t of both halves (weights 4t.. and 16 + 4t..), which is how mma has its
 * operands (device.cuh) and how most types store them: one load gives both.
 *
 * weights<type> has
 *
 *   block, bytes   weights and bytes of a block
 *   groups         scales in a unit: 1 or 2
 *   has_min        whether a min is subtracted
 *   codes()        words lo and hi of unit u of block b, for lane t
 *   scales()       of unit u of block b
 *
 * The layouts are those of quant/blocks.h, which C++ cannot read: offsets in bytes stand
 * here as numbers.  quant/decode*.c are the meaning of the types; scales are computed in
 * the same order, so that the decoded weights are the same bits. */
#ifndef INFER_GPU_UNPACK_CUH
#define INFER_GPU_UNPACK_CUH

#include "device.cuh"
#include "tables.h"

/* ---- Loads: 4 bytes from p, which is aligned to so many -----------------------------
 */

static inline __device__ uint32_t byte_at(const uint8_t *p) { return read(p); }
static inline __device__ uint32_t word4(const uint8_t *p)
{
    return read((const uint32_t *)p);
}
static inline __device__ uint32_t bits16(const uint8_t *p)
{
    return read((const uint16_t *)p);
}
static inline __device__ uint32_t word2(const uint8_t *p)
{
    return bits16(p) | bits16(p + 2) << 16;
}
static inline __device__ uint32_t word1(const uint8_t *p)
{
    return byte_at(p) | byte_at(p + 1) << 8 | byte_at(p + 2) << 16 | byte_at(p + 3) << 24;
}
static inline __device__ float half_at(const uint8_t *p)
{
    return half_to_float((uint16_t)bits16(p));
}

/* ---- Four codes at once ---------------------------------------------------------------
 */

/* Bytes below 128, minus k, which is at most 128. */
static inline __device__ uint32_t bytes_less(uint32_t x, uint32_t k)
{
    return ((x | 0x80808080) - k * 0x01010101) ^ 0x80808080;
}
/* The low four bits, each in a byte. */
static inline __device__ uint32_t spread_bits(uint32_t bits)
{
    return (bits & 15) * 0x00204081 & 0x01010101;
}
/* Bytes of 1 to 127, negated where the low four bits of `signs` are set. */
static inline __device__ uint32_t bytes_signed(uint32_t x, uint32_t signs)
{
    const uint32_t negative = spread_bits(signs);
    return (x ^ negative * 255) + negative;
}
/* Seven signs and the eighth, which makes their number even. */
static inline __device__ uint32_t all_signs(uint32_t signs7)
{
    return signs7 | (count_bits(signs7) & 1) << 7;
}
/* The levels of 8 codes of 4 bits: low halves of the bytes of q, and high ones. */
static inline __device__ void levels16(const uint32_t table[4], uint32_t q, uint32_t *lo,
                                       uint32_t *hi)
{
    uint32_t v[2];
#pragma unroll
    for (int i = 0; i < 2; i++, q >>= 16) {
        const uint32_t at = q & 0x7777;
        v[i] = pick_bytes(pick_bytes(read(table), read(table + 1), at),
                          pick_bytes(read(table + 2), read(table + 3), at),
                          0x3210 | (q >> 1 & 0x4444));
    }
    *lo = pick_bytes(v[0], v[1], 0x6420);
    *hi = pick_bytes(v[0], v[1], 0x7531);
}

template <uint32_t type> struct weights;

#define WEIGHTS(type, block_, bytes_, groups_, has_min_)                                 \
    template <> struct weights<type> {                                                   \
        enum { block = block_, bytes = bytes_, groups = groups_, has_min = has_min_ };   \
        static __device__ void codes(const uint8_t *b, uint32_t u, uint32_t t,           \
                                     const struct grid_tables *grids, uint32_t *lo,      \
                                     uint32_t *hi);                                      \
        static __device__ void scales(const uint8_t *b, uint32_t u, float *s, float *m); \
    };
#define CODES(type)                                                                      \
    inline __device__ void weights<type>::codes(                                         \
        const uint8_t *b, uint32_t u, uint32_t t, const struct grid_tables *grids,       \
        uint32_t *lo, uint32_t *hi)
#define SCALES(type)                                                                     \
    inline __device__ void weights<type>::scales(const uint8_t *b, uint32_t u, float *s, \
                                                 float *m)
#define UNUSED(x) (void)(x)

/* ---- Blocks of 32: weight i in the low half of byte i, 16 + i in the high one
 * ---------- */

WEIGHTS(GGF_Q4_0, 32, 18, 1, 0)
CODES(GGF_Q4_0)
{
    UNUSED(u), UNUSED(grids);
    const uint32_t q = word2(b + 2 + 4 * t);
    *lo = bytes_less(q & 0x0f0f0f0f, 8);
    *hi = bytes_less(q >> 4 & 0x0f0f0f0f, 8);
}
SCALES(GGF_Q4_0)
{
    UNUSED(u), UNUSED(m);
    s[0] = half_at(b);
}

WEIGHTS(GGF_Q4_1, 32, 20, 1, 1)
CODES(GGF_Q4_1)
{
    UNUSED(u), UNUSED(grids);
    const uint32_t q = word4(b + 4 + 4 * t);
    *lo = q & 0x0f0f0f0f;
    *hi = q >> 4 & 0x0f0f0f0f;
}
SCALES(GGF_Q4_1)
{
    UNUSED(u);
    s[0] = half_at(b);
    m[0] = -half_at(b + 2);
}

/* Bit i of four bytes is the fifth bit of weight i. */
WEIGHTS(GGF_Q5_0, 32, 22, 1, 0)
CODES(GGF_Q5_0)
{
    UNUSED(u), UNUSED(grids);
    const uint32_t q = word2(b + 6 + 4 * t), high = word2(b + 2) >> 4 * t;
    *lo = bytes_less((q & 0x0f0f0f0f) | spread_bits(high) << 4, 16);
    *hi = bytes_less((q >> 4 & 0x0f0f0f0f) | spread_bits(high >> 16) << 4, 16);
}
SCALES(GGF_Q5_0)
{
    UNUSED(u), UNUSED(m);
    s[0] = half_at(b);
}

WEIGHTS(GGF_Q5_1, 32, 24, 1, 1)
CODES(GGF_Q5_1)
{
    UNUSED(u), UNUSED(grids);
    const uint32_t q = word4(b + 8 + 4 * t), high = word4(b + 4) >> 4 * t;
    *lo = (q & 0x0f0f0f0f) | spread_bits(high) << 4;
    *hi = (q >> 4 & 0x0f0f0f0f) | spread_bits(high >> 16) << 4;
}
SCALES(GGF_Q5_1)
{
    UNUSED(u);
    s[0] = half_at(b);
    m[0] = -half_at(b + 2);
}

WEIGHTS(GGF_Q8_0, 32, 34, 1, 0)
CODES(GGF_Q8_0)
{
    UNUSED(u), UNUSED(grids);
    *lo = word2(b + 2 + 4 * t);
    *hi = word2(b + 18 + 4 * t);
}
SCALES(GGF_Q8_0)
{
    UNUSED(u), UNUSED(m);
    s[0] = half_at(b);
}

WEIGHTS(GGF_IQ4_NL, 32, 18, 1, 0)
CODES(GGF_IQ4_NL)
{
    UNUSED(u);
    levels16(grids->iq4_nl, word2(b + 2 + 4 * t), lo, hi);
}
SCALES(GGF_IQ4_NL)
{
    UNUSED(u), UNUSED(m);
    s[0] = half_at(b);
}

/* The scale is a power of two: half of 2^(e - 127), for levels that are doubled. */
WEIGHTS(GGF_MXFP4, 32, 17, 1, 0)
CODES(GGF_MXFP4)
{
    UNUSED(u);
    levels16(grids->fp4, word1(b + 1 + 4 * t), lo, hi);
}
SCALES(GGF_MXFP4)
{
    UNUSED(u), UNUSED(m);
    const uint32_t e = byte_at(b + 0);
    s[0] = bits_float(e > 1 ? (e - 1) << 23 : 0x00200000u << e);
}

/* ---- Super-blocks of 256, codes of 2 to 6 bits
 * ------------------------------------------ */

/* Two bits of the weights of unit u: 32 bytes hold four units. */
static inline __device__ uint32_t two_bits(uint32_t q, uint32_t u)
{
    return q >> 2 * (u % 4) & 0x03030303;
}

/* 16 bytes, scale low and min high; 64 of codes; d and dmin. */
WEIGHTS(GGF_Q2_K, 256, 84, 2, 1)
CODES(GGF_Q2_K)
{
    UNUSED(grids);
    const uint8_t *q = b + 16 + 32 * (u / 4) + 4 * t;
    *lo = two_bits(word4(q), u);
    *hi = two_bits(word4(q + 16), u);
}
SCALES(GGF_Q2_K)
{
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    const uint32_t both = bits16(b + 2 * u);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        s[i] = mul(d, (float)(both >> 8 * i & 15));
        m[i] = mul(dmin, (float)(both >> (8 * i + 4) & 15));
    }
}

/* 32 bytes of third bits, inverted; 64 of codes; 12 of scales; d. */
WEIGHTS(GGF_Q3_K, 256, 110, 2, 0)
CODES(GGF_Q3_K)
{
    UNUSED(grids);
    const uint8_t *q = b + 32 + 32 * (u / 4) + 4 * t, *mask = b + 4 * t;
    *lo = bytes_less(two_bits(word2(q), u) | (word2(mask) >> u & 0x01010101) << 2, 4);
    *hi = bytes_less(
        two_bits(word2(q + 16), u) | (word2(mask + 16) >> u & 0x01010101) << 2, 4);
}
SCALES(GGF_Q3_K)
{
    UNUSED(m);
    const uint8_t *packed = b + 96;
    const float d = half_at(b + 108);
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t j = 2 * u + i;
        const int low = byte_at(packed + j % 8) >> 4 * (j / 8) & 15;
        const int high = byte_at(packed + 8 + j % 4) >> 2 * (j / 4) & 3;
        s[i] = mul(d, (float)((low | high << 4) - 32));
    }
}

/* d, dmin; 12 bytes of scales and mins; and then: */
static inline __device__ void scales_4_5(const uint8_t *b, uint32_t u, float *s, float *m)
{
    const uint32_t dd = word4(b), at = 8 * (u % 4);
    const uint32_t first = word4(b + 4) >> at, second = word4(b + 8) >> at;
    uint32_t scale = first & 63, min = second & 63;
    if (u >= 4) {
        const uint32_t low = word4(b + 12) >> at;
        scale = (low & 15) | (first >> 6 & 3) << 4;
        min = (low >> 4 & 15) | (second >> 6 & 3) << 4;
    }
    s[0] = mul(half_to_float((uint16_t)dd), (float)scale);
    m[0] = mul(half_to_float((uint16_t)(dd >> 16)), (float)min);
}

/* 128 bytes of codes, 32 for two units. */
WEIGHTS(GGF_Q4_K, 256, 144, 1, 1)
CODES(GGF_Q4_K)
{
    UNUSED(grids);
    const uint8_t *q = b + 16 + 32 * (u / 2) + 4 * t;
    *lo = word4(q) >> 4 * (u & 1) & 0x0f0f0f0f;
    *hi = word4(q + 16) >> 4 * (u & 1) & 0x0f0f0f0f;
}
SCALES(GGF_Q4_K) { scales_4_5(b, u, s, m); }

/* 32 bytes of fifth bits before them. */
WEIGHTS(GGF_Q5_K, 256, 176, 1, 1)
CODES(GGF_Q5_K)
{
    UNUSED(grids);
    const uint8_t *q = b + 48 + 32 * (u / 2) + 4 * t, *high = b + 16 + 4 * t;
    *lo = (word4(q) >> 4 * (u & 1) & 0x0f0f0f0f) | (word4(high) >> u & 0x01010101) << 4;
    *hi = (word4(q + 16) >> 4 * (u & 1) & 0x0f0f0f0f) |
          (word4(high + 16) >> u & 0x01010101) << 4;
}
SCALES(GGF_Q5_K) { scales_4_5(b, u, s, m); }

/* 128 bytes of low bits, 64 for four units; 64 of the upper two bits; scales; d. */
WEIGHTS(GGF_Q6_K, 256, 210, 2, 0)
CODES(GGF_Q6_K)
{
    UNUSED(grids);
    const uint32_t half = u / 4, run = u % 4;
    const uint8_t *q = b + 64 * half + 32 * (run & 1) + 4 * t;
    const uint8_t *high = b + 128 + 32 * half + 4 * t;
    *lo = bytes_less(
        (word2(q) >> 4 * (run >> 1) & 0x0f0f0f0f) | two_bits(word2(high), u) << 4, 32);
    *hi = bytes_less((word2(q + 16) >> 4 * (run >> 1) & 0x0f0f0f0f) |
                         two_bits(word2(high + 16), u) << 4,
                     32);
}
SCALES(GGF_Q6_K)
{
    UNUSED(m);
    const float d = half_at(b + 208);
    const uint32_t both = bits16(b + 192 + 2 * u);
    s[0] = mul(d, (float)(int8_t)(both & 255));
    s[1] = mul(d, (float)(int8_t)(both >> 8));
}

WEIGHTS(GGF_IQ4_XS, 256, 136, 1, 0)
CODES(GGF_IQ4_XS) { levels16(grids->iq4_nl, word4(b + 8 + 16 * u + 4 * t), lo, hi); }
SCALES(GGF_IQ4_XS)
{
    UNUSED(m);
    const uint32_t head = word4(b); /* d, and the upper bits of the scales */
    const int low = byte_at(b + 4 + u / 2) >> 4 * (u & 1) & 15,
              high = head >> (16 + 2 * u) & 3;
    s[0] = mul(half_to_float((uint16_t)head), (float)((low | high << 4) - 32));
}

/* ---- Super-blocks on a grid
 * ---------------------------------------------------------------- */

/* Of a unit, lane t has halves of groups of 8: group t / 2 and group 2 + t / 2, the first
 * or second four of each; or groups t and 4 + t of 4. */
static inline __device__ uint32_t on_grid8(const uint32_t (*grid)[2], uint32_t index,
                                           uint32_t signs, uint32_t t)
{
    return bytes_signed(read(&grid[index][t & 1]), signs >> 4 * (t & 1));
}
static inline __device__ float scale_iq2(float d, uint32_t scale)
{
    return mul(mul(d, 0.5f + (float)scale), 0.25f);
}

/* For a unit two words: four indices; four times 7 signs and a scale. */
WEIGHTS(GGF_IQ2_XXS, 256, 66, 1, 0)
CODES(GGF_IQ2_XXS)
{
    const uint8_t *q = b + 2 + 8 * u;
    const uint32_t word = word2(q + 4) >> 7 * (t / 2);
    *lo = on_grid8(grids->iq2_xxs, byte_at(q + t / 2), all_signs(word & 127), t);
    *hi =
        on_grid8(grids->iq2_xxs, byte_at(q + 2 + t / 2), all_signs(word >> 14 & 127), t);
}
SCALES(GGF_IQ2_XXS)
{
    UNUSED(m);
    s[0] = scale_iq2(half_at(b), bits16(b + 8 + 8 * u) >> 12);
}

/* For a group of 8 nine bits of index, seven of signs. */
WEIGHTS(GGF_IQ2_XS, 256, 74, 2, 0)
CODES(GGF_IQ2_XS)
{
    const uint8_t *q = b + 2 + 8 * u + 2 * (t / 2);
    const uint32_t first = bits16(q), second = bits16(q + 4);
    *lo = on_grid8(grids->iq2_xs, first & 511, all_signs(first >> 9), t);
    *hi = on_grid8(grids->iq2_xs, second & 511, all_signs(second >> 9), t);
}
SCALES(GGF_IQ2_XS)
{
    UNUSED(m);
    const float d = half_at(b);
    s[0] = scale_iq2(d, byte_at(b + 66 + u) & 15);
    s[1] = scale_iq2(d, byte_at(b + 66 + u) >> 4);
}

WEIGHTS(GGF_IQ2_S, 256, 82, 2, 0)
CODES(GGF_IQ2_S)
{
    const uint8_t *q = b + 2 + 4 * u + t / 2, *signs = q + 32;
    const uint32_t high = byte_at(b + 66 + u) >> 2 * (t / 2);
    *lo = on_grid8(grids->iq2_s, byte_at(q + 0) | (high & 3) << 8, byte_at(signs + 0), t);
    *hi = on_grid8(grids->iq2_s, byte_at(q + 2) | (high >> 4 & 3) << 8,
                   byte_at(signs + 2), t);
}
SCALES(GGF_IQ2_S)
{
    UNUSED(m);
    const float d = half_at(b);
    s[0] = scale_iq2(d, byte_at(b + 74 + u) & 15);
    s[1] = scale_iq2(d, byte_at(b + 74 + u) >> 4);
}

WEIGHTS(GGF_IQ3_XXS, 256, 98, 1, 0)
CODES(GGF_IQ3_XXS)
{
    const uint8_t *q = b + 2 + 8 * u + t;
    const uint32_t word = word2(b + 66 + 4 * u) >> 7 * (t / 2);
    *lo = bytes_signed(read(&grids->iq3_xxs[byte_at(q + 0)]),
                       all_signs(word & 127) >> 4 * (t & 1));
    *hi = bytes_signed(read(&grids->iq3_xxs[byte_at(q + 4)]),
                       all_signs(word >> 14 & 127) >> 4 * (t & 1));
}
SCALES(GGF_IQ3_XXS)
{
    UNUSED(m);
    const float scale = (float)(bits16(b + 68 + 4 * u) >> 12);
    s[0] = mul(mul(half_at(b), 0.5f + scale), 0.5f);
}

WEIGHTS(GGF_IQ3_S, 256, 110, 1, 0)
CODES(GGF_IQ3_S)
{
    const uint8_t *q = b + 2 + 8 * u + t, *signs = b + 74 + 4 * u + t / 2;
    const uint32_t high = byte_at(b + 66 + u) >> t;
    *lo = bytes_signed(read(&grids->iq3_s[byte_at(q + 0) | (high & 1) << 8]),
                       byte_at(signs + 0) >> 4 * (t & 1));
    *hi = bytes_signed(read(&grids->iq3_s[byte_at(q + 4) | (high >> 4 & 1) << 8]),
                       byte_at(signs + 2) >> 4 * (t & 1));
}
SCALES(GGF_IQ3_S)
{
    UNUSED(m);
    const int scale = byte_at(b + 106 + u / 2) >> 4 * (u & 1) & 15;
    s[0] = mul(half_at(b), (float)(1 + 2 * scale));
}

/* Levels -1, 0, 1 moved by an eighth up or down: in eighths, -9 to 9. */
static inline __device__ uint32_t ternary(const struct grid_tables *grids, uint32_t index,
                                          uint32_t down, uint32_t t)
{
    return bytes_less(read(&grids->iq1[index][t & 1]) * 8 + (down ? 0 : 0x02020202), 9);
}

WEIGHTS(GGF_IQ1_S, 256, 50, 1, 0)
CODES(GGF_IQ1_S)
{
    const uint8_t *q = b + 2 + 4 * u + t / 2;
    const uint32_t head = bits16(b + 34 + 2 * u), high = head >> 3 * (t / 2);
    *lo = ternary(grids, byte_at(q + 0) | (high & 7) << 8, head >> 15, t);
    *hi = ternary(grids, byte_at(q + 2) | (high >> 6 & 7) << 8, head >> 15, t);
}
SCALES(GGF_IQ1_S)
{
    UNUSED(m);
    const uint32_t scale = bits16(b + 34 + 2 * u) >> 12 & 7;
    s[0] = mul(mul(half_at(b), (float)(2 * scale + 1)), 0.125f);
}

/* d lies in the top four bits of the four words of scales. */
WEIGHTS(GGF_IQ1_M, 256, 56, 2, 0)
CODES(GGF_IQ1_M)
{
    const uint8_t *q = b + 4 * u + t / 2, *head = b + 32 + 2 * u;
    const uint32_t first = byte_at(head + 0) >> 4 * (t / 2) & 15,
                   second = byte_at(head + 1) >> 4 * (t / 2) & 15;
    *lo = ternary(grids, byte_at(q + 0) | (first & 7) << 8, first & 8, t);
    *hi = ternary(grids, byte_at(q + 2) | (second & 7) << 8, second & 8, t);
}
SCALES(GGF_IQ1_M)
{
    UNUSED(m);
    const uint32_t h = bits16(b + 48) >> 12 | (bits16(b + 50) >> 12) << 4 |
                       (bits16(b + 52) >> 12) << 8 | (bits16(b + 54) >> 12) << 12;
    const uint32_t both = bits16(b + 48 + 2 * (u / 2)) >> 6 * (u & 1);
    const float d = half_to_float((uint16_t)h);
    s[0] = mul(mul(d, (float)(2 * (both & 7) + 1)), 0.125f);
    s[1] = mul(mul(d, (float)(2 * (both >> 3 & 7) + 1)), 0.125f);
}

#undef UNUSED
#undef SCALES
#undef CODES
#undef WEIGHTS

/* ---- Floats: elements i to i + 3 of a row, i a multiple of 4
 * ---------------------------------- */

template <uint32_t type> struct floats;
template <> struct floats<GGF_F32> {
    enum { bytes = 4 };
    static __device__ float4 four(const uint8_t *row, uint32_t i)
    {
        return read((const float4 *)(row + 4 * (size_t)i));
    }
};
template <> struct floats<GGF_F16> {
    enum { bytes = 2 };
    static __device__ float4 four(const uint8_t *row, uint32_t i)
    {
        const uint2 v = read((const uint2 *)(row + 2 * (size_t)i));
        return make_float4(
            half_to_float((uint16_t)v.x), half_to_float((uint16_t)(v.x >> 16)),
            half_to_float((uint16_t)v.y), half_to_float((uint16_t)(v.y >> 16)));
    }
};
template <> struct floats<GGF_BF16> {
    enum { bytes = 2 };
    static __device__ float4 four(const uint8_t *row, uint32_t i)
    {
        const uint2 v = read((const uint2 *)(row + 2 * (size_t)i));
        return make_float4(bits_float(v.x << 16), bits_float(v.x & 0xffff0000),
                           bits_float(v.y << 16), bits_float(v.y & 0xffff0000));
    }
};

/* ---- All of them
 * --------------------------------------------------------------------------------- */

/* clang-format off */
#define CODED_TYPES(X) \
    X(GGF_Q4_0) X(GGF_Q4_1) X(GGF_Q5_0) X(GGF_Q5_1) X(GGF_Q8_0) X(GGF_IQ4_NL) \
    X(GGF_MXFP4) X(GGF_Q2_K) X(GGF_Q3_K) X(GGF_Q4_K) X(GGF_Q5_K) X(GGF_Q6_K) \
    X(GGF_IQ4_XS) X(GGF_IQ2_XXS) X(GGF_IQ2_XS) X(GGF_IQ2_S) X(GGF_IQ3_XXS) \
    X(GGF_IQ3_S) X(GGF_IQ1_S) X(GGF_IQ1_M)
#define FLOAT_TYPES(X) X(GGF_F32) X(GGF_F16) X(GGF_BF16)
/* clang-format on */

/* Bytes of a row of n weights. */
static inline __host__ __device__ size_t row_bytes_of(uint32_t type, uint32_t n)
{
    switch (type) {
#define BYTES_OF(T)                                                                      \
    case T: return (size_t)(n / (uint32_t)weights<T>::block) * weights<T>::bytes;
        CODED_TYPES(BYTES_OF)
#undef BYTES_OF
#define BYTES_OF(T)                                                                      \
    case T: return (size_t)n * floats<T>::bytes;
        FLOAT_TYPES(BYTES_OF)
#undef BYTES_OF
    default: return 0;
    }
}

#endif
