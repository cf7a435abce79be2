/* parse.c - the header of one GGUF file: metadata and tensor infos.
 *
 * The layout, all little-endian:
 *
 *     "GGUF"  u32 version  u64 tensors  u64 keys
 *     keys:     string key, u32 type, value
 *     tensors:  string name, u32 dims, u64 ne[dims], u32 type, u64 offset
 *     zeros up to general.alignment, then the data section
 *
 * A string is u64 length and bytes; an array u32 element type, u64 count, elements.
 * Tensor offsets count from the data section.  Nothing read here is trusted: every
 * length is held against the bytes left before it is used. */
#include "bytes.h"
#include "file.h"

#include <inttypes.h>
#include <stdlib.h>

#define MAX_STRING   (1ull << 30)
#define MAX_ARRAY    (1ull << 30)
#define MAX_KEY      65535u
#define MAX_NAME     63u
#define MIN_KV_BYTES 14u /* length, 1 byte of key, type, 1 byte of value */
#define MIN_TENSOR   33u /* length, 1 byte of name, dims, 1 dim, type, offset */

struct cursor {
    const struct source *src;
    const struct ggf_open_options *options;
    uint64_t pos;
    uint64_t next_offset; /* where the next tensor's data is due */
    ggf_error *err;
    struct header *h;
};

/* n more bytes must be there. */
static int need(struct cursor *c, uint64_t n, const char *what)
{
    if (n <= c->src->avail - c->pos) return 0;
    if (n <= c->src->size - c->pos) return NEED_MORE;
    return ggf_fail(c->err, GGF_E_FORMAT, c->pos,
                    "file ends inside %.80s: needs %" PRIu64 " bytes, %" PRIu64 " left",
                    what, n, c->src->size - c->pos);
}

static int get_u32(struct cursor *c, uint32_t *v, const char *what)
{
    int s = need(c, 4, what);
    if (s) return s;
    *v = load_u32(c->src->bytes + c->pos);
    c->pos += 4;
    return 0;
}

static int get_u64(struct cursor *c, uint64_t *v, const char *what)
{
    int s = need(c, 8, what);
    if (s) return s;
    *v = load_u64(c->src->bytes + c->pos);
    c->pos += 8;
    return 0;
}

/* A string stays where it is; only its bounds are checked. */
static int get_string(struct cursor *c, struct ggf_str *out, uint64_t max,
                      const char *what)
{
    const uint64_t start = c->pos;
    uint64_t len;
    int s = get_u64(c, &len, what);
    if (s) return s;
    if (len > max)
        return ggf_fail(c->err, GGF_E_FORMAT, start,
                        "%.80s is %" PRIu64 " bytes long, at most %" PRIu64
                        " are allowed",
                        what, len, max);
    s = need(c, len, what);
    if (s) return s;
    *out = (struct ggf_str){ (const char *)c->src->bytes + c->pos, len };
    c->pos += len;
    return 0;
}

/* A name that must be printable text and new among `names`, as a NUL-terminated copy.
 * value is what name_set_find() is to say for it. */
static int get_name(struct cursor *c, struct name_set *names, uint64_t value,
                    uint64_t max, const char *what, const char **out)
{
    const uint64_t at = c->pos;
    struct ggf_str s;
    int status = get_string(c, &s, max, what);
    if (status) return status;
    if (s.len == 0) return ggf_fail(c->err, GGF_E_FORMAT, at, "%s is empty", what);
    const int64_t bad = name_fault(s.data, s.len);
    if (bad >= 0)
        return ggf_fail(c->err, GGF_E_FORMAT, at + 8 + (uint64_t)bad,
                        "%s holds the control character 0x%02x", what,
                        (unsigned)(uint8_t)s.data[bad]);
    struct text_block *b = malloc(sizeof *b + s.len + 1);
    if (!b) return ggf_no_memory(c->err);
    memcpy(b->text, s.data, s.len);
    b->text[s.len] = 0;
    b->next = c->h->text;
    c->h->text = b;
    *out = b->text;
    const int added = name_set_add(names, b->text, value);
    if (added < 0) return ggf_no_memory(c->err);
    if (!added)
        return ggf_fail(c->err, GGF_E_FORMAT, at, "%s is there twice: '%.80s'", what,
                        b->text);
    return 0;
}

/* `array` of n elements with room for one more, or NULL.  It doubles, so that memory
 * follows what was read and never what a header claims. */
