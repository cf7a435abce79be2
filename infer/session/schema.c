/* schema.c - see schema.h.  Owns which kind of schema it is, and references; types are in
 * schema_types.c, schema_object.c and schema_number.c, what has to be put together in
 * schema_merge.c. */
#include "schema.h"

#include "schema_build.h"
#include "schema_merge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as schemas in schemas, SCHEMA_DEPTH */

/* ==== Errors ============================================================== */

uint32_t schema_fail(struct schema *s, const char *format, ...)
{
    char what[160];
    va_list ap;
    if (s->failed) return GRAMMAR_NONE;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    s->failed = ggf_fail(s->err, GGF_E_ARG, GGF_NO_OFFSET, "JSON schema, at %s: %s",
                         s->path, what);
    return GRAMMAR_NONE;
}

uint32_t schema_no_memory(struct schema *s)
{
    if (!s->failed) s->failed = ggf_no_memory(s->err);
    return GRAMMAR_NONE;
}

uint32_t schema_value_at(struct schema *s, const char *key, const char *name,
                         const json_t *schema, uint32_t next)
{
    const size_t before = s->n_path, room = sizeof s->path - before;
    const int n = snprintf(s->path + before, room, "/%s%s%s", key, name ? "/" : "",
                           name ? name : "");
    s->n_path += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    const uint32_t start = schema_value(s, schema, next);
    s->n_path = before;
    s->path[before] = 0;
    return start;
}

int schema_count(struct schema *s, const json_t *schema, const char *key, int otherwise)
{
    const json_t *v = json_object_get(schema, key);
    if (!v) return otherwise;
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        json_integer_value(v) > SCHEMA_COUNT) {
        schema_fail(s, "%s must be a number of 0 to %d", key, SCHEMA_COUNT);
        return otherwise;
    }
    return (int)json_integer_value(v);
}

/* ==== References ========================================================== */

static bool same_key(const char *part, size_t len, const char *key)
{
    size_t i = 0;
    for (; *key; key++, i++) {
        if (i >= len) return false;
        char c = part[i];
        if (c == '~' && i + 1 < len) c = part[++i] == '1' ? '/' : '~';
        if (c != *key) return false;
    }
    return i == len;
}

static const json_t *child(const json_t *at, const char *part, size_t len)
{
    const char *key;
    json_t *value;
    if (json_is_array(at) && len && len < 8 && strspn(part, "0123456789") >= len)
        return json_array_get(at, strtoul(part, NULL, 10));
    json_object_foreach((json_t *)at, key,
                        value) if (same_key(part, len, key)) return value;
    return NULL;
}

const json_t *schema_target(struct schema *s, const json_t *ref)
{
    const char *name = json_string_value(ref);
    const json_t *at = s->root;
    if (!name || *name != '#' || (name[1] && name[1] != '/')) {
        schema_fail(s, "$ref %.60s: only places in the schema itself can be named",
                    name ? name : "");
        return NULL;
    }
    for (const char *part = name + 1; *part && at;) {
        const size_t len = strcspn(++part, "/");
        at = child(at, part, len);
        part += len;
    }
    if (!at) schema_fail(s, "$ref %.60s: there is no such place", name);
    return at;
}

/* A rule for each place that is referred to, built when all else is. */
static uint32_t reference(struct schema *s, const json_t *ref, uint32_t next)
{
    const json_t *target = schema_target(s, ref);
    if (!target) return GRAMMAR_NONE;
    for (size_t i = 0; i < s->n_refs; i++)
        if (s->refs[i].schema == target) return grammar_call(s->g, s->refs[i].rule, next);
    if (s->n_refs == SCHEMA_BRANCHES)
        return schema_fail(s, "more than %d places are referred to", SCHEMA_BRANCHES);
    struct schema_ref *refs = realloc(s->refs, (s->n_refs + 1) * sizeof *refs);
    char *name = strdup(json_string_value(ref));
    if (refs) s->refs = refs;
    if (!refs || !name) {
        free(name);
        return schema_no_memory(s);
    }
    const uint32_t rule = grammar_rule(s->g);
    refs[s->n_refs++] = (struct schema_ref){ target, rule, name };
    return grammar_call(s->g, rule, next);
}

static void build_references(struct schema *s)
{
    for (size_t i = 0; i < s->n_refs && !s->failed; i++) { /* there may come more */
        snprintf(s->path, sizeof s->path, "%s", s->refs[i].name);
        s->n_path = strlen(s->path);
        const uint32_t rule = s->refs[i].rule;
        grammar_set_rule(s->g, rule, schema_value(s, s->refs[i].schema, GRAMMAR_END));
    }
}

/* ==== Kinds of schema ===================================================== */

/* Keywords that say something of the value, and those that only describe. */
static const char *const constraints[] = {
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
};
static const char *const descriptions[] = {
    "title",      "description", "default",   "examples", "example",
    "$schema",    "$id",         "$comment",  "$defs",    "definitions",
    "deprecated", "readOnly",    "writeOnly", "$anchor",
};

