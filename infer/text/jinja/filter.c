/* filter.c - filters: value|name(arguments). */
#include "builtin.h"
#include "render.h"

#include "../utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INDENT 100

/* ==== Text ================================================================ */

/* A method of strings, on whatever it is as text. */
static bool on_text(const struct call *c, builtin_fn *method, struct value *out)
{
    struct call text = *c;
    return value_str(c->r, &c->self, &text.self) && method(&text, out);
}

static bool filter_trim(const struct call *c, struct value *out)
{
    return on_text(c, string_strip, out);
}
static bool filter_upper(const struct call *c, struct value *out)
{
    return on_text(c, string_upper, out);
}
static bool filter_lower(const struct call *c, struct value *out)
{
    return on_text(c, string_lower, out);
}
static bool filter_capitalize(const struct call *c, struct value *out)
{
    return on_text(c, string_capitalize, out);
}
static bool filter_replace(const struct call *c, struct value *out)
{
    return on_text(c, string_replace, out);
}

static bool filter_string(const struct call *c, struct value *out)
{
    return value_str(c->r, &c->self, out);
}

/* A number of blanks, or the string itself; NULL if it is neither. */
static const char *get_indent(const struct call *c, const struct value *v)
{
    int64_t n;
    if (v->kind == V_STRING) return arena_copy(&c->r->arena, v->text.bytes, v->text.len);
    if (!value_as_int(v, &n) || n > MAX_INDENT) return NULL;
    char *blanks = arena_take(&c->r->arena, MAX_INDENT + 1);
    if (blanks) snprintf(blanks, MAX_INDENT + 1, "%*s", n < 0 ? 0 : (int)n, "");
    return blanks;
}

/* Blanks before each line but the first and, unless asked for, empty ones. */
static bool filter_indent(const struct call *c, struct value *out)
{
    const struct value four = value_int(4);
    const char *indent = get_indent(c, c->args[0] ? c->args[0] : &four);
    const bool first = c->args[1] && value_truth(c->args[1]);
    const bool blank = c->args[2] && value_truth(c->args[2]);
    struct text_out text = { .r = c->r };
    if (!indent) return render_fail(c->r, "indent: the width is no number up to 100");
    if (c->self.kind != V_STRING)
        return render_fail(c->r, "indent: a %s is no string", value_kind_name(&c->self));
    const struct value s = c->self;
    for (size_t from = 0, to; from <= s.text.len; from = to + 1) {
        const char *end = memchr(s.text.bytes + from, '\n', s.text.len - from);
        to = end ? (size_t)(end - s.text.bytes) : s.text.len;
        const struct value line = value_slice(&s, from, to);
        if ((from ? (to > from || blank) : first) && !text_puts(&text, indent, false))
            return false;
        if (!text_add(&text, &line) || (end && !text_puts(&text, "\n", s.input)))
            return false;
    }
    *out = text_value(&text);
    return true;
}

static bool filter_tojson(const struct call *c, struct value *out)
{
    struct json_style style = { .item = ", ", .key = ": " };
    struct text_out text = { .r = c->r };
    style.ascii = c->args[0] && value_truth(c->args[0]);
    style.sort = c->args[3] && value_truth(c->args[3]);
    if (c->args[1] && c->args[1]->kind != V_NONE) {
        style.item = ",";
        style.indent = get_indent(c, c->args[1]);
        if (!style.indent)
            return render_fail(c->r, "tojson: the indent is no number up to 100");
    }
    if (c->args[2] && c->args[2]->kind != V_NONE) {
        const struct value *v = c->args[2];
        if (v->kind != V_LIST || v->list->n != 2 || v->list->items[0].kind != V_STRING ||
            v->list->items[1].kind != V_STRING)
            return render_fail(c->r, "tojson: separators are two strings");
        style.item = get_indent(c, &v->list->items[0]);
        style.key = get_indent(c, &v->list->items[1]);
        if (!style.item || !style.key) return render_no_room(c->r);
    }
    if (!print_json(&text, &c->self, &style)) return false;
    *out = text_value(&text);
    return true;
}

/* ==== Numbers ============================================================= */

