/* output_error.h - errors of types as they show in what a matrix gives: sums over tokens
 * and rows of (w' x - w x)^2 / (w x)^2, for inputs x that a session has met; of routed
 * experts times the square of the router's weight.
 *
 * The estimate of sensitivity.h takes the columns of an input for independent, each with
 * its mean square.  They are not: errors that have a sign in common over a block, as the
 * types with a minimum make them, add up where the inputs have a mean. */
#ifndef INFER_OUTPUT_ERROR_H
#define INFER_OUTPUT_ERROR_H

#include "../../quant/error_table.h"
#include "capture.h"

/* Put such errors, from some rows, in the place of those in the table, wherever inputs of
 * the tensor were kept.  *n_replaced counts tensors.  `refine` is a level of refine.h.
 * The results do not depend on threads. */
int q3n_output_errors(size_t *n_replaced, const q3n_capture *capture,
                      struct error_table *table, int refine, int threads, ggf_error *err);

#endif
