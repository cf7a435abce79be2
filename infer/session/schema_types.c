/* schema_types.c - strings, arrays, literal values, and what JSON has without a schema;
 * see schema.h. */
#include "schema_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): a rule is made once; texts part once a level, and
 * there are SCHEMA_ENUM at most */

/* ==== JSON itself ========================================================= */

#define HEX "[0-9a-fA-F]"

/* A pair of surrogates stands for a character; one alone does not, and neither does NUL.
 */
static const char character[] =
    "[^\"\\\\\\x00-\\x1f]|\\\\([\"\\\\/bfnrt]|u(0(0(0[1-9a-fA-F]|[1-9a-fA-F]" HEX
    ")|[1-9a-fA-F]" HEX "{2})|[1-9a-cA-CefEF]" HEX "{3}|[dD][0-7]" HEX
    "{2}|[dD][89abAB]" HEX "{2}\\\\u[dD][c-fC-F]" HEX "{2}))";
static const char space[] = " ?|\\n{1,2}[ \\t]{0,20}";
static const char integer[] = "-?(0|[1-9][0-9]{0,15})";
static const char number[] =
    "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,16})?([eE][-+]?(0|[1-9][0-9]?))?";

/* These are correct, so that nothing but room can be missing. */
static uint32_t pattern(struct schema *s, const char *text, uint32_t next)
{
    uint32_t start;
    const int r = pattern_compile(s->g, text, PATTERN_TEXT, next, &start, s->err);
    if (r && !s->failed) s->failed = r;
    return start;
}

/* [ item, item ] or { "key": item, ... } of any values. */
static uint32_t any_list(struct schema *s, bool object)
{
    q3n_grammar *g = s->g;
    const uint32_t end = grammar_text(g, object ? "}" : "]", 1, GRAMMAR_END);
    const uint32_t more = grammar_loop(g);
    uint32_t item = schema_call(s, RULE_VALUE, schema_call(s, RULE_SPACE, more));
    if (object) {
        item = grammar_text(g, ":", 1, schema_call(s, RULE_SPACE, item));
        item = schema_call(s, RULE_STRING, schema_call(s, RULE_SPACE, item));
    }
    grammar_set_loop(g, more, grammar_text(g, ",", 1, schema_call(s, RULE_SPACE, item)),
                     end);
    const uint32_t first = schema_call(s, RULE_SPACE, grammar_either(g, item, end));
    return grammar_text(g, object ? "{" : "[", 1, first);
}

static uint32_t any_value(struct schema *s)
{
    q3n_grammar *g = s->g;
    uint32_t v = schema_call(s, RULE_OBJECT, GRAMMAR_END);
    v = grammar_either(g, v, schema_call(s, RULE_ARRAY, GRAMMAR_END));
    v = grammar_either(g, v, schema_call(s, RULE_STRING, GRAMMAR_END));
    v = grammar_either(g, v, schema_call(s, RULE_NUMBER, GRAMMAR_END));
    return grammar_either(g, v, pattern(s, "true|false|null", GRAMMAR_END));
}

/* `least` to `most` characters and the quote behind them; most < 0: no limit. */
static uint32_t characters(struct schema *s, int least, int most, uint32_t next)
{
    q3n_grammar *g = s->g;
    const uint32_t quote = grammar_text(g, "\"", 1, next);
    uint32_t at = quote;
    if (most < 0) {
        at = grammar_loop(g);
        grammar_set_loop(g, at, schema_call(s, RULE_CHAR, at), quote);
    }
    for (int i = least; i < most && grammar_has_room(g); i++)
        at = grammar_either(g, schema_call(s, RULE_CHAR, at), quote);
    for (int i = 0; i < least && grammar_has_room(g); i++)
        at = schema_call(s, RULE_CHAR, at);
    return at;
}

static uint32_t any_string(struct schema *s)
{
    return grammar_text(s->g, "\"", 1, characters(s, 0, -1, GRAMMAR_END));
}

static uint32_t make_rule(struct schema *s, enum schema_rule rule)
{
    switch (rule) {
    case RULE_SPACE: return pattern(s, space, GRAMMAR_END);
    case RULE_CHAR: return pattern(s, character, GRAMMAR_END);
    case RULE_STRING: return any_string(s);
    case RULE_NUMBER: return pattern(s, number, GRAMMAR_END);
    case RULE_INTEGER: return pattern(s, integer, GRAMMAR_END);
    case RULE_OBJECT: return any_list(s, true);
    case RULE_ARRAY: return any_list(s, false);
    default: return any_value(s);
    }
}

