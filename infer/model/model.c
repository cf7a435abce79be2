/* model.c - opening a model: file, pack, memory; and what there is to know about it. */
#include "model.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- Weights in memory of our own ---------------------------------------- */

enum { MAX_THREADS = 1024 }; /* beyond what OpenMP can start, it ends the process */

enum { COPY_ALIGN = 64, HUGE_PAGE = 2 << 20 };

static uint64_t copy_size(uint64_t bytes)
{
    return (bytes + COPY_ALIGN - 1) / COPY_ALIGN * COPY_ALIGN;
}

/* Let go of the whole mapped pages of a range that has been copied. */
static void drop_pages(const uint8_t *data, uint64_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)data + bytes) / page * page;
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
}

static int copy_tensors(struct q3n_model *m, ggf_error *err)
{
    const uint64_t n = ggf_tensor_count(m->file);
    uint64_t total = 0;
    for (uint64_t i = 0; i < n; i++) total += copy_size(ggf_tensor(m->file, i)->bytes);
    total = (total + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    m->copy = aligned_alloc(HUGE_PAGE, total);
    if (!m->copy)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "out of memory for %" PRIu64 " bytes of weights", total);
    madvise(m->copy, total, MADV_HUGEPAGE);
    uint8_t *at = m->copy;
    for (uint64_t i = 0; i < n; i++) {
        m->tensor_data[i] = at;
        at += copy_size(ggf_tensor(m->file, i)->bytes);
    }
#pragma omp parallel for schedule(dynamic) num_threads(m->threads)
    for (uint64_t i = 0; i < n; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        memcpy((uint8_t *)m->copy + (m->tensor_data[i] - (uint8_t *)m->copy), t->data,
               t->bytes);
        drop_pages(t->data, t->bytes);
    }
    return 0;
}

static int place_tensors(struct q3n_model *m, bool own, ggf_error *err)
{
    const uint64_t n = ggf_tensor_count(m->file);
    m->tensor_data = calloc(n ? n : 1, sizeof *m->tensor_data);
    if (!m->tensor_data) return ggf_no_memory(err);
    for (uint64_t i = 0; i < n; i++) m->tensor_data[i] = ggf_tensor(m->file, i)->data;
    return own ? copy_tensors(m, err) : 0;
}

/* True if all weights are locked. */
static bool lock_weights(const struct q3n_model *m)
{
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++)
        if (mlock(m->tensor_data[i], ggf_tensor(m->file, i)->bytes)) return false;
    return expert_store_lock(m->experts);
}

/* ---- Numbers ------------------------------------------------------------- */

static uint64_t linear_bytes(const struct linear *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->n_parts; i++)
        sum += (uint64_t)l->parts[i].m.rows * l->parts[i].m.row_bytes;
    return sum;
}

static uint64_t expert_bytes(const struct expert *e)
{
    return (uint64_t)e->gate.rows * e->gate.row_bytes +
           (uint64_t)e->up.rows * e->up.row_bytes +
           (uint64_t)e->down.rows * e->down.row_bytes;
}

static void count_layer(struct q3n_model *m, const struct layer *l, uint32_t index)
{
    const struct hparams *hp = &m->hp;
    struct q3n_model_info *info = &m->info;
    const uint64_t experts = expert_store_bytes(m->experts, index);
    info->bytes_experts += experts;
    info->bytes_token += experts / hp->n_expert * hp->n_expert_used +
                         linear_bytes(&l->moe.router) + expert_bytes(&l->moe.shared);
    if (l->recurrent) {
        const struct delta_net *d = &l->delta;
        info->bytes_token += linear_bytes(&d->in) + linear_bytes(&d->out);
        info->bytes_session +=
            sizeof(float) * ((uint64_t)d->n_v_heads * d->dim * d->dim +
                             (uint64_t)(d->taps - 1) * delta_channels(d));
    } else {
        info->bytes_token +=
            linear_bytes(&l->attention.in) + linear_bytes(&l->attention.out);
        info->bytes_kv += 2 * sizeof(float) * (uint64_t)hp->n_head_kv * hp->head_dim;
    }
}

