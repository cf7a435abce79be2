/* q3n-serve - answers requests over HTTP with a model: the API of OpenAI, and a page. */
#include "../infer/serve/serve.h"
#include "common/chatopt.h"
#include "common/gpuopt.h"
#include "common/kvopt.h"
#include "common/memopt.h"
#include "common/modelopt.h"
#include "common/out.h"
#include "common/override.h"
#include "common/recorder.h"
#include "common/sampleopt.h"
#include "common/text.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME "q3n-serve"

static struct {
    int ctx, parallel, batch, n_predict;
    bool force;
    struct model_options model;
    struct memory_options memory;
    struct override_options override;
    struct gpu_options gpu;
    struct recorder_options record;
    struct kv_options kv;
    struct sample_options sample;
    struct chat_options chat;
    const char *reasoning;
    const char *host, *alias, *key_file, *cors, *save_path;
    struct opt_list keys;
    int port, timeout, connections, ping, queue;
    uint64_t body;
    bool metrics, slots, page;
    int n_checkpoints, cache_ram, every;
} opt = {
    .ctx = OPT_NOT_GIVEN,
    .parallel = 4,
    .batch = 512,
    .n_predict = -1,
    .model = MODEL_DEFAULTS,
    .sample = SAMPLE_DEFAULTS,
    .host = "127.0.0.1",
    .cors = "localhost",
    .port = 8080,
    .timeout = 600,
    .connections = 512,
    .ping = 30,
    .queue = 1024,
    .body = 64 << 20,
    .slots = true,
    .page = true,
    .n_checkpoints = 64,
    .cache_ram = OPT_NOT_GIVEN,
    .every = 8192,
};

static const struct opt options[] = {
    { .kind = OPT_HEADING, .help = "Model" },
    MODEL_OPTIONS(opt.model, "the model, or the dense part of a packed one"),
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx,
      "tokens of context of all slots together, 0: what the\nmodel was trained for "
      "(4096 for each, or that if it\nis less)" },
    { "-np, --parallel", "N", OPT_INT, &opt.parallel,
      "slots: requests that are answered at once (4)" },
    { "-b, --batch-size", "N", OPT_INT, &opt.batch,
      "tokens of prompts that are read between two tokens of\nthe other slots (512)" },
    COMPUTE_OPTIONS(opt.model),
    KV_OPTIONS(opt.kv, "(f16)"),
    LOADING_OPTIONS(opt.model),
    EXACT_OPTION(opt.model),
    MEMORY_OPTIONS(opt.memory),
    OVERRIDE_OPTIONS(opt.override),
    HISTORY_OPTIONS(opt.record),
    RECORDER_OPTIONS(opt.record),
    { "--force", NULL, OPT_FLAG, &opt.force, "replace files that are there" },
    GPU_OPTIONS(opt.gpu),
    { .kind = OPT_HEADING, .help = "Server" },
    { "--host", "NAME", OPT_STR, &opt.host, "where to listen (127.0.0.1)" },
    { "--port", "N", OPT_INT, &opt.port, "0: any that is free (8080)" },
    { "-a, --alias", "NAME", OPT_STR, &opt.alias,
      "what the model is called (the file's name)" },
    { "--api-key", "KEY", OPT_LIST, &opt.keys,
      "ask clients for this key; may be given many times" },
    { "--api-key-file", "FILE", OPT_STR, &opt.key_file,
      "or for one of these, a line each" },
    { "--cors-origins", "LIST", OPT_STR, &opt.cors,
      "whose pages may use the server: origins separated by\ncommas, localhost: all of "
      "this machine, *: all\n(localhost)" },
    { "--timeout", "SECONDS", OPT_INT, &opt.timeout,
      "in which a client must take or send something (600)" },
    { "--threads-http", "N", OPT_INT, &opt.connections,
      "most connections at once, a thread each (512)" },
    { "--sse-ping-interval", "SECONDS", OPT_INT, &opt.ping,
      "of silence before a comment is sent in a stream,\n-1: never (30)" },
    { "--queue", "N", OPT_INT, &opt.queue, "most requests that wait for a slot (1024)" },
    { "--body-limit", "SIZE", OPT_SIZE, &opt.body, "most bytes of a request (64M)" },
    { "--metrics", NULL, OPT_FLAG, &opt.metrics, "answer /metrics, for Prometheus" },
    { "--no-slots", NULL, OPT_FLAG_OFF, &opt.slots, "do not answer /slots" },
    { "--no-ui, --no-webui", NULL, OPT_FLAG_OFF, &opt.page, "no page at /" },
    { .kind = OPT_HEADING, .help = "What was read before" },
    { "--ctx-checkpoints", "N", OPT_INT, &opt.n_checkpoints,
      "states that are kept, so that a conversation goes on\nwhere it was (64)" },
    { "--cache-ram", "MIB", OPT_INT, &opt.cache_ram,
      "memory for them (2048, or a tenth of --ram)" },
    { "--checkpoint-every-n-tokens", "N", OPT_INT, &opt.every,
      "also keep one every so many tokens of a prompt, -1:\nonly at messages (8192)" },
    { "--slot-save-path", "DIR", OPT_STR, &opt.save_path,
      "keep states here, too, and slots that are saved" },
    { .kind = OPT_HEADING, .help = "Chats" },
    CHAT_OPTIONS(opt.chat),
    { "--reasoning-format", "NAME", OPT_STR, &opt.reasoning,
      "thoughts as reasoning_content: auto or deepseek; or in\nthe text: none (auto)" },
    { .kind = OPT_HEADING, .help = "What requests do not say" },
    { "-n, --predict, --n-predict", "N", OPT_INT, &opt.n_predict,
      "most tokens of a reply (-1: what the context holds)" },
    SAMPLE_OPTIONS(opt.sample),
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf [--port N]",
    .about = "Answers requests over HTTP, as OpenAI's API has them; a page to talk to "
             "the model is at /.",
    .options = options,
    .max_args = 0,
};