uint32_t schema_call(struct schema *s, enum schema_rule rule, uint32_t next)
{
    if (!s->has_rule[rule]) {
        s->has_rule[rule] = true;
        s->rules[rule] = grammar_rule(s->g);
        grammar_set_rule(s->g, s->rules[rule], make_rule(s, rule));
    }
    return grammar_call(s->g, s->rules[rule], next);
}

/* ==== Strings ============================================================= */

#define DATE   "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
#define TIME   "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?"
#define OFFSET "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE   "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define LABEL  "[0-9A-Za-z]([-0-9A-Za-z]{0,61}[0-9A-Za-z])?"

/* RFC 3339 for dates and times, RFC 4122, RFC 1123; an email address without quotes. */
static const char *format_pattern(const char *format)
{
    static const char *const all[][2] = {
        { "date", "^" DATE "$" },
        { "time", "^" TIME OFFSET "$" },
        { "date-time", "^" DATE "T" TIME OFFSET "$" },
        { "duration", "^P([0-9]{1,9}W|([0-9]{1,9}Y)?([0-9]{1,9}M)?[0-9]{1,9}D|"
                      "([0-9]{1,9}D)?T([0-9]{1,9}H)?([0-9]{1,9}M)?[0-9]{1,9}S)$" },
        { "uuid", "^" HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}$" },
        { "ipv4", "^" BYTE "\\." BYTE "\\." BYTE "\\." BYTE "$" },
        { "hostname", "^" LABEL "(\\." LABEL "){0,3}$" },
        { "email", "^[-_0-9A-Za-z+]{1,32}(\\.[-_0-9A-Za-z+]{1,32}){0,2}@" LABEL
                   "(\\." LABEL "){1,3}$" },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(format, all[i][0])) return all[i][1];
    return NULL;
}

static uint32_t patterned(struct schema *s, const char *text, uint32_t next)
{
    uint32_t start;
    ggf_error why = { 0 };
    const uint32_t quote = grammar_text(s->g, "\"", 1, next);
    if (pattern_compile(s->g, text, PATTERN_JSON, quote, &start, &why))
        return schema_fail(s, "%s", why.message);
    return grammar_text(s->g, "\"", 1, start);
}

uint32_t schema_string(struct schema *s, const json_t *schema, uint32_t next)
{
    const json_t *pattern_of = json_object_get(schema, "pattern"),
                 *format = json_object_get(schema, "format");
    const bool counted =
        json_object_get(schema, "minLength") || json_object_get(schema, "maxLength");
    if ((pattern_of != NULL) + (format != NULL) + counted > 1)
        return schema_fail(s, "pattern, format and lengths go only one by one");
    if (pattern_of) {
        if (!json_is_string(pattern_of))
            return schema_fail(s, "pattern must be a string");
        return patterned(s, json_string_value(pattern_of), next);
    }
    if (format) {
        const char *name = json_is_string(format) ? json_string_value(format) : "";
        const char *text = format_pattern(name);
        if (!text) return schema_fail(s, "format '%.40s' is not supported", name);
        return patterned(s, text, next);
    }
    if (!counted) return schema_call(s, RULE_STRING, next);
    const int least = schema_count(s, schema, "minLength", 0);
    const int most = schema_count(s, schema, "maxLength", -1);
    if (most >= 0 && most < least)
        return schema_fail(s, "maxLength is less than minLength");
    return grammar_text(s->g, "\"", 1, characters(s, least, most, next));
}

/* ==== Literal values ====================================================== */

char *schema_literal(const json_t *value)
{
    /* The fewest digits that give the same numbers back. */
    for (size_t digits = 15; digits <= 17; digits++) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY |
                                           JSON_REAL_PRECISION(digits));
        json_t *back =
            text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        const bool same = !text || json_equal(value, back) || digits == 17;
        json_decref(back);
        if (same) return text;
        free(text);
    }
    return NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Texts that agree in `at` bytes, in order.  What they have in common is one way; behind
 * it they part. */
static uint32_t parting(struct schema *s, const char *const *texts, size_t n, size_t at,
                        uint32_t next)
{
    size_t end = at;
    while (texts[0][end] && texts[0][end] == texts[n - 1][end]) end++;
    uint32_t start = GRAMMAR_NONE;
    if (texts[0][end] == texts[n - 1][end]) {
        start = next; /* all are the same text */
    } else {
        for (size_t i = n, k; i > 0; i = k) {
            for (k = i - 1; k > 0 && texts[k - 1][end] == texts[i - 1][end];) k--;
            const uint32_t branch =
                texts[k][end] ? parting(s, texts + k, i - k, end, next) : next;
            start = grammar_either(s->g, branch, start);
        }
    }
    return grammar_text(s->g, texts[0] + at, end - at, start);
}

