/* q3n-run - continues a prompt, chats, or writes the logits of given tokens. */
#include "../infer/now.h"
#include "../infer/session/generate.h"
#include "../infer/text/chatml.h"
#include "common/escape.h"
#include "common/input.h"
#include "common/kvopt.h"
#include "common/memopt.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/override.h"
#include "common/plan.h"
#include "common/recorder.h"
#include "common/runstats.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "q3n-run"

/* Numbers left at these were not given. */
#define NO_INT   INT_MIN
#define NO_FLOAT NAN

static struct {
    const char *model, *experts, *prompt, *file, *system, *tokens, *logits, *seed;
    int n_predict, ctx, batch, ubatch, threads, top_k, stats;
    float temp, top_p, min_p, repeat_penalty, presence_penalty;
    bool ignore_eos, no_display_prompt, mlock, no_mmap, chat, exact, json, force,
        no_escape, plan;
    struct memory_options memory;
    struct recorder_options record;
    struct override_options override;
    struct kv_options kv;
} opt = {
    .n_predict = NO_INT,
    .ctx = NO_INT,
    .batch = NO_INT,
    .ubatch = NO_INT,
    .threads = NO_INT,
    .top_k = NO_INT,
    .stats = NO_INT,
    .temp = NO_FLOAT,
    .top_p = NO_FLOAT,
    .min_p = NO_FLOAT,
    .repeat_penalty = NO_FLOAT,
    .presence_penalty = NO_FLOAT,
};

static const struct opt options[] = {
    { .kind = OPT_HEADING, .help = "Model" },
    { "-m, --model", "FILE", OPT_STR, &opt.model,
      "the model, or the dense part of a packed one" },
    { "--experts", "FILE", OPT_STR, &opt.experts,
      "its expert pack, if not where the model says" },
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx,
      "tokens of context (4096, or what the model was\ntrained for if that is less)" },
    { "-b, --batch-size", "N", OPT_INT, &opt.batch,
      "prompt tokens between two looks at Ctrl-C (2048)" },
    { "-ub, --ubatch-size", "N", OPT_INT, &opt.ubatch, "tokens computed at once (512)" },
    { "-t, --threads", "N", OPT_INT, &opt.threads, "threads (all the process may use)" },
    KV_OPTIONS(opt.kv, "(f16)"),
    { "--mlock", NULL, OPT_FLAG, &opt.mlock, "lock the weights in memory" },
    { "--no-mmap", NULL, OPT_FLAG, &opt.no_mmap,
      "read the weights instead of mapping them" },
    { "--exact", NULL, OPT_FLAG, &opt.exact,
      "float32 activations: slow, for comparisons" },
    MEMORY_OPTIONS(opt.memory),
    OVERRIDE_OPTIONS(opt.override),
    { "--plan", NULL, OPT_FLAG, &opt.plan,
      "only say where everything would be and how fast it\nwould run; hits as --history "
      "says, else all experts\nare used alike" },
    HISTORY_OPTIONS(opt.record),
    RECORDER_OPTIONS(opt.record),
    { .kind = OPT_HEADING, .help = "Prompt" },
    { "-p, --prompt", "TEXT", OPT_STR, &opt.prompt,
      "text to continue; with -cnv the first message.\n\\n, \\t, \\\\, \\' and \\\" in "
      "it are escapes" },
    { "--no-escape", NULL, OPT_FLAG, &opt.no_escape, "take -p as it is" },
    { "-f, --file", "FILE", OPT_STR, &opt.file,
      "read the prompt from a file (-: standard input)" },
    { "--no-display-prompt", NULL, OPT_FLAG, &opt.no_display_prompt,
      "print only what is new" },
    { "-cnv, --conversation", NULL, OPT_FLAG, &opt.chat,
      "chat: each line of standard input is a message;\nends at its end or at /exit" },
    { "-sys, --system-prompt", "TEXT", OPT_STR, &opt.system,
      "system message of the chat" },
    { .kind = OPT_HEADING, .help = "Generation" },
    { "-n, --predict, --n-predict", "N", OPT_INT, &opt.n_predict,
      "most tokens to generate, of each reply with -cnv\n(-1: until the model ends or "
      "the context is full)" },
    { "--ignore-eos", NULL, OPT_FLAG, &opt.ignore_eos,
      "go on where the model would end" },
    { "-s, --seed", "N", OPT_STR, &opt.seed,
      "of the random numbers (-1: a new one each time)" },
    { "--temp", "N", OPT_FLOAT, &opt.temp,
      "temperature, 0: always the likeliest token (0.8)" },
    { "--top-k", "N", OPT_INT, &opt.top_k, "choose among the k likeliest, 0: all (40)" },
    { "--top-p", "N", OPT_FLOAT, &opt.top_p,
      "among the likeliest of this probability (0.95)" },
    { "--min-p", "N", OPT_FLOAT, &opt.min_p,
      "among those this likely, the best being 1 (0.05)" },
    { "--repeat-penalty", "N", OPT_FLOAT, &opt.repeat_penalty,
      "divide the logits of the last 64 tokens by it (1)" },
    { "--presence-penalty", "N", OPT_FLOAT, &opt.presence_penalty,
      "subtract it from the logits of the last 64 tokens (0)" },
    { .kind = OPT_HEADING, .help = "Logits" },
    { "--tokens", "FILE", OPT_STR, &opt.tokens,
      "token ids, separated by blanks (-: standard input)" },
    { "--logits", "FILE", OPT_STR, &opt.logits,
      "write the logits after each of them here: little-\nendian float32, one row of the "
      "vocabulary each" },
    { "--force", NULL, OPT_FLAG, &opt.force, "replace files that are there" },
    { .kind = OPT_HEADING, .help = "Output" },
    { "--json", NULL, OPT_FLAG, &opt.json,
      "the plan, or on standard error the statistics, as JSON" },
    { "--stats", "N", OPT_INT, &opt.stats,
      "speed and what came from where, every N tokens,\non standard error" },
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf (-p TEXT | -f FILE | -cnv | --tokens FILE --logits FILE | "
             "--plan)",
    .about = "Runs a model on the CPU. The text goes to standard output, the rest to "
             "standard error.",
    .options = options,
    .max_args = 0,
};

