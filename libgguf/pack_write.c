/* pack_write.c - writing an expert pack from records that the caller makes.
 *
 * Order of work: the records, by several threads; then, when the dense GGUF has its
 * tensors, their hashes; the tables, which give the root; the root's place in the dense
 * GGUF; then both files appear.  Which records there are and what is in them is the
 * caller's business: pack_make.c takes them from a model. */
#include "bytes.h"
#include "pack_source.h"
#include "pack_write.h"
#include "parallel.h"
#include "writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A thread's memory. */
struct lane {
    uint8_t *raw;    /* a plain record */
    uint8_t *packed; /* a compressed one */
    ZSTD_CCtx *zstd;
};

struct ggf_pack_writer {
    struct ggf_pack_options options;
    ggf_pack_fill_fn fill;
    void *user;
    ggf_output *pack;
    ggf_writer *dense;
    struct ggf_pack_layer *layers;
    uint32_t n_layers;
    uint64_t n_records;
    uint8_t header[PACK_HEADER_BYTES];
    uint8_t *table, *index, *source; /* the layer table, the index: as in the file */
    uint64_t table_bytes, index_bytes, source_stored;
    uint64_t index_offset, data_offset, source_offset;
    uint8_t *hashes; /* SHA-256 of each dense tensor */

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

/* ---- What is to be written -------------------------------------------------- */

static int check_layer(const struct ggf_pack_layer *l, const struct ggf_pack_layer *last,
                       ggf_error *err)
{
    if (last && l->block <= last->block)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "block %" PRIu32 " of a pack follows block %" PRIu32, l->block,
                        last->block);
    if (!l->n_expert || l->n_embd - 1 >= PACK_MAX_RECORD ||
        l->n_ff - 1 >= PACK_MAX_RECORD)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "block %" PRIu32 ": %" PRIu32 " experts of %" PRIu64 " x %" PRIu64
                        " elements",
                        l->block, l->n_expert, l->n_embd, l->n_ff);
    return 0;
}

/* Walk through the records: bytes of all, and of the largest. */
static int measure(const struct ggf_pack_content *c, uint64_t *n_records, uint64_t *bytes,
                   uint64_t *largest, ggf_error *err)
{
    *n_records = *bytes = *largest = 0;
    if (!c->n_layers || c->n_layers > PACK_MAX_LAYERS)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "pack of %" PRIu32 " layers, expected 1 to %u", c->n_layers,
                        PACK_MAX_LAYERS);
    for (uint32_t l = 0; l < c->n_layers; l++) {
        int s = check_layer(&c->layers[l], l ? &c->layers[l - 1] : NULL, err);
        for (uint32_t e = 0; e < c->layers[l].n_expert && !s; e++) {
            struct ggf_pack_record r = { .layer = l, .expert = e };
            memcpy(r.type, c->types[*n_records], sizeof r.type);
            s = pack_place_parts(&r, &c->layers[l], GGF_NO_OFFSET, err);
            *bytes += r.raw_bytes;
            if (r.raw_bytes > *largest) *largest = r.raw_bytes;
            ++*n_records;
        }
        if (s) return s;
    }
    return 0;
}

static uint64_t tables_end(uint64_t n_layers, uint64_t n_records)
{
    return page_up(page_up(PACK_HEADER_BYTES + n_layers * PACK_LAYER_BYTES) +
                   n_records * PACK_RECORD_BYTES);
}

int pack_records_end(uint64_t *end, const struct ggf_pack_content *c, ggf_error *err)
{
    uint64_t n_records, bytes, largest;
    const int s = measure(c, &n_records, &bytes, &largest, err);
    *end = s ? 0 : tables_end(c->n_layers, n_records) + bytes;
    return s;
}

int ggf_pack_size(uint64_t *bytes, const struct ggf_pack_content *c,
                  uint64_t dense_tensors, ggf_error *err)
{
    const int s = pack_records_end(bytes, c, err);
    if (!s) *bytes += page_up(pack_source_bound(dense_tensors));
    return s;
}

/* ---- Starting ---------------------------------------------------------------- */

static void fill_table(struct ggf_pack_writer *w)
{
    for (uint32_t i = 0; i < w->n_layers; i++) {
        const struct ggf_pack_layer *l = &w->layers[i];
        uint8_t *e = w->table + (uint64_t)i * PACK_LAYER_BYTES;
        store_u32(e + L_BLOCK, l->block);
        store_u32(e + L_N_EXPERT, l->n_expert);
        store_u32(e + L_FLAGS, l->fused ? LAYER_FUSED : 0);
        store_u64(e + L_FIRST_RECORD, l->first_record);
        store_u64(e + L_N_EMBD, l->n_embd);
        store_u64(e + L_N_FF, l->n_ff);
    }
}

