/* inspect_list.c - gguf-inspect's lists: tensors and metadata keys. */
#include "inspect.h"
#include "regex.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_TEXT  96 /* bytes shown of a string */
#define SHORT_ARRAY 8  /* elements shown of an array */

char *shape_text(char buf[96], const struct ggf_tensor *t)
{
    int n = snprintf(buf, 96, "[");
    for (uint32_t i = 0; i < t->n_dims; i++)
        n += snprintf(buf + n, 96 - (size_t)n, "%s%" PRIu64, i ? ", " : "", t->ne[i]);
    strcpy(buf + n, "]");
    return buf;
}

/* NULL and "" match everything. */
static int compile(struct regex **re, const char *pattern, ggf_error *err)
{
    *re = NULL;
    return pattern && *pattern ? regex_new(re, pattern, err) : 0;
}

static int matches(const struct regex *re, const char *name, ggf_error *err)
{
    return re ? regex_match(re, name, err) : 1;
}

/* ---- Tensors --------------------------------------------------------------- */

static void tensor_row(struct table *table, const ggf_file *f, const struct ggf_tensor *t)
{
    char shape[96];
    const uint64_t each = bytes_per_expert(t);
    table_cell(table, "%s", t->name);
    table_cell(table, "%s", shape_text(shape, t));
    table_cell(table, "%s", ggf_type_name(t->type));
    table_cell(table, "%" PRIu64, t->bytes);
    if (ggf_shard_count(f) > 1) table_cell(table, "%" PRIu32, t->shard + 1);
    else table_cell(table, "%s", "");
    table_cell(table, "%" PRIu64, t->offset);
    if (each) table_cell(table, "%" PRIu64, each);
    else table_cell(table, "%s", "");
}

static void json_tensor(struct json *j, const ggf_file *f, const struct ggf_tensor *t)
{
    const uint64_t each = bytes_per_expert(t);
    json_open(j, NULL, '{');
    json_str(j, "name", t->name);
    json_open(j, "shape", '[');
    for (uint32_t i = 0; i < t->n_dims; i++) json_u64(j, NULL, t->ne[i]);
    json_close(j, ']');
    json_str(j, "type", ggf_type_name(t->type));
    json_str(j, "role", ggf_role_name(ggf_tensor_role(f, t)));
    json_u64(j, "bytes", t->bytes);
    json_u64(j, "shard", t->shard);
    json_u64(j, "offset", t->offset);
    if (each) json_u64(j, "bytes_per_expert", each);
    json_close(j, '}');
}

static void print_total(const struct share *s)
{
    char count[32], size[24];
    printf("\n%" PRIu64 " tensors, %s parameters, %s, %.2f bits per weight\n", s->tensors,
           out_count(count, s->params), out_size(size, s->bytes), share_bpw(s));
}

int inspect_tensors(const struct inspect *in, const char *pattern, ggf_error *err)
{
    static const char *const heads[] = { "tensor", "shape",   "type",        ">bytes",
                                         ">file",  ">offset", ">per expert", NULL };
    struct regex *re;
    struct table table;
    struct share sum = { 0 };
    int s = compile(&re, pattern, err);
    if (s) return s;
    table_start(&table, heads);
    if (in->json) json_open(in->json, "tensor_list", '[');
    for (uint64_t i = 0; i < ggf_tensor_count(in->file) && s >= 0; i++) {
        const struct ggf_tensor *t = ggf_tensor(in->file, i);
        s = matches(re, t->name, err);
        if (s != 1) continue;
        sum.tensors++;
        sum.params += t->count;
        sum.bytes += t->bytes;
        if (in->json) json_tensor(in->json, in->file, t);
        else tensor_row(&table, in->file, t);
    }
    if (in->json) json_close(in->json, ']');
    if (!table_print(&table, stdout, in->bold)) s = ggf_no_memory(err);
    if (!in->json) print_total(&sum);
    regex_free(re);
    return s < 0 ? s : 0;
}

/* ---- Keys ------------------------------------------------------------------ */

static void print_number(FILE *f, const struct ggf_kv *kv, uint64_t index)
{
    int64_t i = 0;
    double d = 0;
    uint64_t u = 0;
    if (kv->elem_type == GGF_KV_BOOL) {
        fputs(kv->data[index] ? "true" : "false", f);
    } else if (kv->elem_type == GGF_KV_U64) {
        memcpy(&u, kv->data + 8 * index, sizeof u);
        fprintf(f, "%" PRIu64, u);
    } else if (kv->elem_type == GGF_KV_F32 || kv->elem_type == GGF_KV_F64) {
        ggf_kv_f64(kv, index, &d, NULL);
        fprintf(f, kv->elem_type == GGF_KV_F32 ? "%.7g" : "%.15g", d);
    } else {
        ggf_kv_i64(kv, index, &i, NULL);
        fprintf(f, "%" PRId64, i);
    }
}

