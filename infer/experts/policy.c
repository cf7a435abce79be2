/* policy.c - two rings of items, hot and cold, in the order in which they came or were
 * used.  LRU moves an item to the front when it is used; CLOCK marks it and moves it when
 * the hand, which is the ring's end, finds the mark. */
#include "policy.h"

#include <stdlib.h>

enum { OUT, HOT, COLD, USED }; /* USED: hot, and used since it was last looked at */

static uint32_t hot_ring(const struct policy *p) { return p->n; }
static uint32_t cold_ring(const struct policy *p) { return p->n + 1; }

bool policy_init(struct policy *p, enum q3n_cache_policy kind, uint32_t n)
{
    *p = (struct policy){ .kind = kind, .n = n };
    p->links = malloc(((size_t)n + 2) * sizeof *p->links);
    p->state = calloc((size_t)n + 1, sizeof *p->state);
    if (!p->links || !p->state) {
        policy_free(p);
        return false;
    }
    for (uint32_t ring = n; ring < n + 2; ring++)
        p->links[ring] = (struct policy_link){ ring, ring };
    return true;
}

void policy_free(struct policy *p)
{
    free(p->links);
    free(p->state);
    *p = (struct policy){ 0 };
}

static void unlink_item(struct policy *p, uint32_t item)
{
    const struct policy_link l = p->links[item];
    p->links[l.newer].older = l.older;
    p->links[l.older].newer = l.newer;
}

/* Make the item the newest of a ring: of an end, `older` is the newest item and `newer`
 * the oldest. */
static void link_item(struct policy *p, uint32_t item, uint32_t ring)
{
    const uint32_t newest = p->links[ring].older;
    p->links[item] = (struct policy_link){ ring, newest };
    p->links[newest].newer = item;
    p->links[ring].older = item;
}

void policy_add(struct policy *p, uint32_t item, bool cold)
{
    p->state[item] = cold ? COLD : HOT;
    link_item(p, item, cold ? cold_ring(p) : hot_ring(p));
}

void policy_use(struct policy *p, uint32_t item)
{
    if (p->kind == Q3N_CACHE_CLOCK && p->state[item] != COLD) {
        p->state[item] = USED;
        return;
    }
    unlink_item(p, item);
    policy_add(p, item, false);
}

void policy_remove(struct policy *p, uint32_t item)
{
    unlink_item(p, item);
    p->state[item] = OUT;
}

bool policy_is_cold(const struct policy *p, uint32_t item)
{
    return p->state[item] == COLD;
}

uint32_t policy_victim(struct policy *p, bool (*may_go)(void *, uint32_t), void *user)
{
    const uint32_t cold = cold_ring(p), hot = hot_ring(p);
    for (uint32_t i = p->links[cold].older; i != cold; i = p->links[i].older)
        if (may_go(user, i)) return i;
    /* A marked item is passed once and moves to the front; so this ends. */
    for (uint32_t i = p->links[hot].newer, next; i != hot; i = next) {
        next = p->links[i].newer;
        if (p->state[i] != USED) {
            if (may_go(user, i)) return i;
            continue;
        }
        unlink_item(p, i);
        policy_add(p, i, false);
        if (next == hot) next = i;
    }
    return POLICY_NONE;
}
