/* open.c - a model from one file or a split set: mapping, joining, looking up. */
#include "file.h"
#include "map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct ggf_open_options no_options;

void ggf_close(ggf_file *f)
{
    if (!f) return;
    for (uint32_t i = 0; i < f->n_shards; i++) {
        struct shard *s = &f->shards[i];
        if (s->map) munmap(s->map, s->view.size);
        free(s->copied);
        free(s->path);
    }
    free(f->shards);
    free(f->kvs);
    free(f->tensors);
    name_set_free(&f->kv_index);
    name_set_free(&f->tensor_index);
    free_text(f->text);
    free(f);
}

static void join_text(struct text_block **all, struct text_block *more)
{
    while (more) {
        struct text_block *next = more->next;
        more->next = *all;
        *all = more;
        more = next;
    }
}

/* The first shard's keys are the model's.  Those of the others are dropped: only
 * split.* are there, and check_split_no() has looked at them. */
static void take_keys(ggf_file *f, struct header *h)
{
    f->kvs = h->kvs;
    f->n_kvs = h->n_kvs;
    f->kv_index = h->kv_index;
    f->tensor_index = h->tensor_index;
    h->kvs = NULL;
    h->kv_index = h->tensor_index = (struct name_set){ 0 };
}

/* Append the tensors of shard `index`. */
static int take_tensors(ggf_file *f, const struct header *h, uint32_t index,
                        const struct ggf_open_options *o, ggf_error *err)
{
    const struct ggf_shard *s = &f->shards[index].view;
    for (uint64_t i = 0; i < h->n_tensors; i++) {
        struct ggf_tensor *t = &f->tensors[f->n_tensors];
        *t = h->tensors[i];
        t->shard = index;
        t->data = s->bytes && !o->header_only ? s->bytes + t->offset : NULL;
        const int added =
            index == 0 ? 1 : name_set_add(&f->tensor_index, t->name, f->n_tensors);
        if (added < 0) return ggf_no_memory(err);
        if (!added)
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "tensor '%s' is in two parts of the set", t->name);
        f->n_tensors++;
    }
    return 0;
}

/* Take over a parsed header as the next shard; h still has to be freed. */
static int add_shard(ggf_file *f, const struct shard *shard, struct header *h,
                     const struct ggf_open_options *o, ggf_error *err)
{
    const uint32_t index = f->n_shards;
    struct shard *shards = realloc(f->shards, (index + 1) * sizeof *shards);
    if (shards) f->shards = shards;
    const uint64_t total = f->n_tensors + h->n_tensors;
    if (total > UINT32_MAX)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "more than 2^32 tensors");
    struct ggf_tensor *tensors = realloc(f->tensors, (total + 1) * sizeof *tensors);
    if (tensors) f->tensors = tensors;
    if (!shards || !tensors) return ggf_no_memory(err);

    join_text(&f->text, h->text);
    h->text = NULL;
    struct shard *s = &f->shards[f->n_shards++];
    *s = *shard;
    s->view.path = s->path ? s->path : "";
    s->view.header_end = h->header_end;
    s->view.data_offset = h->data_offset;
    s->view.version = h->version;
    s->view.alignment = h->alignment;
    s->view.first_tensor = (uint32_t)f->n_tensors;
    s->view.n_tensors = (uint32_t)h->n_tensors;
    if (index == 0) take_keys(f, h);
    return take_tensors(f, h, index, o, err);
}

/* A part's split.no must be its place in the set. */
static int check_split_no(const struct header *h, int64_t expected, ggf_error *err)
{
    uint64_t i;
    int64_t no;
    if (!name_set_find(&h->kv_index, "split.no", &i))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "split.no is missing, expected %" PRId64, expected);
    const int s = ggf_kv_i64(&h->kvs[i], 0, &no, err);
    if (s || no == expected) return s;
    return ggf_fail(err, GGF_E_FORMAT, h->kvs[i].offset,
                    "split.no is %" PRId64 ", expected %" PRId64, no, expected);
}

/* Parse what `shard` maps and append it; on failure the caller still owns the shard.
 * split_no is what split.no must be, or -1 for any. */
