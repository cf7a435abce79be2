/* unpack.cuh - stored weights as the device multiplies them: codes of 8 bits and scales.
 *
 * Every quantized type comes down to units of 32 weights: signed codes, and for each 32
 * or each half of 16 a scale and maybe a min; weight = scale * code - min.  Word t of
 * four of a half has weights 4t and the next three: lane t of four takes it of both
 * halves, which is how mma has its operands (device.cuh) and how most types store them:
 * one load gives both.
 *
 * weights<type> has
 *
 *   block, bytes   weights and bytes of a block
 *   align          what a block's address, and bytes, are a multiple of, as far as loads
 *                  can use it
 *   groups         scales in a unit: 1 or 2
 *   has_min        whether a min is subtracted
 *   codes()        words lo and hi of unit u of block b, for t; book: its codebook
 *   scales()       of unit u of block b
 *   mins()         of the unit, whole numbers, which times min_of() are the mins
 *
 * b is where the block's bytes are: of struct in_global here, or one like it.
 *
 * The layouts are those of quant/blocks.h, which C++ cannot read: offsets in bytes stand
 * here as numbers.  quant/decode*.c are the meaning of the types; scales are computed in
 * the same order, so that the decoded weights are the same bits. */
#ifndef INFER_GPU_UNPACK_CUH
#define INFER_GPU_UNPACK_CUH

#include "codebook.cuh"

/* ---- A block in memory of the device ------------------------------------------------
 */

/* byte(), half() and word(): one, two and four bytes from byte i on, where half() wants
 * i even and word() a multiple of align, or of 4. */
template <int align> struct in_global {
    const uint8_t *p;
    __device__ in_global from(uint32_t i) const { return { p + i }; }
    __device__ uint32_t byte(uint32_t i) const { return read(p + i); }
    __device__ uint32_t half(uint32_t i) const { return read((const uint16_t *)(p + i)); }
    __device__ uint32_t word(uint32_t i) const
    {
        if (align >= 4) return read((const uint32_t *)(p + i));
        if (align == 2) return half(i) | half(i + 2) << 16;
        return byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    }
};

/* The number that two bytes are. */
template <class B> static inline __device__ float half_at(B b, uint32_t i)
{
    return half_to_float((uint16_t)b.half(i));
}

/* Byte i of a word, not negative, times d, which is a binary16: its product with 2^23 and
 * both products are exact, and so is this. */
static inline __device__ float times_byte(float d, uint32_t word, uint32_t i)
{
    const float shifted = bits_float(pick_bytes(word, 0x4b000000, 0x7440 | i));
    return fma1(d, shifted, -8388608.0f * d);
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
template <class K>
static inline __device__ void levels16(K book, uint32_t q, uint32_t *lo, uint32_t *hi)
{
    /* Of all eight codes: three bits to pick among 8 levels, the fourth among those. */
    const uint32_t at = q & 0x77777777, half = (q >> 1 & 0x44444444) | 0x32103210;
    uint32_t v[2];
#pragma unroll
    for (int i = 0; i < 2; i++)
        v[i] = pick_bytes(pick_bytes(book.word(0), book.word(1), at >> 16 * i),
                          pick_bytes(book.word(2), book.word(3), at >> 16 * i),
                          half >> 16 * i);
    *lo = pick_bytes(v[0], v[1], 0x6420);
    *hi = pick_bytes(v[0], v[1], 0x7531);
}

template <uint32_t type> struct weights;

#define WEIGHTS(type, block_, bytes_, align_, groups_, has_min_)                         \
    template <> struct weights<type> {                                                   \
        enum {                                                                           \
            block = block_,                                                              \
            bytes = bytes_,                                                              \
            align = align_,                                                              \
            groups = groups_,                                                            \
            has_min = has_min_                                                           \
        };                                                                               \
        template <class B, class K>                                                      \
        static __device__ void codes(B b, uint32_t u, uint32_t t, K book, uint32_t *lo,  \
                                     uint32_t *hi);                                      \
        template <class B> static __device__ void scales(B b, uint32_t u, float *s);     \
        template <class B> static __device__ void mins(B b, uint32_t u, uint32_t *m);    \
        template <class B> static __device__ float min_of(B b);                          \
    };
#define CODES(type)                                                                      \
    template <class B, class K>                                                          \
    inline __device__ void weights<type>::codes(B b, uint32_t u, uint32_t t, K book,     \
                                                uint32_t *lo, uint32_t *hi)
#define SCALES(type)                                                                     \
    template <class B>                                                                   \
    inline __device__ void weights<type>::scales(B b, uint32_t u, float *s)
#define MINS(type)                                                                       \
    template <class B>                                                                   \
    inline __device__ void weights<type>::mins(B b, uint32_t u, uint32_t *m)
#define MIN_OF(type) template <class B> inline __device__ float weights<type>::min_of(B b)
#define UNUSED(x)    (void)(x)

/* ---- Blocks of 32: weight i in the low half of byte i, 16 + i in the high one
 * ---------- */

WEIGHTS(GGF_Q4_0, 32, 18, 2, 1, 0)
CODES(GGF_Q4_0)
{
    UNUSED(u), UNUSED(book);
    const uint32_t q = b.word(2 + 4 * t);
    *lo = bytes_less(q & 0x0f0f0f0f, 8);
    *hi = bytes_less(q >> 4 & 0x0f0f0f0f, 8);
}
SCALES(GGF_Q4_0)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}

