/* tensor_check.h - one tensor of a quantized file against its source: is it what this
 * version would write, and what do the two lose? */
#ifndef QUANT_TENSOR_CHECK_H
#define QUANT_TENSOR_CHECK_H

#include "imatrix.h"

struct tensor_check {
    uint64_t bytes, bytes_different;
    uint64_t blocks, blocks_different; /* of the type */
    /* sum w (x - x')^2 / sum w x^2 over the tensor, x' being what was stored; w the
     * importances, or 1. */
    double error_here, error_there;
};

/* Store `source` in the type of `there` and compare.  Both with their data; of the same
 * shape, which is checked.  `weights` may be NULL.  `compat` as in encode_for_compat(),
 * `refine` a level of refine.h.
 * The result does not depend on threads (<= 0: one for each processor). */
int tensor_check(struct tensor_check *out, const struct ggf_tensor *source,
                 const struct ggf_tensor *there, const struct imatrix_entry *weights,
                 bool compat, int refine, int threads, ggf_error *err);

#endif
