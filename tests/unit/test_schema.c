/* test_schema.c - random walks through the grammars of schemas: each ends, is JSON, and
 * satisfies the schema by a validator that knows nothing of grammars.  And what must be
 * refused is refused by name. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "../../infer/session/matcher.h"
#include "../../infer/session/schema.h"
#include "../../infer/splitmix.h"
#include "../mask.h"
#include "suite.h"
#include "vocab_trie.h"

#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed;

/* ==== The validator ======================================================= */

static const json_t *whole; /* the schema that "#" is */

static bool valid(const json_t *v, const json_t *schema);

static const json_t *get(const json_t *schema, const char *key)
{
    return json_object_get(schema, key);
}

static bool has_type(const json_t *v, const char *t)
{
    if (!strcmp(t, "object")) return json_is_object(v);
    if (!strcmp(t, "array")) return json_is_array(v);
    if (!strcmp(t, "string")) return json_is_string(v);
    if (!strcmp(t, "number")) return json_is_number(v);
    if (!strcmp(t, "null")) return json_is_null(v);
    if (!strcmp(t, "boolean")) return json_is_boolean(v);
    return json_is_integer(v) ||
           (json_is_real(v) && json_real_value(v) == floor(json_real_value(v)));
}

static bool valid_type(const json_t *v, const json_t *type)
{
    bool ok = !type;
    if (json_is_string(type)) ok = has_type(v, json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++)
        ok |= has_type(v, json_string_value(json_array_get(type, i)));
    return ok;
}

/* NOLINTBEGIN(misc-no-recursion): as deep as the values of these tests */
static bool valid_object(const json_t *v, const json_t *s)
{
    const char *key;
    json_t *value;
    if (!json_is_object(v)) return true;
    json_object_foreach((json_t *)v, key, value)
    {
        const json_t *known = get(get(s, "properties"), key);
        const json_t *other = get(s, "additionalProperties");
        if (known && !valid(value, known)) return false;
        if (!known && other && !valid(value, other)) return false;
    }
    for (size_t i = 0; i < json_array_size(get(s, "required")); i++)
        if (!get(v, json_string_value(json_array_get(get(s, "required"), i))))
            return false;
    return true;
}

static bool in_bounds(const json_t *s, const char *least, const char *most, double x)
{
    return !(get(s, least) && x < json_number_value(get(s, least))) &&
           !(get(s, most) && x > json_number_value(get(s, most)));
}

static bool valid_array(const json_t *v, const json_t *s)
{
    const json_t *first = get(s, "prefixItems");
    if (!json_is_array(v)) return true;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *item =
            i < json_array_size(first) ? json_array_get(first, i) : get(s, "items");
        if (item && !valid(json_array_get(v, i), item)) return false;
    }
    return in_bounds(s, "minItems", "maxItems", (double)json_array_size(v));
}

static bool valid_number(const json_t *v, const json_t *s)
{
    const double x = json_number_value(v);
    const json_t *lo = get(s, "exclusiveMinimum"), *hi = get(s, "exclusiveMaximum");
    return !json_is_number(v) ||
           (in_bounds(s, "minimum", "maximum", x) &&
            !(lo && x <= json_number_value(lo)) && !(hi && x >= json_number_value(hi)));
}

static bool matches(const char *text, size_t len, const char *pattern)
{
    int error;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_DOLLAR_ENDONLY, &error, &at, NULL);
    ck_assert_msg(re != NULL, "%s", pattern);
    pcre2_match_data *m = pcre2_match_data_create_from_pattern(re, NULL);
    const int r = pcre2_match(re, (PCRE2_SPTR)text, len, 0, 0, m, NULL);
    pcre2_match_data_free(m);
    pcre2_code_free(re);
    return r >= 0;
}

static bool valid_string(const json_t *v, const json_t *s)
{
    size_t chars = 0;
    if (!json_is_string(v)) return true;
    const char *text = json_string_value(v);
    for (size_t i = 0; i < json_string_length(v); i++) chars += (text[i] & 0xc0) != 0x80;
    return in_bounds(s, "minLength", "maxLength", (double)chars) &&
           (!get(s, "pattern") ||
            matches(text, json_string_length(v), json_string_value(get(s, "pattern"))));
}