WEIGHTS(GGF_Q4_1, 32, 20, 4, 1, 1)
CODES(GGF_Q4_1)
{
    UNUSED(u), UNUSED(book);
    const uint32_t q = b.word(4 + 4 * t);
    *lo = q & 0x0f0f0f0f;
    *hi = q >> 4 & 0x0f0f0f0f;
}
SCALES(GGF_Q4_1)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}
MINS(GGF_Q4_1)
{
    UNUSED(b), UNUSED(u);
    m[0] = 1;
}
MIN_OF(GGF_Q4_1) { return -half_at(b, 2); }

/* Bit i of four bytes is the fifth bit of weight i. */
WEIGHTS(GGF_Q5_0, 32, 22, 2, 1, 0)
CODES(GGF_Q5_0)
{
    UNUSED(u), UNUSED(book);
    const uint32_t q = b.word(6 + 4 * t), high = b.word(2) >> 4 * t;
    *lo = bytes_less((q & 0x0f0f0f0f) | spread_bits(high) << 4, 16);
    *hi = bytes_less((q >> 4 & 0x0f0f0f0f) | spread_bits(high >> 16) << 4, 16);
}
SCALES(GGF_Q5_0)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}

WEIGHTS(GGF_Q5_1, 32, 24, 4, 1, 1)
CODES(GGF_Q5_1)
{
    UNUSED(u), UNUSED(book);
    const uint32_t q = b.word(8 + 4 * t), high = b.word(4) >> 4 * t;
    *lo = (q & 0x0f0f0f0f) | spread_bits(high) << 4;
    *hi = (q >> 4 & 0x0f0f0f0f) | spread_bits(high >> 16) << 4;
}
SCALES(GGF_Q5_1)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}
MINS(GGF_Q5_1)
{
    UNUSED(b), UNUSED(u);
    m[0] = 1;
}
MIN_OF(GGF_Q5_1) { return -half_at(b, 2); }

WEIGHTS(GGF_Q8_0, 32, 34, 2, 1, 0)
CODES(GGF_Q8_0)
{
    UNUSED(u), UNUSED(book);
    *lo = b.word(2 + 4 * t);
    *hi = b.word(18 + 4 * t);
}
SCALES(GGF_Q8_0)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}

WEIGHTS(GGF_IQ4_NL, 32, 18, 2, 1, 0)
CODES(GGF_IQ4_NL)
{
    UNUSED(u);
    levels16(book, b.word(2 + 4 * t), lo, hi);
}
SCALES(GGF_IQ4_NL)
{
    UNUSED(u);
    s[0] = half_at(b, 0);
}

