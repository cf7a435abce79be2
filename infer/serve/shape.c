/* shape.c - replies as JSON, in the shapes of OpenAI's API; see reply.h. */
#include "reply.h"

#include <stdlib.h>
#include <string.h>

/* ---- Members that all have --------------------------------------------------------- */

static void head(const struct reply *r, struct json *j, bool stream)
{
    char fingerprint[32];
    snprintf(fingerprint, sizeof fingerprint, "q3n-%s", ggf_version());
    json_str(j, "id", r->id);
    json_str(j, "object",
             !r->chat ? "text_completion"
             : stream ? "chat.completion.chunk"
                      : "chat.completion");
    json_i64(j, "created", r->created);
    json_str(j, "model", r->server->m.alias);
    json_str(j, "system_fingerprint", fingerprint);
}

static const char *finish_reason(const struct choice *c)
{
    if (c->job->why != Q3N_STOP_EOG && c->job->why != Q3N_STOP_STRING) return "length";
    return c->parser && q3n_reply_calls(c->parser) > 0 ? "tool_calls" : "stop";
}

/* Of all choices; the prompt is read for the first.  They were written side by side, or
 * one after the other: the longest time is the time of all. */
static struct job_counts counts(const struct reply *r)
{
    struct job_counts sum = r->choices[0].job->counts;
    for (size_t i = 1; i < r->n_choices; i++) {
        const struct job_counts *c = &r->choices[i].job->counts;
        sum.n_predicted += c->n_predicted;
        if (c->predicted_seconds > sum.predicted_seconds)
            sum.predicted_seconds = c->predicted_seconds;
    }
    return sum;
}

static void usage(const struct reply *r, struct json *j)
{
    const struct job_counts c = counts(r);
    json_open(j, "usage", '{');
    json_u64(j, "prompt_tokens", c.n_prompt);
    json_u64(j, "completion_tokens", c.n_predicted);
    json_u64(j, "total_tokens", (uint64_t)c.n_prompt + c.n_predicted);
    json_open(j, "prompt_tokens_details", '{');
    json_u64(j, "cached_tokens", c.n_cached);
    json_close(j, '}');
    json_close(j, '}');
}

/* name_n, name_ms, ... of n tokens. */
static void timing(struct json *j, const char *name, uint32_t n, double seconds)
{
    char key[40];
    const double ms = 1e3 * seconds;
    snprintf(key, sizeof key, "%s_n", name);
    json_u64(j, key, n);
    snprintf(key, sizeof key, "%s_ms", name);
    json_f64(j, key, ms);
    snprintf(key, sizeof key, "%s_per_token_ms", name);
    json_f64(j, key, n ? ms / n : 0);
    snprintf(key, sizeof key, "%s_per_second", name);
    json_f64(j, key, seconds > 0 ? n / seconds : 0);
}

static void timings(const struct reply *r, struct json *j)
{
    const struct job_counts c = counts(r);
    json_open(j, "timings", '{');
    json_u64(j, "cache_n", c.n_cached);
    timing(j, "prompt", c.n_read - c.n_cached, c.prompt_seconds);
    timing(j, "predicted", c.n_predicted, c.predicted_seconds);
    json_close(j, '}');
}

/* ---- Probabilities ----------------------------------------------------------------- */

static void token_text(const struct reply *r, struct json *j, const char *key, int32_t id)
{
    const struct ggf_str t = q3n_token_text(r->server->m.tokenizer, id);
    json_strn(j, key, t.data, t.len);
}

static void chat_token(const struct reply *r, struct json *j, int32_t id, float logprob)
{
    const struct ggf_str t = q3n_token_text(r->server->m.tokenizer, id);
    json_strn(j, "token", t.data, t.len);
    json_i64(j, "id", id);
    json_open(j, "bytes", '[');
    for (size_t i = 0; i < t.len; i++) json_u64(j, NULL, (uint8_t)t.data[i]);
    json_close(j, ']');
    json_f64(j, "logprob", logprob);
}

