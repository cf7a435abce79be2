/* pack_verify.c - checking every byte of a pack, and mending damaged records from the
 * model it was made of. */
#include "pack_source.h"
#include "parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { PIECE = 1 << 20 };

struct verifier {
    const struct ggf_pack_options *options;
    const ggf_pack *pack;
    const ggf_file *dense;     /* or NULL */
    struct pack_source source; /* loaded if dense is given */
    struct model_input in;     /* of the dense GGUF */
    int fd;
    int threads;
    uint8_t **buffers;
    pthread_mutex_t lock; /* of the three below */
    uint64_t *bad;        /* numbers of damaged records */
    uint64_t n_bad, capacity;
    _Atomic uint64_t done;
    uint64_t total;
};

/* ---- Records --------------------------------------------------------------- */

static int remember(struct verifier *v, uint64_t number, ggf_error *err)
{
    int s = 0;
    pthread_mutex_lock(&v->lock);
    if (v->n_bad == v->capacity) {
        const uint64_t capacity = v->capacity ? 2 * v->capacity : 64;
        uint64_t *bad = realloc(v->bad, capacity * sizeof *bad);
        if (bad) {
            v->bad = bad;
            v->capacity = capacity;
        } else {
            s = ggf_no_memory(err);
        }
    }
    if (!s) v->bad[v->n_bad++] = number;
    pthread_mutex_unlock(&v->lock);
    return s;
}

static int check_record(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct verifier *v = user;
    const struct ggf_pack_record *r = &v->pack->records[number];
    int s = read_exactly(v->fd, r->offset, v->buffers[lane], r->stored_bytes, "the pack",
                         err);
    if (!s) s = ggf_pack_verify_record(v->pack, r, v->buffers[lane], err);
    atomic_fetch_add(&v->done, r->stored_bytes);
    return s == GGF_E_HASH ? remember(v, number, err) : s;
}

static void report(void *user)
{
    const struct verifier *v = user;
    if (v->options->progress) v->options->progress(v->options->user, v->done, v->total);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Hash all records; v->bad lists the damaged ones in order. */
static int check_records(struct verifier *v, ggf_error *err)
{
    const int s =
        parallel_run(v->threads, v->pack->info.n_records, check_record, report, v, err);
    if (v->n_bad) qsort(v->bad, v->n_bad, sizeof *v->bad, by_number);
    return s;
}

static void tell(const struct verifier *v, const struct ggf_pack_record *r,
                 const ggf_error *what)
{
    if (v->options->bad) v->options->bad(v->options->user, r, what);
}

static void tell_records(const struct verifier *v)
{
    for (uint64_t i = 0; i < v->n_bad; i++) {
        const struct ggf_pack_record *r = &v->pack->records[v->bad[i]];
        ggf_error what;
        ggf_fail(&what, GGF_E_HASH, r->offset,
                 "expert %" PRIu32 " of block %" PRIu32
                 " is damaged: its bytes do not match their SHA-256",
                 r->expert, v->pack->layers[r->layer].block);
        tell(v, r, &what);
    }
}

/* ---- Padding --------------------------------------------------------------- */

/* Padding number i: behind the layer table, the index, each record, the source section.
 */
static void padding(const ggf_pack *p, uint64_t i, uint64_t *from, uint64_t *to)
{
    const struct ggf_pack_info *in = &p->info;
    if (i == 0) {
        *from = PACK_HEADER_BYTES + (uint64_t)in->n_layers * PACK_LAYER_BYTES;
    } else if (i == 1) {
        *from = p->index_offset + in->n_records * PACK_RECORD_BYTES;
    } else if (i < in->n_records + 2) {
        *from = p->records[i - 2].offset + p->records[i - 2].stored_bytes;
    } else {
        *from = p->source_offset + p->source_stored;
    }
    *to = (*from + PACK_ALIGNMENT - 1) & ~(uint64_t)(PACK_ALIGNMENT - 1);
}

/* Find bytes of the padding that are not zero; with `mend` >= 0 overwrite them there. */
static int check_padding(const struct verifier *v, int mend, uint64_t *n_bad,
                         ggf_error *err)
{
    static const uint8_t zeros[PACK_ALIGNMENT];
    uint8_t bytes[PACK_ALIGNMENT];
    for (uint64_t i = 0; i < v->pack->info.n_records + 3; i++) {
        uint64_t from, to;
        padding(v->pack, i, &from, &to);
        int s = read_exactly(v->fd, from, bytes, to - from, "the pack", err);
        if (s) return s;
        if (!memcmp(bytes, zeros, to - from)) continue;
        ggf_error what;
        ggf_fail(&what, GGF_E_FORMAT, from,
                 "padding of %" PRIu64 " bytes is not all zeros", to - from);
        tell(v, NULL, &what);
        ++*n_bad;
        if (mend >= 0 && (s = write_exactly(mend, from, zeros, to - from, err))) return s;
    }
    return 0;
}

/* ---- Dense tensors --------------------------------------------------------- */

/* The dense GGUF's tensors in order are those of the hashes. */
static int open_dense(struct verifier *v, ggf_error *err)
{
    int s = ggf_pack_matches(v->dense, v->pack, err);
    if (!s) s = pack_source_load(&v->source, v->pack, err);
    if (!s && v->source.n_hashes != ggf_tensor_count(v->dense))
        s = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                     "%.200s has %" PRIu64 " tensors, the pack knows of %" PRIu64,
                     ggf_shard(v->dense, 0)->path, ggf_tensor_count(v->dense),
                     v->source.n_hashes);
    for (uint64_t i = 0; !s && i < v->source.n_hashes; i++)
        v->total += ggf_tensor(v->dense, i)->bytes;
    return s ? s : model_input_open(&v->in, v->dense, err);
}

