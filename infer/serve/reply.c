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

static bool add_tokens(struct choice *c, const struct job_token *tokens, size_t n)
{
    if (!n) return true;
    if (c->n_tokens + n > c->token_room) {
        const size_t room = 2 * (c->n_tokens + n);
        struct job_token *more = realloc(c->tokens, room * sizeof *more);
        if (!more) return false;
        c->tokens = more;
        c->token_room = room;
    }
    memcpy(c->tokens + c->n_tokens, tokens, n * sizeof *tokens);
    c->n_tokens += n;
    return true;
}

/* ---- What the text turns out to be ------------------------------------------------- */

static void on_content(void *user, const char *text, size_t len)
{
    struct choice *c = user;
    if (c->reply->request.stream) reply_event_text(c, "content", text, len);
    else c->reply->no_memory |= !add(&c->content, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    struct choice *c = user;
    if (c->reply->request.stream) reply_event_text(c, "reasoning_content", text, len);
    else c->reply->no_memory |= !add(&c->reasoning, text, len);
}

static void on_call(void *user, int index, const char *name)
{
    struct choice *c = user;
    if (c->reply->request.stream) {
        reply_event_call(c, index, name);
        return;
    }
    struct reply_call *more = realloc(c->calls, (c->n_calls + 1) * sizeof *more);
    char *copy = strdup(name);
    if (more) c->calls = more;
    if (more && copy) {
        c->calls[c->n_calls++] = (struct reply_call){ .name = copy };
        return;
    }
    free(copy);
    c->reply->no_memory = true;
}

static void on_arguments(void *user, int index, const char *text, size_t len)
{
    struct choice *c = user;
    if (c->reply->request.stream) reply_event_arguments(c, index, text, len);
    else if ((size_t)index < c->n_calls)
        c->reply->no_memory |= !add(&c->calls[index].arguments, text, len);
}

bool reply_take(struct choice *c, const struct job_piece *piece)
{
    c->reply->no_memory |= !add_tokens(c, piece->tokens, piece->n_tokens);
    if (!piece->len) return !c->reply->no_memory;
    if (!c->parser) on_content(c, piece->text, piece->len);
    else if (q3n_reply_push(c->parser, piece->text, piece->len, NULL))
        c->reply->no_memory = true;
    return !c->reply->no_memory;
}

bool reply_finish(struct choice *c)
{
    if (c->parser && q3n_reply_end(c->parser, NULL)) c->reply->no_memory = true;
    return !c->reply->no_memory;
}

/* ---- Life -------------------------------------------------------------------------- */

/* Chats are taken apart: as far as the template knows of thoughts, and the request of
 * tools. */
static int new_parser(struct choice *c, ggf_error *err)
{
    const struct reply *r = c->reply;
    const struct q3n_template_traits traits = q3n_template_traits(r->server->m.template);
    const bool tools = r->request.tools && r->request.tool_choice != TOOLS_NONE;
    const struct q3n_reply_options o = {
        .calls = !tools                           ? Q3N_CALLS_NONE
                 : traits.calls == Q3N_CALLS_NONE ? Q3N_CALLS_JSON
                                                  : traits.calls,
        .reasoning = r->request.reasoning,
        .thinking = c->job->thinking && r->request.reasoning,
        .tools = r->request.tools,
    };
    const struct q3n_reply_events events = { on_content, on_reasoning, on_call,
                                             on_arguments, c };
    return q3n_reply_parser_new(&c->parser, &o, &events, err);
}

static int new_choices(struct reply *r, struct job *const *jobs, ggf_error *err)
{
    int e = 0;
    for (size_t i = 0; i < r->n_choices; i++)
        r->choices[i] =
            (struct choice){ .reply = r, .index = (unsigned)i, .job = jobs[i] };
    for (size_t i = 0; r->chat && !e && i < r->n_choices; i++)
        e = new_parser(&r->choices[i], err);
    return e;
}

int reply_new(struct reply **out, const struct call *call, struct request *request,
              struct job *const *jobs, bool chat, ggf_error *err)
{
    const size_t n = (size_t)request->n_choices;
    struct reply *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r) r->choices = calloc(n, sizeof *r->choices);
    if (!r || !r->choices) {
        request_free(request);
        for (size_t i = 0; i < n; i++) job_drop(jobs[i]);
        free(r);
        return ggf_no_memory(err);
    }
    r->server = call->server;
    r->request = *request;
    *request = (struct request){ 0 };
    r->n_choices = n;
    r->chat = chat;
    r->created = time(NULL);
    snprintf(r->id, sizeof r->id, "%s%08llx%08llx", chat ? "chatcmpl-" : "textcmpl-",
             (unsigned long long)(call->server->random & 0xffffffff),
             (unsigned long long)jobs[0]->id);
    const int e = new_choices(r, jobs, err);
    if (e) reply_free(r);
    else *out = r;
    return e;
}

static void free_choice(struct choice *c)
{
    c->job->cancelled = true;
    job_drop(c->job);
    q3n_reply_parser_free(c->parser);
    for (size_t i = 0; i < c->n_calls; i++) {
        free(c->calls[i].name);
        free(c->calls[i].arguments.bytes);
    }
    free(c->calls);
    free(c->tokens);
    free(c->content.bytes);
    free(c->reasoning.bytes);
}

void reply_free(struct reply *r)
{
    if (!r) return;
    if (r->out.json.f && answer_end(r->server, &r->out)) free(r->out.bytes);
    for (size_t i = 0; i < r->n_choices; i++) free_choice(&r->choices[i]);
    free(r->choices);
    request_free(&r->request);
    free(r);
}

/* ---- All at once ------------------------------------------------------------------- */

/* False: the client has left. */
static bool wait_for(const struct call *call, struct choice *c)
{
    struct job_piece piece = { 0 };
    enum job_state state;
    bool gone = false;
    do {
        state = job_wait(c->job, 0.25, &piece);
        if (!reply_take(c, &piece)) break;
        gone = state != JOB_ENDED && call_gone(call);
    } while (state != JOB_ENDED && !gone);
    job_piece_free(&piece);
    if (!gone && !c->reply->no_memory) reply_finish(c);
    return !gone;
}

static bool wait_for_all(const struct call *call, struct reply *r)
{
    bool here = true;
    for (size_t i = 0; here && !r->no_memory && i < r->n_choices; i++)
        here = wait_for(call, &r->choices[i]);
    return here;
}

/* One that failed; NULL: none did. */
static const struct job *failed_job(const struct reply *r)
{
    for (size_t i = 0; i < r->n_choices; i++)
        if (r->choices[i].job->failed) return r->choices[i].job;
    return NULL;
}

enum MHD_Result reply_at_once(const struct call *call, struct reply *r)
{
    enum MHD_Result sent = MHD_NO;
    struct answer a;
    if (!wait_for_all(call, r)) {
        reply_free(r);
        return MHD_NO;
    }
    const struct job *failed = r->no_memory ? NULL : failed_job(r);
    if (r->no_memory) {
        sent = answer_error(call, 500, "out of memory");
    } else if (failed) {
        const bool stopping = r->server->state == SERVER_STOPPING;
        sent = answer_error(call, stopping ? 503 : answer_status(&failed->error),
                            failed->error.message);
    } else {
        answer_begin(r->server, &a);
        reply_write(r, &a.json);
        sent = answer_json(call, 200, &a);
    }
    reply_free(r);
    return sent;
}