static bool valid_choice(const json_t *v, const json_t *s)
{
    static const char *const keys[] = { "anyOf", "oneOf", "allOf" };
    bool listed = !get(s, "enum");
    for (size_t i = 0; i < json_array_size(get(s, "enum")); i++)
        listed |= json_equal(v, json_array_get(get(s, "enum"), i));
    if (!listed || (get(s, "const") && !json_equal(v, get(s, "const")))) return false;
    for (int k = 0; k < 3; k++) {
        const json_t *list = get(s, keys[k]);
        size_t fit = 0;
        for (size_t i = 0; i < json_array_size(list); i++)
            fit += valid(v, json_array_get(list, i));
        if (list && (k == 2 ? fit < json_array_size(list) : !fit)) return false;
    }
    return true;
}

static const json_t *target(const char *ref)
{
    const json_t *at = whole;
    char name[64];
    for (ref++; *ref; ref += strlen(name)) {
        ck_assert(sscanf(++ref, "%63[^/]", name) == 1);
        at = get(at, name);
    }
    return at;
}

static bool valid(const json_t *v, const json_t *s)
{
    if (json_is_boolean(s)) return json_is_true(s);
    if (get(s, "$ref") && !valid(v, target(json_string_value(get(s, "$ref")))))
        return false;
    return valid_type(v, get(s, "type")) && valid_choice(v, s) && valid_object(v, s) &&
           valid_array(v, s) && valid_string(v, s) && valid_number(v, s);
}
/* NOLINTEND(misc-no-recursion) */

/* ==== Walks =============================================================== */

enum { MOST_TEXT = 60000 };

static q3n_grammar *grammar_of(const char *schema)
{
    q3n_grammar *g;
    ggf_error err;
    ck_assert_msg(!q3n_schema_parse(&g, schema, strlen(schema), &err), "%s: %s", schema,
                  err.message);
    return g;
}

/* A token that the mask allows, any of them; or, to come to an end, the first of those
 * that close something. */
static int32_t choose(const uint32_t *mask, bool closing)
{
    static const char ends[] = "\"}],:0123456789.-enrusaltf";
    if (has_bit(mask, 258) && (closing || splitmix_below(&seed, 4) == 0)) return 258;
    closing = closing && splitmix_below(&seed, 3);
    for (const char *c = ends; closing && *c; c++)
        if (has_bit(mask, (uint8_t)*c)) return (uint8_t)*c;
    if (splitmix_below(&seed, 3) == 0) {
        const uint32_t c = (uint8_t)ends[splitmix_below(&seed, 16)];
        if (has_bit(mask, c)) return (int32_t)c;
    }
    for (uint32_t i = splitmix_below(&seed, 261), n = 0; n < 261; n++, i = (i + 1) % 261)
        if (has_bit(mask, i)) return (int32_t)i;
    return -1;
}

/* From the beginning to the end of a reply. */
static size_t walk(q3n_matcher *m, char *text, size_t open_for)
{
    size_t len = 0;
    q3n_matcher_reset(m);
    for (;;) {
        const uint32_t *mask = q3n_matcher_mask(m);
        ck_assert_ptr_nonnull(mask);
        ck_assert_int_eq(has_bit(mask, 258), q3n_matcher_done(m));
        const int32_t id = choose(mask, len > open_for);
        ck_assert_msg(id >= 0, "nothing may follow %.*s", (int)len, text);
        if (id == 258) break;
        const struct ggf_str token = q3n_token_text(tokenizer, id);
        ck_assert(len + token.len < MOST_TEXT);
        ck_assert(q3n_matcher_push(m, token.data, token.len));
        memcpy(text + len, token.data, token.len);
        len += token.len;
    }
    text[len] = 0;
    return len;
}

static void check_walks(const char *schema, int rounds)
{
    static char text[MOST_TEXT + 1];
    json_t *const tree = json_loads(schema, JSON_DECODE_ANY, NULL);
    q3n_grammar *g = grammar_of(schema);
    q3n_matcher *m;
    whole = tree;
    ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
    for (int i = 0; i < rounds; i++) {
        json_error_t wrong;
        const size_t len = walk(m, text, splitmix_below(&seed, 300));
        json_t *value = json_loadb(text, len, JSON_DECODE_ANY, &wrong);
        ck_assert_msg(value != NULL, "%s\n%s: %s", schema, text, wrong.text);
        ck_assert_msg(valid(value, tree), "%s\n%s", schema, text);
        json_decref(value);
    }
    q3n_matcher_free(m);
    q3n_grammar_free(g);
    json_decref(tree);
}

