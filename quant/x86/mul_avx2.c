/* mul_avx2.c - products with encoded activations: 8 rows at a time.  The types on a grid
 * are in mul_grid_avx2.c. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"
#include "tile_lanes_avx2.h"

#include "../tile_types.h"

mul_fn mul_tile_avx2(uint32_t type) { return tile_kernels[type]; }
