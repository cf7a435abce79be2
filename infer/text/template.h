/* template.h - a model's chat template: conversations to prompts.
 *
 * The template is Jinja as Qwen's models use it (docs/chat.md lists what is supported);
 * the result is byte for byte that of jinja2 with the settings of transformers
 * (trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes).  What is not
 * supported is refused when the template is parsed.
 *
 * A prompt says of each byte whether the template wrote it or whether it was in the
 * input, and stays like that through everything a template does with strings.  Only what
 * the template wrote can become a control token: a user who writes <|im_end|> gets its
 * letters, not the end of the message.
 *
 * A template does not change after parsing; many threads may use one. */
#ifndef INFER_TEXT_TEMPLATE_H
#define INFER_TEXT_TEMPLATE_H

#include "tokenizer.h"

#include <jansson.h>
#include <time.h>

typedef struct q3n_template q3n_template;

/* GGF_E_FORMAT: a mistake, or a construct that is not supported; the message names it
 * and its line.  The source, of at most 1 MiB, may be freed afterwards. */
int q3n_template_parse(q3n_template **out, const char *source, size_t len,
                       ggf_error *err);
/* The template in a model's file: tokenizer.chat_template.  GGF_E_NOT_FOUND if there is
 * none. */
int q3n_template_load(q3n_template **out, const ggf_file *file, ggf_error *err);
/* One that is built in: "chatml".  GGF_E_NOT_FOUND if there is none of this name. */
int q3n_template_builtin(q3n_template **out, const char *name, ggf_error *err);
void q3n_template_free(q3n_template *t); /* NULL is allowed */

const char *q3n_template_source(const q3n_template *t);

/* ---- What a template can do, as far as its source tells ---- */

enum q3n_call_form {
    Q3N_CALLS_NONE, /* nothing is said about calls */
    Q3N_CALLS_JSON, /* <tool_call>{"name": ..., "arguments": {...}}</tool_call> */
    Q3N_CALLS_XML,  /* <tool_call><function=...><parameter=...>...</tool_call> */
};

struct q3n_template_traits {
    bool tools;           /* uses the list of tools */
    bool enable_thinking; /* looks at the variable of this name */
    bool thinking;        /* knows <think> */
    enum q3n_call_form calls;
};
struct q3n_template_traits q3n_template_traits(const q3n_template *t);

/* ---- Rendering ---- */

struct q3n_conversation {
    const json_t *messages; /* array of objects with "role", "content", ... */
    const json_t *tools;    /* array, or NULL */
    const json_t *extra;    /* object: more variables for the template, or NULL */
    bool add_generation_prompt;
    const char *bos, *eos; /* bos_token and eos_token; NULL: not defined */
    time_t now;            /* for strftime_now(); 0: the clock */
};

struct q3n_span {
    size_t len;
    bool input; /* else the template wrote it */
};

struct q3n_rendered {
    char *text; /* UTF-8, NUL-terminated */
    size_t len;
    struct q3n_span *spans; /* one after the other they are the text; neighbours differ */
    size_t n_spans;
};

/* In tool calls, "arguments" that are a string with a JSON object in it, as OpenAI's
 * clients send them, become that object first: templates go through its items.
 *
 * GGF_E_ARG: the template refuses the conversation (raise_exception), asks something
 * impossible of it, takes too long (some seconds) or more than 512 MiB.  The message
 * says why. */
int q3n_template_apply(const q3n_template *t, const struct q3n_conversation *c,
                       struct q3n_rendered *out, ggf_error *err);
void q3n_rendered_free(struct q3n_rendered *p);

/* Does it end with <think>, so that the reply starts inside of it? */
bool q3n_rendered_opens_thinking(const struct q3n_rendered *p);

/* Append the prompt's ids.  They are those of its text as a whole, but that control
 * tokens are found only where all of their bytes are the template's.  So without names
 * of control tokens in the input they equal q3n_encode(text, parse_special), and with
 * them the input's letters stay letters. */
int q3n_rendered_encode(const q3n_tokenizer *t, const struct q3n_rendered *p,
                        struct q3n_ids *out, ggf_error *err);

#endif