static void count(struct q3n_model *m)
{
    const struct hparams *hp = &m->hp;
    struct q3n_model_info *info = &m->info;
    info->architecture = hp->arch;
    info->n_vocab = m->embedding.rows;
    info->n_layer = hp->n_layer;
    info->n_embd = hp->n_embd;
    info->n_ctx_train = hp->n_ctx_train;
    info->n_expert = hp->n_expert;
    info->n_expert_used = hp->n_expert_used;
    info->packed = m->pack;
    info->bytes_token = m->embedding.row_bytes + linear_bytes(&m->head);
    for (uint32_t i = 0; i < hp->n_layer; i++) count_layer(m, &m->layers[i], i);
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++) {
        info->n_params += ggf_tensor(m->file, i)->count;
        info->bytes += ggf_tensor(m->file, i)->bytes;
    }
    for (uint32_t i = 0; i < ggf_shard_count(m->file); i++)
        info->bytes_files += ggf_shard(m->file, i)->size;
    if (!m->pack) return;
    info->bytes_files += ggf_pack_info(m->pack)->file_size;
    info->n_params +=
        (uint64_t)hp->n_layer * hp->n_expert * 3 * hp->n_embd * hp->n_ff_exp;
    info->bytes += info->bytes_experts;
}

/* ---- Opening ------------------------------------------------------------- */

/* The pack that was asked for or that the GGUF names; none is fine too. */
static int open_pack(struct q3n_model *m, const char *path, ggf_error *err)
{
    char *named = NULL;
    if (!path) {
        int e = ggf_pack_path(&named, m->file, err);
        if (e == GGF_E_NOT_FOUND) return 0;
        if (e) return e;
    }
    int e = ggf_pack_open(&m->pack, path ? path : named, err);
    free(named);
    return e ? e : ggf_pack_matches(m->file, m->pack, err);
}

static int open_model(struct q3n_model *m, const char *path,
                      const struct q3n_model_options *o, ggf_error *err)
{
    int e;
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%d threads: expected 0 to %d",
                        o->threads, MAX_THREADS);
    vec_ops_init(&m->ops);
    m->exact = o->exact;
    m->threads = o->threads ? o->threads : omp_get_num_procs();
    if ((e = ggf_open(&m->file, path, NULL, err)) ||
        (o->overlay && (e = ggf_open(&m->overlay, o->overlay, NULL, err))) ||
        (e = hparams_read(&m->hp, m->file, err)) || (e = open_pack(m, o->experts, err)) ||
        (e = place_tensors(m, o->no_mmap, err)) || (e = model_bind(m, err)))
        return e;
    count(m);
    m->info.locked = o->mlock && lock_weights(m);
    return 0;
}

int q3n_model_open(q3n_model **out, const char *path,
                   const struct q3n_model_options *options, ggf_error *err)
{
    const struct q3n_model_options none = { 0 };
    struct q3n_model *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m) return ggf_no_memory(err);
    int e = open_model(m, path, options ? options : &none, err);
    if (e) {
        q3n_model_close(m);
        return e;
    }
    *out = m;
    return 0;
}

static void layer_free(struct layer *l)
{
    linear_free(l->recurrent ? &l->delta.in : &l->attention.in);
    linear_free(l->recurrent ? &l->delta.out : &l->attention.out);
    linear_free(&l->moe.router);
}

void q3n_model_close(q3n_model *m)
{
    if (!m) return;
    for (uint32_t i = 0; m->layers && i < m->hp.n_layer; i++) layer_free(&m->layers[i]);
    free(m->layers);
    linear_free(&m->head);
    expert_store_free(m->experts);
    for (size_t i = 0; i < m->memory.n; i++) free(m->memory.blocks[i]);
    free(m->memory.blocks);
    free(m->tensor_data);
    free(m->copy);
    ggf_pack_close(m->pack);
    ggf_close(m->overlay);
    ggf_close(m->file);
    free(m);
}

const struct q3n_model_info *q3n_model_info(const q3n_model *m) { return &m->info; }

const ggf_file *q3n_model_file(const q3n_model *m) { return m->file; }