/* A string as a number; false if it is none. */
static bool read_number(const struct call *c, const struct value *v, int64_t *i,
                        double *f, bool *is_int)
{
    struct call strip = *c;
    struct value s;
    strip.self = *v;
    strip.args[0] = NULL;
    if (!string_strip(&strip, &s) || !s.text.len || s.text.len > 100) return false;
    char buf[101], *end;
    memcpy(buf, s.text.bytes, s.text.len);
    buf[s.text.len] = 0;
    if (strspn(buf, "0123456789+-.eE") != s.text.len) return false;
    errno = 0;
    *i = strtoll(buf, &end, 10);
    *is_int = !*end && !errno;
    *f = strtod(buf, &end);
    return !*end;
}

static bool undefined_number(const struct call *c)
{
    return render_fail(c->r, "'%s' is undefined and no number", c->self.name);
}

/* Towards zero; the default, 0, for what is no number. */
static bool filter_int(const struct call *c, struct value *out)
{
    int64_t i = 0;
    double f = 0;
    bool is_int = true, ok = true;
    if (c->self.kind == V_UNDEFINED) return undefined_number(c);
    if (c->self.kind == V_STRING) {
        ok = read_number(c, &c->self, &i, &f, &is_int);
    } else if (c->self.kind == V_FLOAT) {
        f = c->self.f;
        is_int = false;
    } else {
        ok = value_as_int(&c->self, &i);
    }
    if (ok && !is_int) {
        if (fabs(f) >= 9e18) return render_fail(c->r, "int: a number is out of range");
        ok = !isnan(f);
        if (ok) i = (int64_t)f;
    }
    *out = ok ? value_int(i) : c->args[0] ? *c->args[0] : value_int(0);
    out->input |= c->self.input;
    return true;
}

static bool filter_float(const struct call *c, struct value *out)
{
    int64_t i;
    double f = 0;
    bool is_int, ok = value_is_number(&c->self);
    if (c->self.kind == V_UNDEFINED) return undefined_number(c);
    if (ok) f = value_as_float(&c->self);
    else if (c->self.kind == V_STRING) ok = read_number(c, &c->self, &i, &f, &is_int);
    *out = ok ? value_float(f) : c->args[0] ? *c->args[0] : value_float(0);
    out->input |= c->self.input;
    return true;
}

static bool filter_abs(const struct call *c, struct value *out)
{
    const struct value zero = value_int(0);
    *out = c->self;
    if (!value_is_number(&c->self)) return render_fail(c->r, "abs: not a number");
    if (value_as_float(&c->self) >= 0 && c->self.kind != V_BOOL) return true;
    if (c->self.kind != V_FLOAT)
        return eval_math(c->r, value_as_float(&c->self) < 0 ? S_SUB : S_ADD, &zero,
                         &c->self, out);
    out->f = -out->f;
    return true;
}

/* Half goes to the even digit, as in Python. */
static bool filter_round(const struct call *c, struct value *out)
{
    int64_t digits = 0;
    char buf[400];
    const struct value *how = c->args[1];
    if (!value_is_number(&c->self)) return render_fail(c->r, "round: not a number");
    if (c->args[0] && (!value_as_int(c->args[0], &digits) || digits < 0 || digits > 20))
        return render_fail(c->r, "round: the digits are no number from 0 to 20");
    *out = c->self;
    if (how && !value_is(how, "common")) {
        if (!value_is(how, "floor") && !value_is(how, "ceil"))
            return render_fail(c->r, "round: the method is common, ceil or floor");
        const double scale = pow(10, (double)digits), f = value_as_float(out) * scale;
        *out = value_float((value_is(how, "floor") ? floor(f) : ceil(f)) / scale);
    } else if (out->kind == V_FLOAT) {
        snprintf(buf, sizeof buf, "%.*f", (int)digits, out->f);
        *out = value_float(strtod(buf, NULL));
    } else {
        (void)value_as_int(&c->self, &digits);
        *out = value_int(digits);
    }
    out->input = c->self.input;
    return true;
}

/* ==== Lists =============================================================== */

static bool filter_length(const struct call *c, struct value *out)
{
    const struct value *v = &c->self;
    int64_t n = 0;
    switch ((enum value_kind)v->kind) {
    case V_UNDEFINED: break;
    case V_STRING:
        for (size_t i = 0; i < v->text.len; i++)
            n += ((unsigned char)v->text.bytes[i] & 0xc0) != 0x80;
        break;
    case V_LIST: n = (int64_t)v->list->n; break;
    case V_MAP: n = (int64_t)v->map->n; break;
    default: return render_fail(c->r, "a %s has no length", value_kind_name(v));
    }
    *out = value_int(n);
    return render_work(c->r, v->kind == V_STRING ? v->text.len / 64 : 0);
}