/* The string at p (length and bytes), moving p behind it. */
static struct ggf_str next_string(const uint8_t **p)
{
    struct ggf_str s;
    memcpy(&s.len, *p, sizeof s.len);
    s.data = (const char *)*p + 8;
    *p += 8 + s.len;
    return s;
}

static void print_string(FILE *f, struct ggf_str s, bool quoted, bool full)
{
    if (quoted) putc('"', f);
    out_text(f, s.data, s.len, full ? UINT64_MAX : SHORT_TEXT);
    if (quoted) putc('"', f);
}

void print_value(FILE *f, const struct ggf_kv *kv, bool full)
{
    const uint8_t *p = kv->data;
    const bool array = kv->type == GGF_KV_ARRAY;
    const uint64_t shown = full || kv->count < SHORT_ARRAY ? kv->count : SHORT_ARRAY;
    if (array) putc('[', f);
    for (uint64_t i = 0; i < shown; i++) {
        if (i) fputs(", ", f);
        if (kv->elem_type == GGF_KV_STRING) print_string(f, next_string(&p), array, full);
        else print_number(f, kv, i);
    }
    if (shown < kv->count) fputs(", ...", f);
    if (array) putc(']', f);
}

static void json_element(struct json *j, const char *name, const struct ggf_kv *kv,
                         uint64_t index, const uint8_t **p)
{
    int64_t i = 0;
    double d = 0;
    uint64_t u = 0;
    switch (kv->elem_type) {
    case GGF_KV_STRING: {
        const struct ggf_str s = next_string(p);
        json_strn(j, name, s.data, s.len);
        break;
    }
    case GGF_KV_BOOL: json_bool(j, name, kv->data[index] != 0); break;
    case GGF_KV_F32:
    case GGF_KV_F64:
        ggf_kv_f64(kv, index, &d, NULL);
        json_f64(j, name, d);
        break;
    case GGF_KV_U64:
        memcpy(&u, kv->data + 8 * index, sizeof u);
        json_u64(j, name, u);
        break;
    default:
        ggf_kv_i64(kv, index, &i, NULL);
        json_i64(j, name, i);
        break;
    }
}

static void json_key(struct json *j, const struct ggf_kv *kv, bool full)
{
    const uint8_t *p = kv->data;
    const bool array = kv->type == GGF_KV_ARRAY;
    json_open(j, NULL, '{');
    json_str(j, "key", kv->key);
    json_str(j, "type", ggf_kv_type_name(kv->type));
    if (array) {
        const uint64_t shown = full || kv->count < SHORT_ARRAY ? kv->count : SHORT_ARRAY;
        json_str(j, "element_type", ggf_kv_type_name(kv->elem_type));
        json_u64(j, "count", kv->count);
        json_open(j, shown < kv->count ? "first_values" : "value", '[');
        for (uint64_t i = 0; i < shown; i++) json_element(j, NULL, kv, i, &p);
        json_close(j, ']');
    } else {
        json_element(j, "value", kv, 0, &p);
    }
    json_close(j, '}');
}

static void key_row(struct table *t, const struct ggf_kv *kv, bool full)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    table_cell(t, "%s", kv->key);
    if (kv->type == GGF_KV_ARRAY)
        table_cell(t, "%s[%" PRIu64 "]", ggf_kv_type_name(kv->elem_type), kv->count);
    else table_cell(t, "%s", ggf_kv_type_name(kv->type));
    if (f) print_value(f, kv, full);
    if (f && fclose(f) == 0) table_cell(t, "%s", text);
    else t->failed = true;
    free(text);
}

int inspect_keys(const struct inspect *in, const char *pattern, ggf_error *err)
{
    static const char *const heads[] = { "key", "type", "value", NULL };
    struct regex *re;
    struct table table;
    int s = compile(&re, pattern, err);
    if (s) return s;
    table_start(&table, heads);
    if (in->json) json_open(in->json, "key_list", '[');
    for (uint64_t i = 0; i < ggf_kv_count(in->file) && s >= 0; i++) {
        const struct ggf_kv *kv = ggf_kv(in->file, i);
        s = matches(re, kv->key, err);
        if (s != 1) continue;
        if (in->json) json_key(in->json, kv, in->full);
        else key_row(&table, kv, in->full);
    }
    if (in->json) json_close(in->json, ']');
    if (!table_print(&table, stdout, in->bold)) s = ggf_no_memory(err);
    regex_free(re);
    return s < 0 ? s : 0;
}