/* ==== Options ============================================================= */

static struct q3n_model_options load_options;
static struct q3n_session_options session; /* of a slot */
static struct q3n_sample_params params;

static int check_numbers(void)
{
    const struct {
        const char *name;
        int value, least, most;
    } n[] = {
        { "--parallel", opt.parallel, 1, 256 },
        { "--batch-size", opt.batch, 1, 1 << 16 },
        { "--n-predict", opt.n_predict, -1, INT_MAX },
        { "--port", opt.port, 0, 65535 },
        { "--timeout", opt.timeout, 1, 1000000 },
        { "--threads-http", opt.connections, 1, 10000 },
        { "--sse-ping-interval", opt.ping, -1, 1000000 },
        { "--queue", opt.queue, 1, 1000000 },
        { "--ctx-checkpoints", opt.n_checkpoints, 0, 1000000 },
        { "--cache-ram", opt.cache_ram == OPT_NOT_GIVEN ? 0 : opt.cache_ram, 0, INT_MAX },
        { "--checkpoint-every-n-tokens", opt.every, -1, INT_MAX },
    };
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        if (n[i].value < n[i].least || n[i].value > n[i].most)
            return opt_error(&program, "%s must be from %d to %d", n[i].name, n[i].least,
                             n[i].most);
    if (opt.ctx != OPT_NOT_GIVEN && opt.ctx && opt.ctx < opt.parallel)
        return opt_error(&program, "--ctx-size must be at least that of --parallel");
    if (opt.body < 1024) return opt_error(&program, "--body-limit must be 1K or more");
    return OPT_GO;
}

static int check_options(void)
{
    const char *r = opt.reasoning;
    int e = model_options(&program, &opt.model, &load_options);
    if (e == OPT_GO) e = check_numbers();
    if (e == OPT_GO) e = memory_options(&program, &opt.memory, &load_options);
    if (e == OPT_GO) e = gpu_options(&program, &opt.gpu, &load_options);
    if (e == OPT_GO) e = kv_options(&program, &opt.kv, GGF_F16, &session);
    if (e == OPT_GO) e = chat_options(&program, &opt.chat, true);
    if (e == OPT_GO && r && strcmp(r, "auto") && strcmp(r, "deepseek") &&
        strcmp(r, "none"))
        e = opt_error(&program, "--reasoning-format must be auto, deepseek or none");
    if (e == OPT_GO && opt.force && !opt.record.trace && !opt.record.save_history)
        e = opt_error(&program, "--force has no effect without a file to write");
    return e == OPT_GO ? sample_options(&program, &opt.sample, &params) : e;
}

/* ==== Keys ================================================================ */

struct keys {
    const char **list; /* owned, not what it points to */
    size_t n;
    char *file;
};

