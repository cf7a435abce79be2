/* item.c - parts of values: attributes, items, slices, and what loops go through. */
#include "render.h"

#include "../utf8.h"

#include <string.h>

/* Python finds these on mappings before any key of the name. */
static bool is_map_method(const char *name)
{
    static const char *const names[] = { "clear",  "copy",   "fromkeys",  "get",
                                         "items",  "keys",   "pop",       "popitem",
                                         "update", "values", "setdefault" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return true;
    return false;
}

static struct value loop_attribute(const struct loop *l, const char *name)
{
    const int64_t n = (int64_t)l->items->n, i = (int64_t)l->at;
    if (!strcmp(name, "index")) return value_int(i + 1);
    if (!strcmp(name, "index0")) return value_int(i);
    if (!strcmp(name, "revindex")) return value_int(n - i);
    if (!strcmp(name, "revindex0")) return value_int(n - i - 1);
    if (!strcmp(name, "first")) return value_bool(i == 0);
    if (!strcmp(name, "last")) return value_bool(i == n - 1);
    if (!strcmp(name, "length")) return value_int(n);
    if (!strcmp(name, "depth")) return value_int(1);
    if (!strcmp(name, "depth0")) return value_int(0);
    if (!strcmp(name, "previtem") && i > 0) return l->items->items[i - 1];
    if (!strcmp(name, "nextitem") && i < n - 1) return l->items->items[i + 1];
    return value_undefined(name);
}

/* The value of a key, or undefined. */
static struct value map_value(struct render *r, const struct map *m,
                              const struct value *key, const char *name)
{
    const size_t i = map_find(m, key, &r->steps);
    return i < m->n ? m->values[i] : value_undefined(name);
}

bool value_attribute(struct render *r, const struct value *a, const char *name,
                     struct value *out)
{
    *out = value_undefined(name);
    if (a->kind == V_UNDEFINED)
        return render_fail(r, "'%s' is undefined, so it has no '%s'", a->name, name);
    if (a->kind == V_LOOP) *out = loop_attribute(a->loop, name);
    if (a->kind != V_MAP && a->kind != V_NAMESPACE) return true;
    if (a->kind == V_MAP && is_map_method(name)) {
        *out = (struct value){ .kind = V_METHOD, .name = name };
        return true;
    }
    const struct value key = value_text(name, strlen(name));
    *out = map_value(r, a->map, &key, name);
    return true;
}

/* ==== Characters ========================================================== */

static size_t count_characters(const struct text *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->len; i++) n += ((unsigned char)t->bytes[i] & 0xc0) != 0x80;
    return n;
}

/* Where the n-th character starts. */
static size_t find_character(const struct text *t, size_t n)
{
    size_t i = 0;
    for (; i < t->len; i++)
        if (((unsigned char)t->bytes[i] & 0xc0) != 0x80 && !n--) break;
    return i;
}

static size_t next_character(const struct text *t, size_t i)
{
    unsigned n;
    utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
    return i + n;
}

static bool characters(struct render *r, const struct value *v, const struct list **out)
{
    struct list *l = list_new(r, count_characters(&v->text));
    if (!l) return false;
    for (size_t i = 0, k = 0; i < v->text.len && k < l->n; k++) {
        const size_t next = next_character(&v->text, i);
        l->items[k] = value_slice(v, i, next);
        i = next;
    }
    *out = l;
    return true;
}

/* ==== Items =============================================================== */

/* A place counted from the end if negative; false: there is none. */
static bool find_place(int64_t i, size_t n, size_t *at)
{
    if (i < 0) i += (int64_t)n;
    *at = (size_t)i;
    return i >= 0 && (uint64_t)i < n;
}

/* What to call an item that is not there. */
static const char *key_name(struct render *r, const struct value *key)
{
    const char *name = NULL;
    if (key->kind == V_STRING)
        name = arena_copy(&r->arena, key->text.bytes, key->text.len);
    return name ? name : "the item";
}

bool value_item(struct render *r, const struct value *a, const struct value *key,
                struct value *out)
{
    int64_t i;
    size_t at;
    *out = value_undefined("the item");
    switch ((enum value_kind)a->kind) {
    case V_UNDEFINED:
        return render_fail(r, "'%s' is undefined and has no items", a->name);
    case V_MAP:
        *out = map_value(r, a->map, key, NULL);
        if (out->kind == V_UNDEFINED && !out->name) out->name = key_name(r, key);
        return true;
    case V_LIST:
        if (value_as_int(key, &i) && find_place(i, a->list->n, &at))
            *out = a->list->items[at];
        return true;
    case V_STRING:
        if (!render_work(r, a->text.len / 64)) return false;
        if (value_as_int(key, &i) && find_place(i, count_characters(&a->text), &at)) {
            const size_t from = find_character(&a->text, at);
            *out = value_slice(a, from, next_character(&a->text, from));
        }
        return true;
    default: return true;
    }
}