/* ==== Options ============================================================= */

static bool given_f(float v) { return !isnan(v); }
static bool given_i(int v) { return v != NO_INT; }

/* What was given must have an effect. */
static int check_useless(void)
{
    const bool logits = opt.tokens != NULL, greedy = opt.temp <= 0;
    static const char with_logits[] = "with --tokens", with_greedy[] = "with --temp 0";
    const struct {
        const char *name;
        bool given, useless;
        const char *when;
    } rules[] = {
        { "--top-k", given_i(opt.top_k), greedy, with_greedy },
        { "--top-p", given_f(opt.top_p), greedy, with_greedy },
        { "--min-p", given_f(opt.min_p), greedy, with_greedy },
        { "--seed", opt.seed != NULL, greedy, with_greedy },
        { "--top-k", given_i(opt.top_k), logits, with_logits },
        { "--top-p", given_f(opt.top_p), logits, with_logits },
        { "--min-p", given_f(opt.min_p), logits, with_logits },
        { "--seed", opt.seed != NULL, logits, with_logits },
        { "--temp", given_f(opt.temp), logits, with_logits },
        { "--repeat-penalty", given_f(opt.repeat_penalty), logits, with_logits },
        { "--presence-penalty", given_f(opt.presence_penalty), logits, with_logits },
        { "--ignore-eos", opt.ignore_eos, logits, with_logits },
        { "--n-predict", given_i(opt.n_predict), logits, with_logits },
        { "--stats", given_i(opt.stats), logits, with_logits },
        { "--no-display-prompt", opt.no_display_prompt, logits, with_logits },
        { "--no-display-prompt", opt.no_display_prompt, opt.chat, "with -cnv" },
        { "--system-prompt", opt.system != NULL, !opt.chat, "without -cnv" },
        { "--no-escape", opt.no_escape, !opt.prompt, "without -p" },
        { "--force", opt.force, !logits && !opt.record.trace && !opt.record.save_history,
          "without a file to write" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].given && rules[i].useless)
            return opt_error(&program, "%s has no effect %s", rules[i].name,
                             rules[i].when);
    return OPT_GO;
}

