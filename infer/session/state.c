/* state.c - what a session remembers, out into plain bytes and back; see session.h.
 * Snapshots, which leave keys and values where they are, are made of that. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

/* ---- Recurrent state -------------------------------------------------------- */

/* A piece of it; each layer has two. */
struct piece {
    float *data;
    size_t bytes;
};

static struct piece conv_of(const q3n_session *s, uint32_t layer)
{
    const struct delta_net *d = &s->model->layers[layer].delta;
    return (struct piece){ s->seq.delta[layer].conv,
                           (d->taps - 1) * (size_t)delta_channels(d) * sizeof(float) };
}

static struct piece sums_of(const q3n_session *s, uint32_t layer)
{
    const struct delta_net *d = &s->model->layers[layer].delta;
    return (struct piece){ s->seq.delta[layer].s,
                           (size_t)d->n_v_heads * d->dim * d->dim * sizeof(float) };
}

void session_get_recurrent(const q3n_session *s, void *into)
{
    char *to = into;
    for (uint32_t i = 0; i < s->model->hp.n_layer; i++) {
        if (!s->model->layers[i].recurrent) continue;
        const struct piece conv = conv_of(s, i), sums = sums_of(s, i);
        memcpy(to, conv.data, conv.bytes);
        memcpy(to + conv.bytes, sums.data, sums.bytes);
        to += conv.bytes + sums.bytes;
    }
}

void session_put_recurrent(q3n_session *s, const void *bytes)
{
    const char *from = bytes;
    for (uint32_t i = 0; i < s->model->hp.n_layer; i++) {
        if (!s->model->layers[i].recurrent) continue;
        const struct piece conv = conv_of(s, i), sums = sums_of(s, i);
        memcpy(conv.data, from, conv.bytes);
        memcpy(sums.data, from + conv.bytes, sums.bytes);
        from += conv.bytes + sums.bytes;
    }
}

void q3n_session_reset(q3n_session *s)
{
    for (uint32_t i = 0; i < s->model->hp.n_layer; i++) {
        if (!s->model->layers[i].recurrent) continue;
        const struct piece conv = conv_of(s, i), sums = sums_of(s, i);
        memset(conv.data, 0, conv.bytes);
        memset(sums.data, 0, sums.bytes);
    }
    s->pos = 0;
    s->broken = false;
}

/* ---- Keys and values -------------------------------------------------------- */

enum way { OUT, IN };

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

static void copy_kv(const q3n_session *s, uint32_t first, uint32_t n, char *bytes,
                    enum way way)
{
    for (uint32_t i = 0; i < s->model->hp.n_layer; i++) {
        const struct kv_cache *c = &s->seq.kv[i];
        if (s->model->layers[i].recurrent) continue;
        bytes = copy_rows(s, c, &c->k, first, n, bytes, way);
        bytes = copy_rows(s, c, &c->v, first, n, bytes, way);
    }
}

void session_get_kv(const q3n_session *s, uint32_t first, uint32_t n, void *into)
{
    copy_kv(s, first, n, into, OUT);
}

void session_put_kv(q3n_session *s, uint32_t first, uint32_t n, const void *from)
{
    copy_kv(s, first, n, (char *)from, IN); /* which only reads them */
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
    session_get_recurrent(s, snap->state);
    return 0;
}

void q3n_session_restore(q3n_session *s, const q3n_snapshot *snap)
{
    session_put_recurrent(s, snap->state);
    s->pos = snap->pos;
    s->broken = snap->broken;
}

void q3n_snapshot_free(q3n_snapshot *snap) { free(snap); }