static void chat_logprobs(const struct choice *c, struct json *j)
{
    const struct reply *r = c->reply;
    json_open(j, "content", '[');
    for (size_t i = 0; i < c->n_tokens; i++) {
        const struct job_token *t = &c->tokens[i];
        json_open(j, NULL, '{');
        chat_token(r, j, t->id, t->logprob);
        json_open(j, "top_logprobs", '[');
        for (uint32_t k = 0; k < t->n_top; k++) {
            json_open(j, NULL, '{');
            chat_token(r, j, t->top[k].id, t->top[k].logprob);
            json_close(j, '}');
        }
        json_close(j, ']');
        json_close(j, '}');
    }
    json_close(j, ']');
}

/* Characters that start in a token. */
static size_t characters(const struct ggf_str t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++) n += ((uint8_t)t.data[i] & 0xc0) != 0x80;
    return n;
}

/* An object from texts of tokens: of equal texts the likelier one, which comes first. */
static void top_logprobs(const struct reply *r, struct json *j, const struct job_token *t)
{
    json_open(j, NULL, '{');
    for (uint32_t k = 0; k < t->n_top; k++) {
        char key[512];
        const struct ggf_str s = q3n_token_text(r->server->m.tokenizer, t->top[k].id);
        snprintf(key, sizeof key, "%.*s", (int)s.len, s.data);
        json_f64(j, key, t->top[k].logprob);
    }
    json_close(j, '}');
}

static void text_logprobs(struct choice *c, struct json *j)
{
    const struct reply *r = c->reply;
    json_open(j, "tokens", '[');
    for (size_t i = 0; i < c->n_tokens; i++) token_text(r, j, NULL, c->tokens[i].id);
    json_close(j, ']');
    json_open(j, "token_logprobs", '[');
    for (size_t i = 0; i < c->n_tokens; i++) json_f64(j, NULL, c->tokens[i].logprob);
    json_close(j, ']');
    json_open(j, "top_logprobs", '[');
    for (size_t i = 0; i < c->n_tokens; i++) top_logprobs(r, j, &c->tokens[i]);
    json_close(j, ']');
    json_open(j, "text_offset", '[');
    for (size_t i = 0; i < c->n_tokens; i++) {
        json_u64(j, NULL, c->offset);
        c->offset += characters(q3n_token_text(r->server->m.tokenizer, c->tokens[i].id));
    }
    json_close(j, ']');
}

/* Of the tokens that were not reported yet, which now are. */
static void logprobs(struct choice *c, struct json *j)
{
    if (c->reply->request.n_logprobs < 0) {
        json_none(j, "logprobs");
        return;
    }
    json_open(j, "logprobs", '{');
    if (c->reply->chat) chat_logprobs(c, j);
    else text_logprobs(c, j);
    json_close(j, '}');
    c->n_tokens = 0;
}

/* ---- All at once ------------------------------------------------------------------- */

/* The id of a call: no other of the reply has it. */
static void call_id(const struct choice *c, struct json *j, size_t index)
{
    char id[80];
    snprintf(id, sizeof id, "call_%s_%u_%zu", c->reply->id + 9, c->index, index);
    json_str(j, "id", id);
    json_str(j, "type", "function");
}

