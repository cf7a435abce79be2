/* metadata.c - see metadata.h. */
#include "metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The reference keeps strings of 127 bytes in overrides and importance-matrix keys. */
enum { TEXT_MAX = 127 };

/* ---- Overrides ------------------------------------------------------------- */

static int bad_override(const char *text, const char *expected, ggf_error *err)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "override '%.200s': expected %s", text,
                    expected);
}

static int parse_value(struct kv_override *o, const char *text, const char *value,
                       ggf_error *err)
{
    char *end = NULL;
    errno = 0;
    switch (o->kind) {
    case OVERRIDE_INT:
        o->integer = strtoll(value, &end, 10);
        if (end == value || *end || errno)
            return bad_override(text, "a whole number", err);
        return 0;
    case OVERRIDE_FLOAT:
        o->number = strtod(value, &end);
        if (end == value || *end) return bad_override(text, "a number", err);
        return 0;
    case OVERRIDE_BOOL:
        o->boolean = !strcmp(value, "true");
        if (!o->boolean && strcmp(value, "false") != 0)
            return bad_override(text, "true or false", err);
        return 0;
    default: o->string = value; return 0;
    }
}

int kv_override_parse(struct kv_override *out, const char *text, ggf_error *err)
{
    static const char *const kinds[] = { "int:", "float:", "bool:", "str:" };
    *out = (struct kv_override){ 0 };
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof out->key)
        return bad_override(text, "KEY=TYPE:VALUE with a key of 1 to 127 bytes", err);
    memcpy(out->key, text, (size_t)(equals - text));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t n = strlen(kinds[i]);
        if (strncmp(equals + 1, kinds[i], n) != 0) continue;
        out->kind = (enum override_kind)i;
        return parse_value(out, text, equals + 1 + n, err);
    }
    return bad_override(text, "KEY=TYPE:VALUE with type int, float, bool or str", err);
}

/* An integer goes into the narrowest of u32, i32, u64, i64 that holds it.  The reference
 * writes the absolute value as u32 whatever it is. */
static int set_integer(ggf_writer *w, const char *key, int64_t v, bool compat,
                       ggf_error *err)
{
    const uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (compat) return ggf_writer_set_u32(w, key, (uint32_t)magnitude, err);
    if (v >= 0 && v <= UINT32_MAX) return ggf_writer_set_u32(w, key, (uint32_t)v, err);
    if (v >= INT32_MIN && v < 0) return ggf_writer_set_i32(w, key, (int32_t)v, err);
    if (v >= 0) return ggf_writer_set_u64(w, key, (uint64_t)v, err);
    const struct ggf_kv kv = { .key = key,
                               .type = GGF_KV_I64,
                               .elem_type = GGF_KV_I64,
                               .count = 1,
                               .data = (const uint8_t *)&v,
                               .bytes = sizeof v };
    return ggf_writer_set_kv(w, &kv, err);
}

static int set_override(ggf_writer *w, const struct kv_override *o, bool compat,
                        ggf_error *err)
{
    char cut[TEXT_MAX + 1];
    switch (o->kind) {
    case OVERRIDE_INT: return set_integer(w, o->key, o->integer, compat, err);
    case OVERRIDE_FLOAT: return ggf_writer_set_f32(w, o->key, (float)o->number, err);
    case OVERRIDE_BOOL: return ggf_writer_set_bool(w, o->key, o->boolean, err);
    default:
        if (!compat) return ggf_writer_set_str(w, o->key, o->string, err);
        snprintf(cut, sizeof cut, "%s", o->string);
        return ggf_writer_set_str(w, o->key, cut, err);
    }
}

void metadata_get_u32(const ggf_file *file, const struct kv_override *overrides, int n,
                      const char *key, uint32_t *out)
{
    const struct ggf_kv *kv = ggf_find_kv(file, key);
    int64_t v = -1;
    if (kv && kv->count) ggf_kv_i64(kv, 0, &v, NULL);
    for (int i = 0; i < n; i++)
        if (overrides[i].kind == OVERRIDE_INT && !strcmp(overrides[i].key, key))
            v = overrides[i].integer;
    if (v >= 0 && v <= UINT32_MAX) *out = (uint32_t)v;
}

/* ---- Keys ------------------------------------------------------------------ */

static bool is_replaced(const char *key)
{
    return !strcmp(key, "general.quantization_version") ||
           !strcmp(key, "general.file_type") || !strcmp(key, "split.no") ||
           !strcmp(key, "split.count") || !strcmp(key, "split.tensors.count");
}

