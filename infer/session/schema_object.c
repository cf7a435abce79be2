/* schema_object.c - objects: described properties in their order, then others; see
 * schema.h. */
#include "schema_build.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as a name is long, with a limit */

struct property {
    const char *key;
    const json_t *schema;
    bool required, described;
};

struct object {
    struct property *list;
    size_t n;
    const json_t *others; /* what other properties must be; NULL: there are none */
};

/* ==== What the schema says ================================================ */

static struct property *find(const struct object *o, const char *key)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->list[i].key, key)) return &o->list[i];
    return NULL;
}

/* A required name that is not described counts as another property that must be there. */
static void read_required(struct schema *s, struct object *o, const json_t *required)
{
    if (required && !json_is_array(required)) {
        schema_fail(s, "required must be a list of names");
        return;
    }
    for (size_t i = 0; i < json_array_size(required) && !s->failed; i++) {
        const char *key = json_string_value(json_array_get(required, i));
        struct property *p = key ? find(o, key) : NULL;
        if (!key) schema_fail(s, "required must be a list of names");
        else if (p) p->required = true;
        else if (!o->others)
            schema_fail(s, "'%.60s' is required, but no property of that name is allowed",
                        key);
        else
            o->list[o->n++] =
                (struct property){ .key = key, .schema = o->others, .required = true };
    }
}

static bool read_object(struct schema *s, const json_t *schema, struct object *o)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required");
    const json_t *others = json_object_get(schema, "additionalProperties");
    const size_t most = json_object_size(properties) + json_array_size(required);
    const char *key;
    json_t *value;
    if (properties && !json_is_object(properties))
        return schema_fail(s, "properties must be an object") != GRAMMAR_NONE;
    if (most > SCHEMA_BRANCHES)
        return schema_fail(s, "more than %d properties", SCHEMA_BRANCHES) != GRAMMAR_NONE;
    o->list = calloc(most + 1, sizeof *o->list);
    if (!o->list) return schema_no_memory(s) != GRAMMAR_NONE;
    if (!others && !properties) others = json_true();
    o->others = others && !json_is_false(others) ? others : NULL;
    json_object_foreach((json_t *)properties, key, value) o->list[o->n++] =
        (struct property){ .key = key, .schema = value, .described = true };
    read_required(s, o, required);
    return !s->failed;
}

/* ==== Names of other properties =========================================== */

/* The rest of a string that is different from all names from here on. */
static uint32_t any_rest(struct schema *s, uint32_t quote)
{
    const uint32_t loop = grammar_loop(s->g);
    grammar_set_loop(s->g, loop, schema_call(s, RULE_CHAR, loop), quote);
    return loop;
}

struct other_key {
    struct schema *s;
    uint32_t quote, rest; /* after the end; the loop of any characters */
};

/* One byte of a character that none of the texts goes on with: all that are allowed in a
 * string unescaped, in full.  A character that shares its first bytes with one of a name
 * is left out, and so is a backslash while the name could still be one of those: it could
 * spell it. */
static uint32_t other_byte(const struct other_key *k, const bool taken[256])
{
    q3n_grammar *g = k->s->g;
    static const uint8_t kinds[][4] = {
        /* first byte from, to, then the second one's range; more are 80..bf */
        { 0xc2, 0xdf, 0x80, 0xbf }, { 0xe0, 0xe0, 0xa0, 0xbf },
        { 0xe1, 0xec, 0x80, 0xbf }, { 0xed, 0xed, 0x80, 0x9f },
        { 0xee, 0xef, 0x80, 0xbf }, { 0xf0, 0xf0, 0x90, 0xbf },
        { 0xf1, 0xf3, 0x80, 0xbf }, { 0xf4, 0xf4, 0x80, 0x8f },
    };
    uint32_t s = GRAMMAR_NONE;
    for (int from = 0x20, to; from < 0x80; from = to + 1) {
        const bool out = taken[from] || from == '"' || from == '\\';
        for (to = from;
             !out && to < 0x7f && !taken[to + 1] && to + 1 != '"' && to + 1 != '\\';)
            to++;
        if (!out)
            s = grammar_either(g, s,
                               grammar_byte(g, (uint8_t)from, (uint8_t)to, k->rest));
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const int more = kinds[i][0] < 0xe0 ? 0 : kinds[i][0] < 0xf0 ? 1 : 2;
        uint32_t tail = k->rest;
        for (int n = 0; n < more; n++) tail = grammar_byte(g, 0x80, 0xbf, tail);
        tail = grammar_byte(g, kinds[i][2], kinds[i][3], tail);
        for (int c = kinds[i][0]; c <= kinds[i][1]; c++)
            if (!taken[c])
                s = grammar_either(g, s, grammar_byte(g, (uint8_t)c, (uint8_t)c, tail));
    }
    return s;
}

/* n texts in order, as JSON writes them with the quote at their end, which agree in `at`
 * bytes: what is different from all, from there on. */
