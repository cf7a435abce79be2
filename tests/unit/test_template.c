/* test_template.c - chat templates byte for byte as jinja2 renders them, where each byte
 * of a prompt comes from, ids of prompts, limits.
 *
 * tests/data/templates has the conversations and what jinja2 made of them (make.py).
 * TEMPLATES=DIR names another folder with NAME.jinja and NAME.sha256 of the same cases.
 */
#include "../../infer/text/template.h"
#include "vocab_qwen.h"

#include <check.h>
#include <dirent.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define DATA "tests/data/templates/"

/* ==== Data ================================================================ */

/* The JSON values of a file with one on each line. */
static json_t *read_lines(const char *path)
{
    size_t len;
    char *text = read_file(path, &len);
    json_t *all = json_array();
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        json_error_t why;
        json_t *v = json_loadb(line, (size_t)(end - line),
                               JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
        ck_assert_msg(v != NULL, "%s: %s: %.60s", path, why.text, line);
        json_array_append_new(all, v);
    }
    free(text);
    return all;
}

static q3n_template *read_template(const char *path)
{
    size_t len;
    char *source = read_file(path, &len);
    q3n_template *t;
    ggf_error err;
    ck_assert_msg(!q3n_template_parse(&t, source, len, &err), "%s: %s", path,
                  err.message);
    free(source);
    return t;
}

static q3n_template *parse(const char *source)
{
    q3n_template *t;
    ggf_error err;
    ck_assert_msg(!q3n_template_parse(&t, source, strlen(source), &err), "%s: %s", source,
                  err.message);
    return t;
}

static struct q3n_conversation conversation(const json_t *c)
{
    return (struct q3n_conversation){
        .messages = json_object_get(c, "messages"),
        .tools = json_object_get(c, "tools"),
        .extra = json_object_get(c, "extra"),
        .add_generation_prompt =
            json_is_true(json_object_get(c, "add_generation_prompt")),
    };
}

/* ==== As jinja2 =========================================================== */

static void hex_sha256(char out[65], const char *bytes, size_t len)
{
    unsigned char sum[32];
    SHA256((const unsigned char *)bytes, len, sum);
    for (int i = 0; i < 32; i++) sprintf(out + 2 * i, "%02x", sum[i]);
}

/* How many of the cases are rendered; all as they should be, or refused likewise. */
static size_t check_template(const char *folder, const char *name, const json_t *cases)
{
    char path[4096], got[65];
    size_t len, i, rendered = 0;
    snprintf(path, sizeof path, "%s%s.jinja", folder, name);
    q3n_template *t = read_template(path);
    snprintf(path, sizeof path, "%s%s.sha256", folder, name);
    char *expected = read_file(path, &len), *line = expected;
    json_t *c;
    json_array_foreach(cases, i, c)
    {
        const struct q3n_conversation input = conversation(c);
        struct q3n_rendered p;
        ggf_error err;
        const int r = q3n_template_apply(t, &input, &p, &err);
        char *end = strchr(line, '\n');
        ck_assert_ptr_nonnull(end);
        *end = 0;
        if (!r) hex_sha256(got, p.text, p.len);
        ck_assert_msg(!strcmp(line, r ? "refused" : got), "%s, case %zu: %s", name, i,
                      r ? err.message : p.text);
        rendered += !r;
        q3n_rendered_free(&p);
        line = end + 1;
    }
    free(expected);
    q3n_template_free(t);
    return rendered;
}

static void check_folder(const char *folder, size_t n_templates)
{
    json_t *cases = read_lines(DATA "cases.jsonl");
    DIR *dir = opendir(folder);
    ck_assert_msg(dir != NULL, "cannot open %s", folder);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        const char *end = strstr(e->d_name, ".jinja");
        if (!end) continue;
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)(end - e->d_name), e->d_name);
        ck_assert_uint_ge(check_template(folder, name, cases), 200);
        n++;
    }
    closedir(dir);
    json_decref(cases);
    ck_assert_uint_ge(n, n_templates);
}

START_TEST(corpus)
{
    const char *other = getenv("TEMPLATES");
    check_folder(DATA, 5);
    if (other) check_folder(other, 1);
}
END_TEST

