/* request.c - see request.h: the members that are numbers and switches are in a table,
 * the others have a function each. */
#include "request.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int wrong(ggf_error *err, const char *name, const char *what)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s %s", name, what);
}

/* ---- Numbers and switches ---------------------------------------------------------- */

enum kind { BOOL, INT, INT64, U32, FLOAT };

struct member {
    const char *name;
    enum kind kind;
    size_t offset;
    double least, most;
};

#define AT(member) offsetof(struct request, member)
enum { MANY = INT32_MAX };

static const struct member members[] = {
    { "stream", BOOL, AT(stream), 0, 0 },
    { "ignore_eos", BOOL, AT(ignore_eos), 0, 0 },
    { "add_generation_prompt", BOOL, AT(add_generation_prompt), 0, 0 },
    /* The same under three names; the last that is there counts. */
    { "n_predict", INT64, AT(limit), -1, MANY },
    { "max_tokens", INT64, AT(limit), -1, MANY },
    { "max_completion_tokens", INT64, AT(limit), -1, MANY },
    { "n", INT64, AT(n_choices), 1, REQUEST_MOST_CHOICES },
    { "id_slot", INT64, AT(slot), -1, MANY },
    { "temperature", FLOAT, AT(sample.temp), 0, 1e6 },
    { "dynatemp_range", FLOAT, AT(sample.dynatemp_range), 0, 1e6 },
    { "dynatemp_exponent", FLOAT, AT(sample.dynatemp_exponent), 0, 1e6 },
    { "top_k", INT, AT(sample.top_k), -1, MANY },
    { "top_p", FLOAT, AT(sample.top_p), 0, 1 },
    { "min_p", FLOAT, AT(sample.min_p), 0, 1 },
    { "typical_p", FLOAT, AT(sample.typical_p), 0, 1 },
    { "top_n_sigma", FLOAT, AT(sample.top_n_sigma), -1, 1e6 },
    { "xtc_probability", FLOAT, AT(sample.xtc_probability), 0, 1 },
    { "xtc_threshold", FLOAT, AT(sample.xtc_threshold), 0, 1 },
    { "min_keep", U32, AT(sample.min_keep), 0, MANY },
    { "repeat_last_n", INT, AT(sample.penalty_last_n), -1, MANY },
    { "repeat_penalty", FLOAT, AT(sample.repeat_penalty), 0, 1e6 },
    { "frequency_penalty", FLOAT, AT(sample.frequency_penalty), -1e6, 1e6 },
    { "presence_penalty", FLOAT, AT(sample.presence_penalty), -1e6, 1e6 },
    { "dry_multiplier", FLOAT, AT(sample.dry_multiplier), 0, 1e6 },
    { "dry_base", FLOAT, AT(sample.dry_base), 0, 1e6 },
    { "dry_allowed_length", INT, AT(sample.dry_allowed_length), 0, MANY },
    { "dry_penalty_last_n", INT, AT(sample.dry_last_n), -1, MANY },
};

/* Some clients write 2 as 2.0. */
static bool whole_number(int64_t *out, const json_t *v)
{
    const double x = json_real_value(v);
    if (json_is_integer(v)) *out = json_integer_value(v);
    else if (json_is_real(v) && fabs(x) < 0x1p53 && x == floor(x)) *out = (int64_t)x;
    else return false;
    return true;
}

static int not_in_range(ggf_error *err, const struct member *m, bool whole)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s must be a %s from %.10g to %.10g",
                    m->name, whole ? "whole number" : "number", m->least, m->most);
}

static int read_member(struct request *r, const struct member *m, const json_t *v,
                       ggf_error *err)
{
    void *to = (char *)r + m->offset;
    if (m->kind == BOOL) {
        if (!json_is_boolean(v)) return wrong(err, m->name, "must be true or false");
        *(bool *)to = json_is_true(v);
        return 0;
    }
    const bool whole = m->kind != FLOAT;
    int64_t n = 0;
    if (whole ? !whole_number(&n, v) : !json_is_number(v))
        return not_in_range(err, m, whole);
    const double x = json_number_value(v);
    if (!(x >= m->least && x <= m->most)) return not_in_range(err, m, whole);
    switch (m->kind) {
    case INT: *(int *)to = (int)n; break;
    case INT64: *(int64_t *)to = n; break;
    case U32: *(uint32_t *)to = (uint32_t)n; break;
    case FLOAT: *(float *)to = (float)x; break;
    case BOOL: break;
    }
    return 0;
}

