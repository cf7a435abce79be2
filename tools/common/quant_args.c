/* quant_args.c - see quant_args.h.  What becomes of the options is in quant_options.c. */
#include "quant_args.h"

#include "command.h"

#include "../../quant/refine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static struct quant_args a = { .target.probe.n_windows = PROBE_WINDOWS };
static char types_help[6144];

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
    { "--plan-in", "FILE", OPT_STR, &a.plan_in,
      "types from a plan file, or those of a GGUF; TYPE is for tensors\nthat it leaves "
      "out" },
    { "--plan-out", "FILE", OPT_STR, &a.plan_out,
      "write the types decided on as a plan file, also with --dry-run" },
    { 0, 0, OPT_HEADING, 0, "Types by measured error, for a size given:" },
    { "--target-size", "SIZE", OPT_SIZE, &a.target.size,
      "bytes of the finished file, at most; 12G, 512M, 4096" },
    { "--target-bpw", "N", OPT_FLOAT, &a.target.bpw,
      "bits of tensor data for each weight, at most" },
    { "--types", "k|iq|all", OPT_STR, &a.kinds,
      "choose among linear types, those with codebooks or uneven\nlevels, or all "
      "(default)" },
    { "--sens", "FILE", OPT_STR, &a.sens,
      "how much tensors matter: lines REGEX,DENSITY, or a table of\nmeasured divergences "
      "(docs/gguf-quant.md)" },
    { "--probe", "TEXT", OPT_STR, &a.target.probe.text,
      "run the model on some of this text with tensors in coarse types:\nwhat errors "
      "mean "
      "to it, instead of what is published of others" },
    { "--probe-chunks", "N", OPT_INT, &a.target.probe.n_windows,
      "windows of 512 tokens of that text (16)" },
    { "--probe-out", "FILE", OPT_STR, &a.target.probe.out,
      "keep what was found, also with --dry-run" },
    { "--probe-in", "FILE", OPT_STR, &a.target.probe.in,
      "use that, for another plan of the same model and matrix" },
    { "--expert-pack", "OUT", OPT_STR, &a.pack,
      "write OUT.gguf and OUT.xpack; each expert gets types of its own,\nthe size is "
      "that "
      "of both files" },
    { 0, 0, OPT_HEADING, 0, "Importance matrix:" },
    { "--imatrix", "FILE", OPT_STR, &a.matrix, "GGUF or the older .dat" },
    { "--include-weights", "NAME", OPT_LIST, &a.include,
      "use only entries whose name contains NAME; may be repeated" },
    { "--exclude-weights", "NAME", OPT_LIST, &a.exclude,
      "use no entries whose name contains NAME; may be repeated" },
    { "--imatrix-shrink", 0, OPT_FLAG, &a.shrink,
      "experts that saw few tokens: draw their weights to the layer's mean,\nfor down to "
      "what follows from gate and up" },
    { 0, 0, OPT_HEADING, 0, "Codes:" },
    { "--refine", "0|1|2", OPT_INT, &a.refine,
      "Q2_K to Q6_K and IQ4_XS: look for better scales around those found,\none step "
      "(1) or four (2) away (0)" },
    { 0, 0, OPT_HEADING, 0, "The file:" },
    { "--override-kv", "KEY=TYPE:VALUE", OPT_LIST, &a.overrides,
      "set a key; TYPE is int, float, bool or str; may be repeated" },
    { "--prune-layers", "N,N,...", OPT_STR, &a.prune, "leave layers out" },
    { "--keep-split", 0, OPT_FLAG, &a.keep_split,
      "one output for each part of a split input" },
    { "--model-card", "FILE", OPT_STR, &a.card,
      "write a page about the output, as Hugging Face's README.md;\nalso with "
      "--dry-run" },
    { "-f, --force", 0, OPT_FLAG, &a.force, "replace an existing output" },
    { 0, 0, OPT_HEADING, 0, "Instead of quantizing:" },
    { "--compare-tensor", "NAME", OPT_STR, &a.compare,
      "quantize one tensor of IN.gguf to the type that it has in OUT.gguf,\nwhich "
      "exists, "
      "and compare: bytes, errors of both" },
    { 0, 0, OPT_HEADING, 0, "Talk:" },
    { "--dry-run", 0, OPT_FLAG, &a.dry_run,
      "print the plan and its sizes, do not write the output" },
    { "--json", 0, OPT_FLAG, &a.json, "print the plan as JSON" },
    { "-q, --quiet", 0, OPT_FLAG, &a.quiet, "print nothing but errors" },
    { "--compat", 0, OPT_FLAG, &a.compat,
      "do as llama-quantize also where that is a mistake (see\ndocs/gguf-quant.md)" },
    { 0, 0, OPT_HEADING, 0, types_help },
    { 0, 0, OPT_HEADING, 0, "Other:" },
    { 0 },
};

