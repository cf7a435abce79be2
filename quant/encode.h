/* encode.h - float32 rows to a stored type, byte for byte what llama.cpp writes. */
#ifndef QUANT_ENCODE_H
#define QUANT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Encode one row of n elements, a multiple of the type's block.  `weights` holds n
 * importances (>= 0) or is NULL; types that take none ignore it.  The bytes depend on
 * nothing but the arguments. */
#define decl_encode_fn(name)                                                             \
    void(name)(const float *x, size_t n, const float *weights, void *dst)
typedef decl_encode_fn(*encode_fn);

/* The fastest encoder of a type that cpu_flags() allows; NULL if the type cannot be
 * written.  All variants write the same bytes, unless a scale is infinite or NaN. */
encode_fn encode_for(uint32_t type);

/* The same, but with IQ3_S as llama.cpp writes it: where a sub-block of 32 weights is all
 * zeros, what follows it in the super-block is in the wrong place and decodes wrong. */
encode_fn encode_for_compat(uint32_t type);

/* True if the type cannot be encoded without importances. */
bool encode_needs_weights(uint32_t type);

/* The first block of a stored row that holds an infinite or NaN scale or value
 * (llama.cpp refuses such rows), or SIZE_MAX if all are fine. */
size_t row_bad_block(uint32_t type, const void *row, size_t n);

#endif
