/* gguf-quant - quantize a GGUF model, with the command line of llama-quantize. */
#include "common/near.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/shrink.h"
#include "common/target.h"
#include "common/tensor_type.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* The command line. */
struct args {
    bool allow_requantize, keep_output, pure, shrink, keep_split, dry_run, force, json,
        quiet, compat;
    const char *matrix, *rules_file, *output_type, *embedding_type, *prune, *kinds;
    struct target target;
    struct opt_list include, exclude, rules, overrides;
    const char *input;
    char output[PATH_MAX];
    const struct file_type *to; /* NULL: COPY */
    int threads;
};

static struct args a;
static char types_help[4096]; /* filled by list_types() */

static const struct opt options[] = {
    { 0, 0, OPT_HEADING, 0, "Types:" },
    { "--tensor-type", "REGEX=TYPE", OPT_LIST, &a.rules,
      "store tensors whose name matches as TYPE; may be repeated,\nthe first match "
      "counts" },
    { "--tensor-type-file", "FILE", OPT_STR, &a.rules_file,
      "more of the same, separated by blanks or lines" },
    { "--output-tensor-type", "TYPE", OPT_STR, &a.output_type, "for output.weight" },
    { "--token-embedding-type", "TYPE", OPT_STR, &a.embedding_type,
      "for token_embd.weight" },
    { "--pure", 0, OPT_FLAG, &a.pure, "no mixture: the base type for all" },
    { "--leave-output-tensor", 0, OPT_FLAG, &a.keep_output,
      "leave output.weight as it is" },
    { "--allow-requantize", 0, OPT_FLAG, &a.allow_requantize,
      "quantize tensors that are quantized already" },
    { 0, 0, OPT_HEADING, 0, "Types by measured error, for a size given:" },
    { "--target-size", "SIZE", OPT_SIZE, &a.target.size,
      "bytes of the finished file, at most; 12G, 512M, 4096" },
    { "--target-bpw", "N", OPT_FLOAT, &a.target.bpw,
      "bits of tensor data for each weight, at most" },
    { "--types", "k|iq|all", OPT_STR, &a.kinds,
      "choose among linear types, those with codebooks or uneven\nlevels, or all "
      "(default)" },
    { 0, 0, OPT_HEADING, 0, "Importance matrix:" },
    { "--imatrix", "FILE", OPT_STR, &a.matrix, "GGUF or the older .dat" },
    { "--include-weights", "NAME", OPT_LIST, &a.include,
      "use only entries whose name contains NAME; may be repeated" },
    { "--exclude-weights", "NAME", OPT_LIST, &a.exclude,
      "use no entries whose name contains NAME; may be repeated" },
    { "--imatrix-shrink", 0, OPT_FLAG, &a.shrink,
      "experts that saw few tokens: draw their weights to the layer's mean,\nfor down to "
      "what follows from gate and up" },
    { 0, 0, OPT_HEADING, 0, "The file:" },
    { "--override-kv", "KEY=TYPE:VALUE", OPT_LIST, &a.overrides,
      "set a key; TYPE is int, float, bool or str; may be repeated" },
    { "--prune-layers", "N,N,...", OPT_STR, &a.prune, "leave layers out" },
    { "--keep-split", 0, OPT_FLAG, &a.keep_split,
      "one output for each part of a split input" },
    { "-f, --force", 0, OPT_FLAG, &a.force, "replace an existing output" },
    { 0, 0, OPT_HEADING, 0, "Talk:" },
    { "--dry-run", 0, OPT_FLAG, &a.dry_run,
      "print the plan and its sizes, write nothing" },
    { "--json", 0, OPT_FLAG, &a.json, "print the plan as JSON" },
    { "-q, --quiet", 0, OPT_FLAG, &a.quiet, "print nothing but errors" },
    { "--compat", 0, OPT_FLAG, &a.compat,
      "do as llama-quantize also where that is a mistake (see\ndocs/gguf-quant.md)" },
    { 0, 0, OPT_HEADING, 0, types_help },
    { 0, 0, OPT_HEADING, 0, "Other:" },
    { 0 },
};