static const char *const schemas[] = {
    "{}",
    "true",
    "{\"type\":\"object\"}",
    "{\"type\":[\"string\",\"null\",\"boolean\"]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
    "\"string\"},\"c\":{}},\"required\":[\"b\"]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"ab\\\"\":{"
    "\"type\":"
    "\"string\"},\"\\u00e4x\":{\"const\":1},\"\":{\"const\":[1,{\"x\":0.1}]}},"
    "\"additionalProperties\":{\"type\":\"null\"}}",
    "{\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\",\"z\"],"
    "\"additionalProperties\":true}",
    "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}",
    "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
    "{\"type\":\"array\"}",
    "{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":2,\"maxItems\":5}",
    "{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":3}",
    "{\"items\":{\"type\":\"integer\"},\"maxItems\":2}",
    "{\"items\":{\"type\":\"integer\"},\"maxItems\":0}",
    "{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}",
    "{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"minItems\":0}",
    "{\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}}",
    "{\"prefixItems\":[{\"const\":1}],\"items\":{\"const\":3},\"minItems\":0,"
    "\"maxItems\":4}",
    "{\"type\":\"string\",\"minLength\":3,\"maxLength\":6}",
    "{\"type\":\"string\",\"minLength\":3}",
    "{\"type\":\"string\",\"maxLength\":0}",
    "{\"type\":\"string\",\"pattern\":\"^[a-c]{2,4}(x|yz)?$\"}",
    "{\"type\":\"string\",\"pattern\":\"b+\"}",
    "{\"type\":\"string\",\"pattern\":\"^\\\\d{3}-[^0-9\\\"\\\\\\\\]\\\\w$|^\\\\t\\\\x41"
    "[\\\\n-\\\\r]$\"}",
    "{\"type\":\"string\",\"pattern\":\"^(a|[\\u00df-\\u20ac]|\\\\.)*?[\\\\s]$\"}",
    "{\"enum\":[\"red\",\"green\",\"re\",1,1.5,-0.1,null,true,[1],{\"a\":[]},\"\\n\"]}",
    "{\"type\":\"string\",\"enum\":[\"a\",1,\"ab\",\"abc\",\"b\"]}",
    "{\"const\":{\"k\":\"v\\\\\"}}",
    "{\"const\":null}",
    "{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"array\",\"items\":{\"type\":"
    "\"string\"}}]}",
    "{\"oneOf\":[{\"properties\":{\"t\":{\"const\":\"a\"},\"x\":{\"type\":\"integer\"}},"
    "\"required\":[\"t\",\"x\"]},{\"properties\":{\"t\":{\"const\":\"b\"}},\"required\":"
    "[\"t\"]}]}",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":"
    "\"integer\"}},\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
    "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"number\",\"minimum\":3}}},{"
    "\"properties\":"
    "{\"a\":{\"type\":\"integer\",\"maximum\":12},\"b\":{\"type\":\"null\"}},"
    "\"required\":"
    "[\"a\"]}]}",
    "{\"$ref\":\"#/$defs/tree\",\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{"
    "\"v\":{\"type\":\"integer\"},\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":"
    "\"#/$defs/tree\"}}},\"required\":[\"v\"]}}}",
    "{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}]}",
    "{\"$defs\":{\"p\":{\"type\":\"integer\",\"minimum\":1}},\"$ref\":\"#/$defs/p\","
    "\"maximum\":4}",
    "{\"type\":\"integer\"}",
    "{\"type\":\"number\"}",
    "{\"type\":\"integer\",\"minimum\":0}",
    "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":12}",
    "{\"type\":\"integer\",\"minimum\":98,\"exclusiveMaximum\":1002}",
    "{\"type\":\"integer\",\"maximum\":-17}",
    "{\"type\":\"integer\",\"exclusiveMinimum\":-1230,\"maximum\":-1045}",
    "{\"type\":\"integer\",\"minimum\":7,\"maximum\":7}",
    "{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":2.5}",
    "{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
    "{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}",
    "{\"type\":\"number\",\"minimum\":-0.25,\"maximum\":31.75}",
    "{\"type\":\"number\",\"exclusiveMinimum\":-2.5,\"maximum\":-1.125}",
    "{\"minimum\":1e3,\"maximum\":1.5e3}",
    "{\"title\":\"t\",\"type\":\"boolean\",\"default\":true,\"uniqueItems\":false}",
};
enum { N_SCHEMAS = sizeof schemas / sizeof *schemas };

