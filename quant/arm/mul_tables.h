/* mul_tables.h - what the files of product kernels here offer to mul.h's ladder: the
 * kernel of a type, or NULL. */
#ifndef QUANT_ARM_MUL_TABLES_H
#define QUANT_ARM_MUL_TABLES_H

#include "../mul.h"

mul_fn mul_tile_neon(uint32_t type);
mul_fn mul_tile_dotprod(uint32_t type);
mul_fn mul_float_neon(uint32_t type);

#endif
