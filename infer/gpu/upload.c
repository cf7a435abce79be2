/* upload.c - weights to the device: where they are already bound, so that every layout of
 * a file is as good as another. */
#include "offload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256 };

/* Memory of the device that is filled from its start. */
struct fill {
    gpu *g;
    uint8_t *at;
};

static void *put(struct fill *f, const void *from, uint64_t bytes)
{
    void *to = f->at;
    f->at += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    gpu_upload(f->g, to, from, bytes);
    return to;
}

static const float *put_floats(struct fill *f, const float *from, uint64_t n)
{
    return put(f, from, n * sizeof *from);
}

static struct gpu_matrix put_matrix(struct fill *f, const struct matrix *m)
{
    return (struct gpu_matrix){ .data_d =
                                    put(f, m->data, (uint64_t)m->rows * m->row_bytes),
                                .type = m->type,
                                .n = m->n,
                                .rows = m->rows,
                                .row_bytes = m->row_bytes,
                                .scale = m->scale };
}

/* ---- Linear maps -------------------------------------------------------------- */

static int by_column(const void *a, const void *b)
{
    const struct linear_part *x = a, *y = b;
    return x->out < y->out ? -1 : x->out > y->out;
}

/* Rows that go to neighbouring columns and are of one kind become one matrix: files that
 * interleave the rows of heads then cost as little as others. */
static bool continues(const struct gpu_part *p, const struct linear_part *next)
{
    return p->m.type == next->m.type && p->m.scale == next->m.scale &&
           p->out + p->m.rows == next->out;
}

/* The rows behind those of a matrix that was put last. */
static void grow(struct fill *f, struct gpu_matrix *g, const struct matrix *m)
{
    uint8_t *first = (uint8_t *)g->data_d;
    const uint64_t had = (uint64_t)g->rows * g->row_bytes;
    const uint64_t more = (uint64_t)m->rows * m->row_bytes;
    gpu_upload(f->g, first + had, m->data, more);
    g->rows += m->rows;
    f->at = first + (had + more + ALIGN - 1) / ALIGN * ALIGN;
}

static int put_linear(struct fill *f, const struct linear *l, struct gpu_linear *out,
                      ggf_error *err)
{
    struct linear_part *sorted = malloc(l->n_parts * sizeof *sorted);
    struct gpu_part *parts = malloc(l->n_parts * sizeof *parts);
    *out = (struct gpu_linear){ .n = l->n, .width = l->width, .parts = parts };
    if (!sorted || !parts) {
        free(sorted);
        return ggf_no_memory(err);
    }
    memcpy(sorted, l->parts, l->n_parts * sizeof *sorted);
    qsort(sorted, l->n_parts, sizeof *sorted, by_column);
    for (uint32_t i = 0; i < l->n_parts; i++) {
        const struct matrix *m = &sorted[i].m;
        struct gpu_part *last = out->n_parts ? &parts[out->n_parts - 1] : NULL;
        if (last && continues(last, &sorted[i])) grow(f, &last->m, m);
        else parts[out->n_parts++] = (struct gpu_part){ put_matrix(f, m), sorted[i].out };
    }
    free(sorted);
    return 0;
}

/* ---- Layers ------------------------------------------------------------------- */

static int put_attention(struct fill *f, const struct attention *a,
                         struct offload_layer *l, double rope_base, ggf_error *err)
{
    l->attention = (struct gpu_attention){
        .n_head = a->n_head,
        .n_head_kv = a->n_head_kv,
        .head_dim = a->head_dim,
        .n_rot = a->n_rot,
        .eps = a->eps,
        .rope_base = rope_base,
        .q_norm_d = put_floats(f, a->q_norm, a->head_dim),
        .k_norm_d = put_floats(f, a->k_norm, a->head_dim),
    };
    const int e = put_linear(f, &a->in, &l->in, err);
    return e ? e : put_linear(f, &a->out, &l->out, err);
}

static int put_delta(struct fill *f, const struct delta_net *d, struct offload_layer *l,
                     ggf_error *err)
{
    l->delta = (struct gpu_delta){
        .dim = d->dim,
        .n_k_heads = d->n_k_heads,
        .n_v_heads = d->n_v_heads,
        .taps = d->taps,
        .eps = d->eps,
        .conv_d = put_floats(f, d->conv, (uint64_t)d->taps * delta_channels(d)),
        .dt_d = put_floats(f, d->dt, d->n_v_heads),
        .a_d = put_floats(f, d->a, d->n_v_heads),
        .norm_d = put_floats(f, d->norm, d->dim),
    };
    const int e = put_linear(f, &d->in, &l->in, err);
    return e ? e : put_linear(f, &d->out, &l->out, err);
}

static int put_layer(struct fill *f, const q3n_model *m, uint32_t index, ggf_error *err)
{
    const struct layer *from = &m->layers[index];
    const struct moe *moe = &from->moe;
    struct offload_layer *l = &m->offload->layers[index];
    l->mixer_norm_d = put_floats(f, from->mixer_norm, m->hp.n_embd);
    l->ffn_norm_d = put_floats(f, from->ffn_norm, m->hp.n_embd);
    l->moe = (struct gpu_moe){
        .n_embd = moe->n_embd,
        .n_ff_shared = moe->n_ff_shared,
        .shared = { put_matrix(f, &moe->shared.gate), put_matrix(f, &moe->shared.up),
                    put_matrix(f, &moe->shared.down) },
        .shared_gate_d = put_floats(f, moe->shared_gate, m->hp.n_embd),
    };
    int e = put_linear(f, &moe->router, &l->router, err);
    if (e) return e;
    return from->recurrent ? put_delta(f, &from->delta, l, err)
                           : put_attention(f, &from->attention, l, m->hp.rope_base, err);
}