const struct opt_program quant_program = {
    .name = "gguf-quant",
    .usage = "[options] IN.gguf [OUT.gguf] TYPE [THREADS]",
    .about =
        "Quantizes a model to a file type such as Q4_K_M (listed below), or\n"
        "rewrites it as it is (COPY).  Without OUT.gguf it writes ggml-model-TYPE.gguf\n"
        "beside the input.  THREADS defaults to the number of processors.\n"
        "With --target-size or --target-bpw TYPE is left out or AUTO; with --plan-in it\n"
        "may be left out.  With --expert-pack there is no OUT.gguf beside its OUT.",
    .options = options,
    .min_args = 1,
    .max_args = 4,
};

bool quant_by_target(const struct quant_args *args)
{
    return args->target.size || args->target.bpw > 0;
}

bool quant_is_priced(const struct quant_args *args)
{
    return quant_by_target(args) || args->target.probe.text || args->target.probe.in;
}

const char *quant_args_type(const struct quant_args *args)
{
    if (quant_by_target(args)) return "AUTO";
    return args->plan_only ? "PLAN" : quant_type_name(&args->type);
}

static int unknown_type(const char *name)
{
    char known[1024];
    quant_type_suggest(known, sizeof known, name);
    return opt_error(&quant_program, "there is no file type '%s'; %s", name, known);
}

/* "ggml-model-TYPE.gguf" in the folder of the input. */
static void default_output(void)
{
    const char *slash = strrchr(a.input, '/');
    snprintf(a.output, sizeof a.output, "%.*sggml-model-%s%s",
             slash ? (int)(slash - a.input + 1) : 0, a.input, quant_args_type(&a),
             a.keep_split ? "" : ".gguf");
}

static int take_output(const char *word)
{
    if (strlen(word) >= sizeof a.output)
        return opt_error(&quant_program, "the output's name is too long");
    strcpy(a.output, word);
    return OPT_GO;
}

static int take_threads(const char *word)
{
    enum { MAX_THREADS = 4096 };
    char *end;
    const long v = strtol(word, &end, 10);
    if (*end || v > MAX_THREADS)
        return opt_error(&quant_program, "'%s' is not a number of threads, at most %d",
                         word, MAX_THREADS);
    a.threads = v > 0 ? (int)v : 0;
    return OPT_GO;
}

static bool is_number(const char *word)
{
    return strspn(word, "0123456789") == strlen(word);
}

/* The two files that --expert-pack names. */
static int take_pack(void)
{
    size_t n = strlen(a.pack);
    if (n > 5 && !strcmp(a.pack + n - 5, ".gguf")) n -= 5;
    if (n + 7 > sizeof a.output)
        return opt_error(&quant_program, "the output's name is too long");
    snprintf(a.output, sizeof a.output, "%.*s.gguf", (int)n, a.pack);
    snprintf(a.pack_path, sizeof a.pack_path, "%.*s.xpack", (int)n, a.pack);
    return OPT_GO;
}

/* IN [OUT] [AUTO] [THREADS], a size being given. */
static int take_target_words(char **words, int n)
{
    struct quant_type type;
    int at = 1, r = OPT_GO;
    for (int i = 1; i < n && i < 3; i++)
        if (!is_number(words[i]) && quant_type_parse(&type, words[i]))
            return opt_error(&quant_program,
                             "%s leaves no choice: with a target the type is "
                             "AUTO or left out",
                             words[i]);
    a.type.to =
        file_type_by_id(FT_Q8_0); /* what plans are made with until types are chosen */
    default_output();
    if (a.pack) r = take_pack();
    else if (at < n && strcasecmp(words[at], "AUTO") != 0) r = take_output(words[at++]);
    if (at < n && !strcasecmp(words[at], "AUTO")) at++;
    if (r == OPT_GO && at < n) r = take_threads(words[at++]);
    if (r == OPT_GO && at < n)
        r = opt_error(&quant_program, "unexpected argument '%s'", words[at]);
    return r;
}

