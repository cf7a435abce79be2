/* clock.c - see clock.h. */
#include "clock.h"

#include <time.h>

const char *const op_names[OPS] = {
    [OP_EMBED] = "embed",
    [OP_NORM] = "norm",
    [OP_MIXER_IN] = "mixer in",
    [OP_DELTA] = "delta",
    [OP_ATTENTION] = "attention",
    [OP_MIXER_OUT] = "mixer out",
    [OP_ROUTE] = "route",
    [OP_GATE_UP] = "gate, up",
    [OP_SILU] = "silu",
    [OP_DOWN] = "down",
    [OP_SUM] = "sum",
    [OP_HEAD] = "head",
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void op_start(struct op_clock *clock)
{
    if (clock) clock->last = now();
}

void op_done(const struct member *me, struct op_clock *clock, enum op op)
{
    if (!clock || me->id != 0) return;
    const double t = now();
    clock->seconds[op] += t - clock->last;
    clock->last = t;
}