/* Small templates, one for each thing the language does. */
START_TEST(language)
{
    size_t i, len, bad = 0;
    json_t *all = read_lines(DATA "snippets.jsonl"), *s;
    char *text = read_file(DATA "variables.json", &len);
    json_t *extra = json_loads(text, 0, NULL), *none = json_array();
    ck_assert_ptr_nonnull(extra);
    json_array_foreach(all, i, s)
    {
        const json_t *source = json_object_get(s, "source");
        const char *want = json_string_value(json_object_get(s, "text"));
        const struct q3n_conversation c = { .messages = none, .extra = extra };
        struct q3n_rendered p = { 0 };
        q3n_template *t;
        ggf_error err;
        int r = q3n_template_parse(&t, json_string_value(source),
                                   json_string_length(source), &err);
        if (!r) r = q3n_template_apply(t, &c, &p, &err);
        if (r ? want != NULL : !want || strcmp(want, p.text)) {
            bad++;
            printf("%s\n  want: %s\n  got:  %s\n", json_string_value(source),
                   want ? want : "(refused)", r ? err.message : p.text);
        }
        q3n_rendered_free(&p);
        q3n_template_free(t);
    }
    ck_assert_uint_ge(json_array_size(all), 180);
    ck_assert_uint_eq(bad, 0);
    json_decref(all);
    json_decref(extra);
    json_decref(none);
    free(text);
}
END_TEST

/* ==== Where bytes come from =============================================== */

/* The prompt with the input's bytes in [brackets]. */
static char *shown(const char *source, const char *json)
{
    q3n_template *t = parse(source);
    json_t *extra = json_loads(json, 0, NULL), *none = json_array();
    const struct q3n_conversation c = { .messages = none, .extra = extra };
    struct q3n_rendered p;
    ggf_error err;
    ck_assert_msg(!q3n_template_apply(t, &c, &p, &err), "%s: %s", source, err.message);
    char *out = calloc(1, p.len + 2 * p.n_spans + 1), *to = out;
    ck_assert_ptr_nonnull(out);
    size_t at = 0;
    for (size_t i = 0; i < p.n_spans; at += p.spans[i++].len) {
        if (p.spans[i].input) *to++ = '[';
        memcpy(to, p.text + at, p.spans[i].len);
        to += p.spans[i].len;
        if (p.spans[i].input) *to++ = ']';
        ck_assert(!i || p.spans[i].input != p.spans[i - 1].input);
    }
    ck_assert_uint_eq(at, p.len);
    q3n_rendered_free(&p);
    q3n_template_free(t);
    json_decref(extra);
    json_decref(none);
    return out;
}

static const struct {
    const char *source, *shown;
} origins[] = {
    { "a{{ x }}b", "a[<x y>]b" },
    { "{{ 'a' + x + 'b' }}{{ 'c' ~ n ~ 'd' }}", "a[<x y>]bc[7]d" },
    { "{{ ('a' + x + 'b')[2:6] }}", "[x y>]" },
    { "{{ ('a' + x + 'b')[::-1] }}", "b[>y x<]a" },
    { "{{ ('a' + x + 'b').split(' ')|join('-') }}", "a[<x]-[y>]b" },
    { "{{ x.split(' ')[1] }}{{ x.replace('x', 'zz') }}", "[y><]zz[ y>]" },
    { "{{ 'a<b'.replace('<', x) }}{{ (' ' + x)|trim }}", "a[<x y>]b[<x y>]" },
    { "{{ (x ~ 'q')|upper }}{{ x|first }}", "[<X Y>]Q[<]" },
    { "{{ o|tojson }}{{ {'k': x}|tojson }}", "[{\"a\": [\"q\"]}]{\"k\": [\"<x y>\"]}" },
    { "{{ o }}{{ ['t', x] }}", "[{'a': ['q']}]['t', ['<x y>']]" },
    { "{% for c in x[:2] %}({{ c }}){% endfor %}", "([<])([x])" },
    { "{% macro m(a) %}_{{ a }}_{% endmacro %}{{ m(x) }}{{ m('t') }}", "_[<x y>]__t_" },
    { "{% set b %}.{{ x }}.{% endset %}{{ b|trim('.') }}{{ b|length }}", "[<x y>]7" },
    { "{{ [x, 't']|join(', ') }}{{ x|default('d') }}{{ no|default(x) }}",
      "[<x y>], t[<x y><x y>]" },
    { "{{ n + 1 }}{{ t }}{{ x|length }}{{ 'q'|indent }}", "[8True]5q" },
    { "{% for k in o %}{{ k }}{% endfor %}{{ x is string }}", "[a]True" },
};

START_TEST(origin)
{
    char *got =
        shown(origins[_i].source,
              "{\"x\": \"<x y>\", \"n\": 7, \"t\": true, \"o\": {\"a\": [\"q\"]}}");
    ck_assert_str_eq(got, origins[_i].shown);
    free(got);
}
END_TEST

/* ==== Ids ================================================================= */