static bool is_among(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(key, list[i])) return true;
    return false;
}
#define IS_AMONG(key, list) is_among(key, list, sizeof list / sizeof *list)

bool schema_is_description(const char *key) { return IS_AMONG(key, descriptions); }

static bool check_keywords(struct schema *s, const json_t *schema)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value)
    {
        const bool idle = (!strcmp(key, "uniqueItems") && json_is_false(value)) ||
                          (!strcmp(key, "nullable") && json_is_false(value));
        if (idle || IS_AMONG(key, constraints) || IS_AMONG(key, descriptions)) continue;
        schema_fail(s, "'%.60s' is not supported", key);
        return false;
    }
    return true;
}

/* Does it say anything besides these two? */
static bool says_more(const json_t *schema, const char *but, const char * or)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key,
                        value) if (strcmp(key, but) != 0 && strcmp(key, or) != 0 &&
                                   IS_AMONG(key, constraints)) return true;
    return false;
}

static uint32_t of_type(struct schema *s, const char *type, const json_t *schema,
                        uint32_t next)
{
    q3n_grammar *g = s->g;
    if (!strcmp(type, "object")) return schema_object(s, schema, next);
    if (!strcmp(type, "array")) return schema_array(s, schema, next);
    if (!strcmp(type, "string")) return schema_string(s, schema, next);
    if (!strcmp(type, "number")) return schema_number(s, schema, false, next);
    if (!strcmp(type, "integer")) return schema_number(s, schema, true, next);
    if (!strcmp(type, "null")) return grammar_text(g, "null", 4, next);
    if (!strcmp(type, "boolean"))
        return grammar_either(g, grammar_text(g, "true", 4, next),
                              grammar_text(g, "false", 5, next));
    return schema_fail(s, "there is no type '%.40s'", type);
}

/* The type that the keywords are for. */
static const char *guess_type(const json_t *schema)
{
    static const char *const for_type[][2] = {
        { "properties", "object" },
        { "required", "object" },
        { "additionalProperties", "object" },
        { "items", "array" },
        { "prefixItems", "array" },
        { "minItems", "array" },
        { "maxItems", "array" },
        { "minLength", "string" },
        { "maxLength", "string" },
        { "pattern", "string" },
        { "format", "string" },
        { "minimum", "number" },
        { "maximum", "number" },
        { "exclusiveMinimum", "number" },
        { "exclusiveMaximum", "number" },
    };
    for (size_t i = 0; i < sizeof for_type / sizeof *for_type; i++)
        if (json_object_get(schema, for_type[i][0])) return for_type[i][1];
    return NULL;
}

static uint32_t typed(struct schema *s, const json_t *schema, uint32_t next)
{
    const json_t *type = json_object_get(schema, "type");
    uint32_t start = GRAMMAR_NONE;
    if (!type) {
        const char *guess = guess_type(schema);
        return guess ? of_type(s, guess, schema, next) : schema_call(s, RULE_VALUE, next);
    }
    if (json_is_string(type)) return of_type(s, json_string_value(type), schema, next);
    if (!json_is_array(type) || !json_array_size(type))
        return schema_fail(s, "type must be a name or a list of names");
    for (size_t i = 0; i < json_array_size(type) && !s->failed; i++) {
        const json_t *one = json_array_get(type, i);
        if (!json_is_string(one)) return schema_fail(s, "a type must be a name");
        if (i >= 7) return schema_fail(s, "there are seven types");
        const uint32_t branch = of_type(s, json_string_value(one), schema, next);
        start = grammar_either(s->g, branch, start);
    }
    return start;
}

static bool is_of_type(const json_t *value, const char *type)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return !strcmp(type, "object");
    case JSON_ARRAY: return !strcmp(type, "array");
    case JSON_STRING: return !strcmp(type, "string");
    case JSON_INTEGER: return !strcmp(type, "integer") || !strcmp(type, "number");
    case JSON_REAL: return !strcmp(type, "number");
    case JSON_NULL: return !strcmp(type, "null");
    default: return !strcmp(type, "boolean");
    }
}

static bool fits_type(const json_t *value, const json_t *type)
{
    bool fits = !type;
    if (json_is_string(type)) fits = is_of_type(value, json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++)
        if (json_is_string(json_array_get(type, i)))
            fits |= is_of_type(value, json_string_value(json_array_get(type, i)));
    return fits;
}

/* Those of the values that have the right type, in the one way they are written. */
static uint32_t literals(struct schema *s, const json_t *schema, const json_t *values,
                         uint32_t next)
{
    const json_t *type = json_object_get(schema, "type");
    const size_t n = json_array_size(values);
    size_t kept = 0;
    if (!json_is_array(values) || !n || n > SCHEMA_ENUM)
        return schema_fail(s, "enum must be a list of 1 to %d values", SCHEMA_ENUM);
    const char **texts = calloc(n, sizeof *texts);
    if (!texts) return schema_no_memory(s);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        if (!fits_type(json_array_get(values, i), type)) continue;
        texts[kept] = schema_literal(json_array_get(values, i));
        ok = texts[kept++] != NULL;
    }
    const uint32_t start = ok ? schema_one_of(s, texts, kept, next) : GRAMMAR_NONE;
    for (size_t i = 0; i < kept; i++) free((char *)texts[i]);
    free(texts);
    return ok ? start : schema_no_memory(s);
}