static bool filter_items(const struct call *c, struct value *out)
{
    static const struct map nothing;
    if (c->self.kind != V_MAP && c->self.kind != V_UNDEFINED)
        return render_fail(c->r, "items: a %s is no mapping", value_kind_name(&c->self));
    return map_pairs(c->r, c->self.kind == V_MAP ? c->self.map : &nothing, out);
}

static bool filter_list(const struct call *c, struct value *out)
{
    const struct list *l;
    if (!value_items(c->r, &c->self, &l)) return false;
    *out = value_list(l);
    out->input = c->self.input;
    return true;
}

static bool filter_first(const struct call *c, struct value *out)
{
    const struct list *l;
    if (!value_items(c->r, &c->self, &l)) return false;
    *out = l->n ? l->items[0] : value_undefined("the first item");
    return true;
}

static bool filter_last(const struct call *c, struct value *out)
{
    const struct list *l;
    if (!value_items(c->r, &c->self, &l)) return false;
    *out = l->n ? l->items[l->n - 1] : value_undefined("the last item");
    return true;
}

static bool filter_reverse(const struct call *c, struct value *out)
{
    const struct value step[3] = { value_none(), value_none(), value_int(-1) };
    struct value items = c->self;
    if (items.kind != V_STRING && !filter_list(c, &items)) return false;
    return value_range(c->r, &items, step, out);
}

/* Of a name like "a.b", or an item's number; `otherwise`, if given, for any part of it
 * that is not there. */
static bool get_attribute(const struct call *c, const struct value *v,
                          const struct value *name, const struct value *otherwise,
                          struct value *out)
{
    struct value inner = *v;
    if (name->kind != V_STRING) {
        if (!value_item(c->r, v, name, out)) return false;
        if (otherwise && out->kind == V_UNDEFINED) *out = *otherwise;
        return true;
    }
    for (size_t from = 0, to; from <= name->text.len; from = to + 1) {
        to = from;
        while (to < name->text.len && name->text.bytes[to] != '.') to++;
        const struct value key = value_slice(name, from, to);
        if (!value_item(c->r, &inner, &key, out)) return false;
        if (otherwise && out->kind == V_UNDEFINED) *out = *otherwise;
        inner = *out;
    }
    return true;
}

static bool filter_join(const struct call *c, struct value *out)
{
    struct text_out text = { .r = c->r };
    struct value separator = value_text("", 0);
    const struct list *l;
    if (c->args[0] && !value_str(c->r, c->args[0], &separator)) return false;
    if (!value_items(c->r, &c->self, &l)) return false;
    for (size_t i = 0; i < l->n; i++) {
        struct value item = l->items[i];
        if (c->args[1] && !get_attribute(c, &l->items[i], c->args[1], NULL, &item))
            return false;
        if ((i && !text_add(&text, &separator)) || !print_str(&text, &item)) return false;
    }
    *out = text_value(&text);
    return true;
}

static bool filter_default(const struct call *c, struct value *out)
{
    const bool empty = c->args[1] && value_truth(c->args[1]) && !value_truth(&c->self);
    *out = c->self;
    if (c->self.kind != V_UNDEFINED && !empty) return true;
    *out = c->args[0] ? *c->args[0] : value_text("", 0);
    return true;
}

static bool filter_same(const struct call *c, struct value *out)
{
    *out = c->self;
    return true;
}

/* ==== Other filters and tests on each item ================================ */

/* The filter or test named by an argument, with those behind it, on one value. */
static bool apply(const struct call *c, int named, bool test, const struct value *v,
                  struct value *out)
{
    struct call inner = { .r = c->r, .self = *v };
    const struct value *name = c->args[named];
    if (!name) { /* select without a test */
        *out = value_bool(value_truth(v));
        return true;
    }
    const char *text = name->kind == V_STRING
                           ? arena_copy(&c->r->arena, name->text.bytes, name->text.len)
                           : NULL;
    if (text) inner.builtin = test ? find_test(text) : find_filter(text);
    if (!inner.builtin)
        return render_fail(c->r, "%s: the %s '%s' is not supported", c->builtin->name,
                           test ? "test" : "filter", text ? text : "");
    for (int i = 0; i + named + 1 < MAX_ARGS; i++) {
        inner.args[i] = c->args[i + named + 1];
        if (inner.args[i] ? i >= builtin_params(inner.builtin)
                          : builtin_requires(inner.builtin, i))
            return render_fail(c->r, "%s: the wrong number of arguments for %s",
                               c->builtin->name, text);
    }
    return inner.builtin->fn(&inner, out);
}

