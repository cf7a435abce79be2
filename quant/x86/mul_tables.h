/* mul_tables.h - what the files of product kernels here offer to mul.h's ladder: the
 * kernel of a type, or NULL. */
#ifndef QUANT_X86_MUL_TABLES_H
#define QUANT_X86_MUL_TABLES_H

#include "../mul.h"

mul_fn mul_tile_avx2(uint32_t type);
mul_fn mul_grid_avx2(uint32_t type);
mul_fn mul_tile_avx512(uint32_t type);
mul_fn mul_tile_vbmi(uint32_t type);
mul_fn mul_float_avx2(uint32_t type);
mul_fn mul_float_avx512(uint32_t type);

#endif
