/* run.c - what statements do. */
#include "render.h"

#include <string.h>

#define MAX_DEPTH 1000

static struct scope *scope_new(struct render *r, struct scope *parent)
{
    struct scope *s = arena_zero(&r->arena, sizeof *s);
    if (s) s->parent = parent;
    else render_no_room(r);
    return s;
}

/* ==== Setting ============================================================= */

static bool set_attribute(struct render *r, struct scope *s, const struct node *target,
                          struct value v)
{
    const struct value space = scope_get(s, target->a->name);
    if (space.kind != V_NAMESPACE)
        return render_fail(r, "'%s' is no namespace, so '%s' cannot be set in it",
                           target->a->name, target->name);
    const struct value key = value_text(target->name, strlen(target->name));
    return map_put(space.map, &r->arena, key, v, &r->steps) || render_no_room(r);
}

static bool assign(struct render *r, struct scope *s, const struct node *target,
                   struct value v)
{
    const struct list *items;
    if (target->kind == N_NAME) return scope_set(r, s, target->name, v);
    if (target->kind == N_ATTR) return set_attribute(r, s, target, v);
    size_t i = 0;
    if (!value_items(r, &v, &items)) return false;
    for (const struct node *t = target->list; t; t = t->next, i++) {
        if (i == items->n) return render_fail(r, "fewer values than names to set");
        if (!assign(r, s, t, items->items[i])) return false;
    }
    return i == items->n || render_fail(r, "more values than names to set");
}

static bool run_set_block(struct render *r, struct scope *s, const struct node *n)
{
    struct scope *inner = scope_new(r, s);
    struct value v;
    if (!inner || !run_to_text(r, inner, n->list, &r->block) || !eval(r, s, n->a, &v))
        return false;
    return assign(r, s, n->b, v);
}

static bool run_macro(struct render *r, struct scope *s, const struct macro *macro)
{
    struct macro *m = arena_take(&r->arena, sizeof *m);
    if (!m) return render_no_room(r);
    *m = *macro;
    m->scope = s;
    return scope_set(r, s, m->name, (struct value){ .kind = V_MACRO, .macro = m });
}

/* ==== Loops =============================================================== */

/* The items that "if" lets through. */
static const struct list *filter_items(struct render *r, struct scope *s,
                                       const struct node *n, const struct list *all)
{
    struct list *kept = list_new(r, all->n);
    if (!kept) return NULL;
    kept->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct scope *inner = scope_new(r, s);
        struct value truth;
        if (!inner || !assign(r, inner, n->b, all->items[i]) ||
            !eval(r, inner, n->c, &truth))
            return NULL;
        if (value_truth(&truth)) kept->items[kept->n++] = all->items[i];
    }
    return kept;
}

/* *finished: some iteration came to the end of its body. */
static enum flow run_items(struct render *r, struct scope *s, const struct node *n,
                           const struct list *items, bool *finished)
{
    const char *name = ast_name(r->ast, "loop", 4);
    struct loop *loop = arena_zero(&r->arena, sizeof *loop);
    if (!loop) {
        render_no_room(r);
        return FLOW_FAILED;
    }
    loop->items = items;
    for (; loop->at < items->n; loop->at++) {
        const struct value v = { .kind = V_LOOP, .loop = loop };
        struct scope *inner = scope_new(r, s);
        if (!inner || (name && !scope_set(r, inner, name, v)) ||
            !assign(r, inner, n->b, items->items[loop->at]))
            return FLOW_FAILED;
        const enum flow f = run(r, inner, n->list);
        if (f == FLOW_FAILED) return f;
        if (f == FLOW_BREAK) break;
        *finished |= f == FLOW_ON;
    }
    return FLOW_ON;
}

/* As in Jinja, "else" runs unless an iteration came to its end: also where all of them
 * were cut short by break or continue. */
static enum flow run_for(struct render *r, struct scope *s, const struct node *n)
{
    struct value v;
    const struct list *items;
    if (!eval(r, s, n->a, &v) || !value_items(r, &v, &items)) return FLOW_FAILED;
    if (n->c && !(items = filter_items(r, s, n, items))) return FLOW_FAILED;
    bool finished = false;
    const enum flow f = run_items(r, s, n, items, &finished);
    if (f == FLOW_FAILED || finished || !n->other) return f;
    struct scope *inner = scope_new(r, s);
    return inner ? run(r, inner, n->other) : FLOW_FAILED;
}

/* ==== Statements ========================================================== */

static enum flow run_if(struct render *r, struct scope *s, const struct node *n)
{
    struct value v;
    if (!eval(r, s, n->a, &v)) return FLOW_FAILED;
    return run(r, s, value_truth(&v) ? n->list : n->other);
}

static enum flow run_scope(struct render *r, struct scope *s, const struct node *n)
{
    struct scope *inner = scope_new(r, s);
    return inner ? run(r, inner, n->list) : FLOW_FAILED;
}

static bool print(struct render *r, struct scope *s, const struct node *n)
{
    struct value v;
    return eval(r, s, n->a, &v) && print_str(r->out, &v);
}

static enum flow run_statement(struct render *r, struct scope *s, const struct node *n)
{
    struct value v;
    bool ok;
    switch (n->kind) {
    case N_TEXT: ok = text_add(r->out, &n->value); break;
    case N_PRINT: ok = print(r, s, n); break;
    case N_SET: ok = eval(r, s, n->a, &v) && assign(r, s, n->b, v); break;
    case N_SET_BLOCK: ok = run_set_block(r, s, n); break;
    case N_MACRO: ok = run_macro(r, s, n->macro); break;
    case N_IF: return run_if(r, s, n);
    case N_FOR: return run_for(r, s, n);
    case N_SCOPE: return run_scope(r, s, n);
    case N_BREAK: return FLOW_BREAK;
    default: return FLOW_CONTINUE;
    }
    return ok ? FLOW_ON : FLOW_FAILED;
}

enum flow run(struct render *r, struct scope *s, const struct node *body)
{
    enum flow f = FLOW_ON;
    if (r->depth >= MAX_DEPTH) {
        render_fail(r, "calls are nested too deeply");
        return FLOW_FAILED;
    }
    r->depth++;
    for (const struct node *n = body; n && f == FLOW_ON; n = n->next) {
        r->line = n->line;
        f = render_work(r, 1) ? run_statement(r, s, n) : FLOW_FAILED;
    }
    r->depth--;
    return f;
}

bool run_to_text(struct render *r, struct scope *s, const struct node *body,
                 struct value *out)
{
    struct text_out text = { .r = r }, *outer = r->out;
    r->out = &text;
    const bool ok = run(r, s, body) != FLOW_FAILED;
    r->out = outer;
    if (ok) *out = text_value(&text);
    return ok;
}
