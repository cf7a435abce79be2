/* template.c - see template.h.  Owns what goes into a render and what comes out of it;
 * the language is in jinja/. */
#include "template.h"

#include "jinja/parse.h"
#include "jinja/render.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SOURCE    ((size_t)1 << 20)
#define PARSE_MEMORY  ((size_t)64 << 20)
#define RENDER_MEMORY ((size_t)512 << 20)

struct q3n_template {
    struct ast ast;
    char *source;
};

/* ==== Parsing ============================================================= */

int q3n_template_parse(q3n_template **out, const char *source, size_t len, ggf_error *err)
{
    *out = NULL;
    if (len > MAX_SOURCE)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "a chat template of %zu bytes is too long", len);
    q3n_template *t = calloc(1, sizeof *t);
    if (!t) return ggf_no_memory(err);
    t->ast.arena.limit = PARSE_MEMORY;
    t->source = strndup(source, len);
    const int r = t->source ? jinja_parse(&t->ast, source, len, err) : ggf_no_memory(err);
    if (r) q3n_template_free(t);
    else *out = t;
    return r;
}

int q3n_template_load(q3n_template **out, const ggf_file *file, ggf_error *err)
{
    struct ggf_str s;
    *out = NULL;
    const int r = ggf_get_str(file, "tokenizer.chat_template", &s, err);
    return r ? r : q3n_template_parse(out, s.data, s.len, err);
}

int q3n_template_builtin(q3n_template **out, const char *name, ggf_error *err)
{
    static const char chatml[] =
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    *out = NULL;
    if (!strcmp(name, "chatml"))
        return q3n_template_parse(out, chatml, sizeof chatml - 1, err);
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "there is no chat template '%s'; the one built in is chatml", name);
}

void q3n_template_free(q3n_template *t)
{
    if (!t) return;
    arena_free(&t->ast.arena);
    free(t->source);
    free(t);
}

const char *q3n_template_source(const q3n_template *t) { return t->source; }

static bool has_name(const q3n_template *t, const char *name)
{
    return ast_name(&t->ast, name, strlen(name)) != NULL;
}

struct q3n_template_traits q3n_template_traits(const q3n_template *t)
{
    struct q3n_template_traits traits = {
        .tools = has_name(t, "tools"),
        .enable_thinking = has_name(t, "enable_thinking"),
        .thinking = strstr(t->source, "<think>") != NULL,
    };
    if (strstr(t->source, "<function=")) traits.calls = Q3N_CALLS_XML;
    else if (strstr(t->source, "<tool_call>")) traits.calls = Q3N_CALLS_JSON;
    return traits;
}

/* ==== Messages ============================================================ */

/* {"arguments": "{...}"} with an object in the string gets the object. */
static int parse_arguments(json_t *function, ggf_error *err)
{
    json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_string(arguments)) return 0;
    json_t *object = json_loadb(json_string_value(arguments),
                                json_string_length(arguments), JSON_ALLOW_NUL, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return 0;
    }
    return json_object_set_new(function, "arguments", object) ? ggf_no_memory(err) : 0;
}

static bool has_string_arguments(const json_t *messages)
{
    size_t i, j;
    json_t *message, *call;
    json_array_foreach(messages, i, message)
    {
        json_array_foreach(json_object_get(message, "tool_calls"), j, call)
        {
            const json_t *f = json_object_get(call, "function");
            if (json_is_string(json_object_get(f ? f : call, "arguments"))) return true;
        }
    }
    return false;
}

/* The messages with objects for arguments, for the caller to release. */
static int normalize(json_t **out, const json_t *messages, ggf_error *err)
{
    size_t i, j;
    json_t *message, *call;
    int r = 0;
    *out = has_string_arguments(messages) ? json_deep_copy(messages)
                                          : json_incref((json_t *)messages);
    if (!*out) return ggf_no_memory(err);
    if (*out == messages) return 0;
    json_array_foreach(*out, i, message)
    {
        json_array_foreach(json_object_get(message, "tool_calls"), j, call)
        {
            json_t *f = json_object_get(call, "function");
            if (!r) r = parse_arguments(f ? f : call, err);
        }
    }
    return r;
}

/* ==== Variables =========================================================== */

/* Names that the template does not use need no value. */
static bool set(struct render *r, const char *name, struct value v)
{
    const char *known = ast_name(r->ast, name, strlen(name));
    return !known || scope_set(r, &r->root, known, v);
}

