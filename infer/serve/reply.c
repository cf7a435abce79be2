/* reply.c - see reply.h. */
#include "reply.h"

#include "../now.h"

#include <stdlib.h>
#include <string.h>

/* ---- Growing things ---------------------------------------------------------------- */

static bool add(struct text *t, const char *bytes, size_t len)
{
    if (t->len + len >= t->room) {
        const size_t room = 2 * (t->len + len) + 64;
        char *more = realloc(t->bytes, room);
        if (!more) return false;
        t->bytes = more;
        t->room = room;
    }
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return true;
}

static bool add_tokens(struct reply *r, const struct job_token *tokens, size_t n)
{
    if (!n) return true;
    if (r->n_tokens + n > r->token_room) {
        const size_t room = 2 * (r->n_tokens + n);
        struct job_token *more = realloc(r->tokens, room * sizeof *more);
        if (!more) return false;
        r->tokens = more;
        r->token_room = room;
    }
    memcpy(r->tokens + r->n_tokens, tokens, n * sizeof *tokens);
    r->n_tokens += n;
    return true;
}

/* ---- What the text turns out to be ------------------------------------------------- */

static void on_content(void *user, const char *text, size_t len)
{
    struct reply *r = user;
    if (r->request.stream) reply_event_text(r, "content", text, len);
    else r->no_memory |= !add(&r->content, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    struct reply *r = user;
    if (r->request.stream) reply_event_text(r, "reasoning_content", text, len);
    else r->no_memory |= !add(&r->reasoning, text, len);
}

static void on_call(void *user, int index, const char *name)
{
    struct reply *r = user;
    if (r->request.stream) {
        reply_event_call(r, index, name);
        return;
    }
    struct reply_call *more = realloc(r->calls, (r->n_calls + 1) * sizeof *more);
    char *copy = strdup(name);
    if (more) r->calls = more;
    if (more && copy) {
        r->calls[r->n_calls++] = (struct reply_call){ .name = copy };
        return;
    }
    free(copy);
    r->no_memory = true;
}

static void on_arguments(void *user, int index, const char *text, size_t len)
{
    struct reply *r = user;
    if (r->request.stream) reply_event_arguments(r, index, text, len);
    else if ((size_t)index < r->n_calls)
        r->no_memory |= !add(&r->calls[index].arguments, text, len);
}

bool reply_take(struct reply *r, const struct job_piece *piece)
{
    r->no_memory |= !add_tokens(r, piece->tokens, piece->n_tokens);
    if (!piece->len) return !r->no_memory;
    if (!r->parser) on_content(r, piece->text, piece->len);
    else if (q3n_reply_push(r->parser, piece->text, piece->len, NULL))
        r->no_memory = true;
    return !r->no_memory;
}

bool reply_finish(struct reply *r)
{
    if (r->parser && q3n_reply_end(r->parser, NULL)) r->no_memory = true;
    return !r->no_memory;
}

/* ---- Life -------------------------------------------------------------------------- */

/* Chats are taken apart: as far as the template knows of thoughts, and the request of
 * tools. */
static int new_parser(struct reply *r, ggf_error *err)
{
    const struct q3n_template_traits traits = q3n_template_traits(r->server->m.template);
    const bool tools = r->request.tools && r->request.tool_choice != TOOLS_NONE;
    const struct q3n_reply_options o = {
        .calls = !tools                           ? Q3N_CALLS_NONE
                 : traits.calls == Q3N_CALLS_NONE ? Q3N_CALLS_JSON
                                                  : traits.calls,
        .reasoning = r->request.reasoning,
        .thinking = r->job->thinking && r->request.reasoning,
        .tools = r->request.tools,
    };
    const struct q3n_reply_events events = { on_content, on_reasoning, on_call,
                                             on_arguments, r };
    return q3n_reply_parser_new(&r->parser, &o, &events, err);
}

int reply_new(struct reply **out, const struct call *call, struct request *request,
              struct job *job, bool chat, ggf_error *err)
{
    struct reply *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) {
        request_free(request);
        job_drop(job);
        return ggf_no_memory(err);
    }
    r->server = call->server;
    r->request = *request;
    *request = (struct request){ 0 };
    r->job = job;
    r->chat = chat;
    r->created = time(NULL);
    snprintf(r->id, sizeof r->id, "%s%08llx%08llx", chat ? "chatcmpl-" : "textcmpl-",
             (unsigned long long)(call->server->random & 0xffffffff),
             (unsigned long long)job->id);
    const int e = chat ? new_parser(r, err) : 0;
    if (e) reply_free(r);
    else *out = r;
    return e;
}

void reply_free(struct reply *r)
{
    if (!r) return;
    if (r->out.json.f && answer_end(r->server, &r->out)) free(r->out.bytes);
    r->job->cancelled = true;
    job_drop(r->job);
    q3n_reply_parser_free(r->parser);
    request_free(&r->request);
    for (size_t i = 0; i < r->n_calls; i++) {
        free(r->calls[i].name);
        free(r->calls[i].arguments.bytes);
    }
    free(r->calls);
    free(r->tokens);
    free(r->content.bytes);
    free(r->reasoning.bytes);
    free(r);
}

/* ---- All at once ------------------------------------------------------------------- */

/* False: the client has left. */
static bool wait_for_all(const struct call *call, struct reply *r)
{
    struct job_piece piece = { 0 };
    enum job_state state;
    bool gone = false;
    do {
        state = job_wait(r->job, 0.25, &piece);
        if (!reply_take(r, &piece)) break;
        gone = state != JOB_ENDED && call_gone(call);
    } while (state != JOB_ENDED && !gone);
    job_piece_free(&piece);
    if (!gone && !r->no_memory) reply_finish(r);
    return !gone;
}

enum MHD_Result reply_at_once(const struct call *call, struct reply *r)
{
    enum MHD_Result sent = MHD_NO;
    struct answer a;
    if (!wait_for_all(call, r)) {
        reply_free(r);
        return MHD_NO;
    }
    if (r->no_memory) {
        sent = answer_error(call, 500, "out of memory");
    } else if (r->job->failed) {
        const bool stopping = r->server->state == SERVER_STOPPING;
        sent = answer_error(call, stopping ? 503 : answer_status(&r->job->error),
                            r->job->error.message);
    } else {
        answer_begin(r->server, &a);
        reply_write(r, &a.json);
        sent = answer_json(call, 200, &a);
    }
    reply_free(r);
    return sent;
}
