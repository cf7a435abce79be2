/* mul_dotprod.c - products with encoded activations: 4 rows at a time, SDOT. */
#include "../../libgguf/libgguf.h"
#include "tile_lanes.h"
#include "mul_tables.h"

#define MAX_TOKENS 8

static inline vi dot_step(vi part, vu code, const int8_t *x)
{
    return (vi)vdotq_s32((int32x4_t)part, (int8x16_t)code, (int8x16_t)broadcast4(x));
}

#include "../tile_types.h"

mul_fn mul_tile_dotprod(uint32_t type) { return tile_kernels[type]; }
