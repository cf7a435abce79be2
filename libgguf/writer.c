/* writer.c - builds a GGUF file: header in memory, tensor data streamed behind it. */
#include "bytes.h"
#include "names.h"
#include "writer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct key_entry {
    char *key;
    uint8_t *value; /* as in the file, after the key: type, [elem_type, count,] bytes */
    uint64_t bytes;
};

struct tensor_entry {
    char name[64];
    uint32_t type, n_dims;
    uint64_t ne[4], bytes;
    uint64_t offset; /* from the start of the data section */
};

struct ggf_writer {
    ggf_output *out;
    uint32_t alignment; /* the option */
    struct key_entry *keys;
    uint64_t n_keys, cap_keys;
    struct tensor_entry *tensors;
    uint64_t n_tensors, cap_tensors;
    struct name_set names; /* of the tensors; filled by begin, to find doubles */
    uint64_t data_offset;  /* set by begin; 0 until then */
    _Atomic uint64_t written;
};

int ggf_writer_create(ggf_writer **out, const char *path,
                      const struct ggf_writer_options *options, ggf_error *err)
{
    *out = NULL;
    const uint32_t alignment = options ? options->alignment : 0;
    if (alignment & (alignment - 1))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "alignment %" PRIu32 " is not a power of two", alignment);
    ggf_writer *w = calloc(1, sizeof *w);
    if (!w) return ggf_no_memory(err);
    w->alignment = alignment;
    int s = path ? ggf_output_create(&w->out, path, options && options->force, err) : 0;
    if (s) free(w);
    else *out = w;
    return s;
}

static void free_writer(ggf_writer *w)
{
    for (uint64_t i = 0; i < w->n_keys; i++) {
        free(w->keys[i].key);
        free(w->keys[i].value);
    }
    free(w->keys);
    free(w->tensors);
    name_set_free(&w->names);
    free(w);
}

void ggf_writer_discard(ggf_writer *w)
{
    if (!w) return;
    ggf_output_discard(w->out);
    free_writer(w);
}

void ggf_writer_remove_kv(ggf_writer *w, const char *key)
{
    for (uint64_t i = 0; i < w->n_keys; i++) {
        if (strcmp(w->keys[i].key, key) != 0) continue;
        free(w->keys[i].key);
        free(w->keys[i].value);
        memmove(&w->keys[i], &w->keys[i + 1], (w->n_keys - i - 1) * sizeof *w->keys);
        w->n_keys--;
        return;
    }
}

/* A key and value that a reader will accept. */
static int check_kv(const ggf_writer *w, const struct ggf_kv *kv, ggf_error *err)
{
    const size_t len = strlen(kv->key);
    if (w->data_offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "key '%.80s' comes after the header was written", kv->key);
    if (!len || len > 65535 || name_fault(kv->key, len) >= 0)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "key '%.80s' is empty, longer than 65535 bytes or not text",
                        kv->key);
    if (kv->type >= GGF_KV_TYPE_COUNT)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "key '%.80s' has value type %" PRIu32 ", expected 0 to 12",
                        kv->key, kv->type);
    if (strcmp(kv->key, "general.alignment") != 0) return 0;
    if (kv->type != GGF_KV_U32)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "general.alignment must be u32");
    const uint32_t alignment = load_u32(kv->data);
    if (alignment & (alignment - 1) || !alignment)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "general.alignment is %" PRIu32 ", expected a power of two",
                        alignment);
    return 0;
}

int ggf_writer_set_kv(ggf_writer *w, const struct ggf_kv *kv, ggf_error *err)
{
    const int status = check_kv(w, kv, err);
    if (status) return status;
    if (w->n_keys == w->cap_keys) {
        const uint64_t cap = w->cap_keys ? 2 * w->cap_keys : 64;
        struct key_entry *keys = realloc(w->keys, cap * sizeof *keys);
        if (!keys) return ggf_no_memory(err);
        w->keys = keys;
        w->cap_keys = cap;
    }
    const uint64_t head = kv->type == GGF_KV_ARRAY ? 16 : 4;
    struct key_entry e = { .key = strdup(kv->key),
                           .value = malloc(head + kv->bytes + 1),
                           .bytes = head + kv->bytes };
    if (!e.key || !e.value) {
        free(e.key);
        free(e.value);
        return ggf_no_memory(err);
    }
    store_u32(e.value, kv->type);
    if (kv->type == GGF_KV_ARRAY) {
        store_u32(e.value + 4, kv->elem_type);
        store_u64(e.value + 8, kv->count);
    }
    if (kv->bytes) memcpy(e.value + head, kv->data, kv->bytes);
    ggf_writer_remove_kv(w, kv->key);
    w->keys[w->n_keys++] = e;
    return 0;
}