static const struct opt_program program = {
    .name = "gguf-quant",
    .usage = "[options] IN.gguf [OUT.gguf] TYPE [THREADS]",
    .about =
        "Quantizes a model to a file type such as Q4_K_M (listed below), or\n"
        "rewrites it as it is (COPY).  Without OUT.gguf it writes ggml-model-TYPE.gguf\n"
        "beside the input.  THREADS defaults to the number of processors.\n"
        "With --target-size or --target-bpw TYPE is left out or AUTO.",
    .options = options,
    .min_args = 1,
    .max_args = 4,
};

/* ---- The command line ------------------------------------------------------- */

static int unknown_type(const char *name)
{
    char near[256] = "";
    for (int d = 1; d <= 2 && !*near; d++)
        for (const struct file_type *t = file_types; t->name; t++)
            if (near_distance(name, t->name) <= d && strlen(near) + 20 < sizeof near)
                sprintf(near + strlen(near), "%s %s",
                        *near ? "," : "; near it:", t->name);
    if (*near) return opt_error(&program, "there is no file type '%s'%s", name, near);
    for (const struct file_type *t = file_types;
         t->name && strlen(near) + 20 < sizeof near; t++)
        sprintf(near + strlen(near), " %s", t->name);
    return opt_error(&program, "there is no file type '%s'; known are COPY%s", name,
                     near);
}

/* False if it is no type; *to is NULL for COPY. */
static bool parse_type(const char *word, const struct file_type **to)
{
    *to = file_type_find(word);
    return *to || !strcasecmp(word, "COPY");
}

static bool by_target(void) { return a.target.size || a.target.bpw > 0; }

/* "ggml-model-TYPE.gguf" in the folder of the input. */
static void default_output(void)
{
    const char *type = by_target() ? "AUTO" : a.to ? a.to->name : "COPY";
    const char *slash = strrchr(a.input, '/');
    snprintf(a.output, sizeof a.output, "%.*sggml-model-%s%s",
             slash ? (int)(slash - a.input + 1) : 0, a.input, type,
             a.keep_split ? "" : ".gguf");
}

static int take_output(const char *word)
{
    if (strlen(word) >= sizeof a.output)
        return opt_error(&program, "the output's name is too long");
    strcpy(a.output, word);
    return OPT_GO;
}

static int take_threads(const char *word)
{
    char *end;
    const long v = strtol(word, &end, 10);
    if (*end || v > 4096)
        return opt_error(&program, "'%s' is not a number of threads", word);
    a.threads = v > 0 ? (int)v : 0;
    return OPT_GO;
}

/* IN [OUT] [AUTO] [THREADS], a size being given. */
static int take_target_words(char **words, int n)
{
    const struct file_type *type;
    int at = 1, r = OPT_GO;
    for (int i = 1; i < n && i < 3; i++)
        if (strspn(words[i], "0123456789") != strlen(words[i]) &&
            parse_type(words[i], &type))
            return opt_error(&program,
                             "%s leaves no choice: with a target the type is "
                             "AUTO or left out",
                             words[i]);
    a.to = file_type_by_id(FT_Q8_0); /* what plans are made with until types are chosen */
    default_output();
    if (at < n && strcasecmp(words[at], "AUTO") != 0) r = take_output(words[at++]);
    if (at < n && !strcasecmp(words[at], "AUTO")) at++;
    if (r == OPT_GO && at < n) r = take_threads(words[at++]);
    if (r == OPT_GO && at < n)
        r = opt_error(&program, "unexpected argument '%s'", words[at]);
    return r;
}

/* IN [OUT] TYPE [THREADS] */
static int take_words(char **words, int n)
{
    a.input = words[0];
    if (by_target()) return take_target_words(words, n);
    if (n < 2) return opt_error(&program, "missing argument: the type");
    for (int i = 1; i < n && i < 3; i++)
        if (!strcasecmp(words[i], "AUTO"))
            return opt_error(&program, "AUTO needs --target-size or --target-bpw");
    int type_at = 1;
    if (!parse_type(words[1], &a.to)) {
        if (n < 3) return unknown_type(words[1]);
        type_at = 2;
        if (!parse_type(words[2], &a.to)) return unknown_type(words[2]);
        if (take_output(words[1]) != OPT_GO) return OPT_USAGE;
    } else {
        default_output();
    }
    if (n > type_at + 2)
        return opt_error(&program, "unexpected argument '%s'", words[type_at + 2]);
    return n == type_at + 2 ? take_threads(words[type_at + 1]) : OPT_GO;
}

