/* sse.c - replies as streams of server-sent events; see reply.h.  The connection's thread
 * asks for bytes and waits for them here. */
#include "reply.h"

#include "../now.h"

#include <stdlib.h>
#include <string.h>

/* A choice is over; the next one, if there is one, may have been for long. */
static void end_choice(struct reply *r)
{
    reply_event_end(&r->choices[r->at]);
    r->ended = ++r->at == r->n_choices;
    if (!r->ended && r->chat) reply_event_start(&r->choices[r->at]);
}

/* Wait for what comes next and write its events, if any. */
static void next_events(struct reply *r)
{
    const unsigned ping = r->server->o.ping;
    struct choice *c = &r->choices[r->at];
    struct job_piece piece = { 0 };
    const enum job_state state = job_wait(c->job, 0.25, &piece);
    const bool ok = reply_take(c, &piece) && (state != JOB_ENDED || reply_finish(c));
    job_piece_free(&piece);
    if (!ok || (state == JOB_ENDED && c->job->failed)) {
        r->ended = true;
        reply_event_error(c);
    } else if (state == JOB_ENDED) {
        end_choice(r);
    }
    fflush(r->out.json.f);
    if (!r->out.len && ping && seconds_now() - r->last > ping) {
        fputs(": keepalive\n\n", r->out.json.f);
        fflush(r->out.json.f);
    }
}

static ssize_t send_some(struct reply *r, char *buffer, size_t most)
{
    const size_t left = r->out.len - r->sent, n = left < most ? left : most;
    memcpy(buffer, r->out.bytes + r->sent, n);
    r->sent += n;
    if (r->sent == r->out.len) {
        rewind(r->out.json.f);
        r->sent = 0;
        r->out.len = 0;
    }
    r->last = seconds_now();
    return (ssize_t)n;
}

/* For MHD: up to `most` bytes of the body. */
static ssize_t on_read(void *user, uint64_t pos, char *buffer, size_t most)
{
    struct reply *r = user;
    (void)pos;
    if (r->out.json.f == r->server->nowhere) return MHD_CONTENT_READER_END_WITH_ERROR;
    call_waits(r->call, true);
    bool gone = call_gone(r->call);
    while (!r->out.len && !r->ended && !gone) {
        next_events(r);
        gone = call_gone(r->call);
    }
    call_waits(r->call, false);
    if (gone) return MHD_CONTENT_READER_END_WITH_ERROR;
    return r->out.len ? send_some(r, buffer, most) : MHD_CONTENT_READER_END_OF_STREAM;
}

static void on_free(void *user) { reply_free(user); }

enum MHD_Result reply_stream(const struct call *call, struct reply *r)
{
    enum { BLOCK = 16 << 10 };
    r->call = call;
    r->last = seconds_now();
    answer_begin(r->server, &r->out);
    if (r->chat) reply_event_start(&r->choices[0]);
    fflush(r->out.json.f);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, on_read, r, on_free);
    if (!response) {
        reply_free(r);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return answer_send(call, 200, response);
}
