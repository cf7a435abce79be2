/* inspect_summary.c - gguf-inspect's first page: what the model is and where its bytes
 * are, by role, by type and by layer. */
#include "inspect.h"
#include "table.h"

#include "../../quant/filetype.h"

#include <inttypes.h>
#include <string.h>

/* ---- Header ---------------------------------------------------------------- */

static uint64_t file_bytes(const ggf_file *f)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < ggf_shard_count(f); i++) n += ggf_shard(f, i)->size;
    return n;
}

static void label(const char *name) { printf("%-14s", name); }

static void print_string(const ggf_file *f, const char *name, const char *key)
{
    struct ggf_str s;
    if (ggf_get_str(f, key, &s, NULL)) return;
    label(name);
    out_text(stdout, s.data, s.len, 100);
    putchar('\n');
}

static void print_file_type(const ggf_file *f)
{
    uint32_t id;
    if (ggf_get_u32(f, "general.file_type", &id, NULL)) return;
    const struct file_type *t = file_type_by_id(id);
    label("file type");
    printf("%s (%" PRIu32 ")\n", t ? t->name : "unknown", id);
}

static void count_kinds(const struct facts *x, uint64_t kinds[4])
{
    for (uint64_t i = 0; i < x->n_layers; i++) {
        const struct layer_facts *l = &x->layers[i];
        kinds[l->mtp ? 2 : l->delta ? 0 : l->attention ? 1 : 3]++;
    }
}

static const char *layer_kind(const struct layer_facts *l)
{
    if (l->mtp) return "mtp";
    if (l->delta && l->attention) return "delta+attention";
    return l->delta ? "delta" : l->attention ? "attention" : "";
}

static void print_architecture(const ggf_file *f, const struct facts *x)
{
    static const char *const names[] = { "delta", "attention", "mtp" };
    struct ggf_str arch = { "?", 1 };
    uint64_t kinds[4] = { 0 };
    ggf_get_str(f, "general.architecture", &arch, NULL);
    count_kinds(x, kinds);
    label("architecture");
    out_text(stdout, arch.data, arch.len, 64);
    if (x->n_layers)
        printf(", %" PRIu64 " layer%s", x->n_layers, x->n_layers == 1 ? "" : "s");
    for (int i = 0, n = 0; i < 3; i++)
        if (kinds[i]) printf("%s%" PRIu64 " %s", n++ ? ", " : ": ", kinds[i], names[i]);
    putchar('\n');
}

/* The smallest and largest expert of the layers. */
static void expert_range(const struct facts *x, uint64_t *least, uint64_t *most)
{
    *least = UINT64_MAX;
    *most = 0;
    for (uint64_t i = 0; i < x->n_layers; i++) {
        const uint64_t bytes = x->layers[i].expert_bytes;
        if (bytes && bytes < *least) *least = bytes;
        if (bytes > *most) *most = bytes;
    }
}

static void print_experts(const struct facts *x)
{
    uint64_t least, most;
    char a[24], b[24];
    expert_range(x, &least, &most);
    if (!most) return;
    label("experts");
    printf("%" PRIu32 " per layer, %" PRIu32 " used%s; one is %s", x->n_expert, x->n_used,
           x->role[GGF_ROLE_SHARED].tensors ? " + 1 shared" : "", out_size(a, least));
    if (least != most) printf(" to %s", out_size(b, most));
    putchar('\n');
    label("a token reads");
    printf("%s of dense weights + %s of experts\n", out_size(a, x->dense_bytes),
           out_size(b, x->expert_bytes));
}

