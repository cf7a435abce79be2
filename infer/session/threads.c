/* threads.c - see threads.h. */
#include "threads.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_SEEN = 1 << 14, /* threads passed through for a byte */
};

/* ==== Stacks ============================================================== */

static uint32_t call_hash(struct call c)
{
    return thread_hash(0, (struct thread){ c.state, c.parent });
}

static void place_call(struct threads *t, uint32_t number)
{
    const uint32_t n_slots = 2 * t->call_room;
    uint32_t slot = call_hash(t->calls[number]) % n_slots;
    while (t->call_slots[slot]) slot = (slot + 1) % n_slots;
    t->call_slots[slot] = number;
}

static void place_calls(struct threads *t)
{
    memset(t->call_slots, 0, 2 * (size_t)t->call_room * sizeof *t->call_slots);
    for (uint32_t i = 1; i < t->n_calls; i++) place_call(t, i);
}

static bool grow_calls(struct threads *t, uint32_t room)
{
    struct call *calls = realloc(t->calls, room * sizeof *calls);
    if (calls) t->calls = calls;
    uint32_t *slots = realloc(t->call_slots, 2 * (size_t)room * sizeof *slots);
    if (slots) t->call_slots = slots;
    if (!calls || !slots) return false;
    t->call_room = room;
    place_calls(t);
    return true;
}

/* The stack with one more call; 0 if out of memory. */
static uint32_t push(struct threads *t, struct call c)
{
    uint32_t slot = call_hash(c) % (2 * t->call_room);
    for (; t->call_slots[slot]; slot = (slot + 1) % (2 * t->call_room)) {
        const struct call have = t->calls[t->call_slots[slot]];
        if (have.state == c.state && have.parent == c.parent) return t->call_slots[slot];
    }
    if (t->n_calls == t->call_room && !grow_calls(t, 2 * t->call_room)) return 0;
    t->calls[t->n_calls] = c;
    place_call(t, t->n_calls);
    return t->n_calls++;
}

void threads_compact(struct threads *t, struct thread *list, uint32_t n)
{
    /* The slots have room for the new number of each call; they are filled anew after. */
    uint32_t *number = t->call_slots;
    memset(number, 0, 2 * (size_t)t->call_room * sizeof *number);
    for (uint32_t i = 0; i < n; i++) number[list[i].stack] = 1;
    for (uint32_t i = t->n_calls; i-- > 1;)
        if (number[i]) number[t->calls[i].parent] = 1;
    uint32_t n_calls = 1;
    number[0] = 0;
    for (uint32_t i = 1; i < t->n_calls; i++) {
        if (!number[i]) continue;
        t->calls[n_calls] =
            (struct call){ t->calls[i].state, number[t->calls[i].parent] };
        number[i] = n_calls++;
    }
    for (uint32_t i = 0; i < n; i++) list[i].stack = number[list[i].stack];
    t->n_calls = n_calls;
    place_calls(t);
}

/* ==== Passing through ===================================================== */

static bool grow_seen(struct threads *t, uint32_t room)
{
    struct thread *seen = calloc(room, sizeof *seen);
    uint32_t *stamp = calloc(room, sizeof *stamp);
    struct thread *work = realloc(t->work, room / 2 * sizeof *work);
    if (work) t->work = work;
    struct thread *found = realloc(t->found, room / 2 * sizeof *found);
    if (found) t->found = found;
    if (!seen || !stamp || !work || !found) {
        free(seen);
        free(stamp);
        return false;
    }
    for (uint32_t i = 0; i < t->seen_room; i++) {
        if (t->stamp[i] != t->now) continue;
        uint32_t slot = thread_hash(1, t->seen[i]) % room;
        while (stamp[slot]) slot = (slot + 1) % room;
        seen[slot] = t->seen[i];
        stamp[slot] = t->now;
    }
    free(t->seen);
    free(t->stamp);
    t->seen = seen;
    t->stamp = stamp;
    t->seen_room = room;
    return true;
}

static void new_set(struct threads *t)
{
    t->n_seen = t->n_work = t->n_found = 0;
    t->done = false;
    if (++t->now) return;
    memset(t->stamp, 0, t->seen_room * sizeof *t->stamp);
    t->now = 1;
}

/* Have a thread looked at, unless it was.  False if out of memory. */
static bool visit(struct threads *t, uint32_t state, uint32_t stack)
{
    const struct thread at = { state, stack };
    if (!t->grammar->states[state].alive || t->n_seen == MOST_SEEN) return true;
    if (2 * t->n_seen >= t->seen_room && !grow_seen(t, 2 * t->seen_room)) return false;
    uint32_t slot = thread_hash(1, at) % t->seen_room;
    for (; t->stamp[slot] == t->now; slot = (slot + 1) % t->seen_room)
        if (t->seen[slot].state == state && t->seen[slot].stack == stack) return true;
    t->seen[slot] = at;
    t->stamp[slot] = t->now;
    t->n_seen++;
    t->work[t->n_work++] = at;
    return true;
}

/* A call that is the last thing in its rule returns to where the rule itself would. */
static bool visit_call(struct threads *t, const struct grammar_state *s, uint32_t stack)
{
    const uint32_t start = t->grammar->rules[s->other];
    if (s->next == GRAMMAR_END) return visit(t, start, stack);
    const uint32_t more = push(t, (struct call){ s->next, stack });
    return more && visit(t, start, more);
}

/* From what is in t->work to states that wait for a byte. */
static bool pass_through(struct threads *t)
{
    bool ok = true;
    while (t->n_work && ok) {
        const struct thread at = t->work[--t->n_work];
        const struct grammar_state *s = &t->grammar->states[at.state];
        switch (s->kind) {
        case STATE_BYTE: t->found[t->n_found++] = at; break;
        case STATE_EITHER:
            ok = visit(t, s->next, at.stack) && visit(t, s->other, at.stack);
            break;
        case STATE_CALL: ok = visit_call(t, s, at.stack); break;
        default: /* STATE_END */
            if (!at.stack) t->done = true;
            else ok = visit(t, t->calls[at.stack].state, t->calls[at.stack].parent);
            break;
        }
    }
    return ok;
}

static int by_state(const void *a, const void *b)
{
    const struct thread *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

static bool finish_set(struct threads *t, struct thread_set *out)
{
    if (!pass_through(t)) return false;
    qsort(t->found, t->n_found, sizeof *t->found, by_state);
    *out = (struct thread_set){ t->found, t->n_found, t->done };
    return true;
}

bool threads_start(struct threads *t, struct thread_set *out)
{
    new_set(t);
    return visit(t, t->grammar->rules[t->grammar->root], 0) && finish_set(t, out);
}

bool threads_follow(struct threads *t, const struct thread *list, uint32_t n,
                    uint8_t byte, struct thread_set *out)
{
    new_set(t);
    for (uint32_t i = 0; i < n; i++) {
        const struct grammar_state *s = &t->grammar->states[list[i].state];
        if (byte >= s->lo && byte <= s->hi && !visit(t, s->next, list[i].stack))
            return false;
    }
    return finish_set(t, out);
}

/* ==== Making them ========================================================= */

bool threads_init(struct threads *t, const q3n_grammar *grammar)
{
    *t = (struct threads){ .grammar = grammar, .n_calls = 1 };
    return grow_calls(t, 64) && grow_seen(t, 256);
}

void threads_clear(struct threads *t)
{
    t->n_calls = 1;
    place_calls(t);
}

void threads_free(struct threads *t)
{
    free(t->calls);
    free(t->call_slots);
    free(t->seen);
    free(t->stamp);
    free(t->work);
    free(t->found);
}