static int add_key(struct keys *k, const char *key, ggf_error *err)
{
    if (!*key)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "--api-key is an empty key");
    const char **more = realloc(k->list, (k->n + 1) * sizeof *more);
    if (!more) return ggf_no_memory(err);
    k->list = more;
    k->list[k->n++] = key;
    return 0;
}

static int read_keys(struct keys *k, ggf_error *err)
{
    int r = 0;
    size_t n;
    for (int i = 0; !r && i < opt.keys.count; i++) r = add_key(k, opt.keys.items[i], err);
    if (r || !opt.key_file) return r;
    if (!(k->file = text_read(opt.key_file, 1 << 20, &n, err))) return err->code;
    char *rest;
    for (char *line = strtok_r(k->file, "\r\n", &rest); line && !r;
         line = strtok_r(NULL, "\r\n", &rest))
        r = add_key(k, line, err);
    if (!r && !k->n)
        r = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s has no keys", opt.key_file);
    return r;
}

static void free_keys(struct keys *k)
{
    free(k->list);
    free(k->file);
}

/* ==== Signals ============================================================= */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, loading;
} state = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, true };

/* The first ends the server in good order, or at once while it is loading; the second at
 * once. */
static void *wait_for_signals(void *user)
{
    const sigset_t *signals = user;
    int sig, n = 0;
    while (!sigwait(signals, &sig)) {
        pthread_mutex_lock(&state.lock);
        const bool now = n++ || state.loading;
        state.stop = true;
        pthread_cond_signal(&state.changed);
        pthread_mutex_unlock(&state.lock);
        if (!now) continue;
        if (n > 1) out_end_by(sig);
        ggf_discard_outputs();
        _exit(0);
    }
    return NULL;
}

/* All threads that come after this leave signals to the one that waits for them. */
static int watch_signals(ggf_error *err)
{
    static sigset_t signals;
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (!out_hangup_ignored()) sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (pthread_create(&thread, NULL, wait_for_signals, &signals))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "no thread can be started");
    pthread_detach(thread);
    return 0;
}

/* Until a signal comes; each second memory for experts is looked at, which follows the
 * limits of cgroups. */
static void wait_for_stop(q3n_model *model)
{
    struct q3n_expert_stats seen, now;
    q3n_model_expert_stats(model, &seen);
    pthread_mutex_lock(&state.lock);
    state.loading = false;
    while (!state.stop) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        pthread_cond_timedwait(&state.changed, &state.lock, &t);
        q3n_model_expert_stats(model, &now);
        memory_notice(stderr, NAME ": ", &seen, &now);
        seen = now;
    }
    pthread_mutex_unlock(&state.lock);
}

/* ==== Work ================================================================ */

struct work {
    struct keys keys;
    struct q3n_serve_options serve;
    q3n_server *server;
    q3n_model *model;
    q3n_tokenizer *tokenizer;
    struct chat chat;
    q3n_checkpoints *checkpoints;
    struct recorder recorder;
    struct q3n_serve_model what;
};

static int open_server(struct work *w, ggf_error *err)
{
    int r = read_keys(&w->keys, err);
    if (r) return r;
    w->serve = (struct q3n_serve_options){
        .host = opt.host,
        .port = opt.port,
        .api_keys = w->keys.list,
        .n_api_keys = w->keys.n,
        .cors_origins = opt.cors,
        .most_body = opt.body,
        .timeout = (unsigned)opt.timeout,
        .connections = (unsigned)opt.connections,
        .ping = opt.ping > 0 ? (unsigned)opt.ping : 0,
        .metrics = opt.metrics,
        .slots = opt.slots,
        .page = opt.page,
        .save_path = opt.save_path,
    };
    r = q3n_server_open(&w->server, &w->serve, err);
    const bool colons = strchr(opt.host, ':'); /* an address of IPv6 */
    if (!r)
        fprintf(stderr, NAME ": listening on http://%s%s%s:%d\n", colons ? "[" : "",
                opt.host, colons ? "]" : "", q3n_server_port(w->server));
    return r;
}

/* Memory for checkpoints. */
static uint64_t cache_bytes(void)
{
    const uint64_t some = (uint64_t)2 << 30, tenth = load_options.ram_bytes / 10;
    if (!opt.n_checkpoints) return 0;
    if (opt.cache_ram != OPT_NOT_GIVEN) return (uint64_t)opt.cache_ram << 20;
    return load_options.ram_bytes && tenth < some ? tenth : some;
}