static int check_target(void)
{
    static const char *const kinds[] = { "all", "k", "iq" }; /* enum budget_kind */
    if (a.target.bpw < 0 || !(a.target.bpw <= 64))
        return opt_error(&program, "--target-bpw is not between 0 and 64");
    if (a.kinds && !by_target())
        return opt_error(&program, "--types needs --target-size or --target-bpw");
    if (!by_target()) return OPT_GO;
    if (a.target.size && a.target.bpw > 0)
        return opt_error(&program, "--target-size and --target-bpw exclude each other");
    if (a.pure) return opt_error(&program, "--pure has no effect with a target");
    if (a.keep_split)
        return opt_error(&program, "a target and --keep-split exclude each other");
    a.pure = true; /* until types are chosen */
    a.target.quiet = a.quiet;
    for (int i = 0; a.kinds && i < 3; i++)
        if (!strcmp(a.kinds, kinds[i])) {
            a.target.kind = (enum budget_kind)i;
            return OPT_GO;
        }
    return a.kinds
               ? opt_error(&program, "--types is '%s', expected k, iq or all", a.kinds)
               : OPT_GO;
}

/* Options that would be ignored are mistakes. */
static int check_combination(void)
{
    const struct {
        bool given;
        const char *name;
    } idle_in_copy[] = {
        { a.matrix, "--imatrix" },
        { a.rules.count || a.rules_file, "--tensor-type" },
        { a.output_type, "--output-tensor-type" },
        { a.embedding_type, "--token-embedding-type" },
        { a.pure, "--pure" },
        { a.keep_output, "--leave-output-tensor" },
        { a.allow_requantize, "--allow-requantize" },
    };
    for (size_t i = 0; !a.to && i < sizeof idle_in_copy / sizeof *idle_in_copy; i++)
        if (idle_in_copy[i].given)
            return opt_error(&program, "%s has no effect with COPY",
                             idle_in_copy[i].name);
    if (a.include.count && a.exclude.count)
        return opt_error(&program,
                         "--include-weights and --exclude-weights exclude each other");
    if ((a.include.count || a.exclude.count) && !a.matrix)
        return opt_error(&program, "%s needs --imatrix",
                         a.include.count ? "--include-weights" : "--exclude-weights");
    if (a.shrink && !a.matrix)
        return opt_error(&program, "--imatrix-shrink needs --imatrix");
    if (a.keep_output && a.output_type)
        return opt_error(
            &program,
            "--leave-output-tensor and --output-tensor-type exclude each other");
    return OPT_GO;
}

static int parse_tensor_type(const char *option, const char *name, int *type)
{
    *type = name ? ggf_type_from_name(name) : MIX_NO_TYPE;
    if (name && *type < 0)
        return opt_error(&program, "%s: there is no tensor type '%s'", option, name);
    return OPT_GO;
}

/* "1,2,5" into numbers; the caller frees them. */
static int parse_prune(struct plan_options *po)
{
    uint32_t *layers = calloc(strlen(a.prune) + 1, sizeof *layers);
    if (!layers) return opt_error(&program, "out of memory");
    po->prune = layers;
    for (const char *p = a.prune; *p;) {
        char *end;
        const unsigned long v = strtoul(p, &end, 10);
        if (end == p || *p == '-' || *p == '+' || v > UINT32_MAX ||
            (*end && *end != ',') || (*end && !end[1]))
            return opt_error(&program, "--prune-layers: '%s' is not a list of layers",
                             a.prune);
        bool again = false;
        for (int i = 0; i < po->n_prune; i++) again |= layers[i] == v;
        if (!again) layers[po->n_prune++] = (uint32_t)v;
        p = *end ? end + 1 : end;
    }
    if (!po->n_prune) return opt_error(&program, "--prune-layers names no layer");
    return OPT_GO;
}

