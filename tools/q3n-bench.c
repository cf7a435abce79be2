/* q3n-bench - how fast a model reads a prompt and decodes, against what the machine's
 * memory and arithmetic allow.
 *
 * Tokens are drawn at random from the vocabulary; no tokenizer is needed.  Options, names
 * of tests and of fields are llama-bench's, so that rows of both can stand in one table.
 */
#include "../infer/experts/limits.h"
#include "common/bench.h"
#include "common/gpuopt.h"
#include "common/macpeak.h"
#include "common/memopt.h"
#include "common/memread.h"
#include "common/modelopt.h"
#include "common/override.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define NAME "q3n-bench"

enum { MAX_RUNS = 1000, MAX_PARALLEL = 256 };

static struct {
    const char *format;
    struct opt_list prompt, gen, both, depth, parallel, threads, ubatch, type_k, type_v;
    int runs;
    bool ops, no_warmup;
    struct model_options model;
    struct memory_options memory;
    struct override_options override;
    struct gpu_options gpu;
} opt = { .format = "md", .runs = 5, .model = MODEL_DEFAULTS };

static const struct opt options[] = {
    MODEL_OPTIONS(opt.model, "the model"),
    { "-r, --repetitions", "N", OPT_INT, &opt.runs, "runs of each test (5)" },
    { "-o, --output", "FORMAT", OPT_STR, &opt.format, "md, csv, json or jsonl (md)" },
    { "--ops", NULL, OPT_FLAG, &opt.ops, "and what each step of the computation takes" },
    { "--no-warmup", NULL, OPT_FLAG, &opt.no_warmup, "count the first run" },
    { .kind = OPT_HEADING,
      .help = "Tests, each with one value or several: 512,1024 or 1-4 or 128-512*2 or\n"
              "0-96+32, or the option again" },
    { "-p, --n-prompt", "N", OPT_LIST, &opt.prompt,
      "tokens of the prompt, 0: no test (512)" },
    { "-n, --n-gen", "N", OPT_LIST, &opt.gen, "tokens to decode, 0: no test (128)" },
    { "-pg", "PP,TG", OPT_LIST, &opt.both, "a prompt and then decoding, timed as one" },
    { "-d, --n-depth", "N", OPT_LIST, &opt.depth, "tokens before the test starts (0)" },
    { "-npl, --n-parallel", "N", OPT_LIST, &opt.parallel,
      "sequences computed together, each with these tokens (1)" },
    { "-t, --threads", "N", OPT_LIST, &opt.threads, "threads (all the process may use)" },
    { "-ub, --ubatch-size", "N", OPT_LIST, &opt.ubatch, "tokens computed at once (512)" },
    { "-ctk, --cache-type-k", "TYPE", OPT_LIST, &opt.type_k,
      "what keys are stored as: f32, f16, bf16, q8_0, q5_1,\nq5_0, q4_1, q4_0 or iq4_nl "
      "(f16)" },
    { "-ctv, --cache-type-v", "TYPE", OPT_LIST, &opt.type_v, "and values (f16)" },
    MEMORY_OPTIONS(opt.memory),
    OVERRIDE_OPTIONS(opt.override),
    GPU_OPTIONS(opt.gpu),
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf [options]",
    .about =
        "Measures prompt reading (pp) and decoding (tg) with random tokens. Each run\n"
        "starts from the same context; the first, to warm up, is not counted. Shows the\n"
        "mean, the median, and of the median how much of the memory's bandwidth "
        "decoding\n"
        "reaches, and of the processor's 8-bit products a prompt. Of a model that is on "
        "a\n"
        "device as a whole: of the device's memory and 16-bit products.",
    .options = options,
    .max_args = 0,
};

static struct number_list prompts, gens, both, depths, parallels, threads, ubatches,
    types_k, types_v;
static struct q3n_model_options load_options;

/* ==== Options ============================================================= */