static void print_header(const struct inspect *in, const struct facts *x)
{
    const ggf_file *f = in->file;
    const struct ggf_shard *s = ggf_shard(f, 0);
    char size[24], count[32], small[24];
    label("file");
    printf("%s (%s", in->path, out_size(size, file_bytes(f)));
    if (ggf_shard_count(f) > 1) printf(" in %" PRIu32 " files", ggf_shard_count(f));
    printf(")\n");
    label("format");
    printf("GGUF version %" PRIu32 ", alignment %" PRIu32 ", %" PRIu64 " keys, %" PRIu64
           " tensors\n",
           s->version, s->alignment, ggf_kv_count(f), ggf_tensor_count(f));
    print_string(f, "name", "general.name");
    print_architecture(f, x);
    print_experts(x);
    label("parameters");
    printf("%s (%s)", out_count(count, x->all.params), out_short(small, x->all.params));
    if (x->expert_bytes) printf(", %s active", out_short(small, x->active_params));
    putchar('\n');
    print_file_type(f);
    label("tensor data");
    printf("%s, %.2f bits per weight\n", out_size(size, x->all.bytes),
           share_bpw(&x->all));
    print_string(f, "imatrix", "quantize.imatrix.file");
    print_pack_line(f);
}

/* ---- Tables ---------------------------------------------------------------- */

/* Heads of a table with such rows. */
#define SHARE_HEADS(what)                                                                \
    {                                                                                    \
        what, ">tensors", ">params", ">size", ">share", ">bits/w", NULL                  \
    }

static void share_row(struct table *t, const char *name, const struct share *s,
                      const struct share *all)
{
    char params[24], size[24];
    table_cell(t, "%s", name);
    table_cell(t, "%" PRIu64, s->tensors);
    table_cell(t, "%s", out_short(params, s->params));
    table_cell(t, "%s", out_size(size, s->bytes));
    table_cell(t, "%.2f %%",
               all->bytes ? 100.0 * (double)s->bytes / (double)all->bytes : 0);
    table_cell(t, "%.2f", share_bpw(s));
}

static bool print_roles(const struct inspect *in, const struct facts *x)
{
    static const char *const heads[] = SHARE_HEADS("role");
    struct table t;
    table_start(&t, heads);
    for (int r = 0; r < GGF_ROLE_COUNT; r++)
        if (x->role[r].tensors)
            share_row(&t, ggf_role_name((enum ggf_role)r), &x->role[r], &x->all);
    table_rule(&t);
    share_row(&t, "all", &x->all, &x->all);
    putchar('\n');
    return table_print(&t, stdout, in->bold);
}

static bool print_types(const struct inspect *in, const struct facts *x)
{
    static const char *const heads[] = SHARE_HEADS("type");
    struct table t;
    table_start(&t, heads);
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
        if (x->type[type].tensors)
            share_row(&t, ggf_type_name(type), &x->type[type], &x->all);
    putchar('\n');
    return table_print(&t, stdout, in->bold);
}

static bool print_layers(const struct inspect *in, const struct facts *x)
{
    static const char *const heads[] = { ">layer",     "kind",        ">size", ">bits/w",
                                         "attn/delta", "shared",      "gate",  "up",
                                         "down",       ">one expert", NULL };
    struct table t;
    char text[64];
    if (!x->n_layers) return true;
    table_start(&t, heads);
    for (uint64_t i = 0; i < x->n_layers; i++) {
        const struct layer_facts *l = &x->layers[i];
        const uint64_t sets[] = { l->mixer, l->shared, l->gate, l->up, l->down };
        if (!l->all.tensors) continue;
        table_cell(&t, "%" PRIu64, i);
        table_cell(&t, "%s", layer_kind(l));
        table_cell(&t, "%s", out_size(text, l->all.bytes));
        table_cell(&t, "%.2f", share_bpw(&l->all));
        for (int k = 0; k < 5; k++) table_cell(&t, "%s", type_set_text(text, sets[k]));
        table_cell(&t, "%s", l->expert_bytes ? out_size(text, l->expert_bytes) : "");
    }
    putchar('\n');
    return table_print(&t, stdout, in->bold);
}

/* ---- JSON ------------------------------------------------------------------ */

static void json_share(struct json *j, const struct share *s)
{
    json_u64(j, "tensors", s->tensors);
    json_u64(j, "parameters", s->params);
    json_u64(j, "bytes", s->bytes);
    json_f64(j, "bits_per_weight", share_bpw(s));
}

