/* q3n-run - continues a prompt, chats, or writes the logits of given tokens. */
#include "../infer/now.h"
#include "common/formopt.h"
#include "common/gpuopt.h"
#include "common/interrupt.h"
#include "common/kvopt.h"
#include "common/memopt.h"
#include "common/modelopt.h"
#include "common/out.h"
#include "common/override.h"
#include "common/plan.h"
#include "common/recorder.h"
#include "common/run.h"
#include "common/sampleopt.h"

#include <stdlib.h>
#include <string.h>

static struct {
    int ctx, batch;
    bool ignore_eos, chat, plan;
    struct model_options model;
    struct memory_options memory;
    struct recorder_options record;
    struct override_options override;
    struct gpu_options gpu;
    struct kv_options kv;
    struct sample_options sample;
    struct chat_options chat_options;
    struct form_options form;
    struct run_options run;
} opt = {
    .ctx = OPT_NOT_GIVEN,
    .batch = OPT_NOT_GIVEN,
    .model = MODEL_DEFAULTS,
    .sample = SAMPLE_DEFAULTS,
    .run = { .n_predict = OPT_NOT_GIVEN,
             .stats = OPT_NOT_GIVEN,
             .n_checkpoints = OPT_NOT_GIVEN,
             .cache_ram = OPT_NOT_GIVEN },
};

static const struct opt options[] = {
    { .kind = OPT_HEADING, .help = "Model" },
    MODEL_OPTIONS(opt.model, "the model, or the dense part of a packed one"),
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx,
      "tokens of context, 0: what the model was trained for\n(4096, or that if it is "
      "less)" },
    { "-b, --batch-size", "N", OPT_INT, &opt.batch,
      "prompt tokens between two looks at Ctrl-C (2048)" },
    COMPUTE_OPTIONS(opt.model),
    KV_OPTIONS(opt.kv, "(f16)"),
    LOADING_OPTIONS(opt.model),
    EXACT_OPTION(opt.model),
    MEMORY_OPTIONS(opt.memory),
    OVERRIDE_OPTIONS(opt.override),
    { "--plan", NULL, OPT_FLAG, &opt.plan,
      "only say where everything would be and how fast it\nwould run; hits as --history "
      "says, else all experts\nare used alike" },
    HISTORY_OPTIONS(opt.record),
    RECORDER_OPTIONS(opt.record),
    GPU_OPTIONS(opt.gpu),
    { .kind = OPT_HEADING, .help = "Prompt" },
    { "-p, --prompt", "TEXT", OPT_STR, &opt.run.prompt,
      "text to continue; with -cnv the first message.\n\\n, \\t, \\\\, \\' and \\\" in "
      "it are escapes" },
    { "--no-escape", NULL, OPT_FLAG, &opt.run.no_escape, "take -p as it is" },
    { "-f, --file", "FILE", OPT_STR, &opt.run.file,
      "read the prompt from a file (-: standard input)" },
    { "--prompt-cache", "FILE", OPT_STR, &opt.run.cache,
      "go on from what this file keeps of the prompt, and\nlet it keep the rest" },
    { "--prompt-cache-all", NULL, OPT_FLAG, &opt.run.cache_all, "and the reply" },
    { "--prompt-cache-ro", NULL, OPT_FLAG, &opt.run.cache_ro, "leave the file as it is" },
    { "--no-display-prompt", NULL, OPT_FLAG, &opt.run.no_display_prompt,
      "print only what is new" },
    { "-cnv, --conversation", NULL, OPT_FLAG, &opt.chat,
      "chat: each line of standard input is a message;\nends at its end or at /exit" },
    { "-st, --single-turn", NULL, OPT_FLAG, &opt.run.single_turn,
      "a chat of one message and its reply" },
    { "-sys, --system-prompt", "TEXT", OPT_STR, &opt.run.system,
      "system message of the chat" },
    { "-sysf, --system-prompt-file", "FILE", OPT_STR, &opt.run.system_file,
      "the same, from a file" },
    { "--ctx-checkpoints", "N", OPT_INT, &opt.run.n_checkpoints,
      "states of the chat that are kept, so that nothing is\nread twice (64)" },
    { "--cache-ram", "MIB", OPT_INT, &opt.run.cache_ram,
      "memory for them (512, an eighth of --ram at most)" },
    CHAT_OPTIONS(opt.chat_options),
    { .kind = OPT_HEADING, .help = "Generation" },
    { "-n, --predict, --n-predict", "N", OPT_INT, &opt.run.n_predict,
      "most tokens to generate, of each reply with -cnv\n(-1: until the model ends or "
      "the context is full)" },
    { "--ignore-eos", NULL, OPT_FLAG, &opt.ignore_eos,
      "go on where the model would end" },
    { "-r, --reverse-prompt", "TEXT", OPT_LIST, &opt.run.stops,
      "end a reply at this text, which is not printed; may\nbe given many times" },
    FORM_OPTIONS(opt.form),
    SAMPLE_OPTIONS(opt.sample),
    { .kind = OPT_HEADING, .help = "Logits" },
    { "--tokens", "FILE", OPT_STR, &opt.run.tokens,
      "token ids, separated by blanks (-: standard input)" },
    { "--logits", "FILE", OPT_STR, &opt.run.logits,
      "write the logits after each of them here: little-\nendian float32, one row of the "
      "vocabulary each" },
    { "--force", NULL, OPT_FLAG, &opt.run.force, "replace files that are there" },
    { .kind = OPT_HEADING, .help = "Output" },
    { "--json", NULL, OPT_FLAG, &opt.run.json,
      "the plan, or on standard error the statistics, as JSON;\nwith -cnv each reply is "
      "an object on a line of its own" },
    { "--stats", "N", OPT_INT, &opt.run.stats,
      "speed and what came from where, every N tokens,\non standard error; measures the "
      "disk first, to compare" },
    { 0 },
};

