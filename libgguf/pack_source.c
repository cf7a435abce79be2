/* pack_source.c - see pack_source.h. */
#include "pack_source.h"

#include "bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MAX_EXTRA_BYTES (64ull << 20)

enum { HEAD_BYTES = 16, FILE_BYTES = 24, EXTRA_BYTES = 24, LEVEL = 6 };

/* ---- Reading --------------------------------------------------------------- */

struct cursor {
    const uint8_t *p;
    uint64_t left;
};

/* The next n bytes, or NULL if they are not there. */
static const uint8_t *take(struct cursor *c, uint64_t n)
{
    if (n > c->left) return NULL;
    const uint8_t *p = c->p;
    c->p += n;
    c->left -= n;
    return p;
}

static bool take_file(struct cursor *c, struct source_file *f)
{
    const uint8_t *p = take(c, FILE_BYTES);
    if (!p) return false;
    f->size = load_u64(p);
    f->header_bytes = load_u64(p + 8);
    f->name_bytes = load_u32(p + 16);
    f->name = (const char *)take(c, f->name_bytes);
    f->header = take(c, f->header_bytes);
    return load_u32(p + 20) == 0 && f->name && f->header && f->name_bytes < 256 &&
           f->header_bytes <= f->size && f->size <= INT64_MAX;
}

static bool take_extra(struct cursor *c, struct source_extra *e,
                       const struct pack_source *s)
{
    const uint8_t *p = take(c, EXTRA_BYTES);
    if (!p) return false;
    e->offset = load_u64(p);
    e->bytes = load_u64(p + 8);
    e->file = load_u32(p + 16);
    e->data = take(c, e->bytes);
    return load_u32(p + 20) == 0 && e->data && e->file < s->n_files &&
           e->offset <= s->files[e->file].size &&
           e->bytes <= s->files[e->file].size - e->offset;
}

/* s->raw holds `bytes` bytes: find the pieces; false if they do not add up. */
static bool split(struct pack_source *s, uint64_t bytes, bool *no_memory)
{
    struct cursor c = { s->raw, bytes };
    const uint8_t *head = take(&c, HEAD_BYTES);
    if (!head) return false;
    s->n_files = load_u32(head);
    s->n_extras = load_u32(head + 4);
    s->n_hashes = load_u64(head + 8);
    if (s->n_files > bytes / FILE_BYTES || s->n_extras > bytes / EXTRA_BYTES ||
        s->n_hashes > bytes / GGF_SHA256_BYTES)
        return false;
    s->files = calloc((size_t)s->n_files + 1, sizeof *s->files);
    s->extras = calloc((size_t)s->n_extras + 1, sizeof *s->extras);
    if ((*no_memory = !s->files || !s->extras)) return false;
    for (uint32_t i = 0; i < s->n_files; i++)
        if (!take_file(&c, &s->files[i])) return false;
    s->hashes = take(&c, s->n_hashes * GGF_SHA256_BYTES);
    if (!s->hashes) return false;
    for (uint32_t i = 0; i < s->n_extras; i++)
        if (!take_extra(&c, &s->extras[i], s)) return false;
    return c.left == 0;
}

int pack_source_load(struct pack_source *s, const ggf_pack *p, ggf_error *err)
{
    *s = (struct pack_source){ 0 };
    s->raw = malloc(p->source_raw + 1);
    if (!s->raw) return ggf_no_memory(err);
    const size_t n = ZSTD_decompress(s->raw, p->source_raw, p->bytes + p->source_offset,
                                     p->source_stored);
    bool no_memory = false;
    int status = 0;
    if (ZSTD_isError(n) || n != p->source_raw)
        status = ggf_fail(err, GGF_E_FORMAT, p->source_offset,
                          "the source section does not decompress to %" PRIu64 " bytes",
                          p->source_raw);
    else if (!split(s, n, &no_memory))
        status = no_memory ? ggf_no_memory(err)
                           : ggf_fail(err, GGF_E_FORMAT, p->source_offset,
                                      "the source section's parts do not add up");
    if (status) pack_source_free(s);
    return status;
}

void pack_source_free(struct pack_source *s)
{
    free(s->raw);
    free(s->files);
    free(s->extras);
    *s = (struct pack_source){ 0 };
}

int ggf_pack_source(const ggf_pack *p, uint32_t index, struct ggf_pack_source *out,
                    ggf_error *err)
{
    struct pack_source s;
    int status = pack_source_load(&s, p, err);
    if (status) return status;
    if (index < s.n_files) {
        const struct source_file *f = &s.files[index];
        /* NOLINTNEXTLINE(clang-analyzer-core*): loaded means that files is there */
        memcpy(out->name, f->name, f->name_bytes);
        out->name[f->name_bytes] = 0;
        out->size = f->size;
    } else {
        status = ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                          "the pack has %" PRIu32 " source files", s.n_files);
    }
    pack_source_free(&s);
    return status;
}

/* ---- Building -------------------------------------------------------------- */

struct builder {
    uint8_t *bytes;
    uint64_t n, capacity;
    uint32_t n_extras;
    uint64_t extra_bytes;
    const ggf_file *model;
    const struct model_input *in;
};