static void *room_for_one(void *array, uint64_t n, size_t each)
{
    if (n & (n - 1) || (n && n < 16)) return array;
    return realloc(array, (n ? 2 * n : 16) * each);
}

void free_text(struct text_block *text)
{
    while (text) {
        struct text_block *next = text->next;
        free(text);
        text = next;
    }
}

/* Bytes of one value of a fixed-size type; 0 for strings, arrays, unknown types. */
static uint32_t scalar_bytes(uint32_t type)
{
    static const uint8_t bytes[GGF_KV_TYPE_COUNT] = {
        [GGF_KV_U8] = 1,  [GGF_KV_I8] = 1,  [GGF_KV_BOOL] = 1, [GGF_KV_U16] = 2,
        [GGF_KV_I16] = 2, [GGF_KV_U32] = 4, [GGF_KV_I32] = 4,  [GGF_KV_F32] = 4,
        [GGF_KV_U64] = 8, [GGF_KV_I64] = 8, [GGF_KV_F64] = 8,
    };
    return type < GGF_KV_TYPE_COUNT ? bytes[type] : 0;
}

/* Skip `count` values of `type`, checking their bounds. */
static int skip_values(struct cursor *c, uint32_t type, uint64_t count, const char *key)
{
    if (type == GGF_KV_STRING) {
        for (uint64_t i = 0; i < count; i++) {
            struct ggf_str s;
            int status = get_string(c, &s, MAX_STRING, key);
            if (status) return status;
        }
        return 0;
    }
    const uint64_t bytes = count * scalar_bytes(type); /* count <= 2^30: no overflow */
    int status = need(c, bytes, key);
    if (!status) c->pos += bytes;
    return status;
}

static int parse_array(struct cursor *c, struct ggf_kv *kv)
{
    const uint64_t at = c->pos;
    int s = get_u32(c, &kv->elem_type, kv->key);
    if (s || (s = get_u64(c, &kv->count, kv->key))) return s;
    if (kv->elem_type >= GGF_KV_TYPE_COUNT || kv->elem_type == GGF_KV_ARRAY)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "array '%.80s' has element type %" PRIu32
                        ", expected a number, bool or string type",
                        kv->key, kv->elem_type);
    const uint32_t each =
        kv->elem_type == GGF_KV_STRING ? 8 : scalar_bytes(kv->elem_type);
    if (kv->count > MAX_ARRAY || kv->count * each > c->src->size - c->pos)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "array '%.80s' claims %" PRIu64
                        " elements, more than the file can hold",
                        kv->key, kv->count);
    return 0;
}

static int parse_kv(struct cursor *c, struct ggf_kv *kv)
{
    kv->offset = c->pos;
    int s = get_name(c, &c->h->kv_index, c->h->n_kvs, MAX_KEY, "a key", &kv->key);
    if (s) return s;
    const uint64_t at = c->pos;
    if ((s = get_u32(c, &kv->type, kv->key))) return s;
    if (kv->type >= GGF_KV_TYPE_COUNT)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "key '%.80s' has value type %" PRIu32 ", expected 0 to 12",
                        kv->key, kv->type);
    kv->elem_type = kv->type;
    kv->count = 1;
    if (kv->type == GGF_KV_ARRAY && (s = parse_array(c, kv))) return s;
    kv->data = c->src->bytes + c->pos;
    const uint64_t start = c->pos;
    if ((s = skip_values(c, kv->elem_type, kv->count, kv->key))) return s;
    kv->bytes = c->pos - start;
    return 0;
}

static int check_alignment(struct cursor *c, const struct ggf_kv *kv)
{
    if (strcmp(kv->key, "general.alignment") != 0) return 0;
    if (kv->type != GGF_KV_U32)
        return ggf_fail(c->err, GGF_E_FORMAT, kv->offset,
                        "general.alignment has type %s, expected u32",
                        ggf_kv_type_name(kv->type));
    const uint32_t alignment = c->h->alignment = load_u32(kv->data);
    if (alignment == 0 || (alignment & (alignment - 1)))
        return ggf_fail(c->err, GGF_E_FORMAT, kv->offset,
                        "general.alignment is %" PRIu32 ", expected a power of two",
                        alignment);
    return 0;
}

