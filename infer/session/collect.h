/* collect.h - an importance matrix from what a session computes.
 *
 * For each weight matrix of the file that the forward pass multiplies there is an entry
 * under its tensor's name, as llama-imatrix has them: sums of squared inputs and counts
 * of rows, of stacked experts for each expert.  Beside these, sums of the inputs; for
 * experts instead sums weighted by the router.  Unlike llama-imatrix it also counts
 * batches of fewer than 16 tokens. */
#ifndef INFER_COLLECT_H
#define INFER_COLLECT_H

#include "../../quant/imatrix_sums.h"
#include "../engine.h"
#include "../ops/observe.h"

typedef struct q3n_collector q3n_collector;

/* Add an entry for each matrix to `sums`, which must have none of them and outlive the
 * collector.  `output`: also for the output matrix; GGF_E_NOT_FOUND if it is the
 * embedding. */
int q3n_collector_new(q3n_collector **out, const q3n_model *model,
                      struct imatrix_sums *sums, bool output, ggf_error *err);
void q3n_collector_free(q3n_collector *c); /* NULL is allowed */

/* For q3n_session_observe().  One session at a time. */
const struct observer *q3n_collector_observer(const q3n_collector *c);

#endif
