/* grammar.c - see grammar.h.  Which rules call themselves too early is in leftmost.c. */
#include "grammar.h"

#include <stdlib.h>

/* ==== Building ============================================================ */

/* Room for one more of `n` items of that size; false if there is none. */
static bool grow(q3n_grammar *g, void **items, uint32_t n, uint32_t *room, size_t size,
                 uint32_t most)
{
    if (n >= most || !grammar_has_room(g)) {
        g->too_large = true;
        return false;
    }
    if (n < *room) return true;
    const uint32_t more = *room ? 2 * *room : 256;
    void *grown = realloc(*items, more * size);
    if (!grown) {
        g->no_memory = true;
        return false;
    }
    *items = grown;
    *room = more;
    return true;
}

static uint32_t add(q3n_grammar *g, struct grammar_state s)
{
    void *states = g->states;
    if (!grow(g, &states, g->n_states, &g->room, sizeof s, GRAMMAR_MOST_STATES))
        return GRAMMAR_NONE;
    g->states = states;
    g->states[g->n_states] = s;
    return g->n_states++;
}

q3n_grammar *grammar_new(void)
{
    q3n_grammar *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    add(g, (struct grammar_state){ .kind = STATE_END });
    add(g, (struct grammar_state){ .kind = STATE_BYTE, .lo = 1, .hi = 0 });
    if (grammar_has_room(g)) return g;
    q3n_grammar_free(g);
    return NULL;
}

void q3n_grammar_free(q3n_grammar *g)
{
    if (!g) return;
    free(g->states);
    free(g->rules);
    free(g);
}

uint32_t grammar_byte(q3n_grammar *g, uint8_t lo, uint8_t hi, uint32_t next)
{
    if (lo > hi || next == GRAMMAR_NONE) return GRAMMAR_NONE;
    return add(g, (struct grammar_state){
                      .kind = STATE_BYTE, .lo = lo, .hi = hi, .next = next });
}

uint32_t grammar_text(q3n_grammar *g, const char *text, size_t len, uint32_t next)
{
    while (len-- && grammar_has_room(g)) {
        const uint8_t byte = (uint8_t)text[len];
        next = grammar_byte(g, byte, byte, next);
    }
    return next;
}

uint32_t grammar_either(q3n_grammar *g, uint32_t a, uint32_t b)
{
    if (a == GRAMMAR_NONE || a == b) return b;
    if (b == GRAMMAR_NONE) return a;
    return add(g, (struct grammar_state){ .kind = STATE_EITHER, .next = a, .other = b });
}

uint32_t grammar_loop(q3n_grammar *g)
{
    return add(g, (struct grammar_state){ .kind = STATE_EITHER,
                                          .next = GRAMMAR_NONE,
                                          .other = GRAMMAR_NONE });
}

void grammar_set_loop(q3n_grammar *g, uint32_t loop, uint32_t again, uint32_t out)
{
    if (loop == GRAMMAR_NONE) return;
    g->states[loop].next = again;
    g->states[loop].other = out;
}

uint32_t grammar_rule(q3n_grammar *g)
{
    void *rules = g->rules;
    if (!grow(g, &rules, g->n_rules, &g->rule_room, sizeof *g->rules, GRAMMAR_MOST_RULES))
        return 0;
    g->rules = rules;
    g->rules[g->n_rules] = GRAMMAR_NONE;
    return g->n_rules++;
}

void grammar_set_rule(q3n_grammar *g, uint32_t rule, uint32_t start)
{
    if (rule < g->n_rules) g->rules[rule] = start;
}

uint32_t grammar_call(q3n_grammar *g, uint32_t rule, uint32_t next)
{
    if (next == GRAMMAR_NONE) return GRAMMAR_NONE;
    return add(g,
               (struct grammar_state){ .kind = STATE_CALL, .next = next, .other = rule });
}

/* ==== What leads to an end ================================================ */

/* For each state, those that wait for it: lists one after the other. */
struct waiting {
    uint32_t *start; /* [n_states + 1] */
    uint32_t *who;
    uint32_t *queue; /* of states that are alive, and not looked at */
};

/* The two states that a state needs to know of. */
static void needs(const q3n_grammar *g, const struct grammar_state *s, uint32_t to[2])
{
    to[0] = s->next;
    to[1] = s->kind == STATE_EITHER ? s->other
            : s->kind == STATE_CALL ? g->rules[s->other]
                                    : GRAMMAR_NONE;
}

static void list_waiting(const q3n_grammar *g, struct waiting *w)
{
    uint32_t to[2];
    for (uint32_t i = GRAMMAR_NONE + 1; i < g->n_states; i++) {
        needs(g, &g->states[i], to);
        w->start[to[0] + 1]++;
        w->start[to[1] + 1]++;
    }
    for (uint32_t i = 0; i < g->n_states; i++) w->start[i + 1] += w->start[i];
    for (uint32_t i = GRAMMAR_NONE + 1; i < g->n_states; i++) {
        needs(g, &g->states[i], to);
        w->who[w->start[to[0]]++] = i;
        w->who[w->start[to[1]]++] = i;
    }
    /* Filling moved each start to the next one's. */
    for (uint32_t i = g->n_states; i > 0; i--) w->start[i] = w->start[i - 1];
    w->start[0] = 0;
}

static bool has_flag(const struct grammar_state *s, bool empty)
{
    return empty ? s->empty : s->alive;
}

static bool is_flagged(const q3n_grammar *g, const struct grammar_state *s, bool empty)
{
    uint32_t to[2];
    needs(g, s, to);
    const bool a = has_flag(&g->states[to[0]], empty);
    const bool b = has_flag(&g->states[to[1]], empty);
    switch (s->kind) {
    case STATE_EITHER: return a || b;
    case STATE_CALL: return a && b;
    default: return a && !empty;
    }
}

/* From the end backwards; `empty`: without passing a byte. */
static void spread(q3n_grammar *g, struct waiting *w, bool empty)
{
    uint32_t n = 0;
    w->queue[n++] = GRAMMAR_END;
    g->states[GRAMMAR_END].alive = g->states[GRAMMAR_END].empty = true;
    while (n) {
        const uint32_t at = w->queue[--n];
        for (uint32_t i = w->start[at]; i < w->start[at + 1]; i++) {
            struct grammar_state *s = &g->states[w->who[i]];
            if (has_flag(s, empty) || !is_flagged(g, s, empty)) continue;
            if (empty) s->empty = true;
            else s->alive = true;
            w->queue[n++] = w->who[i];
        }
    }
}

int grammar_finish(q3n_grammar *g, uint32_t root, ggf_error *err)
{
    if (g->no_memory) return ggf_no_memory(err);
    if (g->too_large)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "it allows more than fits into %d states and %d rules",
                        GRAMMAR_MOST_STATES, GRAMMAR_MOST_RULES);
    struct waiting w = {
        .start = calloc((size_t)g->n_states + 1, sizeof *w.start),
        .who = calloc(2 * (size_t)g->n_states, sizeof *w.who),
        .queue = calloc(g->n_states, sizeof *w.queue),
    };
    const bool ok = w.start && w.who && w.queue;
    if (ok) {
        list_waiting(g, &w);
        spread(g, &w, false);
        spread(g, &w, true);
    }
    free(w.start);
    free(w.who);
    free(w.queue);
    if (!ok) return ggf_no_memory(err);
    g->root = root;
    if (!g->states[g->rules[root]].alive)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "no text can satisfy it");
    return 0;
}
