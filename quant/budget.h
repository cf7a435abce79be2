/* budget.h - types for the tensors of a plan so that the file has a given size.
 *
 * error_table.h measures what types cost, knapsack.h chooses; which tensors are in the
 * choice and what their candidates are is decided here. */
#ifndef QUANT_BUDGET_H
#define QUANT_BUDGET_H

#include "error_table.h"
#include "knapsack.h"

enum budget_kind {
    BUDGET_ALL, /* every type that this version writes */
    BUDGET_K,   /* linear types: fast to encode and to decode */
    BUDGET_IQ,  /* codebooks and uneven levels; above 4.5 bits those of BUDGET_K */
};

struct budget_options {
    uint64_t bytes; /* of all tensors, each padded to `alignment` */
    uint32_t alignment;
    enum budget_kind kind;
    struct sensitivity_options measure;
};

/* What was decided for an item of the plan, in the plan's order. */
struct budget_item {
    bool open;    /* the choice was ours, not the user's or the rules' */
    double error; /* of the type chosen: see error_table.h */
    double spread;
    double weight; /* cost = weight * error */
};

struct budget {
    struct budget_item *items;
    struct knapsack_result solution; /* of the open items together, in padded bytes */
    double cost_spread;              /* standard error of its cost, from sampling */
    uint64_t fixed_bytes;            /* of the others, padded */
};

/* Decide and change the plan.  It must have been made with mix.to any quantized type and
 * mix.pure, and have passed plan_check(); the file must be open with its data.  The table
 * is that of the plan; candidates that it has no error for are measured, and with them
 * what else is wanted of it.  If the budget is too small: GGF_E_ARG, and *b as it is then
 * tells the least bytes. */
int budget_choose(struct budget *b, struct plan *plan,
                  const struct plan_options *plan_options, struct error_table *table,
                  const struct budget_options *options, ggf_error *err);
void budget_free(struct budget *b);

/* ---- Parts of that, for choices that go deeper than tensors */

/* Is the type of an item neither demanded by the user nor kept by rule? */
bool budget_is_open(const struct plan *plan, const struct plan_options *plan_options,
                    size_t item);

/* The candidates for an item whose output is called `name`, of `floor` bits at least;
 * returns how many. */
int budget_types(uint32_t types[KNAPSACK_OPTIONS], const struct error_table *table,
                 size_t item, const char *name, double floor, enum budget_kind kind);

#endif
