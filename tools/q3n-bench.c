/* q3n-bench - how fast a model reads a prompt and decodes, against what memory delivers.
 *
 * Tokens are drawn at random from the vocabulary; no tokenizer is needed.  Names of tests
 * and JSON fields are llama-bench's, so that rows of both can stand in one table. */
#include "../infer/engine.h"
#include "../infer/experts/limits.h"
#include "../quant/cpu.h"
#include "common/memopt.h"
#include "common/memread.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/runstats.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define NAME "q3n-bench"

enum { MAX_RUNS = 1000 };

static const char *model_path, *experts, *format = "md";
static struct memory_options memory_opt;
static struct q3n_model_options model_options;
static int n_prompt = 512, n_gen = 128, runs = 5, threads, ubatch;

static const struct opt options[] = {
    { "-m, --model", "FILE", OPT_STR, &model_path, "model to measure" },
    { "--experts", "FILE", OPT_STR, &experts, "its expert pack, if not where it says" },
    { "-p, --n-prompt", "N", OPT_INT, &n_prompt,
      "tokens of the prompt, 0: no test (512)" },
    { "-n, --n-gen", "N", OPT_INT, &n_gen, "tokens to decode, 0: no test (128)" },
    { "-r, --repetitions", "N", OPT_INT, &runs, "runs of each test (5)" },
    { "-t, --threads", "N", OPT_INT, &threads, "threads (all the process may use)" },
    { "-ub, --ubatch-size", "N", OPT_INT, &ubatch, "tokens computed at once (512)" },
    { "-o, --output", "FORMAT", OPT_STR, &format, "md, csv, json or jsonl (md)" },
    MEMORY_OPTIONS(memory_opt),
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf [options]",
    .about =
        "Measures prompt reading (pp) and decoding (tg) with random tokens. Each run\n"
        "starts from an empty context; the first, to warm up, is not counted. Shows\n"
        "the median, and how much of the memory's bandwidth decoding reaches.",
    .options = options,
    .max_args = 0,
};

struct test {
    char name[32];
    int prompt, gen;
    double seconds[MAX_RUNS]; /* sorted */
    double median;
    struct q3n_expert_stats experts; /* of the timed runs */
};

static int tokens_of(const struct test *t) { return t->prompt + t->gen; }

static void draw(int32_t *tokens, int n, uint32_t n_vocab)
{
    static uint64_t state = 1;
    for (int i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        tokens[i] = (int32_t)((state >> 33) % n_vocab);
    }
}

/* One timed run: the whole prompt at once, or one token after the other. */
static int run(q3n_session *s, const struct test *t, const int32_t *tokens, float *logits,
               double *seconds, ggf_error *err)
{
    const uint32_t n = (uint32_t)tokens_of(t), step = t->gen ? 1 : n;
    q3n_session_reset(s);
    const double start = out_now();
    for (uint32_t i = 0; i < n; i += step) {
        const int e = q3n_session_eval(s, tokens + i, step, step - 1, logits, err);
        if (e) return e;
    }
    *seconds = out_now() - start;
    return 0;
}

static int measure(q3n_model *m, struct test *t, ggf_error *err)
{
    const uint32_t n = (uint32_t)tokens_of(t), n_vocab = q3n_model_info(m)->n_vocab;
    const struct q3n_session_options so = { .n_ctx = n, .n_ubatch = (uint32_t)ubatch };
    struct q3n_expert_stats before = { 0 };
    int32_t *tokens = malloc(n * sizeof *tokens);
    float *logits = malloc(n_vocab * sizeof *logits);
    q3n_session *s = NULL;
    int e = tokens && logits ? q3n_session_new(&s, m, &so, err) : ggf_no_memory(err);
    for (int i = -1; i < runs && !e; i++) {
        draw(tokens, (int)n, n_vocab);
        if (i == 0) q3n_model_expert_stats(m, &before);
        e = run(s, t, tokens, logits, &t->seconds[i < 0 ? 0 : i], err);
    }
    if (!e) t->median = out_median(t->seconds, (size_t)runs);
    q3n_model_expert_stats(m, &t->experts);
    memory_since(&t->experts, &before);
    q3n_session_free(s);
    free(tokens);
    free(logits);
    return e;
}

/* What is printed of a test. */
struct row {
    double per_second, spread; /* tokens/s: median, and half the range */
    double gbs, share;         /* weight bytes, of decoding; 0 for prompts */
};

static struct row row_of(const struct test *t, const struct q3n_model_info *info,
                         double memory)
{
    const double n = tokens_of(t);
    struct row r = { .per_second = n / t->median };
    r.spread = (n / t->seconds[0] - n / t->seconds[runs - 1]) / 2;
    if (t->gen) {
        r.gbs = r.per_second * (double)info->bytes_token * 1e-9;
        r.share = memory > 0 ? r.gbs / memory : 0;
    }
    return r;
}

static void print_table(const struct test *tests, int n,
                        const struct q3n_model_info *info, double memory)
{
    char size[24];
    printf("| model | size | cpu | threads | test | t/s | GB/s | of memory |\n"
           "|---|--:|---|--:|---|--:|--:|--:|\n");
    for (int i = 0; i < n; i++) {
        const struct row r = row_of(&tests[i], info, memory);
        printf("| %s%s | %s | %s | %d | %s | %.2f ± %.2f |", info->architecture,
               info->packed ? " packed" : "", out_size(size, info->bytes),
               cpu_level_name(), threads, tests[i].name, r.per_second, r.spread);
        if (r.gbs > 0) printf(" %.2f | %.0f %% |\n", r.gbs, 100 * r.share);
        else printf(" | |\n");
    }
    if (memory > 0) printf("\nmemory read by %d threads: %.2f GB/s\n", threads, memory);
}