static void tool_calls(const struct choice *c, struct json *j)
{
    json_open(j, "tool_calls", '[');
    for (size_t i = 0; i < c->n_calls; i++) {
        const struct reply_call *call = &c->calls[i];
        json_open(j, NULL, '{');
        call_id(c, j, i);
        json_open(j, "function", '{');
        json_str(j, "name", call->name);
        json_strn(j, "arguments", call->arguments.bytes, call->arguments.len);
        json_close(j, '}');
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void message(const struct choice *c, struct json *j)
{
    json_open(j, "message", '{');
    json_str(j, "role", "assistant");
    if (c->reasoning.len)
        json_strn(j, "reasoning_content", c->reasoning.bytes, c->reasoning.len);
    if (c->n_calls && !c->content.len) json_none(j, "content");
    else json_strn(j, "content", c->content.bytes, c->content.len);
    if (c->n_calls) tool_calls(c, j);
    json_close(j, '}');
}

static void write_choice(struct choice *c, struct json *j)
{
    json_open(j, NULL, '{');
    json_u64(j, "index", c->index);
    if (c->reply->chat) message(c, j);
    else json_strn(j, "text", c->content.bytes, c->content.len);
    logprobs(c, j);
    json_str(j, "finish_reason", finish_reason(c));
    json_close(j, '}');
}

void reply_write(struct reply *r, struct json *j)
{
    json_open(j, NULL, '{');
    head(r, j, false);
    json_open(j, "choices", '[');
    for (size_t i = 0; i < r->n_choices; i++) write_choice(&r->choices[i], j);
    json_close(j, ']');
    usage(r, j);
    timings(r, j);
    json_close(j, '}');
}

/* ---- Events ------------------------------------------------------------------------ */

static struct json *event_begin(struct reply *r)
{
    struct json *j = &r->out.json;
    fputs("data: ", j->f);
    j->need_comma = false;
    json_open(j, NULL, '{');
    head(r, j, true);
    return j;
}

static void event_end(struct json *j)
{
    json_close(j, '}');
    fputs("\n\n", j->f);
}

static struct json *choice_begin(struct choice *c)
{
    struct json *j = event_begin(c->reply);
    json_open(j, "choices", '[');
    json_open(j, NULL, '{');
    json_u64(j, "index", c->index);
    return j;
}

static void choice_end(struct choice *c, struct json *j, const char *reason)
{
    logprobs(c, j);
    if (reason) json_str(j, "finish_reason", reason);
    else json_none(j, "finish_reason");
    json_close(j, '}');
    json_close(j, ']');
}

/* The first of a chat: who speaks. */
void reply_event_start(struct choice *c)
{
    struct json *j = choice_begin(c);
    json_open(j, "delta", '{');
    json_str(j, "role", "assistant");
    json_none(j, "content");
    json_close(j, '}');
    json_none(j, "logprobs");
    json_none(j, "finish_reason");
    json_close(j, '}');
    json_close(j, ']');
    event_end(j);
}

void reply_event_text(struct choice *c, const char *member, const char *text, size_t len)
{
    struct json *j = choice_begin(c);
    if (c->reply->chat) {
        json_open(j, "delta", '{');
        json_strn(j, member, text, len);
        json_close(j, '}');
    } else {
        json_strn(j, "text", text, len);
    }
    choice_end(c, j, NULL);
    event_end(j);
}

/* "tool_calls" of one function; with a name it is the first of that call. */
static void call_event(struct choice *c, int index, const char *name, const char *text,
                       size_t len)
{
    struct json *j = choice_begin(c);
    json_open(j, "delta", '{');
    json_open(j, "tool_calls", '[');
    json_open(j, NULL, '{');
    json_i64(j, "index", index);
    if (name) call_id(c, j, (size_t)index);
    json_open(j, "function", '{');
    if (name) json_str(j, "name", name);
    json_strn(j, "arguments", text, len);
    json_close(j, '}');
    json_close(j, '}');
    json_close(j, ']');
    json_close(j, '}');
    choice_end(c, j, NULL);
    event_end(j);
}

void reply_event_call(struct choice *c, int index, const char *name)
{
    call_event(c, index, name, "", 0);
}

void reply_event_arguments(struct choice *c, int index, const char *text, size_t len)
{
    call_event(c, index, NULL, text, len);
}

/* The end: why, then what it all cost, on the last event. */
void reply_event_end(struct choice *c)
{
    struct reply *r = c->reply;
    struct json *j = choice_begin(c);
    if (r->chat) {
        json_open(j, "delta", '{');
        json_close(j, '}');
    } else {
        json_str(j, "text", "");
    }
    choice_end(c, j, finish_reason(c));
    if (c->index + 1 < r->n_choices) {
        event_end(j);
        return;
    }
    if (r->request.include_usage) {
        event_end(j);
        j = event_begin(r);
        json_open(j, "choices", '[');
        json_close(j, ']');
        usage(r, j);
    }
    timings(r, j);
    event_end(j);
    fputs("data: [DONE]\n\n", j->f);
}

/* It failed after it had begun. */
void reply_event_error(struct choice *c)
{
    const struct reply *r = c->reply;
    struct json *j = &c->reply->out.json;
    const bool stopping = r->server->state == SERVER_STOPPING;
    fputs("data: ", j->f);
    j->need_comma = false;
    json_open(j, NULL, '{');
    answer_error_member(j,
                        r->no_memory ? 500
                        : stopping   ? 503
                                     : answer_status(&c->job->error),
                        r->no_memory ? "out of memory" : c->job->error.message);
    event_end(j);
}
