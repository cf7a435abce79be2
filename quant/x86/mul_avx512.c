/* mul_avx512.c - products with encoded activations: 16 rows at a time, VNNI. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"
#include "tile_lanes_avx512.h"

#include "../tile_types.h"

mul_fn mul_tile_avx512(uint32_t type) { return tile_kernels[type]; }