static uint32_t different(const struct other_key *k, const char *const *texts, size_t n,
                          size_t at, int depth)
{
    q3n_grammar *g = k->s->g;
    bool taken[256] = { false };
    uint32_t s = GRAMMAR_NONE;
    if (depth > 2000 || !grammar_has_room(g)) {
        g->too_large = true;
        return GRAMMAR_NONE;
    }
    for (size_t i = 0, end; i < n; i = end) {
        const char byte = texts[i][at];
        for (end = i; end < n && texts[end][at] == byte;) end++;
        taken[(uint8_t)byte] = true;
        if (byte == '"' && !texts[i][at + 1]) continue; /* the name itself */
        const uint32_t tail = different(k, texts + i, end - i, at + 1, depth + 1);
        s = grammar_either(g, s, grammar_byte(g, (uint8_t)byte, (uint8_t)byte, tail));
    }
    /* In the middle of a character only its own bytes can follow; after an escape only
     * the name's. */
    if ((texts[0][at] & 0xc0) == 0x80 || memchr(texts[0], '\\', at)) return s;
    if (!taken['"']) s = grammar_either(g, s, grammar_byte(g, '"', '"', k->quote));
    return grammar_either(g, s, other_byte(k, taken));
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A string that is no name of the list. */
static uint32_t other_name(struct schema *s, const struct object *o, uint32_t next)
{
    const char **texts = calloc(o->n + 1, sizeof *texts);
    uint32_t start = GRAMMAR_NONE;
    bool ok = texts != NULL;
    size_t n = 0;
    for (; n < o->n && ok; n++) {
        json_t *key = json_string(o->list[n].key);
        texts[n] = key ? schema_literal(key) : NULL;
        json_decref(key);
        ok = texts[n] != NULL;
    }
    if (ok && !n) start = schema_call(s, RULE_STRING, next);
    if (ok && n) {
        const struct other_key k = { s, next,
                                     any_rest(s, grammar_text(s->g, "\"", 1, next)) };
        qsort(texts, n, sizeof *texts, by_bytes);
        start = grammar_text(s->g, "\"", 1, different(&k, texts, n, 1, 0));
    }
    for (size_t i = 0; i < n; i++) free((char *)texts[i]);
    free(texts);
    return ok ? start : schema_no_memory(s);
}

/* ==== The object ========================================================== */

/* From behind a name on: the colon, the value, and what follows it. */
static uint32_t colon_value(struct schema *s, const struct property *p, uint32_t next)
{
    uint32_t at = schema_call(s, RULE_SPACE, next);
    if (p->described) at = schema_value_at(s, "properties", p->key, p->schema, at);
    else at = schema_value_at(s, "additionalProperties", NULL, p->schema, at);
    at = grammar_text(s->g, ":", 1, schema_call(s, RULE_SPACE, at));
    return schema_call(s, RULE_SPACE, at);
}

static uint32_t property(struct schema *s, const struct property *p, uint32_t next)
{
    json_t *key = json_string(p->key);
    char *name = key ? schema_literal(key) : NULL;
    json_decref(key);
    if (!name) return schema_no_memory(s);
    const uint32_t start =
        grammar_text(s->g, name, strlen(name), colon_value(s, p, next));
    free(name);
    return start;
}

static uint32_t comma(struct schema *s, uint32_t next)
{
    return grammar_text(s->g, ",", 1, schema_call(s, RULE_SPACE, next));
}

/* From the last property to the first: what may come if some have been written, and if
 * none has, which differ by the comma. */
static uint32_t members(struct schema *s, const struct object *o, uint32_t end)
{
    q3n_grammar *g = s->g;
    uint32_t some = end, none = end;
    if (o->others) {
        const struct property any = { .schema = o->others };
        some = grammar_loop(g);
        const uint32_t other = other_name(s, o, colon_value(s, &any, some));
        grammar_set_loop(g, some, comma(s, other), end);
        none = grammar_either(g, other, end);
    }
    for (size_t i = o->n; i-- > 0 && !s->failed && grammar_has_room(g);) {
        const struct property *p = &o->list[i];
        const uint32_t this = property(s, p, some);
        const uint32_t after = comma(s, this);
        some = p->required ? after : grammar_either(g, after, some);
        none = p->required ? this : grammar_either(g, this, none);
    }
    return none;
}

uint32_t schema_object(struct schema *s, const json_t *schema, uint32_t next)
{
    struct object o = { 0 };
    uint32_t start = GRAMMAR_NONE;
    if (read_object(s, schema, &o)) {
        if (!o.n && json_is_true(o.others)) {
            start = schema_call(s, RULE_OBJECT, next);
        } else {
            start = members(s, &o, grammar_text(s->g, "}", 1, next));
            start = grammar_text(s->g, "{", 1, schema_call(s, RULE_SPACE, start));
        }
    }
    free(o.list);
    return start;
}
/* NOLINTEND(misc-no-recursion) */