static bool set_json(struct render *r, const char *name, const json_t *json)
{
    struct value v = value_none();
    return (!json || value_from_json(r, json, &v)) && set(r, name, v);
}

static bool set_extra(struct render *r, const json_t *extra)
{
    static const char *const taken[] = { "messages", "tools", "documents",
                                         "add_generation_prompt" };
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)extra, name, v)
    {
        for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
            if (!strcmp(name, taken[i]))
                return render_fail(r, "the variable '%s' cannot be given twice", name);
        if (!set_json(r, name, v)) return false;
    }
    return true;
}

/* As transformers does: what is not given is none, but tokens are not defined then. */
static bool set_variables(struct render *r, const struct q3n_conversation *c,
                          const json_t *messages)
{
    return set_json(r, "messages", messages) && set_json(r, "tools", c->tools) &&
           set_json(r, "documents", NULL) &&
           set(r, "add_generation_prompt", value_bool(c->add_generation_prompt)) &&
           (!c->bos || set(r, "bos_token", value_text(c->bos, strlen(c->bos)))) &&
           (!c->eos || set(r, "eos_token", value_text(c->eos, strlen(c->eos)))) &&
           set_extra(r, c->extra);
}

/* ==== Prompts ============================================================= */

/* How many bytes from i on come from the same place. */
static size_t same_origin(const struct text_out *out, size_t i)
{
    const size_t from = i;
    while (i < out->len && out->marks[i] == out->marks[from]) i++;
    return i - from;
}

static int make_prompt(struct q3n_rendered *p, const struct text_out *out, ggf_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < out->len; i += same_origin(out, i)) n++;
    *p = (struct q3n_rendered){ .text = malloc(out->len + 1),
                                .len = out->len,
                                .spans = malloc((n + 1) * sizeof *p->spans) };
    if (!p->text || !p->spans) {
        q3n_rendered_free(p);
        return ggf_no_memory(err);
    }
    if (out->len) memcpy(p->text, out->bytes, out->len);
    p->text[out->len] = 0;
    for (size_t i = 0; i < out->len; i += p->spans[p->n_spans++].len)
        p->spans[p->n_spans] =
            (struct q3n_span){ .len = same_origin(out, i), .input = out->marks[i] };
    return 0;
}

static int render(const q3n_template *t, const struct q3n_conversation *c,
                  const json_t *messages, struct q3n_rendered *out, ggf_error *err)
{
    struct render r = { .ast = &t->ast,
                        .arena.limit = RENDER_MEMORY,
                        .now = c->now ? c->now : time(NULL),
                        .line = 1,
                        .err = err };
    struct text_out text = { .r = &r };
    r.out = &text;
    int status = GGF_E_ARG;
    if (set_variables(&r, c, messages) && run(&r, &r.root, t->ast.body) != FLOW_FAILED)
        status = make_prompt(out, &text, err);
    arena_free(&r.arena);
    return status;
}

int q3n_template_apply(const q3n_template *t, const struct q3n_conversation *c,
                       struct q3n_rendered *out, ggf_error *err)
{
    json_t *messages;
    *out = (struct q3n_rendered){ 0 };
    int r = normalize(&messages, c->messages, err);
    if (!r) r = render(t, c, messages, out, err);
    json_decref(messages);
    return r;
}

void q3n_rendered_free(struct q3n_rendered *p)
{
    free(p->text);
    free(p->spans);
    *p = (struct q3n_rendered){ 0 };
}

bool q3n_rendered_opens_thinking(const struct q3n_rendered *p)
{
    static const char mark[] = "<think>";
    size_t n = p->len;
    while (n && strchr(" \n", p->text[n - 1])) n--;
    return n >= sizeof mark - 1 &&
           !memcmp(p->text + n - sizeof mark + 1, mark, sizeof mark - 1);
}

int q3n_rendered_encode(const q3n_tokenizer *t, const struct q3n_rendered *p,
                        struct q3n_ids *out, ggf_error *err)
{
    char *marks = malloc(p->len + 1);
    if (!marks) return ggf_no_memory(err);
    char *at = marks;
    for (size_t i = 0; i < p->n_spans; at += p->spans[i++].len)
        memset(at, p->spans[i].input, p->spans[i].len);
    const int r = q3n_encode_marked(t, p->text, p->len, marks, out, err);
    free(marks);
    return r;
}