static const struct opt_program program = {
    .name = RUN_NAME,
    .usage = "-m MODEL.gguf (-p TEXT | -f FILE | -cnv | --tokens FILE --logits FILE | "
             "--plan)",
    .about =
        "Runs a model on the CPU, and what fits there on a CUDA device. The text goes "
        "to\nstandard output, the rest to standard error.",
    .options = options,
    .max_args = 0,
};

/* ==== Options ============================================================= */

static struct q3n_sample_params params;        /* as the options say */
static q3n_grammar *grammar;                   /* likewise; NULL: none */
static struct q3n_model_options load_options;  /* likewise */
static struct q3n_session_options cache_types; /* likewise, nothing else set */

/* What was given must have an effect. */
static int check_useless(void)
{
    const struct run_options *o = &opt.run;
    const bool logits = o->tokens != NULL;
    const char *sampling = sample_option_given(&opt.sample);
    const char *form = form_option_given(&opt.form);
    static const char with_logits[] = "with --tokens";
    static const char without_chat[] = "without -cnv";
    static const char without_cache[] = "without --prompt-cache";
    const struct {
        const char *name;
        bool given, useless;
        const char *when;
    } rules[] = {
        { sampling, sampling != NULL, logits, with_logits },
        { "--ignore-eos", opt.ignore_eos, logits, with_logits },
        { "--n-predict", o->n_predict != OPT_NOT_GIVEN, logits, with_logits },
        { "--stats", o->stats != OPT_NOT_GIVEN, logits, with_logits },
        { "--no-display-prompt", o->no_display_prompt, logits, with_logits },
        { "--no-display-prompt", o->no_display_prompt, opt.chat, "with -cnv" },
        { "--system-prompt", o->system != NULL, !opt.chat, without_chat },
        { "--system-prompt-file", o->system_file != NULL, !opt.chat, without_chat },
        { "--single-turn", o->single_turn, !opt.chat, without_chat },
        { "--ctx-checkpoints", o->n_checkpoints != OPT_NOT_GIVEN, !opt.chat,
          without_chat },
        { "--cache-ram", o->cache_ram != OPT_NOT_GIVEN, !opt.chat, without_chat },
        { "--prompt-cache", o->cache != NULL, logits, with_logits },
        { "--prompt-cache-all", o->cache_all, opt.chat, "with -cnv: all is kept" },
        { "--prompt-cache-all", o->cache_all, !o->cache, without_cache },
        { "--prompt-cache-ro", o->cache_ro, !o->cache, without_cache },
        { "--prompt-cache-all", o->cache_all, o->cache_ro, "with --prompt-cache-ro" },
        { form, form != NULL, logits, with_logits },
        { "--reverse-prompt", o->stops.count > 0, logits, with_logits },
        { "--no-escape", o->no_escape, !o->prompt && !o->stops.count,
          "without -p and -r" },
        { "--force", o->force,
          !logits && !opt.chat && !opt.record.trace && !opt.record.save_history,
          "without a file to write" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].given && rules[i].useless)
            return opt_error(&program, "%s has no effect %s", rules[i].name,
                             rules[i].when);
    return OPT_GO;
}

