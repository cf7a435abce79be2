/* open.c - a model from one file or a split set: mapping, joining, looking up. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ggf_open_options no_options;

static int out_of_memory(ggf_error *err)
{
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
}

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

/* Take over a parsed header as the next shard.  Keys of shards other than the first
 * are dropped: only split.* are there, and split_number() has looked at them. */
static int add_shard(ggf_file *f, const struct shard *shard, struct header *h,
                     const struct ggf_open_options *o, ggf_error *err)
{
    const uint32_t index = f->n_shards;
    struct shard *shards = realloc(f->shards, (index + 1) * sizeof *shards);
    if (shards) f->shards = shards;
    const uint64_t total = f->n_tensors + h->n_tensors;
    struct ggf_tensor *tensors = realloc(f->tensors, (total + 1) * sizeof *tensors);
    if (tensors) f->tensors = tensors;
    if (!shards || !tensors) return out_of_memory(err);

    join_text(&f->text, h->text);
    h->text = NULL;
    struct shard *s = &f->shards[index];
    *s = *shard;
    s->view.path = s->path ? s->path : "";
    s->view.data_offset = h->data_offset;
    s->view.version = h->version;
    s->view.alignment = h->alignment;
    s->view.first_tensor = (uint32_t)f->n_tensors;
    s->view.n_tensors = (uint32_t)h->n_tensors;
    f->n_shards++;

    for (uint64_t i = 0; i < h->n_tensors; i++) {
        struct ggf_tensor *t = &f->tensors[f->n_tensors];
        *t = h->tensors[i];
        t->shard = index;
        t->data = s->view.bytes && !o->header_only ? s->view.bytes + t->offset : NULL;
        int added = name_set_add(&f->tensor_index, t->name, f->n_tensors);
        if (added < 0) return out_of_memory(err);
        if (!added)
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "two tensors are named '%s'", t->name);
        f->n_tensors++;
    }
    if (index > 0) return 0;
    f->kvs = h->kvs;
    f->n_kvs = h->n_kvs;
    h->kvs = NULL;
    for (uint64_t i = 0; i < f->n_kvs; i++) {
        int added = name_set_add(&f->kv_index, f->kvs[i].key, i);
        if (added < 0) return out_of_memory(err);
        if (!added)
            return ggf_fail(err, GGF_E_FORMAT, f->kvs[i].offset,
                            "key '%.80s' is there twice", f->kvs[i].key);
    }
    return 0;
}

/* The value of split.no in a parsed header, or -1. */
static int64_t split_number(const struct header *h)
{
    int64_t no;
    for (uint64_t i = 0; i < h->n_kvs; i++)
        if (!strcmp(h->kvs[i].key, "split.no") && !ggf_kv_i64(&h->kvs[i], 0, &no, NULL))
            return no;
    return -1;
}

static void free_header(struct header *h)
{
    free(h->kvs);
    free(h->tensors);
    free_text(h->text);
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
    if (split_no >= 0 && split_number(&h) != split_no) {
        s = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                     "%s: split.no is %" PRId64 ", expected %" PRId64, shard->path,
                     split_number(&h), split_no);
        free_header(&h);
        return s;
    }
    const uint32_t before = f->n_shards;
    s = add_shard(f, shard, &h, o, err);
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
    *s = (struct shard){ 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s", path,
                        strerror(errno));
    struct stat st;
    int status = 0;
    if (fstat(fd, &st) != 0)
        status = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read %s: %s", path,
                          strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "%s is not a regular file", path);
    else if (st.st_size == 0)
        status = ggf_fail(err, GGF_E_FORMAT, 0, "%s is empty", path);
    if (!status) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        s->path = strdup(path);
        s->view.size = (uint64_t)st.st_size;
        if (map != MAP_FAILED) s->view.bytes = s->map = map;
        if (!s->map || !s->path) {
            status = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot map %s: %s", path,
                              strerror(errno));
            unmap(s);
        }
    }
    close(fd);
    return status;
}