static int check_numbers(void)
{
    const struct {
        const char *name;
        int value, least;
    } n[] = { { "--ctx-size", opt.ctx, 0 },       { "--batch-size", opt.batch, 1 },
              { "--ubatch-size", opt.ubatch, 1 }, { "--threads", opt.threads, 1 },
              { "--stats", opt.stats, 1 },        { "--n-predict", opt.n_predict, -1 } };
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        if (given_i(n[i].value) && n[i].value < n[i].least)
            return opt_error(&program, "%s must be %d or more", n[i].name, n[i].least);
    return OPT_GO;
}

static int or_int(int value, int otherwise) { return given_i(value) ? value : otherwise; }

static void or_float(float *to, float value)
{
    if (given_f(value)) *to = value;
}

static struct q3n_sample_params params;        /* as the options say */
static struct q3n_model_options model_options; /* likewise */
static struct q3n_session_options cache_types; /* likewise, nothing else set */

/* A seed of -1, which is the default, is drawn from the clock. */
static int sample_params(ggf_error *err)
{
    struct q3n_sample_params *p = &params;
    *p = q3n_sample_defaults();
    or_float(&p->temp, opt.temp);
    or_float(&p->top_p, opt.top_p);
    or_float(&p->min_p, opt.min_p);
    or_float(&p->repeat_penalty, opt.repeat_penalty);
    or_float(&p->presence_penalty, opt.presence_penalty);
    p->top_k = or_int(opt.top_k, p->top_k);
    p->seed = (uint64_t)(seconds_now() * 1e9) ^ (uint64_t)getpid() << 32;
    if (!opt.seed || !strcmp(opt.seed, "-1")) return 0;
    char *end;
    errno = 0;
    p->seed = strtoull(opt.seed, &end, 0);
    if (end == opt.seed || *end || errno || strchr(opt.seed, '-'))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the seed is '%s', but must be a number of 0 or more, or -1",
                        opt.seed);
    return 0;
}

static int check_options(void)
{
    if (!opt.model) return opt_error(&program, "-m MODEL.gguf is missing");
    if (!opt.tokens != !opt.logits)
        return opt_error(&program, "--tokens and --logits need each other");
    if (opt.prompt && opt.file) return opt_error(&program, "give -p or -f, not both");
    if (opt.tokens && (opt.prompt || opt.file || opt.chat))
        return opt_error(&program, "--tokens takes the place of -p, -f and -cnv");
    if (!opt.tokens && !opt.prompt && !opt.file && !opt.chat && !opt.plan)
        return opt_error(&program, "give -p, -f, -cnv, --tokens or --plan");
    if (opt.file && opt.chat && !strcmp(opt.file, "-"))
        return opt_error(&program, "-cnv reads standard input already");
    int r = check_useless();
    if (r == OPT_GO) r = check_numbers();
    if (r == OPT_GO) r = memory_options(&program, &opt.memory, &model_options);
    if (r == OPT_GO) r = kv_options(&program, &opt.kv, GGF_F16, &cache_types);
    ggf_error err;
    if (r == OPT_GO && (sample_params(&err) || q3n_sample_check(&params, &err)))
        r = opt_error(&program, "%s", err.message);
    return r;
}

/* ==== Ctrl-C ============================================================== */

static volatile sig_atomic_t stop;

static void on_interrupt(int sig)
{
    if (stop) {
        ggf_discard_outputs();
        _exit(128 + sig);
    }
    stop = 1;
}

/* The first Ctrl-C ends what is being computed, the second the program.  A read that
 * waits is not restarted. */
static void handle_interrupt(void)
{
    struct sigaction action = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &action, NULL);
}

/* ==== Everything that runs ================================================ */

struct run {
    q3n_model *model;
    q3n_tokenizer *tokenizer;
    q3n_sampler *sampler;
    struct q3n_generator g;
    struct recorder recorder;
    double load_seconds;
    int32_t *ids; /* of --tokens; owned */
    uint32_t n_ids;
    /* At the last line of --stats: */
    uint64_t seen;
    double seen_at;
    struct q3n_expert_stats seen_experts;
    struct q3n_expert_stats seen_limits; /* when memory for them was last looked at */
};

