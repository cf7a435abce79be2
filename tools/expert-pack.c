/* expert-pack - split a mixture-of-experts GGUF into a dense GGUF and an expert pack, and
 * put it together again; look into packs, verify and repair them. */
#include "../infer/now.h"
#include "common/input.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/pack_types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char program_name[] = "expert-pack";

struct settings {
    const char *output, *experts, *repair, *zstd;
    bool unpack, verify, info, json, dry_run;
    struct ggf_pack_options options;
    struct progress progress;
};

/* ---- Small helpers --------------------------------------------------------- */

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct settings *s = user;
    s->progress.total = total;
    progress_update(&s->progress, done, "");
}

static void on_damage(void *user, const struct ggf_pack_record *r, const ggf_error *what)
{
    struct settings *s = user;
    (void)r;
    progress_end(&s->progress);
    printf("%s\n", what->message);
}

static bool ends_in(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* text and end together, malloc'd. */
static char *joined(const char *text, size_t n, const char *end)
{
    char *s = malloc(n + strlen(end) + 1);
    if (!s) abort();
    memcpy(s, text, n);
    strcpy(s + n, end);
    return s;
}

/* "12.00 GiB in 9.1 s (1.32 GiB/s)" on stderr. */
static void say_speed(const char *what, uint64_t bytes, double start)
{
    const double seconds = seconds_now() - start;
    char size[24], rate[24];
    fprintf(stderr, "%s: %s in %.1f s (%s/s)\n", what, out_size(size, bytes), seconds,
            out_size(rate, seconds > 0 ? (uint64_t)((double)bytes / seconds) : 0));
}

/* ---- Opening what the arguments name --------------------------------------- */

/* A dense GGUF and its pack, or the pack alone. */
struct pair {
    ggf_file *dense; /* NULL if the argument was a pack */
    ggf_pack *pack;
};

static void close_pair(struct pair *p)
{
    ggf_pack_close(p->pack);
    ggf_close(p->dense);
}

/* Packs are known by their first bytes, whatever the file is called. */
static bool is_pack(const char *path)
{
    return input_begins(path, "XPACK") || ends_in(path, ".xpack");
}

static int open_pair(struct pair *p, const char *path, const char *experts,
                     ggf_error *err)
{
    char *named = NULL;
    *p = (struct pair){ 0 };
    if (is_pack(path)) return ggf_pack_open(&p->pack, path, err);
    int s = ggf_open(&p->dense, path, NULL, err);
    if (!s && !experts) s = ggf_pack_path(&named, p->dense, err);
    if (!s) s = ggf_pack_open(&p->pack, experts ? experts : named, err);
    if (!s) s = ggf_pack_matches(p->dense, p->pack, err);
    free(named);
    if (s) {
        close_pair(p);
        *p = (struct pair){ 0 };
    }
    return s;
}

/* ---- Packing --------------------------------------------------------------- */

static void print_plan(const struct ggf_pack_plan *plan, const char *dense,
                       const char *pack, bool compressed)
{
    char size[24];
    printf("%s  %s in tensors that are no experts'\n", dense,
           out_size(size, plan->dense_bytes));
    printf("%s  %s%s: %" PRIu64 " experts of %" PRIu32 " layers\n", pack,
           out_size(size, plan->pack_bytes), compressed ? " before compression" : "",
           plan->n_records, plan->n_layers);
}

static int make(struct settings *s, const ggf_file *model, ggf_error *err)
{
    const size_t n = strlen(s->output) - (ends_in(s->output, ".gguf") ? 5 : 0);
    char *dense = joined(s->output, n, ".gguf"), *pack = joined(s->output, n, ".xpack");
    const double start = seconds_now();
    struct ggf_pack_plan plan;
    int e = ggf_pack_plan(&plan, model, err);
    if (e == GGF_E_NOT_FOUND && ggf_find_kv(model, "expert_pack.file"))
        e = ggf_fail(err, e, GGF_NO_OFFSET,
                     "%s is the dense part of a packed model already",
                     ggf_shard(model, 0)->path);
    if (!e && s->dry_run) print_plan(&plan, dense, pack, s->options.zstd_level != 0);
    if (!e && !s->dry_run) {
        e = ggf_pack_make(model, dense, pack, &s->options, err);
        progress_end(&s->progress);
        if (!e) say_speed(pack, plan.expert_bytes + plan.dense_bytes, start);
    }
    free(dense);
    free(pack);
    return e;
}

static int run_make(struct settings *s, const char *path, ggf_error *err)
{
    ggf_file *model;
    const struct ggf_open_options header = { .header_only = s->dry_run };
    int e = ggf_open(&model, path, &header, err);
    if (e) return e;
    s->progress.what = "packing";
    e = make(s, model, err);
    ggf_close(model);
    return e;
}

/* ---- Unpacking ------------------------------------------------------------- */

/* The files that are to be written, printed if `show`, and their bytes. */
static int list_restored(const struct settings *s, const struct pair *p, bool show,
                         uint64_t *total, ggf_error *err)
{
    struct ggf_pack_restored file;
    int e;
    *total = 0;
    for (uint32_t i = 0;
         !(e = ggf_pack_restored(p->dense, p->pack, s->output, i, &file, err)); i++) {
        struct ggf_pack_source source;
        *total += file.size;
        if (show) printf("%s  %" PRIu64 " bytes", file.path, file.size);
        if (show && !ggf_pack_source(p->pack, i, &source, NULL))
            printf(", was %s", source.name);
        if (show) putchar('\n');
        free(file.path);
    }
    return e == GGF_E_NOT_FOUND ? 0 : e;
}

static int unpack(struct settings *s, const struct pair *p, ggf_error *err)
{
    const double start = seconds_now();
    uint64_t total;
    int e = list_restored(s, p, s->dry_run, &total, err);
    if (e || s->dry_run) return e;
    s->progress.what = "unpacking";
    e = ggf_pack_restore(p->dense, p->pack, s->output, &s->options, err);
    progress_end(&s->progress);
    if (!e) say_speed(s->output, total, start);
    return e;
}

static int run_unpack(struct settings *s, const char *path, ggf_error *err)
{
    struct pair p;
    int e = open_pair(&p, path, s->experts, err);
    if (e) return e;
    if (p.dense) e = unpack(s, &p, err);
    else e = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "give the dense GGUF, not the pack");
    close_pair(&p);
    return e;
}

