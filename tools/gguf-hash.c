/* gguf-hash - digests of the tensor data of a model, and checking them.
 *
 * The lines are llama-gguf-hash's: per tensor and for all tensors together, over the
 * data alone (no names, types, metadata or padding). */
#include "common/digest.h"
#include "common/manifest.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool want[DIGEST_KINDS], all, no_layer, one_shard, as_json, force;
static const char *check_path, *manifest_path;

static const struct opt options[] = {
    { "--xxh64", NULL, OPT_FLAG, &want[DIGEST_XXH64], "XXH64 (the default)" },
    { "--sha1", NULL, OPT_FLAG, &want[DIGEST_SHA1], "SHA-1" },
    { "--sha256", NULL, OPT_FLAG, &want[DIGEST_SHA256], "SHA-256" },
    { "--uuid", NULL, OPT_FLAG, &want[DIGEST_UUID],
      "a UUID made from the data (version 5), of the model only" },
    { "--all", NULL, OPT_FLAG, &all, "xxh64, sha1 and sha256" },
    { "--no-layer", NULL, OPT_FLAG, &no_layer,
      "the model's digest only, not the tensors'" },
    { "--one-shard", NULL, OPT_FLAG, &one_shard,
      "hash just this file of a split set, as llama-gguf-hash does;\n"
      "otherwise all files of the set count as one model" },
    { "-c, --check", "MANIFEST", OPT_STR, &check_path,
      "compare with these lines; without an algorithm named, by the\n"
      "strongest that is there" },
    { "-o, --manifest", "FILE", OPT_STR, &manifest_path,
      "write the lines to FILE instead of standard output" },
    { "--force", NULL, OPT_FLAG, &force, "let -o replace a file" },
    { "--json", NULL, OPT_FLAG, &as_json, "print one JSON object" },
    { 0 },
};

static const struct opt_program program = {
    "gguf-hash",
    "[options] MODEL.gguf",
    "Print digests of a model's tensor data, for each tensor and for all together.\n"
    "Exit status: 0 done, 1 mismatch or failure, 2 wrong usage.",
    options,
    1,
    1,
};

/* One algorithm's digests of every tensor, or of the model. */
struct lane {
    enum digest_kind kind;
    bool model;
    struct digest *digest;
    char (*text)[DIGEST_TEXT]; /* one per tensor, or one */
};

struct job {
    const char *name; /* the file's, as given */
    ggf_file *file;
    uint64_t n_tensors;
    struct lane lanes[2 * DIGEST_KINDS];
    int n_lanes;
};

static void step(void *user, const struct ggf_tensor *t, uint64_t index, uint64_t offset,
                 size_t len)
{
    struct lane *lane = user;
    digest_update(lane->digest, t->data + offset, len);
    if (!lane->model && offset + len == t->bytes)
        digest_final(lane->digest, lane->text[index]);
}

static bool add_lane(struct job *j, enum digest_kind kind, bool model)
{
    struct lane *lane = &j->lanes[j->n_lanes++];
    *lane = (struct lane){ .kind = kind, .model = model, .digest = digest_new(kind) };
    lane->text = calloc(model ? 1 : j->n_tensors + 1, sizeof *lane->text);
    return lane->digest && lane->text;
}

static void free_job(struct job *j)
{
    for (int i = 0; i < j->n_lanes; i++) {
        digest_free(j->lanes[i].digest);
        free(j->lanes[i].text);
    }
    ggf_close(j->file);
}

static int compute(struct job *j, ggf_error *err)
{
    for (int k = 0; k < DIGEST_KINDS; k++) {
        if (!want[k]) continue;
        const bool layers = !no_layer && k != DIGEST_UUID;
        if (!add_lane(j, k, true) || (layers && !add_lane(j, k, false)))
            return ggf_no_memory(err);
    }
    struct stream_lane lanes[2 * DIGEST_KINDS];
    for (int i = 0; i < j->n_lanes; i++)
        lanes[i] = (struct stream_lane){ step, &j->lanes[i] };
    struct progress progress = { .what = "hashing" };
    const int status = stream_tensors(j->file, lanes, j->n_lanes, &progress, err);
    for (int i = 0; i < j->n_lanes && !status; i++)
        if (j->lanes[i].model) digest_final(j->lanes[i].digest, j->lanes[i].text[0]);
    return status;
}