static int check_tensor(struct verifier *v, uint64_t i, uint64_t *n_bad, ggf_error *err)
{
    const struct ggf_tensor *t = ggf_tensor(v->dense, i);
    uint8_t hash[GGF_SHA256_BYTES];
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    int s = 0;
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = model_input_read(&v->in, t->shard, t->offset + at, v->buffers[0], n, err);
        if (!s) ggf_sha256_update(h, v->buffers[0], n);
    }
    ggf_sha256_final(h, hash);
    ggf_sha256_free(h);
    if (s) return s;
    v->done += t->bytes;
    report(v);
    if (!memcmp(hash, v->source.hashes + i * GGF_SHA256_BYTES, sizeof hash)) return 0;
    ggf_error what;
    ggf_fail(
        &what, GGF_E_HASH, t->offset,
        "tensor '%s' of the dense GGUF is damaged: its bytes do not match their SHA-256",
        t->name);
    tell(v, NULL, &what);
    ++*n_bad;
    return 0;
}

/* ---- Verifying ------------------------------------------------------------- */

static int start(struct verifier *v, const ggf_pack *pack, ggf_error *err)
{
    const struct ggf_pack_info *in = ggf_pack_info(pack);
    v->pack = pack;
    v->total += in->stored_bytes;
    v->threads = parallel_threads(v->options->threads, in->n_records);
    v->buffers = calloc((size_t)v->threads, sizeof *v->buffers);
    if (!v->buffers) return ggf_no_memory(err);
    const uint64_t bytes = in->max_stored_bytes < PIECE ? PIECE : in->max_stored_bytes;
    for (int i = 0; i < v->threads; i++)
        if (!(v->buffers[i] = malloc(bytes))) return ggf_no_memory(err);
    return open_input(&v->fd, in->path, err);
}

static void finish(struct verifier *v)
{
    for (int i = 0; v->buffers && i < v->threads; i++) free(v->buffers[i]);
    free(v->buffers);
    free(v->bad);
    pack_source_free(&v->source);
    model_input_close(&v->in);
    if (v->fd >= 0) close(v->fd);
    pthread_mutex_destroy(&v->lock);
}

int ggf_pack_verify(const ggf_pack *pack, const ggf_file *dense,
                    const struct ggf_pack_options *options, uint64_t *n_bad,
                    ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct verifier v = {
        .options = options ? options : &none, .pack = pack, .dense = dense, .fd = -1
    };
    *n_bad = 0;
    pthread_mutex_init(&v.lock, NULL);
    int s = dense ? open_dense(&v, err) : 0;
    if (!s) s = start(&v, pack, err);
    if (!s) s = check_records(&v, err);
    if (!s) {
        tell_records(&v);
        *n_bad = v.n_bad;
        s = check_padding(&v, -1, n_bad, err);
    }
    for (uint64_t i = 0; dense && !s && i < v.source.n_hashes; i++)
        s = check_tensor(&v, i, n_bad, err);
    finish(&v);
    return s;
}

/* ---- Repairing ------------------------------------------------------------- */

/* The stored bytes of a record, made anew from the model.  They must have the index's
 * hash: then, and only then, are they what was there before. */
static int remake(const struct verifier *v, const struct expert_set *set,
                  const struct model_input *model, const struct ggf_pack_record *r,
                  uint8_t *raw, uint8_t *packed, ggf_error *err)
{
    const int s = experts_gather(model, &set->layers[r->layer], r, raw, err);
    if (s) return s;
    pack_zero_padding(r, raw);
    if (r->compressed) {
        const size_t n = ZSTD_compress(packed, r->raw_bytes - 1, raw, r->raw_bytes,
                                       v->pack->info.zstd_level);
        if (ZSTD_isError(n) || n != r->stored_bytes)
            return ggf_fail(
                err, GGF_E_HASH, r->offset,
                "expert %" PRIu32 " of block %" PRIu32
                " cannot be made again: this zstd compresses to other bytes, or "
                "the model is another one; pack it again",
                r->expert, v->pack->layers[r->layer].block);
    }
    if (!ggf_pack_verify_record(v->pack, r, r->compressed ? packed : raw, NULL)) return 0;
    return ggf_fail(err, GGF_E_HASH, r->offset,
                    "expert %" PRIu32 " of block %" PRIu32
                    " in the model is not what was packed: is it another model?",
                    r->expert, v->pack->layers[r->layer].block);
}