static int make_lanes(struct ggf_pack_writer *w, ggf_error *err)
{
    w->threads = parallel_threads(w->options.threads, w->n_records);
    w->lanes = calloc((size_t)w->threads, sizeof *w->lanes);
    if (!w->lanes) return ggf_no_memory(err);
    for (int i = 0; i < w->threads; i++) {
        struct lane *l = &w->lanes[i];
        l->raw = malloc(w->max_raw);
        if (!l->raw) return ggf_no_memory(err);
        if (!w->options.zstd_level) continue;
        l->packed = malloc(w->max_raw);
        l->zstd = ZSTD_createCCtx();
        if (!l->packed || !l->zstd) return ggf_no_memory(err);
    }
    return 0;
}

/* Tables without places and hashes; until a record is written its types are kept in its
 * entry. */
static int prepare(struct ggf_pack_writer *w, const struct ggf_pack_content *c,
                   ggf_error *err)
{
    int s = measure(c, &w->n_records, &w->total, &w->max_raw, err);
    if (s) return s;
    w->n_layers = c->n_layers;
    w->table_bytes = (uint64_t)w->n_layers * PACK_LAYER_BYTES;
    w->index_bytes = w->n_records * PACK_RECORD_BYTES;
    w->index_offset = page_up(PACK_HEADER_BYTES + w->table_bytes);
    w->end = w->data_offset = tables_end(w->n_layers, w->n_records);
    w->table = calloc(1, w->table_bytes);
    w->index = calloc(1, w->index_bytes);
    w->layers = calloc(w->n_layers, sizeof *w->layers);
    if (!w->table || !w->index || !w->layers) return ggf_no_memory(err);
    uint64_t first = 0;
    for (uint32_t l = 0; l < w->n_layers; l++) {
        w->layers[l] = c->layers[l];
        w->layers[l].first_record = first;
        first += c->layers[l].n_expert;
    }
    for (uint64_t n = 0; n < w->n_records; n++)
        for (int i = 0; i < GGF_PARTS; i++)
            store_u32(w->index + n * PACK_RECORD_BYTES + R_TYPE + 4 * i, c->types[n][i]);
    fill_table(w);
    return make_lanes(w, err);
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

int ggf_pack_announce(ggf_writer *dense, const char *name, ggf_error *err)
{
    static const char no_root[] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    int s = ggf_writer_set_u32(dense, "expert_pack.version", PACK_VERSION, err);
    if (!s) s = ggf_writer_set_str(dense, "expert_pack.file", name, err);
    return s ? s : ggf_writer_set_str(dense, "expert_pack.root", no_root, err);
}

int ggf_pack_writer_create(ggf_pack_writer **out, const char *path, ggf_writer *dense,
                           const struct ggf_pack_content *content,
                           const struct ggf_pack_options *options, ggf_error *err)
{
    *out = NULL;
    ggf_pack_writer *w = calloc(1, sizeof *w);
    const char *name = NULL;
    if (!w) return ggf_no_memory(err);
    if (options) w->options = *options;
    w->fill = content->fill;
    w->user = content->user;
    w->dense = dense;
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->write_lock, NULL);
    pthread_cond_init(&w->moved, NULL);
    int s = pack_name(&name, writer_path(dense), path, err);
    if (!s) s = prepare(w, content, err);
    if (!s) s = ggf_pack_announce(dense, name, err);
    if (!s) s = ggf_output_create(&w->pack, path, w->options.force, err);
    if (s) ggf_pack_writer_discard(w);
    else *out = w;
    return s;
}

void ggf_pack_writer_discard(ggf_pack_writer *w)
{
    if (!w) return;
    for (int i = 0; w->lanes && i < w->threads; i++) {
        free(w->lanes[i].raw);
        free(w->lanes[i].packed);
        ZSTD_freeCCtx(w->lanes[i].zstd);
    }
    ggf_output_discard(w->pack);
    free(w->lanes);
    free(w->layers);
    free(w->table);
    free(w->index);
    free(w->source);
    free(w->hashes);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->write_lock);
    pthread_cond_destroy(&w->moved);
    free(w);
}

/* ---- Records ----------------------------------------------------------------- */

/* Where record number `n` of `stored` bytes goes.  Compressed lengths are known only when
 * they are done, so each record waits for the one before it.  False if another thread
 * has failed. */