/* A member that is there and not null; else NULL. */
static const json_t *get(const struct request *r, const char *name)
{
    const json_t *v = json_object_get(r->body, name);
    return json_is_null(v) ? NULL : v;
}

static int read_members(struct request *r, ggf_error *err)
{
    int e = 0;
    for (size_t i = 0; !e && i < sizeof members / sizeof *members; i++) {
        const json_t *v = get(r, members[i].name);
        if (v) e = read_member(r, &members[i], v, err);
    }
    return e;
}

/* ---- Lists of strings -------------------------------------------------------------- */

/* A string or an array of them. */
static int read_strings(const char ***out, size_t *n, const json_t *v, const char *name,
                        size_t most, ggf_error *err)
{
    const size_t count = json_is_array(v) ? json_array_size(v) : 1;
    if (count > most)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s may have at most %zu strings",
                        name, most);
    if (!(*out = calloc(count + 1, sizeof **out))) return ggf_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s)) return wrong(err, name, "must be a string, or strings");
        (*out)[i] = json_string_value(s);
    }
    *n = count;
    return 0;
}

/* Clients send empty ones, which stop nothing. */
static int read_stop(struct request *r, const json_t *v, ggf_error *err)
{
    const int e =
        read_strings(&r->stops, &r->n_stops, v, "stop", REQUEST_MOST_STOPS, err);
    size_t n = 0;
    for (size_t i = 0; !e && i < r->n_stops; i++)
        if (*r->stops[i]) r->stops[n++] = r->stops[i];
    if (!e) r->n_stops = n;
    return e;
}

static int read_breakers(struct request *r, const json_t *v, ggf_error *err)
{
    static const char name[] = "dry_sequence_breakers";
    const int e = read_strings(&r->breakers, &r->sample.n_dry_breakers, v, name,
                               REQUEST_MOST_BREAKERS, err);
    r->sample.dry_breakers = r->breakers;
    return e;
}

/* ---- Sampling ---------------------------------------------------------------------- */

/* Letters, or an array of names. */
static int read_samplers(struct request *r, const json_t *v, ggf_error *err)
{
    if (json_is_string(v))
        return q3n_sample_letters(r->sample.steps, json_string_value(v), err);
    if (!json_is_array(v) || json_array_size(v) >= Q3N_N_STEPS)
        return wrong(err, "samplers", "must be an array of names, each once at most");
    char names[Q3N_N_STEPS * 16] = "";
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *name = json_string_value(json_array_get(v, i));
        if (!name || !*name || strlen(name) > 14 || strchr(name, ';'))
            return wrong(err, "samplers", "has a name that is none");
        if (i) strcat(names, ";");
        strcat(names, name);
    }
    return q3n_sample_steps(r->sample.steps, names, err);
}

static int read_seed(struct request *r, const json_t *v, bool new_one, ggf_error *err)
{
    int64_t seed = -1;
    if (v && !whole_number(&seed, v)) return wrong(err, "seed", "must be a whole number");
    if (seed != -1) r->sample.seed = (uint64_t)seed;
    else if ((v || new_one) && getrandom(&r->sample.seed, sizeof r->sample.seed, 0) < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "no random seed can be had");
    return 0;
}

/* One of [[ID, BIAS], ...] or {"ID": BIAS, ...}; BIAS false: never. */
static int add_bias(struct request *r, int64_t id, const json_t *bias, ggf_error *err)
{
    if (id < 0 || id > INT32_MAX || (!json_is_number(bias) && !json_is_false(bias)))
        return wrong(err, "logit_bias", "must map token ids to numbers, or to false");
    r->bias[r->sample.n_bias++] = (struct q3n_logit_bias){
        .id = (int32_t)id,
        .bias = json_is_false(bias) ? -(float)INFINITY : (float)json_number_value(bias),
    };
    return 0;
}