/* The scale is a power of two: half of 2^(e - 127), for levels that are doubled. */
WEIGHTS(GGF_MXFP4, 32, 17, 1, 1, 0)
CODES(GGF_MXFP4)
{
    UNUSED(u);
    levels16(book, b.word(1 + 4 * t), lo, hi);
}
SCALES(GGF_MXFP4)
{
    UNUSED(u);
    const uint32_t e = b.byte(0);
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
WEIGHTS(GGF_Q2_K, 256, 84, 4, 2, 1)
CODES(GGF_Q2_K)
{
    UNUSED(book);
    const B q = b.from(16 + 32 * (u / 4) + 4 * t);
    *lo = two_bits(q.word(0), u);
    *hi = two_bits(q.word(16), u);
}
SCALES(GGF_Q2_K)
{
    const float d = half_at(b, 80);
    const uint32_t both = b.half(2 * u);
    s[0] = mul(d, (float)(both & 15));
    s[1] = mul(d, (float)(both >> 8 & 15));
}
MINS(GGF_Q2_K)
{
    const uint32_t both = b.half(2 * u);
    m[0] = both >> 4 & 15;
    m[1] = both >> 12;
}
MIN_OF(GGF_Q2_K) { return half_at(b, 82); }

/* 32 bytes of third bits, inverted; 64 of codes; 12 of scales; d. */
WEIGHTS(GGF_Q3_K, 256, 110, 2, 2, 0)
CODES(GGF_Q3_K)
{
    UNUSED(book);
    const B q = b.from(32 + 32 * (u / 4) + 4 * t), mask = b.from(4 * t);
    *lo = bytes_less(two_bits(q.word(0), u) | (mask.word(0) >> u & 0x01010101) << 2, 4);
    *hi = bytes_less(two_bits(q.word(16), u) | (mask.word(16) >> u & 0x01010101) << 2, 4);
}
SCALES(GGF_Q3_K)
{
    const B packed = b.from(96);
    const float d = half_at(b, 108);
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t j = 2 * u + i;
        const int low = packed.byte(j % 8) >> 4 * (j / 8) & 15;
        const int high = packed.byte(8 + j % 4) >> 2 * (j / 4) & 3;
        s[i] = mul(d, (float)((low | high << 4) - 32));
    }
}

/* d, dmin; 12 bytes of scales and mins, 6 bits each; and then the codes. */
template <class B> static inline __device__ uint32_t scale_4_5(B b, uint32_t u)
{
    const uint32_t at = 8 * (u % 4), first = b.word(4) >> at;
    return u < 4 ? first & 63 : (b.word(12) >> at & 15) | (first >> 6 & 3) << 4;
}
template <class B> static inline __device__ uint32_t min_4_5(B b, uint32_t u)
{
    const uint32_t at = 8 * (u % 4), second = b.word(8) >> at;
    return u < 4 ? second & 63 : (b.word(12) >> at >> 4 & 15) | (second >> 6 & 3) << 4;
}

/* Scales and mins of Q4_K and Q5_K, unit u's in byte u % 4 of word u / 4. */
template <class B> static inline __device__ uint32_t four_scales(B b, uint32_t word)
{
    return word ? (b.word(12) & 0x0f0f0f0f) | (b.word(4) >> 2 & 0x30303030)
                : b.word(4) & 0x3f3f3f3f;
}
template <class B> static inline __device__ uint32_t four_mins(B b, uint32_t word)
{
    return word ? (b.word(12) >> 4 & 0x0f0f0f0f) | (b.word(8) >> 2 & 0x30303030)
                : b.word(8) & 0x3f3f3f3f;
}

/* Word t of the codes of both halves of unit u of Q4_K, at the place in their bytes where
 * they are stored: those of odd units are 16 times larger. */
template <class B>
static inline __device__ void q4_k_in_place(B b, uint32_t u, uint32_t t, uint32_t *lo,
                                            uint32_t *hi)
{
    const uint32_t mask = u % 2 ? 0xf0f0f0f0 : 0x0f0f0f0f;
    const B q = b.from(16 + 32 * (u / 2) + 4 * t);
    *lo = q.word(0) & mask;
    *hi = q.word(16) & mask;
}

/* 128 bytes of codes, 32 for two units. */
WEIGHTS(GGF_Q4_K, 256, 144, 16, 1, 1)
CODES(GGF_Q4_K)
{
    UNUSED(book);
    const B q = b.from(16 + 32 * (u / 2) + 4 * t);
    *lo = q.word(0) >> 4 * (u & 1) & 0x0f0f0f0f;
    *hi = q.word(16) >> 4 * (u & 1) & 0x0f0f0f0f;
}
SCALES(GGF_Q4_K) { s[0] = mul(half_at(b, 0), (float)scale_4_5(b, u)); }
MINS(GGF_Q4_K) { m[0] = min_4_5(b, u); }
MIN_OF(GGF_Q4_K) { return half_at(b, 2); }

/* 32 bytes of fifth bits before them. */
WEIGHTS(GGF_Q5_K, 256, 176, 16, 1, 1)
CODES(GGF_Q5_K)
{
    UNUSED(book);
    const B q = b.from(48 + 32 * (u / 2) + 4 * t), high = b.from(16 + 4 * t);
    *lo = (q.word(0) >> 4 * (u & 1) & 0x0f0f0f0f) | (high.word(0) >> u & 0x01010101) << 4;
    *hi = (q.word(16) >> 4 * (u & 1) & 0x0f0f0f0f) | (high.word(16) >> u & 0x01010101)
                                                         << 4;
}
SCALES(GGF_Q5_K) { s[0] = mul(half_at(b, 0), (float)scale_4_5(b, u)); }
MINS(GGF_Q5_K) { m[0] = min_4_5(b, u); }
MIN_OF(GGF_Q5_K) { return half_at(b, 2); }

