/* Included by ../act.c only.  One early return per level, newest last. */
#include "../cpu.h"

static inline void act_init_x86(act_fn *f)
{
    (void)f;
}