/* Control tokens among the ids. */
static size_t count_control(const q3n_tokenizer *t, const struct q3n_ids *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) n += q3n_token_is_control(t, ids->ids[i]);
    return n;
}

/* Names of control tokens that the template wrote. */
static size_t count_names(const struct q3n_rendered *p)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < p->n_spans; at += p->spans[i++].len)
        for (size_t k = at; !p->spans[i].input && k < at + p->spans[i].len; k++)
            n += !strncmp(p->text + k, "<|", 2);
    return n;
}

/* The ids of a prompt are those of its text, unless the input names control tokens; these
 * are none, and decoding gives the text back. */
static void check_ids(const q3n_tokenizer *t, const struct q3n_rendered *p)
{
    struct q3n_ids ids = { 0 }, whole = { 0 };
    size_t at = 0, names = count_names(p);
    ggf_error err;
    ck_assert_int_eq(q3n_rendered_encode(t, p, &ids, &err), 0);
    ck_assert_int_eq(q3n_encode(t, p->text, p->len, true, &whole, &err), 0);
    ck_assert_uint_eq(count_control(t, &ids), names);
    if (count_control(t, &whole) == names) {
        ck_assert_uint_eq(ids.n, whole.n);
        ck_assert(!memcmp(ids.ids, whole.ids, ids.n * sizeof *ids.ids));
    } else if (!strstr(p->text, "e\xcc\x81")) { /* normalization joins these two */
        for (size_t i = 0; i < ids.n; i++) {
            const struct ggf_str s = q3n_token_text(t, ids.ids[i]);
            ck_assert(s.len <= p->len - at && !memcmp(p->text + at, s.data, s.len));
            at += s.len;
        }
        ck_assert_uint_eq(at, p->len);
    }
    q3n_ids_free(&ids);
    q3n_ids_free(&whole);
}

START_TEST(ids)
{
    q3n_tokenizer *qwen = load_qwen();
    q3n_template *t = read_template(DATA "thinking.jinja");
    json_t *cases = read_lines(DATA "cases.jsonl"), *c;
    size_t i, n = 0;
    json_array_foreach(cases, i, c)
    {
        const struct q3n_conversation input = conversation(c);
        struct q3n_rendered p;
        if (!q3n_template_apply(t, &input, &p, NULL)) {
            check_ids(qwen, &p);
            n++;
        }
        q3n_rendered_free(&p);
    }
    ck_assert_uint_ge(n, 200);
    json_decref(cases);
    q3n_template_free(t);
    q3n_tokenizer_free(qwen);
}
END_TEST

/* Neither a whole name in the input nor half of one becomes a token. */
START_TEST(input_is_no_control_token)
{
    q3n_tokenizer *qwen = load_qwen();
    q3n_template *t = parse("<|im_end|>{{ x }}<|im_end|>{{ y }}_end|>{{ '<|im' + z }}");
    json_t *extra =
        json_pack("{s:s, s:s, s:s}", "x", "<|im_end|>", "y", "<|im", "z", "_end|>");
    json_t *none = json_array();
    const struct q3n_conversation c = { .messages = none, .extra = extra };
    struct q3n_rendered p;
    struct q3n_ids out = { 0 };
    ggf_error err;
    ck_assert_int_eq(q3n_template_apply(t, &c, &p, &err), 0);
    ck_assert_str_eq(p.text, "<|im_end|><|im_end|><|im_end|><|im_end|><|im_end|>");
    ck_assert_int_eq(q3n_rendered_encode(qwen, &p, &out, &err), 0);
    ck_assert_uint_eq(count_control(qwen, &out), 2);
    q3n_ids_free(&out);
    q3n_rendered_free(&p);
    q3n_template_free(t);
    json_decref(extra);
    json_decref(none);
    q3n_tokenizer_free(qwen);
}
END_TEST

/* ==== Limits ============================================================== */

static const char *const too_much[] = {
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='abcdefgh') %}{% for i in range(99) %}{% set n.x = n.x + n.x "
    "%}"
    "{% endfor %}",
    "{% set n = namespace(x=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}"
    "{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[], y=[]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] "
    "%}"
    "{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}{{ 1 }}",
    "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}"
    "{% endfor %}{{ n.x|tojson }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 'a' * 999999999999 }}",
    "{{ [1] * 999999999999 }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ (0 - 9223372036854775807 - 1) // -1 }}",
    "{{ '%s' % 1 }}",
};

START_TEST(limits)
{
    q3n_template *t = parse(too_much[_i]);
    json_t *none = json_array();
    const struct q3n_conversation c = { .messages = none };
    struct q3n_rendered p;
    ggf_error err;
    ck_assert_int_eq(q3n_template_apply(t, &c, &p, &err), GGF_E_ARG);
    ck_assert_ptr_null(p.text);
    q3n_rendered_free(&p);
    q3n_template_free(t);
    json_decref(none);
}
END_TEST

