/* condition.h - what an importance matrix says of experts that saw few tokens.
 *
 * The sums of an expert that was chosen four times are mostly chance, and one that was
 * never chosen has none.  So weights are drawn to what is known otherwise, the more the
 * fewer tokens there were:
 *
 *   gate, up   (sum + 8 pool) / (n + 8); pool is the mean over all experts of the layer,
 *              whose inputs are rows of the same stream
 *   down       only with n < 64: (sum + 32 prior) / (n + 32).  Its inputs are h = silu(G
 *              x) (U x), of the expert's own gate and up, so E[h^2] follows from these
 *              and the mean and variance of the layer's x, which are taken as normal and
 *              independent.  Without the means, which only q3n-imatrix stores:
 *              (sum + 8 flat) / (n + 8), flat being the expert's mean over all columns
 *
 * Off by default: llama-quantize trusts every count above 0 and takes 1 for all weights
 * of an expert without. */
#ifndef QUANT_CONDITION_H
#define QUANT_CONDITION_H

#include "imatrix.h"

/* Experts of all layers, by how they were dealt with. */
struct condition_report {
    uint64_t experts;
    uint64_t unseen, few;    /* 0, 1 to 15 tokens */
    uint64_t pooled;         /* gate and up drawn to the layer's */
    uint64_t computed, flat; /* down drawn to the prior, to its own mean */
};

/* Change the weights that imatrix_weights() gives for stacked experts.  `model` is the
 * file of the weights; opened without its data nothing is computed from them.  The
 * matrix must be good by imatrix_check().  GGF_E_ARG if it counts no experts. */
int imatrix_condition(imatrix *m, const ggf_file *model, struct condition_report *report,
                      ggf_error *err);

/* E[h^2] of h = silu(a) b, where a and b are normal with these means, deviations and
 * correlation. */
struct normal_pair {
    double mean_a, mean_b, sd_a, sd_b, correlation;
};
double expected_square(const struct normal_pair *p);

#endif
