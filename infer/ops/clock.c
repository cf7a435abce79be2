/* clock.c - see clock.h. */
#include "clock.h"

#include "../now.h"

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

void op_start(struct op_clock *clock)
{
    if (clock) clock->last = seconds_now();
}

void op_done(const struct member *me, struct op_clock *clock, enum op op)
{
    if (!clock || me->id != 0) return;
    const double t = seconds_now();
    clock->seconds[op] += t - clock->last;
    clock->last = t;
}
