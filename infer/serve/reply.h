/* reply.h - the text of a job on its way to a client: taken apart into what is said,
 * thought and called (chats), and written as the client wants it: all at once, or as a
 * stream of events. */
#ifndef INFER_SERVE_REPLY_H
#define INFER_SERVE_REPLY_H

#include "../text/toolcall.h"
#include "server.h"

/* Text that grows; zero at the start, bytes are to be freed. */
struct text {
    char *bytes;
    size_t len, room;
};

struct reply_call { /* of a tool */
    char *name;
    struct text arguments;
};

/* One of the texts that were asked for. */
struct choice {
    struct reply *reply;
    unsigned index;
    struct job *job;
    q3n_reply_parser *parser; /* NULL: all is content */

    /* What came so far, if it is sent at once. */
    struct text content, reasoning;
    struct reply_call *calls;
    size_t n_calls;

    /* Tokens that are not reported yet, and in characters where the next one starts. */
    struct job_token *tokens;
    size_t n_tokens, token_room;
    size_t offset;
};

struct reply {
    const q3n_server *server;
    struct request request; /* owned, as are the choices and their jobs */
    struct choice *choices;
    size_t n_choices;
    bool chat;
    char id[48];
    time_t created;
    bool no_memory;

    /* If it is a stream: events to be sent. */
    size_t at; /* the choice that is sent; the others come one after the other */
    struct answer out;
    size_t sent;
    bool ended;
    double last; /* when something was sent */
    const struct call *call;
};

/* Takes the request and its n_choices jobs over, also when it fails. */
int reply_new(struct reply **out, const struct call *call, struct request *request,
              struct job *const *jobs, bool chat, ggf_error *err);
/* Cancels the jobs that are not done. */
void reply_free(struct reply *r);

/* Wait for all of it and send it; frees r. */
enum MHD_Result reply_at_once(const struct call *call, struct reply *r);
/* Begin to send a stream; r is freed when it ends. */
enum MHD_Result reply_stream(const struct call *call, struct reply *r);

/* ---- For its parts ---- */

/* Take a piece in: it becomes content, thoughts, calls.  False if memory ran out. */
bool reply_take(struct choice *c, const struct job_piece *piece);
/* The text is over. */
bool reply_finish(struct choice *c);

/* Each writes an event (shape.c). */
void reply_event_start(struct choice *c);
void reply_event_text(struct choice *c, const char *member, const char *text, size_t len);
void reply_event_call(struct choice *c, int index, const char *name);
void reply_event_arguments(struct choice *c, int index, const char *text, size_t len);
/* With the last choice the stream is complete. */
void reply_event_end(struct choice *c);
/* The job failed, or memory ran out. */
void reply_event_error(struct choice *c);
/* The whole answer. */
void reply_write(struct reply *r, struct json *j);

#endif
