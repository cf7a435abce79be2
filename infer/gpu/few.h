/* few.h - experts of a pool for batches of a few tokens, which is to say for decoding.
 *
 * The device computes with those that are there, at once.  When the host knows the
 * router's choice it has some of those that are missing copied to slots, and its threads
 * compute the others meanwhile; who does what is a matter of costs as they were measured
 * (misses.h), and makes no difference to the bits.  Experts that the host has computed
 * and that are used more than others follow into their slots afterwards. */
#ifndef INFER_GPU_FEW_H
#define INFER_GPU_FEW_H

#include "pool.h"
#include "staging.h"

struct expert_few;
struct device_pass;

/* staging: NULL, or what copies go through.  most_uploads: as of q3n_device_options. */
int few_new(struct expert_few **out, struct expert_pool *pool, struct staging *staging,
            enum q3n_device_misses how, uint32_t most_uploads, ggf_error *err);
void few_free(struct expert_few *few); /* NULL is allowed; before its pool */

/* Does it want the norm with a choice? */
bool few_wants_norm(const struct expert_few *few);
/* The experts of a layer, for tokens from `first` on, at most GPU_FEW_TOKENS.  more: the
 * next call is for the next layer of the batch; else the layer's demand is given up. */
int few_experts(struct expert_few *few, struct device_pass *p, uint32_t layer,
                uint32_t first, bool more, ggf_error *err);
/* Before others use the pool: nothing is on its way.  And after a failure. */
void few_settle(struct expert_few *few);

#endif
