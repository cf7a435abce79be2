/* mul_neon.c - products with encoded activations: 4 rows at a time. */
#include "../../libgguf/libgguf.h"
#include "tile_lanes.h"
#include "mul_tables.h"

#define MAX_TOKENS 4

/* |code| <= 128 and |x| <= 127, so two products fit in 16 bits. */
static inline vi dot_step(vi part, vu code, const int8_t *x)
{
    const int8x16_t c = (int8x16_t)code, v = (int8x16_t)broadcast4(x);
    const int16x8_t low = vmull_s8(vget_low_s8(c), vget_low_s8(v));
    const int16x8_t two = vpaddq_s16(low, vmull_high_s8(c, v));
    return (vi)vpadalq_s16((int32x4_t)part, two);
}

#include "../tile_types.h"

mul_fn mul_tile_neon(uint32_t type) { return tile_kernels[type]; }
