/* heap.h - numbered items in a binary heap by a key that may change: the item with the
 * least key is found at once, everything else takes log n steps.  Of equal keys the item
 * with the lower number is less. */
#ifndef INFER_EXPERTS_HEAP_H
#define INFER_EXPERTS_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct heap {
    uint32_t n;
    struct heap_entry {
        uint64_t key;
        uint32_t item;
    } * entries;
    uint32_t *place; /* of each item in entries, plus 1; 0: not there */
};

/* For items below n.  False: out of memory. */
bool heap_init(struct heap *h, uint32_t n);
void heap_free(struct heap *h);

/* Put the item in, or give it a new key. */
void heap_set(struct heap *h, uint32_t item, uint64_t key);
/* It must be in. */
void heap_remove(struct heap *h, uint32_t item);
/* The least item for which may_be(user, item) holds; UINT32_MAX if there is none.  Few
 * steps if few do not. */
uint32_t heap_least(const struct heap *h, bool (*may_be)(void *user, uint32_t item),
                    void *user);

#endif
