/* policy.h - which of the experts in memory goes when room is needed.
 *
 * Items are numbers below n; the policy knows nothing else of them, so that a cache can
 * be simulated with the same code.  Items that came with a sweep over a whole layer are
 * cold: they go first, the latest of them first, so that a sweep works in a window of its
 * own and finds the rest of its items again when it comes back.  The others go
 *
 *   LRU     least recently used first;
 *   CLOCK   first in first out, but one that was used since it was last looked at gets
 *           another round;
 *   LFU     least often used first.  Uses are counted for all items, in the cache or not,
 *           and count for less the longer ago they were: for half after POLICY_HALF_LIFE
 *           uses for each item there is. */
#ifndef INFER_EXPERTS_POLICY_H
#define INFER_EXPERTS_POLICY_H

#include "../engine.h"
#include "heap.h"

#define POLICY_NONE UINT32_MAX

enum { POLICY_HALF_LIFE = 16 };

struct policy {
    enum q3n_cache_policy kind;
    uint32_t n;
    struct policy_link {
        uint32_t newer, older;
    } * links;      /* [n + 2]: the last two are the ends of the two rings */
    uint8_t *state; /* [n] */
    /* LFU.  Instead of making all earlier uses count for less, a later one counts for
     * more: the order is the same, and stays while nothing is used. */
    double *counts; /* [n] */
    double each;    /* what a use counts for now */
    struct heap heap;
};

/* False: out of memory. */
bool policy_init(struct policy *p, enum q3n_cache_policy kind, uint32_t n);
void policy_free(struct policy *p);

/* So many uses, of several items together, are about to be counted. */
void policy_begin(struct policy *p, uint64_t uses);
/* An item has so many of them, whether it is in the cache or not. */
void policy_count(struct policy *p, uint32_t item, uint32_t uses);
/* What its uses count for now, if they are counted (LFU), to compare items with. */
double policy_worth(const struct policy *p, uint32_t item);
/* Uses before the first: counts[n]. */
void policy_seed(struct policy *p, const uint64_t *counts);

/* The item is in the cache from now on; it was not. */
void policy_add(struct policy *p, uint32_t item, bool cold);
/* It was asked for again, not by a sweep: no longer cold. */
void policy_use(struct policy *p, uint32_t item);
/* It has left the cache. */
void policy_remove(struct policy *p, uint32_t item);
bool policy_is_cold(const struct policy *p, uint32_t item);

/* The item that should go next, among those for which may_go(user, item) holds;
 * POLICY_NONE if there is none.  It stays until it is removed. */
uint32_t policy_victim(struct policy *p, bool (*may_go)(void *user, uint32_t item),
                       void *user);

#endif
