/* silu.h - silu(g) * x, the same bits wherever it is computed: in plain C, by the vectors
 * of vec.h, and by a device (files of infer/gpu include this after device.cuh, which has
 * the operations under the names used here).
 *
 *   e = exp(-g), -g within -87.3 .. 88.3: what 2^k can be multiplied with as a number
 *   silu(g) = g * (1 / (1 + e)), each step rounded by itself
 *
 * exp() is good to 2 units in the last place: 2^k e^r with |r| <= ln(2) / 2, where the
 * Taylor series to the 7th power is good to a tenth of a unit. */
#ifndef INFER_OPS_SILU_H
#define INFER_OPS_SILU_H

#ifdef __cplusplus
#define SILU_FUNCTION static inline __device__
#else
#include "../../quant/fp.h"

#include <math.h>

#define SILU_FUNCTION static inline
/* The names of device.cuh. */
static inline float mul(float a, float b) { return a * b; }
static inline float add(float a, float b) { return a + b; }
static inline float sub(float a, float b) { return a - b; }
static inline float fma1(float a, float b, float c) { return fmaf(a, b, c); }
static inline float quotient(float a, float b) { return a / b; }
static inline uint32_t float_bits(float v) { return f32_bits(v); }
static inline float bits_float(uint32_t v) { return f32_of_bits(v); }
#endif

/* exp(x), as at the ends of the range where x is beyond them; of a NaN a NaN. */
SILU_FUNCTION float silu_exp(float x)
{
    const float least = -87.3f, most = 88.3f;
    const float y = x < least ? least : x > most ? most : x;
    /* Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits. */
    const float shifted = add(mul(y, 1.44269504f), 12582912.0f);
    const float k = sub(shifted, 12582912.0f);
    /* ln 2 in two parts, the first short enough that k times it is exact */
    const float r = fma1(-k, 1.42860677e-6f, fma1(-k, 0.693145752f, y));
    float p = fma1(1.0f / 5040, r, 1.0f / 720);
    p = fma1(p, r, 1.0f / 120);
    p = fma1(p, r, 1.0f / 24);
    p = fma1(p, r, 1.0f / 6);
    p = fma1(p, r, 0.5f);
    p = fma1(p, r, 1.0f);
    p = fma1(p, r, 1.0f);
    return mul(p, bits_float((float_bits(shifted) + 127) << 23));
}

SILU_FUNCTION float silu_sigmoid(float g)
{
    return quotient(1.0f, add(1.0f, silu_exp(-g)));
}

SILU_FUNCTION float silu_times(float g, float x)
{
    return mul(x, mul(g, silu_sigmoid(g)));
}

#undef SILU_FUNCTION
#endif
