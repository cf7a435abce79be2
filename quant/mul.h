/* mul.h - products of stored weight rows with activations: what a forward pass spends
 * its time on.
 *
 * Activations are encoded once per input (act_encode) in the form that the weight type's
 * kernel multiplies with, then used for many rows:
 *
 *   ACT_F32   plain floats: F32, F16, BF16 weights, and any type in exact mode
 *   ACT_Q8_0  blocks of 32 int8 with a scale: weight types with blocks of 32
 *   ACT_Q8_K  blocks of 256 int8 with a scale and sums of 16: weight types of 256
 *
 * A kernel's sum for one (row, token) depends on nothing but their bytes: not on how
 * many rows or tokens the call has, nor on threads.  With encoded activations it does not
 * depend on the instruction set either, or on whether a device computes it (infer/gpu):
 * all kernels do the same steps in the same order.
 *
 *   a group of 16 or 32 weights that share a scale    S = sum of code * q, exact
 *
 *   ACT_Q8_K, over 256 columns from total = 0:        total = fma(S, scale, total)
 *     then, where mins are whole numbers m times      total = fma(sum of m * q, -dmin,
 *     dmin (the sum is exact)                                     total)
 *     and over the row from y = 0                     y = fma(total, d, y)
 *
 *   ACT_Q8_0, over 256 columns from total = 0:        p = S * scale
 *     then, with a min                                p = fma(sum of q, -min, p)
 *                                                     total = fma(p, d, total)
 *     and over the row from y = 0                     y = y + total
 *
 * d is the activation's, scale the weights' as the decoders have it: d * (its number).
 * Where a scale or min is infinite or NaN, so is y, but a device may have NaN in place of
 * an infinity. */
#ifndef QUANT_MUL_H
#define QUANT_MUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum act_kind { ACT_F32, ACT_Q8_0, ACT_Q8_K };

/* The form that mul_for(type) wants: ACT_F32 in exact mode. */
enum act_kind act_kind_of(uint32_t type, int exact);
/* Bytes of n encoded elements; n a multiple of 32 for Q8_0, 256 for Q8_K.  Rounded up to
 * 64 so that rows of activations stay aligned. */
size_t act_bytes(enum act_kind kind, size_t n);
void act_encode(enum act_kind kind, const float *x, size_t n, void *dst);

/* y[t * y_stride + r] = sum over i of w[r][i] * x[t][i], for `rows` rows of n weights
 * that lie w_stride bytes apart and `tokens` activations x_stride bytes apart. */
#define decl_mul_fn(name)                                                                \
    void(name)(float *y, size_t y_stride, const void *w, size_t w_stride, size_t rows,   \
               const void *x, size_t x_stride, size_t tokens, size_t n)
typedef decl_mul_fn(*mul_fn);

/* The fastest kernel cpu_flags() allows for this weight type and activation form, or
 * NULL if there is none.  Every type with a decoder has one for ACT_F32. */
mul_fn mul_for(uint32_t type, enum act_kind kind);

/* True if products of this type with encoded activations are the same bits everywhere, on
 * a device too.  False for weights that are multiplied as floats. */
bool mul_is_portable(uint32_t type);

#endif
