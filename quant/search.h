/* search.h - the searches that encoders have in common: the scale (and offset) of a block
 * with which small integer codes come closest to n floats, by weighted squared error.
 *
 * They are llama.cpp's, operation by operation: a scale is tried for a handful of ranges
 * around the largest value, and the best one wins.  Every sum starts at element 0 and
 * every operation rounds to binary32; nothing here may be fused or reordered, since the
 * bytes that encoders write depend on it. */
#ifndef QUANT_SEARCH_H
#define QUANT_SEARCH_H

#include "fp.h"

#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* A largest value smaller than this counts as 0. */
#define SEARCH_EPSILON 1e-15f

/* Rounds of moving single codes. */
enum { SEARCH_SWEEPS = 5 };

/* `blocks` neighbouring blocks of n values, 16 or 32: x ~ scale * (code - half), code in
 * 0..2 * half - 1; w are the weights.  A scale may be negative; an all-zero block has
 * scale 0 and codes 0. */
void search_symmetric(const float *x, const float *w, int blocks, int n, int half,
                      float *scale, uint8_t *codes);

/* The same for 16 values weighted by their squares and half = 4: one range, then up to
 * five rounds of moving single codes. */
void search_symmetric_q3(const float *x, int blocks, float *scale, uint8_t *codes);

struct search_affine {
    int max;        /* codes are 0..max */
    float from, by; /* ranges tried: max + from + by * (0..steps) */
    int steps;
    bool absolute; /* minimize the sum of |error|, not of its square; n = 16 only */
};

/* x ~ scale * code - min, with min >= 0. */
void search_affine(const float *x, const float *w, int blocks, int n,
                   const struct search_affine *how, float *scale, float *min,
                   uint8_t *codes);

/* Codes of n values: nearest to (x + add) / d within low..high, stored from 0.  With
 * d = 0 they stay as they are. */
void search_divide(const float *x, int n, float d, float add, int low, int high,
                   uint8_t *codes);

/* n values of one block, not negative: v ~ scale * code, code in 0..max; returns the
 * scale.  Used for the scales of a super-block, weighted by the sums of their weights. */
float search_positive(const float *v, const float *w, int n, int max, uint8_t *codes);

/* To the nearest integer, ties to even, for |f| < 2^22. */
static inline int round_even(float f)
{
    return (int)(f32_bits(f + 12582912.0f) & 0x7fffff) - 0x400000;
}

/* Towards zero; what x86 makes of values that fit no int, on every machine. */
static inline int to_int(float f)
{
    return f >= -2147483648.0f && f < 2147483648.0f ? (int)f : INT_MIN; /* 2^31 */
}

/* Ties away from zero, as roundf(). */
static inline int round_away(float f)
{
    const int i = to_int(f);
    if (i == INT_MIN) return i; /* no number to round */
    const float rest = f - (float)i;
    return rest >= 0.5f ? i + 1 : rest <= -0.5f ? i - 1 : i;
}

static inline int clamp(int v, int low, int high)
{
    return v < low ? low : v > high ? high : v;
}

/* The value of largest magnitude, the first of equals; 0 if there is none. */
static inline float largest(const float *x, int n)
{
    float most = 0, value = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            value = x[i];
        }
    return value;
}

static inline float sum_of_squares(const float *x, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

/* How much an error counts: by importance, and more for large values. */
static inline void importance(const float *x, const float *weights, int n, float sigma2,
                              float *w)
{
    for (int i = 0; i < n; i++) w[i] = weights[i] * sqrtf(sigma2 + x[i] * x[i]);
}

#endif