static bool place(ggf_pack_writer *w, uint64_t n, uint64_t stored, uint64_t *offset)
{
    pthread_mutex_lock(&w->lock);
    while (w->placed != n && !w->failed) pthread_cond_wait(&w->moved, &w->lock);
    const bool failed = w->failed;
    *offset = w->end;
    if (!failed) {
        w->end = page_up(w->end + stored);
        w->placed++;
    }
    pthread_cond_broadcast(&w->moved);
    pthread_mutex_unlock(&w->lock);
    return !failed;
}

/* The record as far as it is known: all but place, stored bytes and hash. */
static int plan_record(const ggf_pack_writer *w, uint64_t number,
                       struct ggf_pack_record *r, ggf_error *err)
{
    uint32_t low = 0, high = w->n_layers; /* the last layer that starts at or before */
    while (high - low > 1) {
        const uint32_t mid = low + (high - low) / 2;
        if (w->layers[mid].first_record <= number) low = mid;
        else high = mid;
    }
    *r = (struct ggf_pack_record){ .layer = low,
                                   .expert =
                                       (uint32_t)(number - w->layers[low].first_record) };
    const uint8_t *e = w->index + number * PACK_RECORD_BYTES;
    for (int i = 0; i < GGF_PARTS; i++) r->type[i] = load_u32(e + R_TYPE + 4 * i);
    return pack_place_parts(r, &w->layers[low], GGF_NO_OFFSET, err);
}

static void store_entry(uint8_t *e, const struct ggf_pack_record *r)
{
    store_u64(e + R_OFFSET, r->offset);
    store_u64(e + R_STORED, r->stored_bytes);
    store_u64(e + R_RAW, r->raw_bytes);
    store_u32(e + R_FLAGS, r->compressed ? RECORD_ZSTD : 0);
    for (int i = 0; i < GGF_PARTS; i++)
        store_u64(e + R_PART_OFFSET + 8 * i, r->part_offset[i]);
}

/* Compress unless that is of no use; the bytes to store. */
static int pack_bytes(const uint8_t **out, const ggf_pack_writer *w, struct lane *lane,
                      struct ggf_pack_record *r, ggf_error *err)
{
    *out = lane->raw;
    r->stored_bytes = r->raw_bytes;
    if (!w->options.zstd_level) return 0;
    const size_t n = ZSTD_compressCCtx(lane->zstd, lane->packed, r->raw_bytes - 1,
                                       lane->raw, r->raw_bytes, w->options.zstd_level);
    if (!ZSTD_isError(n)) {
        *out = lane->packed;
        r->compressed = true;
        r->stored_bytes = n;
        return 0;
    }
    /* What does not get smaller stays as it is. */
    if (ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall) return 0;
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "zstd: %s", ZSTD_getErrorName(n));
}

static int write_record(ggf_pack_writer *w, struct lane *lane, uint64_t number,
                        ggf_error *err)
{
    struct ggf_pack_record r;
    int s = plan_record(w, number, &r, err);
    if (!s) s = w->fill(w->user, &r, lane->raw, err);
    if (s) return s;
    pack_zero_padding(&r, lane->raw);
    const uint8_t *bytes;
    if ((s = pack_bytes(&bytes, w, lane, &r, err))) return s;
    uint8_t *entry = w->index + number * PACK_RECORD_BYTES;
    ggf_sha256_of(bytes, r.stored_bytes, entry + R_SHA256);
    if (!place(w, number, r.stored_bytes, &r.offset)) return 0;
    store_entry(entry, &r);
    /* The kernel lets one writer at a time into a file and the others spin. */
    pthread_mutex_lock(&w->write_lock);
    s = ggf_output_write(w->pack, r.offset, bytes, r.stored_bytes, err);
    pthread_mutex_unlock(&w->write_lock);
    atomic_fetch_add(&w->done, r.raw_bytes);
    return s;
}

static int record_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    ggf_pack_writer *w = user;
    const int s = write_record(w, &w->lanes[lane], number, err);
    if (s) {
        pthread_mutex_lock(&w->lock);
        w->failed = true;
        pthread_cond_broadcast(&w->moved);
        pthread_mutex_unlock(&w->lock);
    }
    return s;
}

static void report(void *user)
{
    const ggf_pack_writer *w = user;
    if (w->options.progress) w->options.progress(w->options.user, w->done, w->total);
}

