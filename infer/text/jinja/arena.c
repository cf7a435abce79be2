/* arena.c - see arena.h. */
#include "arena.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT  16
#define BLOCK_SIZE ((size_t)16 << 10)

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(ALIGNMENT) char bytes[];
};

void *arena_take(struct arena *a, size_t size)
{
    if (size > a->limit - a->used) return NULL;
    const size_t n = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *b = a->blocks;
    if (!b || n > b->size - b->used) {
        const size_t room = n > BLOCK_SIZE ? n : BLOCK_SIZE;
        b = malloc(sizeof *b + room);
        if (!b) return NULL;
        *b = (struct arena_block){ .next = a->blocks, .size = room };
        a->blocks = b;
    }
    void *p = b->bytes + b->used;
    b->used += n;
    a->used += size;
    return p;
}

void *arena_zero(struct arena *a, size_t size)
{
    void *p = arena_take(a, size);
    return p ? memset(p, 0, size) : NULL;
}

char *arena_copy(struct arena *a, const char *bytes, size_t len)
{
    char *p = len < a->limit ? arena_take(a, len + 1) : NULL;
    if (!p) return NULL;
    if (len) memcpy(p, bytes, len);
    p[len] = 0;
    return p;
}

void arena_free(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->used = 0;
}
