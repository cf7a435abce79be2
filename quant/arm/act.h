/* Included by ../act.c only. */
#include "../cpu.h"

decl_act_fn(act_encode_neon);

static inline void act_init_arm(act_fn *f)
{
    if (cpu_flags() & CPU_NEON) *f = act_encode_neon;
}
