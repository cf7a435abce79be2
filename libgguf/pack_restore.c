/* pack_restore.c - the source files again, bit for bit, from dense GGUF and pack.
 *
 * The source section has each file's header; parsed, it says where every tensor lies.
 * Tensors come from the dense GGUF or from the records, all hashed on the way; extras are
 * what else was not zero. */
#include "pack_source.h"
#include "parallel.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

struct restorer {
    const struct ggf_pack_options *options;
    const ggf_file *dense;
    const ggf_pack *pack;
    struct pack_source source;
    struct model_input in; /* the dense GGUF */
    int pack_fd;

    ggf_file **headers; /* of each file, parsed */
    char **paths;
    ggf_output **outputs;
    struct ggf_tensor *copies;         /* of all files, with their shard set */
    const struct ggf_tensor **tensors; /* to each */
    const struct ggf_tensor *
        *contents; /* dense tensors: where the bytes are; else NULL */
    uint64_t n_tensors;
    uint64_t *dense_numbers; /* of the tensors that come from the dense GGUF */
    uint64_t n_dense;
    struct expert_set experts;

    int threads;
    uint8_t **stored, **raw; /* a record for each thread */
    pthread_mutex_t write_lock;
    _Atomic uint64_t done;
    uint64_t total;
};

static int does_not_fit(const struct restorer *r, const char *what, ggf_error *err)
{
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "%.150s: its source section does not fit its %s", r->pack->info.path,
                    what);
}

/* ---- Understanding the source ---------------------------------------------- */

/* Parse the stored headers and list the tensors of all files in order. */
static int parse_headers(struct restorer *r, ggf_error *err)
{
    const struct ggf_open_options options = { .header_only = true, .one_shard = true };
    const uint32_t n = r->source.n_files;
    r->headers = calloc(n, sizeof *r->headers);
    if (!r->headers) return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        const struct source_file *f = &r->source.files[i];
        const int s =
            ggf_open_buffer(&r->headers[i], f->header, f->header_bytes, &options, err);
        if (s) return s;
        r->n_tensors += ggf_tensor_count(r->headers[i]);
    }
    r->copies = calloc(r->n_tensors + 1, sizeof *r->copies);
    r->tensors = calloc(r->n_tensors + 1, sizeof *r->tensors);
    if (!r->copies || !r->tensors) return ggf_no_memory(err);
    uint64_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < ggf_tensor_count(r->headers[i]); j++, k++) {
            r->copies[k] = *ggf_tensor(r->headers[i], j);
            r->copies[k].shard = i;
            r->tensors[k] = &r->copies[k];
            const uint64_t size = r->source.files[i].size;
            if (r->copies[k].offset > size ||
                r->copies[k].bytes > size - r->copies[k].offset)
                return does_not_fit(r, "file sizes", err);
            r->total += r->copies[k].bytes;
        }
    return 0;
}

/* The experts in the headers must be those of the pack's tables. */
static int match_experts(struct restorer *r, ggf_error *err)
{
    const int s = experts_find(&r->experts, r->tensors, r->n_tensors, err);
    if (s) return s;
    return experts_fit(&r->experts, r->pack) ? 0 : does_not_fit(r, "tables", err);
}

/* Find every other tensor in the dense GGUF. */
static int match_dense(struct restorer *r, ggf_error *err)
{
    r->contents = calloc(r->n_tensors + 1, sizeof *r->contents);
    r->dense_numbers = calloc(r->n_tensors + 1, sizeof *r->dense_numbers);
    if (!r->contents || !r->dense_numbers) return ggf_no_memory(err);
    for (uint64_t i = 0; i < r->n_tensors; i++) {
        const struct ggf_tensor *t = r->tensors[i];
        if (r->experts.packed[i]) continue;
        r->contents[i] = ggf_find_tensor(r->dense, t->name);
        if (!r->contents[i] || r->contents[i]->type != t->type ||
            r->contents[i]->bytes != t->bytes)
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "%.200s has no tensor '%s' of %" PRIu64 " bytes in type %s",
                            ggf_shard(r->dense, 0)->path, t->name, t->bytes,
                            ggf_type_name(t->type));
        r->dense_numbers[r->n_dense++] = i;
    }
    return r->n_dense == r->source.n_hashes ? 0 : does_not_fit(r, "dense tensors", err);
}

/* ---- Writing --------------------------------------------------------------- */

