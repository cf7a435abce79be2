/* inspect_pack.c - expert packs: what one holds, record by record. */
#include "inspect.h"
#include "regex.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void hex_text(char *out, const uint8_t *bytes, int n)
{
    for (int i = 0; i < n; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
}

void print_pack_line(const ggf_file *dense)
{
    char *path, size[24];
    ggf_pack *pack;
    ggf_error err;
    if (ggf_pack_path(&path, dense, &err)) return;
    printf("%-14s%s: ", "expert pack", path);
    if (ggf_pack_open(&pack, path, &err) || ggf_pack_matches(dense, pack, &err)) {
        printf("%s\n", err.message);
    } else {
        const struct ggf_pack_info *i = ggf_pack_info(pack);
        printf("%" PRIu64 " experts in %" PRIu32 " layers, %s, made with this file\n",
               i->n_records, i->n_layers, out_size(size, i->file_size));
    }
    ggf_pack_close(pack);
    free(path);
}

/* ---- Header ---------------------------------------------------------------- */

static void print_header(const ggf_pack *pack)
{
    const struct ggf_pack_info *i = ggf_pack_info(pack);
    char size[24], least[24], root[65];
    hex_text(root, i->root, 32);
    printf("%-14s%s (%s)\n", "file", i->path, out_size(size, i->file_size));
    printf("%-14sexpert pack version %" PRIu32 ", alignment %" PRIu32 "\n", "format",
           i->version, i->alignment);
    printf("%-14s%s\n", "root hash", root);
    printf("%-14s%" PRIu64 " in %" PRIu32 " layers; the largest is %s\n", "experts",
           i->n_records, i->n_layers, out_size(least, i->max_raw_bytes));
    printf("%-14s%s", "records", out_size(size, i->stored_bytes));
    if (i->n_compressed)
        printf(" stored of %s, %" PRIu64 " compressed (zstd level %" PRId32 ")",
               out_size(least, i->raw_bytes), i->n_compressed, i->zstd_level);
    printf("\n\n");
}

static void json_header(struct json *j, const ggf_pack *pack)
{
    const struct ggf_pack_info *i = ggf_pack_info(pack);
    char root[65];
    hex_text(root, i->root, 32);
    json_u64(j, "bytes", i->file_size);
    json_u64(j, "version", i->version);
    json_u64(j, "alignment", i->alignment);
    json_str(j, "root", root);
    json_u64(j, "layers", i->n_layers);
    json_u64(j, "records", i->n_records);
    json_u64(j, "stored_bytes", i->stored_bytes);
    json_u64(j, "raw_bytes", i->raw_bytes);
    json_u64(j, "compressed_records", i->n_compressed);
}

/* ---- Records --------------------------------------------------------------- */

static const char *const part_names[GGF_PARTS] = { "gate", "up", "down" };

static void record_row(struct table *t, const char *name, const struct ggf_pack_record *r)
{
    char hash[17];
    hex_text(hash, r->sha256, 8);
    table_cell(t, "%s", name);
    for (int p = 0; p < GGF_PARTS; p++) table_cell(t, "%s", ggf_type_name(r->type[p]));
    table_cell(t, "%" PRIu64, r->offset);
    table_cell(t, "%" PRIu64, r->stored_bytes);
    if (r->compressed) table_cell(t, "%" PRIu64, r->raw_bytes);
    else table_cell(t, "%s", "");
    table_cell(t, "%s...", hash);
}

static void json_record(struct json *j, const char *name, uint32_t block,
                        const struct ggf_pack_record *r)
{
    char hash[65];
    hex_text(hash, r->sha256, 32);
    json_open(j, NULL, '{');
    json_str(j, "name", name);
    json_u64(j, "block", block);
    json_u64(j, "expert", r->expert);
    json_u64(j, "offset", r->offset);
    json_u64(j, "stored_bytes", r->stored_bytes);
    json_u64(j, "raw_bytes", r->raw_bytes);
    json_bool(j, "compressed", r->compressed);
    json_str(j, "sha256", hash);
    for (int p = 0; p < GGF_PARTS; p++) {
        json_open(j, part_names[p], '{');
        json_str(j, "type", ggf_type_name(r->type[p]));
        json_u64(j, "offset", r->part_offset[p]);
        json_u64(j, "bytes", r->part_bytes[p]);
        json_close(j, '}');
    }
    json_close(j, '}');
}

static int list_layer(const struct inspect *in, const ggf_pack *pack, uint32_t layer,
                      const struct regex *re, struct table *table, ggf_error *err)
{
    const struct ggf_pack_layer *l = ggf_pack_layer(pack, layer);
    for (uint32_t e = 0; e < l->n_expert; e++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".expert.%" PRIu32, l->block, e);
        const int hit = re ? regex_match(re, name, err) : 1;
        const struct ggf_pack_record *r = ggf_pack_record(pack, layer, e);
        if (hit < 0) return hit;
        if (!hit) continue;
        if (in->json) json_record(in->json, name, l->block, r);
        else record_row(table, name, r);
    }
    return 0;
}

