/* pack_make.c - splitting a model into a dense GGUF and an expert pack.
 *
 * Order of work: the records, by several threads; hashes of the dense tensors; the pack's
 * tables, which give the root; the dense GGUF, which names the root; then both files
 * appear. */
#include "bytes.h"
#include "pack_source.h"
#include "parallel.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { PIECE = 1 << 20 };

/* A thread's memory. */
struct lane {
    uint8_t *raw;    /* a plain record, or a piece of a dense tensor */
    uint8_t *packed; /* a compressed record */
    ZSTD_CCtx *zstd;
};

struct maker {
    const struct ggf_pack_options *options;
    const ggf_file *model;
    struct model_input in;
    struct expert_set experts;
    uint64_t *dense; /* numbers of the tensors that are no experts' */
    uint64_t n_dense;
    uint8_t *hashes; /* SHA-256 of each */

    ggf_output *pack;
    ggf_writer *writer;
    uint8_t header[PACK_HEADER_BYTES];
    uint8_t *layers, *index, *source;
    uint64_t layers_bytes, index_bytes, source_stored;
    uint64_t index_offset, data_offset, source_offset;

    int threads;
    struct lane *lanes;
    uint64_t max_raw;
    pthread_mutex_t lock, write_lock;
    pthread_cond_t moved;
    uint64_t placed, end; /* records given a place, and where the next one goes */
    bool failed;
    _Atomic uint64_t done;
    uint64_t total;
};

static uint64_t page_up(uint64_t v)
{
    return (v + PACK_ALIGNMENT - 1) & ~(uint64_t)(PACK_ALIGNMENT - 1);
}

/* ---- Planning -------------------------------------------------------------- */

int ggf_pack_plan(struct ggf_pack_plan *out, const ggf_file *model, ggf_error *err)
{
    struct expert_set set;
    *out = (struct ggf_pack_plan){ 0 };
    int s = experts_of_file(&set, model, err);
    if (s) return s;
    out->n_layers = set.n_layers;
    out->n_records = set.n_records;
    for (uint64_t i = 0; i < set.n_tensors; i++)
        *(set.packed[i] ? &out->expert_bytes : &out->dense_bytes) +=
            ggf_tensor(model, i)->bytes;
    out->pack_bytes =
        page_up(page_up(PACK_HEADER_BYTES + (uint64_t)set.n_layers * PACK_LAYER_BYTES) +
                set.n_records * PACK_RECORD_BYTES);
    for (uint32_t l = 0; l < set.n_layers && !s; l++) {
        struct ggf_pack_record r;
        s = experts_record(&set, set.layers[l].shape.first_record, &r, err);
        out->pack_bytes += r.raw_bytes * set.layers[l].shape.n_expert;
    }
    experts_free(&set);
    return s;
}

/* ---- Records --------------------------------------------------------------- */

/* Where record number `n` of `stored` bytes goes.  Compressed lengths are known only when
 * they are done, so each record waits for the one before it.  False if another thread
 * has failed. */
static bool place(struct maker *m, uint64_t n, uint64_t stored, uint64_t *offset)
{
    pthread_mutex_lock(&m->lock);
    while (m->placed != n && !m->failed) pthread_cond_wait(&m->moved, &m->lock);
    const bool failed = m->failed;
    *offset = m->end;
    if (!failed) {
        m->end = page_up(m->end + stored);
        m->placed++;
    }
    pthread_cond_broadcast(&m->moved);
    pthread_mutex_unlock(&m->lock);
    return !failed;
}

static void store_entry(uint8_t *e, const struct ggf_pack_record *r)
{
    store_u64(e + R_OFFSET, r->offset);
    store_u64(e + R_STORED, r->stored_bytes);
    store_u64(e + R_RAW, r->raw_bytes);
    store_u32(e + R_FLAGS, r->compressed ? RECORD_ZSTD : 0);
    for (int i = 0; i < GGF_PARTS; i++) {
        store_u32(e + R_TYPE + 4 * i, r->type[i]);
        store_u64(e + R_PART_OFFSET + 8 * i, r->part_offset[i]);
    }
}