static int write_out(struct restorer *r, uint32_t file, uint64_t offset,
                     const void *bytes, uint64_t n, ggf_error *err)
{
    pthread_mutex_lock(&r->write_lock);
    const int s = ggf_output_write(r->outputs[file], offset, bytes, n, err);
    pthread_mutex_unlock(&r->write_lock);
    return s;
}

/* One of the dense tensors, in pieces. */
static int copy_tensor(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct restorer *r = user;
    const uint64_t i = r->dense_numbers[number];
    const struct ggf_tensor *to = r->tensors[i], *from = r->contents[i];
    uint8_t hash[GGF_SHA256_BYTES];
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    int s = 0;
    for (uint64_t at = 0; at < to->bytes && !s; at += PIECE) {
        const uint64_t n = to->bytes - at < PIECE ? to->bytes - at : PIECE;
        s = model_input_read(&r->in, from->shard, from->offset + at, r->raw[lane], n,
                             err);
        if (s) break;
        ggf_sha256_update(h, r->raw[lane], n);
        s = write_out(r, to->shard, to->offset + at, r->raw[lane], n, err);
    }
    ggf_sha256_final(h, hash);
    ggf_sha256_free(h);
    atomic_fetch_add(&r->done, to->bytes);
    if (!s &&
        memcmp(hash, r->source.hashes + number * GGF_SHA256_BYTES, sizeof hash) != 0)
        s = ggf_fail(
            err, GGF_E_HASH, from->offset,
            "%.200s: tensor '%s' is damaged: its bytes do not match their SHA-256",
            ggf_shard(r->dense, 0)->path, to->name);
    return s;
}

static int restore_record(void *user, int lane, uint64_t number, ggf_error *err)
{
    struct restorer *r = user;
    const struct ggf_pack_record *rec = &r->pack->records[number];
    const struct ggf_expert_layer *l = &r->experts.layers[rec->layer];
    uint8_t *stored = r->stored[lane], *raw = stored;
    int s =
        read_exactly(r->pack_fd, rec->offset, stored, rec->stored_bytes, "the pack", err);
    if (!s) s = ggf_pack_verify_record(r->pack, rec, stored, err);
    if (!s && rec->compressed) {
        raw = r->raw[lane];
        s = ggf_pack_read(r->pack, rec, stored, raw, rec->raw_bytes, err);
    }
    for (int i = 0; i < GGF_PARTS && !s; i++) {
        s = write_out(r, l->tensor[i]->shard,
                      experts_part_offset(l, rec->expert, (enum ggf_part)i),
                      raw + rec->part_offset[i], rec->part_bytes[i], err);
        atomic_fetch_add(&r->done, rec->part_bytes[i]);
    }
    return s;
}

static void report(void *user)
{
    const struct restorer *r = user;
    if (r->options->progress) r->options->progress(r->options->user, r->done, r->total);
}

static int write_files(struct restorer *r, ggf_error *err)
{
    int s = 0;
    for (uint32_t i = 0; i < r->source.n_files && !s; i++) {
        const struct source_file *f = &r->source.files[i];
        s = ggf_output_resize(r->outputs[i], f->size, err);
        if (!s) s = write_out(r, i, 0, f->header, f->header_bytes, err);
    }
    for (uint32_t i = 0; i < r->source.n_extras && !s; i++) {
        const struct source_extra *e = &r->source.extras[i];
        s = write_out(r, e->file, e->offset, e->data, e->bytes, err);
    }
    if (!s) s = parallel_run(r->threads, r->n_dense, copy_tensor, report, r, err);
    if (!s)
        s = parallel_run(r->threads, r->pack->info.n_records, restore_record, report, r,
                         err);
    return s;
}

/* ---- Files ----------------------------------------------------------------- */

/* The name of file number i: path itself, or for a split set PREFIX-0000I-of-0000N.gguf
 */
static char *output_path(const char *path, uint32_t i, uint32_t n)
{
    uint32_t index, count;
    size_t length = ggf_split_parse(path, &index, &count);
    const size_t all = strlen(path);
    if (n == 1) return strdup(path);
    if (!length) length = all > 5 && !strcmp(path + all - 5, ".gguf") ? all - 5 : all;
    char *prefix = strndup(path, length), *name = malloc(length + 64);
    if (prefix && name) {
        ggf_split_name(name, length + 64, prefix, i, n);
    } else {
        free(name);
        name = NULL;
    }
    free(prefix);
    return name;
}

