/* memory.c - what sequences and batches take on a device: for each one piece of memory,
 * cut into buffers. */
#include "offload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256 };

/* A piece of memory that is cut up; with no base it is only measured. */
struct cut {
    uint8_t *base;
    uint64_t used;
};

static void *take(struct cut *c, uint64_t n, uint64_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return p;
}

static float *floats(struct cut *c, uint64_t rows, uint64_t n)
{
    return take(c, rows * n, sizeof(float));
}

/* ---- Sequences ---------------------------------------------------------------- */

static void cut_kv(struct cut *c, const q3n_model *m, const struct q3n_session_options *o,
                   struct gpu_kv *kv)
{
    const struct hparams *hp = &m->hp;
    const uint64_t rows = (uint64_t)hp->n_head_kv * o->n_ctx;
    *kv = (struct gpu_kv){ .type_k = o->type_k, .type_v = o->type_v, .n_ctx = o->n_ctx };
    kv->k_d = take(c, rows, ggf_row_bytes(o->type_k, hp->head_dim));
    kv->v_d = take(c, rows, ggf_row_bytes(o->type_v, hp->head_dim));
}

static void cut_state(struct cut *c, const struct delta_net *d, struct gpu_delta_state *s)
{
    s->conv_d = floats(c, d->taps - 1, delta_channels(d));
    s->s_d = floats(c, d->n_v_heads, (uint64_t)d->dim * d->dim);
}

uint64_t device_kv_bytes(const q3n_model *m, const struct q3n_session_options *o)
{
    struct cut c = { 0 };
    struct gpu_kv kv;
    cut_kv(&c, m, o, &kv);
    return c.used;
}

uint64_t device_state_bytes(const q3n_model *m, uint32_t layer)
{
    struct cut c = { 0 };
    struct gpu_delta_state state;
    cut_state(&c, &m->layers[layer].delta, &state);
    return c.used;
}

static void cut_sequence(struct cut *c, const q3n_model *m,
                         const struct q3n_session_options *o, struct device_sequence *s)
{
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        if (!offload_keeps(m, l)) continue;
        if (m->layers[l].recurrent) {
            cut_state(c, &m->layers[l].delta, &s->delta[l]);
            s->delta[l].exact = gpu_kv_exact(o->type_k, o->type_v);
        } else {
            cut_kv(c, m, o, &s->kv[l]);
        }
    }
}

/* Heads of keys and values must be whole blocks; see kv.h. */
static int check_types(const q3n_model *m, const struct q3n_session_options *o,
                       ggf_error *err)
{
    const struct kv_shape shape = { .type_k = o->type_k,
                                    .type_v = o->type_v,
                                    .head_dim = m->hp.head_dim,
                                    .n_head_kv = m->hp.n_head_kv };
    return kv_check(&shape, err);
}

static int out_of_memory(uint64_t bytes, const char *what, ggf_error *err)
{
    char words[sizeof err->message];
    if (!err) return GGF_E_NOMEM;
    memcpy(words, err->message, sizeof words);
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                    "%" PRIu64 " MiB for %s are not to be had: %.200s", bytes >> 20, what,
                    words);
}

/* One session may begin or end while another one computes. */
static gpu *take_device(const q3n_model *m)
{
    pthread_mutex_lock(&m->offload->mutex);
    return m->offload->gpu;
}
static void give_device(const q3n_model *m) { pthread_mutex_unlock(&m->offload->mutex); }

static int get_sequence(struct device_sequence *s, const q3n_model *m, uint64_t bytes,
                        ggf_error *err)
{
    const int e = gpu_alloc(take_device(m), &s->memory_d, bytes, err);
    give_device(m);
    return e ? out_of_memory(bytes, "a sequence on the device", err) : 0;
}

int device_sequence_new(struct device_sequence **out, const q3n_model *m,
                        const struct q3n_session_options *o, ggf_error *err)
{
    *out = NULL;
    if (!m->offload) return 0;
    struct device_sequence *s = calloc(1, sizeof *s);
    struct cut c = { 0 };
    int e = s ? check_types(m, o, err) : ggf_no_memory(err);
    if (!e) {
        s->kv = calloc(m->hp.n_layer, sizeof *s->kv);
        s->delta = calloc(m->hp.n_layer, sizeof *s->delta);
        s->choice = calloc(2 * (size_t)m->hp.n_layer, sizeof *s->choice);
        if (!s->kv || !s->delta || !s->choice) e = ggf_no_memory(err);
    }
    if (!e) cut_sequence(&c, m, o, s);
    if (!e && c.used) e = get_sequence(s, m, c.used, err);
    if (e) {
        device_sequence_free(s, m);
        return e;
    }
    c = (struct cut){ .base = s->memory_d };
    if (c.base) cut_sequence(&c, m, o, s);
    *out = s;
    return 0;
}

