/* schema_merge.c - see schema_merge.h. */
#include "schema_merge.h"

#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): MOST_NESTED deep */

enum { MOST_PARTS = 1000, MOST_NESTED = 32 };

struct merge {
    struct schema *s;
    json_t *all; /* what was said so far */
    int n_parts, depth;
};

/* ==== Two keywords ======================================================== */

static bool is_number_type(const char *t) { return !strcmp(t, "number"); }

/* The types in both; NULL if there is none. */
static json_t *common_types(const json_t *a, const json_t *b)
{
    json_t *const la = json_is_array(a) ? json_deep_copy(a) : json_pack("[O]", a);
    json_t *const lb = json_is_array(b) ? json_deep_copy(b) : json_pack("[O]", b);
    json_t *both = json_array();
    for (size_t i = 0; i < json_array_size(la); i++)
        for (size_t k = 0; k < json_array_size(lb); k++) {
            json_t *x = json_array_get(la, i), *y = json_array_get(lb, k);
            const char *tx = json_string_value(x), *ty = json_string_value(y);
            if (!tx || !ty) continue;
            if (!strcmp(tx, ty)) json_array_append(both, x);
            else if (is_number_type(tx) && !strcmp(ty, "integer"))
                json_array_append(both, y);
            else if (is_number_type(ty) && !strcmp(tx, "integer"))
                json_array_append(both, x);
        }
    json_decref(la);
    json_decref(lb);
    if (json_array_size(both)) return both;
    json_decref(both);
    return NULL;
}

/* Names in either. */
static json_t *all_names(const json_t *a, const json_t *b)
{
    json_t *all = json_copy((json_t *)a);
    for (size_t i = 0; i < json_array_size(b); i++) {
        bool known = false;
        for (size_t k = 0; k < json_array_size(a) && !known; k++)
            known = json_equal(json_array_get(a, k), json_array_get(b, i));
        if (!known) json_array_append(all, json_array_get(b, i));
    }
    return all;
}

/* The properties of both; one that both describe must satisfy both. */
static json_t *all_properties(const json_t *a, const json_t *b)
{
    json_t *all = json_copy((json_t *)a), *value;
    const char *key;
    json_object_foreach((json_t *)b, key, value)
    {
        json_t *have = json_object_get(all, key);
        if (!have) json_object_set(all, key, value);
        else if (!json_equal(have, value))
            json_object_set_new(all, key, json_pack("{s[OO]}", "allOf", have, value));
    }
    return all;
}

/* The stricter of two numbers. */
static json_t *stricter(const char *key, json_t *a, json_t *b)
{
    if (!json_is_number(a) || !json_is_number(b)) return NULL;
    const bool least = !strncmp(key, "min", 3) || !strcmp(key, "exclusiveMinimum");
    return json_incref((json_number_value(a) > json_number_value(b)) == least ? a : b);
}

/* What two values of a keyword say together; NULL if that cannot be said. */
static json_t *both(const char *key, json_t *a, json_t *b)
{
    if (json_equal(a, b)) return json_incref(a);
    if (!strcmp(key, "type")) return common_types(a, b);
    if (!strcmp(key, "required") && json_is_array(a) && json_is_array(b))
        return all_names(a, b);
    if (!strcmp(key, "properties") && json_is_object(a) && json_is_object(b))
        return all_properties(a, b);
    if (!strncmp(key, "min", 3) || !strncmp(key, "max", 3) ||
        !strncmp(key, "exclusive", 9))
        return stricter(key, a, b);
    return NULL;
}

/* ==== Whole schemas ======================================================= */

/* Properties that a closed object does not describe are forbidden: those of another part
 * of an allOf cannot be. */
static bool closes(const json_t *part, const json_t *other)
{
    const char *key;
    json_t *value;
    if (!json_is_false(json_object_get(part, "additionalProperties"))) return false;
    json_object_foreach(json_object_get(other, "properties"), key,
                        value) if (!json_object_get(json_object_get(part, "properties"),
                                                    key)) return true;
    return false;
}

static bool add_keyword(struct merge *m, const char *key, json_t *value)
{
    json_t *have = json_object_get(m->all, key);
    if (schema_is_description(key)) return true;
    if (!have)
        return !json_object_set(m->all, key, value) || (schema_no_memory(m->s), false);
    json_t *together = both(key, have, value);
    if (!together) {
        schema_fail(m->s, "two values of '%.40s' cannot be put together", key);
        return false;
    }
    return !json_object_set_new(m->all, key, together) || (schema_no_memory(m->s), false);
}

static bool add_schema(struct merge *m, const json_t *schema, const char *without);

/* What it refers to, and the parts of its allOf. */
static bool add_parts(struct merge *m, const json_t *schema)
{
    const json_t *ref = json_object_get(schema, "$ref");
    const json_t *parts = json_object_get(schema, "allOf");
    if (ref) {
        const json_t *target = schema_target(m->s, ref);
        if (!target || !add_schema(m, target, NULL)) return false;
    }
    if (parts && !json_is_array(parts)) {
        schema_fail(m->s, "allOf must be a list of schemas");
        return false;
    }
    for (size_t i = 0; i < json_array_size(parts); i++)
        if (!add_schema(m, json_array_get(parts, i), NULL)) return false;
    return true;
}

static bool add_schema(struct merge *m, const json_t *schema, const char *without)
{
    const char *key;
    json_t *value;
    if (json_is_true(schema)) return true;
    if (!json_is_object(schema)) {
        schema_fail(m->s, "allOf and $ref want schemas that are objects");
        return false;
    }
    if (m->depth == MOST_NESTED || ++m->n_parts > MOST_PARTS) {
        schema_fail(m->s, "allOf and $ref go too deep, or around in a circle");
        return false;
    }
    if (closes(schema, m->all) || closes(m->all, schema)) {
        schema_fail(m->s, "additionalProperties: false forbids properties of another "
                          "part of allOf");
        return false;
    }
    m->depth++;
    bool ok = add_parts(m, schema);
    json_object_foreach((json_t *)schema, key, value)
    {
        const bool done = !strcmp(key, "$ref") || !strcmp(key, "allOf") ||
                          (without && !strcmp(key, without));
        if (ok && !done) ok = add_keyword(m, key, value);
    }
    m->depth--;
    return ok;
}

static const json_t *merge(struct schema *s, const json_t *schema, const char *without,
                           const json_t *branch)
{
    struct merge m = { .s = s, .all = json_object() };
    if (!m.all || json_array_append_new(s->owned, m.all)) {
        schema_no_memory(s);
        return NULL;
    }
    if (json_array_size(s->owned) > SCHEMA_BRANCHES) {
        schema_fail(s, "more than %d schemas to put together", SCHEMA_BRANCHES);
        return NULL;
    }
    if (!add_schema(&m, schema, without)) return NULL;
    return !branch || add_schema(&m, branch, NULL) ? m.all : NULL;
}

const json_t *schema_merge(struct schema *s, const json_t *schema)
{
    return merge(s, schema, NULL, NULL);
}

const json_t *schema_merge_branch(struct schema *s, const json_t *schema, const char *key,
                                  const json_t *branch)
{
    return merge(s, schema, key, branch);
}
/* NOLINTEND(misc-no-recursion) */