/* Memory for experts follows the limits of cgroups: say when it does. */
static void show_limits(struct run *run)
{
    struct q3n_expert_stats now;
    q3n_model_expert_stats(run->model, &now);
    memory_notice(stderr, &run->seen_limits, &now);
    run->seen_limits = now;
}

/* A line of --stats once N more tokens were decoded. */
static void show_stats(struct run *run)
{
    const uint64_t n = run->g.n_decoded - run->seen;
    if (!given_i(opt.stats) || n < (uint64_t)opt.stats) return;
    struct q3n_expert_stats now_experts;
    const double now = seconds_now();
    q3n_model_expert_stats(run->model, &now_experts);
    putc('\n', stderr);
    memory_line(stderr, &run->seen_experts, &now_experts, n, now - run->seen_at);
    run->seen += n;
    run->seen_at = now;
    run->seen_experts = now_experts;
}

static int emit(void *user, const char *text, size_t len)
{
    if (user) {
        show_limits(user);
        show_stats(user);
    }
    return fwrite(text, 1, len, stdout) != len || fflush(stdout);
}

/* The size of --tokens is the context, unless that is given. */
static struct q3n_session_options session_options(const struct run *run)
{
    const uint32_t batch = (uint32_t)or_int(opt.batch, 2048);
    const uint32_t ubatch = (uint32_t)or_int(opt.ubatch, 512);
    struct q3n_session_options o = {
        .n_ctx = given_i(opt.ctx) ? (uint32_t)opt.ctx : run->n_ids,
        .n_ubatch = ubatch < batch ? ubatch : batch,
        .type_k = cache_types.type_k,
        .type_v = cache_types.type_v,
        .n_logits = 1,
    };
    if (run->n_ids) o.n_logits = run->n_ids < o.n_ubatch ? run->n_ids : o.n_ubatch;
    return o;
}

static int open_session(struct run *run, ggf_error *err)
{
    const struct q3n_session_options o = session_options(run);
    run->g.n_batch = (uint32_t)or_int(opt.batch, 2048);
    const int r = q3n_session_new(&run->g.session, run->model, &o, err);
    if (!r) q3n_session_watch(run->g.session, recorder_watch(&run->recorder));
    return r;
}

/* Tokenizer, sampler and session for text. */
static int prepare_text(struct run *run, ggf_error *err)
{
    const uint32_t n_vocab = q3n_model_info(run->model)->n_vocab;
    int r = q3n_tokenizer_load(&run->tokenizer, q3n_model_file(run->model), err);
    if (!r && opt.chat) r = chatml_check(run->tokenizer, err);
    if (!r) r = q3n_sampler_new(&run->sampler, n_vocab, &params, err);
    if (!r) r = open_session(run, err);
    run->g.tokenizer = run->tokenizer;
    run->g.sampler = run->sampler;
    run->g.n_vocab = n_vocab;
    run->g.ignore_eos = opt.ignore_eos;
    run->g.emit = emit;
    run->g.user = run;
    run->g.stop = &stop;
    return r;
}

static void close_all(struct run *run)
{
    recorder_close(&run->recorder);
    free(run->ids);
    q3n_generator_free(&run->g);
    q3n_session_free(run->g.session);
    q3n_sampler_free(run->sampler);
    q3n_tokenizer_free(run->tokenizer);
    q3n_model_close(run->model);
    override_free(&opt.override);
}

/* The text of -p, or of -f without the newline at its end, as in llama.cpp. */
static int read_prompt(struct input *in, ggf_error *err)
{
    if (!opt.prompt) {
        const int r = input_read(in, opt.file, err);
        if (!r && in->len && in->bytes[in->len - 1] == '\n') in->bytes[--in->len] = 0;
        return r;
    }
    in->bytes = strdup(opt.prompt);
    if (!in->bytes) return ggf_no_memory(err);
    in->len = opt.no_escape ? strlen(in->bytes) : unescape(in->bytes);
    return 0;
}

