/* kv.cuh - keys and values as they are stored: some numbers out of a row, or a row from
 * a warp that has it in its lanes.  What is written are the bytes of quant/encode.h, what
 * is read are the numbers of quant/decode.h up to rounding. */
#ifndef INFER_GPU_KV_CUH
#define INFER_GPU_KV_CUH

#include "device.cuh"

#include <limits.h>

/* Keys or values of one layer. */
struct kv_rows {
    uint8_t *data;
    uint32_t type, row_bytes;
    uint4 levels; /* the 16 levels of IQ4_NL, a byte each */
};

/* Blocks of 32: where things are in them; 0: not at all. */
struct kv_form {
    uint32_t bytes, min, fifth, codes; /* the scale is always first */
    float zero;                        /* the code of 0 */
};

static constexpr __host__ __device__ kv_form kv_form_of(uint32_t type)
{
    return type == GGF_Q8_0   ? kv_form{ 34, 0, 0, 2, 128 }
           : type == GGF_Q4_0 ? kv_form{ 18, 0, 0, 2, 8 }
           : type == GGF_Q4_1 ? kv_form{ 20, 2, 0, 4, 0 }
           : type == GGF_Q5_0 ? kv_form{ 22, 0, 2, 6, 16 }
           : type == GGF_Q5_1 ? kv_form{ 24, 2, 4, 8, 0 }
                              : kv_form{ 18, 0, 0, 2, 128 }; /* IQ4_NL */
}

/* ---- Reading -------------------------------------------------------------------- */

/* Four bytes at an even address. */
static inline __device__ uint32_t kv_word(const uint8_t *p)
{
    return *(const uint16_t *)p | (uint32_t) * (const uint16_t *)(p + 2) << 16;
}

static inline __device__ float kv_half(const uint8_t *p)
{
    return half_to_float(*(const uint16_t *)p);
}

/* The levels of four codes, a byte each: the lower three bits choose among eight. */
static inline __device__ uint32_t kv_levels(uint4 levels, uint32_t codes)
{
    const uint32_t three = codes & 0x07070707;
    const uint32_t choice = pick_bytes(three | three >> 4, 0, 0x4420);
    const uint32_t upper = (codes >> 3 & 0x01010101) * 255;
    return (pick_bytes(levels.x, levels.y, choice) & ~upper) |
           (pick_bytes(levels.z, levels.w, choice) & upper);
}

/* Codes at..at + 3 of a block, a byte each, not negative. */
template <uint32_t type>
static inline __device__ uint32_t kv_codes(const uint8_t *block, uint32_t at,
                                           uint4 levels)
{
    constexpr kv_form form = kv_form_of(type);
    if (type == GGF_Q8_0) return kv_word(block + form.codes + at) ^ 0x80808080;
    uint32_t codes = kv_word(block + form.codes + at % 16);
    codes = (at & 16 ? codes >> 4 : codes) & 0x0f0f0f0f;
    if (form.fifth) /* a bit for each weight: four of them to bit 4 of four bytes */
        codes |= (kv_word(block + form.fifth) >> at & 15) * 0x00204081 << 4 & 0x10101010;
    return type == GGF_IQ4_NL ? kv_levels(levels, codes) ^ 0x80808080 : codes;
}

/* Numbers at..at + N - 1 of a row; N is 4 or 8 and divides at. */
template <uint32_t type, uint32_t N>
static __forceinline__ __device__ void kv_get(const uint8_t *row, uint32_t at,
                                              uint4 levels, float *x)
{
    if (type == GGF_F32) {
#pragma unroll
        for (uint32_t i = 0; i < N; i += 4) {
            const float4 v = *(const float4 *)(row + 4 * (at + i));
            x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
        }
    } else if (type == GGF_F16 || type == GGF_BF16) {
        uint32_t pair[N / 2];
        if (N == 8) {
            const uint4 v = *(const uint4 *)(row + 2 * at);
            pair[0] = v.x, pair[1] = v.y, pair[N / 2 - 2] = v.z, pair[N / 2 - 1] = v.w;
        } else {
            const uint2 v = *(const uint2 *)(row + 2 * at);
            pair[0] = v.x, pair[1] = v.y;
        }
#pragma unroll
        for (uint32_t i = 0; i < N; i++) {
            const uint16_t bits = (uint16_t)(pair[i / 2] >> 16 * (i % 2));
            x[i] = type == GGF_F16 ? half_to_float(bits) : bfloat_to_float(bits);
        }
    } else {
        constexpr kv_form form = kv_form_of(type);
        const uint8_t *block = row + at / 32 * form.bytes;
        const float d = kv_half(block), m = form.min ? kv_half(block + form.min) : 0;
#pragma unroll
        for (uint32_t i = 0; i < N; i += 4) {
            const uint32_t codes = kv_codes<type>(block, at % 32 + i, levels);
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                /* 2^23 + code is a float with the code as its lowest bits */
                const float code = bits_float(0x4b000000 | (codes >> 8 * j & 255));
                x[i + j] = (code - (8388608.0f + form.zero)) * d + m;
            }
        }
    }
}

