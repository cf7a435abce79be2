/* topk.c - see topk.h.  A heap holds the best so far with the worst of them on top; what
 * is worse than that, nearly everything, is passed over a block at a time. */
#include "topk.h"

#include <stdbool.h>

enum { BLOCK = 32 }; /* numbers looked at together */

static bool is_before(const float *key, uint32_t a, uint32_t b)
{
    return key[a] > key[b] || (key[a] == key[b] && a < b);
}

/* Let heap[i] sink to its place below what is worse. */
static void sift_down(const float *key, uint32_t *heap, uint32_t n, uint32_t i)
{
    const uint32_t id = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && is_before(key, heap[child], heap[child + 1]);
        if (!is_before(key, id, heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = id;
}

static void make_heap(const float *key, uint32_t *heap, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;) sift_down(key, heap, n, i);
}

/* Take the worst off again and again, and put it behind what is left. */
static void unheap(const float *key, uint32_t *heap, uint32_t n)
{
    while (n > 1) {
        const uint32_t worst = heap[0];
        heap[0] = heap[--n];
        heap[n] = worst;
        sift_down(key, heap, n, 0);
    }
}

void topk_sort(const float *key, uint32_t *ids, uint32_t n)
{
    make_heap(key, ids, n);
    unheap(key, ids, n);
}

/* Is one of a block greater? */
static bool any_above(const float *block, float least)
{
    int above = 0;
    for (int i = 0; i < BLOCK; i++) above |= block[i] > least;
    return above != 0;
}

/* Of the indices from..to-1, those that are better than the worst in the heap go in. */
static void offer(const float *key, uint32_t from, uint32_t to, uint32_t *heap,
                  uint32_t k)
{
    for (uint32_t i = from; i < to; i++) {
        if (key[i] <= key[heap[0]]) continue;
        heap[0] = i;
        sift_down(key, heap, k, 0);
    }
}

void topk_row(const float *key, uint32_t n, uint32_t k, uint32_t *out)
{
    for (uint32_t i = 0; i < k; i++) out[i] = i;
    make_heap(key, out, k);
    uint32_t i = k;
    for (; n - i >= BLOCK; i += BLOCK)
        if (any_above(key + i, key[out[0]])) offer(key, i, i + BLOCK, out, k);
    offer(key, i, n, out, k);
    unheap(key, out, k);
}
