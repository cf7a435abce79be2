/* metadata.c - typed access to the values of a file's keys, and split file names. */
#include "bytes.h"
#include "file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *ggf_kv_type_name(uint32_t type)
{
    static const char *const names[GGF_KV_TYPE_COUNT] = {
        "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
        "bool", "string", "array", "u64", "i64", "f64",
    };
    return type < GGF_KV_TYPE_COUNT ? names[type] : "?";
}

static int wrong_type(const struct ggf_kv *kv, const char *expected, ggf_error *err)
{
    return ggf_fail(err, GGF_E_TYPE, kv->offset, "key '%.80s' is %s%s, expected %s",
                    kv->key, kv->type == GGF_KV_ARRAY ? "an array of " : "",
                    ggf_kv_type_name(kv->elem_type), expected);
}

static int no_element(const struct ggf_kv *kv, uint64_t index, ggf_error *err)
{
    return ggf_fail(err, GGF_E_ARG, kv->offset,
                    "key '%.80s' has %" PRIu64 " elements, number %" PRIu64
                    " was asked for",
                    kv->key, kv->count, index);
}

int ggf_kv_i64(const struct ggf_kv *kv, uint64_t index, int64_t *out, ggf_error *err)
{
    if (index >= kv->count) return no_element(kv, index, err);
    const uint8_t *p = kv->data;
    switch (kv->elem_type) {
    case GGF_KV_U8: *out = p[index]; return 0;
    case GGF_KV_I8: *out = (int8_t)p[index]; return 0;
    case GGF_KV_BOOL: *out = p[index] != 0; return 0;
    case GGF_KV_U16: *out = load_u16(p + 2 * index); return 0;
    case GGF_KV_I16: *out = (int16_t)load_u16(p + 2 * index); return 0;
    case GGF_KV_U32: *out = load_u32(p + 4 * index); return 0;
    case GGF_KV_I32: *out = (int32_t)load_u32(p + 4 * index); return 0;
    case GGF_KV_I64: *out = (int64_t)load_u64(p + 8 * index); return 0;
    case GGF_KV_U64: {
        const uint64_t v = load_u64(p + 8 * index);
        if (v > INT64_MAX) return wrong_type(kv, "a value below 2^63", err);
        *out = (int64_t)v;
        return 0;
    }
    default: return wrong_type(kv, "an integer", err);
    }
}

int ggf_kv_f64(const struct ggf_kv *kv, uint64_t index, double *out, ggf_error *err)
{
    if (index >= kv->count) return no_element(kv, index, err);
    if (kv->elem_type == GGF_KV_F32) {
        float v;
        memcpy(&v, kv->data + 4 * index, sizeof v);
        *out = (double)v;
        return 0;
    }
    if (kv->elem_type == GGF_KV_F64) {
        memcpy(out, kv->data + 8 * index, sizeof *out);
        return 0;
    }
    return wrong_type(kv, "a floating-point number", err);
}

int ggf_kv_strings(const struct ggf_kv *kv, struct ggf_str *out, ggf_error *err)
{
    if (kv->elem_type != GGF_KV_STRING) return wrong_type(kv, "strings", err);
    const uint8_t *p = kv->data;
    for (uint64_t i = 0; i < kv->count; i++) {
        out[i].len = load_u64(p);
        out[i].data = (const char *)p + 8;
        p += 8 + out[i].len;
    }
    return 0;
}

/* A key that must be there and be a single value. */
static int find_scalar(const ggf_file *f, const char *key, const struct ggf_kv **out,
                       ggf_error *err)
{
    const struct ggf_kv *kv = ggf_find_kv(f, key);
    if (!kv)
        return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "key '%.80s' is missing",
                        key);
    if (kv->type == GGF_KV_ARRAY) return wrong_type(kv, "a single value", err);
    *out = kv;
    return 0;
}

int ggf_get_i64(const ggf_file *f, const char *key, int64_t *out, ggf_error *err)
{
    const struct ggf_kv *kv = NULL;
    int s = find_scalar(f, key, &kv, err);
    return s ? s : ggf_kv_i64(kv, 0, out, err);
}