/* The table of file types, for --help. */
static void list_types(void)
{
    size_t n = (size_t)snprintf(types_help, sizeof types_help, "File types:\n");
    for (const struct file_type *t = file_types; t->name && n + 100 < sizeof types_help;
         t++)
        n += (size_t)sprintf(types_help + n, "  %-10s %2u  %s\n", t->name,
                             (unsigned)t->id, t->about);
    sprintf(types_help + n, "  %-10s     %s", "COPY", "every tensor as it is");
}

static int usage_error(const ggf_error *err)
{
    return opt_error(&program, "%s", err->message);
}

static int parse_rules(struct tensor_rules *rules, struct plan_options *po)
{
    ggf_error err;
    rules->lower_case = a.compat;
    for (int i = 0; i < a.rules.count; i++)
        if (tensor_rules_add(rules, a.rules.items[i], &err)) return usage_error(&err);
    if (a.rules_file && tensor_rules_add_file(rules, a.rules_file, &err))
        return err.code == GGF_E_IO ? out_error(program.name, &err) : usage_error(&err);
    if (rules->count) {
        po->forced = tensor_rules_find;
        po->user = rules;
    }
    return OPT_GO;
}

/* The words of the command line as a plan's options. */
static int make_options(struct plan_options *po, struct tensor_rules *rules)
{
    ggf_error err;
    po->mix = (struct mix_options){
        .to = a.to, .pure = a.pure, .keep_output = a.keep_output, .compat = a.compat
    };
    po->allow_requantize = a.allow_requantize;
    po->keep_split = a.keep_split;
    int r =
        parse_tensor_type("--output-tensor-type", a.output_type, &po->mix.output_type);
    if (r == OPT_GO)
        r = parse_tensor_type("--token-embedding-type", a.embedding_type,
                              &po->mix.embedding_type);
    if (r == OPT_GO && a.prune) r = parse_prune(po);
    if (r == OPT_GO) r = parse_rules(rules, po);
    if (r != OPT_GO || !a.overrides.count) return r;
    struct kv_override *list = calloc((size_t)a.overrides.count, sizeof *list);
    if (!list) return opt_error(&program, "out of memory");
    po->overrides = list;
    for (int i = 0; i < a.overrides.count; i++, po->n_overrides++)
        if (kv_override_parse(&list[i], a.overrides.items[i], &err))
            return usage_error(&err);
    return OPT_GO;
}

/* ---- Printing --------------------------------------------------------------- */

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static double bits_per_weight(uint64_t bytes, uint64_t elements)
{
    return elements ? 8 * (double)bytes / (double)elements : 0;
}

/* A line as llama-quantize prints it. */
static void print_item(FILE *f, const struct plan *p, size_t i)
{
    const struct plan_item *item = &p->items[i];
    const struct ggf_tensor *t = item->source;
    fprintf(f,
            "[%4zu/%4zu] %-36s - [%5" PRIu64 ", %5" PRIu64 ", %5" PRIu64 ", %5" PRIu64
            "], type = %6s, ",
            i + 1, p->n_items, item->name, t->ne[0], t->ne[1], t->ne[2], t->ne[3],
            ggf_type_name(t->type));
    if (item->type == t->type) {
        fprintf(f, "size = %8.3f MiB\n", mib(t->bytes));
        return;
    }
    fprintf(f, "converting to %s .. size = %8.2f MiB -> %8.2f MiB%s%s%s\n",
            ggf_type_name(item->type), mib(t->bytes), mib(item->bytes),
            item->refused != item->type ? " (the rows do not fit " : "",
            item->refused != item->type ? ggf_type_name(item->refused) : "",
            item->refused != item->type ? ")" : "");
}