/* What a template makes of nothing; NULL: it is refused. */
static char *rendered(const char *source)
{
    json_t *none = json_array();
    const struct q3n_conversation c = { .messages = none };
    struct q3n_rendered p = { 0 };
    q3n_template *t;
    int r = q3n_template_parse(&t, source, strlen(source), NULL);
    if (!r) r = q3n_template_apply(t, &c, &p, NULL);
    q3n_template_free(t);
    json_decref(none);
    free(p.spans);
    return r ? NULL : p.text;
}

/* As long as digits fit into memory, and longer: the sanitizer sees who writes behind. */
START_TEST(long_numbers)
{
    for (int n = 1; n < 130; n++) {
        char source[160];
        const int at = sprintf(source, "{{ %.*d", n, 1);
        strcpy(source + at, "e+5 > 9 }}");
        char *text = rendered(source);
        ck_assert(text || n >= 60);
        if (text) ck_assert_str_eq(text, "True");
        free(text);
    }
}
END_TEST

static const struct {
    const char *source, *text;
} ranges[] = {
    { "{{ range(3) | list }}{{ range(2, 4) | list }}{{ range(0) | list }}",
      "[0, 1, 2][2, 3][]" },
    { "{{ range(5, 2) | list }}{{ range(5, 2, -2) | list }}{{ range(0, 7, 3) | list }}",
      "[][5, 3][0, 3, 6]" },
    { "{{ range(-9223372036854775807, 9223372036854775807, 9223372036854775807) | list "
      "}}",
      "[-9223372036854775807, 0]" },
    { "{{ range(9223372036854775807, -9223372036854775807, -9223372036854775807) | list "
      "}}",
      "[9223372036854775807, 0]" },
    { "{{ range(9223372036854775805, 9223372036854775807) | length }}", "2" },
    { "{{ range(100000) | length }}", "100000" },
    { "{{ range(100001) | length }}", NULL },
    { "{{ range(3, 9, 0) | length }}", NULL },
    /* A short one takes no more than it is long. */
    { "{% set n = namespace(s=0) %}{% for i in range(2000) %}"
      "{% set n.s = n.s + range(i % 3)|length %}{% endfor %}{{ n.s }}",
      "1999" },
};

START_TEST(range)
{
    char *text = rendered(ranges[_i].source);
    ck_assert_msg(!text == !ranges[_i].text, "%s", ranges[_i].source);
    if (text) ck_assert_str_eq(text, ranges[_i].text);
    free(text);
}
END_TEST

START_TEST(clock_of_the_caller)
{
    q3n_template *t = parse("{{ strftime_now('%Y-%m-%d %H:%M') }}");
    json_t *none = json_array();
    const struct q3n_conversation c = { .messages = none, .now = 86400 * 365 + 3660 };
    struct q3n_rendered p;
    ggf_error err;
    setenv("TZ", "UTC", 1);
    tzset();
    ck_assert_int_eq(q3n_template_apply(t, &c, &p, &err), 0);
    ck_assert_str_eq(p.text, "1971-01-01 01:01");
    q3n_rendered_free(&p);
    q3n_template_free(t);
    json_decref(none);
}
END_TEST

/* What is read off the source, and off a prompt. */
START_TEST(traits)
{
    static const struct {
        const char *name;
        struct q3n_template_traits want;
        bool opens;
    } all[] = {
        { "qwen3", { true, true, true, Q3N_CALLS_JSON }, false },
        { "json-calls", { true, false, false, Q3N_CALLS_JSON }, false },
        { "thinking", { true, false, true, Q3N_CALLS_JSON }, true },
        { "xml-calls", { true, false, false, Q3N_CALLS_XML }, false },
        { "parts", { true, true, true, Q3N_CALLS_XML }, true },
    };
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "a");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct q3n_conversation c = { .messages = messages,
                                            .add_generation_prompt = true };
        char path[200];
        snprintf(path, sizeof path, DATA "%s.jinja", all[i].name);
        q3n_template *t = read_template(path);
        const struct q3n_template_traits got = q3n_template_traits(t);
        struct q3n_rendered p;
        ck_assert_int_eq(got.tools, all[i].want.tools);
        ck_assert_int_eq(got.enable_thinking, all[i].want.enable_thinking);
        ck_assert_int_eq(got.thinking, all[i].want.thinking);
        ck_assert_int_eq(got.calls, all[i].want.calls);
        ck_assert_int_eq(q3n_template_apply(t, &c, &p, NULL), 0);
        ck_assert_int_eq(q3n_rendered_opens_thinking(&p), all[i].opens);
        q3n_rendered_free(&p);
        q3n_template_free(t);
    }
    json_decref(messages);
}
END_TEST

