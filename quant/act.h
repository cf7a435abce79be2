/* act.h - the encoded activations that act.c writes and the kernels of mul*.c read.
 *
 * Both integer forms share one layout, 256 elements in five cache lines: a form of our
 * own, never stored.  A row of n elements is a whole number of these; what lies beyond n
 * is zero.  Element i is q[i] * d[i / 32]; Q8_K has one scale for all, so d[0] will do.
 *
 * Codes are in -127..127: with -128 two products could overflow 16 bits. */
#ifndef QUANT_ACT_H
#define QUANT_ACT_H

#include "fp.h"
#include "mul.h"

#include <math.h>

enum { ACT_BLOCK = 256 };

struct act_block {
    int8_t q[ACT_BLOCK];
    int16_t sum[ACT_BLOCK / 16]; /* of 16 codes each, for weights with a min or offset */
    float d[ACT_BLOCK / 32];
};
_Static_assert(sizeof(struct act_block) == 320, "whole cache lines");

/* Encode n floats with one scale for `group` of them, 32 or 256.
 *
 *   d = max |x| / 127, q = x * (127 / max |x|) to the nearest, ties to even
 *
 * A group with nothing above 2^-100 is all zero (127 / max |x| must not overflow); one
 * that holds an infinity or NaN gets a NaN scale, so that it shows in the products.  All
 * variants give the same bits. */
#define decl_act_fn(name)                                                                \
    void(name)(const float *x, size_t n, size_t group, struct act_block *dst)
typedef decl_act_fn(*act_fn);

/* The variant in force. */
act_fn act_encoder(void);

/* The scale of a group and what its elements are multiplied with, 0 if all its codes are
 * to be zero.  `max`: the bits of the largest |x|; compared as integers a NaN is largest.
 */
static inline float act_scale(uint32_t max, float *inverse)
{
    const float amax = f32_of_bits(max);
    *inverse = 0;
    if (max >= 0x7f800000) return NAN;
    if (amax < 0x1p-100f) return 0;
    *inverse = 127.0f / amax;
    return amax / 127.0f;
}

#endif