/* ==== Slices ============================================================== */

struct range {
    int64_t from, to, step;
};

/* A bound as Python's slice.indices() has it. */
static bool get_bound(struct render *r, const struct value *v, int64_t n, int64_t step,
                      int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v->kind == V_NONE) return true;
    if (!value_as_int(v, out))
        return render_fail(r, "a bound of a slice is %s, not an integer",
                           value_kind_name(v));
    if (*out < 0) *out = *out + n < 0 ? (step < 0 ? -1 : 0) : *out + n;
    else if (*out >= n) *out = step < 0 ? n - 1 : n;
    return true;
}

static bool get_range(struct render *r, const struct value part[3], size_t len,
                      struct range *out)
{
    const int64_t n = (int64_t)len;
    out->step = 1;
    if (part[2].kind != V_NONE && !value_as_int(&part[2], &out->step))
        return render_fail(r, "the step of a slice is %s, not an integer",
                           value_kind_name(&part[2]));
    if (!out->step) return render_fail(r, "the step of a slice is zero");
    const bool back = out->step < 0;
    /* Longer steps than the list are all the same. */
    if (out->step > n) out->step = n + 1;
    if (out->step < -n) out->step = -n - 1;
    return get_bound(r, &part[0], n, out->step, back ? n - 1 : 0, &out->from) &&
           get_bound(r, &part[1], n, out->step, back ? -1 : n, &out->to);
}

static size_t range_count(const struct range *g)
{
    const int64_t span = g->step > 0 ? g->to - g->from : g->from - g->to;
    const int64_t step = g->step > 0 ? g->step : -g->step;
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): get_range() refuses a step of 0 */
    return span <= 0 ? 0 : (size_t)((span + step - 1) / step);
}

/* One piece if the step is 1, else character by character. */
static bool slice_string(struct render *r, const struct value *a,
                         const struct value part[3], struct value *out)
{
    struct range g;
    const struct list *all;
    if (!render_work(r, a->text.len / 64) ||
        !get_range(r, part, count_characters(&a->text), &g))
        return false;
    if (g.step == 1) {
        const size_t from = find_character(&a->text, (size_t)g.from);
        const size_t to = find_character(&a->text, (size_t)g.to);
        *out = value_slice(a, from, to > from ? to : from);
        return true;
    }
    struct text_out text = { .r = r };
    bool ok = characters(r, a, &all);
    for (size_t i = 0; ok && i < range_count(&g); i++)
        ok = text_add(&text, &all->items[g.from + (int64_t)i * g.step]);
    *out = text_value(&text);
    return ok;
}

bool value_range(struct render *r, const struct value *a, const struct value part[3],
                 struct value *out)
{
    struct range g;
    if (a->kind == V_STRING) return slice_string(r, a, part, out);
    if (a->kind != V_LIST)
        return render_fail(r, "a slice of %s%s%s", value_kind_name(a),
                           a->kind == V_UNDEFINED ? " " : "",
                           a->kind == V_UNDEFINED ? a->name : "");
    if (!get_range(r, part, a->list->n, &g)) return false;
    struct list *l = list_new(r, range_count(&g));
    if (!l) return false;
    for (size_t i = 0; i < l->n; i++)
        l->items[i] = a->list->items[g.from + (int64_t)i * g.step];
    *out = *a;
    out->list = l;
    return true;
}

/* ==== Lists =============================================================== */

struct list *list_new(struct render *r, size_t n)
{
    struct list *l = NULL;
    if (n < SIZE_MAX / 2 / sizeof(struct value))
        l = arena_take(&r->arena, sizeof *l + n * sizeof *l->items);
    if (!l) {
        render_no_room(r);
        return NULL;
    }
    l->n = n;
    return render_work(r, n) ? l : NULL;
}

bool value_items(struct render *r, const struct value *v, const struct list **out)
{
    if (v->kind == V_LIST) {
        *out = v->list;
        return true;
    }
    if (v->kind == V_STRING) return characters(r, v, out);
    if (v->kind != V_MAP && v->kind != V_UNDEFINED)
        return render_fail(r, "a %s has no items to go through", value_kind_name(v));
    struct list *l = list_new(r, v->kind == V_MAP ? v->map->n : 0);
    if (!l) return false;
    if (l->n) memcpy(l->items, v->map->keys, l->n * sizeof *l->items);
    *out = l;
    return true;
}

bool map_pairs(struct render *r, const struct map *map, struct value *out)
{
    struct list *all = list_new(r, map->n);
    for (size_t i = 0; all && i < map->n; i++) {
        struct list *pair = list_new(r, 2);
        if (!pair) return false;
        pair->items[0] = map->keys[i];
        pair->items[1] = map->values[i];
        all->items[i] = value_list(pair);
        all->items[i].tuple = true;
    }
    *out = value_list(all);
    return all != NULL;
}