/* The same numbers of ROWS rows, `rows[i]` apart from the first in bytes. */
template <uint32_t type, uint32_t N, uint32_t ROWS>
static __forceinline__ __device__ void kv_get_rows(const struct kv_rows *kv,
                                                   const uint8_t *first,
                                                   const uint32_t *rows, uint32_t at,
                                                   float (*x)[N])
{
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++)
        kv_get<type, N>(first + (size_t)rows[i] * kv->row_bytes, at, kv->levels, x[i]);
}

template <uint32_t N, uint32_t ROWS>
static __forceinline__ __device__ void kv_read(const struct kv_rows *kv,
                                               const uint8_t *first, const uint32_t *rows,
                                               uint32_t at, float (*x)[N])
{
    switch (kv->type) {
    case GGF_F32: return kv_get_rows<GGF_F32, N, ROWS>(kv, first, rows, at, x);
    case GGF_F16: return kv_get_rows<GGF_F16, N, ROWS>(kv, first, rows, at, x);
    case GGF_BF16: return kv_get_rows<GGF_BF16, N, ROWS>(kv, first, rows, at, x);
    case GGF_Q8_0: return kv_get_rows<GGF_Q8_0, N, ROWS>(kv, first, rows, at, x);
    case GGF_Q5_1: return kv_get_rows<GGF_Q5_1, N, ROWS>(kv, first, rows, at, x);
    case GGF_Q5_0: return kv_get_rows<GGF_Q5_0, N, ROWS>(kv, first, rows, at, x);
    case GGF_Q4_1: return kv_get_rows<GGF_Q4_1, N, ROWS>(kv, first, rows, at, x);
    case GGF_Q4_0: return kv_get_rows<GGF_Q4_0, N, ROWS>(kv, first, rows, at, x);
    default: return kv_get_rows<GGF_IQ4_NL, N, ROWS>(kv, first, rows, at, x);
    }
}

/* ---- Writing: a block, of which lane i has number i ---------------------------------
 */

/* As quant/search.h: towards zero; INT_MIN for what fits no int. */
static inline __device__ int kv_to_int(float f)
{
    return f >= -2147483648.0f && f < 2147483648.0f ? (int)f : INT_MIN;
}

static inline __device__ float kv_inverse(float d) { return d != 0 ? quotient(1, d) : 0; }

/* What the first lane that says yes has; 0 if there is none. */
static inline __device__ float kv_first(bool yes, float x)
{
    const uint32_t vote = lanes_vote(yes);
    x = lane_get(x, count_bits(~vote & (vote - 1)) % WARP);
    return vote ? x : 0;
}

/* The number of largest magnitude, the first of equals. */
static inline __device__ float kv_largest(float x)
{
    const float most = warp_max(fabsf(x));
    return kv_first(most > 0 && fabsf(x) == most, x);
}

/* Codes of 4 or 5 bits: (x - offset) / d + bias towards zero, at most `most`. */
template <uint32_t type>
static inline __device__ void kv_put_codes(uint8_t *block, float x, float offset, float d,
                                           float bias, int most)
{
    constexpr kv_form form = kv_form_of(type);
    int code = (int8_t)kv_to_int(add(mul(sub(x, offset), kv_inverse(d)), bias));
    if (code > most) code = most;
    const uint32_t bits = (uint32_t)code & 31, other = lane_xor(bits, 16);
    const uint32_t fifth = lanes_vote(bits >> 4 != 0);
    const uint32_t lane = lane_of();
    if (lane < 16) block[form.codes + lane] = (uint8_t)((bits & 15) | (other & 15) << 4);
    if (form.fifth && lane < 4) block[form.fifth + lane] = (uint8_t)(fifth >> 8 * lane);
    if (lane == 0) *(uint16_t *)block = float_to_half(d);
    if (form.min && lane == 0) *(uint16_t *)(block + form.min) = float_to_half(offset);
}

template <uint32_t type>
static inline __device__ void kv_put_even(uint8_t *block, float x)
{
    constexpr int half = type == GGF_Q4_0 ? 8 : 16;
    const float d = quotient(kv_largest(x), (float)-half);
    kv_put_codes<type>(block, x, 0, d, (float)half + 0.5f, 2 * half - 1);
}

template <uint32_t type>
static inline __device__ void kv_put_affine(uint8_t *block, float x)
{
    constexpr int most = type == GGF_Q4_1 ? 15 : 31;
    /* the first of equals, since there are two zeros */
    const float low = kv_first(x == -warp_max(-x), x);
    const float high = kv_first(x == warp_max(x), x);
    const float d = quotient(sub(high, low), (float)most);
    kv_put_codes<type>(block, x, low, d, 0.5f, most);
}