/* ---- Verifying and repairing ----------------------------------------------- */

static int run_verify(struct settings *s, const char *path, ggf_error *err)
{
    struct pair p;
    uint64_t n_bad;
    const double start = seconds_now();
    int e = open_pair(&p, path, s->experts, err);
    if (e) return e;
    s->progress.what = "verifying";
    const struct ggf_pack_info *in = ggf_pack_info(p.pack);
    e = ggf_pack_verify(p.pack, p.dense, &s->options, &n_bad, err);
    progress_end(&s->progress);
    if (!e) {
        printf("%s: %" PRIu64 " records, %" PRIu64 " damages\n", in->path, in->n_records,
               n_bad);
        say_speed(in->path, in->stored_bytes, start);
        if (n_bad)
            e = ggf_fail(err, GGF_E_HASH, GGF_NO_OFFSET, "%s is damaged", in->path);
    }
    close_pair(&p);
    return e;
}

static int run_repair(struct settings *s, const char *path, ggf_error *err)
{
    const bool from_pack = is_pack(s->repair);
    ggf_file *model = NULL;
    ggf_pack *copy = NULL;
    uint64_t n = 0;
    int e = from_pack ? ggf_pack_open(&copy, s->repair, err)
                      : ggf_open(&model, s->repair, NULL, err);
    if (e) return e;
    s->progress.what = "repairing";
    e = from_pack ? ggf_pack_repair_from(path, copy, &s->options, &n, err)
                  : ggf_pack_repair(path, model, &s->options, &n, err);
    progress_end(&s->progress);
    if (!e || n) printf("%s: %" PRIu64 " repaired\n", path, n);
    ggf_pack_close(copy);
    ggf_close(model);
    return e;
}

/* ---- Looking --------------------------------------------------------------- */

static const char *const part_names[GGF_PARTS] = { "gate", "up", "down" };

