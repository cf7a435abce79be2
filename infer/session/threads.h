/* threads.h - ways through a grammar that a text may be on: a state each, and the calls
 * that are not finished.
 *
 * A stack of calls is a number: a list of places to return to, shared with every other
 * stack that has the same beginning, so equal stacks are equal numbers. */
#ifndef INFER_SESSION_THREADS_H
#define INFER_SESSION_THREADS_H

#include "grammar.h"

struct thread {
    uint32_t state; /* STATE_BYTE: all others are passed through at once */
    uint32_t stack; /* 0: no calls */
};

/* In order of state and stack; a view. */
struct thread_set {
    const struct thread *list;
    uint32_t n;
    bool done; /* the text may end here */
};

struct call {
    uint32_t state;  /* to return to */
    uint32_t parent; /* the stack below, a smaller number */
};

struct threads {
    const q3n_grammar *grammar;
    struct call *calls; /* [0] is not used */
    uint32_t n_calls, call_room;
    uint32_t *call_slots; /* calls by hash, 0: free; 2 * call_room of them */
    struct thread *seen;  /* a hash table of threads that were passed through; */
    uint32_t *stamp;      /* those with the present stamp count */
    uint32_t seen_room, n_seen, now;
    struct thread *work, *found; /* seen_room / 2 each */
    uint32_t n_work, n_found;
    bool done;
};

/* False if out of memory; release with threads_free() in any case. */
bool threads_init(struct threads *t, const q3n_grammar *grammar);
void threads_free(struct threads *t);
/* The threads at the beginning; at once, no stacks are kept before. */
bool threads_start(struct threads *t, struct thread_set *out);
void threads_clear(struct threads *t);

/* Those that go on from a list by a byte.  Where a grammar has more ways than can be kept
 * in mind the later ones are left out: what is left is still the grammar's.  False if
 * out of memory. */
bool threads_follow(struct threads *t, const struct thread *list, uint32_t n,
                    uint8_t byte, struct thread_set *out);

/* Forget the stacks that none of these has; theirs get other numbers. */
void threads_compact(struct threads *t, struct thread *list, uint32_t n);

static inline uint32_t thread_hash(uint32_t hash, struct thread t)
{
    const uint64_t h = ((uint64_t)t.state << 32 | t.stack) ^ (uint64_t)hash << 16;
    return (uint32_t)(h * 0x9e3779b97f4a7c15 >> 32); /* 2^64/phi */
}

#endif
