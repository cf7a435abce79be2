/* refine.h - rows of K-quants and IQ4_XS made closer to what they store, in their format.
 *
 * The encoders find a scale (and min) for each sub-block as real numbers, which are then
 * rounded to multiples of the super-block's d (and dmin).  Here these multiples are tried
 * one or a few steps up and down, d and dmin fitted to the codes by least squares, and so
 * on in turns.  What counts is sum w (x - x')^2, x' being read back and w those weights
 * by which most of the encoders search, too:
 *
 *     w = importance * sqrt(2 * mean of x^2 + x^2)
 *
 * With the importances alone errors of large values grow, and a model's output gets worse
 * although that sum gets smaller (measured: docs/gguf-quant.md). */
#ifndef QUANT_REFINE_H
#define QUANT_REFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Levels: 0 changes nothing, 1 looks one step around, 2 four. */
enum { REFINE_MOST = 2 };

/* Can rows of the type be refined? */
bool refine_takes(uint32_t type);

/* The w of a super-block; weights are the importances, or NULL: all alike. */
void refine_weights(const float *x, const float *weights, float w[256]);

/* `row` is what an encoder made of n elements x with these importances (or NULL).
 * Each of its super-blocks is replaced where that lowers the sum above, or stays as it is
 * to the byte.  The bytes depend on nothing but the arguments.  Does nothing for types
 * that are not refined. */
void refine_row(uint32_t type, int level, const float *x, size_t n, const float *weights,
                void *row);

#endif