static int read_bias(struct request *r, const json_t *v, ggf_error *err)
{
    const size_t n = json_is_array(v) ? json_array_size(v) : json_object_size(v);
    if ((!json_is_array(v) && !json_is_object(v)) || n > REQUEST_MOST_BIAS)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "logit_bias must be an object or an array of pairs, of at most "
                        "%d tokens",
                        REQUEST_MOST_BIAS);
    if (!(r->bias = calloc(n + 1, sizeof *r->bias))) return ggf_no_memory(err);
    r->sample.bias = r->bias;
    r->sample.n_bias = 0;
    int e = 0;
    for (size_t i = 0; !e && json_is_array(v) && i < n; i++) {
        const json_t *pair = json_array_get(v, i), *id = json_array_get(pair, 0);
        e = add_bias(r, json_is_integer(id) ? json_integer_value(id) : -1,
                     json_array_get(pair, 1), err);
    }
    if (json_is_array(v)) return e;
    const char *key;
    json_t *bias;
    json_object_foreach((json_t *)v, key, bias)
    {
        char *end;
        const long long id = strtoll(key, &end, 10);
        if (!e) e = add_bias(r, *key && !*end ? id : -1, bias, err);
    }
    return e;
}

static int read_sampling(struct request *r, bool new_seed, ggf_error *err)
{
    const json_t *v;
    int e = read_seed(r, get(r, "seed"), new_seed, err);
    if (!e && (v = get(r, "samplers"))) e = read_samplers(r, v, err);
    if (!e && (v = get(r, "dry_sequence_breakers"))) e = read_breakers(r, v, err);
    if (!e && (v = get(r, "logit_bias"))) e = read_bias(r, v, err);
    return e ? e : q3n_sample_check(&r->sample, err);
}

/* ---- Probabilities ----------------------------------------------------------------- */

static int count_of(int64_t *out, const json_t *v, const char *name, ggf_error *err)
{
    const struct member m = { name, INT64, 0, 0, Q3N_MAX_LOGPROBS };
    if (!whole_number(out, v) || *out < 0 || *out > Q3N_MAX_LOGPROBS)
        return not_in_range(err, &m, true);
    return 0;
}

/* "logprobs" is a switch in chats, with "top_logprobs"; a number in completions. */
static int read_logprobs(struct request *r, bool chat, ggf_error *err)
{
    const json_t *v = get(r, "logprobs"), *top = get(r, "top_logprobs");
    const json_t *probs = get(r, "n_probs");
    if (probs && !v) return count_of(&r->n_logprobs, probs, "n_probs", err);
    if (!chat) return v ? count_of(&r->n_logprobs, v, "logprobs", err) : 0;
    if (v && !json_is_boolean(v)) return wrong(err, "logprobs", "must be true or false");
    if (!json_is_true(v))
        return top ? wrong(err, "top_logprobs", "needs logprobs to be true") : 0;
    r->n_logprobs = 0;
    return top ? count_of(&r->n_logprobs, top, "top_logprobs", err) : 0;
}

/* ---- The form of the reply --------------------------------------------------------- */

static int read_format(struct request *r, const json_t *v, ggf_error *err)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (!type) return wrong(err, "response_format", "must be an object with a type");
    if (!strcmp(type, "text")) return 0;
    r->json = true;
    if (!strcmp(type, "json_object")) {
        r->schema = json_object_get(v, "schema");
        if (r->schema && !json_is_object(r->schema))
            return wrong(err, "response_format.schema", "must be an object");
        return 0;
    }
    if (strcmp(type, "json_schema"))
        return wrong(err, "response_format.type",
                     "must be text, json_object or json_schema");
    r->schema = json_object_get(json_object_get(v, "json_schema"), "schema");
    if (!json_is_object(r->schema))
        return wrong(err, "response_format.json_schema.schema", "must be an object");
    return 0;
}

static int read_form(struct request *r, ggf_error *err)
{
    const json_t *format = get(r, "response_format"), *schema = get(r, "json_schema");
    r->grammar = get(r, "grammar");
    if (r->grammar && !json_is_string(r->grammar))
        return wrong(err, "grammar", "must be a string");
    if (!json_string_length(r->grammar)) r->grammar = NULL; /* clients mean: none */
    if (format && schema)
        return wrong(err, "json_schema", "and response_format exclude each other");
    if (format) {
        const int e = read_format(r, format, err);
        return e || !r->json || !r->grammar
                   ? e
                   : wrong(err, "grammar", "and response_format exclude each other");
    }
    if (r->grammar && schema)
        return wrong(err, "grammar", "and json_schema exclude each other");
    if (!schema) return 0;
    r->json = true;
    r->schema = schema;
    return json_is_object(schema) ? 0 : wrong(err, "json_schema", "must be an object");
}

