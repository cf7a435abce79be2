/* Included by ../mul.c only.  One early return per level, newest last. */
#include "../cpu.h"
#include "mul_tables.h"

static inline void use(mul_fn *f, mul_fn better)
{
    if (better) *f = better;
}

/* Products with encoded activations. */
static inline void mul_init_x86(uint32_t type, mul_fn *f)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    use(f, mul_tile_avx2(type));
    use(f, mul_grid_avx2(type));

    if (!(flags & CPU_AVX512)) return;
    use(f, mul_tile_avx512(type));

    if (!(flags & CPU_VBMI)) return;
    use(f, mul_tile_vbmi(type));
}

/* Products with plain floats. */
static inline void mul_float_init_x86(uint32_t type, mul_fn *f)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    use(f, mul_float_avx2(type));

    if (!(flags & CPU_AVX512)) return;
    use(f, mul_float_avx512(type));
}
