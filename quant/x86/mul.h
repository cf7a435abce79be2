/* Included by ../mul.c only.  One early return per level, newest last. */
#include "../cpu.h"

static inline void mul_init_x86(uint32_t type, mul_fn *f)
{
    (void)type;
    (void)f;
}

static inline void mul_float_init_x86(uint32_t type, mul_fn *f)
{
    (void)type;
    (void)f;
}