static int open_model(struct work *w, ggf_error *err)
{
    const uint32_t n = (uint32_t)opt.parallel;
    session.n_ctx = opt.ctx == OPT_NOT_GIVEN ? 0
                    : opt.ctx                ? (uint32_t)opt.ctx / n
                                             : Q3N_CTX_TRAINED;
    session.n_ubatch = model_ubatch(&opt.model) + n;
    session.n_logits = n;
    session.n_seq = n;
    load_options.session = session;
    load_options.other_bytes = cache_bytes();
    const char *const inputs[] = { opt.model.path, opt.model.experts };
    int r = recorder_spare(&opt.record, inputs, 2, err);
    if (!r) r = override_apply(&opt.override, opt.model.path, &load_options, err);
    if (!r) r = q3n_model_open(&w->model, opt.model.path, &load_options, err);
    if (!r) r = recorder_open(&w->recorder, &opt.record, opt.force, w->model, err);
    if (!r) r = q3n_tokenizer_load(&w->tokenizer, q3n_model_file(w->model), err);
    if (!r)
        r = chat_open(&w->chat, &opt.chat, q3n_model_file(w->model), w->tokenizer, err);
    return r;
}

static int open_checkpoints(struct work *w, ggf_error *err)
{
    const struct q3n_checkpoint_options o = { .ram_bytes = cache_bytes(),
                                              .max_states = (uint32_t)opt.n_checkpoints,
                                              .dir = opt.save_path };
    if (!o.ram_bytes) return 0;
    return q3n_checkpoints_open(&w->checkpoints, w->model, &session, &o, err);
}

/* The file's name without folders and ending. */
static int name_model(char **out, ggf_error *err)
{
    const char *slash = strrchr(opt.model.path, '/');
    *out = strdup(opt.alias ? opt.alias : slash ? slash + 1 : opt.model.path);
    if (!*out) return ggf_no_memory(err);
    char *end = strrchr(*out, '.');
    if (!opt.alias && end && !strcmp(end, ".gguf")) *end = '\0';
    return 0;
}

static int start(struct work *w, const char *alias, ggf_error *err)
{
    const bool seeded = opt.sample.seed && strcmp(opt.sample.seed, "-1");
    w->what = (struct q3n_serve_model){
        .model = w->model,
        .path = opt.model.path,
        .alias = alias,
        .tokenizer = w->tokenizer,
        .template = w->chat.template,
        .bos = w->chat.bos,
        .eos = w->chat.eos,
        .session = session,
        .n_slots = (uint32_t)opt.parallel,
        .n_batch = (uint32_t)opt.batch,
        .most_queued = (uint32_t)opt.queue,
        .checkpoints = w->checkpoints,
        .checkpoint_every = opt.every > 0 ? (uint32_t)opt.every : 0,
        .watch = recorder_watch(&w->recorder),
        .defaults = { .sample = params,
                      .new_seed = !seeded,
                      .n_predict = opt.n_predict,
                      .template_args = w->chat.extra,
                      .reasoning = !opt.reasoning || strcmp(opt.reasoning, "none") },
    };
    return q3n_server_ready(w->server, &w->what, err);
}

static int serve(struct work *w, ggf_error *err)
{
    char *alias = NULL;
    int r = watch_signals(err);
    if (!r) r = open_server(w, err);
    if (!r) r = open_model(w, err);
    if (!r) r = open_checkpoints(w, err);
    if (!r) r = name_model(&alias, err);
    if (!r) r = start(w, alias, err);
    if (!r) {
        fprintf(stderr, NAME ": %s is ready\n", alias);
        wait_for_stop(w->model);
    }
    q3n_server_close(w->server);
    if (!r && w->checkpoints && opt.save_path)
        r = q3n_checkpoints_flush(w->checkpoints, err);
    if (!r) r = recorder_finish(&w->recorder, err);
    free(alias);
    return r;
}

static void close_all(struct work *w)
{
    recorder_close(&w->recorder);
    q3n_checkpoints_close(w->checkpoints);
    chat_close(&w->chat);
    q3n_tokenizer_free(w->tokenizer);
    q3n_model_close(w->model);
    override_free(&opt.override);
    sample_options_free(&opt.sample);
    free_keys(&w->keys);
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r == OPT_GO) r = check_options();
    if (r != OPT_GO) return r;
    out_handle_signals();

    struct work w = { 0 };
    ggf_error err;
    const int status = serve(&w, &err) ? out_error(NAME, &err) : 0;
    close_all(&w);
    return out_close_stdout(NAME, status);
}
