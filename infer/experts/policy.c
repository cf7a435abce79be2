/* policy.c - two rings of items, hot and cold, in the order in which they came or were
 * used.  LRU moves an item to the front when it is used; CLOCK marks it and moves it when
 * the hand, which is the ring's end, finds the mark.  LFU has a heap instead of the hot
 * ring. */
#include "policy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUT, HOT, COLD, USED }; /* USED: hot, and used since it was last looked at */

static uint32_t hot_ring(const struct policy *p) { return p->n; }
static uint32_t cold_ring(const struct policy *p) { return p->n + 1; }

bool policy_init(struct policy *p, enum q3n_cache_policy kind, uint32_t n)
{
    *p = (struct policy){ .kind = kind, .n = n };
    p->links = malloc(((size_t)n + 2) * sizeof *p->links);
    p->state = calloc((size_t)n + 1, sizeof *p->state);
    bool good = p->links && p->state;
    if (kind == Q3N_CACHE_LFU) {
        p->each = 1;
        p->counts = calloc((size_t)n + 1, sizeof *p->counts);
        good = p->counts && heap_init(&p->heap, n) && good;
    }
    if (!good) {
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
    free(p->counts);
    heap_free(&p->heap);
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

/* ---- Counts -------------------------------------------------------------- */

/* Positive doubles are in the order of their bits. */
static uint64_t key_of(const struct policy *p, uint32_t item)
{
    uint64_t bits;
    memcpy(&bits, &p->counts[item], sizeof bits);
    return bits;
}

/* Before numbers become too large: all smaller by one factor. */
static void rescale(struct policy *p)
{
    const double factor = ldexp(1, -256);
    p->each *= factor;
    for (uint32_t i = 0; i < p->n; i++) p->counts[i] *= factor;
    for (uint32_t i = 0; i < p->heap.n; i++)
        p->heap.entries[i].key = key_of(p, p->heap.entries[i].item);
}

void policy_begin(struct policy *p, uint64_t uses)
{
    if (p->kind != Q3N_CACHE_LFU) return;
    p->each *= exp2(fmin(64, (double)uses / ((double)POLICY_HALF_LIFE * p->n)));
    if (p->each > ldexp(1, 256)) rescale(p);
}

void policy_count(struct policy *p, uint32_t item, uint32_t uses)
{
    if (p->kind != Q3N_CACHE_LFU) return;
    p->counts[item] += uses * p->each;
    if (p->state[item] == HOT) heap_set(&p->heap, item, key_of(p, item));
}

double policy_worth(const struct policy *p, uint32_t item)
{
    return p->counts ? p->counts[item] : 0;
}

/* They count for what uses at one even pace would have come to, or less if they are few.
 */
void policy_seed(struct policy *p, const uint64_t *counts)
{
    double sum = 0;
    for (uint32_t i = 0; i < p->n; i++) sum += (double)counts[i];
    if (p->kind != Q3N_CACHE_LFU || !(sum > 0)) return;
    const double most = POLICY_HALF_LIFE * p->n / log(2);
    for (uint32_t i = 0; i < p->n; i++) {
        p->counts[i] += p->each * (double)counts[i] * fmin(1, most / sum);
        if (p->state[i] == HOT) heap_set(&p->heap, i, key_of(p, i));
    }
}

/* ---- Coming, staying, going ---------------------------------------------- */

void policy_add(struct policy *p, uint32_t item, bool cold)
{
    p->state[item] = cold ? COLD : HOT;
    if (!cold && p->kind == Q3N_CACHE_LFU) heap_set(&p->heap, item, key_of(p, item));
    else link_item(p, item, cold ? cold_ring(p) : hot_ring(p));
}

static void take_out(struct policy *p, uint32_t item)
{
    if (p->kind == Q3N_CACHE_LFU && p->state[item] == HOT) heap_remove(&p->heap, item);
    else unlink_item(p, item);
}

void policy_use(struct policy *p, uint32_t item)
{
    if (p->kind == Q3N_CACHE_CLOCK && p->state[item] != COLD) {
        p->state[item] = USED;
        return;
    }
    take_out(p, item);
    policy_add(p, item, false);
}

void policy_remove(struct policy *p, uint32_t item)
{
    take_out(p, item);
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
    if (p->kind == Q3N_CACHE_LFU) return heap_least(&p->heap, may_go, user);
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
