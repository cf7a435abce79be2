/* pack_plain.c - a plain GGUF from a pack that was not made of one: dense tensors as they
 * are, the experts of each block stacked behind the block's other tensors.  Possible
 * where the experts of a block have the same types. */
#include "pack_source.h"
#include "parallel.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

struct plain {
    const struct ggf_pack_options *options;
    const ggf_file *dense;
    const ggf_pack *pack;
    struct pack_source source;
    struct model_input in;
    int fd;
    ggf_writer *writer;
    uint64_t *place; /* of each dense tensor: its number in the output */
    uint64_t *first; /* of each layer: the number of its first expert tensor */
    int threads;
    uint8_t **stored, **raw; /* for each thread */
    _Atomic uint64_t done;
    uint64_t total;
};

/* ---- Can it be done? ---------------------------------------------------------- */

static int check_uniform(const ggf_pack *pack, ggf_error *err)
{
    static const char *const names[GGF_PARTS] = { "gate", "up", "down" };
    for (uint32_t l = 0; l < pack->info.n_layers; l++) {
        const struct ggf_pack_layer *layer = &pack->layers[l];
        const struct ggf_pack_record *first = ggf_pack_record(pack, l, 0);
        for (uint32_t e = 0; e < layer->n_expert; e++) {
            const struct ggf_pack_record *r = ggf_pack_record(pack, l, e);
            for (int i = 0; i < GGF_PARTS; i++)
                if (r->type[i] != first->type[i])
                    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                                    "block %" PRIu32 " has %s of expert 0 in %s and of "
                                    "expert %" PRIu32 " in %s; a plain GGUF has one type "
                                    "for all experts of a block, so this pack cannot "
                                    "become one",
                                    layer->block, names[i], ggf_type_name(first->type[i]),
                                    e, ggf_type_name(r->type[i]));
        }
        if (layer->fused && first->type[GGF_GATE] != first->type[GGF_UP])
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "block %" PRIu32 " has gate and up in different types, its "
                            "model in one tensor",
                            layer->block);
    }
    return 0;
}

/* ---- The header ------------------------------------------------------------------ */

static int add_experts(struct plain *p, uint32_t l, uint64_t *n, ggf_error *err)
{
    static const char *const names[GGF_PARTS] = { "gate", "up", "down" };
    const struct ggf_pack_layer *layer = &p->pack->layers[l];
    const struct ggf_pack_record *r = ggf_pack_record(p->pack, l, 0);
    char name[64];
    int s = 0;
    p->first[l] = *n;
    for (int i = 0; i < GGF_PARTS && !s; i++) {
        const bool both = layer->fused && i == GGF_GATE;
        uint64_t ne[4] = { layer->n_embd, layer->n_ff << both, layer->n_expert, 1 };
        if (layer->fused && i == GGF_UP) continue;
        if (i == GGF_DOWN) {
            ne[0] = layer->n_ff;
            ne[1] = layer->n_embd;
        }
        snprintf(name, sizeof name, "blk.%" PRIu32 ".ffn_%s_exps.weight", layer->block,
                 both ? "gate_up" : names[i]);
        s = ggf_writer_add_tensor(p->writer, name, r->type[i], ne, err);
        ++*n;
    }
    return s;
}

/* The dense tensors in their order; behind the last of a block its experts. */
static int add_tensors(struct plain *p, ggf_error *err)
{
    const uint64_t n_dense = ggf_tensor_count(p->dense);
    uint64_t n = 0;
    int s = 0;
    for (uint64_t i = 0; i < n_dense && !s; i++) {
        const struct ggf_tensor *t = ggf_tensor(p->dense, i);
        const int64_t block = ggf_tensor_layer(t);
        p->place[i] = n++;
        s = ggf_writer_add_tensor(p->writer, t->name, t->type, t->ne, err);
        const int64_t l = block < 0 || block > UINT32_MAX
                              ? -1
                              : ggf_pack_layer_of(p->pack, (uint32_t)block);
        bool last = l >= 0 && p->first[l] == UINT64_MAX;
        for (uint64_t k = i + 1; k < n_dense && last; k++)
            last = ggf_tensor_layer(ggf_tensor(p->dense, k)) != block;
        if (last && !s) s = add_experts(p, (uint32_t)l, &n, err);
    }
    for (uint32_t l = 0; l < p->pack->info.n_layers && !s; l++)
        if (p->first[l] == UINT64_MAX) s = add_experts(p, l, &n, err);
    return s;
}

static int declare(struct plain *p, ggf_error *err)
{
    int s = 0;
    for (uint64_t i = 0; i < ggf_kv_count(p->dense) && !s; i++)
        if (strncmp(ggf_kv(p->dense, i)->key, "expert_pack.", 12) != 0)
            s = ggf_writer_set_kv(p->writer, ggf_kv(p->dense, i), err);
    return s ? s : add_tensors(p, err);
}

/* ---- The data --------------------------------------------------------------------- */

static int copy_tensor(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct plain *p = user;
    const struct ggf_tensor *t = ggf_tensor(p->dense, number);
    uint8_t hash[GGF_SHA256_BYTES], *piece = p->raw[lane];
    ggf_sha256 *h = ggf_sha256_new();
    int s = h ? 0 : ggf_no_memory(err);
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = model_input_read(&p->in, t->shard, t->offset + at, piece, n, err);
        if (s) break;
        ggf_sha256_update(h, piece, n);
        s = ggf_writer_write(p->writer, p->place[number], at, piece, n, err);
    }
    if (!s) ggf_sha256_final(h, hash);
    ggf_sha256_free(h);
    atomic_fetch_add(&p->done, t->bytes);
    if (!s && memcmp(hash, p->source.hashes + number * sizeof hash, sizeof hash) != 0)
        s = ggf_fail(err, GGF_E_HASH, t->offset,
                     "%.200s: tensor '%s' is damaged: its bytes do not match their "
                     "SHA-256",
                     ggf_shard(p->dense, 0)->path, t->name);
    return s;
}

