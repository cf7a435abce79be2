/* gguf-inspect - looks into a model: what it is, where its bytes are, whether they are
 * sound, and how it differs from another. */
#include "common/input.h"
#include "common/inspect.h"
#include "common/opt.h"

#include <inttypes.h>

static const char *tensors, *keys, *other;
static bool check, full, as_json;

static const struct opt options[] = {
    { "-t, --tensors", "REGEX", OPT_OPTIONAL, &tensors,
      "list the tensors whose name matches (all without REGEX): shape,\n"
      "type, bytes, offset, and bytes per expert of stacked experts;\n"
      "of a pack, the records blk.N.expert.N" },
    { "-k, --kv", "REGEX", OPT_OPTIONAL, &keys,
      "list the metadata keys that match (all without REGEX)" },
    { "--full", NULL, OPT_FLAG, &full, "do not abbreviate long values" },
    { "--check", NULL, OPT_FLAG, &check,
      "read all data: values that are not numbers, padding, gaps, size" },
    { "-d, --diff", "OTHER", OPT_STR, &other,
      "what differs in OTHER: keys, tensors, data" },
    { "--json", NULL, OPT_FLAG, &as_json, "print one JSON object" },
    { 0 },
};

static const struct opt_program program = {
    "gguf-inspect",
    "[options] MODEL.gguf",
    "Show what is in a GGUF model, a split set (name its first file) or an expert pack.\n"
    "Without options: header, and sizes by role, type and layer.  REGEX is a Perl "
    "regular\n"
    "expression, found anywhere in the name.  Exit status: 0 done (--check: sound, "
    "--diff:\n"
    "equal), 1 failed, 2 wrong usage.",
    options,
    1,
    1,
};

/* How many bytes the tensors need that the files do not have. */
static uint64_t missing_bytes(const ggf_file *f)
{
    uint64_t missing[2] = { 0, 0 }; /* of the shard at hand, of those before */
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        const uint64_t end = t->offset + t->bytes, size = ggf_shard(f, t->shard)->size;
        if (i && t->shard != ggf_tensor(f, i - 1)->shard) {
            missing[1] += missing[0];
            missing[0] = 0;
        }
        if (end > size && end - size > missing[0]) missing[0] = end - size;
    }
    return missing[0] + missing[1];
}

int inspect_open(ggf_file **out, const char *path, bool *cut, ggf_error *err)
{
    struct ggf_open_options o = { .allow_gaps = true };
    *cut = false;
    const int s = ggf_open(out, path, &o, err);
    if (s != GGF_E_FORMAT) return s;
    /* Is it only that the data is not all there? */
    o.header_only = true;
    ggf_error again;
    if (ggf_open(out, path, &o, &again)) return s;
    *cut = true;
    fprintf(stderr, "%s: %s: %" PRIu64 " bytes of data are missing\n", program.name, path,
            missing_bytes(*out));
    return 0;
}

/* The sections that were asked for; a section's failure to be fine (1) is remembered. */
static int print_sections(const struct inspect *in, ggf_error *err)
{
    int s = 0, bad = 0;
    const bool summary = !tensors && !keys && !check && !other;
    if (summary) s = inspect_summary(in, err);
    if (!s && keys) s = inspect_keys(in, keys, err);
    if (!s && tensors) {
        if (keys && !in->json) putchar('\n');
        s = inspect_tensors(in, tensors, err);
    }
    if (!s && check) s = inspect_check(in, err);
    if (s == 1) bad = 1, s = 0;
    if (!s && other) s = inspect_diff(in, other, err);
    return s ? s : bad;
}

static bool is_pack(const char *path) { return input_begins(path, "XPACK"); }

static int run(struct inspect *in, ggf_error *err)
{
    const bool pack = is_pack(in->path);
    int s = pack ? 0 : inspect_open(&in->file, in->path, &in->cut, err);
    if (s) return s;
    if (in->json) {
        json_open(in->json, NULL, '{');
        json_str(in->json, "file", in->path);
    }
    s = pack ? inspect_pack(in, tensors, check, err) : print_sections(in, err);
    if (in->json) {
        json_close(in->json, '}');
        json_end(in->json);
    }
    ggf_close(in->file);
    return s;
}

int main(int argc, char **argv)
{
    char **args;
    int n;
    const int go = opt_parse(&program, argc, argv, &args, &n);
    if (go != OPT_GO) return go;
    if (full && !keys && !other)
        return opt_error(&program, "--full needs --kv or --diff");
    if ((keys || other) && is_pack(args[0]))
        return opt_error(
            &program, "--kv and --diff are about models, %s is an expert pack", args[0]);
    out_handle_signals();
    struct json json = { .f = stdout };
    struct inspect in = { .path = args[0],
                          .full = full,
                          .bold = !as_json && out_colour(stdout),
                          .json = as_json ? &json : NULL };
    ggf_error err;
    int status = run(&in, &err);
    if (status < 0) status = out_error(program.name, &err);
    return out_close_stdout(program.name, status);
}