/* IN [OUT] [TYPE] [THREADS], types being given by a plan.  A number is one of threads. */
static int take_plan_words(char **words, int n)
{
    struct quant_type type;
    int at = 1, r = OPT_GO;
    const bool named =
        at < n && !is_number(words[at]) && !quant_type_parse(&type, words[at]);
    if (named) r = take_output(words[at++]);
    if (at < n && !is_number(words[at])) {
        if (!quant_type_parse(&a.type, words[at])) return unknown_type(words[at]);
        at++;
    } else {
        a.plan_only = a.pure = true;
        a.type.to = file_type_by_id(FT_Q8_0); /* of no tensor */
    }
    if (!named) default_output();
    if (r == OPT_GO && at < n) r = take_threads(words[at++]);
    if (r == OPT_GO && at < n)
        r = opt_error(&quant_program, "unexpected argument '%s'", words[at]);
    return r;
}

/* SOURCE EXISTING [THREADS] */
static int take_check_words(char **words, int n)
{
    const struct {
        bool given;
        const char *name;
    } idle[] = {
        { quant_by_target(&a), "a target" },
        { a.sens, "--sens" },
        { a.target.probe.text, "--probe" },
        { a.plan_in, "--plan-in" },
        { a.plan_out, "--plan-out" },
        { a.card, "--model-card" },
        { a.pack, "--expert-pack" },
        { a.rules.count || a.rules_file, "--tensor-type" },
        { a.output_type, "--output-tensor-type" },
        { a.embedding_type, "--token-embedding-type" },
        { a.pure, "--pure" },
        { a.keep_output, "--leave-output-tensor" },
        { a.keep_split, "--keep-split" },
        { a.overrides.count, "--override-kv" },
        { a.prune, "--prune-layers" },
        { a.allow_requantize, "--allow-requantize" },
        { a.force, "--force" },
        { a.dry_run, "--dry-run" },
        { a.quiet, "--quiet" },
    };
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        if (idle[i].given)
            return opt_error(&quant_program, "%s has no effect with --compare-tensor",
                             idle[i].name);
    if (n < 2) return opt_error(&quant_program, "missing argument: the file to compare");
    if (n > 3) return opt_error(&quant_program, "unexpected argument '%s'", words[3]);
    a.type.to = file_type_by_id(FT_Q8_0); /* not COPY */
    const int r = take_output(words[1]);
    return r == OPT_GO && n == 3 ? take_threads(words[2]) : r;
}

/* IN [OUT] TYPE [THREADS] */
static int take_words(char **words, int n)
{
    a.input = words[0];
    if (a.compare) return take_check_words(words, n);
    if (quant_by_target(&a)) return take_target_words(words, n);
    if (a.plan_in) return take_plan_words(words, n);
    if (n < 2) return opt_error(&quant_program, "missing argument: the type");
    for (int i = 1; i < n && i < 3; i++)
        if (!strcasecmp(words[i], "AUTO"))
            return opt_error(&quant_program, "AUTO needs --target-size or --target-bpw");
    int type_at = 1;
    if (!quant_type_parse(&a.type, words[1])) {
        if (n < 3) return unknown_type(words[1]);
        type_at = 2;
        if (!quant_type_parse(&a.type, words[2])) return unknown_type(words[2]);
        if (take_output(words[1]) != OPT_GO) return OPT_USAGE;
    } else {
        default_output();
    }
    if (n > type_at + 2)
        return opt_error(&quant_program, "unexpected argument '%s'", words[type_at + 2]);
    return n == type_at + 2 ? take_threads(words[type_at + 1]) : OPT_GO;
}

static int check_target(void)
{
    static const char *const kinds[] = { "all", "k", "iq" }; /* enum budget_kind */
    if (a.target.bpw < 0 || !(a.target.bpw <= 64))
        return opt_error(&quant_program, "--target-bpw is not between 0 and 64");
    if (a.kinds && !quant_by_target(&a))
        return opt_error(&quant_program, "--types needs --target-size or --target-bpw");
    if (a.sens && !quant_by_target(&a))
        return opt_error(&quant_program, "--sens needs --target-size or --target-bpw");
    if (!quant_by_target(&a)) return OPT_GO;
    if (a.target.size && a.target.bpw > 0)
        return opt_error(&quant_program,
                         "--target-size and --target-bpw exclude each other");
    if (a.pure) return opt_error(&quant_program, "--pure has no effect with a target");
    if (a.keep_split)
        return opt_error(&quant_program, "a target and --keep-split exclude each other");
    a.pure = true; /* until types are chosen */
    a.target.compare = a.dry_run;
    for (int i = 0; a.kinds && i < 3; i++)
        if (!strcmp(a.kinds, kinds[i])) {
            a.target.kind = (enum budget_kind)i;
            return OPT_GO;
        }
    return a.kinds ? opt_error(&quant_program, "--types is '%s', expected k, iq or all",
                               a.kinds)
                   : OPT_GO;
}

