/* chatopt.c - see chatopt.h. */
#include "chatopt.h"

#include "input.h"

#include <stdlib.h>
#include <string.h>

int chat_options(const struct opt_program *program, const struct chat_options *o,
                 bool used)
{
    const bool given = o->file || o->text;
    if (!used && (given || o->kwargs || o->jinja || o->no_jinja))
        return opt_error(program, "options of chat templates have no effect without a "
                                  "conversation");
    if ((o->file != NULL) + (o->text != NULL) + o->no_jinja > 1 ||
        (o->jinja && o->no_jinja))
        return opt_error(program, "give one of --chat-template, --chat-template-file and "
                                  "--no-jinja");
    if (o->jinja && given)
        return opt_error(program, "--jinja has no effect with a template of your own");
    if (o->kwargs && o->no_jinja)
        return opt_error(program, "--chat-template-kwargs has no effect with --no-jinja");
    return OPT_GO;
}

/* ==== Opening ============================================================= */

static int read_template(q3n_template **out, const char *path, ggf_error *err)
{
    struct input in = { 0 };
    int r = input_read(&in, path, err);
    if (!r) r = q3n_template_parse(out, in.bytes, in.len, err);
    free(in.bytes);
    return r;
}

static int check_chatml(const q3n_tokenizer *t, ggf_error *err)
{
    if (q3n_token_find(t, "<|im_start|>") >= 0 && q3n_token_find(t, "<|im_end|>") >= 0)
        return 0;
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "the vocabulary has no <|im_start|> and <|im_end|> to chat with");
}

static int find_template(q3n_template **out, const struct chat_options *o,
                         const ggf_file *file, const q3n_tokenizer *t, ggf_error *err)
{
    if (o->file) return read_template(out, o->file, err);
    if (o->text && strchr(o->text, '{'))
        return q3n_template_parse(out, o->text, strlen(o->text), err);
    if (o->text) return q3n_template_builtin(out, o->text, err);
    if (!o->no_jinja) {
        const int r = q3n_template_load(out, file, err);
        if (r != GGF_E_NOT_FOUND || o->jinja) return r;
    }
    const int r = check_chatml(t, err);
    return r ? r : q3n_template_builtin(out, "chatml", err);
}

/* The name of the token whose id is under this key, NULL if there is none. */
static int token_name(char **out, const ggf_file *file, const char *key,
                      const q3n_tokenizer *t, ggf_error *err)
{
    int64_t id;
    const int r = ggf_get_i64(file, key, &id, err);
    if (r == GGF_E_NOT_FOUND) return 0;
    if (r || id < 0 || id > INT32_MAX) return r;
    const struct ggf_str s = q3n_token_text(t, (int32_t)id);
    if (!s.len) return 0;
    *out = strndup(s.data, s.len);
    return *out ? 0 : ggf_no_memory(err);
}

static int read_kwargs(json_t **out, const char *text, ggf_error *err)
{
    json_error_t why;
    if (!text) return 0;
    *out = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(*out)) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "--chat-template-kwargs: %s",
                    *out ? "not a JSON object" : why.text);
}

int chat_open(struct chat *c, const struct chat_options *o, const ggf_file *file,
              const q3n_tokenizer *t, ggf_error *err)
{
    *c = (struct chat){ .messages = json_array() };
    if (!c->messages) return ggf_no_memory(err);
    int r = find_template(&c->template, o, file, t, err);
    if (!r) r = read_kwargs(&c->extra, o->kwargs, err);
    if (!r) r = token_name(&c->bos, file, "tokenizer.ggml.bos_token_id", t, err);
    if (!r) r = token_name(&c->eos, file, "tokenizer.ggml.eos_token_id", t, err);
    return r;
}

void chat_close(struct chat *c)
{
    q3n_template_free(c->template);
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->extra);
    free(c->bos);
    free(c->eos);
    *c = (struct chat){ 0 };
}

/* ==== Talking ============================================================= */

/* A JSON string of any bytes. */
static json_t *to_string(const char *text, size_t len)
{
    struct q3n_stream stream = { 0 };
    char *clean = malloc(3 * (len + 4) + 12);
    if (!clean) return NULL;
    size_t n = q3n_stream_push(&stream, text, len, clean);
    n += q3n_stream_end(&stream, clean + n);
    json_t *s = json_stringn(clean, n);
    free(clean);
    return s;
}

int chat_say(struct chat *c, const char *role, const char *text, size_t len,
             ggf_error *err)
{
    json_t *content = to_string(text, len);
    json_t *message =
        content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
    if (!message) return ggf_no_memory(err);
    return json_array_append_new(c->messages, message) ? ggf_no_memory(err) : 0;
}

int chat_render(const struct chat *c, bool reply, struct q3n_rendered *out,
                ggf_error *err)
{
    const struct q3n_conversation conversation = {
        .messages = c->messages,
        .tools = c->tools,
        .extra = c->extra,
        .add_generation_prompt = reply,
        .bos = c->bos,
        .eos = c->eos,
    };
    return q3n_template_apply(c->template, &conversation, out, err);
}