/* ---- Routed experts ----------------------------------------------------------- */

/* What is uploaded of a layer: matrices of each expert behind each other, then the table
 * of them. */
struct expert_fill {
    struct fill fill;
    const struct expert_store *store;
    uint32_t layer, n_expert;
    void *unpacked;           /* a compressed record; NULL: there are none */
    struct gpu_expert *table; /* [n_expert], of the host */
};

static int put_experts(struct expert_fill *x, struct gpu_moe *moe, ggf_error *err)
{
    for (uint32_t i = 0; i < x->n_expert; i++) {
        struct expert expert;
        const int e = expert_store_look(x->store, x->layer, i, x->unpacked, &expert, err);
        if (e) return e;
        const struct matrix *part[GGF_PARTS] = { &expert.gate, &expert.up, &expert.down };
        for (int p = 0; p < GGF_PARTS; p++) {
            const struct gpu_matrix g = put_matrix(&x->fill, part[p]);
            x->table[i].data_d[p] = g.data_d;
            x->table[i].type[p] = g.type;
            x->table[i].scale[p] = g.scale;
        }
        /* The buffer may be written again. */
        if (x->unpacked && gpu_sync(x->fill.g, err)) return GGF_E_IO;
    }
    moe->experts_d = put(&x->fill, x->table, x->n_expert * sizeof *x->table);
    return gpu_sync(x->fill.g, err);
}

static void count_experts(const q3n_model *m, uint32_t layer, struct gpu_moe *moe)
{
    moe->n_expert = m->hp.n_expert;
    moe->n_used = m->hp.n_expert_used;
    moe->n_ff = m->hp.n_ff_exp;
    for (uint32_t i = 0; i < moe->n_expert; i++) {
        struct expert e;
        expert_store_shape(m->experts, layer, i, &e);
        moe->types[GGF_GATE] |= 1ull << e.gate.type;
        moe->types[GGF_UP] |= 1ull << e.up.type;
        moe->types[GGF_DOWN] |= 1ull << e.down.type;
    }
}

static int load_experts(const q3n_model *m, uint32_t layer, ggf_error *err)
{
    struct offload_layer *l = &m->offload->layers[layer];
    const uint64_t unpacked = expert_store_unpacked(m->experts, layer);
    gpu *g = m->offload->gpu;
    int e = gpu_alloc(g, &l->experts_d, offload_expert_bytes(m, layer), err);
    if (e) return e;
    struct expert_fill x = { .fill = { g, l->experts_d },
                             .store = m->experts,
                             .layer = layer,
                             .n_expert = m->hp.n_expert,
                             .unpacked = unpacked ? malloc(unpacked) : NULL,
                             .table = calloc(m->hp.n_expert, sizeof *x.table) };
    count_experts(m, layer, &l->moe);
    e = x.table && (x.unpacked || !unpacked) ? put_experts(&x, &l->moe, err)
                                             : ggf_no_memory(err);
    free(x.unpacked);
    free(x.table);
    return e;
}

/* ---- The whole ---------------------------------------------------------------- */

static int put_dense(struct fill *f, q3n_model *m, ggf_error *err)
{
    struct offload *o = m->offload;
    int e = 0;
    for (uint32_t l = 0; l < m->hp.n_layer && !e; l++)
        if (o->layers[l].here) e = put_layer(f, m, l, err);
    if (e || !o->head) return e;
    o->output_norm_d = put_floats(f, m->output_norm, m->hp.n_embd);
    if ((e = put_linear(f, &m->head, &o->output, err)) || !o->embedding) return e;
    if (m->head.parts[0].m.data == m->embedding.data) o->input = o->output.parts[0].m;
    else o->input = put_matrix(f, &m->embedding);
    return 0;
}

static int start_pool(const q3n_model *m, ggf_error *err)
{
    struct offload *o = m->offload;
    int e = pool_new(&o->pool, o->gpu, m, &o->pool_shape, err);
    if (!e) e = stream_new(&o->stream, o->pool, m->threads, err);
    if (!e)
        e = few_new(&o->few, o->pool, stream_staging(o->stream), o->misses,
                    o->most_uploads, err);
    for (uint32_t l = 0; l < m->hp.n_layer && !e; l++) {
        struct gpu_moe *moe = &o->layers[l].moe;
        if (!o->layers[l].pooled) continue;
        moe->experts_d = pool_table(o->pool, l);
        count_experts(m, l, moe);
    }
    return e;
}

int offload_load(q3n_model *m, ggf_error *err)
{
    struct offload *o = m->offload;
    struct fill f = { .g = o->gpu };
    int e = gpu_alloc(o->gpu, &o->dense_d, m->info.device.dense_bytes, err);
    if (e) return e;
    f.at = o->dense_d;
    if ((e = put_dense(&f, m, err)) || (e = gpu_sync(o->gpu, err))) return e;
    for (uint32_t l = 0; l < m->hp.n_layer && !e; l++)
        if (o->layers[l].experts) e = load_experts(m, l, err);
    return e || !o->pool_shape.kept ? e : start_pool(m, err);
}

void offload_unload(q3n_model *m)
{
    struct offload *o = m->offload;
    for (uint32_t l = 0; o->layers && l < m->hp.n_layer; l++) {
        struct offload_layer *layer = &o->layers[l];
        free((void *)layer->in.parts);
        free((void *)layer->out.parts);
        free((void *)layer->router.parts);
        if (layer->experts_d) gpu_free(o->gpu, layer->experts_d);
    }
    few_free(o->few);
    stream_free(o->stream);
    pool_free(o->pool);
    free((void *)o->output.parts);
    if (o->dense_d) gpu_free(o->gpu, o->dense_d);
}
