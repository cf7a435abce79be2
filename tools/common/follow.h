/* follow.h - what goes on inside two models that read the same text, layer by layer: do
 * their routers choose the same experts, how far apart are the states that enter the
 * layers.  The first model leaves a trail of the batch in hand; the second is compared
 * with it while it computes the same batch. */
#ifndef TOOLS_FOLLOW_H
#define TOOLS_FOLLOW_H

#include "../../infer/engine.h"
#include "../../infer/ops/observe.h"
#include "divergence.h"

struct trail;  /* of the first */
struct follow; /* what is found of the second */

/* Of a model with these facts, batches of at most max_rows tokens.  NULL: out of memory.
 */
struct trail *trail_new(const struct q3n_model_info *info, uint32_t max_rows);
void trail_free(struct trail *t);
const struct observer *trail_observer(const struct trail *t);
/* Forget the batch: to be called after both have computed it. */
void trail_clear(struct trail *t);

/* Have both as many layers of the same width, experts and experts used? */
bool follow_possible(const struct q3n_model_info *first,
                     const struct q3n_model_info *second);
/* `trail` must be that of a model of which follow_possible() holds, and outlive it. */
struct follow *follow_new(struct trail *trail);
void follow_free(struct follow *f);
const struct observer *follow_observer(const struct follow *f);
/* Both have computed a batch of n tokens: count it, before trail_clear(). */
void follow_count(struct follow *f, uint32_t n);

/* Of a layer, over the tokens counted.  The layer behind the last is the output matrix,
 * which has a state only. */
struct layer_distance {
    struct estimate overlap; /* Jaccard index of the two sets of experts: common / all */
    double same;             /* share of tokens with equal sets */
    double state_error; /* |x - first x| / |first x|, x being what enters, normalized;
                           lengths over all tokens */
};
uint32_t follow_layers(const struct follow *f); /* without the output matrix */
struct layer_distance follow_layer(const struct follow *f, uint32_t layer);

#endif