/* 128 bytes of low bits, 64 for four units; 64 of the upper two bits; scales; d. */
WEIGHTS(GGF_Q6_K, 256, 210, 2, 2, 0)
CODES(GGF_Q6_K)
{
    UNUSED(book);
    const uint32_t half = u / 4, run = u % 4;
    const B q = b.from(64 * half + 32 * (run & 1) + 4 * t);
    const B high = b.from(128 + 32 * half + 4 * t);
    *lo = bytes_less(
        (q.word(0) >> 4 * (run >> 1) & 0x0f0f0f0f) | two_bits(high.word(0), u) << 4, 32);
    *hi = bytes_less((q.word(16) >> 4 * (run >> 1) & 0x0f0f0f0f) |
                         two_bits(high.word(16), u) << 4,
                     32);
}
SCALES(GGF_Q6_K)
{
    const float d = half_at(b, 208);
    const uint32_t both = b.half(192 + 2 * u);
    s[0] = mul(d, (float)(int8_t)(both & 255));
    s[1] = mul(d, (float)(int8_t)(both >> 8));
}

WEIGHTS(GGF_IQ4_XS, 256, 136, 8, 1, 0)
CODES(GGF_IQ4_XS) { levels16(book, b.word(8 + 16 * u + 4 * t), lo, hi); }
SCALES(GGF_IQ4_XS)
{
    const uint32_t head = b.word(0); /* d, and the upper bits of the scales */
    const int low = b.byte(4 + u / 2) >> 4 * (u & 1) & 15,
              high = head >> (16 + 2 * u) & 3;
    s[0] = mul(half_to_float((uint16_t)head), (float)((low | high << 4) - 32));
}

/* ---- Super-blocks on a grid
 * ---------------------------------------------------------------- */

/* Of a unit, lane t has halves of groups of 8: group t / 2 and group 2 + t / 2, the first
 * or second four of each; or groups t and 4 + t of 4. */
template <class K>
static inline __device__ uint32_t grid_word(K grid, uint32_t index, uint32_t t)
{
    const uint2 both = grid.two(index); /* one load, where t is known */
    return t & 1 ? both.y : both.x;
}
template <class K>
static inline __device__ uint32_t on_grid8(K grid, uint32_t index, uint32_t signs,
                                           uint32_t t)
{
    return bytes_signed(grid_word(grid, index, t), signs >> 4 * (t & 1));
}
static inline __device__ float scale_iq2(float d, uint32_t scale)
{
    return mul(mul(d, 0.5f + (float)scale), 0.25f);
}

/* For a unit two words: four indices; four times 7 signs and a scale. */
WEIGHTS(GGF_IQ2_XXS, 256, 66, 2, 1, 0)
CODES(GGF_IQ2_XXS)
{
    const B q = b.from(2 + 8 * u);
    const uint32_t word = q.word(4) >> 7 * (t / 2);
    *lo = on_grid8(book, q.byte(t / 2), all_signs(word & 127), t);
    *hi = on_grid8(book, q.byte(2 + t / 2), all_signs(word >> 14 & 127), t);
}
SCALES(GGF_IQ2_XXS) { s[0] = scale_iq2(half_at(b, 0), b.half(8 + 8 * u) >> 12); }

/* For a group of 8 nine bits of index, seven of signs. */
WEIGHTS(GGF_IQ2_XS, 256, 74, 2, 2, 0)
CODES(GGF_IQ2_XS)
{
    const B q = b.from(2 + 8 * u + 2 * (t / 2));
    const uint32_t first = q.half(0), second = q.half(4);
    *lo = on_grid8(book, first & 511, all_signs(first >> 9), t);
    *hi = on_grid8(book, second & 511, all_signs(second >> 9), t);
}
SCALES(GGF_IQ2_XS)
{
    const float d = half_at(b, 0);
    s[0] = scale_iq2(d, b.byte(66 + u) & 15);
    s[1] = scale_iq2(d, b.byte(66 + u) >> 4);
}