/* Compress unless that is of no use; the bytes to store. */
static const uint8_t *pack_bytes(const struct maker *m, struct lane *lane,
                                 struct ggf_pack_record *r)
{
    r->stored_bytes = r->raw_bytes;
    if (!m->options->zstd_level) return lane->raw;
    const size_t n = ZSTD_compressCCtx(lane->zstd, lane->packed, r->raw_bytes - 1,
                                       lane->raw, r->raw_bytes, m->options->zstd_level);
    if (ZSTD_isError(n)) return lane->raw; /* it did not get smaller */
    r->compressed = true;
    r->stored_bytes = n;
    return lane->packed;
}

static int write_record(struct maker *m, struct lane *lane, uint64_t number,
                        ggf_error *err)
{
    struct ggf_pack_record r;
    int s = experts_record(&m->experts, number, &r, err);
    if (!s) s = experts_gather(&m->in, &m->experts.layers[r.layer], &r, lane->raw, err);
    if (s) return s;
    const uint8_t *bytes = pack_bytes(m, lane, &r);
    uint8_t *entry = m->index + number * PACK_RECORD_BYTES;
    ggf_sha256_of(bytes, r.stored_bytes, entry + R_SHA256);
    if (!place(m, number, r.stored_bytes, &r.offset)) return 0;
    store_entry(entry, &r);
    /* The kernel lets one writer at a time into a file and the others spin. */
    pthread_mutex_lock(&m->write_lock);
    s = ggf_output_write(m->pack, r.offset, bytes, r.stored_bytes, err);
    pthread_mutex_unlock(&m->write_lock);
    atomic_fetch_add(&m->done, r.raw_bytes);
    return s;
}

static int record_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct maker *m = user;
    const int s = write_record(m, &m->lanes[lane], number, err);
    if (s) {
        pthread_mutex_lock(&m->lock);
        m->failed = true;
        pthread_cond_broadcast(&m->moved);
        pthread_mutex_unlock(&m->lock);
    }
    return s;
}

static void report(void *user)
{
    const struct maker *m = user;
    if (m->options->progress) m->options->progress(m->options->user, m->done, m->total);
}

/* ---- Dense tensors --------------------------------------------------------- */

static int hash_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct maker *m = user;
    const struct ggf_tensor *t = ggf_tensor(m->model, m->dense[number]);
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    int s = 0;
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = model_input_read(&m->in, t->shard, t->offset + at, m->lanes[lane].raw, n,
                             err);
        if (!s) ggf_sha256_update(h, m->lanes[lane].raw, n);
    }
    ggf_sha256_final(h, m->hashes + number * GGF_SHA256_BYTES);
    ggf_sha256_free(h);
    return s;
}

static int dense_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct maker *m = user;
    const struct ggf_tensor *t = ggf_tensor(m->model, m->dense[number]);
    int s = 0;
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = model_input_read(&m->in, t->shard, t->offset + at, m->lanes[lane].raw, n,
                             err);
        if (!s) s = ggf_writer_write(m->writer, number, at, m->lanes[lane].raw, n, err);
    }
    atomic_fetch_add(&m->done, t->bytes);
    return s;
}

/* The keys that make a file a part of a split set: the dense GGUF is a single file. */
static bool is_split_key(const char *key)
{
    return !strcmp(key, "split.no") || !strcmp(key, "split.count") ||
           !strcmp(key, "split.tensors.count");
}

static int set_keys(struct maker *m, const char *pack_name, ggf_error *err)
{
    char root[2 * GGF_SHA256_BYTES + 1];
    for (int i = 0; i < GGF_SHA256_BYTES; i++)
        snprintf(root + 2 * i, 3, "%02x", m->header[H_ROOT + i]);
    int s = 0;
    for (uint64_t i = 0; i < ggf_kv_count(m->model) && !s; i++)
        if (!is_split_key(ggf_kv(m->model, i)->key))
            s = ggf_writer_set_kv(m->writer, ggf_kv(m->model, i), err);
    if (!s) s = ggf_writer_set_u32(m->writer, "expert_pack.version", PACK_VERSION, err);
    if (!s) s = ggf_writer_set_str(m->writer, "expert_pack.file", pack_name, err);
    return s ? s : ggf_writer_set_str(m->writer, "expert_pack.root", root, err);
}

static int write_dense(struct maker *m, const char *pack_name, ggf_error *err)
{
    int s = set_keys(m, pack_name, err);
    for (uint64_t i = 0; i < m->n_dense && !s; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->model, m->dense[i]);
        s = ggf_writer_add_tensor(m->writer, t->name, t->type, t->ne, err);
    }
    if (!s) s = ggf_writer_begin(m->writer, err);
    if (!s) s = parallel_run(m->threads, m->n_dense, dense_work, report, m, err);
    return s;
}