static int set_scalar(ggf_writer *w, const char *key, uint32_t type, const void *v,
                      uint64_t bytes, ggf_error *err)
{
    const struct ggf_kv kv = {
        .key = key, .type = type, .elem_type = type, .count = 1, .data = v, .bytes = bytes
    };
    return ggf_writer_set_kv(w, &kv, err);
}

int ggf_writer_set_u16(ggf_writer *w, const char *key, uint16_t v, ggf_error *err)
{
    return set_scalar(w, key, GGF_KV_U16, &v, sizeof v, err);
}

int ggf_writer_set_u32(ggf_writer *w, const char *key, uint32_t v, ggf_error *err)
{
    return set_scalar(w, key, GGF_KV_U32, &v, sizeof v, err);
}

int ggf_writer_set_i32(ggf_writer *w, const char *key, int32_t v, ggf_error *err)
{
    return set_scalar(w, key, GGF_KV_I32, &v, sizeof v, err);
}

int ggf_writer_set_u64(ggf_writer *w, const char *key, uint64_t v, ggf_error *err)
{
    return set_scalar(w, key, GGF_KV_U64, &v, sizeof v, err);
}

int ggf_writer_set_f32(ggf_writer *w, const char *key, float v, ggf_error *err)
{
    return set_scalar(w, key, GGF_KV_F32, &v, sizeof v, err);
}

int ggf_writer_set_bool(ggf_writer *w, const char *key, bool v, ggf_error *err)
{
    const uint8_t byte = v;
    return set_scalar(w, key, GGF_KV_BOOL, &byte, 1, err);
}

/* The strings as a file holds them: length and bytes, one after the other. */
static uint8_t *pack_strings(const struct ggf_str *strings, uint64_t count,
                             uint64_t *bytes)
{
    *bytes = 0;
    for (uint64_t i = 0; i < count; i++) *bytes += 8 + strings[i].len;
    uint8_t *packed = malloc(*bytes + 1), *p = packed;
    if (!packed) return NULL;
    for (uint64_t i = 0; i < count; i++) {
        store_u64(p, strings[i].len);
        if (strings[i].len) memcpy(p + 8, strings[i].data, strings[i].len);
        p += 8 + strings[i].len;
    }
    return packed;
}

static int set_strings(ggf_writer *w, const char *key, uint32_t type,
                       const struct ggf_str *strings, uint64_t count, ggf_error *err)
{
    struct ggf_kv kv = {
        .key = key, .type = type, .elem_type = GGF_KV_STRING, .count = count
    };
    uint8_t *packed = pack_strings(strings, count, &kv.bytes);
    if (!packed) return ggf_no_memory(err);
    kv.data = packed;
    const int s = ggf_writer_set_kv(w, &kv, err);
    free(packed);
    return s;
}

int ggf_writer_set_str(ggf_writer *w, const char *key, const char *v, ggf_error *err)
{
    const struct ggf_str s = { v, strlen(v) };
    return set_strings(w, key, GGF_KV_STRING, &s, 1, err);
}

int ggf_writer_set_str_array(ggf_writer *w, const char *key,
                             const struct ggf_str *strings, uint64_t count,
                             ggf_error *err)
{
    return set_strings(w, key, GGF_KV_ARRAY, strings, count, err);
}

int ggf_writer_set_array(ggf_writer *w, const char *key, uint32_t elem_type,
                         const void *elements, uint64_t count, ggf_error *err)
{
    static const uint8_t bytes[GGF_KV_TYPE_COUNT] = { 1, 1, 2, 2, 4, 4, 4,
                                                      1, 0, 0, 8, 8, 8 };
    if (elem_type >= GGF_KV_TYPE_COUNT || !bytes[elem_type])
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "not a type of fixed size");
    const struct ggf_kv kv = { .key = key,
                               .type = GGF_KV_ARRAY,
                               .elem_type = elem_type,
                               .count = count,
                               .data = elements,
                               .bytes = count * bytes[elem_type] };
    return ggf_writer_set_kv(w, &kv, err);
}