/* Arguments in a string become an object where they are one. */
START_TEST(string_arguments)
{
    q3n_template *t = parse("{% for c in messages[0].tool_calls %}"
                            "{{ (c.function or c).arguments is mapping }} {% endfor %}");
    json_t *messages =
        json_pack("[{s:[{s:{s:s}}, {s:{s:s}}, {s:s}, {s:{s:{}}}]}]", "tool_calls",
                  "function", "arguments", "{\"a\": 1}", "function", "arguments", "[1]",
                  "arguments", "{}", "function", "arguments");
    const struct q3n_conversation c = { .messages = messages };
    struct q3n_rendered p;
    ggf_error err;
    ck_assert_int_eq(q3n_template_apply(t, &c, &p, &err), 0);
    ck_assert_str_eq(p.text, "True False True True ");
    ck_assert(json_is_string(json_object_get(
        json_object_get(
            json_array_get(json_object_get(json_array_get(messages, 0), "tool_calls"), 0),
            "function"),
        "arguments"))); /* the caller's messages stay as they are */
    q3n_rendered_free(&p);
    q3n_template_free(t);
    json_decref(messages);
}
END_TEST

/* What is outside of the language is named, with its line. */
static const struct {
    const char *source, *message;
} refused[] = {
    { "\n{% include 'x' %}",
      "chat template, line 2: the tag 'include' is not supported" },
    { "{{ x|escape }}", "chat template, line 1: the filter 'escape' is not supported" },
    { "a\n\n{{ x is test }}", "chat template, line 3: the test 'test' is not supported" },
    { "{{ x.format(1) }}",
      "chat template, line 1: the method 'format' is not supported" },
    { "{{ cycler(1) }}",
      "chat template, line 1: the function 'cycler' is not supported" },
    { "{{ 2 ** 3 }}", "chat template, line 1: the operator ** is not supported" },
    { "{% for x in y recursive %}",
      "chat template, line 1: recursive loops are not supported" },
    { "{{ x.__class__ }}",
      "chat template, line 1: the attribute '__class__' is not supported" },
    { "{{ x|map('nope') }}",
      "chat template, line 1: the filter 'nope' is not supported" },
    { "{{ x|trim(1, 2) }}", "chat template, line 1: too many arguments for trim" },
    { "{{ x.split(on=1) }}", "chat template, line 1: split has no argument 'on'" },
    { "{{ '\xff' }}", "the chat template is not UTF-8" },
};

START_TEST(refuses)
{
    q3n_template *t;
    ggf_error err;
    const char *source = refused[_i].source;
    ck_assert_int_eq(q3n_template_parse(&t, source, strlen(source), &err), GGF_E_FORMAT);
    ck_assert_str_eq(err.message, refused[_i].message);
    ck_assert_ptr_null(t);
}
END_TEST

/* Nesting that a parser could fall over. */
START_TEST(deep)
{
    static const char *const piece[] = { "(", "[",     "{% if a %}", "not ",
                                         "-", "a if ", "{#" };
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        char source[40000] = "{{ ";
        if (*piece[i] == '{') *source = 0;
        for (int n = 0; n < 3000; n++) strcat(source, piece[i]);
        q3n_template *t;
        ggf_error err;
        ck_assert_int_eq(q3n_template_parse(&t, source, strlen(source), &err),
                         GGF_E_FORMAT);
    }
}
END_TEST

#define N(list) ((int)(sizeof(list) / sizeof *(list)))

static Suite *suite(void)
{
    Suite *s = suite_create("template");
    TCase *t = tcase_create("jinja2");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, corpus);
    tcase_add_test(t, language);
    tcase_add_test(t, long_numbers);
    tcase_add_loop_test(t, range, 0, N(ranges));
    tcase_add_test(t, clock_of_the_caller);
    tcase_add_test(t, traits);
    tcase_add_test(t, string_arguments);
    suite_add_tcase(s, t);
    t = tcase_create("origin");
    tcase_add_loop_test(t, origin, 0, N(origins));
    suite_add_tcase(s, t);
    t = tcase_create("ids");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, ids);
    tcase_add_test(t, input_is_no_control_token);
    suite_add_tcase(s, t);
    t = tcase_create("limits");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, limits, 0, N(too_much));
    tcase_add_loop_test(t, refuses, 0, N(refused));
    tcase_add_test(t, deep);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
