/* trace_write.c - writing traces and histories; see trace.h. */
#include "trace.h"

#include "../bytes.h"
#include "trace_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_BYTES = 1 << 20 };

struct trace_writer {
    ggf_output *out;
    uint32_t n_used;
    uint64_t start, at; /* where the first block is, and where the buffer goes */
    size_t used;        /* of the buffer */
    int status;
    ggf_error err;
    uint8_t buffer[BUFFER_BYTES];
};

static int write_header(ggf_output *out, const char *magic, const struct trace_model *m,
                        uint64_t data_bytes, ggf_error *err)
{
    uint8_t h[TRACE_HEADER] = { 0 };
    memcpy(h + TRACE_AT_MAGIC, magic, 8);
    put_u32(h + TRACE_AT_VERSION, TRACE_VERSION);
    put_u32(h + TRACE_AT_LAYERS, m->n_layer);
    put_u32(h + TRACE_AT_EXPERTS, m->n_expert);
    put_u32(h + TRACE_AT_USED, m->n_used);
    put_u64(h + TRACE_AT_DATA_BYTES, data_bytes);
    memcpy(h + TRACE_AT_ID, m->id, TRACE_ID_BYTES);
    put_u64(h + TRACE_AT_DENSE, m->dense_bytes);
    int e = ggf_output_write(out, 0, h, sizeof h, err);
    if (e) return e;
    return ggf_output_write(out, sizeof h, m->expert_bytes,
                            m->n_layer * sizeof *m->expert_bytes, err);
}

static uint64_t data_start(const struct trace_model *m)
{
    return TRACE_HEADER + (uint64_t)m->n_layer * sizeof(uint64_t);
}

int trace_create(struct trace_writer **out, const char *path, bool force,
                 const struct trace_model *model, ggf_error *err)
{
    struct trace_writer *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return ggf_no_memory(err);
    w->n_used = model->n_used;
    w->start = w->at = data_start(model);
    int e = ggf_output_create(&w->out, path, force, err);
    if (!e) e = write_header(w->out, TRACE_MAGIC, model, 0, err);
    if (e) {
        trace_discard(w);
        return e;
    }
    *out = w;
    return 0;
}

static void flush(struct trace_writer *w)
{
    if (!w->status)
        w->status = ggf_output_write(w->out, w->at, w->buffer, w->used, &w->err);
    w->at += w->used;
    w->used = 0;
}

static void put(struct trace_writer *w, const void *bytes, size_t len)
{
    if (w->used + len > sizeof w->buffer) flush(w);
    memcpy(w->buffer + w->used, bytes, len);
    w->used += len;
}

/* What is no number becomes 0. */
static uint16_t fixed_point(float weight)
{
    if (!(weight > 0)) return 0;
    return weight >= 1 ? UINT16_MAX : (uint16_t)lrintf(weight * UINT16_MAX);
}

void trace_add(struct trace_writer *w, uint32_t layer, uint32_t tokens,
               const uint32_t *ids, const float *weights)
{
    const uint32_t head[2] = { layer, tokens };
    put(w, head, sizeof head);
    for (uint64_t i = 0; i < (uint64_t)tokens * w->n_used; i++) {
        const struct trace_choice c = { (uint16_t)ids[i], fixed_point(weights[i]) };
        put(w, &c, sizeof c);
    }
}

int trace_finish(struct trace_writer *w, ggf_error *err)
{
    uint8_t bytes[8];
    flush(w);
    int e = w->status;
    put_u64(bytes, w->at - w->start);
    if (e && err) *err = w->err;
    if (!e) e = ggf_output_write(w->out, TRACE_AT_DATA_BYTES, bytes, sizeof bytes, err);
    if (!e) {
        e = ggf_output_commit(w->out, err);
        w->out = NULL;
    }
    trace_discard(w);
    return e;
}

void trace_discard(struct trace_writer *w)
{
    if (!w) return;
    ggf_output_discard(w->out);
    free(w);
}

int history_write(const char *path, bool force, const struct trace_model *model,
                  const uint64_t *counts, ggf_error *err)
{
    const uint64_t bytes = (uint64_t)model->n_layer * model->n_expert * sizeof *counts;
    ggf_output *out;
    int e = ggf_output_create(&out, path, force, err);
    if (e) return e;
    e = write_header(out, HISTORY_MAGIC, model, bytes, err);
    if (!e) e = ggf_output_write(out, data_start(model), counts, bytes, err);
    if (!e) return ggf_output_commit(out, err);
    ggf_output_discard(out);
    return e;
}
