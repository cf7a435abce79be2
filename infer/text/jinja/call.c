/* call.c - calls of macros and of the functions that every template has. */
#include "render.h"

#include <string.h>

#define MAX_RANGE 100000

/* ==== Macros ============================================================== */

/* Set the parameters that are given, by place or by name. */
static bool bind(struct render *r, struct scope *caller, const struct macro *m,
                 const struct node *args, struct scope *inner)
{
    const struct node *param = m->params;
    for (; args; args = args->next) {
        const struct node *to = param;
        struct value v;
        if (args->kind == N_KEYWORD) {
            for (to = m->params; to && to->name != args->name;) to = to->next;
            if (!to)
                return render_fail(r, "the macro %s has no argument '%s'", m->name,
                                   args->name);
        } else if (!to) {
            return render_fail(r, "too many arguments for the macro %s", m->name);
        } else {
            param = param->next;
        }
        if (!eval(r, caller, args->kind == N_KEYWORD ? args->a : args, &v) ||
            !scope_set(r, inner, to->name, v))
            return false;
    }
    return true;
}

/* Defaults see the parameters before them. */
static bool fill_defaults(struct render *r, const struct macro *m,
                          const struct node *args, struct scope *inner)
{
    const struct node *place = args;
    for (const struct node *p = m->params; p; p = p->next) {
        const struct node *named = args;
        while (named && (named->kind != N_KEYWORD || named->name != p->name))
            named = named->next;
        const bool given = named || (place && place->kind != N_KEYWORD);
        if (place) place = place->next;
        if (given) continue;
        struct value v = value_undefined(p->name);
        if ((p->a && !eval(r, inner, p->a, &v)) || !scope_set(r, inner, p->name, v))
            return false;
    }
    return true;
}

static bool call_macro(struct render *r, struct scope *s, const struct macro *m,
                       const struct node *args, struct value *out)
{
    struct scope *inner = arena_zero(&r->arena, sizeof *inner);
    if (!inner) return render_no_room(r);
    inner->parent = m->scope;
    return bind(r, s, m, args, inner) && fill_defaults(r, m, args, inner) &&
           run_to_text(r, inner, m->body, out);
}

/* ==== Functions =========================================================== */

/* Up to `most` arguments without names; how many there are, or -1 after a failure. */
static int plain_arguments(struct render *r, struct scope *s, const struct node *n,
                           int most, struct value *args)
{
    int count = 0;
    for (const struct node *a = n->list; a; a = a->next) {
        if (count == most || a->kind == N_KEYWORD) {
            render_fail(r, "%s takes up to %d arguments without names", n->name, most);
            return -1;
        }
        if (!eval(r, s, a, &args[count++])) return -1;
    }
    return count;
}

static bool call_namespace(struct render *r, struct scope *s, const struct node *n,
                           struct value *out)
{
    struct map *m = arena_zero(&r->arena, sizeof *m);
    if (!m) return render_no_room(r);
    for (const struct node *a = n->list; a; a = a->next) {
        struct value v;
        if (a->kind != N_KEYWORD)
            return render_fail(r, "arguments of namespace need names");
        if (!eval(r, s, a->a, &v)) return false;
        if (!map_put(m, &r->arena, value_text(a->name, strlen(a->name)), v, &r->steps))
            return render_no_room(r);
    }
    *out = (struct value){ .kind = V_NAMESPACE, .map = m };
    return true;
}

/* How many numbers there are from `from` on before `to`, in steps that are not 0. */
static uint64_t range_length(int64_t from, int64_t to, int64_t step)
{
    const uint64_t a = (uint64_t)from, b = (uint64_t)to, by = (uint64_t)step;
    if (step > 0) return from < to ? (b - a - 1) / by + 1 : 0;
    return from > to ? (a - b - 1) / (0 - by) + 1 : 0;
}

static bool call_range(struct render *r, struct scope *s, const struct node *n,
                       struct value *out)
{
    struct value args[3];
    int64_t i[3] = { 0, 0, 1 };
    const int count = plain_arguments(r, s, n, 3, args);
    if (count < 0) return false;
    for (int k = 0; k < count; k++)
        if (!value_as_int(&args[k], &i[count == 1 ? 1 : k]))
            return render_fail(r, "range: %s is not an integer",
                               value_kind_name(&args[k]));
    if (!count || !i[2]) return render_fail(r, "range needs an end, and a step but 0");
    const uint64_t length = range_length(i[0], i[1], i[2]);
    if (length > MAX_RANGE)
        return render_fail(r, "range: more than %d numbers", MAX_RANGE);
    struct list *l = list_new(r, length);
    if (!l) return false;
    for (uint64_t k = 0; k < length; k++)
        l->items[k] = value_int((int64_t)((uint64_t)i[0] + k * (uint64_t)i[2]));
    *out = value_list(l);
    return true;
}

static bool call_raise(struct render *r, struct scope *s, const struct node *n)
{
    struct value message, text;
    if (plain_arguments(r, s, n, 1, &message) != 1)
        return render_fail(r, "raise_exception needs a message");
    if (!value_str(r, &message, &text)) return false;
    r->line = n->line;
    return render_fail(r, "%.*s", (int)(text.text.len < 200 ? text.text.len : 200),
                       text.text.bytes);
}

/* The local time in the format of strftime(3). */
static bool call_strftime(struct render *r, struct scope *s, const struct node *n,
                          struct value *out)
{
    struct value format;
    if (plain_arguments(r, s, n, 1, &format) != 1 || format.kind != V_STRING)
        return render_fail(r, "strftime_now needs a format");
    const char *text = arena_copy(&r->arena, format.text.bytes, format.text.len);
    char *buf = arena_take(&r->arena, 1000);
    struct tm tm;
    if (!text || !buf || !localtime_r(&r->now, &tm)) return render_no_room(r);
    *out = value_text(buf, strftime(buf, 1000, text, &tm));
    out->input = format.input;
    return true;
}

bool eval_call(struct render *r, struct scope *s, const struct node *n, struct value *out)
{
    const struct value f = scope_get(s, n->name);
    if (f.kind == V_MACRO) return call_macro(r, s, f.macro, n->list, out);
    if (f.kind != V_UNDEFINED)
        return render_fail(r, "'%s' is a %s and cannot be called", n->name,
                           value_kind_name(&f));
    if (!strcmp(n->name, "namespace")) return call_namespace(r, s, n, out);
    if (!strcmp(n->name, "range")) return call_range(r, s, n, out);
    if (!strcmp(n->name, "raise_exception")) return call_raise(r, s, n);
    if (!strcmp(n->name, "strftime_now")) return call_strftime(r, s, n, out);
    return render_fail(r, "'%s' is undefined and cannot be called", n->name);
}