static void json_string_of(struct json *j, const ggf_file *f, const char *name,
                           const char *key)
{
    struct ggf_str s;
    if (!ggf_get_str(f, key, &s, NULL)) json_strn(j, name, s.data, s.len);
}

static void json_header(struct json *j, const struct inspect *in, const struct facts *x)
{
    const ggf_file *f = in->file;
    uint32_t type;
    json_open(j, "shards", '[');
    for (uint32_t i = 0; i < ggf_shard_count(f); i++) {
        const struct ggf_shard *s = ggf_shard(f, i);
        json_open(j, NULL, '{');
        json_str(j, "path", s->path);
        json_u64(j, "bytes", s->size);
        json_u64(j, "version", s->version);
        json_u64(j, "alignment", s->alignment);
        json_u64(j, "data_offset", s->data_offset);
        json_u64(j, "tensors", s->n_tensors);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_bool(j, "data_missing", in->cut);
    json_string_of(j, f, "name", "general.name");
    json_string_of(j, f, "architecture", "general.architecture");
    if (!ggf_get_u32(f, "general.file_type", &type, NULL)) {
        const struct file_type *t = file_type_by_id(type);
        json_u64(j, "file_type", type);
        if (t) json_str(j, "file_type_name", t->name);
    }
    json_u64(j, "keys", ggf_kv_count(f));
    json_share(j, &x->all);
    if (x->n_expert) {
        json_u64(j, "experts", x->n_expert);
        json_u64(j, "experts_used", x->n_used);
    }
    json_u64(j, "active_parameters", x->active_params);
    json_u64(j, "dense_bytes_per_token", x->dense_bytes);
    json_u64(j, "expert_bytes_per_token", x->expert_bytes);
}

static void json_types(struct json *j, const char *name, uint64_t set)
{
    json_open(j, name, '[');
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
        if (set >> type & 1) json_str(j, NULL, ggf_type_name(type));
    json_close(j, ']');
}

static void json_layers(struct json *j, const struct facts *x)
{
    json_open(j, "layers", '[');
    for (uint64_t i = 0; i < x->n_layers; i++) {
        const struct layer_facts *l = &x->layers[i];
        if (!l->all.tensors) continue;
        json_open(j, NULL, '{');
        json_u64(j, "layer", i);
        json_str(j, "kind", layer_kind(l));
        json_share(j, &l->all);
        json_u64(j, "expert_bytes", l->expert_bytes);
        json_types(j, "mixer_types", l->mixer);
        json_types(j, "shared_types", l->shared);
        json_types(j, "gate_types", l->gate);
        json_types(j, "up_types", l->up);
        json_types(j, "down_types", l->down);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_summary(const struct inspect *in, const struct facts *x)
{
    struct json *j = in->json;
    json_header(j, in, x);
    json_open(j, "roles", '{');
    for (int r = 0; r < GGF_ROLE_COUNT; r++) {
        if (!x->role[r].tensors) continue;
        json_open(j, ggf_role_name((enum ggf_role)r), '{');
        json_share(j, &x->role[r]);
        json_close(j, '}');
    }
    json_close(j, '}');
    json_open(j, "types", '{');
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        if (!x->type[type].tensors) continue;
        json_open(j, ggf_type_name(type), '{');
        json_share(j, &x->type[type]);
        json_close(j, '}');
    }
    json_close(j, '}');
    json_layers(j, x);
}

int inspect_summary(const struct inspect *in, ggf_error *err)
{
    struct facts x;
    int s = facts_of(&x, in->file, err);
    if (s) return s;
    bool fine = true;
    if (in->json) {
        json_summary(in, &x);
    } else {
        print_header(in, &x);
        fine = print_roles(in, &x) && print_types(in, &x) && print_layers(in, &x);
    }
    facts_free(&x);
    return fine ? 0 : ggf_no_memory(err);
}