static int list_records(const struct inspect *in, const ggf_pack *pack,
                        const char *pattern, ggf_error *err)
{
    static const char *const heads[] = { "record",  "gate", "up",     "down", ">offset",
                                         ">stored", ">raw", "sha256", NULL };
    struct regex *re = NULL;
    struct table table;
    int s = pattern && *pattern ? regex_new(&re, pattern, err) : 0;
    if (s) return s;
    table_start(&table, heads);
    if (in->json) json_open(in->json, "record_list", '[');
    for (uint32_t l = 0; l < ggf_pack_info(pack)->n_layers && !s; l++)
        s = list_layer(in, pack, l, re, &table, err);
    if (in->json) json_close(in->json, ']');
    if (!table_print(&table, stdout, in->bold) && !s) s = ggf_no_memory(err);
    regex_free(re);
    return s;
}

/* ---- Check ----------------------------------------------------------------- */

struct check {
    const struct inspect *in;
    struct progress progress;
};

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct check *c = user;
    c->progress.total = total;
    progress_update(&c->progress, done, NULL);
}

static void on_damage(void *user, const struct ggf_pack_record *r, const ggf_error *what)
{
    struct check *c = user;
    (void)r;
    progress_end(&c->progress);
    if (c->in->json) json_str(c->in->json, NULL, what->message);
    else printf("%s\n", what->message);
}

static int check_pack(const struct inspect *in, const ggf_pack *pack, ggf_error *err)
{
    struct check c = { .in = in, .progress = { .what = "checking" } };
    const struct ggf_pack_options o = { .progress = on_progress,
                                        .bad = on_damage,
                                        .user = &c };
    uint64_t bad = 0;
    if (in->json) {
        json_open(in->json, "check", '{');
        json_open(in->json, "problems", '[');
    }
    const int s = ggf_pack_verify(pack, NULL, &o, &bad, err);
    progress_end(&c.progress);
    if (in->json) {
        json_close(in->json, ']');
        json_bool(in->json, "good", !s && !bad);
        json_close(in->json, '}');
    } else if (!s) {
        printf("%s: %" PRIu64 " records, ", bad ? "bad" : "good",
               ggf_pack_info(pack)->n_records);
        printf(bad ? "%" PRIu64 " damaged\n" : "no problems\n", bad);
    }
    return s ? s : bad != 0;
}

int inspect_pack(const struct inspect *in, const char *pattern, bool check,
                 ggf_error *err)
{
    ggf_pack *pack;
    int s = ggf_pack_open(&pack, in->path, err);
    if (s) return s;
    if (in->json) json_header(in->json, pack);
    else if (!check && !pattern) print_header(pack);
    if (!check || pattern) s = list_records(in, pack, pattern, err);
    if (!s && check) s = check_pack(in, pack, err);
    ggf_pack_close(pack);
    return s;
}
