/* bpe.c - see bpe.h.  Short pieces, which is nearly all, are scanned for the best pair
 * after each merge; long ones keep the pairs in a heap. */
#include "bpe.h"

#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* Up to here the scan is faster; both give the same tokens. */
enum { SHORT_PIECE = 48 };

struct bpe_node {
    uint32_t id;
    uint32_t rank;       /* of the merge with the next node; MERGE_NONE: none */
    uint32_t merged;     /* the token it would make */
    uint32_t prev, next; /* NO_NODE at the ends */
};
#define NO_NODE UINT32_MAX

void bpe_space_free(struct bpe_space *space)
{
    free(space->nodes);
    free(space->heap);
    *space = (struct bpe_space){ 0 };
}

static bool encode_short(const struct vocab *v, const uint8_t *piece, size_t len,
                         struct q3n_ids *out)
{
    uint32_t id[SHORT_PIECE], rank[SHORT_PIECE], merged[SHORT_PIECE];
    size_t n = len;
    for (size_t i = 0; i < n; i++) id[i] = v->byte_id[piece[i]];
    for (size_t i = 0; i + 1 < n; i++) {
        const struct merge *m = merge_find(v, id[i], id[i + 1]);
        rank[i] = m->rank;
        merged[i] = m->id;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == MERGE_NONE) break;
        id[best] = merged[best];
        n--;
        memmove(&id[best + 1], &id[best + 2], (n - best - 1) * sizeof *id);
        memmove(&rank[best], &rank[best + 1], (n - best - 1) * sizeof *rank);
        memmove(&merged[best], &merged[best + 1], (n - best - 1) * sizeof *merged);
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const struct merge *m = merge_find(v, id[i], id[i + 1]);
            rank[i] = m->rank;
            merged[i] = m->id;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (!q3n_ids_push(out, (int32_t)id[i])) return false;
    return true;
}

/* ---- The heap: rank in the high half, node in the low, so ties go to the left. ---- */

static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;
    for (; i && heap[(i - 1) / 2] > key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    const uint64_t top = heap[0], last = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        child += child + 1 < *n && heap[child + 1] < heap[child];
        if (heap[child] >= last) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static bool reserve(struct bpe_space *s, size_t len)
{
    if (len <= s->capacity) return true;
    bpe_space_free(s);
    s->nodes = malloc(len * sizeof *s->nodes);
    s->heap = malloc(2 * len * sizeof *s->heap);
    s->capacity = s->nodes && s->heap ? len : 0;
    return s->capacity != 0;
}

/* Look up the pair that starts at node i and put it in the heap if it merges. */
static void offer(const struct vocab *v, struct bpe_space *s, uint32_t i, size_t *n_heap)
{
    struct bpe_node *a = &s->nodes[i];
    a->rank = MERGE_NONE;
    if (a->next == NO_NODE) return;
    const struct merge *m = merge_find(v, a->id, s->nodes[a->next].id);
    a->rank = m->rank;
    a->merged = m->id;
    if (m->rank != MERGE_NONE) heap_push(s->heap, n_heap, (uint64_t)m->rank << 32 | i);
}

/* The heap never holds more than 2 len keys: fewer than len at first, and each merge
 * takes one out and puts at most two in. */
static bool encode_long(const struct vocab *v, const uint8_t *piece, size_t len,
                        struct bpe_space *s, struct q3n_ids *out)
{
    if (!reserve(s, len)) return false;
    const uint32_t n = (uint32_t)len;
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        s->nodes[i] = (struct bpe_node){ .id = v->byte_id[piece[i]],
                                         .prev = i ? i - 1 : NO_NODE,
                                         .next = i + 1 < n ? i + 1 : NO_NODE };
    for (uint32_t i = 0; i < n; i++) offer(v, s, i, &n_heap);
    while (n_heap) {
        const uint64_t key = heap_pop(s->heap, &n_heap);
        const uint32_t i = (uint32_t)key;
        struct bpe_node *a = &s->nodes[i];
        if (a->rank != key >> 32) continue; /* one of the two is gone or has grown */
        struct bpe_node *b = &s->nodes[a->next];
        b->rank = MERGE_NONE;
        a->id = a->merged;
        a->next = b->next;
        if (a->next != NO_NODE) s->nodes[a->next].prev = i;
        offer(v, s, i, &n_heap);
        if (a->prev != NO_NODE) offer(v, s, a->prev, &n_heap);
    }
    for (uint32_t i = 0; i != NO_NODE; i = s->nodes[i].next)
        if (!q3n_ids_push(out, (int32_t)s->nodes[i].id)) return false;
    return true;
}

bool bpe_encode(const struct vocab *v, const uint8_t *piece, size_t len,
                struct bpe_space *space, struct q3n_ids *out)
{
    return len <= SHORT_PIECE ? encode_short(v, piece, len, out)
                              : encode_long(v, piece, len, space, out);
}