/* ---- Output ---------------------------------------------------------------- */

/* What --check found so far. */
struct verdict {
    struct manifest manifest;
    uint64_t ok, bad, missing;
};

static const char *judge(struct verdict *v, enum digest_kind kind, const char *tensor,
                         const char *digest)
{
    struct manifest_entry *e = manifest_find(&v->manifest, kind, tensor);
    if (!e) {
        v->missing++;
        return "Not Found";
    }
    e->used = true;
    const bool same = !strcasecmp(e->digest, digest);
    same ? v->ok++ : v->bad++;
    return same ? "Ok" : "Mismatch";
}

static void print_line(FILE *f, const struct job *j, const struct lane *lane,
                       const char *tensor, const char *digest, struct verdict *v)
{
    fprintf(f, "%-8s  %s  %s%s%s", digest_name(lane->kind), digest, j->name,
            *tensor ? ":" : "", tensor);
    if (v) fprintf(f, "  -  %s", judge(v, lane->kind, tensor, digest));
    fputc('\n', f);
}

static void print_lines(FILE *f, const struct job *j, struct verdict *v)
{
    for (uint64_t t = 0; t < j->n_tensors; t++)
        for (int i = 0; i < j->n_lanes; i++)
            if (!j->lanes[i].model)
                print_line(f, j, &j->lanes[i], ggf_tensor(j->file, t)->name,
                           j->lanes[i].text[t], v);
    for (int i = 0; i < j->n_lanes; i++)
        if (j->lanes[i].model) print_line(f, j, &j->lanes[i], "", j->lanes[i].text[0], v);
}

static void json_digests(struct json *js, const struct job *j, bool model, uint64_t index,
                         struct verdict *v)
{
    const char *tensor = model ? "" : ggf_tensor(j->file, index)->name, *worst = "Ok";
    for (int i = 0; i < j->n_lanes; i++) {
        const struct lane *lane = &j->lanes[i];
        if (lane->model != model) continue;
        json_str(js, digest_name(lane->kind), lane->text[index]);
        const char *result = v ? judge(v, lane->kind, tensor, lane->text[index]) : "Ok";
        if (strcmp(result, "Ok") != 0) worst = result;
    }
    if (v) json_str(js, "check", worst);
}

static void print_json(FILE *f, const struct job *j, struct verdict *v)
{
    struct json js = { .f = f };
    json_open(&js, NULL, '{');
    json_str(&js, "file", j->name);
    json_open(&js, "model", '{');
    json_digests(&js, j, true, 0, v);
    json_close(&js, '}');
    json_open(&js, "tensors", '[');
    for (uint64_t t = 0; t < j->n_tensors && !no_layer; t++) {
        json_open(&js, NULL, '{');
        json_str(&js, "name", ggf_tensor(j->file, t)->name);
        json_digests(&js, j, false, t, v);
        json_close(&js, '}');
    }
    json_close(&js, ']');
    json_close(&js, '}');
    json_end(&js);
}

/* The lines, or the JSON, into a file that appears when it is whole. */
static int write_manifest(const struct job *j, ggf_error *err)
{
    char *text = NULL;
    size_t len = 0;
    ggf_output *out;
    int s = ggf_output_create(&out, manifest_path, force, err);
    if (s) return s;
    FILE *f = open_memstream(&text, &len);
    if (f) (as_json ? print_json : print_lines)(f, j, NULL);
    if (!f || fclose(f) != 0) s = ggf_no_memory(err);
    if (!s) s = ggf_output_write(out, 0, text, len, err);
    free(text);
    if (!s) return ggf_output_commit(out, err);
    ggf_output_discard(out);
    return s;
}