START_TEST(walks)
{
    seed = 100 + (uint64_t)_i;
    make_trie();
    check_walks(schemas[_i], 60);
    free_trie();
}
END_TEST

START_TEST(formats)
{
    static const char *const forms[][2] = {
        { "date", "^\\d{4}-\\d\\d-\\d\\d$" },
        { "time", "^\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[-+]\\d\\d:\\d\\d)$" },
        { "date-time",
          "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[-+]\\d\\d:\\d\\d)$" },
        { "duration", "^P(\\d+W|(\\d+Y)?(\\d+M)?(\\d+D)?(T(\\d+H)?(\\d+M)?(\\d+S)?)?)$" },
        { "uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$" },
        { "ipv4", "^(\\d{1,3}\\.){3}\\d{1,3}$" },
        { "hostname", "^[-0-9A-Za-z.]+$" },
        { "email", "^[^@ \"]+@[^@ \"]+\\.[^@ \"]+$" },
    };
    char schema[100], text[MOST_TEXT + 1];
    seed = 5;
    make_trie();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        q3n_matcher *m;
        snprintf(schema, sizeof schema, "{\"type\":\"string\",\"format\":\"%s\"}",
                 forms[i][0]);
        q3n_grammar *g = grammar_of(schema);
        ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
        for (int round = 0; round < 40; round++) {
            const size_t len = walk(m, text, 50);
            ck_assert_msg(matches(text + 1, len - 2, forms[i][1]), "%s: %s", forms[i][0],
                          text);
        }
        q3n_matcher_free(m);
        q3n_grammar_free(g);
    }
    free_trie();
}
END_TEST

/* ==== What is in, and what is out ========================================= */

static bool accepts(const char *schema, const char *text)
{
    q3n_grammar *g = grammar_of(schema);
    q3n_matcher *m;
    ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
    const bool ok = q3n_matcher_push(m, text, strlen(text)) && q3n_matcher_done(m);
    q3n_matcher_free(m);
    q3n_grammar_free(g);
    return ok;
}

