/* policy.h - which of the experts in memory goes when room is needed.
 *
 * Items are numbers below n; the policy knows nothing else of them, so that a cache can
 * be simulated with the same code.  Items that came with a sweep over a whole layer are
 * cold: they go first, the latest of them first, so that a sweep works in a window of its
 * own and finds the rest of its items again when it comes back.  The others go least
 * recently used first (LRU), or by CLOCK: first in first out, but one that was used since
 * it was last looked at gets another round. */
#ifndef INFER_EXPERTS_POLICY_H
#define INFER_EXPERTS_POLICY_H

#include "../engine.h"

#define POLICY_NONE UINT32_MAX

struct policy {
    enum q3n_cache_policy kind;
    uint32_t n;
    struct policy_link {
        uint32_t newer, older;
    } * links;      /* [n + 2]: the last two are the ends of the two rings */
    uint8_t *state; /* [n] */
};

/* False: out of memory. */
bool policy_init(struct policy *p, enum q3n_cache_policy kind, uint32_t n);
void policy_free(struct policy *p);

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
