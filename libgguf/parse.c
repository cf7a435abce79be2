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
    uint64_t pos;
    ggf_error *err;
    struct text_block **text;
};

/* n more bytes must be there. */
static int need(struct cursor *c, uint64_t n, const char *what)
{
    if (n <= c->src->avail - c->pos) return 0;
    if (n <= c->src->size - c->pos) return NEED_MORE;
    return ggf_fail(c->err, GGF_E_FORMAT, c->pos,
                    "file ends inside %s: needs %" PRIu64 " bytes, %" PRIu64 " left", what,
                    n, c->src->size - c->pos);
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
static int get_string(struct cursor *c, struct ggf_str *out, uint64_t max, const char *what)
{
    const uint64_t start = c->pos;
    uint64_t len;
    int s = get_u64(c, &len, what);
    if (s) return s;
    if (len > max)
        return ggf_fail(c->err, GGF_E_FORMAT, start,
                        "%s is %" PRIu64 " bytes long, at most %" PRIu64 " are allowed",
                        what, len, max);
    s = need(c, len, what);
    if (s) return s;
    *out = (struct ggf_str){ (const char *)c->src->bytes + c->pos, len };
    c->pos += len;
    return 0;
}

/* A NUL-terminated copy of a name, which must be printable text. */
static int copy_name(struct cursor *c, const struct ggf_str *s, uint64_t at,
                     const char *what, const char **out)
{
    if (s->len == 0) return ggf_fail(c->err, GGF_E_FORMAT, at, "%s is empty", what);
    for (uint64_t i = 0; i < s->len; i++)
        if ((uint8_t)s->data[i] < 0x20 || s->data[i] == 0x7f)
            return ggf_fail(c->err, GGF_E_FORMAT, at,
                            "%s holds the control character 0x%02x", what,
                            (unsigned)(uint8_t)s->data[i]);
    struct text_block *b = malloc(sizeof *b + s->len + 1);
    if (!b) return ggf_fail(c->err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    memcpy(b->text, s->data, s->len);
    b->text[s->len] = 0;
    b->next = *c->text;
    *c->text = b;
    *out = b->text;
    return 0;
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
    const uint32_t each = kv->elem_type == GGF_KV_STRING ? 8 : scalar_bytes(kv->elem_type);
    if (kv->count > MAX_ARRAY || kv->count * each > c->src->size - c->pos)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "array '%.80s' claims %" PRIu64
                        " elements, more than the file can hold",
                        kv->key, kv->count);
    return 0;
}

static int parse_kv(struct cursor *c, struct ggf_kv *kv)
{
    struct ggf_str key;
    kv->offset = c->pos;
    int s = get_string(c, &key, MAX_KEY, "a key");
    if (s || (s = copy_name(c, &key, kv->offset, "a key", &kv->key))) return s;
    const uint64_t at = c->pos;
    if ((s = get_u32(c, &kv->type, kv->key))) return s;
    if (kv->type >= GGF_KV_TYPE_COUNT)
        return ggf_fail(c->err, GGF_E_FORMAT, at,
                        "key '%.80s' has value type %" PRIu32 ", expected 0 to 12", kv->key,
                        kv->type);
    kv->elem_type = kv->type;
    kv->count = 1;
    if (kv->type == GGF_KV_ARRAY && (s = parse_array(c, kv))) return s;
    kv->data = c->src->bytes + c->pos;
    const uint64_t start = c->pos;
    if ((s = skip_values(c, kv->elem_type, kv->count, kv->key))) return s;
    kv->bytes = c->pos - start;
    return 0;
}

static int check_alignment(struct header *h, const struct ggf_kv *kv, ggf_error *err)
{
    if (strcmp(kv->key, "general.alignment") != 0) return 0;
    if (kv->type != GGF_KV_U32)
        return ggf_fail(err, GGF_E_FORMAT, kv->offset,
                        "general.alignment has type %s, expected u32",
                        ggf_kv_type_name(kv->type));
    h->alignment = load_u32(kv->data);
    if (h->alignment == 0 || (h->alignment & (h->alignment - 1)))
        return ggf_fail(err, GGF_E_FORMAT, kv->offset,
                        "general.alignment is %" PRIu32 ", expected a power of two",
                        h->alignment);
    return 0;
}

/* Elements and bytes of a tensor from its dimensions and type. */
static int check_shape(struct ggf_tensor *t, uint64_t at, ggf_error *err)
{
    const struct ggf_type_info *type = ggf_type_info(t->type);
    if (!type)
        return ggf_fail(err, GGF_E_FORMAT, at,
                        "tensor '%s' has type id %" PRIu32 ", which is not known", t->name,
                        t->type);
    t->count = 1;
    for (int i = 0; i < 4; i++) {
        if (t->ne[i] == 0)
            return ggf_fail(err, GGF_E_FORMAT, at, "tensor '%s' has dimension %d of size 0",
                            t->name, i);
        if (!mul_u64(t->count, t->ne[i], &t->count) || t->count > INT64_MAX)
            return ggf_fail(err, GGF_E_FORMAT, at,
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

static int parse_tensor(struct cursor *c, struct ggf_tensor *t)
{
    const uint64_t at = c->pos;
    struct ggf_str name;
    int s = get_string(c, &name, MAX_NAME, "a tensor name");
    if (s || (s = copy_name(c, &name, at, "a tensor name", &t->name))) return s;
    const uint64_t dims_at = c->pos;
    if ((s = get_u32(c, &t->n_dims, t->name))) return s;
    if (t->n_dims < 1 || t->n_dims > 4)
        return ggf_fail(c->err, GGF_E_FORMAT, dims_at,
                        "tensor '%s' has %" PRIu32 " dimensions, expected 1 to 4", t->name,
                        t->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        t->ne[i] = 1;
        if (i < t->n_dims && (s = get_u64(c, &t->ne[i], t->name))) return s;
    }
    if ((s = get_u32(c, &t->type, t->name)) || (s = get_u64(c, &t->offset, t->name)))
        return s;
    return check_shape(t, dims_at, c->err);
}

static int by_offset(const void *a, const void *b)
{
    const struct ggf_tensor *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* With gaps allowed: aligned, and no two tensors share a byte. */
static int check_no_overlap(struct header *h, ggf_error *err)
{
    const struct ggf_tensor **order = malloc((h->n_tensors + 1) * sizeof *order);
    if (!order) return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    for (uint64_t i = 0; i < h->n_tensors; i++) order[i] = &h->tensors[i];
    qsort(order, h->n_tensors, sizeof *order, by_offset);
    int status = 0;
    for (uint64_t i = 0; i < h->n_tensors && !status; i++) {
        const struct ggf_tensor *t = order[i];
        if (t->offset & (h->alignment - 1))
            status = ggf_fail(err, GGF_E_FORMAT, t->offset,
                              "tensor '%s' is not aligned to %" PRIu32, t->name,
                              h->alignment);
        else if (i && order[i - 1]->offset + order[i - 1]->bytes > t->offset)
            status = ggf_fail(err, GGF_E_FORMAT, t->offset, "tensors '%s' and '%s' overlap",
                              order[i - 1]->name, t->name);
    }
    free(order);
    return status;
}

/* Turn offsets into absolute ones; in order, gapless, inside the file. */
static int place_tensors(struct header *h, const struct source *src,
                         const struct ggf_open_options *o, ggf_error *err)
{
    uint64_t expected = 0, end;
    for (uint64_t i = 0; i < h->n_tensors; i++) {
        struct ggf_tensor *t = &h->tensors[i];
        if (!o->allow_gaps && t->offset != expected)
            return ggf_fail(err, GGF_E_FORMAT, h->data_offset,
                            "tensor '%s' lies at data offset %" PRIu64
                            ", expected %" PRIu64,
                            t->name, t->offset, expected);
        if (!add_u64(t->offset, h->data_offset, &t->offset) ||
            !add_u64(t->offset, t->bytes, &end) || end > INT64_MAX)
            return ggf_fail(err, GGF_E_FORMAT, h->data_offset,
                            "tensor '%s': its offset overflows", t->name);
        if (!o->header_only && end > src->size)
            return ggf_fail(err, GGF_E_FORMAT, t->offset,
                            "tensor '%s' ends at byte %" PRIu64
                            ", but the file has only %" PRIu64,
                            t->name, end, src->size);
        if (!align_u64(end - h->data_offset, h->alignment, &expected))
            return ggf_fail(err, GGF_E_FORMAT, h->data_offset,
                            "tensor '%s': its padding overflows", t->name);
    }
    return o->allow_gaps ? check_no_overlap(h, err) : 0;
}

static int parse_counts(struct cursor *c, struct header *h)
{
    int s = need(c, 4, "the magic");
    if (s) return s;
    if (memcmp(c->src->bytes, "GGUF", 4) != 0)
        return ggf_fail(c->err, GGF_E_FORMAT, 0,
                        "not a GGUF file: starts with %02x %02x %02x %02x, expected 'GGUF'",
                        c->src->bytes[0], c->src->bytes[1], c->src->bytes[2],
                        c->src->bytes[3]);
    c->pos = 4;
    if ((s = get_u32(c, &h->version, "the version"))) return s;
    if (h->version != 0 && (h->version & 0xffff) == 0)
        return ggf_fail(c->err, GGF_E_FORMAT, 4,
                        "a big-endian GGUF file (version word 0x%08" PRIx32
                        "), only little-endian ones are read",
                        h->version);
    if (h->version < 2 || h->version > 3)
        return ggf_fail(c->err, GGF_E_FORMAT, 4, "GGUF version %" PRIu32 ", expected 2 or 3",
                        h->version);
    if ((s = get_u64(c, &h->n_tensors, "the tensor count")) ||
        (s = get_u64(c, &h->n_kvs, "the key count")))
        return s;
    const uint64_t left = c->src->size - c->pos;
    if (h->n_tensors > left / MIN_TENSOR)
        return ggf_fail(c->err, GGF_E_FORMAT, 8,
                        "header claims %" PRIu64 " tensors, more than the file can hold",
                        h->n_tensors);
    if (h->n_kvs > left / MIN_KV_BYTES)
        return ggf_fail(c->err, GGF_E_FORMAT, 16,
                        "header claims %" PRIu64 " keys, more than the file can hold",
                        h->n_kvs);
    return 0;
}

static int parse_all(struct cursor *c, struct header *h,
                     const struct ggf_open_options *options)
{
    int s = parse_counts(c, h);
    if (s) return s;
    /* What the counts claim is bounded by the file; what is at hand bounds it better
     * (a callback's first piece), so that a lying header cannot make us allocate. */
    if ((h->n_kvs > c->src->avail / MIN_KV_BYTES ||
         h->n_tensors > c->src->avail / MIN_TENSOR))
        return NEED_MORE;
    h->alignment = 32;
    h->kvs = calloc(h->n_kvs + 1, sizeof *h->kvs);
    h->tensors = calloc(h->n_tensors + 1, sizeof *h->tensors);
    if (!h->kvs || !h->tensors)
        return ggf_fail(c->err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    for (uint64_t i = 0; i < h->n_kvs; i++)
        if ((s = parse_kv(c, &h->kvs[i])) || (s = check_alignment(h, &h->kvs[i], c->err)))
            return s;
    for (uint64_t i = 0; i < h->n_tensors; i++)
        if ((s = parse_tensor(c, &h->tensors[i]))) return s;
    if (!align_u64(c->pos, h->alignment, &h->data_offset))
        return ggf_fail(c->err, GGF_E_FORMAT, c->pos, "the header's padding overflows");
    return place_tensors(h, c->src, options, c->err);
}

int parse_header(struct header *h, const struct source *src,
                 const struct ggf_open_options *options, ggf_error *err)
{
    *h = (struct header){ 0 };
    struct cursor c = { src, 0, err, &h->text };
    int s = parse_all(&c, h, options);
    if (s == 0) return 0;
    free(h->kvs);
    free(h->tensors);
    free_text(h->text);
    *h = (struct header){ 0 };
    return s;
}
