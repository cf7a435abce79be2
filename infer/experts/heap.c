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

static void put(struct heap *h, uint32_t at, struct heap_entry e)
{
    h->entries[at] = e;
    h->place[e.item] = at + 1;
}

/* Put the entry at `at` or where it belongs above. */
static void rise(struct heap *h, uint32_t at, struct heap_entry e)
{
    while (at && h->entries[(at - 1) / 2].key > e.key) {
        put(h, at, h->entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(h, at, e);
}

static void sink(struct heap *h, uint32_t at, struct heap_entry e)
{
    for (uint64_t child; (child = 2 * (uint64_t)at + 1) < h->n;) {
        if (child + 1 < h->n && h->entries[child + 1].key < h->entries[child].key)
            child++;
        if (h->entries[child].key >= e.key) break;
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