static int copy_record(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct plain *p = user;
    const struct ggf_pack_record *r = &p->pack->records[number];
    const bool fused = p->pack->layers[r->layer].fused;
    uint8_t *stored = p->stored[lane], *raw = stored;
    int s = read_exactly(p->fd, r->offset, stored, r->stored_bytes, "the pack", err);
    if (!s) s = ggf_pack_verify_record(p->pack, r, stored, err);
    if (!s && r->compressed) {
        raw = p->raw[lane];
        s = ggf_pack_read(p->pack, r, stored, raw, r->raw_bytes, err);
    }
    for (int i = 0; i < GGF_PARTS && !s; i++) {
        const uint64_t tensor = p->first[r->layer] + (uint64_t)(fused ? i / 2 : i);
        const uint64_t bytes = r->part_bytes[i];
        const uint64_t at = fused && i < GGF_DOWN ? (2 * (uint64_t)r->expert + i) * bytes
                                                  : r->expert * bytes;
        s = ggf_writer_write(p->writer, tensor, at, raw + r->part_offset[i], bytes, err);
        atomic_fetch_add(&p->done, bytes);
    }
    return s;
}

static void report(void *user)
{
    const struct plain *p = user;
    if (p->options->progress) p->options->progress(p->options->user, p->done, p->total);
}

/* ---- All of it ----------------------------------------------------------------------
 */

static int make_lanes(struct plain *p, ggf_error *err)
{
    const struct ggf_pack_info *in = &p->pack->info;
    p->threads = parallel_threads(p->options->threads, in->n_records);
    p->stored = calloc((size_t)p->threads, sizeof *p->stored);
    p->raw = calloc((size_t)p->threads, sizeof *p->raw);
    if (!p->stored || !p->raw) return ggf_no_memory(err);
    for (int i = 0; i < p->threads; i++) {
        p->stored[i] = malloc(in->max_stored_bytes);
        p->raw[i] = malloc(in->max_raw_bytes < PIECE ? PIECE : in->max_raw_bytes);
        if (!p->stored[i] || !p->raw[i]) return ggf_no_memory(err);
    }
    return 0;
}

static int prepare(struct plain *p, ggf_error *err)
{
    const uint64_t n_dense = ggf_tensor_count(p->dense);
    p->place = calloc(n_dense + 1, sizeof *p->place);
    p->first = malloc(p->pack->info.n_layers * sizeof *p->first);
    if (!p->place || !p->first) return ggf_no_memory(err);
    memset(p->first, 0xff, p->pack->info.n_layers * sizeof *p->first);
    for (uint64_t i = 0; i < n_dense; i++) p->total += ggf_tensor(p->dense, i)->bytes;
    p->total += p->pack->info.raw_bytes;
    if (p->source.n_hashes != n_dense)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%.200s has %" PRIu64 " tensors, the pack knows of %" PRIu64,
                        ggf_shard(p->dense, 0)->path, n_dense, p->source.n_hashes);
    return make_lanes(p, err);
}

static void free_plain(struct plain *p)
{
    for (int i = 0; i < p->threads; i++) {
        if (p->stored) free(p->stored[i]);
        if (p->raw) free(p->raw[i]);
    }
    free(p->stored);
    free(p->raw);
    free(p->place);
    free(p->first);
    ggf_writer_discard(p->writer);
    pack_source_free(&p->source);
    model_input_close(&p->in);
    if (p->fd >= 0) close(p->fd);
}

static int write_data(struct plain *p, ggf_error *err)
{
    int s =
        parallel_run(p->threads, ggf_tensor_count(p->dense), copy_tensor, report, p, err);
    if (!s)
        s = parallel_run(p->threads, p->pack->info.n_records, copy_record, report, p,
                         err);
    if (s) return s;
    s = ggf_writer_finish(p->writer, err);
    p->writer = NULL;
    return s;
}

int pack_to_plain(const ggf_file *dense, const ggf_pack *pack, const char *path,
                  const struct ggf_pack_options *options, ggf_error *err)
{
    const struct ggf_writer_options writer = { .force = options->force };
    struct plain p = { .options = options, .dense = dense, .pack = pack, .fd = -1 };
    int s = check_uniform(pack, err);
    if (!s) s = pack_source_load(&p.source, pack, err);
    if (!s) s = prepare(&p, err);
    if (!s) s = model_input_open(&p.in, dense, err);
    if (!s) s = open_input(&p.fd, pack->info.path, err);
    if (!s) s = keep_input(path, ggf_shard(dense, 0)->path, err);
    if (!s) s = keep_input(path, pack->info.path, err);
    if (!s) s = ggf_writer_create(&p.writer, path, &writer, err);
    if (!s) s = declare(&p, err);
    if (!s) s = ggf_writer_begin(p.writer, err);
    if (!s) s = write_data(&p, err);
    free_plain(&p);
    return s;
}

int pack_plain_size(uint64_t *bytes, const ggf_file *dense, const ggf_pack *pack,
                    ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct plain p = { .options = &none, .dense = dense, .pack = pack, .fd = -1 };
    int s = check_uniform(pack, err);
    if (!s) s = pack_source_load(&p.source, pack, err);
    if (!s) s = prepare(&p, err);
    if (!s) s = ggf_writer_create(&p.writer, NULL, NULL, err);
    if (!s) s = declare(&p, err);
    if (!s) *bytes = ggf_writer_file_size(p.writer);
    free_plain(&p);
    return s;
}