/* ---- Tables ---------------------------------------------------------------- */

static void fill_layers(struct maker *m)
{
    for (uint32_t i = 0; i < m->experts.n_layers; i++) {
        const struct ggf_pack_layer *l = &m->experts.layers[i].shape;
        uint8_t *e = m->layers + (uint64_t)i * PACK_LAYER_BYTES;
        store_u32(e + L_BLOCK, l->block);
        store_u32(e + L_N_EXPERT, l->n_expert);
        store_u32(e + L_FLAGS, l->fused ? LAYER_FUSED : 0);
        store_u64(e + L_FIRST_RECORD, l->first_record);
        store_u64(e + L_N_EMBD, l->n_embd);
        store_u64(e + L_N_FF, l->n_ff);
    }
}

static void fill_header(struct maker *m, uint64_t source_raw)
{
    uint8_t *h = m->header;
    memcpy(h, PACK_MAGIC, sizeof PACK_MAGIC - 1);
    store_u32(h + H_VERSION, PACK_VERSION);
    store_u32(h + H_ALIGNMENT, PACK_ALIGNMENT);
    store_u32(h + H_N_LAYERS, m->experts.n_layers);
    store_u64(h + H_N_RECORDS, m->experts.n_records);
    store_u64(h + H_FILE_SIZE, page_up(m->source_offset + m->source_stored));
    store_u64(h + H_LAYERS_OFFSET, PACK_HEADER_BYTES);
    store_u64(h + H_INDEX_OFFSET, m->index_offset);
    store_u64(h + H_DATA_OFFSET, m->data_offset);
    store_u64(h + H_SOURCE_OFFSET, m->source_offset);
    store_u64(h + H_SOURCE_STORED, m->source_stored);
    store_u64(h + H_SOURCE_RAW, source_raw);
    store_u32(h + H_ZSTD_LEVEL, (uint32_t)m->options->zstd_level);
}

static int write_tables(struct maker *m, ggf_error *err)
{
    uint64_t source_raw;
    int s = parallel_run(m->threads, m->n_dense, hash_work, NULL, m, err);
    if (!s)
        s = pack_source_build(&m->source, &m->source_stored, &source_raw, m->model,
                              &m->in, m->hashes, m->n_dense, err);
    if (s) return s;
    m->source_offset = m->end;
    fill_layers(m);
    fill_header(m, source_raw);
    s = pack_root(m->header + H_ROOT, m->header, m->layers, m->layers_bytes, m->index,
                  m->index_bytes, m->source, m->source_stored, err);
    if (!s) s = ggf_output_resize(m->pack, load_u64(m->header + H_FILE_SIZE), err);
    if (!s)
        s = ggf_output_write(m->pack, m->source_offset, m->source, m->source_stored, err);
    if (!s) s = ggf_output_write(m->pack, m->index_offset, m->index, m->index_bytes, err);
    if (!s)
        s = ggf_output_write(m->pack, PACK_HEADER_BYTES, m->layers, m->layers_bytes, err);
    if (!s) s = ggf_output_write(m->pack, 0, m->header, PACK_HEADER_BYTES, err);
    return s;
}

/* ---- All of it ------------------------------------------------------------- */

static int make_lanes(struct maker *m, ggf_error *err)
{
    const uint64_t items = m->experts.n_records;
    m->threads = parallel_threads(m->options->threads, items);
    m->lanes = calloc((size_t)m->threads, sizeof *m->lanes);
    if (!m->lanes) return ggf_no_memory(err);
    const uint64_t bytes = m->max_raw < PIECE ? PIECE : m->max_raw;
    for (int i = 0; i < m->threads; i++) {
        struct lane *l = &m->lanes[i];
        l->raw = malloc(bytes);
        if (!l->raw) return ggf_no_memory(err);
        if (!m->options->zstd_level) continue;
        l->packed = malloc(bytes);
        l->zstd = ZSTD_createCCtx();
        if (!l->packed || !l->zstd) return ggf_no_memory(err);
    }
    return 0;
}