static uint32_t constant(struct schema *s, const json_t *schema, uint32_t next)
{
    const json_t *value = json_object_get(schema, "const");
    if (says_more(schema, "const", "type"))
        return schema_fail(s, "const goes with no other keyword than type");
    json_t *values = json_pack("[O]", value);
    if (!values) return schema_no_memory(s);
    const uint32_t start = literals(s, schema, values, next);
    json_decref(values);
    return start;
}

/* Each branch together with what is said beside it. */
static uint32_t any_of(struct schema *s, const char *key, const json_t *schema,
                       uint32_t next)
{
    const json_t *list = json_object_get(schema, key);
    const bool more = says_more(schema, key, key);
    uint32_t start = GRAMMAR_NONE;
    if (!json_is_array(list) || !json_array_size(list) ||
        json_array_size(list) > SCHEMA_BRANCHES)
        return schema_fail(s, "%s must be a list of 1 to %d schemas", key,
                           SCHEMA_BRANCHES);
    for (size_t i = json_array_size(list); i-- > 0 && !s->failed;) {
        const json_t *branch = json_array_get(list, i);
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        if (more) branch = schema_merge_branch(s, schema, key, branch);
        if (!branch) return GRAMMAR_NONE;
        start =
            grammar_either(s->g, schema_value_at(s, key, number, branch, next), start);
    }
    return start;
}

static uint32_t kind(struct schema *s, const json_t *schema, uint32_t next)
{
    const json_t *ref = json_object_get(schema, "$ref");
    if (!check_keywords(s, schema)) return GRAMMAR_NONE;
    if (ref && !says_more(schema, "$ref", "$ref")) return reference(s, ref, next);
    if (ref || json_object_get(schema, "allOf")) {
        const json_t *merged = schema_merge(s, schema);
        return merged ? schema_value(s, merged, next) : GRAMMAR_NONE;
    }
    if (json_object_get(schema, "anyOf")) return any_of(s, "anyOf", schema, next);
    if (json_object_get(schema, "oneOf")) return any_of(s, "oneOf", schema, next);
    if (json_object_get(schema, "const")) return constant(s, schema, next);
    if (json_object_get(schema, "enum")) {
        if (says_more(schema, "enum", "type"))
            return schema_fail(s, "enum goes with no other keyword than type");
        return literals(s, schema, json_object_get(schema, "enum"), next);
    }
    return typed(s, schema, next);
}

uint32_t schema_value(struct schema *s, const json_t *schema, uint32_t next)
{
    uint32_t start = GRAMMAR_NONE;
    if (s->failed || !grammar_has_room(s->g)) return GRAMMAR_NONE;
    if (json_is_true(schema)) return schema_call(s, RULE_VALUE, next);
    if (json_is_false(schema)) return GRAMMAR_NONE;
    if (!json_is_object(schema))
        return schema_fail(s, "a schema must be an object, true or false");
    if (++s->depth > SCHEMA_DEPTH)
        schema_fail(s, "more than %d schemas in schemas", SCHEMA_DEPTH);
    else start = kind(s, schema, next);
    s->depth--;
    return start;
}

/* ==== The whole =========================================================== */

static int build(struct schema *s)
{
    const uint32_t root = grammar_rule(s->g);
    grammar_set_rule(s->g, root, schema_value(s, s->root, GRAMMAR_END));
    build_references(s);
    if (s->failed) return s->failed;
    ggf_error why = { 0 };
    const int r = grammar_finish(s->g, root, &why);
    if (r == GGF_E_NOMEM) return ggf_no_memory(s->err);
    return r ? ggf_fail(s->err, r, GGF_NO_OFFSET, "JSON schema: %s", why.message) : 0;
}

int q3n_schema_grammar(q3n_grammar **out, const json_t *schema, ggf_error *err)
{
    struct schema s = {
        .g = grammar_new(), .root = schema, .owned = json_array(), .err = err, .path = "#"
    };
    *out = NULL;
    s.n_path = 1;
    const int r = s.g && s.owned ? build(&s) : ggf_no_memory(err);
    for (size_t i = 0; i < s.n_refs; i++) free(s.refs[i].name);
    free(s.refs);
    json_decref(s.owned);
    if (r) q3n_grammar_free(s.g);
    else *out = s.g;
    return r;
}

int q3n_schema_parse(q3n_grammar **out, const char *text, size_t len, ggf_error *err)
{
    json_error_t wrong;
    *out = NULL;
    json_t *schema =
        json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);
    if (!schema)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the JSON schema is not JSON: %s in line %d", wrong.text,
                        wrong.line);
    const int r = q3n_schema_grammar(out, schema, err);
    json_decref(schema);
    return r;
}
/* NOLINTEND(misc-no-recursion) */
