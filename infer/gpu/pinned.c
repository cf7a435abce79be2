/* pinned.c - see pinned.h. */
#include "pinned.h"

#include <stdlib.h>

struct pinned {
    gpu *g;
    uint8_t *base;
    uint64_t bytes;
    bool refused;
    bool *is; /* of each piece */
};

static uint64_t pieces(uint64_t bytes)
{
    return (bytes + PINNED_PIECE - 1) / PINNED_PIECE;
}

int pinned_new(struct pinned **out, gpu *g, uint8_t *base, uint64_t bytes, ggf_error *err)
{
    struct pinned *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) return ggf_no_memory(err);
    p->g = g;
    p->base = base;
    p->bytes = bytes;
    p->is = calloc(pieces(bytes) + 1, 1);
    if (p->is) return 0;
    free(p);
    *out = NULL;
    return ggf_no_memory(err);
}

void pinned_free(struct pinned *p)
{
    if (!p) return;
    pinned_leave(p, p->base, p->bytes);
    free(p->is);
    free(p);
}

static bool pin(struct pinned *p, uint64_t piece)
{
    const uint64_t at = piece * PINNED_PIECE, rest = p->bytes - at;
    if (p->is[piece] || p->refused) return p->is[piece];
    p->is[piece] = !gpu_host_pin(p->g, p->base + at,
                                 rest < PINNED_PIECE ? rest : PINNED_PIECE, NULL);
    p->refused = !p->is[piece];
    return p->is[piece];
}

/* The pieces that hold the bytes: *first .. *end - 1; none if they are not all here. */
static void find(const struct pinned *p, const void *from, uint64_t bytes,
                 uint64_t *first, uint64_t *end)
{
    const uintptr_t at = (uintptr_t)from - (uintptr_t)p->base;
    *first = *end = 0;
    if (!bytes || at >= p->bytes || bytes > p->bytes - at) return;
    *first = at / PINNED_PIECE;
    *end = pieces(at + bytes);
}

bool pinned_get(struct pinned *p, const void *from, uint64_t bytes)
{
    uint64_t piece, end;
    find(p, from, bytes, &piece, &end);
    if (piece == end) return false;
    for (; piece < end; piece++)
        if (!pin(p, piece)) return false;
    return true;
}

void pinned_copy(const struct pinned *p, void *to_d, const void *from, uint64_t bytes)
{
    uint64_t at = (uint64_t)((const uint8_t *)from - p->base);
    uint8_t *to = to_d;
    while (bytes) {
        const uint64_t rest = PINNED_PIECE - at % PINNED_PIECE;
        const uint64_t n = bytes < rest ? bytes : rest;
        gpu_copy(p->g, to, p->base + at, n);
        to += n;
        at += n;
        bytes -= n;
    }
}

void pinned_leave(struct pinned *p, const void *from, uint64_t bytes)
{
    uint64_t piece, end;
    for (find(p, from, bytes, &piece, &end); piece < end; piece++) {
        if (p->is[piece]) gpu_host_unpin(p->g, p->base + piece * PINNED_PIECE);
        p->is[piece] = false;
    }
}