static void print_totals(FILE *f, const struct plan *p)
{
    fprintf(f, "model size  = %8.2f MiB (%.2f BPW)\n", mib(p->source_bytes),
            bits_per_weight(p->source_bytes, p->n_elements));
    fprintf(f, "quant size  = %8.2f MiB (%.2f BPW)\n", mib(p->bytes),
            bits_per_weight(p->bytes, p->n_elements));
}

static void print_notes(const struct plan *p, const struct tensor_rules *rules)
{
    int i = 0;
    for (const char *unused; (unused = tensor_rules_unused(rules, &i));)
        fprintf(stderr, "%s: warning: --tensor-type '%s' decided no tensor\n",
                program.name, unused);
    if (p->n_fallback)
        fprintf(stderr,
                "%s: warning: %zu of %zu tensors have rows that do not fit the type "
                "chosen and "
                "get a larger one\n",
                program.name, p->n_fallback, p->n_items);
    if (p->n_unmatched)
        fprintf(stderr,
                "%s: %zu of the %zu tensors to convert have no entry in the matrix\n",
                program.name, p->n_unmatched, p->n_changed);
}

static void print_json(const struct plan *p, const struct target_result *r)
{
    struct json j = { .f = stdout };
    json_open(&j, NULL, '{');
    json_str(&j, "input", a.input);
    json_str(&j, "output", a.output);
    json_str(&j, "file_type", by_target() ? "AUTO" : a.to ? a.to->name : "COPY");
    json_open(&j, "tensors", '[');
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        json_open(&j, NULL, '{');
        json_str(&j, "name", item->name);
        json_open(&j, "shape", '[');
        for (uint32_t d = 0; d < item->source->n_dims; d++)
            json_u64(&j, NULL, item->source->ne[d]);
        json_close(&j, ']');
        json_str(&j, "from", ggf_type_name(item->source->type));
        json_str(&j, "to", ggf_type_name(item->type));
        json_u64(&j, "bytes_from", item->source->bytes);
        json_u64(&j, "bytes", item->bytes);
        json_bool(&j, "importances", item->weights != NULL);
        if (by_target()) target_json_item(&j, &r->budget.items[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_u64(&j, "elements", p->n_elements);
    json_u64(&j, "bytes_from", p->source_bytes);
    json_u64(&j, "bytes", p->bytes);
    json_f64(&j, "bits_per_weight", bits_per_weight(p->bytes, p->n_elements));
    if (by_target()) target_json_totals(&j, r, &a.target);
    json_close(&j, '}');
    json_end(&j);
}

/* ---- The work ---------------------------------------------------------------- */

struct talk {
    const struct plan *plan;
    struct progress bar;
    bool lines; /* a line for each tensor */
};

static void on_progress(void *user, uint64_t bytes, size_t job)
{
    struct talk *t = user;
    progress_update(&t->bar, bytes, t->plan->items[job].name);
}

static void on_finished(void *user, size_t job)
{
    const struct talk *t = user;
    if (t->lines) print_item(stderr, t->plan, job);
}

static bool same_file(const char *x, const char *y)
{
    struct stat sx, sy;
    return !stat(x, &sx) && !stat(y, &sy) && sx.st_dev == sy.st_dev &&
           sx.st_ino == sy.st_ino;
}

/* Writing over the input, even with --force, would pull the mapping from under us. */
static int check_output(const ggf_file *f, ggf_error *err)
{
    const uint32_t n = ggf_shard_count(f);
    char name[PATH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        if (quantize_output_name(name, sizeof name, a.output, a.keep_split, i, n) < 0)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "the output's name is too long");
        for (uint32_t k = 0; k < n; k++)
            if (same_file(name, ggf_shard(f, k)->path))
                return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                                "input and output are the same file, %s", name);
    }
    return 0;
}

static int open_matrix(imatrix **m, const ggf_file *f, ggf_error *err)
{
    if (!a.matrix) return 0;
    int s = imatrix_open(m, a.matrix, err);
    if (!s && a.shrink) s = shrink_matrix(*m, f, err);
    if (s) return s;
    imatrix_filter(*m, a.include.items, a.include.count, a.exclude.items,
                   a.exclude.count);
    return imatrix_check(*m, err);
}

