/* method.c - the methods of strings and mappings. */
#include "builtin.h"
#include "render.h"

#include <string.h>

static bool map_get(const struct call *c, struct value *out)
{
    const size_t i = map_find(c->self.map, c->args[0], &c->r->steps);
    if (i < c->self.map->n) *out = c->self.map->values[i];
    else *out = c->args[1] ? *c->args[1] : value_none();
    return true;
}

static bool map_items(const struct call *c, struct value *out)
{
    return map_pairs(c->r, c->self.map, out);
}

static bool map_list(const struct call *c, const struct value *from, struct value *out)
{
    struct list *l = list_new(c->r, c->self.map->n);
    if (!l) return false;
    if (l->n) memcpy(l->items, from, l->n * sizeof *from);
    *out = value_list(l);
    return true;
}

static bool map_keys(const struct call *c, struct value *out)
{
    return map_list(c, c->self.map->keys, out);
}
static bool map_values(const struct call *c, struct value *out)
{
    return map_list(c, c->self.map->values, out);
}

/* ==== All ================================================================= */

static const struct builtin methods[] = {
    { "capitalize", "", string_capitalize, V_STRING },
    { "count", "sub", string_count, V_STRING },
    { "endswith", "suffix", string_endswith, V_STRING },
    { "find", "sub", string_find, V_STRING },
    { "get", "key,default=", map_get, V_MAP },
    { "items", "", map_items, V_MAP },
    { "join", "iterable", string_join, V_STRING },
    { "keys", "", map_keys, V_MAP },
    { "lower", "", string_lower, V_STRING },
    { "lstrip", "chars=", string_lstrip, V_STRING },
    { "removeprefix", "prefix", string_removeprefix, V_STRING },
    { "removesuffix", "suffix", string_removesuffix, V_STRING },
    { "replace", "old,new,count=", string_replace, V_STRING },
    { "rstrip", "chars=", string_rstrip, V_STRING },
    { "split", "sep=,maxsplit=", string_split, V_STRING },
    { "splitlines", "keepends=", string_splitlines, V_STRING },
    { "startswith", "prefix", string_startswith, V_STRING },
    { "strip", "chars=", string_strip, V_STRING },
    { "title", "", string_title, V_STRING },
    { "upper", "", string_upper, V_STRING },
    { "values", "", map_values, V_MAP },
};

const struct builtin *find_method(const char *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, name)) return &methods[i];
    return NULL;
}