static int load_shard(ggf_file *f, const struct shard *shard, int64_t split_no,
                      const struct ggf_open_options *o, ggf_error *err)
{
    struct header h;
    const struct source src = { shard->view.bytes, shard->view.size, shard->view.size };
    int s = parse_header(&h, &src, o, err);
    if (s) return s;
    if (split_no >= 0) s = check_split_no(&h, split_no, err);
    const uint32_t before = f->n_shards;
    if (!s) s = add_shard(f, shard, &h, o, err);
    free_header(&h);
    /* Once it is in the list ggf_close() releases it: undo that for our caller. */
    if (s && f->n_shards > before) f->n_shards--;
    return s;
}

static void unmap(struct shard *s)
{
    if (s->map) munmap(s->map, s->view.size);
    free(s->path);
}

static int map_shard(struct shard *s, const char *path, ggf_error *err)
{
    *s = (struct shard){ .path = strdup(path) };
    int status = s->path ? 0 : ggf_no_memory(err);
    if (!status) status = map_file(&s->view.bytes, &s->view.size, path, err);
    if (status) free(s->path);
    else s->map = (void *)s->view.bytes;
    return status;
}

/* Put the file's name before a message of the parser, which does not know it; of a path
 * too long the end. */
static void name_file(ggf_error *err, const char *path)
{
    if (!err || (err->code != GGF_E_FORMAT && err->code != GGF_E_TYPE)) return;
    const size_t used = strlen(err->message) + 1, room = sizeof err->message - used;
    size_t n = strlen(path);
    if (room < 32) return;
    if (n > room - 2) {
        path += n - (room - 2);
        n = room - 2;
    }
    memmove(err->message + n + 2, err->message, used);
    memcpy(err->message, path, n);
    memcpy(err->message + n, ": ", 2);
}

static int open_shard(ggf_file *f, const char *path, int64_t split_no,
                      const struct ggf_open_options *o, ggf_error *err)
{
    struct shard s;
    int status = map_shard(&s, path, err);
    if (status) return status;
    status = load_shard(f, &s, split_no, o, err);
    if (status) {
        name_file(err, path);
        unmap(&s);
    }
    return status;
}

/* split.tensors.count, where it is given, must be what the parts hold. */
static int check_total(const ggf_file *f, const char *path, ggf_error *err)
{
    uint64_t total = f->n_tensors;
    const int s = ggf_get_u64(f, "split.tensors.count", &total, err);
    if (s && s != GGF_E_NOT_FOUND) return s;
    if (total == f->n_tensors) return 0;
    return ggf_fail(err, GGF_E_FORMAT, ggf_find_kv(f, "split.tensors.count")->offset,
                    "%s: the parts hold %" PRIu64 " tensors, split.tensors.count says "
                    "%" PRIu64,
                    path, f->n_tensors, total);
}

/* The parts behind the first, whose name begins with `prefix` bytes of path. */
static int open_parts(ggf_file *f, const char *path, size_t prefix, uint32_t count,
                      const struct ggf_open_options *o, ggf_error *err)
{
    const size_t size = prefix + 32; /* -00001-of-00005.gguf and NUL */
    char *base = strndup(path, prefix), *name = malloc(size);
    int s = base && name ? 0 : ggf_no_memory(err);
    for (uint32_t i = 1; i < count && !s; i++) {
        ggf_split_name(name, size, base, i, count);
        s = open_shard(f, name, i, o, err);
    }
    free(base);
    free(name);
    return s ? s : check_total(f, path, err);
}

/* The first shard is open: bring in the others if it says that there are any. */
static int open_rest(ggf_file *f, const char *path, const struct ggf_open_options *o,
                     ggf_error *err)
{
    uint32_t count = 0, no = 0, name_no, name_count;
    int s = ggf_get_u32(f, "split.count", &count, err);
    if (s == GGF_E_NOT_FOUND || (!s && count <= 1)) return 0;
    if (!s) s = ggf_get_u32(f, "split.no", &no, err);
    if (s && s != GGF_E_NOT_FOUND) {
        name_file(err, path);
        return s;
    }
    if (no != 0)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s is part %" PRIu32 " of %" PRIu32 "; open the first part",
                        path, no + 1, count);
    const size_t prefix = ggf_split_parse(path, &name_no, &name_count);
    if (!prefix || name_no != 0 || name_count != count)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s is the first of %" PRIu32
                        " parts, expected a name ending in -00001-of-%05" PRIu32 ".gguf",
                        path, count, count);
    return open_parts(f, path, prefix, count, o, err);
}

