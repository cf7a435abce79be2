/* Included by ../decode.c only.  One early return per level, newest last. */
#include "../cpu.h"

static inline void decode_init_x86(decode_fn *t)
{
    (void)t;
}