static int create_outputs(struct restorer *r, const char *path, ggf_error *err)
{
    const uint32_t n = r->source.n_files;
    r->paths = calloc(n, sizeof *r->paths);
    r->outputs = calloc(n, sizeof *r->outputs);
    if (!r->paths || !r->outputs) return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        r->paths[i] = output_path(path, i, n);
        if (!r->paths[i]) return ggf_no_memory(err);
        int s = keep_input(r->paths[i], ggf_shard(r->dense, 0)->path, err);
        if (!s) s = keep_input(r->paths[i], r->pack->info.path, err);
        if (!s)
            s = ggf_output_create(&r->outputs[i], r->paths[i], r->options->force, err);
        if (s) return s;
    }
    return 0;
}

/* All files appear or none. */
static int publish(struct restorer *r, ggf_error *err)
{
    const int s = ggf_outputs_commit(r->outputs, r->source.n_files, err);
    memset(r->outputs, 0, r->source.n_files * sizeof *r->outputs);
    return s;
}

static int make_lanes(struct restorer *r, ggf_error *err)
{
    const struct ggf_pack_info *in = &r->pack->info;
    r->threads = parallel_threads(r->options->threads, in->n_records);
    r->stored = calloc((size_t)r->threads, sizeof *r->stored);
    r->raw = calloc((size_t)r->threads, sizeof *r->raw);
    if (!r->stored || !r->raw) return ggf_no_memory(err);
    for (int i = 0; i < r->threads; i++) {
        r->stored[i] = malloc(in->max_stored_bytes);
        r->raw[i] = malloc(in->max_raw_bytes < PIECE ? PIECE : in->max_raw_bytes);
        if (!r->stored[i] || !r->raw[i]) return ggf_no_memory(err);
    }
    return 0;
}

static void free_restorer(struct restorer *r)
{
    for (uint32_t i = 0; i < r->source.n_files; i++) {
        if (r->headers) ggf_close(r->headers[i]);
        if (r->outputs) ggf_output_discard(r->outputs[i]);
        if (r->paths) free(r->paths[i]);
    }
    for (int i = 0; i < r->threads; i++) {
        if (r->stored) free(r->stored[i]);
        if (r->raw) free(r->raw[i]);
    }
    free(r->headers);
    free(r->outputs);
    free(r->paths);
    free(r->stored);
    free(r->raw);
    free(r->copies);
    free(r->tensors);
    free(r->contents);
    free(r->dense_numbers);
    experts_free(&r->experts);
    pack_source_free(&r->source);
    model_input_close(&r->in);
    if (r->pack_fd >= 0) close(r->pack_fd);
    pthread_mutex_destroy(&r->write_lock);
}

int ggf_pack_restore(const ggf_file *dense, const ggf_pack *pack, const char *path,
                     const struct ggf_pack_options *options, ggf_error *err)
{
    static const struct ggf_pack_options none;
    struct restorer r = {
        .options = options ? options : &none, .dense = dense, .pack = pack, .pack_fd = -1
    };
    pthread_mutex_init(&r.write_lock, NULL);
    int s = ggf_pack_matches(dense, pack, err);
    if (!s) s = pack_source_load(&r.source, pack, err);
    if (!s && !r.source.n_files) {
        free_restorer(&r);
        return pack_to_plain(dense, pack, path, r.options, err);
    }
    if (!s) s = parse_headers(&r, err);
    if (!s) s = match_experts(&r, err);
    if (!s) s = match_dense(&r, err);
    if (!s) s = model_input_open(&r.in, dense, err);
    if (!s) s = open_input(&r.pack_fd, pack->info.path, err);
    if (!s) s = make_lanes(&r, err);
    if (!s) s = create_outputs(&r, path, err);
    if (!s) s = write_files(&r, err);
    if (!s) s = publish(&r, err);
    free_restorer(&r);
    return s;
}

int ggf_pack_restored(const ggf_file *dense, const ggf_pack *pack, const char *path,
                      uint32_t index, struct ggf_pack_restored *out, ggf_error *err)
{
    struct pack_source source;
    *out = (struct ggf_pack_restored){ 0 };
    int s = ggf_pack_matches(dense, pack, err);
    if (!s) s = pack_source_load(&source, pack, err);
    if (s) return s;
    const uint32_t n = source.n_files ? source.n_files : 1;
    if (index >= n)
        s = ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                     "%" PRIu32 " files are restored", n);
    else if (source.n_files) out->size = source.files[index].size;
    else s = pack_plain_size(&out->size, dense, pack, err);
    if (!s && !(out->path = output_path(path, index, n))) s = ggf_no_memory(err);
    pack_source_free(&source);
    return s;
}