static int parse_kvs(struct cursor *c, uint64_t count)
{
    struct header *h = c->h;
    for (uint64_t i = 0; i < count; i++) {
        struct ggf_kv *kvs = room_for_one(h->kvs, i, sizeof *kvs);
        if (!kvs) return ggf_no_memory(c->err);
        h->kvs = kvs;
        int s = parse_kv(c, &kvs[i]);
        if (s || (s = check_alignment(c, &kvs[i]))) return s;
        h->n_kvs++;
    }
    return 0;
}

/* Elements and bytes of a tensor from its dimensions, stored at `at`, and its type. */
static int check_shape(struct ggf_tensor *t, uint64_t at, ggf_error *err)
{
    const struct ggf_type_info *type = ggf_type_info(t->type);
    if (!type)
        return ggf_fail(err, GGF_E_FORMAT, at + 8 * t->n_dims,
                        "tensor '%s' has type id %" PRIu32 ", which is not known",
                        t->name, t->type);
    t->count = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        if (t->ne[i] == 0)
            return ggf_fail(err, GGF_E_FORMAT, at + 8 * i,
                            "tensor '%s' has dimension %" PRIu32 " of size 0", t->name,
                            i);
        if (!mul_u64(t->count, t->ne[i], &t->count) || t->count > INT64_MAX)
            return ggf_fail(err, GGF_E_FORMAT, at + 8 * i,
                            "tensor '%s': the product of its dimensions overflows",
                            t->name);
    }
    if (t->ne[0] % type->block)
        return ggf_fail(err, GGF_E_FORMAT, at,
                        "tensor '%s' has rows of %" PRIu64
                        " elements, expected a multiple of %" PRIu32 " for type %s",
                        t->name, t->ne[0], type->block, type->name);
    if (!mul_u64(t->count / type->block, type->block_bytes, &t->bytes) ||
        t->bytes > INT64_MAX)
        return ggf_fail(err, GGF_E_FORMAT, at, "tensor '%s': its size in bytes overflows",
                        t->name);
    return 0;
}

/* The offset stored at `at`: aligned, in its place, and nothing overflows behind it. */
static int check_offset(struct cursor *c, const struct ggf_tensor *t, uint64_t at)
{
    uint64_t end;
    if (t->offset & (c->h->alignment - 1))
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "tensor '%s' lies at data offset %" PRIu64
                        ", expected a multiple of %" PRIu32,
                        t->name, t->offset, c->h->alignment);
    if (!c->options->allow_gaps && t->offset != c->next_offset)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "tensor '%s' lies at data offset %" PRIu64 ", expected %" PRIu64,
                        t->name, t->offset, c->next_offset);
    if (!add_u64(t->offset, t->bytes, &end) ||
        !align_u64(end, c->h->alignment, &c->next_offset) || c->next_offset > INT64_MAX)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "tensor '%s': its offset and size overflow", t->name);
    return 0;
}

static int parse_tensor(struct cursor *c, struct ggf_tensor *t)
{
    *t = (struct ggf_tensor){ .ne = { 1, 1, 1, 1 } };
    int s = get_name(c, &c->h->tensor_index, c->h->n_tensors, MAX_NAME, "a tensor name",
                     &t->name);
    if (s) return s;
    uint64_t at = c->pos;
    if ((s = get_u32(c, &t->n_dims, t->name))) return s;
    if (t->n_dims > 4) /* none: one number */
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "tensor '%s' has %" PRIu32 " dimensions, expected at most 4",
                        t->name, t->n_dims);
    at = c->pos;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if ((s = get_u64(c, &t->ne[i], t->name))) return s;
    if ((s = get_u32(c, &t->type, t->name)) || (s = check_shape(t, at, c->err))) return s;
    at = c->pos;
    if ((s = get_u64(c, &t->offset, t->name))) return s;
    return check_offset(c, t, at);
}

static int parse_tensors(struct cursor *c, uint64_t count)
{
    struct header *h = c->h;
    for (uint64_t i = 0; i < count; i++) {
        struct ggf_tensor *tensors = room_for_one(h->tensors, i, sizeof *tensors);
        if (!tensors) return ggf_no_memory(c->err);
        h->tensors = tensors;
        const int s = parse_tensor(c, &tensors[i]);
        if (s) return s;
        h->n_tensors++;
    }
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct ggf_tensor *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* With gaps allowed: no two tensors share a byte. */
static int check_no_overlap(struct cursor *c)
{
    const struct header *h = c->h;
    const struct ggf_tensor **order = malloc((h->n_tensors + 1) * sizeof *order);
    if (!order) return ggf_no_memory(c->err);
    for (uint64_t i = 0; i < h->n_tensors; i++) order[i] = &h->tensors[i];
    qsort(order, h->n_tensors, sizeof *order, by_offset);
    int status = 0;
    for (uint64_t i = 1; i < h->n_tensors && !status; i++)
        if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset)
            status = ggf_fail(c->err, GGF_E_FORMAT, order[i]->offset,
                              "tensors '%s' and '%s' overlap", order[i - 1]->name,
                              order[i]->name);
    free(order);
    return status;
}

