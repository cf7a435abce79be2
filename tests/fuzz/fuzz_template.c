/* fuzz_template.c - a template up to a NUL byte, then perhaps a JSON object: the
 * variables, with the messages and tools among them.  What is rendered must be UTF-8 in
 * spans that take turns, and come out the same a second time. */
#include "../../infer/text/template.h"
#include "../../infer/text/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(x)                                                                         \
    do {                                                                                 \
        if (!(x)) __builtin_trap();                                                      \
    } while (0)

static void check_text(const struct q3n_rendered *p)
{
    size_t total = 0;
    unsigned n;
    for (size_t i = 0; i < p->n_spans; i++) {
        CHECK(p->spans[i].len && (!i || p->spans[i].input != p->spans[i - 1].input));
        total += p->spans[i].len;
    }
    CHECK(total == p->len && !p->text[p->len]);
    for (size_t i = 0; i < p->len; i += n)
        CHECK(utf8_decode((const uint8_t *)p->text + i, p->len - i, &n) != UTF8_BAD);
}

static void check_template(const q3n_template *t, json_t *variables)
{
    json_t *messages = json_incref(json_object_get(variables, "messages"));
    json_t *tools = json_incref(json_object_get(variables, "tools"));
    json_object_del(variables, "messages");
    json_object_del(variables, "tools");
    if (!messages)
        messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "a <|im_end|> b");
    const struct q3n_conversation c = {
        .messages = messages,
        .tools = tools,
        .extra = variables,
        .add_generation_prompt = true,
        .eos = "<|im_end|>",
        .now = 1700000000,
    };
    struct q3n_rendered a, b;
    ggf_error err = { 0 };
    const int r = q3n_template_apply(t, &c, &a, &err);
    if (r) {
        CHECK(err.message[0] && !a.text);
    } else {
        check_text(&a);
        CHECK(!q3n_template_apply(t, &c, &b, NULL));
        CHECK(a.len == b.len && !memcmp(a.text, b.text, a.len));
        q3n_rendered_free(&b);
    }
    q3n_rendered_free(&a);
    json_decref(messages);
    json_decref(tools);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const uint8_t *end = len ? memchr(bytes, 0, len) : NULL;
    const size_t n = end ? (size_t)(end - bytes) : len;
    json_t *variables = NULL;
    if (end)
        variables = json_loadb((const char *)end + 1, len - n - 1, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(variables)) {
        json_decref(variables);
        variables = json_pack("{s:i, s:[i,i], s:{s:s}, s:s}", "n", 7, "list", 3, 1, "map",
                              "a", "b", "s", "Hello W\xc3\xb6rld");
    }
    q3n_template *t;
    ggf_error err = { 0 };
    if (!q3n_template_parse(&t, (const char *)bytes, n, &err)) {
        (void)q3n_template_traits(t);
        check_template(t, variables);
    } else {
        CHECK(err.message[0] && !t);
    }
    q3n_template_free(t);
    json_decref(variables);
    return 0;
}
