/* eval.c - the value of an expression, and variables. */
#include "render.h"

#include "builtin.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 1000

/* ==== Failing ============================================================= */

bool render_fail(struct render *r, const char *format, ...)
{
    char what[300];
    if (r->failed) return false;
    r->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET, "chat template, line %u: %s", r->line,
             what);
    return false;
}

bool render_no_room(struct render *r)
{
    return render_fail(r, "the conversation takes more than %zu MiB, or memory is short",
                       r->arena.limit >> 20);
}

bool render_work(struct render *r, uint64_t steps)
{
    r->steps += steps;
    return r->steps <= MAX_WORK || render_fail(r, "the template takes too long");
}

/* ==== Variables =========================================================== */

struct variable {
    struct variable *next;
    const char *name;
    struct value value;
};

static struct variable *find(const struct scope *s, const char *name)
{
    for (struct variable *v = s->first; v; v = v->next)
        if (v->name == name) return v;
    return NULL;
}

struct value scope_get(const struct scope *s, const char *name)
{
    for (; s; s = s->parent) {
        const struct variable *v = find(s, name);
        if (v) return v->value;
    }
    return value_undefined(name);
}

bool scope_set(struct render *r, struct scope *s, const char *name, struct value value)
{
    struct variable *v = find(s, name);
    if (!v) {
        v = arena_take(&r->arena, sizeof *v);
        if (!v) return render_no_room(r);
        *v = (struct variable){ .next = s->first, .name = name };
        s->first = v;
    }
    v->value = value;
    return true;
}

/* ==== Lists, mappings, built-in things ==================================== */

static bool eval_list(struct render *r, struct scope *s, const struct node *n,
                      struct value *out)
{
    size_t count = 0, i = 0;
    for (const struct node *item = n->list; item; item = item->next) count++;
    struct list *l = list_new(r, count);
    if (!l) return false;
    for (const struct node *item = n->list; item; item = item->next)
        if (!eval(r, s, item, &l->items[i++])) return false;
    *out = value_list(l);
    out->tuple = n->kind == N_TUPLE;
    return true;
}

static bool eval_dict(struct render *r, struct scope *s, const struct node *n,
                      struct value *out)
{
    struct map *m = arena_zero(&r->arena, sizeof *m);
    if (!m) return render_no_room(r);
    for (const struct node *k = n->list; k; k = k->next->next) {
        struct value key = value_none(), value = value_none();
        if (!eval(r, s, k, &key) || !eval(r, s, k->next, &value)) return false;
        if (key.kind != V_STRING && key.kind != V_NONE && !value_is_number(&key))
            return render_fail(r, "a %s cannot be a key", value_kind_name(&key));
        if (!map_put(m, &r->arena, key, value, &r->steps)) return render_no_room(r);
    }
    *out = (struct value){ .kind = V_MAP, .map = m };
    return true;
}

static bool no_method(struct render *r, const struct call *c)
{
    if (c->self.kind == V_UNDEFINED)
        return render_fail(r, "'%s' is undefined, so it has no method '%s'", c->self.name,
                           c->builtin->name);
    return render_fail(r, "a %s has no method '%s'", value_kind_name(&c->self),
                       c->builtin->name);
}

static bool eval_builtin(struct render *r, struct scope *s, const struct node *n,
                         struct value *out)
{
    struct value args[MAX_ARGS];
    struct call c = { .r = r, .builtin = n->builtin };
    if (!eval(r, s, n->a, &c.self)) return false;
    for (int i = 0; i < MAX_ARGS; i++) {
        if (!n->args[i]) continue;
        if (!eval(r, s, n->args[i], &args[i])) return false;
        c.args[i] = &args[i];
    }
    r->line = n->line;
    if (n->builtin->self && c.self.kind != n->builtin->self) return no_method(r, &c);
    return n->builtin->fn(&c, out);
}

/* ==== Operators =========================================================== */

static bool eval_slice(struct render *r, struct scope *s, const struct node *n,
                       struct value *out)
{
    struct value a, part[3];
    if (!eval(r, s, n->a, &a)) return false;
    for (int i = 0; i < 3; i++) {
        part[i] = value_none();
        if (n->args[i] && !eval(r, s, n->args[i], &part[i])) return false;
    }
    return value_range(r, &a, part, out);
}

