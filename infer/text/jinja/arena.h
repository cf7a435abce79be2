/* arena.h - memory that is given back all at once, of a bounded total. */
#ifndef INFER_TEXT_JINJA_ARENA_H
#define INFER_TEXT_JINJA_ARENA_H

#include <stddef.h>

/* Zero-initialise but for `limit`; release with arena_free(). */
struct arena {
    struct arena_block *blocks;
    size_t used, limit; /* bytes asked for, and how many may be */
};

/* Aligned for anything, not cleared.  NULL: the limit is reached, or out of memory. */
void *arena_take(struct arena *a, size_t size);
/* Cleared. */
void *arena_zero(struct arena *a, size_t size);
/* A NUL-terminated copy. */
char *arena_copy(struct arena *a, const char *bytes, size_t len);
void arena_free(struct arena *a);

#endif