START_TEST(texts)
{
    static const struct {
        const char *schema, *text;
        bool in;
    } cases[] = {
        { "{}", "{ \"a\" : [1, 2.5e-3, \"\\u00e9\\ud83d\\ude00\"] ,\n\t\"b\":{}}", true },
        { "{}", " 1", false },
        { "{}", "1 ", false },
        { "{}", "\"\\ud83d\"", false },
        { "{}", "\"\\u0000\"", false },
        { "{}", "\"\x80\"", false },
        { "{}", "01", false },
        { "{}", "[1,]", false },
        { "{}", "[1   ,2]", false },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{\"a\":1,\"b\":2}", true },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{\"b\":2,\"a\":1}", false },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{\"b\":2}", true },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{}", true },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{,\"b\":2}", false },
        { "{\"properties\":{\"a\":{},\"b\":{}}}", "{\"c\":2}", false },
        { "{\"properties\":{\"ab\":{\"const\":1}},\"additionalProperties\":true}",
          "{\"ab\":1,\"abc\":2,\"a\":3,\"\":4,\"\xc3\xa4\":5,\"x\\u0061\":6}", true },
        { "{\"properties\":{\"ab\":{\"const\":1}},\"additionalProperties\":true}",
          "{\"ab\":2}", false },
        { "{\"properties\":{\"ab\":{\"const\":1}},\"additionalProperties\":true}",
          "{\"a\\u0062\":2}", false },
        { "{\"properties\":{\"\xc3\xa4\":{\"const\":1}},\"additionalProperties\":true}",
          "{\"\xc3\xa4\xc3\xa4\":2}", true },
        { "{\"properties\":{\"\xc3\xa4\":{\"const\":1}},\"additionalProperties\":true}",
          "{\"\xc3\xa4\":2}", false },
        { "{\"type\":\"number\",\"minimum\":0.5}", "0.5", true },
        { "{\"type\":\"number\",\"minimum\":0.5}", "0.50", true },
        { "{\"type\":\"number\",\"minimum\":0.5}", "0.49", false },
        { "{\"type\":\"number\",\"minimum\":0.5}", "10", true },
        { "{\"type\":\"number\",\"exclusiveMinimum\":0.5}", "0.50", false },
        { "{\"type\":\"number\",\"exclusiveMinimum\":0.5}", "0.501", true },
        { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":345}", "-12", true },
        { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":345}", "-13", false },
        { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":345}", "345", true },
        { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":345}", "346", false },
        { "{\"type\":\"integer\",\"minimum\":-12,\"maximum\":345}", "0", true },
        { "{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"integer\"}]}", "12", true },
        { "{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"integer\"}]}", "\"\"", false },
        { "{\"const\":0.1}", "0.1", true },
        { "{\"type\":\"string\",\"pattern\":\"^\\\"$\"}", "\"\\\"\"", true },
        { "{\"type\":\"string\",\"pattern\":\"a\"}", "\"xa\\n\"", true },
        { "{\"type\":\"string\",\"maxLength\":2}", "\"\xf0\x9f\x98\x80\\u00e9\"", true },
        { "{\"type\":\"string\",\"maxLength\":2}", "\"abc\"", false },
    };
    make_trie();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(accepts(cases[i].schema, cases[i].text) == cases[i].in, "%s: %s",
                      cases[i].schema, cases[i].text);
    free_trie();
}
END_TEST

/* Every integer of a range and no other, for many ranges. */
START_TEST(integer_ranges)
{
    seed = 9;
    make_trie();
    for (int round = 0; round < 60; round++) {
        const int lo = (int)splitmix_below(&seed, 3000) - 1500;
        const int hi = lo + (int)splitmix_below(&seed, 400);
        char schema[100], text[16];
        snprintf(schema, sizeof schema,
                 "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", lo, hi);
        q3n_grammar *g = grammar_of(schema);
        q3n_matcher *m;
        ck_assert(!q3n_matcher_new(&m, g, trie, NULL));
        for (int i = lo - 150; i <= hi + 150; i++) {
            snprintf(text, sizeof text, "%d", i);
            q3n_matcher_reset(m);
            const bool in =
                q3n_matcher_push(m, text, strlen(text)) && q3n_matcher_done(m);
            ck_assert_msg(in == (i >= lo && i <= hi), "%d in %d to %d", i, lo, hi);
        }
        q3n_matcher_free(m);
        q3n_grammar_free(g);
    }
    free_trie();
}
END_TEST

/* ==== What is refused ===================================================== */