int ggf_open(ggf_file **out, const char *path, const struct ggf_open_options *options,
             ggf_error *err)
{
    *out = NULL;
    const struct ggf_open_options *o = options ? options : &no_options;
    ggf_file *f = calloc(1, sizeof *f);
    if (!f) return ggf_no_memory(err);
    int status = open_shard(f, path, -1, o, err);
    if (!status && !o->one_shard) status = open_rest(f, path, o, err);
    if (status) ggf_close(f);
    else *out = f;
    return status;
}

int ggf_open_buffer(ggf_file **out, const void *bytes, size_t len,
                    const struct ggf_open_options *options, ggf_error *err)
{
    *out = NULL;
    ggf_file *f = calloc(1, sizeof *f);
    if (!f) return ggf_no_memory(err);
    const struct shard s = { .view = { .bytes = bytes, .size = len } };
    int status = load_shard(f, &s, -1, options ? options : &no_options, err);
    if (status) ggf_close(f);
    else *out = f;
    return status;
}

/* Larger than any header; the 80B model's is 6 MB.  A header read through a callback
 * cannot make us hold more. */
#define MAX_CALLBACK_HEADER (64u << 20)

/* Read a growing piece of the file until the header is whole in it. */
static int read_header(uint8_t **bytes, struct header *h, ggf_read_fn read, void *user,
                       uint64_t file_size, const struct ggf_open_options *o,
                       ggf_error *err)
{
    uint64_t have = 0, want = 1 << 20;
    for (;;) {
        if (want > file_size) want = file_size;
        uint8_t *more = realloc(*bytes, want + 1);
        if (!more) return ggf_no_memory(err);
        *bytes = more;
        if (want > have && read(user, have, more + have, want - have) != 0)
            return ggf_fail(err, GGF_E_IO, have, "reading %" PRIu64 " bytes failed",
                            want - have);
        have = want;
        const struct source src = { more, have, file_size };
        const int s = parse_header(h, &src, o, err);
        if (s != NEED_MORE) return s;
        if (have >= MAX_CALLBACK_HEADER)
            return ggf_fail(err, GGF_E_FORMAT, have, "the header does not end here");
        want *= 4;
    }
}

int ggf_open_callback(ggf_file **out, ggf_read_fn read, void *user, uint64_t file_size,
                      const struct ggf_open_options *options, ggf_error *err)
{
    *out = NULL;
    struct ggf_open_options o = options ? *options : no_options;
    ggf_file *f = calloc(1, sizeof *f);
    if (!f) return ggf_no_memory(err);
    struct header h = { 0 };
    struct shard s = { .view = { .size = file_size } };
    int status = read_header(&s.copied, &h, read, user, file_size, &o, err);
    if (!status) {
        status = add_shard(f, &s, &h, &o, err);
        if (f->n_shards) s.copied = NULL;
    }
    free_header(&h);
    free(s.copied);
    if (status) ggf_close(f);
    else *out = f;
    return status;
}

uint32_t ggf_shard_count(const ggf_file *f) { return f->n_shards; }

const struct ggf_shard *ggf_shard(const ggf_file *f, uint32_t index)
{
    return index < f->n_shards ? &f->shards[index].view : NULL;
}

uint64_t ggf_tensor_count(const ggf_file *f) { return f->n_tensors; }

const struct ggf_tensor *ggf_tensor(const ggf_file *f, uint64_t index)
{
    return index < f->n_tensors ? &f->tensors[index] : NULL;
}

const struct ggf_tensor *ggf_find_tensor(const ggf_file *f, const char *name)
{
    uint64_t i;
    return name_set_find(&f->tensor_index, name, &i) ? &f->tensors[i] : NULL;
}

uint64_t ggf_kv_count(const ggf_file *f) { return f->n_kvs; }

const struct ggf_kv *ggf_kv(const ggf_file *f, uint64_t index)
{
    return index < f->n_kvs ? &f->kvs[index] : NULL;
}

const struct ggf_kv *ggf_find_kv(const ggf_file *f, const char *key)
{
    uint64_t i;
    return name_set_find(&f->kv_index, key, &i) ? &f->kvs[i] : NULL;
}