uint32_t schema_one_of(struct schema *s, const char **texts, size_t n, uint32_t next)
{
    if (!n) return GRAMMAR_NONE;
    qsort(texts, n, sizeof *texts, by_bytes);
    return parting(s, texts, n, 0, next);
}

/* ==== Arrays ============================================================== */

/* What stands at place i. */
static uint32_t item_at(struct schema *s, const json_t *schema, size_t i, uint32_t next)
{
    const json_t *first = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items");
    char place[24];
    snprintf(place, sizeof place, "%zu", i);
    if (i < json_array_size(first))
        return schema_value_at(s, "prefixItems", place, json_array_get(first, i), next);
    if (!items) return schema_call(s, RULE_VALUE, next);
    return schema_value_at(s, "items", NULL, items, next);
}

/* The item as a rule of its own, to be called many times. */
static uint32_t item_rule(struct schema *s, const json_t *schema, size_t i)
{
    const uint32_t rule = grammar_rule(s->g);
    grammar_set_rule(s->g, rule, item_at(s, schema, i, GRAMMAR_END));
    return rule;
}

struct bounds {
    int least, most; /* items; most < 0: no limit */
    size_t n_first;
};

static bool array_bounds(struct schema *s, const json_t *schema, struct bounds *b)
{
    const json_t *first = json_object_get(schema, "prefixItems");
    const json_t *items = json_object_get(schema, "items");
    b->n_first = json_array_size(first);
    const bool closed = first && (!items || json_is_false(items));
    const int n_first = (int)b->n_first;
    if ((first && !json_is_array(first)) || b->n_first > SCHEMA_BRANCHES)
        schema_fail(s, "prefixItems must be a list of at most %d schemas",
                    SCHEMA_BRANCHES);
    b->least = schema_count(s, schema, "minItems", n_first);
    b->most = schema_count(s, schema, "maxItems", closed ? n_first : -1);
    if (closed && b->most > n_first) b->most = n_first;
    if (b->most >= 0 && !json_object_get(schema, "minItems") && b->least > b->most)
        b->least = b->most;
    if (b->most >= 0 && b->most < b->least)
        schema_fail(s, "minItems asks for more items than there may be");
    return !s->failed;
}

/* From the last place to the first.  `before` is where item i has to start, the comma
 * included if there is one before. */
uint32_t schema_array(struct schema *s, const json_t *schema, uint32_t next)
{
    q3n_grammar *g = s->g;
    struct bounds b;
    if (!array_bounds(s, schema, &b)) return GRAMMAR_NONE;
    const uint32_t end = grammar_text(g, "]", 1, next);
    const int n_first = (int)b.n_first;
    const int n = b.most >= 0 ? b.most : b.least > n_first ? b.least : n_first;
    const bool repeated = n > n_first || b.most < 0;
    const uint32_t rule = repeated ? item_rule(s, schema, b.n_first) : 0;
    uint32_t after = end; /* what follows an item and its space */
    if (b.most < 0) {
        after = grammar_loop(g);
        const uint32_t item = grammar_call(g, rule, schema_call(s, RULE_SPACE, after));
        grammar_set_loop(g, after,
                         grammar_text(g, ",", 1, schema_call(s, RULE_SPACE, item)), end);
        /* Without a limit and with nothing before, the first item has no comma. */
        if (!n)
            return grammar_text(g, "[", 1,
                                schema_call(s, RULE_SPACE, grammar_either(g, item, end)));
    }
    uint32_t item = GRAMMAR_NONE;
    for (int i = n; i-- > 0 && grammar_has_room(g);) {
        const uint32_t then = schema_call(s, RULE_SPACE, after);
        item = i < n_first ? item_at(s, schema, (size_t)i, then)
                           : grammar_call(g, rule, then);
        if (i) after = grammar_text(g, ",", 1, schema_call(s, RULE_SPACE, item));
        if (i && i >= b.least) after = grammar_either(g, after, end);
    }
    if (!n || b.least == 0) item = grammar_either(g, item, end);
    return grammar_text(g, "[", 1, schema_call(s, RULE_SPACE, item));
}
/* NOLINTEND(misc-no-recursion) */