/* ---- Chats ------------------------------------------------------------------------- */

/* The text of a content: a string, null, or parts of type text, which become lines. */
static int read_content(json_t **out, const json_t *v, size_t i, ggf_error *err)
{
    char *text = NULL;
    size_t len = 0;
    if (json_is_string(v)) {
        *out = json_incref((json_t *)v);
        return 0;
    }
    if (!v || json_is_null(v)) v = NULL;
    else if (!json_is_array(v))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "messages[%zu].content must be a string or parts", i);
    for (size_t k = 0; k < json_array_size(v); k++) {
        const json_t *part = json_array_get(v, k), *t = json_object_get(part, "text");
        char *more =
            json_is_string(t) ? realloc(text, len + json_string_length(t) + 2) : NULL;
        if (!more) {
            free(text);
            return json_is_string(t)
                       ? ggf_no_memory(err)
                       : ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                                  "messages[%zu].content[%zu] is no text", i, k);
        }
        text = more;
        if (k) text[len++] = '\n';
        memcpy(text + len, json_string_value(t), json_string_length(t));
        len += json_string_length(t);
    }
    *out = json_stringn(text ? text : "", len);
    free(text);
    return *out ? 0 : ggf_no_memory(err);
}

/* Templates know texts and the role system, whatever clients call that. */
static int read_message(json_t *m, size_t i, ggf_error *err)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    json_t *content = NULL;
    if (!role)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "messages[%zu] must be an object with a role", i);
    const int e = read_content(&content, json_object_get(m, "content"), i, err);
    if (e) return e;
    if (!strcmp(role, "developer") &&
        json_object_set_new(m, "role", json_string("system"))) {
        json_decref(content);
        return ggf_no_memory(err);
    }
    return json_object_set_new(m, "content", content) ? ggf_no_memory(err) : 0;
}

static int read_messages(struct request *r, ggf_error *err)
{
    int e = 0;
    r->messages = get(r, "messages");
    if (!json_is_array(r->messages) || !json_array_size(r->messages))
        return wrong(err, "messages", "must be an array with at least one message");
    for (size_t i = 0; !e && i < json_array_size(r->messages); i++)
        e = read_message(json_array_get(r->messages, i), i, err);
    return e;
}

static int read_choice(struct request *r, const json_t *v, ggf_error *err)
{
    const char *name = json_string_value(v);
    r->tool = json_string_value(json_object_get(json_object_get(v, "function"), "name"));
    if (name && !strcmp(name, "none")) r->tool_choice = TOOLS_NONE;
    else if (r->tool || (name && !strcmp(name, "required")))
        r->tool_choice = TOOLS_REQUIRED;
    else if (!name || strcmp(name, "auto") != 0)
        return wrong(err, "tool_choice", "must be none, auto, required or a function");
    if (r->tool_choice != TOOLS_REQUIRED) return 0;
    return !r->tools ? wrong(err, "tool_choice", "demands a call, but there are no tools")
           : r->json || r->grammar
               ? wrong(err, "tool_choice",
                       "demands a call, response_format or grammar does not")
               : 0;
}

static int read_tools(struct request *r, ggf_error *err)
{
    const json_t *choice = get(r, "tool_choice");
    r->tools = get(r, "tools");
    if (r->tools && !json_is_array(r->tools))
        return wrong(err, "tools", "must be an array");
    for (size_t i = 0; i < json_array_size(r->tools); i++) {
        const json_t *f = json_object_get(json_array_get(r->tools, i), "function");
        if (!json_is_string(json_object_get(f, "name")))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "tools[%zu] must have a function with a name", i);
    }
    if (r->tools && !json_array_size(r->tools)) r->tools = NULL;
    r->tool_choice = r->tools ? TOOLS_AUTO : TOOLS_NONE;
    return choice ? read_choice(r, choice, err) : 0;
}