static struct quantize_options quantize_options(void)
{
    return (struct quantize_options){
        .path = a.output, .force = a.force, .threads = a.threads, .matrix_path = a.matrix
    };
}

static int quantize(const ggf_file *f, const struct plan *p,
                    const struct plan_options *po, ggf_error *err)
{
    const struct quantize_options q = quantize_options();
    struct talk talk = {
        .plan = p,
        .bar = { .what = "quantizing", .total = p->source_bytes, .off = a.quiet },
        .lines = !a.quiet && !isatty(STDERR_FILENO)
    };
    const struct convert_watch watch = { on_progress, on_finished, &talk };
    const double start = out_now();
    const int s = quantize_file(f, p, po, &q, &watch, err);
    progress_end(&talk.bar);
    if (s || a.quiet) return s;
    print_totals(stderr, p);
    const double seconds = out_now() - start;
    fprintf(stderr, "%s: %.2f s, %.1f MiB/s of source\n", a.output, seconds,
            seconds > 0 ? mib(p->source_bytes) / seconds : 0);
    return 0;
}

/* --dry-run */
static void show(const struct plan *p, const struct target_result *r)
{
    if (a.json) {
        print_json(p, r);
        return;
    }
    if (by_target() && !a.quiet) target_print_items(stdout, r, p);
    for (size_t i = 0; i < p->n_items && !a.quiet && !by_target(); i++)
        print_item(stdout, p, i);
    print_totals(stdout, p);
    if (by_target()) target_print_totals(stdout, r, &a.target);
}

/* With the plan made: show it or carry it out. */
static int follow(const ggf_file *f, struct plan *p, const struct plan_options *po,
                  const struct tensor_rules *rules, struct target_result *r,
                  ggf_error *err)
{
    const struct quantize_options q = quantize_options();
    int s = plan_check(p, po, err);
    if (!s && by_target()) s = target_choose(r, &a.target, f, p, po, &q, err);
    if (s && by_target()) return s;
    if (!a.quiet && (!s || a.dry_run)) print_notes(p, rules);
    if (a.dry_run) {
        if (s && !a.quiet)
            fprintf(stderr, "%s: warning: %s\n", program.name, err->message);
        show(p, r);
        return 0;
    }
    if (!s) s = check_output(f, err);
    if (!s) s = quantize(f, p, po, err);
    if (!s && by_target() && !a.quiet) target_print_totals(stderr, r, &a.target);
    if (!s && a.json) print_json(p, r);
    return s;
}

static int run(struct plan_options *po, const struct tensor_rules *rules, ggf_error *err)
{
    const struct ggf_open_options oo = { .header_only = a.dry_run && !by_target(),
                                         .allow_gaps = true };
    ggf_file *f = NULL;
    imatrix *m = NULL;
    struct plan p = { 0 };
    struct target_result r = { 0 };
    int s = ggf_open(&f, a.input, &oo, err);
    if (!s) s = open_matrix(&m, f, err);
    po->matrix = m;
    if (!s) s = plan_make(&p, f, po, err);
    if (!s && *rules->error)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s", rules->error);
    if (!s) s = follow(f, &p, po, rules, &r, err);
    budget_free(&r.budget);
    plan_free(&p);
    imatrix_close(m);
    ggf_close(f);
    return s;
}

int main(int argc, char **argv)
{
    struct plan_options po = { 0 };
    struct tensor_rules rules = { 0 };
    ggf_error err = { 0 };
    char **words;
    int n;
    list_types();
    out_handle_signals();
    int r = opt_parse(&program, argc, argv, &words, &n);
    if (r == OPT_GO) r = take_words(words, n);
    if (r == OPT_GO) r = check_combination();
    if (r == OPT_GO) r = check_target();
    if (r == OPT_GO) r = make_options(&po, &rules);
    if (r == OPT_GO) r = run(&po, &rules, &err) ? out_error(program.name, &err) : 0;
    free((void *)po.prune);
    free((void *)po.overrides);
    free(a.include.items);
    free(a.exclude.items);
    free(a.rules.items);
    free(a.overrides.items);
    tensor_rules_free(&rules);
    return r;
}
