/* session.h - what a session is made of.  Private to infer/: tools see engine.h. */
#ifndef INFER_SESSION_H
#define INFER_SESSION_H

#include "../model/forward.h"

/* One call at a time computes with it. */
struct q3n_lane {
    q3n_model *model;
    uint32_t n_batch, n_ctx; /* most tokens at once, and of a session */
    struct workspace work;
    struct run *runs; /* [room]: of the batch in hand */
    uint32_t room;
};

struct q3n_session {
    q3n_model *model;
    q3n_lane *lane;
    bool own_lane;
    struct q3n_session_options options; /* complete */
    uint32_t pos;
    int32_t *tokens; /* [n_ctx], of which pos count */
    const struct observer *observer;
    const struct route_watch *watch;
    struct op_clock *clock;
    bool broken; /* a batch failed half way: only a reset helps */
    struct sequence seq;
};

/* ---- state.c: what a session remembers, as plain bytes ------------------------- */

/* What is on a device comes from there and goes there; if that fails, so does every batch
 * after it. */

/* The recurrent state of all layers, model->info.bytes_session bytes. */
int session_get_recurrent(const q3n_session *s, void *into, ggf_error *err);
void session_put_recurrent(q3n_session *s, const void *from);

/* Keys and values of tokens first .. first + n - 1: layer by layer all keys, then all
 * values; of these head by head, n rows each.  q3n_kv_bytes() for each token. */
int session_get_kv(const q3n_session *s, uint32_t first, uint32_t n, void *into,
                   ggf_error *err);
void session_put_kv(q3n_session *s, uint32_t first, uint32_t n, const void *from);

#endif
