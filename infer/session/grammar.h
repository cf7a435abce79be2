/* grammar.h - what a text may look like: an automaton over bytes whose parts may call
 * each other, and so nest.
 *
 * A grammar is built from its end to its beginning: each function takes the state that
 * follows and returns the state that comes before.
 *
 *   s = grammar_text(g, "true", 4, GRAMMAR_END);
 *   s = grammar_either(g, s, grammar_text(g, "false", 5, GRAMMAR_END));
 *   grammar_set_rule(g, rule, s);
 *
 * Building cannot fail half way: when memory or the limit of size runs out, states become
 * GRAMMAR_NONE, and grammar_finish() says so.  A finished grammar never changes; many
 * matchers may share it. */
#ifndef INFER_SESSION_GRAMMAR_H
#define INFER_SESSION_GRAMMAR_H

#include "../../libgguf/libgguf.h"

enum {
    GRAMMAR_END,  /* the state at which a rule is matched */
    GRAMMAR_NONE, /* the state from which nothing matches */
    GRAMMAR_MOST_STATES = 400000,
    GRAMMAR_MOST_RULES = 20000,
};

enum state_kind {
    STATE_END,
    STATE_BYTE,   /* a byte of lo..hi, then `next` */
    STATE_EITHER, /* `next` or `other` */
    STATE_CALL,   /* rule `other`, then `next` */
};

struct grammar_state {
    uint8_t kind, lo, hi;
    /* Can the end of the rule be reached?  And without a byte?  Known when finished. */
    bool alive : 1, empty : 1;
    uint32_t next, other;
};

typedef struct q3n_grammar q3n_grammar;
struct q3n_grammar {
    struct grammar_state *states;
    uint32_t n_states, room;
    uint32_t *rules; /* the first state of each */
    uint32_t n_rules, rule_room;
    uint32_t root; /* a rule */
    bool no_memory, too_large;
};

/* NULL: out of memory. */
q3n_grammar *grammar_new(void);
void q3n_grammar_free(q3n_grammar *g); /* NULL is allowed */

uint32_t grammar_byte(q3n_grammar *g, uint8_t lo, uint8_t hi, uint32_t next);
uint32_t grammar_text(q3n_grammar *g, const char *text, size_t len, uint32_t next);
uint32_t grammar_either(q3n_grammar *g, uint32_t a, uint32_t b);

/* A state to come back to: grammar_loop() makes it, grammar_set_loop() says how it goes
 * on: `again` leads back to it, `out` does not. */
uint32_t grammar_loop(q3n_grammar *g);
void grammar_set_loop(q3n_grammar *g, uint32_t loop, uint32_t again, uint32_t out);

/* A rule that may be called before it is set. */
uint32_t grammar_rule(q3n_grammar *g);
void grammar_set_rule(q3n_grammar *g, uint32_t rule, uint32_t start);
uint32_t grammar_call(q3n_grammar *g, uint32_t rule, uint32_t next);

/* Is there room for more states?  For loops over numbers that a file names. */
static inline bool grammar_has_room(const q3n_grammar *g)
{
    return !g->no_memory && !g->too_large;
}

/* Find out which states lead to an end; none that does not is ever entered, so that a
 * text which began well can be finished.  GGF_E_ARG if no text matches, or if it became
 * too large. */
int grammar_finish(q3n_grammar *g, uint32_t root, ggf_error *err);

/* A rule of a finished grammar that calls itself before the text has gone on by a byte,
 * which a matcher would follow for ever; GRAMMAR_MOST_RULES if there is none.
 * GGF_E_NOMEM. */
int grammar_left_recursion(const q3n_grammar *g, uint32_t *rule, ggf_error *err);

#endif
