/* knapsack.h - one option for each item, the least total cost within a budget of bytes.
 *
 * The multiple-choice knapsack problem.  Sizes and costs come from the caller; what they
 * mean is budget.h's business. */
#ifndef QUANT_KNAPSACK_H
#define QUANT_KNAPSACK_H

#include "../libgguf/libgguf.h"

struct knapsack_option {
    uint64_t bytes;
    double cost; /* finite, >= 0 */
};

struct knapsack_item {
    const struct knapsack_option *options;
    int n_options; /* 1 to KNAPSACK_OPTIONS */
    int chosen;    /* out: index of an option */
};

enum { KNAPSACK_OPTIONS = 32 };

struct knapsack_result {
    uint64_t bytes; /* of the chosen options, <= budget */
    double cost;    /* of the chosen options */
    double bound;   /* no choice within the budget costs less (Lagrange's dual) */
    double lambda;  /* what a byte is worth at the bound */
};

/* Choose.  The answer is the optimum unless more than `states` partial choices would have
 * to be kept side by side (0: a default that takes about 100 MB and a few seconds for 500
 * items); then it is near it, and cost - bound says how near.  Depends on the arguments
 * alone.  GGF_E_ARG if not even the smallest options fit; `bytes` is then their sum. */
int knapsack_solve(struct knapsack_item *items, size_t n, uint64_t budget, size_t states,
                   struct knapsack_result *result, ggf_error *err);

/* The first part of that: Lagrange's price, then upgrades into what is left of the
 * budget.  For very many items, of which each takes little of it: then the answer is as
 * good, and cost - bound says so. */
int knapsack_lagrange(struct knapsack_item *items, size_t n, uint64_t budget,
                      struct knapsack_result *result, ggf_error *err);

#endif
