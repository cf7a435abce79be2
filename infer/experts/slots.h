/* slots.h - memory for experts: one arena, cut into runs of pages of any length.
 *
 * The arena is anonymous memory in huge pages where there are some; a page costs nothing
 * until it is first written.  Records of one length leave no gaps.  Where lengths are
 * mixed, a gap too short for what is wanted may grow by moving the record beside it into
 * another gap; the owner is asked, and told.  The arena can give its end back to the
 * system, and have it again.  Not thread-safe: the store has a lock. */
#ifndef INFER_EXPERTS_SLOTS_H
#define INFER_EXPERTS_SLOTS_H

#include "../../libgguf/libgguf.h"

#include <stdbool.h>
#include <stdint.h>

enum { SLOT_PAGE = 4096 };
#define NO_RUN UINT32_MAX

/* Who lives in the runs, by number. */
struct slot_owners {
    bool (*may_move)(void *user, uint32_t owner);
    void (*moved)(void *user, uint32_t owner, uint32_t run); /* its bytes are there now */
    void *user;
    /* Whole pages are about to be given back to the system; or NULL. */
    void (*leaving)(void *user, uint8_t *from, uint64_t bytes);
};

struct slot_run {
    uint32_t page, pages; /* where in the arena */
    uint32_t left, right; /* neighbours by address, NO_RUN at the ends */
    uint32_t prev, next;  /* in the list of free runs, or of spare numbers */
    uint32_t owner;       /* NO_RUN: free */
};

struct slots {
    uint8_t *base;
    uint64_t mapped; /* bytes of address space */
    uint32_t pages, free_pages;
    uint32_t touched; /* pages from the start: those behind were not handed out yet */
    uint32_t grain;   /* pages that the system gives and takes at once */
    bool locked;      /* cannot be swapped out */
    struct slot_run *runs;
    uint32_t n_runs, spare, free; /* heads of lists */
    uint32_t last;                /* run by address */
    struct slot_owners owners;
    uint64_t n_moves;
};

/* An arena of `bytes`, whole pages of them, for up to `records` records.  Locked in
 * memory if the system allows it. */
int slots_open(struct slots *s, uint64_t bytes, uint32_t records,
               const struct slot_owners *owners, ggf_error *err);
void slots_close(struct slots *s);

/* A run of at least `bytes` for an owner; NO_RUN if there is no room in one piece. */
uint32_t slots_take(struct slots *s, uint64_t bytes, uint32_t owner);
void slots_give(struct slots *s, uint32_t run);
uint8_t *slots_at(const struct slots *s, uint32_t run);

enum slots_cut {
    SLOTS_CUT,
    SLOTS_FULL, /* there is no gap for one of them: once one is free, call again */
    SLOTS_HELD, /* one of them may not move now */
};
/* Make the arena end after `pages`, or as early as can be, and give the rest back to the
 * system.  What lies there is moved into gaps before. */
enum slots_cut slots_cut(struct slots *s, uint32_t pages);
/* Let it end after `pages` again, at most as many as slots_open() was asked for. */
void slots_extend(struct slots *s, uint32_t pages);

#endif