static int check_pack(void)
{
    if (!a.pack) return OPT_GO;
    if (!quant_by_target(&a))
        return opt_error(&quant_program,
                         "--expert-pack needs --target-size or --target-bpw");
    if (!a.matrix) return opt_error(&quant_program, "--expert-pack needs --imatrix");
    if (a.prune || a.plan_out || a.compat)
        return opt_error(&quant_program, "--expert-pack and %s exclude each other",
                         a.prune      ? "--prune-layers"
                         : a.plan_out ? "--plan-out"
                                      : "--compat");
    return OPT_GO;
}

static int check_probe(void)
{
    struct probe *p = &a.target.probe;
    const char *clash = a.keep_split ? "--keep-split"
                        : a.prune    ? "--prune-layers"
                        : a.pack     ? "--expert-pack"
                        : a.sens     ? "--sens"
                                     : NULL;
    if (!p->text && p->n_windows != PROBE_WINDOWS)
        return opt_error(&quant_program, "--probe-chunks needs --probe");
    if (p->n_windows < 2)
        return opt_error(&quant_program, "--probe-chunks must be 2 or more");
    if (p->text && p->in)
        return opt_error(&quant_program, "--probe and --probe-in exclude each other");
    if (p->out && !p->text) return opt_error(&quant_program, "--probe-out needs --probe");
    if ((p->text || p->in) && clash)
        return opt_error(&quant_program, "--probe and %s exclude each other", clash);
    p->model = a.input;
    p->quiet = a.target.quiet = a.quiet;
    p->force = a.force;
    return OPT_GO;
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
        { a.plan_in, "--plan-in" },
        { a.plan_out, "--plan-out" },
        { a.card, "--model-card" },
        { a.target.probe.text, "--probe" },
        { a.refine, "--refine" },
        { a.target.probe.in, "--probe-in" },
    };
    for (size_t i = 0; !a.type.to && i < sizeof idle_in_copy / sizeof *idle_in_copy; i++)
        if (idle_in_copy[i].given)
            return opt_error(&quant_program, "%s has no effect with COPY",
                             idle_in_copy[i].name);
    if (a.include.count && a.exclude.count)
        return opt_error(&quant_program,
                         "--include-weights and --exclude-weights exclude each other");
    if ((a.include.count || a.exclude.count) && !a.matrix)
        return opt_error(&quant_program, "%s needs --imatrix",
                         a.include.count ? "--include-weights" : "--exclude-weights");
    if (a.shrink && !a.matrix)
        return opt_error(&quant_program, "--imatrix-shrink needs --imatrix");
    if (a.pure && a.type.preset)
        return opt_error(&quant_program, "--pure has no effect with %s",
                         a.type.preset->name);
    if (a.plan_in && quant_by_target(&a))
        return opt_error(&quant_program, "--plan-in and a target exclude each other");
    if (a.plan_out && !strcmp(a.plan_out, a.output))
        return opt_error(&quant_program, "--plan-out is the output, %s", a.output);
    if (a.card && (a.pack || a.keep_split))
        return opt_error(&quant_program, "--model-card and %s exclude each other",
                         a.pack ? "--expert-pack" : "--keep-split");
    if (a.card && !strcmp(a.card, a.output))
        return opt_error(&quant_program, "--model-card is the output, %s", a.output);
    if (a.refine < 0 || a.refine > REFINE_MOST)
        return opt_error(&quant_program, "--refine must be 0, 1 or 2");
    if (a.refine && a.compat)
        return opt_error(&quant_program, "--refine and --compat exclude each other");
    if (a.keep_output && a.output_type)
        return opt_error(
            &quant_program,
            "--leave-output-tensor and --output-tensor-type exclude each other");
    return OPT_GO;
}

int quant_args_parse(const struct quant_args **args, int argc, char **argv)
{
    char **words;
    int n;
    quant_type_list(types_help, sizeof types_help);
    a.command = command_text(quant_program.name, argc, argv, "--dry-run");
    if (!a.command) return opt_error(&quant_program, "out of memory");
    int r = opt_parse(&quant_program, argc, argv, &words, &n);
    if (r == OPT_GO) r = take_words(words, n);
    if (r == OPT_GO) r = check_combination();
    if (r == OPT_GO) r = check_pack();
    if (r == OPT_GO) r = check_probe();
    if (r == OPT_GO) r = check_target();
    *args = &a;
    return r;
}

void quant_args_free(void)
{
    free(a.include.items);
    free(a.exclude.items);
    free(a.rules.items);
    free(a.overrides.items);
    free(a.command);
    a = (struct quant_args){ 0 };
}