static void hex(char out[65], const uint8_t hash[GGF_SHA256_BYTES])
{
    for (int i = 0; i < GGF_SHA256_BYTES; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static const char *type_or_mixed(const struct pack_types *t, enum ggf_part part)
{
    const char *only = pack_types_only(t, part);
    return only ? only : "mixed";
}

/* A line for each part whose experts have different types. */
static void print_mixed(const struct pack_types *t)
{
    char text[512];
    for (int k = 0; k < GGF_PARTS; k++) {
        if (pack_types_only(t, (enum ggf_part)k)) continue;
        pack_types_text(text, sizeof text, t, (enum ggf_part)k);
        printf("       %-4s  %s\n", part_names[k], text);
    }
}

static void print_layers(const ggf_pack *pack)
{
    printf("\nblock  experts  n_embd   n_ff  gate     up       down     bytes/expert\n");
    for (uint32_t i = 0; i < ggf_pack_info(pack)->n_layers; i++) {
        const struct ggf_pack_layer *l = ggf_pack_layer(pack, i);
        struct pack_types t;
        pack_types_of(&t, pack, i);
        printf("%5" PRIu32 "  %7" PRIu32 "  %6" PRIu64 " %6" PRIu64, l->block,
               l->n_expert, l->n_embd, l->n_ff);
        for (int k = 0; k < GGF_PARTS; k++)
            printf("%s%-8s", k ? " " : "  ", type_or_mixed(&t, (enum ggf_part)k));
        printf(" %" PRIu64, t.least_bytes);
        if (t.most_bytes != t.least_bytes) printf(" to %" PRIu64, t.most_bytes);
        printf("%s\n", l->fused ? "  (fused source)" : "");
        print_mixed(&t);
    }
}

static void print_info(const ggf_pack *pack)
{
    const struct ggf_pack_info *in = ggf_pack_info(pack);
    struct ggf_pack_source source;
    char size[24], root[65];
    hex(root, in->root);
    printf("file        %s\n", in->path);
    printf("version     %" PRIu32 "\n", in->version);
    printf("size        %s (%" PRIu64 " bytes)\n", out_size(size, in->file_size),
           in->file_size);
    printf("experts     %" PRIu64 " in %" PRIu32 " layers\n", in->n_records,
           in->n_layers);
    printf("records     %s", out_size(size, in->raw_bytes));
    if (in->n_compressed)
        printf(", %" PRIu64 " compressed to %s (zstd level %" PRId32 ")",
               in->n_compressed, out_size(size, in->stored_bytes), in->zstd_level);
    printf("\nroot        %s\n", root);
    for (uint32_t i = 0; !ggf_pack_source(pack, i, &source, NULL); i++)
        printf("source      %s, %" PRIu64 " bytes\n", source.name, source.size);
    print_layers(pack);
}

static void json_layers(struct json *j, const ggf_pack *pack)
{
    json_open(j, "layers", '[');
    for (uint32_t i = 0; i < ggf_pack_info(pack)->n_layers; i++) {
        const struct ggf_pack_layer *l = ggf_pack_layer(pack, i);
        struct pack_types t;
        pack_types_of(&t, pack, i);
        json_open(j, NULL, '{');
        json_u64(j, "block", l->block);
        json_u64(j, "experts", l->n_expert);
        json_u64(j, "n_embd", l->n_embd);
        json_u64(j, "n_ff", l->n_ff);
        for (int k = 0; k < GGF_PARTS; k++)
            json_str(j, part_names[k], type_or_mixed(&t, (enum ggf_part)k));
        json_open(j, "types", '{');
        for (int k = 0; k < GGF_PARTS; k++)
            pack_types_json(j, part_names[k], &t, (enum ggf_part)k);
        json_close(j, '}');
        json_u64(j, "bytes_per_expert", t.most_bytes);
        json_bool(j, "fused", l->fused);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_info(const ggf_pack *pack)
{
    const struct ggf_pack_info *in = ggf_pack_info(pack);
    struct json j = { .f = stdout };
    struct ggf_pack_source source;
    char root[65];
    hex(root, in->root);
    json_open(&j, NULL, '{');
    json_str(&j, "file", in->path);
    json_u64(&j, "version", in->version);
    json_u64(&j, "size", in->file_size);
    json_u64(&j, "records", in->n_records);
    json_u64(&j, "raw_bytes", in->raw_bytes);
    json_u64(&j, "stored_bytes", in->stored_bytes);
    json_u64(&j, "compressed", in->n_compressed);
    json_i64(&j, "zstd_level", in->zstd_level);
    json_str(&j, "root", root);
    json_open(&j, "sources", '[');
    for (uint32_t i = 0; !ggf_pack_source(pack, i, &source, NULL); i++) {
        json_open(&j, NULL, '{');
        json_str(&j, "name", source.name);
        json_u64(&j, "size", source.size);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_layers(&j, pack);
    json_close(&j, '}');
    json_end(&j);
}

static int run_info(const struct settings *s, const char *path, ggf_error *err)
{
    struct pair p;
    const int e = open_pair(&p, path, s->experts, err);
    if (e) return e;
    if (s->json) json_info(p.pack);
    else print_info(p.pack);
    close_pair(&p);
    return 0;
}

/* ---- Options --------------------------------------------------------------- */

/* A combination that makes no sense; NULL if all is well. */
static const char *fault(const struct settings *s)
{
    const int modes = s->unpack + s->verify + s->info + (s->repair != NULL);
    const bool making = modes == 0, writing = making || s->unpack;
    if (modes > 1) return "--unpack, --verify, --info and --repair exclude each other";
    if (writing && !s->output) return "-o is missing";
    if (!writing && s->output) return "-o has no effect here";
    if (!writing && s->options.force) return "--force has no effect here";
    if (!writing && s->dry_run) return "--dry-run has no effect here";
    if (!making && s->zstd) return "--zstd has no effect here";
    if (s->json && !s->info) return "--json has no effect here";
    if (s->experts && (making || s->repair)) return "--experts has no effect here";
    return NULL;
}

static bool zstd_level(const char *text, int *level)
{
    char *end;
    const long v = *text ? strtol(text, &end, 10) : 3;
    if (*text && (*end || v < 1 || v > 22)) return false;
    *level = (int)v;
    return true;
}

static int run(struct settings *s, const char *path)
{
    ggf_error err = { 0 };
    int e;
    if (s->unpack) e = run_unpack(s, path, &err);
    else if (s->verify) e = run_verify(s, path, &err);
    else if (s->info) e = run_info(s, path, &err);
    else if (s->repair) e = run_repair(s, path, &err);
    else e = run_make(s, path, &err);
    progress_end(&s->progress);
    return e ? out_error(program_name, &err) : 0;
}

int main(int argc, char **argv)
{
    struct settings s = { 0 };
    const struct opt options[] = {
        { "-o, --output", "OUT", OPT_STR, &s.output,
          "write OUT.gguf and OUT.xpack; with --unpack the file\nto restore" },
        { "--zstd", "[=LEVEL]", OPT_ATTACHED, &s.zstd,
          "compress the experts, level 1 to 22 (3)" },
        { "--unpack", NULL, OPT_FLAG, &s.unpack,
          "DENSE.gguf: restore the model that was packed" },
        { "--verify", NULL, OPT_FLAG, &s.verify,
          "PACK.xpack or DENSE.gguf: check every byte against\nits hash, list what is "
          "damaged" },
        { "--repair", "FILE", OPT_STR, &s.repair,
          "PACK.xpack: rewrite damaged records from the model it\nwas made of, or from a "
          "copy "
          "of the pack" },
        { "--info", NULL, OPT_FLAG, &s.info,
          "PACK.xpack or DENSE.gguf: say what is in it" },
        { "--json", NULL, OPT_FLAG, &s.json, "--info as JSON" },
        { "--experts", "PACK.xpack", OPT_STR, &s.experts,
          "the pack of DENSE.gguf, if it is not beside it" },
        { "-t, --threads", "N", OPT_INT, &s.options.threads, "0: all (0)" },
        { "--force", NULL, OPT_FLAG, &s.options.force, "replace existing files" },
        { "--dry-run", NULL, OPT_FLAG, &s.dry_run, "say what would be written" },
        { 0 }
    };
    const struct opt_program program = {
        program_name,
        "[options] MODEL.gguf -o OUT",
        "Split a mixture-of-experts model into a dense GGUF and a pack of experts, or\n"
        "restore, look into, verify and repair such a pair.",
        options,
        1,
        1
    };
    char **args;
    int n_args;
    const int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r != OPT_GO) return r;
    if (fault(&s)) return opt_error(&program, "%s", fault(&s));
    if (s.options.threads < 0) return opt_error(&program, "--threads is negative");
    if (s.zstd && !zstd_level(s.zstd, &s.options.zstd_level))
        return opt_error(&program, "--zstd=%s is not a level from 1 to 22", s.zstd);
    s.options.progress = on_progress;
    s.options.bad = on_damage;
    s.options.user = &s;
    out_handle_signals();
    out_allow_many_files(); /* of a split source */
    return out_close_stdout(program_name, run(&s, args[0]));
}
