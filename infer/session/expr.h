/* expr.h - an expression of characters and rules, read from its beginning to its end, as
 * a tree; then it is put into a grammar, from its end to its beginning.
 *
 * Reading cannot fail half way: when a tree would become too large, or memory runs out,
 * nodes are 0, the empty text, and `trouble` says so. */
#ifndef INFER_SESSION_EXPR_H
#define INFER_SESSION_EXPR_H

#include "charset.h"

enum {
    EXPR_DEPTH = 100, /* groups in groups */
    EXPR_NODES = 100000,
    EXPR_SETS = 4096,
    EXPR_REPEATS = 10000,
    EXPR_NO_LIMIT = -1, /* of a repetition */
};

enum expr_kind {
    EXPR_EMPTY,
    EXPR_CHAR,     /* the character a */
    EXPR_SET,      /* one of sets[a] */
    EXPR_RULE,     /* whatever matches rule a */
    EXPR_SEQUENCE, /* a, then b; long ones are bent to the left, */
    EXPR_EITHER,   /* a or b; and so are these */
    EXPR_REPEAT,   /* a, from least to most times */
};

struct expr_node {
    enum expr_kind kind;
    uint32_t a, b;
    int least, most;
};

enum expr_trouble { EXPR_FINE, EXPR_TOO_LONG, EXPR_NO_MEMORY };

struct expr {
    q3n_grammar *g;
    bool json; /* characters are as in a JSON string: see charset_emit() */
    struct expr_node *nodes;
    uint32_t n_nodes, room;
    struct charset *sets;
    uint32_t n_sets, set_room;
    uint32_t n_emitted;
    enum expr_trouble trouble;
};

/* Node 0 is the empty text. */
void expr_init(struct expr *e, q3n_grammar *g, bool json);
void expr_free(struct expr *e);

uint32_t expr_add(struct expr *e, struct expr_node node);
uint32_t expr_pair(struct expr *e, enum expr_kind kind, uint32_t a, uint32_t b);
uint32_t expr_set(struct expr *e, const struct charset *set);

/* The first state of what matches a node and then goes on at `next`. */
uint32_t expr_emit(struct expr *e, uint32_t node, uint32_t next);

#endif
