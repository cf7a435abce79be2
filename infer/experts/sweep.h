/* sweep.h - batches that need more experts than there is room for.
 *
 * If such a sweep took part in the cache like everything else, it would push out what was
 * there for nothing: its own experts are gone before the next batch comes.  So most of
 * them are cold (policy.h); only the most used stay. */
#ifndef INFER_EXPERTS_SWEEP_H
#define INFER_EXPERTS_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

/* A layer of a batch, and the cache it meets; sizes in any one unit. */
struct sweep {
    uint32_t n_layer;
    uint32_t n;           /* experts that the layer needs, */
    uint64_t each;        /* of this size */
    uint64_t room;        /* of the whole cache; */
    uint64_t free, cold;  /* of it, nobody has or cold ones have */
    const uint32_t *uses; /* [n]: tokens that an expert is for */
};

bool sweep_is_one(const struct sweep *s);
/* Experts with so many uses or more stay: as many as are the layer's share of what is
 * free or cold, or else some that replace others. */
uint32_t sweep_hot_from(const struct sweep *s);

#endif
