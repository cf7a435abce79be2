/* expert_budget.h - a type for each expert of its own, so that a dense GGUF and an expert
 * pack together have a given size.
 *
 * As budget.h, but an expert's gate and up, and its down, are in the choice by
 * themselves: some ten thousand items, which Lagrange's price divides the bytes among.
 * What an error in an expert costs is its tensor's cost times the expert's share
 * (expert_share.h). */
#ifndef QUANT_EXPERT_BUDGET_H
#define QUANT_EXPERT_BUDGET_H

#include "budget.h"
#include "expert_share.h"

enum { EXPERT_PAGE = 4096 }; /* each matrix of a pack starts on one */

struct expert_budget {
    struct budget_item *items; /* of the plan's items; of experts' tensors the error is
                                  the mean by share */
    struct expert_layer_items *layers;
    uint32_t n_layers;
    struct expert_shares shares;
    uint32_t (*types)[GGF_PARTS]; /* of each record: by layer, then expert */
    struct knapsack_result solution;
    uint64_t n_choices;   /* items of the solution */
    uint64_t fixed_bytes; /* of tensors and matrices whose type was demanded */
};

/* Find the plan's experts: layers, and types as the plan has them.  Before
 * expert_budget_choose().  GGF_E_NOT_FOUND if there are none. */
int expert_budget_init(struct expert_budget *b, const struct plan *plan,
                       const ggf_file *file, ggf_error *err);

/* Decide.  options->bytes bounds the tensors of the dense GGUF, each padded to
 * `alignment`, and the matrices of the pack, each padded to `page`.  The plan's
 * items get their types, experts' tensors that of which they have most bytes.  Otherwise
 * as budget_choose(). */
int expert_budget_choose(struct expert_budget *b, struct plan *plan,
                         const struct plan_options *plan_options,
                         struct error_table *table, const struct budget_options *options,
                         uint32_t page, ggf_error *err);
void expert_budget_free(struct expert_budget *b);

/* What the choice costs, demands included, and the standard error of that from sampling
 * the tensors (may be NULL). */
double expert_budget_cost(const struct expert_budget *b, size_t n_items,
                          double *standard_error);

/* Is item `i` of the plan in the pack? */
bool expert_budget_packs(const struct expert_budget *b, size_t item);

/* Bytes of a matrix in a type, padded to `page`. */
uint64_t expert_matrix_bytes(const struct expert_layer_items *layer, int part,
                             uint32_t type, uint32_t page);

#endif
