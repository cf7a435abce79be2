/* server.h - what the parts of the server share; serve.h is for others. */
#ifndef INFER_SERVE_SERVER_H
#define INFER_SERVE_SERVER_H

#include "../text/json_out.h"
#include "../text/template.h"
#include "door.h"
#include "scheduler.h"
#include "serve.h"
#include "watch.h"

#include <microhttpd.h>
#include <time.h>

enum server_state { SERVER_LOADING, SERVER_READY, SERVER_STOPPING };

struct q3n_server {
    struct q3n_serve_options o;
    int listener, port; /* -1: the door has it, or nobody */
    struct MHD_Daemon *daemon;
    struct door *door;
    struct watch *watch;
    time_t started;
    FILE *nowhere;    /* takes what there is no memory for */
    atomic_int state; /* enum server_state; what follows is set before it is READY */
    struct q3n_serve_model m;
    q3n_trie *trie;     /* of the vocabulary, for schemas */
    json_t *any_object; /* the schema of those */
    struct scheduler *scheduler;
    atomic_uint_least64_t n_jobs;
    uint64_t random; /* makes ids of replies differ from those of another run */

    pthread_mutex_t lock;
    pthread_cond_t quiet;
    unsigned n_calls; /* that are being answered */
};

/* ---- A request, from its first line to its answer (http.c) ---- */

struct route;

struct call {
    q3n_server *server;
    struct MHD_Connection *connection;
    struct peer *peer;
    const char *method, *path; /* the path without /v1 */
    const struct route *route; /* NULL: there is none */
    char *body;
    size_t len, room;
    unsigned refused; /* status it will get, whatever the body is; 0: none */
    bool working;     /* counted in n_calls */
};

typedef enum MHD_Result (*call_fn)(struct call *call);

struct route {
    const char *method, *path; /* a path that ends with / stands for all below it */
    call_fn answer;
    bool open;  /* without a key */
    bool early; /* also while the model is loading */
};

/* The client has hung up; or closed its side, which counts as that. */
bool call_gone(const struct call *call);
/* From here on waiting is ours (true), or again the client's (false). */
void call_waits(const struct call *call, bool ours);

/* ---- Answers (answer.c) ---- */

/* JSON, or text, to be sent. */
struct answer {
    struct json json; /* one_line */
    char *bytes;
    size_t len;
};
/* Without memory it is begun all the same, and what is written is lost. */
void answer_begin(const q3n_server *s, struct answer *a);
/* Completes bytes and len.  False if memory ran out: there are no bytes. */
bool answer_end(const q3n_server *s, struct answer *a);

/* Send what was written, and free it. */
enum MHD_Result answer_json(const struct call *call, unsigned status, struct answer *a);
enum MHD_Result answer_text(const struct call *call, const char *type, struct answer *a);
/* Send a response, with the headers that all have; it is destroyed. */
enum MHD_Result answer_send(const struct call *call, unsigned status,
                            struct MHD_Response *response);

/* The "error" member. */
void answer_error_member(struct json *j, unsigned status, const char *message);
enum MHD_Result answer_error(const struct call *call, unsigned status,
                             const char *message);
/* A prompt that leaves no room for a reply. */
enum MHD_Result answer_too_long(const struct call *call, size_t n_prompt);
/* The status that tells a client of an error of ours. */
unsigned answer_status(const ggf_error *err);

/* ---- Who may ask (allow.c) ---- */

bool allow_key(const struct call *call);
/* The origin may see answers; *value is what to say so with, NULL: nothing needs saying.
 */
bool allow_origin(const struct call *call, const char **value);

/* ---- Answers to each route ---- */

enum MHD_Result api_page(struct call *call);
enum MHD_Result api_health(struct call *call);
enum MHD_Result api_models(struct call *call);
enum MHD_Result api_props(struct call *call);
enum MHD_Result api_experts(struct call *call);
enum MHD_Result api_slots(struct call *call);
enum MHD_Result api_slot_action(struct call *call);
enum MHD_Result api_metrics(struct call *call);
enum MHD_Result api_tokenize(struct call *call);
enum MHD_Result api_detokenize(struct call *call);
enum MHD_Result api_apply_template(struct call *call);
enum MHD_Result api_chat(struct call *call);
enum MHD_Result api_completions(struct call *call);

#endif
