/* heap.c - see heap.h. */
#include "heap.h"

#include <stdlib.h>

bool heap_init(struct heap *h, uint32_t n)
{
    *h = (struct heap){ 0 };
    h->entries = malloc(((size_t)n + 1) * sizeof *h->entries);
    h->place = calloc((size_t)n + 1, sizeof *h->place);
    if (h->entries && h->place) return true;
    heap_free(h);
    return false;
}

void heap_free(struct heap *h)
{
    free(h->entries);
    free(h->place);
    *h = (struct heap){ 0 };
}

static bool is_less(struct heap_entry a, struct heap_entry b)
{
    return a.key < b.key || (a.key == b.key && a.item < b.item);
}

static void put(struct heap *h, uint32_t at, struct heap_entry e)
{
    h->entries[at] = e;
    h->place[e.item] = at + 1;
}

/* Put the entry at `at` or where it belongs above. */
static void rise(struct heap *h, uint32_t at, struct heap_entry e)
{
    while (at && is_less(e, h->entries[(at - 1) / 2])) {
        put(h, at, h->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(h, at, e);
}

static void sink(struct heap *h, uint32_t at, struct heap_entry e)
{
    for (uint64_t child; (child = 2 * (uint64_t)at + 1) < h->n;) {
        if (child + 1 < h->n && is_less(h->entries[child + 1], h->entries[child]))
            child++;
        if (!is_less(h->entries[child], e)) break;
        put(h, at, h->entries[child]);
        at = (uint32_t)child;
    }
    rise(h, at, e);
}

void heap_set(struct heap *h, uint32_t item, uint64_t key)
{
    const struct heap_entry e = { key, item };
    if (!h->place[item]) rise(h, h->n++, e);
    else sink(h, h->place[item] - 1, e);
}

void heap_remove(struct heap *h, uint32_t item)
{
    const uint32_t at = h->place[item] - 1;
    h->place[item] = 0;
    const struct heap_entry last = h->entries[--h->n];
    if (at < h->n) sink(h, at, last);
}

/* The entry that it is, as its place plus 1, or `best` if none at or below `at` is less:
 * nothing below one that may be has to be looked at. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as the heap is high */
static uint64_t look(const struct heap *h, uint64_t at, uint64_t best,
                     bool (*may_be)(void *, uint32_t), void *user)
{
    if (at >= h->n || (best && is_less(h->entries[best - 1], h->entries[at])))
        return best;
    if (may_be(user, h->entries[at].item)) return at + 1;
    best = look(h, 2 * at + 1, best, may_be, user);
    return look(h, 2 * at + 2, best, may_be, user);
}

uint32_t heap_least(const struct heap *h, bool (*may_be)(void *, uint32_t), void *user)
{
    const uint64_t found = look(h, 0, 0, may_be, user);
    return found ? h->entries[found - 1].item : UINT32_MAX;
}