/* What follows is decoding. */
static void start_stats(struct run *run)
{
    run->seen_at = seconds_now();
    q3n_model_expert_stats(run->model, &run->seen_experts);
}

static void say_stop(enum q3n_stop why)
{
    if (why == Q3N_STOP_CONTEXT) fprintf(stderr, "\n%s: the context is full\n", NAME);
}

/* ==== Text ================================================================ */

static int continue_text(struct run *run, ggf_error *err)
{
    struct input in = { 0 };
    struct q3n_ids ids = { 0 };
    enum q3n_stop why = Q3N_STOP_LIMIT;
    const int32_t bos = q3n_tokenizer_bos(run->tokenizer);
    int r = read_prompt(&in, err);
    if (!r && bos >= 0 && !q3n_ids_push(&ids, bos)) r = ggf_no_memory(err);
    if (!r) r = q3n_encode(run->tokenizer, in.bytes, in.len, true, &ids, err);
    if (!r && !ids.n) r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the prompt is empty");
    if (!r && !opt.no_display_prompt) emit(NULL, in.bytes, in.len);
    if (!r) r = q3n_prefill(&run->g, ids.ids, ids.n, &why, err);
    start_stats(run);
    if (!r && why == Q3N_STOP_LIMIT)
        r = q3n_generate(&run->g, or_int(opt.n_predict, -1), &why, err);
    if (!r) {
        putchar('\n');
        say_stop(why);
    }
    q3n_ids_free(&ids);
    free(in.bytes);
    return r;
}

/* ==== Chat ================================================================ */

/* Compute a message, print the reply, and leave in `ids` what closes it. */
static int take_turn(struct run *run, const char *text, size_t len, struct q3n_ids *ids,
                     ggf_error *err)
{
    enum q3n_stop why;
    int r = chatml_message(run->tokenizer, "user", text, len, ids, err);
    if (!r) r = chatml_open_reply(run->tokenizer, ids, err);
    if (!r) r = q3n_prefill(&run->g, ids->ids, ids->n, &why, err);
    start_stats(run);
    ids->n = 0;
    if (!r && why == Q3N_STOP_LIMIT)
        r = q3n_generate(&run->g, or_int(opt.n_predict, -1), &why, err);
    if (r) return r;
    putchar('\n');
    fflush(stdout);
    say_stop(why);
    stop = 0; /* Ctrl-C ended the reply, not the chat */
    return chatml_close_reply(run->tokenizer, ids, err);
}

static void ask(void)
{
    if (isatty(STDIN_FILENO)) fputs("> ", stderr);
}

/* Lines of standard input up to its end, /exit, or Ctrl-C. */
static int talk(struct run *run, struct q3n_ids *ids, ggf_error *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int r = 0;
    for (ask(); !r && (len = getline(&line, &size, stdin)) >= 0; ask()) {
        if (len && line[len - 1] == '\n') line[--len] = 0;
        if (!strcmp(line, "/exit")) break;
        if (len) r = take_turn(run, line, (size_t)len, ids, err);
        if (r) break;
    }
    free(line);
    return r;
}

static int chat(struct run *run, ggf_error *err)
{
    struct q3n_ids ids = { 0 };
    struct input in = { 0 };
    int r = 0;
    if (opt.system)
        r = chatml_message(run->tokenizer, "system", opt.system, strlen(opt.system), &ids,
                           err);
    if (!r && (opt.prompt || opt.file)) {
        r = read_prompt(&in, err);
        if (!r) r = take_turn(run, in.bytes, in.len, &ids, err);
    }
    if (!r) r = talk(run, &ids, err);
    q3n_ids_free(&ids);
    free(in.bytes);
    return r;
}

/* ==== Logits ============================================================== */