/* The data section begins here: turn offsets into absolute ones, inside the file. */
static int place_tensors(struct cursor *c)
{
    struct header *h = c->h;
    h->header_end = c->pos;
    if (!align_u64(c->pos, h->alignment, &h->data_offset))
        return ggf_fail(c->err, GGF_E_FORMAT, c->pos, "the header's padding overflows");
    for (uint64_t i = 0; i < h->n_tensors; i++) {
        struct ggf_tensor *t = &h->tensors[i];
        uint64_t end;
        if (!add_u64(t->offset, h->data_offset, &t->offset) ||
            !add_u64(t->offset, t->bytes, &end) || end > INT64_MAX)
            return ggf_fail(c->err, GGF_E_FORMAT, h->data_offset,
                            "tensor '%s': its offset and size overflow", t->name);
        if (!c->options->header_only && end > c->src->size)
            return ggf_fail(c->err, GGF_E_FORMAT, t->offset,
                            "tensor '%s' ends at byte %" PRIu64
                            ", but the file has only %" PRIu64,
                            t->name, end, c->src->size);
    }
    /* Writers pad the header even if nothing follows; nobody needs it then. */
    if (!h->n_tensors && h->data_offset > c->src->size) h->data_offset = c->src->size;
    return c->options->allow_gaps ? check_no_overlap(c) : 0;
}

static int parse_version(struct cursor *c)
{
    uint32_t v;
    int s = need(c, 4, "the magic");
    if (s) return s;
    const uint8_t *b = c->src->bytes;
    if (memcmp(b, "GGUF", 4) != 0)
        return ggf_fail(
            c->err, GGF_E_FORMAT, 0,
            "not a GGUF file: starts with %02x %02x %02x %02x, expected 'GGUF'", b[0],
            b[1], b[2], b[3]);
    c->pos = 4;
    if ((s = get_u32(c, &v, "the version"))) return s;
    if (v != 0 && (v & 0xffff) == 0)
        return ggf_fail(c->err, GGF_E_FORMAT, 4,
                        "a big-endian GGUF file (version word 0x%08" PRIx32
                        "), only little-endian ones are read",
                        v);
    if (v < 2 || v > 3)
        return ggf_fail(c->err, GGF_E_FORMAT, 4,
                        "GGUF version %" PRIu32 ", expected 2 or 3", v);
    c->h->version = v;
    return 0;
}

/* A count of things that take at least `each` bytes in the file. */
static int get_count(struct cursor *c, uint64_t *count, uint64_t each, const char *what)
{
    const uint64_t at = c->pos;
    const int s = get_u64(c, count, what);
    if (s || *count <= (c->src->size - c->pos) / each) return s;
    return ggf_fail(c->err, GGF_E_FORMAT, at,
                    "%s is %" PRIu64 ", more than the file can hold", what, *count);
}

static int parse_all(struct cursor *c)
{
    uint64_t n_tensors, n_kvs;
    int s = parse_version(c);
    if (s || (s = get_count(c, &n_tensors, MIN_TENSOR, "the tensor count")) ||
        (s = get_count(c, &n_kvs, MIN_KV_BYTES, "the key count")) ||
        (s = parse_kvs(c, n_kvs)) || (s = parse_tensors(c, n_tensors)))
        return s;
    return place_tensors(c);
}

void free_header(struct header *h)
{
    free(h->kvs);
    free(h->tensors);
    name_set_free(&h->kv_index);
    name_set_free(&h->tensor_index);
    free_text(h->text);
    *h = (struct header){ 0 };
}

int parse_header(struct header *h, const struct source *src,
                 const struct ggf_open_options *options, ggf_error *err)
{
    *h = (struct header){ .alignment = 32 };
    struct cursor c = { .src = src, .options = options, .err = err, .h = h };
    const int s = parse_all(&c);
    if (s) free_header(h);
    return s;
}