/* The items for them: also none and the like count as empty. */
static bool items_or_none(const struct call *c, const struct list **out)
{
    static const struct list nothing;
    *out = &nothing;
    return !value_truth(&c->self) || value_items(c->r, &c->self, out);
}

/* map('filter', ...) or map(attribute='name', default=value) */
static bool filter_map(const struct call *c, struct value *out)
{
    const struct list *l;
    if (!items_or_none(c, &l)) return false;
    struct list *mapped = list_new(c->r, l->n);
    const struct value *attribute = c->args[3], *otherwise = c->args[4];
    if (!mapped) return false;
    if (!attribute && !c->args[0]) return render_fail(c->r, "map: no filter is named");
    for (size_t i = 0; i < l->n; i++) {
        struct value *to = &mapped->items[i];
        if (!(attribute ? get_attribute(c, &l->items[i], attribute, otherwise, to)
                        : apply(c, 0, false, &l->items[i], to)))
            return false;
    }
    *out = value_list(mapped);
    return true;
}

static bool keep(const struct call *c, struct value *out, bool by_attribute, bool wanted)
{
    const struct list *l;
    if (!items_or_none(c, &l)) return false;
    struct list *kept = list_new(c->r, l->n);
    if (!kept) return false;
    kept->n = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct value v = l->items[i], truth;
        if (by_attribute && !get_attribute(c, &l->items[i], c->args[0], NULL, &v))
            return false;
        if (!apply(c, by_attribute, true, &v, &truth)) return false;
        if (value_truth(&truth) == wanted) kept->items[kept->n++] = l->items[i];
    }
    *out = value_list(kept);
    return true;
}

static bool filter_select(const struct call *c, struct value *out)
{
    return keep(c, out, false, true);
}
static bool filter_reject(const struct call *c, struct value *out)
{
    return keep(c, out, false, false);
}
static bool filter_selectattr(const struct call *c, struct value *out)
{
    return keep(c, out, true, true);
}
static bool filter_rejectattr(const struct call *c, struct value *out)
{
    return keep(c, out, true, false);
}

/* ==== All ================================================================= */

/* "a0" and the like have no names in Jinja. */
static const struct builtin filters[] = {
    { "abs", "", filter_abs, V_UNDEFINED },
    { "capitalize", "", filter_capitalize, V_UNDEFINED },
    { "count", "", filter_length, V_UNDEFINED },
    { "d", "default_value=,boolean=", filter_default, V_UNDEFINED },
    { "default", "default_value=,boolean=", filter_default, V_UNDEFINED },
    { "first", "", filter_first, V_UNDEFINED },
    { "float", "default=", filter_float, V_UNDEFINED },
    { "indent", "width=,first=,blank=", filter_indent, V_UNDEFINED },
    { "int", "default=", filter_int, V_UNDEFINED },
    { "items", "", filter_items, V_UNDEFINED },
    { "join", "d=,attribute=", filter_join, V_UNDEFINED },
    { "last", "", filter_last, V_UNDEFINED },
    { "length", "", filter_length, V_UNDEFINED },
    { "list", "", filter_list, V_UNDEFINED },
    { "lower", "", filter_lower, V_UNDEFINED },
    { "map", "a0=,a1=,a2=,attribute=,default=", filter_map, V_UNDEFINED },
    { "reject", "a0=,a1=,a2=", filter_reject, V_UNDEFINED },
    { "rejectattr", "a0,a1=,a2=", filter_rejectattr, V_UNDEFINED },
    { "replace", "old,new,count=", filter_replace, V_UNDEFINED },
    { "reverse", "", filter_reverse, V_UNDEFINED },
    { "round", "precision=,method=", filter_round, V_UNDEFINED },
    { "safe", "", filter_same, V_UNDEFINED },
    { "select", "a0=,a1=,a2=", filter_select, V_UNDEFINED },
    { "selectattr", "a0,a1=,a2=", filter_selectattr, V_UNDEFINED },
    { "string", "", filter_string, V_UNDEFINED },
    { "tojson", "ensure_ascii=,indent=,separators=,sort_keys=", filter_tojson,
      V_UNDEFINED },
    { "trim", "chars=", filter_trim, V_UNDEFINED },
    { "upper", "", filter_upper, V_UNDEFINED },
};

const struct builtin *find_filter(const char *name)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (!strcmp(filters[i].name, name)) return &filters[i];
    return NULL;
}
