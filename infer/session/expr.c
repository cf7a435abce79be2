/* expr.c - see expr.h. */
#include "expr.h"

#include <stdlib.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as groups in groups, EXPR_DEPTH */

enum { MOST_EMITTED = 4000000 }; /* nodes, as often as they are repeated */

/* ==== The tree ============================================================ */

void expr_init(struct expr *e, q3n_grammar *g, bool json)
{
    *e = (struct expr){ .g = g, .json = json };
    expr_add(e, (struct expr_node){ .kind = EXPR_EMPTY });
}

void expr_free(struct expr *e)
{
    free(e->nodes);
    free(e->sets);
}

/* Room for one more of n items; false if there is none. */
static bool grow(struct expr *e, void **items, uint32_t n, uint32_t *room, size_t size,
                 uint32_t most)
{
    if (n < *room && n < most) return true;
    const uint32_t more = *room ? 2 * *room : 32;
    void *grown = n < most ? realloc(*items, more * size) : NULL;
    if (!grown) {
        e->trouble = n < most ? EXPR_NO_MEMORY : EXPR_TOO_LONG;
        return false;
    }
    *items = grown;
    *room = more;
    return true;
}

uint32_t expr_add(struct expr *e, struct expr_node node)
{
    void *nodes = e->nodes;
    if (!grow(e, &nodes, e->n_nodes, &e->room, sizeof *e->nodes, EXPR_NODES)) return 0;
    e->nodes = nodes;
    e->nodes[e->n_nodes] = node;
    return e->n_nodes++;
}

uint32_t expr_pair(struct expr *e, enum expr_kind kind, uint32_t a, uint32_t b)
{
    return expr_add(e, (struct expr_node){ .kind = kind, .a = a, .b = b });
}

uint32_t expr_set(struct expr *e, const struct charset *set)
{
    void *sets = e->sets;
    if (!grow(e, &sets, e->n_sets, &e->set_room, sizeof *e->sets, EXPR_SETS)) return 0;
    e->sets = sets;
    e->sets[e->n_sets] = *set;
    return expr_add(e, (struct expr_node){ .kind = EXPR_SET, .a = e->n_sets++ });
}

/* ==== Into the grammar ==================================================== */

static uint32_t emit_char(struct expr *e, uint32_t c, uint32_t next)
{
    struct charset one = { 0 };
    charset_add(&one, c, c);
    return charset_emit(e->g, &one, e->json, next);
}

static uint32_t emit_repeat(struct expr *e, const struct expr_node *n, uint32_t next)
{
    uint32_t s = next;
    if (n->most == EXPR_NO_LIMIT) {
        s = grammar_loop(e->g);
        grammar_set_loop(e->g, s, expr_emit(e, n->a, s), next);
    }
    for (int i = n->least; i < n->most && grammar_has_room(e->g); i++)
        s = grammar_either(e->g, expr_emit(e, n->a, s), next);
    for (int i = 0; i < n->least && grammar_has_room(e->g); i++)
        s = expr_emit(e, n->a, s);
    return s;
}

/* As deep as the groups are, since sequences and alternatives are bent to the left. */
uint32_t expr_emit(struct expr *e, uint32_t at, uint32_t next)
{
    uint32_t others = GRAMMAR_NONE;
    if (++e->n_emitted > MOST_EMITTED) e->g->too_large = true;
    if (!grammar_has_room(e->g)) return GRAMMAR_NONE;
    for (;;) {
        const struct expr_node n = e->nodes[at];
        switch (n.kind) {
        case EXPR_SEQUENCE:
            next = expr_emit(e, n.b, next);
            at = n.a;
            continue;
        case EXPR_EITHER:
            others = grammar_either(e->g, expr_emit(e, n.b, next), others);
            at = n.a;
            if (e->nodes[at].kind == EXPR_EITHER) continue;
            return grammar_either(e->g, expr_emit(e, at, next), others);
        case EXPR_CHAR: return emit_char(e, n.a, next);
        case EXPR_SET: return charset_emit(e->g, &e->sets[n.a], e->json, next);
        case EXPR_RULE: return grammar_call(e->g, n.a, next);
        case EXPR_REPEAT: return emit_repeat(e, &n, next);
        case EXPR_EMPTY: break;
        }
        return next;
    }
}
/* NOLINTEND(misc-no-recursion) */
