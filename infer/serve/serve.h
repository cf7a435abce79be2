/* serve.h - a model behind HTTP: the API of OpenAI, as llama-server has it.
 *
 *   q3n_server_open()   listens, and says that it is loading
 *   q3n_server_ready()  has a model: requests are answered
 *   q3n_server_stop()   takes no more, cancels what is under way
 *   q3n_server_close()
 *
 * Threads of its own do all of it: one for each connection, one that computes, one that
 * keeps time.  docs/serve.md says what a client sees. */
#ifndef INFER_SERVE_SERVE_H
#define INFER_SERVE_SERVE_H

#include "../session/checkpoint.h"
#include "../text/template.h"
#include "request.h"

typedef struct q3n_server q3n_server;

/* Must live as long as the server, and everything it points to. */
struct q3n_serve_options {
    const char *host; /* name or address to listen on */
    int port;         /* 0: any that is free */
    const char *const
        *api_keys; /* one of them must be given; n_api_keys 0: none needed */
    size_t n_api_keys;
    const char
        *cors_origins;    /* "*", "localhost", origins, separated by commas; "": none */
    uint64_t most_body;   /* bytes of a request's body */
    unsigned timeout;     /* seconds in which a client must take or send something */
    unsigned connections; /* at once */
    unsigned ping;        /* seconds of silence before a comment; 0: no comments */
    bool metrics, slots, page; /* are /metrics, /slots and / answered? */
    const char *save_path;     /* folder for saved slots; NULL: slots are not saved */
};

int q3n_server_open(q3n_server **out, const struct q3n_serve_options *options,
                    ggf_error *err);
int q3n_server_port(const q3n_server *s);

/* What it serves; likewise. */
struct q3n_serve_model {
    q3n_model *model;
    const char *path, *alias;
    const q3n_tokenizer *tokenizer;
    const q3n_template *template; /* of chats, */
    const char *bos, *eos;        /* and what these tokens are called there, or NULL */
    struct q3n_session_options session; /* of each slot */
    uint32_t n_slots, n_batch;    /* prompt tokens that are computed between two tokens of
                                     others */
    uint32_t most_queued;         /* requests that may wait for a slot */
    q3n_checkpoints *checkpoints; /* NULL: none are kept */
    uint32_t checkpoint_every;    /* tokens; 0: at messages only */
    const struct route_watch *watch; /* of the experts' choice; NULL: nobody */
    struct request_defaults defaults;
};

int q3n_server_ready(q3n_server *s, const struct q3n_serve_model *model, ggf_error *err);

/* Also while it is being made ready. */
void q3n_server_stop(q3n_server *s);
/* Stops it, too.  The model may be closed afterwards.  NULL is allowed. */
void q3n_server_close(q3n_server *s);

#endif
