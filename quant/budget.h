/* budget.h - types for the tensors of a plan so that the file has a given size.
 *
 * The cost of a type is the tensor's share of the weights, times how much a model of this
 * kind suffers from errors there (class and depth), times the measured error.
 * sensitivity.h measures, knapsack.h chooses; which tensors are in the choice, what their
 * candidates are and what an error costs is decided here. */
#ifndef QUANT_BUDGET_H
#define QUANT_BUDGET_H

#include "knapsack.h"
#include "plan.h"
#include "sensitivity.h"

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
    double error; /* of the type chosen: see sensitivity.h */
    double spread;
    double weight; /* cost = weight * error */
};

struct budget {
    struct budget_item *items;
    struct knapsack_result solution; /* of the open items together, in padded bytes */
    uint64_t fixed_bytes;            /* of the others, padded */
    uint64_t sampled;                /* elements looked at */
};

/* Decide and change the plan.  It must have been made with mix.to any quantized type and
 * mix.pure, and have passed plan_check(); the file must be open with its data.  If the
 * budget is too small: GGF_E_ARG, and *b as it is then tells the least bytes. */
int budget_choose(struct budget *b, struct plan *plan,
                  const struct plan_options *plan_options,
                  const struct budget_options *options, ggf_error *err);
void budget_free(struct budget *b);

/* How much an error in a tensor counts against the same error elsewhere, weight for
 * weight: its class times its depth.  `tied`: there is no output.weight, the embedding
 * serves as head. */
double budget_density(const char *name, uint32_t n_layers, bool tied);

/* The fewest bits for a weight of this tensor when the model has `mean` on average.
 * Floors for which a budget has no room step down to those of smaller means. */
double budget_floor(const char *name, double mean, bool tied);

#endif
