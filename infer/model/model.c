/* model.c - opening a model: file, pack, memory; and what there is to know about it. */
#include "model.h"
#include "../gpu/offload.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 }; /* beyond what OpenMP can start, it ends the process */

/* ---- Numbers ------------------------------------------------------------- */

static uint64_t linear_bytes(const struct linear *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->n_parts; i++)
        sum += (uint64_t)l->parts[i].m.rows * l->parts[i].m.row_bytes;
    return sum;
}

static uint64_t linear_macs(const struct linear *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->n_parts; i++)
        sum += (uint64_t)l->parts[i].m.rows * l->parts[i].m.n;
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
    *(index + 1 < hp->n_layer ? &info->macs_token : &info->macs_logits) +=
        linear_macs(&l->moe.router) +
        3 * (uint64_t)hp->n_embd *
            ((uint64_t)hp->n_expert_used * hp->n_ff_exp + hp->n_ff_shexp);
    if (l->recurrent) {
        const struct delta_net *d = &l->delta;
        info->bytes_token += linear_bytes(&d->in) + linear_bytes(&d->out);
        info->macs_token += linear_macs(&d->in) + linear_macs(&d->out);
        info->bytes_session +=
            sizeof(float) * ((uint64_t)d->n_v_heads * d->dim * d->dim +
                             (uint64_t)(d->taps - 1) * delta_channels(d));
    } else {
        info->bytes_token +=
            linear_bytes(&l->attention.in) + linear_bytes(&l->attention.out);
        info->macs_token +=
            linear_macs(&l->attention.in) + linear_macs(&l->attention.out);
        info->n_kv += (uint64_t)hp->n_head_kv * hp->head_dim;
    }
}

/* A tensor of the file, or what takes its place. */
static const struct ggf_tensor *tensor_in_use(const struct q3n_model *m, uint64_t i)
{
    const struct ggf_tensor *t = ggf_tensor(m->file, i);
    const struct ggf_tensor *over =
        m->overlay ? ggf_find_tensor(m->overlay, t->name) : NULL;
    return over ? over : t;
}

static void count(struct q3n_model *m)
{
    const struct hparams *hp = &m->hp;
    struct q3n_model_info *info = &m->info;
    *info = (struct q3n_model_info){ .architecture = hp->arch, .device = info->device };
    info->n_vocab = m->embedding.rows;
    info->n_layer = hp->n_layer;
    info->n_embd = hp->n_embd;
    info->n_ctx_train = hp->n_ctx_train;
    info->n_expert = hp->n_expert;
    info->n_expert_used = hp->n_expert_used;
    info->packed = m->pack;
    info->bytes_token = m->embedding.row_bytes + linear_bytes(&m->head);
    info->macs_logits = linear_macs(&m->head);
    for (uint32_t i = 0; i < hp->n_layer; i++) count_layer(m, &m->layers[i], i);
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++) {
        const struct ggf_tensor *t = tensor_in_use(m, i);
        info->n_params += t->count;
        info->bytes += t->bytes;
    }
    for (uint32_t i = 0; i < ggf_shard_count(m->file); i++)
        info->bytes_files += ggf_shard(m->file, i)->size;
    info->bytes_dense = info->bytes - (m->pack ? 0 : info->bytes_experts);
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

static int open_files(struct q3n_model *m, const char *path,
                      const struct q3n_model_options *o, ggf_error *err)
{
    int e;
    if ((e = ggf_open(&m->file, path, NULL, err)) ||
        (o->overlay && (e = ggf_open(&m->overlay, o->overlay, NULL, err))) ||
        (e = hparams_read(&m->hp, m->file, err)))
        return e;
    return open_pack(m, o->experts, err);
}

/* What will not be mapped is bound to memory of our own instead. */
static int bind_again(struct q3n_model *m, const struct q3n_model_options *o, bool direct,
                      ggf_error *err)
{
    model_unbind(m);
    int e = weights_read(m, direct, err);
    if (e == GGF_E_NOMEM && !direct) e = 0; /* then they stay mapped */
    return e ? e : model_bind(m, o, direct, err);
}

static int load_experts(struct q3n_model *m, ggf_error *err)
{
    const uint32_t n = m->hp.n_expert;
    uint32_t *all = malloc(n * sizeof *all);
    if (!all) return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) all[i] = i;
    int e = 0;
    for (uint32_t l = 0; l < m->hp.n_layer && !e; l++)
        if (m->tiers[l] != Q3N_EXPERTS_DEVICE)
            e = expert_store_load(m->experts, l, all, n, err);
    free(all);
    return e;
}

