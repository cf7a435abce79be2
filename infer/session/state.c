/* state.c - what a session remembers, out into plain bytes and back; see session.h.
 * Snapshots, which leave keys and values where they are, are made of that. */
#include "session.h"
#include "../gpu/offload.h"

#include <stdlib.h>
#include <string.h>

enum way { OUT, IN };

/* One call at a time uses the device; what it has to do with bytes of the caller's is
 * done when finish() returns. */
static void start(const q3n_session *s)
{
    if (s->seq.device) pthread_mutex_lock(&s->model->offload->mutex);
}

static int finish(const q3n_session *s, ggf_error *err)
{
    if (!s->seq.device) return 0;
    const int e = gpu_sync(s->model->offload->gpu, err);
    pthread_mutex_unlock(&s->model->offload->mutex);
    return e;
}

/* ---- Recurrent state -------------------------------------------------------- */

/* Some of it, and where the same is in the caller's bytes. */
static char *copy_piece(const q3n_session *s, bool there, float *data, size_t n,
                        char *bytes, enum way way)
{
    const size_t len = n * sizeof *data;
    if (there && way == OUT) gpu_download(s->model->offload->gpu, bytes, data, len);
    else if (there) gpu_upload(s->model->offload->gpu, data, bytes, len);
    else if (way == OUT) memcpy(bytes, data, len);
    else memcpy(data, bytes, len);
    return bytes + len;
}

static size_t conv_floats(const struct delta_net *d)
{
    return (d->taps - 1) * (size_t)delta_channels(d);
}

static size_t sum_floats(const struct delta_net *d)
{
    return (size_t)d->n_v_heads * d->dim * d->dim;
}

static void copy_recurrent(const q3n_session *s, char *bytes, enum way way)
{
    const q3n_model *m = s->model;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const struct delta_net *d = &m->layers[i].delta;
        const struct delta_state *here = &s->seq.delta[i];
        if (!m->layers[i].recurrent) continue;
        const bool there = offload_keeps(m, i);
        const struct gpu_delta_state *state = there ? &s->seq.device->delta[i] : NULL;
        bytes = copy_piece(s, there, there ? state->conv_d : here->conv, conv_floats(d),
                           bytes, way);
        bytes =
            copy_piece(s, there, there ? state->s_d : here->s, sum_floats(d), bytes, way);
    }
}

int session_get_recurrent(const q3n_session *s, void *into, ggf_error *err)
{
    start(s);
    copy_recurrent(s, into, OUT);
    return finish(s, err);
}

void session_put_recurrent(q3n_session *s, const void *from)
{
    start(s);
    copy_recurrent(s, (char *)from, IN); /* which only reads them */
    finish(s, NULL);
}

void q3n_session_reset(q3n_session *s)
{
    const q3n_model *m = s->model;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const struct delta_net *d = &m->layers[i].delta;
        if (!m->layers[i].recurrent || offload_keeps(m, i)) continue;
        memset(s->seq.delta[i].conv, 0, conv_floats(d) * sizeof(float));
        memset(s->seq.delta[i].s, 0, sum_floats(d) * sizeof(float));
    }
    start(s);
    if (s->seq.device) device_sequence_reset(s->seq.device, m);
    finish(s, NULL);
    s->pos = 0;
    s->broken = false;
}

/* ---- Keys and values -------------------------------------------------------- */

/* n rows of each head of a layer's keys or values; returns what follows in the bytes. */
static char *copy_rows(const q3n_session *s, const struct kv_cache *c,
                       const struct kv_rows *rows, uint32_t first, uint32_t n,
                       char *bytes, enum way way)
{
    const size_t len = n * rows->row_bytes;
    for (uint32_t h = 0; h < s->model->hp.n_head_kv; h++, bytes += len) {
        uint8_t *row = kv_row(c, rows, h, first);
        if (way == OUT) memcpy(bytes, row, len);
        else memcpy(row, bytes, len);
    }
    return bytes;
}

/* The same on the device. */
static char *copy_rows_there(const q3n_session *s, void *data_d, uint32_t type,
                             uint32_t first, uint32_t n, char *bytes, enum way way)
{
    const struct hparams *hp = &s->model->hp;
    const size_t row = ggf_row_bytes(type, hp->head_dim), len = n * row;
    const size_t stride = s->options.n_ctx * row;
    uint8_t *from = (uint8_t *)data_d + first * row;
    gpu *g = s->model->offload->gpu;
    if (way == OUT) gpu_download_rows(g, bytes, len, from, stride, len, hp->n_head_kv);
    else gpu_upload_rows(g, from, stride, bytes, len, len, hp->n_head_kv);
    return bytes + len * hp->n_head_kv;
}

static void copy_kv(const q3n_session *s, uint32_t first, uint32_t n, char *bytes,
                    enum way way)
{
    const q3n_model *m = s->model;
    for (uint32_t i = 0; i < m->hp.n_layer && n; i++) {
        const struct kv_cache *c = &s->seq.kv[i];
        if (m->layers[i].recurrent) continue;
        if (offload_keeps(m, i)) {
            const struct gpu_kv *kv = &s->seq.device->kv[i];
            bytes = copy_rows_there(s, kv->k_d, kv->type_k, first, n, bytes, way);
            bytes = copy_rows_there(s, kv->v_d, kv->type_v, first, n, bytes, way);
        } else {
            bytes = copy_rows(s, c, &c->k, first, n, bytes, way);
            bytes = copy_rows(s, c, &c->v, first, n, bytes, way);
        }
    }
}

int session_get_kv(const q3n_session *s, uint32_t first, uint32_t n, void *into,
                   ggf_error *err)
{
    start(s);
    copy_kv(s, first, n, into, OUT);
    return finish(s, err);
}

void session_put_kv(q3n_session *s, uint32_t first, uint32_t n, const void *from)
{
    start(s);
    copy_kv(s, first, n, (char *)from, IN); /* which only reads them */
    finish(s, NULL);
}

/* ---- Snapshots --------------------------------------------------------------- */

struct q3n_snapshot {
    uint32_t pos;
    bool broken;
    char state[];
};

int q3n_session_save(q3n_snapshot **out, const q3n_session *s, ggf_error *err)
{
    q3n_snapshot *snap = malloc(sizeof *snap + s->model->info.bytes_session);
    *out = snap;
    if (!snap) return ggf_no_memory(err);
    snap->pos = s->pos;
    snap->broken = s->broken;
    const int e = session_get_recurrent(s, snap->state, err);
    if (!e) return 0;
    free(snap);
    *out = NULL;
    return e;
}

void q3n_session_restore(q3n_session *s, const q3n_snapshot *snap)
{
    session_put_recurrent(s, snap->state);
    s->pos = snap->pos;
    s->broken = snap->broken;
}

void q3n_snapshot_free(q3n_snapshot *snap) { free(snap); }