/* An array of the architecture with one element for each layer, of a fixed size. */
static bool is_per_layer(const struct metadata *m, const struct ggf_kv *kv)
{
    const size_t n = strlen(m->arch);
    return kv->type == GGF_KV_ARRAY && kv->count == m->n_layers &&
           kv->elem_type != GGF_KV_STRING && !strncmp(kv->key, m->arch, n) &&
           kv->key[n] == '.';
}

static int copy_pruned_array(ggf_writer *w, const struct metadata *m,
                             const struct ggf_kv *kv, ggf_error *err)
{
    const uint64_t size = kv->bytes / kv->count;
    uint8_t *kept = malloc(kv->bytes);
    if (!kept) return ggf_no_memory(err);
    struct ggf_kv shorter = *kv;
    shorter.data = kept;
    shorter.count = 0;
    for (uint64_t i = 0; i < kv->count; i++)
        if (!m->pruned[i])
            memcpy(kept + size * shorter.count++, kv->data + size * i, size);
    shorter.bytes = size * shorter.count;
    const int s = ggf_writer_set_kv(w, &shorter, err);
    free(kept);
    return s;
}

static int copy_keys(ggf_writer *w, const struct metadata *m, ggf_error *err)
{
    int s = 0;
    for (uint64_t i = 0; i < ggf_kv_count(m->source) && !s; i++) {
        const struct ggf_kv *kv = ggf_kv(m->source, i);
        if (is_replaced(kv->key)) continue;
        if (provenance_is_key(kv->key) && !m->copy && !m->compat) continue;
        if (m->pruned && !m->compat && is_per_layer(m, kv))
            s = copy_pruned_array(w, m, kv, err);
        else s = ggf_writer_set_kv(w, kv, err);
    }
    return s;
}

static int set_text(ggf_writer *w, const char *key, const char *text, uint64_t len,
                    ggf_error *err)
{
    char cut[TEXT_MAX + 1] = { 0 };
    memcpy(cut, text, len < TEXT_MAX ? len : TEXT_MAX);
    return ggf_writer_set_str(w, key, cut, err);
}

static int set_matrix_keys(ggf_writer *w, const struct metadata *m, ggf_error *err)
{
    const struct ggf_str *set = imatrix_dataset(m->matrix);
    int s =
        set_text(w, "quantize.imatrix.file", m->matrix_path, strlen(m->matrix_path), err);
    if (!s && set) s = set_text(w, "quantize.imatrix.dataset", set->data, set->len, err);
    if (!s)
        s = ggf_writer_set_u32(w, "quantize.imatrix.entries_count",
                               (uint32_t)imatrix_count(m->matrix), err);
    if (!s && imatrix_chunks(m->matrix))
        s = ggf_writer_set_u32(w, "quantize.imatrix.chunks_count",
                               imatrix_chunks(m->matrix), err);
    return s;
}

static int set_block_count(ggf_writer *w, const struct metadata *m, ggf_error *err)
{
    char key[96];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->n_layers; i++) kept += !m->pruned[i];
    snprintf(key, sizeof key, "%.63s.block_count", m->arch);
    return ggf_writer_set_u32(w, key, kept, err);
}

static int set_model_keys(ggf_writer *w, const struct metadata *m, ggf_error *err)
{
    int s = copy_keys(w, m, err);
    if (!s) s = ggf_writer_set_u32(w, "general.quantization_version", 2, err);
    if (!s) s = ggf_writer_set_u32(w, "general.file_type", m->file_type, err);
    for (int i = 0; i < m->n_overrides && !s; i++)
        s = set_override(w, &m->overrides[i], m->compat, err);
    if (!s && m->matrix) s = set_matrix_keys(w, m, err);
    if (!s && m->pruned) s = set_block_count(w, m, err);
    if (!s && m->provenance) s = provenance_write(w, m->provenance, err);
    return s;
}

int metadata_write(ggf_writer *w, const struct metadata *m, ggf_error *err)
{
    int s = m->shard == 0 ? set_model_keys(w, m, err) : 0;
    if (s || m->n_shards < 2) return s;
    s = ggf_writer_set_u16(w, "split.no", (uint16_t)m->shard, err);
    if (!s) s = ggf_writer_set_u16(w, "split.count", (uint16_t)m->n_shards, err);
    if (!s) s = ggf_writer_set_i32(w, "split.tensors.count", (int32_t)m->n_tensors, err);
    return s;
}
