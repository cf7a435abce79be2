/* compare.h - a chosen plan against the preset and the file type nearest to it in size:
 * what they cost, and what a choice of just their bytes would. */
#ifndef QUANT_COMPARE_H
#define QUANT_COMPARE_H

#include "budget.h"

struct comparison_row {
    const char *name; /* of the preset or file type */
    struct plan plan; /* the same tensors, in its types */
    double cost;      /* error_table_cost(); NaN: a type that has no encoder */
    double chosen;    /* the cost of budget_choose() with the bytes of `plan` */
};

struct comparison {
    struct comparison_row rows[2];
    int n;
    double cost; /* of the plan itself */
};

/* Find them: of those that the matrix allows, nearest to `bytes` of tensors.  Demands of
 * the options hold for them too.  What is to be measured is wanted of the table. */
int comparison_pick(struct comparison *c, const struct plan *plan,
                    const struct plan_options *plan_options, uint64_t bytes,
                    struct error_table *table, ggf_error *err);

/* Price them, when the table was measured; options->bytes does not matter. */
int comparison_price(struct comparison *c, const struct plan *plan,
                     const struct plan_options *plan_options, struct error_table *table,
                     const struct budget_options *options, ggf_error *err);

void comparison_free(struct comparison *c);

#endif