static int check_lists(void)
{
    const struct {
        const char *name;
        struct number_list *list;
        const struct opt_list *given;
        int least, otherwise;
    } lists[] = {
        { "-p", &prompts, &opt.prompt, 0, 512 },
        { "-n", &gens, &opt.gen, 0, 128 },
        { "-d", &depths, &opt.depth, 0, 0 },
        { "-npl", &parallels, &opt.parallel, 1, 1 },
        { "-t", &threads, &opt.threads, 1, omp_get_max_threads() },
        { "-ub", &ubatches, &opt.ubatch, 1, 512 },
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (!list_numbers(lists[i].list, lists[i].given, lists[i].least))
            return opt_error(&program,
                             "%s: expected numbers of %d or more, separated by "
                             "commas, at most %d",
                             lists[i].name, lists[i].least, LIST_MAX);
        if (!lists[i].list->n)
            *lists[i].list =
                (struct number_list){ .n = 1, .items = { lists[i].otherwise } };
    }
    for (int i = 0; i < parallels.n; i++)
        if (parallels.items[i] > MAX_PARALLEL)
            return opt_error(&program, "-npl: at most %d", MAX_PARALLEL);
    if (!list_pairs(&both, &opt.both))
        return opt_error(&program, "-pg: expected two numbers, as in 512,128");
    if (!list_types(&types_k, &opt.type_k) || !list_types(&types_v, &opt.type_v))
        return opt_error(&program, "-ctk, -ctv: expected f32, f16, bf16, q8_0, q5_1, "
                                   "q5_0, q4_1, q4_0 or iq4_nl");
    if (!types_k.n) types_k = (struct number_list){ .n = 1, .items = { GGF_F16 } };
    if (!types_v.n) types_v = (struct number_list){ .n = 1, .items = { GGF_F16 } };
    return OPT_GO;
}

static int check_options(void)
{
    static const char *const formats[] = { "md", "csv", "json", "jsonl" };
    bool known = false;
    int r = model_options(&program, &opt.model, &load_options);
    if (r != OPT_GO) return r;
    if (opt.runs < 1 || opt.runs > MAX_RUNS)
        return opt_error(&program, "-r must be 1 to %d", MAX_RUNS);
    for (int i = 0; i < 4; i++) known |= !strcmp(opt.format, formats[i]);
    if (!known)
        return opt_error(&program, "-o %s: expected md, csv, json or jsonl", opt.format);
    r = gpu_options(&program, &opt.gpu, &load_options);
    if (r == OPT_GO) r = check_lists();
    return r == OPT_GO ? memory_options(&program, &opt.memory, &load_options) : r;
}

/* ==== Tests =============================================================== */

static struct bench_report report;

static bool add_test(const struct bench_test *base, int prompt, int gen)
{
    if (!prompt && !gen) return true;
    struct bench_test *tests =
        realloc(report.tests, ((size_t)report.n + 1) * sizeof *tests);
    if (!tests) return false;
    report.tests = tests;
    tests[report.n] = *base;
    tests[report.n].prompt = prompt;
    tests[report.n++].gen = gen;
    return true;
}

/* The tests of one context, in llama-bench's order. */
static bool add_tests(const struct bench_test *base)
{
    bool ok = true;
    for (int i = 0; i < prompts.n && ok; i++) ok = add_test(base, prompts.items[i], 0);
    for (int i = 0; i < gens.n && ok; i++) ok = add_test(base, 0, gens.items[i]);
    for (int i = 0; i < both.n && ok; i++)
        ok = add_test(base, both.items[i], both.seconds[i]);
    return ok;
}

static bool plan(void)
{
    const int contexts =
        threads.n * ubatches.n * types_k.n * types_v.n * depths.n * parallels.n;
    bool ok = true;
    for (int i = 0; i < contexts && ok; i++) {
        struct bench_test base = { .runs = opt.runs };
        int k = i;
        base.parallel = parallels.items[k % parallels.n], k /= parallels.n;
        base.depth = depths.items[k % depths.n], k /= depths.n;
        base.type_v = (uint32_t)types_v.items[k % types_v.n], k /= types_v.n;
        base.type_k = (uint32_t)types_k.items[k % types_k.n], k /= types_k.n;
        base.ubatch = ubatches.items[k % ubatches.n], k /= ubatches.n;
        base.threads = threads.items[k];
        ok = add_tests(&base);
    }
    report.other_ubatch = ubatches.n > 1 || ubatches.items[0] != 512;
    report.other_k = types_k.n > 1 || types_k.items[0] != GGF_F16;
    report.other_v = types_v.n > 1 || types_v.items[0] != GGF_F16;
    report.bounds = calloc(report.n ? (size_t)report.n : 1, sizeof *report.bounds);
    return ok && report.bounds;
}