/* Room for n more bytes; NULL: out of memory. */
static uint8_t *grow(struct builder *b, uint64_t n)
{
    if (b->capacity - b->n < n) {
        const uint64_t capacity = 2 * b->capacity + n;
        uint8_t *bytes = realloc(b->bytes, capacity);
        if (!bytes) return NULL;
        b->bytes = bytes;
        b->capacity = capacity;
    }
    uint8_t *p = b->bytes + b->n;
    b->n += n;
    return p;
}

static int put_file(struct builder *b, uint32_t index, ggf_error *err)
{
    const struct ggf_shard *s = ggf_shard(b->model, index);
    const char *slash = strrchr(s->path, '/'), *name = slash ? slash + 1 : s->path;
    const uint64_t header = s->data_offset < s->size ? s->data_offset : s->size;
    uint64_t length = strlen(name);
    if (length > 255) length = 255;
    uint8_t *p = grow(b, FILE_BYTES + length + header);
    if (!p) return ggf_no_memory(err);
    store_u64(p, s->size);
    store_u64(p + 8, header);
    store_u32(p + 16, (uint32_t)length);
    store_u32(p + 20, 0);
    memcpy(p + FILE_BYTES, name, length);
    return model_input_read(b->in, index, 0, p + FILE_BYTES + length, header, err);
}

/* Append the bytes from..to of a file, less zeros at either end, if any is not zero. */
static int put_extra(struct builder *b, uint32_t file, uint64_t from, uint64_t to,
                     ggf_error *err)
{
    static const uint64_t piece = 1 << 20;
    while (from < to) {
        const uint64_t n = to - from < piece ? to - from : piece, start = b->n;
        uint8_t *p = grow(b, EXTRA_BYTES + n);
        if (!p) return ggf_no_memory(err);
        const int s = model_input_read(b->in, file, from, p + EXTRA_BYTES, n, err);
        if (s) return s;
        uint64_t first = 0, last = n;
        while (first < n && !p[EXTRA_BYTES + first]) first++;
        while (last > first && !p[EXTRA_BYTES + last - 1]) last--;
        b->n = start;
        if (first < last) {
            memmove(p + EXTRA_BYTES, p + EXTRA_BYTES + first, last - first);
            store_u64(p, from + first);
            store_u64(p + 8, last - first);
            store_u32(p + 16, file);
            store_u32(p + 20, 0);
            b->n = start + EXTRA_BYTES + last - first;
            b->n_extras++;
            b->extra_bytes += last - first;
        }
        if (b->extra_bytes > MAX_EXTRA_BYTES)
            return ggf_fail(
                err, GGF_E_ARG, from,
                "%s holds more than %llu bytes between and behind its tensors "
                "that are not zeros",
                ggf_shard(b->model, file)->path, MAX_EXTRA_BYTES);
        from += n;
    }
    return 0;
}

/* What lies between and behind the tensors of a file. */
static int put_extras(struct builder *b, uint32_t index, ggf_error *err)
{
    const struct ggf_shard *s = ggf_shard(b->model, index);
    uint64_t end = s->data_offset;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const struct ggf_tensor *t = ggf_tensor(b->model, s->first_tensor + i);
        if (t->offset < end)
            return ggf_fail(err, GGF_E_ARG, t->offset,
                            "the tensors of %s are not in order", s->path);
        const int status = put_extra(b, index, end, t->offset, err);
        if (status) return status;
        end = t->offset + t->bytes;
    }
    return end < s->size ? put_extra(b, index, end, s->size, err) : 0;
}

static int build(struct builder *b, const uint8_t *hashes, uint64_t n_hashes,
                 ggf_error *err)
{
    const uint32_t n_files = b->model ? ggf_shard_count(b->model) : 0;
    uint8_t *p = grow(b, HEAD_BYTES);
    int s = p ? 0 : ggf_no_memory(err);
    for (uint32_t i = 0; i < n_files && !s; i++) s = put_file(b, i, err);
    if (s) return s;
    p = grow(b, n_hashes * GGF_SHA256_BYTES);
    if (!p) return ggf_no_memory(err);
    memcpy(p, hashes, n_hashes * GGF_SHA256_BYTES);
    for (uint32_t i = 0; i < n_files && !s; i++) s = put_extras(b, i, err);
    store_u32(b->bytes, n_files);
    store_u32(b->bytes + 4, b->n_extras);
    store_u64(b->bytes + 8, n_hashes);
    if (!s && b->n > PACK_MAX_SOURCE)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the model's header is too large");
    return s;
}

uint64_t pack_source_bound(uint64_t n_hashes)
{
    return ZSTD_compressBound(HEAD_BYTES + n_hashes * GGF_SHA256_BYTES);
}

int pack_source_build(uint8_t **out, uint64_t *stored, uint64_t *raw,
                      const ggf_file *model, const struct model_input *in,
                      const uint8_t *hashes, uint64_t n_hashes, ggf_error *err)
{
    struct builder b = { .model = model, .in = in };
    *out = NULL;
    int s = build(&b, hashes, n_hashes, err);
    if (!s) {
        const size_t bound = ZSTD_compressBound(b.n);
        *out = malloc(bound);
        const size_t n = *out ? ZSTD_compress(*out, bound, b.bytes, b.n, LEVEL) : 0;
        if (!*out || ZSTD_isError(n)) s = ggf_no_memory(err);
        *stored = n;
        *raw = b.n;
    }
    free(b.bytes);
    if (s) {
        free(*out);
        *out = NULL;
    }
    return s;
}