/* Lines of the manifest that no tensor of the file answered to. */
static uint64_t count_unused(const struct verdict *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->manifest.count; i++) {
        const struct manifest_entry *e = &v->manifest.entries[i];
        const bool asked = want[e->kind] && !(no_layer && *e->tensor);
        if (!asked || e->used) continue;
        if (n++ == 0)
            fprintf(stderr, "%s: the manifest names '%s', which is not in the file\n",
                    program.name, *e->tensor ? e->tensor : "the model");
    }
    return n;
}

static int report_check(const struct job *j, struct verdict *v)
{
    static const enum digest_kind strength[] = { DIGEST_SHA256, DIGEST_SHA1, DIGEST_XXH64,
                                                 DIGEST_UUID };
    if (as_json) {
        print_json(stdout, j, v);
    } else {
        printf("manifest  %s", check_path);
        for (int i = 0; i < DIGEST_KINDS; i++)
            if (v->manifest.has[strength[i]]) printf("  %s", digest_name(strength[i]));
        putchar('\n');
        print_lines(stdout, j, v);
    }
    const bool fine = count_unused(v) == 0 && !v->bad && !v->missing;
    if (!as_json)
        printf("\nVerification results for %s - %s\n", check_path,
               fine ? "Success" : "Failure");
    if (!fine)
        fprintf(stderr,
                "%s: %" PRIu64 " digests equal, %" PRIu64 " differ, %" PRIu64
                " are not in the manifest\n",
                program.name, v->ok, v->bad, v->missing);
    return fine ? 0 : 1;
}

/* Which algorithms to compute when none was named. */
static void choose(const struct verdict *v)
{
    if (all) want[DIGEST_XXH64] = want[DIGEST_SHA1] = want[DIGEST_SHA256] = true;
    for (int k = 0; k < DIGEST_KINDS; k++)
        if (want[k]) return;
    enum digest_kind best = DIGEST_XXH64;
    if (v && v->manifest.has[DIGEST_SHA256]) best = DIGEST_SHA256;
    else if (v && v->manifest.has[DIGEST_SHA1]) best = DIGEST_SHA1;
    else if (v && !v->manifest.has[DIGEST_XXH64]) best = DIGEST_UUID;
    want[best] = true;
}

static int run(struct job *j, struct verdict *v, ggf_error *err)
{
    int s = 0;
    if (check_path) s = manifest_read(&v->manifest, check_path, j->name, err);
    if (s) return s;
    choose(check_path ? v : NULL);
    const struct ggf_open_options open = { .one_shard = one_shard, .allow_gaps = true };
    s = ggf_open(&j->file, j->name, &open, err);
    if (s) return s;
    j->n_tensors = ggf_tensor_count(j->file);
    for (uint32_t i = 0; i < ggf_shard_count(j->file) && !s; i++)
        s = out_spare(manifest_path, &ggf_shard(j->file, i)->path, 1, err);
    if (s) return s;
    if ((s = compute(j, err))) return s;
    if (check_path) return report_check(j, v);
    if (manifest_path) return write_manifest(j, err);
    (as_json ? print_json : print_lines)(stdout, j, NULL);
    return 0;
}

int main(int argc, char **argv)
{
    char **args;
    int n;
    const int go = opt_parse(&program, argc, argv, &args, &n);
    if (go != OPT_GO) return go;
    if (check_path && manifest_path)
        return opt_error(&program, "--check and --manifest exclude each other");
    if (force && !manifest_path) return opt_error(&program, "--force needs --manifest");
    out_handle_signals();
    static struct job job;
    job.name = args[0];
    struct verdict verdict = { 0 };
    ggf_error err;
    int status = run(&job, &verdict, &err);
    if (status < 0) status = out_error(program.name, &err);
    free_job(&job);
    manifest_free(&verdict.manifest);
    return out_close_stdout(program.name, status);
}