/* A number that was not given becomes what it is then. */
static int check_numbers(void)
{
    const struct {
        const char *name;
        int *value, least, otherwise;
    } n[] = { { "--ctx-size", &opt.ctx, 0, OPT_NOT_GIVEN },
              { "--batch-size", &opt.batch, 1, 2048 },
              { "--stats", &opt.run.stats, 1, 0 },
              { "--ctx-checkpoints", &opt.run.n_checkpoints, 0, 64 },
              { "--cache-ram", &opt.run.cache_ram, 0, OPT_NOT_GIVEN },
              { "--n-predict", &opt.run.n_predict, -1, -1 } };
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        if (*n[i].value == OPT_NOT_GIVEN) *n[i].value = n[i].otherwise;
        else if (*n[i].value < n[i].least)
            return opt_error(&program, "%s must be %d or more", n[i].name, n[i].least);
    }
    return OPT_GO;
}

/* Checkpoints of a chat are within what --ram gives. */
static void share_ram(void)
{
    enum { MOST = 512 }; /* MiB */
    const uint64_t eighth = load_options.ram_bytes >> 23;
    if (!opt.chat) return;
    if (opt.run.cache_ram == OPT_NOT_GIVEN)
        opt.run.cache_ram = eighth && eighth < MOST ? (int)eighth : MOST;
    const uint64_t bytes = (uint64_t)opt.run.cache_ram << 20;
    if (load_options.ram_bytes)
        load_options.ram_bytes -=
            bytes < load_options.ram_bytes ? bytes : load_options.ram_bytes - 1;
}

static int check_options(void)
{
    const struct run_options *o = &opt.run;
    int r = model_options(&program, &opt.model, &load_options);
    if (r != OPT_GO) return r;
    if (!o->tokens != !o->logits)
        return opt_error(&program, "--tokens and --logits need each other");
    if (o->prompt && o->file) return opt_error(&program, "give -p or -f, not both");
    if (o->tokens && (o->prompt || o->file || opt.chat))
        return opt_error(&program, "--tokens takes the place of -p, -f and -cnv");
    if (!o->tokens && !o->prompt && !o->file && !opt.chat && !opt.plan)
        return opt_error(&program, "give -p, -f, -cnv, --tokens or --plan");
    if (o->file && opt.chat && !strcmp(o->file, "-"))
        return opt_error(&program, "-cnv reads standard input already");
    if (o->system && o->system_file)
        return opt_error(&program, "give -sys or -sysf, not both");
    if (o->cache && opt.chat && (!o->cache_ram || !o->n_checkpoints))
        return opt_error(&program, "--prompt-cache needs --ctx-checkpoints, --cache-ram");
    r = chat_options(&program, &opt.chat_options, opt.chat);
    if (r == OPT_GO) r = check_useless();
    if (r == OPT_GO) r = check_numbers();
    if (r == OPT_GO) r = memory_options(&program, &opt.memory, &load_options);
    if (r == OPT_GO) r = gpu_options(&program, &opt.gpu, &load_options);
    if (r == OPT_GO) share_ram();
    if (r == OPT_GO) r = kv_options(&program, &opt.kv, GGF_F16, &cache_types);
    if (r == OPT_GO) r = sample_options(&program, &opt.sample, &params);
    return r == OPT_GO ? form_options(&program, &opt.form, &grammar) : r;
}

/* ==== What a run needs ==================================================== */

/* The size of --tokens is the context, unless that is given. */
static struct q3n_session_options session_options(const struct run *run)
{
    const uint32_t batch = (uint32_t)opt.batch, ubatch = model_ubatch(&opt.model);
    struct q3n_session_options o = {
        .n_ctx = opt.ctx == OPT_NOT_GIVEN ? run->n_ids
                 : opt.ctx                ? (uint32_t)opt.ctx
                                          : Q3N_CTX_TRAINED,
        .n_ubatch = ubatch < batch ? ubatch : batch,
        .type_k = cache_types.type_k,
        .type_v = cache_types.type_v,
        .n_logits = 1,
    };
    if (run->n_ids) o.n_logits = run->n_ids < o.n_ubatch ? run->n_ids : o.n_ubatch;
    return o;
}

static int open_model(struct run *run, ggf_error *err)
{
    int r = opt.run.tokens ? run_read_tokens(run, err) : 0;
    load_options.session = session_options(run);
    load_options.plan = opt.plan;
    if (!r) r = override_apply(&opt.override, opt.model.path, &load_options, err);
    return r ? r : q3n_model_open(&run->model, opt.model.path, &load_options, err);
}