/* The session that takes most, for what the model may take. */
static struct q3n_session_options largest(const struct bench_test *tests, int n)
{
    struct q3n_session_options o = { .n_logits = 1,
                                     .type_k = GGF_F16,
                                     .type_v = GGF_F16 };
    for (int i = 0; i < n; i++) {
        const struct bench_test *t = &tests[i];
        const uint32_t n_ctx = (uint32_t)(t->depth + t->prompt + t->gen);
        if (n_ctx > o.n_ctx) o.n_ctx = n_ctx;
        if ((uint32_t)t->parallel > o.n_seq) o.n_seq = o.n_logits = (uint32_t)t->parallel;
        if ((uint32_t)t->ubatch > o.n_ubatch) o.n_ubatch = (uint32_t)t->ubatch;
        if (t->type_k == GGF_F32) o.type_k = GGF_F32;
        if (t->type_v == GGF_F32) o.type_v = GGF_F32;
    }
    return o;
}

/* GB/s of memory, of a piece that leaves most of what we may take alone. */
static double memory_speed(int n_threads)
{
    struct memory_limits limits;
    uint64_t most = 1u << 30;
    memory_limits_read(&limits, "");
    const uint64_t may = memory_limits_free(&limits) / 4, ram = opt.memory.ram / 4;
    if (most > may) most = may;
    if (opt.memory.ram && most > ram) most = ram;
    if (most < 1u << 26) most = 1u << 26;
    void *const piece = memread_new((size_t)most);
    const double speed = memread(piece, (size_t)most, n_threads);
    memread_free(piece, (size_t)most);
    return speed;
}

/* If a device may have a part in the model.  Without one opening the model says so, where
 * it matters. */
static void measure_device(void)
{
    ggf_error unused;
    const struct q3n_device_options *d = &load_options.device;
    if (!d->n_gpu_layers && !d->n_places) return;
    if (q3n_device_measure(&report.device, d->main_gpu, &unused))
        report.device = (struct q3n_device_speeds){ 0 };
}

static void print_experts(const struct bench_test *tests, int n)
{
    if (!report.info.bytes_slots && !report.info.device.n_layers) return;
    for (int i = 0; i < n; i++) {
        char name[64];
        bench_name(&tests[i], name);
        fprintf(stderr, "%s\n", name);
        memory_print(stderr, &report.info, &tests[i].experts);
    }
}

/* Tests that have their number of threads in common. */
static int run_tests(struct bench_test *tests, struct bench_bounds *bounds, int n,
                     ggf_error *err)
{
    q3n_model *m;
    /* Before the model is there, which may take all the memory that it may. */
    for (int i = 0; i < n; i++)
        bounds[i] = i ? *bounds
                      : (struct bench_bounds){ memory_speed(tests->threads),
                                               macpeak(tests->threads) };
    load_options.threads = tests->threads;
    load_options.session = largest(tests, n);
    int e = q3n_model_open(&m, opt.model.path, &load_options, err);
    for (int i = 0; i < n && !e; i++) e = bench_run(&tests[i], m, !opt.no_warmup, err);
    if (!e) {
        report.info = *q3n_model_info(m);
        print_experts(tests, n);
    }
    q3n_model_close(m);
    return e;
}

int main(int argc, char **argv)
{
    char **args;
    int n_args, r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r != OPT_GO || (r = check_options()) != OPT_GO) return r;

    out_handle_signals();
    ggf_error err;
    report.model_path = opt.model.path;
    report.format = opt.format;
    report.ops = opt.ops;
    int e = plan() ? 0 : ggf_no_memory(&err);
    if (!e && !report.n) return opt_error(&program, "-p 0 and -n 0 leave nothing to do");
    if (!e) e = override_apply(&opt.override, opt.model.path, &load_options, &err);
    if (!e) measure_device();
    for (int i = 0, n; i < report.n && !e; i += n) {
        for (n = 1; i + n < report.n; n++)
            if (report.tests[i + n].threads != report.tests[i].threads) break;
        e = run_tests(report.tests + i, report.bounds + i, n, &err);
    }
    if (!e) bench_print(&report);
    for (int i = 0; i < report.n; i++) free(report.tests[i].seconds);
    free(report.tests);
    free(report.bounds);
    override_free(&opt.override);
    return out_close_stdout(NAME, e ? out_error(NAME, &err) : 0);
}