WEIGHTS(GGF_IQ2_S, 256, 82, 2, 2, 0)
CODES(GGF_IQ2_S)
{
    const B q = b.from(2 + 4 * u + t / 2), signs = q.from(32);
    const uint32_t high = b.byte(66 + u) >> 2 * (t / 2);
    *lo = on_grid8(book, q.byte(0) | (high & 3) << 8, signs.byte(0), t);
    *hi = on_grid8(book, q.byte(2) | (high >> 4 & 3) << 8, signs.byte(2), t);
}
SCALES(GGF_IQ2_S)
{
    const float d = half_at(b, 0);
    s[0] = scale_iq2(d, b.byte(74 + u) & 15);
    s[1] = scale_iq2(d, b.byte(74 + u) >> 4);
}

WEIGHTS(GGF_IQ3_XXS, 256, 98, 2, 1, 0)
CODES(GGF_IQ3_XXS)
{
    const B q = b.from(2 + 8 * u + t);
    const uint32_t word = b.word(66 + 4 * u) >> 7 * (t / 2);
    *lo = bytes_signed(book.word(q.byte(0)), all_signs(word & 127) >> 4 * (t & 1));
    *hi = bytes_signed(book.word(q.byte(4)), all_signs(word >> 14 & 127) >> 4 * (t & 1));
}
SCALES(GGF_IQ3_XXS)
{
    const float scale = (float)(b.half(68 + 4 * u) >> 12);
    s[0] = mul(mul(half_at(b, 0), 0.5f + scale), 0.5f);
}

WEIGHTS(GGF_IQ3_S, 256, 110, 2, 1, 0)
CODES(GGF_IQ3_S)
{
    const B q = b.from(2 + 8 * u + t), signs = b.from(74 + 4 * u + t / 2);
    const uint32_t high = b.byte(66 + u) >> t;
    *lo = bytes_signed(book.word(q.byte(0) | (high & 1) << 8),
                       signs.byte(0) >> 4 * (t & 1));
    *hi = bytes_signed(book.word(q.byte(4) | (high >> 4 & 1) << 8),
                       signs.byte(2) >> 4 * (t & 1));
}
SCALES(GGF_IQ3_S)
{
    const int scale = b.byte(106 + u / 2) >> 4 * (u & 1) & 15;
    s[0] = mul(half_at(b, 0), (float)(1 + 2 * scale));
}

/* Levels -1, 0, 1 moved by an eighth up or down: in eighths, -9 to 9. */
template <class K>
static inline __device__ uint32_t ternary(K grid, uint32_t index, uint32_t down,
                                          uint32_t t)
{
    return bytes_less(grid_word(grid, index, t) * 8 + (down ? 0 : 0x02020202), 9);
}

WEIGHTS(GGF_IQ1_S, 256, 50, 2, 1, 0)
CODES(GGF_IQ1_S)
{
    const B q = b.from(2 + 4 * u + t / 2);
    const uint32_t head = b.half(34 + 2 * u), high = head >> 3 * (t / 2);
    *lo = ternary(book, q.byte(0) | (high & 7) << 8, head >> 15, t);
    *hi = ternary(book, q.byte(2) | (high >> 6 & 7) << 8, head >> 15, t);
}
SCALES(GGF_IQ1_S)
{
    const uint32_t scale = b.half(34 + 2 * u) >> 12 & 7;
    s[0] = mul(mul(half_at(b, 0), (float)(2 * scale + 1)), 0.125f);
}

/* d lies in the top four bits of the four words of scales. */
WEIGHTS(GGF_IQ1_M, 256, 56, 8, 2, 0)
CODES(GGF_IQ1_M)
{
    const B q = b.from(4 * u + t / 2), head = b.from(32 + 2 * u);
    const uint32_t first = head.byte(0) >> 4 * (t / 2) & 15,
                   second = head.byte(1) >> 4 * (t / 2) & 15;
    *lo = ternary(book, q.byte(0) | (first & 7) << 8, first & 8, t);
    *hi = ternary(book, q.byte(2) | (second & 7) << 8, second & 8, t);
}
SCALES(GGF_IQ1_M)
{
    const uint32_t h = b.half(48) >> 12 | (b.half(50) >> 12) << 4 |
                       (b.half(52) >> 12) << 8 | (b.half(54) >> 12) << 12;
    const uint32_t both = b.half(48 + 2 * (u / 2)) >> 6 * (u & 1);
    const float d = half_to_float((uint16_t)h);
    s[0] = mul(mul(d, (float)(2 * (both & 7) + 1)), 0.125f);
    s[1] = mul(mul(d, (float)(2 * (both >> 3 & 7) + 1)), 0.125f);
}

#undef UNUSED
#undef MIN_OF
#undef MINS
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

static inline __host__ __device__ bool is_floats(uint32_t type)
{
    return type == GGF_F32 || type == GGF_F16 || type == GGF_BF16;
}

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
