/* Included by ../refine.c only.  One early return per level, newest last. */
#include "../cpu.h"
#include "encode_x86.h"

static inline void refine_init_x86(refine_fn *f)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    *f = refine_steps_avx2;

    if (!(flags & CPU_AVX512)) return;
    *f = refine_steps_avx512;
}
