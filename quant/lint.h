/* lint.h - what is known to be a poor choice in a plan: for those who chose types
 * themselves. */
#ifndef QUANT_LINT_H
#define QUANT_LINT_H

#include "plan.h"

enum lint_kind {
    LINT_DOMINATED, /* experts in a type that another of no more bytes beats */
    LINT_GATE_UP,   /* gate and up of a layer's experts in different types */
    LINT_PINNED,    /* embedding or head with more bits than pay */
    LINT_SMALL,     /* codebooks for tensors so small that nothing is saved */
    LINT_FLOOR,     /* fewer bits than density_floor() has for a class */
    LINT_COVERAGE,  /* experts that the importance matrix hardly saw */
    LINT_ROWS,      /* rows that do not fit the type chosen */
};

/* "dominated_type", ... */
const char *lint_name(enum lint_kind kind);

struct lint_finding {
    enum lint_kind kind;
    size_t count;      /* tensors; of LINT_GATE_UP layers, of LINT_COVERAGE experts */
    const char *first; /* name of the first tensor; points into the plan */
    char message[240]; /* one sentence, no full stop */
};

struct lint {
    struct lint_finding findings[16];
    int n;
};

/* Look at a plan whose types are decided.  `linear_only`: codebooks are not wanted, so
 * types that they dominate are fine.  `conditioned`: the matrix went through
 * imatrix_condition(). */
void lint_plan(struct lint *out, const struct plan *plan,
               const struct plan_options *options, bool linear_only, bool conditioned);

#endif