static void print_csv(const struct test *tests, int n, const struct q3n_model_info *info,
                      double memory)
{
    printf("model_type,model_size,model_n_params,cpu_level,n_threads,n_ubatch,n_prompt,"
           "n_gen,median_ns,avg_ts,gb_s,memory_gb_s\n");
    for (int i = 0; i < n; i++) {
        const struct row r = row_of(&tests[i], info, memory);
        printf("%s,%" PRIu64 ",%" PRIu64 ",%s,%d,%d,%d,%d,%.0f,%.3f,%.3f,%.3f\n",
               info->architecture, info->bytes, info->n_params, cpu_level_name(), threads,
               ubatch, tests[i].prompt, tests[i].gen, 1e9 * tests[i].median, r.per_second,
               r.gbs, memory);
    }
}

static void json_test(struct json *j, const struct test *t,
                      const struct q3n_model_info *info, double memory)
{
    const struct row r = row_of(t, info, memory);
    json_open(j, NULL, '{');
    json_str(j, "model_filename", model_path);
    json_str(j, "model_type", info->architecture);
    json_u64(j, "model_size", info->bytes);
    json_u64(j, "model_n_params", info->n_params);
    json_str(j, "cpu_level", cpu_level_name());
    json_i64(j, "n_threads", threads);
    json_i64(j, "n_ubatch", ubatch);
    json_i64(j, "n_prompt", t->prompt);
    json_i64(j, "n_gen", t->gen);
    json_f64(j, "median_ns", 1e9 * t->median);
    json_f64(j, "median_ts", r.per_second);
    json_u64(j, "bytes_per_token", info->bytes_token);
    json_f64(j, "gb_s", r.gbs);
    json_f64(j, "memory_gb_s", memory);
    json_open(j, "samples_ns", '[');
    for (int i = 0; i < runs; i++) json_f64(j, NULL, 1e9 * t->seconds[i]);
    json_close(j, ']');
    json_u64(j, "peak_memory", peak_memory());
    memory_json(j, info, &t->experts);
    json_close(j, '}');
}

static void print_json(const struct test *tests, int n, const struct q3n_model_info *info,
                       double memory)
{
    const bool lines = !strcmp(format, "jsonl");
    struct json j = { .f = stdout, .one_line = lines };
    if (!lines) json_open(&j, NULL, '[');
    for (int i = 0; i < n; i++) {
        json_test(&j, &tests[i], info, memory);
        if (lines) json_end(&j);
    }
    if (lines) return;
    json_close(&j, ']');
    json_end(&j);
}

/* GB/s of memory, of a piece that leaves most of what we may take alone. */
static double memory_speed(void)
{
    struct memory_limits limits;
    uint64_t most = 1u << 30;
    memory_limits_read(&limits, "");
    const uint64_t may = memory_limits_free(&limits) / 4, ram = memory_opt.ram / 4;
    if (most > may) most = may;
    if (memory_opt.ram && most > ram) most = ram;
    return memread(threads, most > 1u << 26 ? (size_t)most : 1u << 26);
}

static int check_options(void)
{
    if (!model_path) return opt_error(&program, "-m MODEL is missing");
    if (n_prompt < 0 || n_gen < 0 || n_prompt + n_gen == 0)
        return opt_error(&program, "-p and -n must be 0 or more, and not both 0");
    if (runs < 1 || runs > MAX_RUNS)
        return opt_error(&program, "-r must be 1 to %d", MAX_RUNS);
    if (threads < 0 || ubatch < 0)
        return opt_error(&program, "-t and -ub must be positive");
    if (strcmp(format, "md") != 0 && strcmp(format, "csv") != 0 &&
        strcmp(format, "json") != 0 && strcmp(format, "jsonl") != 0)
        return opt_error(&program, "-o %s: expected md, csv, json or jsonl", format);
    if (!threads) threads = omp_get_max_threads();
    if (!ubatch) ubatch = 512;
    return memory_options(&program, &memory_opt, &model_options);
}

int main(int argc, char **argv)
{
    char **args;
    int n_args, r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r != OPT_GO || (r = check_options()) != OPT_GO) return r;

    out_handle_signals();
    ggf_error err;
    q3n_model *m;
    /* Before the model is there, which may take all the memory that it may. */
    const double memory = memory_speed();
    model_options.experts = experts;
    model_options.threads = threads;
    model_options.session.n_ctx = (uint32_t)(n_prompt > n_gen ? n_prompt : n_gen);
    model_options.session.n_ubatch = (uint32_t)ubatch;
    if (q3n_model_open(&m, model_path, &model_options, &err))
        return out_error(NAME, &err);
    static struct test tests[2];
    int n = 0, e = 0;
    if (n_prompt) tests[n++].prompt = n_prompt;
    if (n_gen) tests[n++].gen = n_gen;
    for (int i = 0; i < n && !e; i++) {
        snprintf(tests[i].name, sizeof tests[i].name, "%s%d", tests[i].gen ? "tg" : "pp",
                 tokens_of(&tests[i]));
        e = measure(m, &tests[i], &err);
    }
    const struct q3n_model_info *info = q3n_model_info(m);
    if (e) out_error(NAME, &err);
    else if (!strcmp(format, "md")) print_table(tests, n, info, memory);
    else if (!strcmp(format, "csv")) print_csv(tests, n, info, memory);
    else print_json(tests, n, info, memory);
    for (int i = 0; i < n && !e && info->bytes_slots; i++) {
        fprintf(stderr, "%s\n", tests[i].name);
        memory_print(stderr, info, &tests[i].experts);
    }
    q3n_model_close(m);
    return e ? 1 : 0;
}
