/* Included by ../mul.c only.  One early return per level, newest last. */
#include "../cpu.h"
#include "mul_tables.h"

static inline void use(mul_fn *f, mul_fn better)
{
    if (better) *f = better;
}

/* Products with encoded activations. */
static inline void mul_init_arm(uint32_t type, mul_fn *f)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_NEON)) return;
    use(f, mul_tile_neon(type));

    if (!(flags & CPU_DOTPROD)) return;
    use(f, mul_tile_dotprod(type));
}

/* Products with plain floats. */
static inline void mul_float_init_arm(uint32_t type, mul_fn *f)
{
    if (cpu_flags() & CPU_NEON) use(f, mul_float_neon(type));
}