/* Tokenizer and sampler for text in the session that is open. */
static int prepare_text(struct run *run, ggf_error *err)
{
    struct q3n_generator *g = &run->g;
    g->n_vocab = q3n_model_info(run->model)->n_vocab;
    int r = q3n_tokenizer_load(&run->tokenizer, q3n_model_file(run->model), err);
    if (!r && opt.chat)
        r = chat_open(&run->chat, &opt.chat_options, q3n_model_file(run->model),
                      run->tokenizer, err);
    if (!r) {
        params.n_ctx = q3n_session_ctx(g->session);
        r = q3n_sampler_new(&g->sampler, g->n_vocab, run->tokenizer, &params, err);
    }
    if (!r) r = run_watch_stops(run, err);
    if (!r && grammar) r = q3n_trie_new(&run->trie, run->tokenizer, err);
    run->grammar = grammar;
    g->tokenizer = run->tokenizer;
    g->n_batch = (uint32_t)opt.batch;
    g->ignore_eos = opt.ignore_eos;
    g->emit = run_emit;
    g->user = run;
    g->stop = run->stop;
    return r;
}

static int open_session(struct run *run, const struct route_watch *watch, ggf_error *err)
{
    const struct q3n_session_options o = session_options(run);
    const int r = q3n_session_new(&run->g.session, run->model, &o, err);
    if (!r) q3n_session_watch(run->g.session, watch);
    return r;
}

static void close_all(struct run *run)
{
    chat_close(&run->chat);
    free(run->ids);
    q3n_generator_free(&run->g);
    q3n_stop_filter_free(run->g.stops);
    q3n_stops_free(run->stops);
    q3n_session_free(run->g.session);
    q3n_checkpoints_close(run->cache);
    q3n_sampler_free(run->g.sampler);
    sample_options_free(&opt.sample);
    q3n_trie_free(run->trie);
    q3n_grammar_free(grammar);
    q3n_tokenizer_free(run->tokenizer);
    q3n_model_close(run->model);
    override_free(&opt.override);
}

/* ==== Program ============================================================= */

static int plan(struct run *run, ggf_error *err)
{
    struct placement_plan p;
    int r = open_model(run, err);
    if (!r)
        r = placement_plan_make(&p, run->model, &load_options, opt.record.history, err);
    if (!r) (opt.run.json ? placement_plan_json : placement_plan_print)(&p, stdout);
    return r;
}

static int work(struct run *run, ggf_error *err)
{
    if (opt.model.mlock && !q3n_model_info(run->model)->locked)
        fputs(RUN_NAME ": the weights could not be locked in memory (ulimit -l)\n",
              stderr);
    if (opt.run.tokens) return run_logits(run, session_options(run).n_logits, err);
    return opt.chat ? run_chat(run, err) : run_text(run, err);
}

static int check_spared(ggf_error *err)
{
    const char *const inputs[] = { opt.model.path, opt.model.experts, opt.run.file,
                                   opt.run.tokens };
    const int r = recorder_spare(&opt.record, inputs, 4, err);
    return r ? r : out_spare(opt.run.logits, inputs, 4, err);
}

static int run_all(struct run *run, ggf_error *err)
{
    const double start = seconds_now();
    struct recorder recorder = { 0 };
    int r = check_spared(err);
    if (!r) r = open_model(run, err);
    if (!r && opt.run.stats) r = q3n_model_measure_disk(run->model, 0.5, err);
    if (!r) r = recorder_open(&recorder, &opt.record, opt.run.force, run->model, err);
    if (!r) r = open_session(run, recorder_watch(&recorder), err);
    if (!r && !opt.run.tokens) r = prepare_text(run, err);
    run->load_seconds = seconds_now() - start;
    if (!r) r = work(run, err);
    if (!r) r = recorder_finish(&recorder, err);
    recorder_close(&recorder);
    return r;
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r == OPT_GO) r = check_options();
    if (r != OPT_GO) return r;
    out_handle_signals();

    struct run run = { .o = &opt.run };
    ggf_error err;
    r = interrupt_handle(&run.stop, &err);
    if (!r) r = opt.plan ? plan(&run, &err) : run_all(&run, &err);
    int status = r ? out_error(RUN_NAME, &err) : 0;
    if (!r && !opt.plan) run_print_stats(&run, opt.run.json);
    close_all(&run);
    status = out_close_stdout(RUN_NAME, status);
    if (!status && *run.stop) out_end_by(SIGINT);
    return status;
}