static int mend_record(const struct verifier *v, const struct expert_set *set,
                       const struct model_input *model, int fd,
                       const struct ggf_pack_record *r, ggf_error *err)
{
    uint8_t *raw = malloc(r->raw_bytes), *packed = malloc(r->raw_bytes);
    int s =
        raw && packed ? remake(v, set, model, r, raw, packed, err) : ggf_no_memory(err);
    uint8_t *bytes = r->compressed ? packed : raw;
    if (!s) s = write_exactly(fd, r->offset, bytes, r->stored_bytes, err);
    if (!s && fsync(fd) != 0)
        s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot write the pack: %s",
                     strerror(errno));
    if (!s) s = read_exactly(fd, r->offset, bytes, r->stored_bytes, "the pack", err);
    if (!s) s = ggf_pack_verify_record(v->pack, r, bytes, err);
    free(raw);
    free(packed);
    return s;
}

/* From the model: needs a pack that was made of one. */
static int mend_from_model(struct verifier *v, const ggf_file *model, int fd,
                           uint64_t *n_repaired, ggf_error *err)
{
    struct expert_set set = { 0 };
    struct model_input in = { 0 };
    int s = pack_source_load(&v->source, v->pack, err);
    if (!s && !v->source.n_files)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "%.150s was not made of a model that could give its records again; "
                     "it can be repaired from a copy of the pack",
                     v->pack->info.path);
    if (!s) s = experts_of_file(&set, model, err);
    if (!s && !experts_fit(&set, v->pack))
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "%.150s has other experts than %.150s: it is not the model that was "
                     "packed",
                     ggf_shard(model, 0)->path, v->pack->info.path);
    if (!s) s = model_input_open(&in, model, err);
    for (uint64_t i = 0; i < v->n_bad && !s; i++) {
        s = mend_record(v, &set, &in, fd, &v->pack->records[v->bad[i]], err);
        *n_repaired += !s;
    }
    model_input_close(&in);
    experts_free(&set);
    return s;
}

/* From another pack: from each record that has the hash which the index asks for. */
static int mend_from_copy(struct verifier *v, const ggf_pack *copy, int fd,
                          uint64_t *n_repaired, ggf_error *err)
{
    int s = 0;
    for (uint64_t i = 0; i < v->n_bad && !s; i++) {
        const struct ggf_pack_record *r = &v->pack->records[v->bad[i]];
        const uint32_t block = v->pack->layers[r->layer].block;
        const int64_t layer = ggf_pack_layer_of(copy, block);
        const struct ggf_pack_record *c =
            layer < 0 ? NULL : ggf_pack_record(copy, (uint32_t)layer, r->expert);
        if (!c || c->stored_bytes != r->stored_bytes ||
            memcmp(c->sha256, r->sha256, GGF_SHA256_BYTES) != 0)
            return ggf_fail(err, GGF_E_HASH, r->offset,
                            "%.150s is not a copy: it has another expert %" PRIu32
                            " of block %" PRIu32,
                            copy->info.path, r->expert, block);
        s = ggf_pack_verify_record(copy, c, NULL, err);
        if (!s) s = write_exactly(fd, r->offset, c->stored, c->stored_bytes, err);
        *n_repaired += !s;
    }
    return s;
}

/* From the model, or else from the copy. */
static int mend(struct verifier *v, const ggf_file *model, const ggf_pack *copy,
                uint64_t *n_repaired, ggf_error *err)
{
    const char *path = v->pack->info.path;
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot write %s: %s", path,
                        strerror(errno));
    int s = model ? mend_from_model(v, model, fd, n_repaired, err)
                  : mend_from_copy(v, copy, fd, n_repaired, err);
    if (!s) s = check_padding(v, fd, n_repaired, err);
    if (!s && fsync(fd) != 0)
        s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot write the pack: %s",
                     strerror(errno));
    close(fd);
    return s;
}

static int repair(const char *path, const ggf_file *model, const ggf_pack *copy,
                  const struct ggf_pack_options *options, uint64_t *n_repaired,
                  ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct verifier v = { .options = options ? options : &none, .fd = -1 };
    ggf_pack *pack;
    *n_repaired = 0;
    int s = ggf_pack_open(&pack, path, err);
    if (s) return s;
    pthread_mutex_init(&v.lock, NULL);
    s = start(&v, pack, err);
    if (!s) s = check_records(&v, err);
    if (!s) {
        tell_records(&v);
        s = mend(&v, model, copy, n_repaired, err);
    }
    finish(&v);
    ggf_pack_close(pack);
    return s;
}

int ggf_pack_repair(const char *path, const ggf_file *model,
                    const struct ggf_pack_options *options, uint64_t *n_repaired,
                    ggf_error *err)
{
    return repair(path, model, NULL, options, n_repaired, err);
}

int ggf_pack_repair_from(const char *path, const ggf_pack *copy,
                         const struct ggf_pack_options *options, uint64_t *n_repaired,
                         ggf_error *err)
{
    return repair(path, NULL, copy, options, n_repaired, err);
}