static bool eval_signed(struct render *r, struct scope *s, const struct node *n,
                        struct value *out)
{
    const struct value zero = value_int(0);
    struct value a = zero;
    if (!eval(r, s, n->a, &a)) return false;
    if (!value_is_number(&a))
        return render_fail(r, "a sign before a %s", value_kind_name(&a));
    const bool minus = n->kind == N_MINUS;
    if (a.kind == V_FLOAT) {
        *out = a;
        if (minus) out->f = -a.f;
        return true;
    }
    return eval_math(r, minus ? S_SUB : S_ADD, &zero, &a, out);
}

/* a < b < c */
static bool eval_comparison(struct render *r, struct scope *s, const struct node *n,
                            struct value *out)
{
    struct value a, b;
    bool truth = true;
    if (!eval(r, s, n->a, &a)) return false;
    for (const struct node *step = n->list; step && truth; step = step->next) {
        if (!eval(r, s, step->a, &b) || !eval_compare(r, step->sign, &a, &b, &truth))
            return false;
        a = b;
    }
    *out = value_bool(truth);
    return true;
}

static bool eval_concat(struct render *r, struct scope *s, const struct node *n,
                        struct value *out)
{
    struct text_out text = { .r = r };
    for (const struct node *item = n->list; item; item = item->next) {
        struct value v;
        if (!eval(r, s, item, &v) || !print_str(&text, &v)) return false;
    }
    *out = text_value(&text);
    return true;
}

/* "and" and "or" give one of their sides; "a if b" without else may be undefined. */
static bool eval_choice(struct render *r, struct scope *s, const struct node *n,
                        struct value *out)
{
    if (n->kind != N_CHOICE) {
        if (!eval(r, s, n->a, out)) return false;
        return value_truth(out) == (n->kind == N_OR) || eval(r, s, n->b, out);
    }
    struct value b;
    if (!eval(r, s, n->b, &b)) return false;
    if (value_truth(&b)) return eval(r, s, n->a, out);
    if (n->c) return eval(r, s, n->c, out);
    *out = value_undefined("a choice without else");
    return true;
}

static bool eval_pair(struct render *r, struct scope *s, const struct node *n,
                      struct value *out)
{
    struct value a, b;
    if (!eval(r, s, n->a, &a) || !eval(r, s, n->b, &b)) return false;
    r->line = n->line;
    return n->kind == N_ITEM ? value_item(r, &a, &b, out)
                             : eval_math(r, n->sign, &a, &b, out);
}

static bool eval_one(struct render *r, struct scope *s, const struct node *n,
                     struct value *out)
{
    struct value a;
    if (!eval(r, s, n->a, &a)) return false;
    if (n->kind == N_ATTR) return value_attribute(r, &a, n->name, out);
    *out = value_bool(!value_truth(&a)); /* N_NOT */
    return true;
}

static bool eval_node(struct render *r, struct scope *s, const struct node *n,
                      struct value *out)
{
    switch (n->kind) {
    case N_CONST: *out = n->value; return true;
    case N_NAME: *out = scope_get(s, n->name); return true;
    case N_BLOCK: *out = r->block; return true;
    case N_LIST:
    case N_TUPLE: return eval_list(r, s, n, out);
    case N_DICT: return eval_dict(r, s, n, out);
    case N_ATTR:
    case N_NOT: return eval_one(r, s, n, out);
    case N_ITEM:
    case N_MATH: return eval_pair(r, s, n, out);
    case N_SLICE: return eval_slice(r, s, n, out);
    case N_CALL: return eval_call(r, s, n, out);
    case N_BUILTIN: return eval_builtin(r, s, n, out);
    case N_MINUS:
    case N_PLUS: return eval_signed(r, s, n, out);
    case N_COMPARE: return eval_comparison(r, s, n, out);
    case N_CONCAT: return eval_concat(r, s, n, out);
    default: return eval_choice(r, s, n, out);
    }
}

bool eval(struct render *r, struct scope *s, const struct node *n, struct value *out)
{
    r->line = n->line;
    if (!render_work(r, 1)) return false;
    if (r->depth >= MAX_DEPTH) return render_fail(r, "calls are nested too deeply");
    r->depth++;
    const bool ok = eval_node(r, s, n, out);
    r->depth--;
    return ok;
}
