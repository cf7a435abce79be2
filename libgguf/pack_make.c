/* pack_make.c - splitting a model into a dense GGUF and an expert pack: what goes where.
 * pack_write.c writes the pack. */
#include "pack_write.h"
#include "parallel.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20 };

struct maker {
    const struct ggf_pack_options *options;
    const ggf_file *model;
    struct model_input in;
    struct expert_set experts;
    struct ggf_pack_layer *layers;
    uint32_t (*types)[GGF_PARTS];
    uint64_t *dense; /* numbers of the tensors that are no experts' */
    uint64_t n_dense, dense_bytes, record_bytes;
    ggf_writer *writer;
    ggf_pack_writer *pack;
    _Atomic uint64_t dense_done;
};

/* ---- Planning -------------------------------------------------------------- */

static int fill_records(void *user, const struct ggf_pack_record *r, uint8_t *raw,
                        ggf_error *err)
{
    const struct maker *m = user;
    return experts_gather(&m->in, &m->experts.layers[r->layer], r, raw, err);
}

/* Find the experts and list what the pack is to hold. */
static int list_content(struct maker *m, struct ggf_pack_content *c, ggf_error *err)
{
    const int s = experts_of_file(&m->experts, m->model, err);
    if (s) return s;
    const struct expert_set *set = &m->experts;
    m->layers = calloc(set->n_layers, sizeof *m->layers);
    m->types = calloc(set->n_records + 1, sizeof *m->types);
    if (!m->layers || !m->types) return ggf_no_memory(err);
    uint64_t n = 0;
    for (uint32_t l = 0; l < set->n_layers; l++) {
        m->layers[l] = set->layers[l].shape;
        for (uint32_t e = 0; e < m->layers[l].n_expert; e++, n++)
            for (int i = 0; i < GGF_PARTS; i++)
                m->types[n][i] = set->layers[l].tensor[i]->type;
    }
    *c = (struct ggf_pack_content){ .layers = m->layers,
                                    .n_layers = set->n_layers,
                                    .types = (const uint32_t(*)[GGF_PARTS])m->types,
                                    .fill = fill_records,
                                    .user = m };
    return 0;
}

static void free_maker(struct maker *m)
{
    free(m->layers);
    free(m->types);
    free(m->dense);
    model_input_close(&m->in);
    experts_free(&m->experts);
}

int ggf_pack_plan(struct ggf_pack_plan *out, const ggf_file *model, ggf_error *err)
{
    struct maker m = { .model = model };
    struct ggf_pack_content content;
    *out = (struct ggf_pack_plan){ 0 };
    int s = list_content(&m, &content, err);
    const struct expert_set *set = &m.experts;
    for (uint64_t i = 0; i < set->n_tensors && !s; i++)
        *(set->packed[i] ? &out->expert_bytes : &out->dense_bytes) +=
            ggf_tensor(model, i)->bytes;
    out->n_layers = set->n_layers;
    out->n_records = set->n_records;
    if (!s) s = pack_records_end(&out->pack_bytes, &content, err);
    free_maker(&m);
    return s;
}

/* ---- The dense GGUF --------------------------------------------------------- */

/* The keys that make a file a part of a split set: the dense GGUF is a single file. */
static bool is_split_key(const char *key)
{
    return !strcmp(key, "split.no") || !strcmp(key, "split.count") ||
           !strcmp(key, "split.tensors.count");
}

static int set_keys(const struct maker *m, ggf_error *err)
{
    int s = 0;
    for (uint64_t i = 0; i < ggf_kv_count(m->model) && !s; i++)
        if (!is_split_key(ggf_kv(m->model, i)->key))
            s = ggf_writer_set_kv(m->writer, ggf_kv(m->model, i), err);
    return s;
}

static int begin_dense(struct maker *m, ggf_error *err)
{
    const struct expert_set *set = &m->experts;
    m->dense = calloc(set->n_tensors + 1, sizeof *m->dense);
    int s = m->dense ? 0 : ggf_no_memory(err);
    for (uint64_t i = 0; i < set->n_tensors && !s; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->model, i);
        if (set->packed[i]) continue;
        m->dense[m->n_dense++] = i;
        m->dense_bytes += t->bytes;
        s = ggf_writer_add_tensor(m->writer, t->name, t->type, t->ne, err);
    }
    return s ? s : ggf_writer_begin(m->writer, err);
}

static int copy_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct maker *m = user;
    const struct ggf_tensor *t = ggf_tensor(m->model, m->dense[number]);
    uint8_t *piece = malloc(PIECE);
    int s = piece ? 0 : ggf_no_memory(err);
    (void)lane;
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = model_input_read(&m->in, t->shard, t->offset + at, piece, n, err);
        if (!s) s = ggf_writer_write(m->writer, number, at, piece, n, err);
    }
    free(piece);
    atomic_fetch_add(&m->dense_done, t->bytes);
    return s;
}

/* ---- All of it ------------------------------------------------------------- */

/* The records come first, then the dense tensors. */
static void on_records(void *user, uint64_t done, uint64_t total)
{
    struct maker *m = user;
    m->record_bytes = total;
    m->options->progress(m->options->user, done, total + m->dense_bytes);
}

static void on_dense(void *user)
{
    const struct maker *m = user;
    if (m->options->progress)
        m->options->progress(m->options->user, m->record_bytes + m->dense_done,
                             m->record_bytes + m->dense_bytes);
}

static int keep_inputs(const struct maker *m, const char *dense, const char *pack,
                       ggf_error *err)
{
    int s = 0;
    for (uint32_t i = 0; !s && i < ggf_shard_count(m->model); i++) {
        s = keep_input(dense, ggf_shard(m->model, i)->path, err);
        if (!s) s = keep_input(pack, ggf_shard(m->model, i)->path, err);
    }
    return s;
}

/* Names, tables, headers: whatever can fail early. */
static int start(struct maker *m, const char *dense_path, const char *pack_path,
                 ggf_error *err)
{
    const struct ggf_writer_options writer = { .force = m->options->force };
    struct ggf_pack_options options = *m->options;
    struct ggf_pack_content content;
    if (options.progress) options.progress = on_records;
    options.user = m;
    int s = list_content(m, &content, err);
    if (!s) s = model_input_open(&m->in, m->model, err);
    if (!s) s = keep_inputs(m, dense_path, pack_path, err);
    if (!s) s = ggf_writer_create(&m->writer, dense_path, &writer, err);
    if (!s) s = set_keys(m, err);
    if (!s)
        s = ggf_pack_writer_create(&m->pack, pack_path, m->writer, &content, &options,
                                   err);
    return s ? s : begin_dense(m, err);
}

int ggf_pack_make(const ggf_file *model, const char *dense_path, const char *pack_path,
                  const struct ggf_pack_options *options, ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct maker m = { .options = options ? options : &none, .model = model };
    int s = start(&m, dense_path, pack_path, err);
    if (!s) s = ggf_pack_writer_write(m.pack, err);
    if (!s) {
        const int threads = parallel_threads(m.options->threads, m.n_dense);
        s = parallel_run(threads, m.n_dense, copy_work, on_dense, &m, err);
    }
    if (!s) {
        s = pack_writer_finish(m.pack, model, &m.in, err);
    } else {
        ggf_pack_writer_discard(m.pack);
        ggf_writer_discard(m.writer);
    }
    free_maker(&m);
    return s;
}