START_TEST(refused)
{
    static const struct {
        const char *schema, *says;
    } cases[] = {
        { "{", "not JSON" },
        { "1", "must be an object" },
        { "false", "no text" },
        { "{\"not\":{}}", "'not' is not supported" },
        { "{\"properties\":{\"a\":{\"multipleOf\":2}}}", "#/properties/a: 'multipleOf'" },
        { "{\"items\":{\"if\":{}}}", "#/items: 'if'" },
        { "{\"type\":\"strnig\"}", "no type 'strnig'" },
        { "{\"type\":[]}", "type must be" },
        { "{\"type\":5}", "type must be" },
        { "{\"$ref\":\"http://x/y\"}", "only places" },
        { "{\"$ref\":\"#/$defs/x\"}", "no such place" },
        { "{\"$ref\":\"#\"}", "no text" },
        { "{\"anyOf\":[{\"$ref\":\"#\"}]}", "no text" },
        { "{\"allOf\":[{\"$ref\":\"#\"}]}", "circle" },
        { "{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"n\":{\"$ref\":\"#/"
          "$defs/n\""
          "}},\"required\":[\"n\"]}},\"$ref\":\"#/$defs/n\"}",
          "no text" },
        { "{\"allOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "'type'" },
        { "{\"allOf\":[{\"properties\":{\"a\":{}},\"additionalProperties\":false},"
          "{\"properties\":{\"b\":{}}}]}",
          "forbids" },
        { "{\"enum\":[]}", "enum must be" },
        { "{\"enum\":[1],\"minimum\":0}", "enum goes with" },
        { "{\"enum\":[1],\"type\":\"string\"}", "no text" },
        { "{\"const\":1,\"minLength\":2}", "const goes with" },
        { "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"b\"]}",
          "'b' is required" },
        { "{\"required\":\"a\"}", "required must be" },
        { "{\"properties\":[]}", "properties must be" },
        { "{\"minItems\":3,\"maxItems\":2}", "minItems asks" },
        { "{\"minItems\":-1}", "minItems must be" },
        { "{\"maxLength\":1e9}", "maxLength must be" },
        { "{\"minLength\":3,\"maxLength\":2}", "maxLength is less" },
        { "{\"prefixItems\":[{\"minLength\":100000},{\"minLength\":100000},{"
          "\"minLength\":"
          "100000},{\"minLength\":100000},{\"minLength\":100000}]}",
          "more than fits" },
        { "{\"format\":\"ipv6\"}", "format 'ipv6'" },
        { "{\"format\":\"date\",\"pattern\":\"a\"}", "one by one" },
        { "{\"pattern\":\"(?=a)\"}", "group" },
        { "{\"pattern\":\"a\\\\b\"}", "escape" },
        { "{\"pattern\":\"(a\"}", "')' is missing" },
        { "{\"pattern\":\"a)\"}", "')' without" },
        { "{\"pattern\":\"[a\"}", "']' is missing" },
        { "{\"pattern\":\"a^b\"}", "anchor" },
        { "{\"pattern\":\"*\"}", "nothing to repeat" },
        { "{\"pattern\":\"a{3,2}\"}", "'{m,n}'" },
        { "{\"pattern\":\"(a{1000}){1000}\"}", "more than fits" },
        { "{\"pattern\":\"((((){10000}){10000}){10000}){10000}\"}", "more than fits" },
        { "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "no number" },
        { "{\"type\":\"integer\",\"exclusiveMinimum\":5,\"exclusiveMaximum\":6}", "no " },
        { "{\"minimum\":\"a\"}", "minimum must be" },
        { "{\"minimum\":1e30}", "more than 16 digits" },
        { "{\"exclusiveMinimum\":true,\"minimum\":1}", "exclusiveMinimum must be" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        q3n_grammar *g;
        ggf_error err;
        const int r =
            q3n_schema_parse(&g, cases[i].schema, strlen(cases[i].schema), &err);
        ck_assert_msg(r == GGF_E_ARG, "%s: %d", cases[i].schema, r);
        ck_assert_msg(strstr(err.message, cases[i].says) != NULL, "%s: %s",
                      cases[i].schema, err.message);
        ck_assert_ptr_null(g);
    }
}
END_TEST

/* Schemas in schemas, and lists without end. */
START_TEST(refused_for_size)
{
    enum { DEEP = 500, WIDE = 12000 };
    static char text[WIDE * 16];
    q3n_grammar *g;
    ggf_error err;
    size_t n = 0;
    for (int i = 0; i < DEEP; i++) n += (size_t)sprintf(text + n, "{\"items\":");
    n += (size_t)sprintf(text + n, "{}");
    for (int i = 0; i < DEEP; i++) text[n++] = '}';
    ck_assert_int_eq(q3n_schema_parse(&g, text, n, &err), GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "schemas in schemas") != NULL, "%s", err.message);
    n = (size_t)sprintf(text, "{\"enum\":[0");
    for (int i = 1; i < WIDE; i++) n += (size_t)sprintf(text + n, ",%d", i);
    n += (size_t)sprintf(text + n, "]}");
    ck_assert_int_eq(q3n_schema_parse(&g, text, n, &err), GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "enum must be") != NULL, "%s", err.message);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("walks");
    tcase_add_loop_test(tc, walks, 0, N_SCHEMAS);
    tcase_add_test(tc, formats);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, integer_ranges);
    TCase *no = tcase_create("refused");
    tcase_add_test(no, refused);
    tcase_add_test(no, refused_for_size);
    return SUITE_RUN("schema", tc, no);
}