void device_sequence_free(struct device_sequence *s, const q3n_model *m)
{
    if (!s) return;
    gpu *const g = take_device(m);
    for (int i = 0; i < 2; i++) gpu_graph_free(s->step[i]);
    for (uint32_t i = 0; s->choice && i < 2 * m->hp.n_layer; i++)
        gpu_graph_free(s->choice[i]);
    gpu_free(g, s->memory_d);
    give_device(m);
    free(s->choice);
    free(s->kv);
    free(s->delta);
    free(s);
}

void device_sequence_reset(struct device_sequence *s, const q3n_model *m)
{
    gpu *g = m->offload->gpu;
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        const struct delta_net *d = &m->layers[l].delta;
        if (!m->layers[l].recurrent || !offload_keeps(m, l)) continue;
        gpu_zero(g, s->delta[l].conv_d,
                 (d->taps - 1) * sizeof(float) * delta_channels(d));
        gpu_zero(g, s->delta[l].s_d,
                 (uint64_t)d->n_v_heads * d->dim * d->dim * sizeof(float));
    }
}

/* ---- Batches ------------------------------------------------------------------ */

/* The most that a layer needs. */
struct most {
    uint64_t projected, mixed, mixed_acts, scratch;
};

static void raise(uint64_t *most, uint64_t n)
{
    if (*most < n) *most = n;
}

static struct gpu_attention shape_of_attention(const struct attention *a)
{
    return (struct gpu_attention){ .n_head = a->n_head,
                                   .n_head_kv = a->n_head_kv,
                                   .head_dim = a->head_dim,
                                   .n_rot = a->n_rot };
}

static struct gpu_delta shape_of_delta(const struct delta_net *d)
{
    return (struct gpu_delta){ .dim = d->dim,
                               .n_k_heads = d->n_k_heads,
                               .n_v_heads = d->n_v_heads,
                               .taps = d->taps };
}

/* Scratch of any number of tokens up to n_batch: few of them may take another way. */
static uint64_t layer_scratch(const struct layer *l, uint32_t n_batch)
{
    enum { FEW = 64 };
    const struct moe *moe = &l->moe;
    const struct gpu_moe g = { .n_embd = moe->n_embd,
                               .n_expert = moe->n_expert,
                               .n_used = moe->n_used,
                               .n_ff = moe->n_ff,
                               .n_ff_shared = moe->n_ff_shared };
    uint64_t most = 0;
    for (uint32_t t = n_batch; t; t = t > FEW ? FEW : t - 1) {
        raise(&most, gpu_moe_scratch(&g, t));
        if (l->recurrent) {
            const struct gpu_delta d = shape_of_delta(&l->delta);
            raise(&most, gpu_delta_scratch(&d, t));
        } else {
            const struct gpu_attention a = shape_of_attention(&l->attention);
            raise(&most, gpu_attention_scratch(&a, t));
        }
    }
    return most;
}

static struct most most_of(const q3n_model *m, uint32_t n_batch)
{
    struct most most = { 0 };
    bool attention = false, delta = false;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const struct layer *l = &m->layers[i];
        const struct linear *in = l->recurrent ? &l->delta.in : &l->attention.in;
        const struct linear *out = l->recurrent ? &l->delta.out : &l->attention.out;
        bool *seen = l->recurrent ? &delta : &attention;
        if (!offload_layer_here(m, i) || *seen) continue;
        *seen = true; /* layers of a kind are alike */
        raise(&most.projected, in->width);
        raise(&most.mixed, out->n);
        raise(&most.mixed_acts, gpu_acts_bytes(out->n, n_batch));
        raise(&most.scratch, layer_scratch(l, n_batch));
    }
    return most;
}

/* Of tokens that few.h is for. */
static uint64_t few_pairs(const q3n_model *m, uint32_t n_batch)
{
    const uint32_t tokens = n_batch < GPU_FEW_TOKENS ? n_batch : GPU_FEW_TOKENS;
    return (uint64_t)tokens * m->hp.n_expert_used;
}