static int prepare(struct maker *m, ggf_error *err)
{
    const struct expert_set *set = &m->experts;
    m->layers_bytes = (uint64_t)set->n_layers * PACK_LAYER_BYTES;
    m->index_bytes = set->n_records * PACK_RECORD_BYTES;
    m->index_offset = page_up(PACK_HEADER_BYTES + m->layers_bytes);
    m->end = m->data_offset = page_up(m->index_offset + m->index_bytes);
    m->layers = calloc(1, m->layers_bytes);
    m->index = calloc(1, m->index_bytes);
    m->dense = calloc(set->n_tensors + 1, sizeof *m->dense);
    if (!m->layers || !m->index || !m->dense) return ggf_no_memory(err);
    for (uint64_t i = 0; i < set->n_tensors; i++) {
        if (!set->packed[i]) m->dense[m->n_dense++] = i;
        m->total += ggf_tensor(m->model, i)->bytes;
    }
    for (uint32_t l = 0; l < set->n_layers; l++) {
        struct ggf_pack_record r;
        const int s = experts_record(set, set->layers[l].shape.first_record, &r, err);
        if (s) return s;
        if (r.raw_bytes > m->max_raw) m->max_raw = r.raw_bytes;
    }
    m->hashes = calloc(m->n_dense + 1, GGF_SHA256_BYTES);
    return m->hashes ? make_lanes(m, err) : ggf_no_memory(err);
}

static void free_maker(struct maker *m)
{
    for (int i = 0; m->lanes && i < m->threads; i++) {
        free(m->lanes[i].raw);
        free(m->lanes[i].packed);
        ZSTD_freeCCtx(m->lanes[i].zstd);
    }
    free(m->lanes);
    free(m->dense);
    free(m->hashes);
    free(m->layers);
    free(m->index);
    free(m->source);
    model_input_close(&m->in);
    experts_free(&m->experts);
    ggf_output_discard(m->pack);
    ggf_writer_discard(m->writer);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->write_lock);
    pthread_cond_destroy(&m->moved);
}

/* Both files are on disk under temporary names: let them appear.  No signal may come
 * between the two renames. */
static int publish(struct maker *m, const char *pack_path, ggf_error *err)
{
    sigset_t all, before;
    int s = ggf_output_sync(m->pack, err);
    if (!s) s = ggf_writer_sync(m->writer, err);
    if (s) return s;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    s = ggf_output_commit(m->pack, err);
    m->pack = NULL;
    if (!s) {
        s = ggf_writer_finish(m->writer, err);
        m->writer = NULL;
        if (s) unlink(pack_path);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return s;
}

/* The name of the pack as the dense GGUF gives it; they must lie in the same folder. */
static int pack_name(const char **name, const char *dense, const char *pack,
                     ggf_error *err)
{
    const char *d = strrchr(dense, '/'), *p = strrchr(pack, '/');
    const size_t n_d = d ? (size_t)(d - dense) : 0, n_p = p ? (size_t)(p - pack) : 0;
    *name = p ? p + 1 : pack;
    if (!d == !p && n_d == n_p && !memcmp(dense, pack, n_d)) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s and %s are not in the same folder",
                    dense, pack);
}

int ggf_pack_make(const ggf_file *model, const char *dense_path, const char *pack_path,
                  const struct ggf_pack_options *options, ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct maker m = { .options = options ? options : &none, .model = model };
    const struct ggf_writer_options writer = { .force = m.options->force };
    const char *name;
    pthread_mutex_init(&m.lock, NULL);
    pthread_mutex_init(&m.write_lock, NULL);
    pthread_cond_init(&m.moved, NULL);
    int s = pack_name(&name, dense_path, pack_path, err);
    if (!s) s = experts_of_file(&m.experts, model, err);
    if (!s) s = model_input_open(&m.in, model, err);
    if (!s) s = prepare(&m, err);
    for (uint32_t i = 0; !s && i < ggf_shard_count(model); i++) {
        s = keep_input(dense_path, ggf_shard(model, i)->path, err);
        if (!s) s = keep_input(pack_path, ggf_shard(model, i)->path, err);
    }
    if (!s) s = ggf_output_create(&m.pack, pack_path, m.options->force, err);
    if (!s) s = ggf_writer_create(&m.writer, dense_path, &writer, err);
    if (!s)
        s = parallel_run(m.threads, m.experts.n_records, record_work, report, &m, err);
    if (!s) s = write_tables(&m, err);
    if (!s) s = write_dense(&m, name, err);
    if (!s) s = publish(&m, pack_path, err);
    free_maker(&m);
    return s;
}
