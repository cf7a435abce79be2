/* clock.h - where the time of a forward pass goes, step by step.
 *
 * The first thread of a team looks at the clock behind the barrier that ends a step, so a
 * step's time is that of its slowest thread. */
#ifndef INFER_OPS_CLOCK_H
#define INFER_OPS_CLOCK_H

#include "team.h"

enum op {
    OP_EMBED,     /* waking the threads, rows of the embedding, rotation tables */
    OP_NORM,      /* norms, residual sums, and encoding what comes out */
    OP_MIXER_IN,  /* projections into attention or delta net */
    OP_DELTA,     /* convolution, delta rule */
    OP_ATTENTION, /* rotation, writing keys and values, scores, mixture */
    OP_MIXER_OUT, /* the projection back */
    OP_ROUTE,     /* router, choice and grouping of experts */
    OP_GATE_UP,   /* of all experts, with waiting for those that are read */
    OP_SILU,      /* and encoding */
    OP_DOWN,      /* likewise of all experts */
    OP_SUM,       /* of a token's experts */
    OP_HEAD,      /* the output matrix */
    OPS
};

/* In words: "gate, up". */
extern const char *const op_names[OPS];

struct op_clock {
    double seconds[OPS];
    double last; /* when the step before ended */
};

/* Nothing happens if the clock is NULL. */
void op_start(struct op_clock *clock);
/* All threads call it when a step is over. */
void op_done(const struct member *me, struct op_clock *clock, enum op op);

#endif