static void cut_work(struct cut *c, const q3n_model *m, uint32_t n_batch,
                     struct device_work *d)
{
    const struct hparams *hp = &m->hp;
    const struct most most = most_of(m, n_batch);
    const uint32_t rows = n_batch < DEVICE_HEAD_ROWS ? n_batch : DEVICE_HEAD_ROWS;
    d->x = floats(c, n_batch, hp->n_embd);
    d->norm = floats(c, n_batch, hp->n_embd);
    d->out = floats(c, n_batch, hp->n_embd);
    d->projected = floats(c, n_batch, most.projected);
    d->mixed = floats(c, n_batch, most.mixed);
    d->choice = floats(c, n_batch, hp->n_expert);
    d->weights = floats(c, n_batch, hp->n_expert_used);
    d->ids = take(c, (uint64_t)n_batch * hp->n_expert_used, sizeof *d->ids);
    d->late = take(c, few_pairs(m, n_batch), sizeof *d->late);
    d->pos = take(c, n_batch, sizeof *d->pos);
    d->tokens = take(c, n_batch, sizeof *d->tokens);
    d->norm_q = take(c, gpu_acts_bytes(hp->n_embd, n_batch), 1);
    d->mixed_q = take(c, most.mixed_acts, 1);
    d->scratch = take(c, most.scratch, 1);
    if (m->offload->head) d->logits = floats(c, rows, m->head.width);
}

/* Floats of a token that go into a mixer, or come out, in any layer. */
static uint32_t widest(const q3n_model *m, bool mixed)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const struct layer *l = &m->layers[i];
        const uint32_t in = l->recurrent ? l->delta.in.width : l->attention.in.width;
        const uint32_t out = l->recurrent ? l->delta.out.n : l->attention.out.n;
        if (most < (mixed ? out : in)) most = mixed ? out : in;
    }
    return most;
}

static void cut_host(struct cut *c, const q3n_model *m, uint32_t n_batch,
                     struct device_work *d)
{
    const struct hparams *hp = &m->hp;
    d->host.x = floats(c, n_batch, hp->n_embd);
    d->host.norm = floats(c, n_batch, hp->n_embd);
    d->host.out = floats(c, n_batch, hp->n_embd);
    d->host.weights = floats(c, n_batch, hp->n_expert_used);
    d->host.ids = take(c, (uint64_t)n_batch * hp->n_expert_used, sizeof *d->host.ids);
    d->host.pos = take(c, n_batch, sizeof *d->host.pos);
    d->host.tokens = take(c, n_batch, sizeof *d->host.tokens);
    if (m->offload->pool_shape.kept) {
        d->host.place = take(c, few_pairs(m, n_batch), sizeof *d->host.place);
        d->host.rows = floats(c, few_pairs(m, n_batch), hp->n_embd);
    }
    if (m->offload->all) d->host.logits = floats(c, 1, m->head.width);
    if (!m->offload->kv_host) return;
    d->host.projected = floats(c, n_batch, widest(m, false));
    d->host.mixed = floats(c, n_batch, widest(m, true));
}

uint64_t device_work_bytes(const q3n_model *m, uint32_t n_batch)
{
    struct cut c = { 0 };
    struct device_work d;
    cut_work(&c, m, n_batch, &d);
    return c.used;
}

/* The host's buffers take the places of pageable ones; layers of the host, which are as
 * wide, use them as well. */
static void put_into(struct workspace *w, const struct device_work *d)
{
    w->x = d->host.x;
    w->norm = d->host.norm;
    w->out = d->host.out;
    w->moe.ids = d->host.ids;
    w->moe.weights = d->host.weights;
    if (!d->host.projected) return;
    w->projected = d->host.projected;
    w->mixed = d->host.mixed;
}

static int get_memory(struct device_work *d, const q3n_model *m, uint32_t n_batch,
                      ggf_error *err)
{
    gpu *g = m->offload->gpu;
    struct cut there = { 0 }, host = { 0 };
    cut_work(&there, m, n_batch, d);
    cut_host(&host, m, n_batch, d);
    if (gpu_alloc(g, &d->memory_d, there.used, err))
        return out_of_memory(there.used, "buffers on the device", err);
    if (gpu_host_alloc(g, &d->host.memory, &d->host.seen, host.used, err))
        return out_of_memory(host.used, "buffers that cannot be swapped", err);
    there = (struct cut){ .base = d->memory_d };
    host = (struct cut){ .base = d->host.memory };
    cut_work(&there, m, n_batch, d);
    cut_host(&host, m, n_batch, d);
    return 0;
}

int device_work_new(struct device_work **out, const q3n_model *m, struct workspace *w,
                    ggf_error *err)
{
    *out = NULL;
    if (!m->offload) return 0;
    struct device_work *d = calloc(1, sizeof *d);
    if (!d) return ggf_no_memory(err);
    take_device(m);
    const int e = get_memory(d, m, w->n_batch, err);
    give_device(m);
    if (e) {
        device_work_free(d, m);
        return e;
    }
    put_into(w, d);
    *out = d;
    return 0;
}

void device_work_free(struct device_work *d, const q3n_model *m)
{
    if (!d) return;
    gpu *const g = take_device(m);
    gpu_free(g, d->memory_d);
    gpu_host_free(g, d->host.memory);
    give_device(m);
    free(d);
}
