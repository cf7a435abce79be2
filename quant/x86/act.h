/* Included by ../act.c only.  One early return per level, newest last. */
#include "../cpu.h"

decl_act_fn(act_encode_avx2);

static inline void act_init_x86(act_fn *f)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    *f = act_encode_avx2;
}