/* Those of the server, and over them those of the request. */
static int read_template_args(struct request *r, const json_t *defaults, ggf_error *err)
{
    const json_t *v = get(r, "chat_template_kwargs");
    if (v && !json_is_object(v))
        return wrong(err, "chat_template_kwargs", "must be an object");
    if (!v && !defaults) return 0;
    r->template_args = defaults ? json_copy((json_t *)defaults) : json_object();
    if (!r->template_args || (v && json_object_update(r->template_args, (json_t *)v)))
        return ggf_no_memory(err);
    return 0;
}

static int read_reasoning(struct request *r, ggf_error *err)
{
    const json_t *v = get(r, "reasoning_format");
    const char *name = json_string_value(v);
    if (!v) return 0;
    if (name && !strcmp(name, "none")) r->reasoning = false;
    else if (name && (!strcmp(name, "auto") || !strcmp(name, "deepseek")))
        r->reasoning = true;
    else return wrong(err, "reasoning_format", "must be auto, deepseek or none");
    return 0;
}

static int read_chat(struct request *r, const struct request_defaults *d, ggf_error *err)
{
    int e = read_messages(r, err);
    if (!e) e = read_tools(r, err);
    if (!e) e = read_template_args(r, d->template_args, err);
    return e ? e : read_reasoning(r, err);
}

/* ---- All of it --------------------------------------------------------------------- */

/* Members that may only say what is so anyway. */
static int check_refused(const struct request *r, ggf_error *err)
{
    static const char *const none[] = { "functions", "function_call", "audio",
                                        "prediction" };
    const json_t *best = get(r, "best_of"), *suffix = get(r, "suffix");
    int64_t n;
    if (suffix && (!json_is_string(suffix) || json_string_length(suffix)))
        return wrong(err, "suffix", "is not supported");
    if (best && (!whole_number(&n, best) || n != r->n_choices))
        return wrong(err, "best_of", "must be n: all replies are given out");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        const json_t *v = get(r, none[i]);
        if (v && !(json_is_array(v) && !json_array_size(v)))
            return wrong(err, none[i], "is not supported");
    }
    const json_t *echo = get(r, "echo");
    return echo && !json_is_false(echo) ? wrong(err, "echo", "is not supported") : 0;
}

static int read_stream_options(struct request *r, ggf_error *err)
{
    const json_t *v = get(r, "stream_options");
    if (!v) return 0;
    const json_t *usage = json_object_get(v, "include_usage");
    if (!r->stream || !json_is_object(v))
        return wrong(err, "stream_options", "must be an object, and needs stream");
    if (usage && !json_is_boolean(usage))
        return wrong(err, "stream_options.include_usage", "must be true or false");
    r->include_usage = json_is_true(usage);
    return 0;
}

static int read_common(struct request *r, bool new_seed, ggf_error *err)
{
    const json_t *v = get(r, "model");
    int e = 0;
    if (v && !json_is_string(v)) return wrong(err, "model", "must be a string");
    if ((v = get(r, "cache_prompt"))) {
        if (!json_is_boolean(v))
            return wrong(err, "cache_prompt", "must be true or false");
        r->forget = json_is_false(v);
    }
    if ((v = get(r, "stop"))) e = read_stop(r, v, err);
    if (!e) e = check_refused(r, err);
    if (!e) e = read_stream_options(r, err);
    if (!e) e = read_sampling(r, new_seed, err);
    return e ? e : read_form(r, err);
}

int request_parse(struct request *r, const char *text, size_t len, bool chat,
                  const struct request_defaults *d, ggf_error *err)
{
    *r = (struct request){ .sample = d->sample,
                           .limit = d->n_predict,
                           .n_choices = 1,
                           .slot = -1,
                           .n_logprobs = -1,
                           .reasoning = d->reasoning,
                           .add_generation_prompt = true };
    int e = request_json(&r->body, text, len, err);
    if (!e) e = read_members(r, err);
    if (!e) e = read_common(r, d->new_seed, err);
    if (!e) e = read_logprobs(r, chat, err);
    if (!e && chat) e = read_chat(r, d, err);
    if (!e && !chat && !(r->prompt = get(r, "prompt")))
        e = wrong(err, "prompt", "is missing");
    return e;
}

void request_free(struct request *r)
{
    json_decref(r->body);
    json_decref(r->template_args);
    free(r->bias);
    free(r->breakers);
    free(r->stops);
    *r = (struct request){ 0 };
}
