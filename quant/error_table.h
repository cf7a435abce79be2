/* error_table.h - what each item of a plan would lose in each type, as far as measured.
 *
 * Callers say which types they want to know about, one pass over a sample of the file
 * measures them all, and then any assignment of these types to the items has a price:
 *
 *     cost = sum over items of weight * error
 *
 * An item's weight is its share of all weights of the plan times the density of its class
 * and depth (density.h); its error is that of sensitivity.h.  Types are chosen elsewhere
 * (budget.h). */
#ifndef QUANT_ERROR_TABLE_H
#define QUANT_ERROR_TABLE_H

#include "plan.h"
#include "sensitivity.h"

struct error_entry {
    double error[GGF_TYPE_COUNT];  /* by enum ggf_type; NaN: not measured */
    double spread[GGF_TYPE_COUNT]; /* the standard error of that, relative to it */
    double weight;
    uint64_t sampled; /* elements looked at */

    const struct ggf_tensor *tensor;
    const struct imatrix_entry *importances; /* or NULL */
    uint64_t wanted;                         /* 1 << type: not yet measured */
};

struct error_table {
    struct error_entry *entries; /* of the plan's items, in its order */
    size_t n;
};

/* Nothing is measured yet; the type that a tensor has in the file has error 0.  The table
 * points into the file and the matrix, not into the plan.  Fails if the matrix has an
 * entry of another shape.  error_table_free() also after a failure. */
int error_table_init(struct error_table *t, const struct plan *plan,
                     const struct plan_options *options, ggf_error *err);
void error_table_free(struct error_table *t);

/* Can it be measured?  Not if there is no encoder, if rows do not fit the blocks, or if
 * the encoder needs importances and there are none. */
bool error_table_can(const struct error_table *t, size_t item, uint32_t type);

/* Have a type measured at the next error_table_measure(), if it can be. */
void error_table_want(struct error_table *t, size_t item, uint32_t type);
/* The same for a type of each item. */
void error_table_want_all(struct error_table *t, const uint32_t *types);

/* Measure what is wanted.  The file must be open with its data.  An error measured in a
 * later call comes from the same places of the tensor. */
int error_table_measure(struct error_table *t, const struct sensitivity_options *options,
                        ggf_error *err);

/* What an assignment costs, types[i] being the type of item i, and the standard error of
 * that from sampling (may be NULL).  NaN if one of the types was not measured. */
double error_table_cost(const struct error_table *t, const uint32_t *types,
                        double *standard_error);

/* Elements looked at in all. */
uint64_t error_table_sampled(const struct error_table *t);

#endif
