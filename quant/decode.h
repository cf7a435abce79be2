/* decode.h - stored rows to float32, for every tensor type. */
#ifndef QUANT_DECODE_H
#define QUANT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One signature for the reference, every variant and the tests: n elements, a multiple
 * of the type's block, from src to dst.  src needs no alignment. */
#define decl_decode_fn(name) void(name)(const void *src, float *dst, size_t n)
typedef decl_decode_fn(*decode_fn);

/* The fastest decoder of a type that cpu_flags() allows; NULL if the type has none
 * (only unknown ids).  All variants give the same bits (any NaN for a NaN). */
decode_fn decode_for(uint32_t type);

#endif
