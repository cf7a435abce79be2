/* expert_share.h - how a layer's error divides among its experts.
 *
 * error_table.h says what a tensor loses in a type over all its experts together.  What
 * expert e has of that is taken as the same for every type:
 *
 *     share(e) ~ use(e) * output(e) * loss(e)
 *
 *   use     sum over tokens of the squared weight that the router gave it, or the tokens
 *           alone where the matrix does not know the weights; plus a tenth of the mean of
 *           the layer, for other texts use other experts
 *   output  mean of w x^2 of its down matrix: what a token gets from it.  A relative
 * error in gate, up or down is one of this loss    the matrix's own relative error in two
 * types over the layer's mean
 *
 * Output and loss are measured on some blocks of each matrix, in types that are quick to
 * encode; measuring every expert in every type would take hours for a large model. */
#ifndef QUANT_EXPERT_SHARE_H
#define QUANT_EXPERT_SHARE_H

#include "error_table.h"

/* The experts of a layer, and which items of a plan they are. */
struct expert_layer_items {
    struct ggf_expert_layer layer;
    size_t item[GGF_PARTS]; /* gate and up are the same one if fused */
};

struct expert_shares {
    uint64_t n_records;
    double *use; /* of each record: share of its layer's tokens, as counted */
    double (*part)[GGF_PARTS]; /* of each record: share of the error of its tensor */
    uint64_t *tokens;          /* that the expert saw; 0 if not known */
    bool counted;              /* the matrix counts tokens by expert */
    bool gated;                /* and knows the router's weights */
    uint64_t sampled;          /* elements looked at */
};

/* What the matrix counted: all but `part` and `sampled`. */
int expert_shares_init(struct expert_shares *shares,
                       const struct expert_layer_items *layers, uint32_t n_layers,
                       const struct error_table *table, ggf_error *err);
/* The rest, for the same layers and table.  Fails as sensitivity_measure(). */
int expert_shares_measure(struct expert_shares *shares,
                          const struct expert_layer_items *layers, uint32_t n_layers,
                          const struct error_table *table,
                          const struct sensitivity_options *options, ggf_error *err);
void expert_shares_free(struct expert_shares *shares);

#endif