static int place(struct q3n_model *m, const struct q3n_model_options *o,
                 const struct placement *p, ggf_error *err)
{
    const bool direct = p->mode == Q3N_LOAD_DIRECT;
    struct q3n_expert_stats stats;
    int e = direct || p->copy ? bind_again(m, o, direct, err) : 0;
    if (e || (e = expert_store_start(m->experts, p->slots, err))) return e;
    if ((e = expert_store_keep(m->experts, err))) return e;
    if (p->mode == Q3N_LOAD_POPULATE) {
        weights_populate(m);
        expert_store_populate(m->experts);
    }
    if (o->no_mmap && (e = load_experts(m, err))) return e;
    if (m->offload && (e = offload_load(m, err))) return e;
    expert_store_stats(m->experts, &stats);
    count(m);
    m->info.load_mode = p->mode;
    m->info.bytes_slots = stats.slot_bytes;
    /* Memory of our own is always locked if it can be. */
    m->info.locked =
        (o->mlock || direct) && weights_lock(m) && expert_store_lock(m->experts);
    return 0;
}

/* Experts are bound as they will be, with as little memory as works; those of any layer
 * may be read then. */
static int plan_only(struct q3n_model *m, const struct q3n_model_options *o,
                     const struct placement *p, ggf_error *err)
{
    const bool direct = p->mode == Q3N_LOAD_DIRECT;
    struct q3n_model_options quick = *o;
    const uint64_t most = expert_store_most(m->experts, direct);
    int e = 0;
    quick.verify_reads = Q3N_VERIFY_NEVER;
    if (direct) {
        memset(m->tiers, Q3N_EXPERTS_ANYWHERE, m->hp.n_layer);
        model_unbind(m);
        e = model_bind(m, &quick, true, err);
        if (!e)
            e = expert_store_start(m->experts, expert_store_least(m->experts, true), err);
        if (e) return e;
    }
    count(m);
    m->info.load_mode = p->mode;
    m->info.bytes_slots = p->slots < most ? p->slots : most;
    return 0;
}

/* The caller's, for as many layers as there are. */
static int copy_tiers(struct q3n_model *m, const struct q3n_model_options *o,
                      ggf_error *err)
{
    const uint32_t n =
        o->n_expert_tiers < m->hp.n_layer ? o->n_expert_tiers : m->hp.n_layer;
    m->tiers = calloc(m->hp.n_layer, 1);
    if (!m->tiers) return ggf_no_memory(err);
    if (n) memcpy(m->tiers, o->expert_tiers, n);
    return 0;
}

static int open_model(struct q3n_model *m, const char *path,
                      const struct q3n_model_options *o, ggf_error *err)
{
    struct placement where;
    int e;
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%d threads: expected 0 to %d",
                        o->threads, MAX_THREADS);
    if (o->io_threads < 0 || o->io_threads > EXPERT_IO_MAX)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%d reading threads: expected 0 to %d", o->io_threads,
                        EXPERT_IO_MAX);
    vec_ops_init(&m->ops);
    m->exact = o->exact;
    m->threads = o->threads ? o->threads : omp_get_num_procs();
    if ((e = open_files(m, path, o, err)) || (e = copy_tiers(m, o, err)) ||
        (e = weights_map(m, err)) || (e = model_bind(m, o, false, err)))
        return e;
    count(m);
    if ((e = offload_choose(m, o, err)) || (e = placement_choose(m, o, &where, err)))
        return e;
    return o->plan ? plan_only(m, o, &where, err) : place(m, o, &where, err);
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

void q3n_model_close(q3n_model *m)
{
    if (!m) return;
    offload_close(m);
    model_unbind(m);
    free(m->tiers);
    free(m->tensor_data);
    free(m->copy);
    ggf_pack_close(m->pack);
    ggf_close(m->overlay);
    ggf_close(m->file);
    free(m);
}

const struct q3n_model_info *q3n_model_info(const q3n_model *m) { return &m->info; }

const ggf_file *q3n_model_file(const q3n_model *m) { return m->file; }

int q3n_model_measure_disk(q3n_model *m, double seconds, ggf_error *err)
{
    return expert_store_measure(m->experts, seconds, err);
}

void q3n_model_follow_limits(q3n_model *m) { expert_store_follow_limits(m->experts); }

void q3n_model_expert_stats(q3n_model *m, struct q3n_expert_stats *out)
{
    expert_store_stats(m->experts, out);
    if (!m->offload || !m->offload->pool) return;
    const struct pool_stats s = pool_stats(m->offload->pool);
    out->device_hits = s.hits;
    out->device_misses = s.misses;
    out->device_computed = s.computed;
    out->device_bytes = s.bytes;
}
