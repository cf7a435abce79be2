/* leftmost.c - rules that come back to themselves before a byte: the calls that may be
 * the first thing in each rule are the edges of a graph, and a circle in it is one of
 * those; see grammar.h. */
#include "grammar.h"

#include <stdlib.h>

/* The calls with which each rule may begin: lists one after the other. */
struct firsts {
    const q3n_grammar *g;
    uint32_t *start;  /* [n_rules + 1] */
    uint32_t *callee; /* rules; as many as there are states at most */
    uint32_t n;
    uint32_t *queue; /* states to be looked at */
    bool *seen;      /* states */
};

static void look_at(struct firsts *f, uint32_t *n, uint32_t state)
{
    if (f->seen[state]) return;
    f->seen[state] = true;
    f->queue[(*n)++] = state;
}

/* No two rules have states in common but the end: each is looked at once. */
static void list_firsts(struct firsts *f, uint32_t rule)
{
    uint32_t n = 0;
    f->start[rule] = f->n;
    look_at(f, &n, f->g->rules[rule]);
    while (n) {
        const struct grammar_state *s = &f->g->states[f->queue[--n]];
        if (s->kind == STATE_EITHER) {
            look_at(f, &n, s->next);
            look_at(f, &n, s->other);
        } else if (s->kind == STATE_CALL) {
            f->callee[f->n++] = s->other;
            if (f->g->states[f->g->rules[s->other]].empty) look_at(f, &n, s->next);
        }
    }
}

/* ---- Circles ----------------------------------------------------------------------- */

enum colour { NEW, OPEN, CLOSED };

/* Go down from a rule as far as it goes; `way` are the rules that are open, `at` for each
 * the next of its calls.  The rule that a circle comes back to, or GRAMMAR_MOST_RULES. */
static uint32_t find_circle(const struct firsts *f, uint32_t rule, uint8_t *colour,
                            uint32_t *way, uint32_t *at)
{
    uint32_t n = 0;
    way[n++] = rule;
    colour[rule] = OPEN;
    at[rule] = f->start[rule];
    while (n) {
        const uint32_t here = way[n - 1];
        if (at[here] == f->start[here + 1]) {
            colour[here] = CLOSED;
            n--;
            continue;
        }
        const uint32_t to = f->callee[at[here]++];
        if (colour[to] == OPEN) return to;
        if (colour[to] == CLOSED) continue;
        colour[to] = OPEN;
        at[to] = f->start[to];
        way[n++] = to;
    }
    return GRAMMAR_MOST_RULES;
}

int grammar_left_recursion(const q3n_grammar *g, uint32_t *rule, ggf_error *err)
{
    struct firsts f = {
        .g = g,
        .start = calloc((size_t)g->n_rules + 1, sizeof *f.start),
        .callee = calloc(g->n_states, sizeof *f.callee),
        .queue = calloc(g->n_states, sizeof *f.queue),
        .seen = calloc(g->n_states, sizeof *f.seen),
    };
    uint8_t *colour = calloc(g->n_rules, 1);
    uint32_t *way = calloc(g->n_rules, sizeof *way), *at = calloc(g->n_rules, sizeof *at);
    const bool ok = f.start && f.callee && f.queue && f.seen && colour && way && at;
    *rule = GRAMMAR_MOST_RULES;
    for (uint32_t i = 0; ok && i < g->n_rules; i++) list_firsts(&f, i);
    if (ok) f.start[g->n_rules] = f.n;
    for (uint32_t i = 0; ok && i < g->n_rules && *rule == GRAMMAR_MOST_RULES; i++)
        if (colour[i] == NEW) *rule = find_circle(&f, i, colour, way, at);
    free(f.start);
    free(f.callee);
    free(f.queue);
    free(f.seen);
    free(colour);
    free(way);
    free(at);
    return ok ? 0 : ggf_no_memory(err);
}