int ggf_writer_add_tensor(ggf_writer *w, const char *name, uint32_t type,
                          const uint64_t ne[4], ggf_error *err)
{
    const struct ggf_type_info *info = ggf_type_info(type);
    struct tensor_entry t = { .type = type, .n_dims = 1 };
    if (!info)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%.63s': type id %" PRIu32 " is not known", name, type);
    if (w->data_offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%.63s' comes after the header was written", name);
    if (!*name || strlen(name) >= sizeof t.name || name_fault(name, strlen(name)) >= 0)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor name '%.80s' is empty, longer than 63 bytes or not text",
                        name);
    strcpy(t.name, name);
    uint64_t count = 1;
    for (uint32_t i = 0; i < 4; i++) {
        t.ne[i] = ne[i];
        if (ne[i] > 1) t.n_dims = i + 1;
        if (!ne[i] || !mul_u64(count, ne[i], &count) || count > INT64_MAX)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "tensor '%s': dimensions are 0 or too large", name);
    }
    if (ne[0] % info->block)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' has rows of %" PRIu64
                        " elements, expected a multiple of %" PRIu32 " for type %s",
                        name, ne[0], info->block, info->name);
    if (!mul_u64(count / info->block, info->block_bytes, &t.bytes) || t.bytes > INT64_MAX)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "tensor '%s' is too large", name);
    if (w->n_tensors == w->cap_tensors) {
        const uint64_t cap = w->cap_tensors ? 2 * w->cap_tensors : 256;
        struct tensor_entry *tensors = realloc(w->tensors, cap * sizeof *tensors);
        if (!tensors) return ggf_no_memory(err);
        w->tensors = tensors;
        w->cap_tensors = cap;
    }
    w->tensors[w->n_tensors++] = t;
    return 0;
}

/* What the data is laid out by: the option, else the key, else 32. */
static uint32_t alignment_of(const ggf_writer *w)
{
    if (w->alignment) return w->alignment;
    for (uint64_t i = 0; i < w->n_keys; i++)
        if (!strcmp(w->keys[i].key, "general.alignment"))
            return load_u32(w->keys[i].value + 4);
    return 32;
}

/* Bytes before the padding. */
static uint64_t header_bytes(const ggf_writer *w)
{
    uint64_t n = 24; /* magic, version, two counts */
    for (uint64_t i = 0; i < w->n_keys; i++)
        n += 8 + strlen(w->keys[i].key) + w->keys[i].bytes;
    for (uint64_t i = 0; i < w->n_tensors; i++)
        n += 8 + strlen(w->tensors[i].name) + 4 + 8 * w->tensors[i].n_dims + 4 + 8;
    return n;
}

/* Where the data section starts and how long it is; false if a file of off_t bytes
 * cannot hold it. */
static bool layout(const ggf_writer *w, uint64_t *start, uint64_t *bytes)
{
    const uint32_t alignment = alignment_of(w);
    uint64_t padded, end;
    if (!align_u64(header_bytes(w), alignment, start)) return false;
    *bytes = 0;
    for (uint64_t i = 0; i < w->n_tensors; i++)
        if (!align_u64(w->tensors[i].bytes, alignment, &padded) ||
            !add_u64(*bytes, padded, bytes))
            return false;
    return add_u64(*start, *bytes, &end) && end <= INT64_MAX;
}

uint64_t ggf_writer_file_size(const ggf_writer *w)
{
    uint64_t start, bytes;
    return layout(w, &start, &bytes) ? start + bytes : UINT64_MAX;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v) { return put(p, &v, sizeof v); }
static uint8_t *put_u64(uint8_t *p, uint64_t v) { return put(p, &v, sizeof v); }

static uint8_t *put_string(uint8_t *p, const char *s)
{
    const size_t n = strlen(s);
    return put(put_u64(p, n), s, n);
}

static void put_header(const ggf_writer *w, uint8_t *p)
{
    p = put(p, "GGUF", 4);
    p = put_u32(p, 3);
    p = put_u64(p, w->n_tensors);
    p = put_u64(p, w->n_keys);
    for (uint64_t i = 0; i < w->n_keys; i++) {
        p = put_string(p, w->keys[i].key);
        p = put(p, w->keys[i].value, w->keys[i].bytes);
    }
    for (uint64_t i = 0; i < w->n_tensors; i++) {
        const struct tensor_entry *t = &w->tensors[i];
        p = put_string(p, t->name);
        p = put_u32(p, t->n_dims);
        for (uint32_t d = 0; d < t->n_dims; d++) p = put_u64(p, t->ne[d]);
        p = put_u32(p, t->type);
        p = put_u64(p, t->offset);
    }
}

/* Give each tensor its offset, and see that no name comes twice. */
static int place_tensors(ggf_writer *w, ggf_error *err)
{
    const uint64_t alignment = alignment_of(w);
    uint64_t offset = 0;
    for (uint64_t i = 0; i < w->n_tensors; i++) {
        struct tensor_entry *t = &w->tensors[i];
        t->offset = offset;
        align_u64(offset + t->bytes, alignment, &offset); /* layout() has seen it fit */
        const int added = name_set_add(&w->names, t->name, i);
        if (added < 0) return ggf_no_memory(err);
        if (!added)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "two tensors are named '%s'",
                            t->name);
    }
    return 0;
}

static int write_header(const ggf_writer *w, ggf_error *err)
{
    uint8_t *header = malloc(header_bytes(w));
    if (!header) return ggf_no_memory(err);
    put_header(w, header);
    const int s = ggf_output_write(w->out, 0, header, header_bytes(w), err);
    free(header);
    return s;
}