static int get_unsigned(const ggf_file *f, const char *key, uint64_t max, uint64_t *out,
                        ggf_error *err)
{
    const struct ggf_kv *kv = NULL;
    int64_t v = 0;
    int s = find_scalar(f, key, &kv, err);
    if (s) return s;
    const bool u64 = kv->type == GGF_KV_U64;
    if (!u64 && (s = ggf_kv_i64(kv, 0, &v, err))) return s;
    const uint64_t u = u64 ? load_u64(kv->data) : (uint64_t)v;
    if (v < 0)
        return ggf_fail(err, GGF_E_TYPE, kv->offset,
                        "key '%.80s' is %" PRId64 ", expected 0 to %" PRIu64, key, v,
                        max);
    if (u > max)
        return ggf_fail(err, GGF_E_TYPE, kv->offset,
                        "key '%.80s' is %" PRIu64 ", expected 0 to %" PRIu64, key, u,
                        max);
    *out = u;
    return 0;
}

int ggf_get_u64(const ggf_file *f, const char *key, uint64_t *out, ggf_error *err)
{
    return get_unsigned(f, key, UINT64_MAX, out, err);
}

int ggf_get_u32(const ggf_file *f, const char *key, uint32_t *out, ggf_error *err)
{
    uint64_t v = 0;
    int s = get_unsigned(f, key, UINT32_MAX, &v, err);
    if (!s) *out = (uint32_t)v;
    return s;
}

int ggf_get_f64(const ggf_file *f, const char *key, double *out, ggf_error *err)
{
    const struct ggf_kv *kv = NULL;
    int s = find_scalar(f, key, &kv, err);
    return s ? s : ggf_kv_f64(kv, 0, out, err);
}

int ggf_get_bool(const ggf_file *f, const char *key, bool *out, ggf_error *err)
{
    const struct ggf_kv *kv = NULL;
    int s = find_scalar(f, key, &kv, err);
    if (s) return s;
    if (kv->type != GGF_KV_BOOL) return wrong_type(kv, "bool", err);
    *out = kv->data[0] != 0;
    return 0;
}

int ggf_get_str(const ggf_file *f, const char *key, struct ggf_str *out, ggf_error *err)
{
    const struct ggf_kv *kv = NULL;
    int s = find_scalar(f, key, &kv, err);
    return s ? s : ggf_kv_strings(kv, out, err);
}

int ggf_get_arch_u32(const ggf_file *f, const char *key, uint32_t *out, ggf_error *err)
{
    struct ggf_str arch = { "", 0 };
    char full[128];
    int s = ggf_get_str(f, "general.architecture", &arch, err);
    if (s) return s;
    const int n =
        snprintf(full, sizeof full, "%.*s.%s", (int)(arch.len & 127), arch.data, key);
    if (arch.len > 127 || n < 0 || (size_t)n >= sizeof full)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "general.architecture is too long");
    return ggf_get_u32(f, full, out, err);
}

int ggf_split_name(char *out, size_t size, const char *prefix, uint32_t index,
                   uint32_t count)
{
    const int n = snprintf(out, size, "%s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", prefix,
                           index + 1, count);
    return n < 0 || (size_t)n >= size ? -1 : n;
}

/* Five digits as a number, or -1. */
static int64_t five_digits(const char *s)
{
    int64_t v = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = 10 * v + (s[i] - '0');
    }
    return v;
}

size_t ggf_split_parse(const char *name, uint32_t *index, uint32_t *count)
{
    enum { SUFFIX = 20 }; /* -00001-of-00005.gguf */
    const size_t n = strlen(name);
    if (n <= SUFFIX) return 0;
    const char *s = name + n - SUFFIX;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0 || strcmp(s + 15, ".gguf") != 0)
        return 0;
    const int64_t no = five_digits(s + 1), total = five_digits(s + 10);
    if (no < 1 || total < no) return 0;
    *index = (uint32_t)(no - 1);
    *count = (uint32_t)total;
    return n - SUFFIX;
}
