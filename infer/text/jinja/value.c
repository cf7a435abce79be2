/* value.c - see value.h.  Truth, equality, order and maps; turning values into text is in
 * print.c, changing text in text.c. */
#include "value.h"

#include "../utf8.h"

#include <string.h>

const char *value_kind_name(const struct value *v)
{
    static const char *const names[] = {
        [V_UNDEFINED] = "undefined", [V_NONE] = "none",           [V_BOOL] = "boolean",
        [V_INT] = "integer",         [V_FLOAT] = "float",         [V_STRING] = "string",
        [V_LIST] = "list",           [V_MAP] = "mapping",         [V_LOOP] = "loop",
        [V_MACRO] = "macro",         [V_NAMESPACE] = "namespace", [V_METHOD] = "method",
    };
    return v->kind == V_LIST && v->tuple ? "tuple" : names[v->kind];
}

bool value_truth(const struct value *v)
{
    switch ((enum value_kind)v->kind) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v->truth;
    case V_INT: return v->i != 0;
    case V_FLOAT: return v->f != 0;
    case V_STRING: return v->text.len != 0;
    case V_LIST: return v->list->n != 0;
    case V_MAP: return v->map->n != 0;
    default: return true;
    }
}

bool value_is_number(const struct value *v)
{
    return v->kind == V_BOOL || v->kind == V_INT || v->kind == V_FLOAT;
}

double value_as_float(const struct value *v)
{
    return v->kind == V_FLOAT ? v->f : v->kind == V_INT ? (double)v->i : (double)v->truth;
}

bool value_as_int(const struct value *v, int64_t *i)
{
    if (v->kind != V_INT && v->kind != V_BOOL) return false;
    *i = v->kind == V_INT ? v->i : v->truth;
    return true;
}

bool value_is(const struct value *v, const char *string)
{
    return v->kind == V_STRING && v->text.len == strlen(string) &&
           !memcmp(v->text.bytes, string, v->text.len);
}

struct value value_slice(const struct value *string, size_t from, size_t to)
{
    struct value v = *string;
    v.text.bytes += from;
    v.text.len = to - from;
    if (v.text.marks) v.text.marks += from;
    return v;
}

/* ==== Order =============================================================== */

static int order_numbers(const struct value *a, const struct value *b)
{
    int64_t i, j;
    if (value_as_int(a, &i) && value_as_int(b, &j)) return (i > j) - (i < j);
    const double x = value_as_float(a), y = value_as_float(b);
    return (x > y) - (x < y);
}

/* Bytes of UTF-8 are in the order of their characters. */
static int order_texts(const struct text *a, const struct text *b)
{
    const size_t n = a->len < b->len ? a->len : b->len;
    const int c = n ? memcmp(a->bytes, b->bytes, n) : 0;
    if (c) return c < 0 ? -1 : 1;
    return (a->len > b->len) - (a->len < b->len);
}

bool value_order(const struct value *a, const struct value *b, int *order)
{
    if (value_is_number(a) && value_is_number(b)) *order = order_numbers(a, b);
    else if (a->kind == V_STRING && b->kind == V_STRING)
        *order = order_texts(&a->text, &b->text);
    else return false;
    return true;
}

/* ==== Equality ============================================================ */

#define MAX_DEPTH 200

static bool equal(const struct value *a, const struct value *b, int depth,
                  uint64_t *work);

static bool equal_lists(const struct list *a, const struct list *b, int depth,
                        uint64_t *work)
{
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!equal(&a->items[i], &b->items[i], depth, work)) return false;
    return true;
}

static bool equal_maps(const struct map *a, const struct map *b, int depth,
                       uint64_t *work)
{
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const size_t j = map_find(b, &a->keys[i], work);
        if (j == b->n || !equal(&a->values[i], &b->values[j], depth, work)) return false;
    }
    return true;
}

static bool equal(const struct value *a, const struct value *b, int depth, uint64_t *work)
{
    if (depth > MAX_DEPTH || ++*work > MAX_WORK) return false;
    if (value_is_number(a) && value_is_number(b)) return !order_numbers(a, b);
    if (a->kind != b->kind) return false;
    switch ((enum value_kind)a->kind) {
    case V_STRING:
        *work += a->text.len / 64;
        return a->text.len == b->text.len && !order_texts(&a->text, &b->text);
    case V_LIST:
        return a->tuple == b->tuple && equal_lists(a->list, b->list, depth + 1, work);
    case V_MAP: return equal_maps(a->map, b->map, depth + 1, work);
    case V_NAMESPACE: return a->map == b->map;
    case V_LOOP: return a->loop == b->loop;
    case V_MACRO: return a->macro == b->macro;
    case V_METHOD: return false;
    default: return true;
    }
}

bool value_equal(const struct value *a, const struct value *b, uint64_t *work)
{
    return equal(a, b, 0, work);
}

/* ==== Maps ================================================================ */

size_t map_find(const struct map *map, const struct value *key, uint64_t *work)
{
    size_t i = 0;
    while (i < map->n && !value_equal(&map->keys[i], key, work)) i++;
    return i;
}

static bool map_grow(struct map *map, struct arena *arena)
{
    const size_t n = map->capacity ? 2 * map->capacity : 4;
    struct value *keys = arena_take(arena, 2 * n * sizeof *keys);
    if (!keys) return false;
    if (map->n) {
        memcpy(keys, map->keys, map->n * sizeof *keys);
        memcpy(keys + n, map->values, map->n * sizeof *keys);
    }
    map->keys = keys;
    map->values = keys + n;
    map->capacity = n;
    return true;
}

bool map_put(struct map *map, struct arena *arena, struct value key, struct value value,
             uint64_t *work)
{
    const size_t i = map_find(map, &key, work);
    if (i == map->n) {
        if (map->n == map->capacity && !map_grow(map, arena)) return false;
        map->keys[map->n++] = key;
    }
    map->values[i] = value;
    return true;
}

/* ==== Characters ========================================================== */

bool is_space(uint32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}