int ggf_writer_begin(ggf_writer *w, ggf_error *err)
{
    uint64_t start, bytes;
    if (w->data_offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the header was written already");
    if (!w->out)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "this writer has no file");
    if (!layout(w, &start, &bytes))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the tensors are too large together");
    int s = place_tensors(w, err);
    if (!s)
        s = ggf_output_resize(w->out, start + bytes, err); /* padding reads as zeros */
    if (!s) s = write_header(w, err);
    if (!s) w->data_offset = start;
    return s;
}

int writer_replace_str(ggf_writer *w, const char *key, const char *text, ggf_error *err)
{
    for (uint64_t i = 0; i < w->n_keys; i++)
        if (!strcmp(w->keys[i].key, key))
            memcpy(w->keys[i].value + 12, text, w->keys[i].bytes - 12); /* type, length */
    return write_header(w, err);
}

/* Where in the file a piece of a tensor belongs. */
static int place_piece(const ggf_writer *w, uint64_t index, uint64_t offset, uint64_t len,
                       uint64_t *at, ggf_error *err)
{
    if (!w->data_offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the header is not written yet");
    if (index >= w->n_tensors)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "no tensor number %" PRIu64,
                        index);
    const struct tensor_entry *t = &w->tensors[index];
    if (offset > t->bytes || len > t->bytes - offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s': writing past its end (%" PRIu64 " bytes)", t->name,
                        t->bytes);
    *at = w->data_offset + t->offset + offset;
    return 0;
}

int ggf_writer_write(ggf_writer *w, uint64_t index, uint64_t offset, const void *bytes,
                     size_t len, ggf_error *err)
{
    uint64_t at = 0;
    int s = place_piece(w, index, offset, len, &at, err);
    if (!s) s = ggf_output_write(w->out, at, bytes, len, err);
    if (!s) atomic_fetch_add(&w->written, len);
    return s;
}

int ggf_writer_copy(ggf_writer *w, uint64_t index, uint64_t offset, int fd, uint64_t from,
                    uint64_t len, ggf_error *err)
{
    uint64_t at = 0;
    int s = place_piece(w, index, offset, len, &at, err);
    if (!s) s = ggf_output_copy(w->out, at, fd, from, len, err);
    if (!s) atomic_fetch_add(&w->written, len);
    return s;
}

const char *writer_path(const ggf_writer *w) { return output_path(w->out); }

uint64_t writer_tensor_count(const ggf_writer *w) { return w->n_tensors; }

int writer_sha256(const ggf_writer *w, uint64_t index, uint8_t out[GGF_SHA256_BYTES],
                  ggf_error *err)
{
    enum { PIECE = 1 << 20 };
    const struct tensor_entry *t = &w->tensors[index];
    uint8_t *piece = malloc(PIECE);
    ggf_sha256 *h = ggf_sha256_new();
    int s = piece && h ? 0 : ggf_no_memory(err);
    for (uint64_t at = 0; at < t->bytes && !s; at += PIECE) {
        const uint64_t n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
        s = output_read(w->out, w->data_offset + t->offset + at, piece, n, err);
        if (!s) ggf_sha256_update(h, piece, n);
    }
    if (!s) ggf_sha256_final(h, out);
    ggf_sha256_free(h);
    free(piece);
    return s;
}

/* Every byte of every tensor must have come. */
int writer_check(const ggf_writer *w, ggf_error *err)
{
    uint64_t expected = 0;
    const uint64_t written = atomic_load(&w->written);
    for (uint64_t i = 0; i < w->n_tensors; i++) expected += w->tensors[i].bytes;
    if (!w->data_offset)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the header is not written yet");
    if (written != expected)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu64
                        " bytes of tensor data were written, expected %" PRIu64,
                        written, expected);
    return 0;
}

ggf_output *writer_release(ggf_writer *w)
{
    ggf_output *out = w->out;
    free_writer(w);
    return out;
}

int ggf_writers_finish(ggf_writer *const *writers, size_t n, ggf_error *err)
{
    ggf_output **outs = malloc((n + 1) * sizeof *outs);
    int s = outs ? 0 : ggf_no_memory(err);
    for (size_t i = 0; i < n && !s; i++) s = writer_check(writers[i], err);
    for (size_t i = 0; i < n; i++) {
        if (s) ggf_writer_discard(writers[i]);
        else outs[i] = writer_release(writers[i]);
    }
    if (!s) s = ggf_outputs_commit(outs, n, err);
    free(outs);
    return s;
}

int ggf_writer_finish(ggf_writer *w, ggf_error *err)
{
    return ggf_writers_finish(&w, 1, err);
}