static inline __device__ void kv_put_q8_0(uint8_t *block, float x)
{
    const float d = quotient(warp_max(fabsf(x)), 127), v = mul(x, kv_inverse(d));
    int code = kv_to_int(v);
    if (code != INT_MIN) {
        const float rest = sub(v, (float)code); /* ties away from zero */
        code += rest >= 0.5f ? 1 : rest <= -0.5f ? -1 : 0;
    }
    block[2 + lane_of()] = (uint8_t)code;
    if (lane_of() == 0) *(uint16_t *)block = float_to_half(d);
}

static inline __device__ float kv_level(uint4 levels, uint32_t code)
{
    const uint32_t word = code < 4    ? levels.x
                          : code < 8  ? levels.y
                          : code < 12 ? levels.z
                                      : levels.w;
    return (float)(int8_t)(word >> 8 * (code % 4));
}

/* Of the level nearest to v: its code, and itself. */
static inline __device__ uint32_t kv_nearest(uint4 levels, float v, float *level)
{
    uint32_t code = 0;
    *level = kv_level(levels, 0);
#pragma unroll
    for (uint32_t k = 0; k < 15; k++) {
        const float low = kv_level(levels, k), high = kv_level(levels, k + 1);
        if (v < (low + high) / 2) continue;
        code++;
        *level += high - low;
    }
    return code;
}

/* The scale as quant/encode_iq4.c finds it: of sixteen ranges, one for each lane of a
 * half warp, the one with the least error; sums are taken from the first number on. */
static inline __device__ float kv_scale_iq4(uint4 levels, float x)
{
    const float most = kv_largest(x), first = kv_level(levels, 0);
    if (fabsf(most) < 1e-15f) return 0;    /* SEARCH_EPSILON */
    const uint32_t range = lane_of() % 16; /* 0: at -127; others: -7 to 7 from there */
    const float inverse = range ? quotient(add((float)range - 8, first), most)
                                : quotient(1, quotient(-most, first));
    float a = 0, b = 0;
    for (uint32_t i = 0; i < 32; i++) {
        float level;
        const float v = lane_get(x, i);
        kv_nearest(levels, mul(inverse, v), &level);
        const float weighted = mul(mul(v, v), level);
        a = add(a, mul(weighted, v));
        b = add(b, mul(weighted, level));
    }
    float d = 0, best = 0;
    for (uint32_t i = 0; i < 16; i++) {
        const float ai = lane_get(a, i), bi = lane_get(b, i);
        if (i == 0) d = bi > 0 ? quotient(ai, bi) : 0;
        else if (bi > 0 && mul(ai, ai) > mul(best, bi)) d = quotient(ai, bi);
        else continue;
        best = mul(d, ai);
    }
    return d;
}

static inline __device__ void kv_put_iq4_nl(uint8_t *block, uint4 levels, float x)
{
    const float d = kv_scale_iq4(levels, x);
    float level;
    const uint32_t code = kv_nearest(levels, mul(kv_inverse(d), x), &level);
    const uint32_t other = lane_xor(code, 16), lane = lane_of();
    if (lane < 16) block[2 + lane] = (uint8_t)(code | other << 4);
    if (lane == 0) *(uint16_t *)block = float_to_half(d);
}

/* Numbers 32 index to 32 index + 31 of a row. */
static inline __device__ void kv_put(const struct kv_rows *kv, uint8_t *row,
                                     uint32_t index, float x)
{
    const uint32_t at = WARP * index + lane_of();
    switch (kv->type) {
    case GGF_F32: ((float *)row)[at] = x; return;
    case GGF_F16: ((uint16_t *)row)[at] = float_to_half(x); return;
    case GGF_BF16: ((uint16_t *)row)[at] = float_to_bfloat(x); return;
    case GGF_Q8_0: return kv_put_q8_0(row + index * kv_form_of(GGF_Q8_0).bytes, x);
    case GGF_Q5_1:
        return kv_put_affine<GGF_Q5_1>(row + index * kv_form_of(GGF_Q5_1).bytes, x);
    case GGF_Q5_0:
        return kv_put_even<GGF_Q5_0>(row + index * kv_form_of(GGF_Q5_0).bytes, x);
    case GGF_Q4_1:
        return kv_put_affine<GGF_Q4_1>(row + index * kv_form_of(GGF_Q4_1).bytes, x);
    case GGF_Q4_0:
        return kv_put_even<GGF_Q4_0>(row + index * kv_form_of(GGF_Q4_0).bytes, x);
    default:
        return kv_put_iq4_nl(row + index * kv_form_of(GGF_IQ4_NL).bytes, kv->levels, x);
    }
}

#endif