int ggf_pack_writer_write(ggf_pack_writer *w, ggf_error *err)
{
    return parallel_run(w->threads, w->n_records, record_work, report, w, err);
}

/* ---- Tables ------------------------------------------------------------------- */

static int hash_work(void *user, int lane, uint64_t number, ggf_error *err)
{
    ggf_pack_writer *w = user;
    (void)lane;
    return writer_sha256(w->dense, number, w->hashes + number * GGF_SHA256_BYTES, err);
}

static int build_source(ggf_pack_writer *w, const ggf_file *model,
                        const struct model_input *in, uint64_t *raw, ggf_error *err)
{
    const uint64_t n = writer_tensor_count(w->dense);
    w->hashes = calloc(n + 1, GGF_SHA256_BYTES);
    if (!w->hashes) return ggf_no_memory(err);
    const int s = parallel_run(w->threads, n, hash_work, NULL, w, err);
    return s ? s
             : pack_source_build(&w->source, &w->source_stored, raw, model, in, w->hashes,
                                 n, err);
}

static void fill_header(ggf_pack_writer *w, uint64_t source_raw)
{
    uint8_t *h = w->header;
    memcpy(h, PACK_MAGIC, sizeof PACK_MAGIC - 1);
    store_u32(h + H_VERSION, PACK_VERSION);
    store_u32(h + H_ALIGNMENT, PACK_ALIGNMENT);
    store_u32(h + H_N_LAYERS, w->n_layers);
    store_u64(h + H_N_RECORDS, w->n_records);
    store_u64(h + H_FILE_SIZE, page_up(w->source_offset + w->source_stored));
    store_u64(h + H_LAYERS_OFFSET, PACK_HEADER_BYTES);
    store_u64(h + H_INDEX_OFFSET, w->index_offset);
    store_u64(h + H_DATA_OFFSET, w->data_offset);
    store_u64(h + H_SOURCE_OFFSET, w->source_offset);
    store_u64(h + H_SOURCE_STORED, w->source_stored);
    store_u64(h + H_SOURCE_RAW, source_raw);
    store_u32(h + H_ZSTD_LEVEL, (uint32_t)w->options.zstd_level);
}

static int write_tables(ggf_pack_writer *w, uint64_t source_raw, ggf_error *err)
{
    w->source_offset = w->end;
    fill_header(w, source_raw);
    int s = pack_root(w->header + H_ROOT, w->header, w->table, w->table_bytes, w->index,
                      w->index_bytes, w->source, w->source_stored, err);
    if (!s) s = ggf_output_resize(w->pack, load_u64(w->header + H_FILE_SIZE), err);
    if (!s)
        s = ggf_output_write(w->pack, w->source_offset, w->source, w->source_stored, err);
    if (!s) s = ggf_output_write(w->pack, w->index_offset, w->index, w->index_bytes, err);
    if (!s)
        s = ggf_output_write(w->pack, PACK_HEADER_BYTES, w->table, w->table_bytes, err);
    return s ? s : ggf_output_write(w->pack, 0, w->header, PACK_HEADER_BYTES, err);
}

static int name_root(ggf_pack_writer *w, ggf_error *err)
{
    char root[2 * GGF_SHA256_BYTES + 1];
    for (int i = 0; i < GGF_SHA256_BYTES; i++)
        snprintf(root + 2 * i, 3, "%02x", w->header[H_ROOT + i]);
    return writer_replace_str(w->dense, "expert_pack.root", root, err);
}

/* ---- Finishing ------------------------------------------------------------------ */

/* Both files appear or none. */
static int publish(ggf_pack_writer *w, ggf_error *err)
{
    ggf_output *const both[] = { writer_release(w->dense), w->pack };
    w->dense = NULL;
    w->pack = NULL;
    return ggf_outputs_commit(both, 2, err);
}

int pack_writer_finish(ggf_pack_writer *w, const ggf_file *model,
                       const struct model_input *in, ggf_error *err)
{
    uint64_t source_raw;
    int s = w->placed == w->n_records
                ? 0
                : ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the records are not written");
    if (!s) s = writer_check(w->dense, err);
    if (!s) s = build_source(w, model, in, &source_raw, err);
    if (!s) s = write_tables(w, source_raw, err);
    if (!s) s = name_root(w, err);
    if (!s) s = publish(w, err);
    ggf_writer_discard(w->dense);
    ggf_pack_writer_discard(w);
    return s;
}

int ggf_pack_writer_finish(ggf_pack_writer *w, ggf_error *err)
{
    return pack_writer_finish(w, NULL, NULL, err);
}