/* Put the file's name before a message of the parser, which does not know it. */
static void name_file(ggf_error *err, const char *path)
{
    if (!err || err->code != GGF_E_FORMAT) return;
    char m[sizeof err->message];
    if (strstr(err->message, path)) return;
    memcpy(m, err->message, sizeof m);
    size_t n = strlen(path), room = sizeof m - 3;
    if (n > room / 2) n = room / 2;
    memcpy(err->message, path, n);
    memcpy(err->message + n, ": ", 2);
    strncpy(err->message + n + 2, m, room - n);
    err->message[sizeof m - 1] = 0;
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

/* The first shard is open: bring in the others. */
static int open_rest(ggf_file *f, const char *path, const struct ggf_open_options *o,
                     ggf_error *err)
{
    uint32_t count = 0, no = 0, name_no, name_count;
    ggf_get_u32(f, "split.count", &count, NULL);
    ggf_get_u32(f, "split.no", &no, NULL);
    if (count <= 1) return 0;
    if (no != 0)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s is part %" PRIu32 " of %" PRIu32 "; open the first part", path,
                        no + 1, count);
    const size_t prefix = ggf_split_parse(path, &name_no, &name_count);
    if (!prefix || name_no != 0 || name_count != count)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s is the first of %" PRIu32
                        " parts, expected a name ending in -00001-of-%05" PRIu32 ".gguf",
                        path, count, count);
    const size_t size = prefix + 32;
    char *name = malloc(2 * size);
    if (!name) return out_of_memory(err);
    memcpy(name + size, path, prefix);
    name[size + prefix] = 0;
    int status = 0;
    for (uint32_t i = 1; i < count && !status; i++) {
        ggf_split_name(name, size, name + size, i, count);
        status = open_shard(f, name, i, o, err);
    }
    free(name);
    uint64_t total = f->n_tensors;
    if (!status) status = ggf_get_u64(f, "split.tensors.count", &total, err);
    if (status == GGF_E_NOT_FOUND) status = 0;
    if (!status && total != f->n_tensors)
        status = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                          "%s: the parts hold %" PRIu64 " tensors, split.tensors.count says "
                          "%" PRIu64,
                          path, f->n_tensors, total);
    return status;
}

int ggf_open(ggf_file **out, const char *path, const struct ggf_open_options *options,
             ggf_error *err)
{
    *out = NULL;
    const struct ggf_open_options *o = options ? options : &no_options;
    ggf_file *f = calloc(1, sizeof *f);
    if (!f) return out_of_memory(err);
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
    if (!f) return out_of_memory(err);
    const struct shard s = { .view = { .bytes = bytes, .size = len } };
    int status = load_shard(f, &s, -1, options ? options : &no_options, err);
    if (status) ggf_close(f);
    else *out = f;
    return status;
}

/* Read a growing piece of the file until the header is whole in it. */
static int read_header(uint8_t **bytes, struct header *h, ggf_read_fn read, void *user,
                       uint64_t file_size, const struct ggf_open_options *o,
                       ggf_error *err)
{
    uint64_t have = 0, want = 1 << 20;
    for (;;) {
        if (want > file_size) want = file_size;
        uint8_t *more = realloc(*bytes, want + 1);
        if (!more) return out_of_memory(err);
        *bytes = more;
        if (want > have && read(user, have, more + have, want - have) != 0)
            return ggf_fail(err, GGF_E_IO, have, "reading %" PRIu64 " bytes failed",
                            want - have);
        have = want;
        const struct source src = { more, have, file_size };
        const int s = parse_header(h, &src, o, err);
        if (s != NEED_MORE) return s;
        want *= 4;
    }
}

int ggf_open_callback(ggf_file **out, ggf_read_fn read, void *user, uint64_t file_size,
                      const struct ggf_open_options *options, ggf_error *err)
{
    *out = NULL;
    struct ggf_open_options o = options ? *options : no_options;
    ggf_file *f = calloc(1, sizeof *f);
    if (!f) return out_of_memory(err);
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