/* An ubatch in each call, so that the logits of no more are in memory. */
static int write_rows(struct run *run, ggf_output *out, ggf_error *err)
{
    const uint32_t n_vocab = q3n_model_info(run->model)->n_vocab, n = run->n_ids;
    const uint32_t batch = session_options(run).n_logits;
    float *rows = malloc((size_t)batch * n_vocab * sizeof *rows);
    if (!rows)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for logits");
    const double start = seconds_now();
    int r = 0;
    for (uint32_t done = 0; done < n && !r;) {
        const uint32_t k = n - done < batch ? n - done : batch;
        const uint64_t row_bytes = (uint64_t)n_vocab * sizeof *rows;
        r = q3n_session_eval(run->g.session, run->ids + done, k, 0, rows, err);
        if (!r) r = ggf_output_write(out, done * row_bytes, rows, k * row_bytes, err);
        if (!r && stop) r = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "interrupted");
        done += k;
    }
    run->g.n_prompt = n;
    run->g.prompt_seconds = seconds_now() - start;
    free(rows);
    return r;
}

static int read_tokens(struct run *run, ggf_error *err)
{
    struct input in = { 0 };
    size_t n = 0;
    int r = input_read(&in, opt.tokens, err);
    if (!r) r = input_ids(&run->ids, &n, in.bytes, opt.tokens, err);
    if (!r && (!n || n > INT32_MAX))
        r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s holds %zu token ids", opt.tokens,
                     n);
    run->n_ids = (uint32_t)n;
    free(in.bytes);
    return r;
}

static int write_logits(struct run *run, ggf_error *err)
{
    ggf_output *out = NULL;
    int r = open_session(run, err);
    if (!r) r = ggf_output_create(&out, opt.logits, opt.force, err);
    if (!r) r = write_rows(run, out, err);
    if (!r) r = ggf_output_commit(out, err);
    else ggf_output_discard(out);
    return r;
}

/* ==== Program ============================================================= */

static int open_model(struct run *run, ggf_error *err)
{
    struct q3n_model_options *o = &model_options;
    int r = opt.tokens ? read_tokens(run, err) : 0;
    o->experts = opt.experts;
    o->threads = or_int(opt.threads, 0);
    o->exact = opt.exact;
    o->mlock = opt.mlock;
    o->no_mmap = opt.no_mmap;
    o->session = session_options(run);
    o->plan = opt.plan;
    if (!r) r = override_apply(&opt.override, opt.model, o, err);
    return r ? r : q3n_model_open(&run->model, opt.model, o, err);
}

static int plan(struct run *run, ggf_error *err)
{
    struct placement_plan p;
    int r = open_model(run, err);
    if (!r)
        r = placement_plan_make(&p, run->model, &model_options, opt.record.history, err);
    if (!r) (opt.json ? placement_plan_json : placement_plan_print)(&p, stdout);
    return r;
}

static int run_all(struct run *run, ggf_error *err)
{
    const double start = seconds_now();
    int r = open_model(run, err);
    if (!r) r = recorder_open(&run->recorder, &opt.record, opt.force, run->model, err);
    if (!r && !opt.tokens) r = prepare_text(run, err);
    run->load_seconds = seconds_now() - start;
    if (r) return r;
    if (opt.mlock && !q3n_model_info(run->model)->locked)
        fprintf(stderr, "%s: the weights could not be locked in memory (ulimit -l)\n",
                NAME);
    if (opt.tokens) r = write_logits(run, err);
    else r = opt.chat ? chat(run, err) : continue_text(run, err);
    return r ? r : recorder_finish(&run->recorder, err);
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r == OPT_GO) r = check_options();
    if (r != OPT_GO) return r;
    out_handle_signals();
    handle_interrupt();

    struct run run = { 0 };
    ggf_error err;
    r = opt.plan ? plan(&run, &err) : run_all(&run, &err);
    int status = r ? out_error(NAME, &err) : 0;
    if (!r && !opt.plan) {
        struct run_stats stats = {
            .info = q3n_model_info(run.model),
            .load_seconds = run.load_seconds,
            .n_prompt = run.g.n_prompt,
            .n_decoded = run.g.n_decoded,
            .prompt_seconds = run.g.prompt_seconds,
            .decode_seconds = run.g.decode_seconds,
        };
        q3n_model_expert_stats(run.model, &stats.experts);
        run_stats_print(&stats, opt.json);
        if (stop) status = 128 + SIGINT;
    }
    close_all(&run);
    return out_close_stdout(NAME, status);
}
