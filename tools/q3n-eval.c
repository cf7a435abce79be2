/* q3n-eval - how well a model predicts a text: perplexity, and the distance from a
 * reference model. */
#include "common/eval.h"
#include "common/gpuopt.h"
#include "common/kvopt.h"
#include "common/memopt.h"
#include "common/modelopt.h"
#include "common/page.h"
#include "common/recorder.h"
#include "common/runstats.h"

#include <stdlib.h>
#include <string.h>

#define NAME "q3n-eval"

static struct {
    const char *file, *base, *base_model, *form, *html;
    struct opt_list others;
    int ctx, chunks;
    struct model_options model;
    struct kv_options kv;
    bool json, compare, force, dry_run;
    struct recorder_options record;
    struct memory_options memory;
    struct gpu_options gpu;
} opt = { .ctx = OPT_NOT_GIVEN, .chunks = INT_MAX, .model = MODEL_DEFAULTS };

static struct q3n_model_options load_options; /* of each model, as the options say */

static const struct opt options[] = {
    MODEL_OPTIONS(opt.model, "the model"),
    { "-f, --file", "FILE", OPT_STR, &opt.file, "the text" },
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx, "tokens in a window (512)" },
    { "--chunks", "N", OPT_INT, &opt.chunks, "only the first N windows" },
    COMPUTE_OPTIONS(opt.model),
    KV_OPTIONS(opt.kv, "(f32)"),
    EXACT_OPTION(opt.model),
    { "--json", NULL, OPT_FLAG, &opt.json, "print the result as JSON" },
    { "--html", "FILE", OPT_STR, &opt.html,
      "write a page with charts of the distance from the\nreference" },
    RECORDER_OPTIONS(opt.record),
    { "--force", NULL, OPT_FLAG, &opt.force, "replace files that are there" },
    { "--dry-run", NULL, OPT_FLAG, &opt.dry_run,
      "load everything, say what would be done, write nothing" },
    MEMORY_OPTIONS(opt.memory),
    GPU_OPTIONS(opt.gpu),
    { NULL, NULL, OPT_HEADING, NULL, "Distance from a reference:" },
    { "--kl-divergence-base, --save-all-logits", "FILE", OPT_STR, &opt.base,
      "write the model's log-probabilities to this file,\nto compare other models with" },
    { "--base-format", "FORM", OPT_STR, &opt.form,
      "llama: that of llama-perplexity, 16 bits (default);\nf32: exact, twice as large" },
    { "--kl-divergence", NULL, OPT_FLAG, &opt.compare,
      "read them from that file, with its text and windows,\nand print how far the model "
      "is from it" },
    { "--base-model", "FILE", OPT_STR, &opt.base_model,
      "run the reference beside the model; no such file is needed" },
    { "--compare", "FILE", OPT_LIST, &opt.others,
      "another model at the same time, and which of the two\nis closer to the reference; "
      "may be given again" },
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf (-f TEXT | --kl-divergence --kl-divergence-base FILE)",
    .about =
        "Measures how well a model predicts a text. The text is cut into windows; in "
        "each,\nthe predictions of the second half count.",
    .options = options,
    .max_args = 0,
};

/* What keys and values are stored as; nothing else is set. */
static struct q3n_session_options cache_types;

/* Is a base file read?  With --compare there must be a reference. */
static bool reads_base(void)
{
    return opt.compare || (opt.others.count && !opt.base_model);
}

static int check_sources(void)
{
    const bool reads = reads_base();
    if (opt.compare && !opt.base)
        return opt_error(&program, "--kl-divergence needs --kl-divergence-base FILE");
    if (reads && !opt.base)
        return opt_error(&program, "--compare needs --base-model FILE or "
                                   "--kl-divergence-base FILE");
    if (opt.base_model && opt.base)
        return opt_error(&program, "--base-model and --kl-divergence-base: only one");
    if (reads && (opt.file || opt.ctx != OPT_NOT_GIVEN))
        return opt_error(&program, "-f and -c have no effect with %s",
                         opt.compare ? "--kl-divergence" : "--compare and a base file");
    if (!reads && !opt.file) return opt_error(&program, "-f TEXT is missing");
    return OPT_GO;
}

static int check_outputs(void)
{
    const bool saves = opt.base && !reads_base();
    if (opt.html && !reads_base() && !opt.base_model)
        return opt_error(&program, "--html needs --base-model or --kl-divergence");
    if (opt.force && !saves && !opt.html && !opt.record.trace)
        return opt_error(&program, "--force has no effect: no file is written");
    if (opt.form && !saves)
        return opt_error(&program, "--base-format has no effect without a base file to "
                                   "write");
    if (opt.form && strcmp(opt.form, "llama") != 0 && strcmp(opt.form, "f32") != 0)
        return opt_error(&program, "--base-format %s: expected llama or f32", opt.form);
    return OPT_GO;
}

/* Nobody looks into the layers that a device computes. */
static int check_device(void)
{
    const bool looks = opt.base_model != NULL;
    if (looks && !opt.gpu.layers) opt.gpu.layers = "0";
    const int r = gpu_options(&program, &opt.gpu, &load_options);
    if (r != OPT_GO || !looks || !load_options.device.n_gpu_layers) return r;
    return opt_error(&program, "--base-model compares layers, which a device does not "
                               "show: --n-gpu-layers must be 0");
}

static int check_options(void)
{
    int r = model_options(&program, &opt.model, &load_options);
    if (r == OPT_GO) r = check_sources();
    if (r == OPT_GO) r = check_outputs();
    if (r == OPT_GO) r = check_device();
    if (r == OPT_GO) r = kv_options(&program, &opt.kv, GGF_F32, &cache_types);
    if (r != OPT_GO) return r;
    if (opt.ctx != OPT_NOT_GIVEN && opt.ctx < 4)
        return opt_error(&program, "--ctx-size must be 4 or more");
    if (opt.chunks < 1) return opt_error(&program, "--chunks must be 1 or more");
    return memory_options(&program, &opt.memory, &load_options);
}

static void print_result(const struct eval *e)
{
    const double tokens = (double)e->windows.n_windows * e->windows.n_ctx;
    char memory[24];
    for (uint32_t i = 0; i < e->n_models && e->base; i++)
        if (!e->models[i].follow)
            fprintf(stderr,
                    NAME ": %s and %s differ in their layers, which are not "
                         "compared\n",
                    e->models[i].path, e->base->path);
    if (opt.json) {
        eval_json(e, stdout);
        return;
    }
    eval_print(e, stdout);
    fprintf(stderr,
            "%u windows of %u tokens, %zu predictions, %.2f tok/s, %s of memory\n",
            e->windows.n_windows, e->windows.n_ctx, e->done, tokens / e->seconds,
            out_size(memory, peak_memory()));
}

/* What --dry-run says. */
static void print_plan(const struct eval *e)
{
    const struct kld_base *w = &e->windows;
    const uint64_t bytes = kld_record_offset(w, w->n_windows, 0);
    char size[24];
    printf("%u windows of %u tokens, %zu predictions, %u model%s\n", w->n_windows,
           w->n_ctx, e->models->d.n, e->n_running, e->n_running > 1 ? "s" : "");
    if (e->o->save)
        printf("%s: %s (%llu bytes)\n", e->o->base, out_size(size, bytes),
               (unsigned long long)bytes);
    if (opt.html) printf("%s: the page\n", opt.html);
    if (opt.record.trace) printf("%s: the trace\n", opt.record.trace);
}

static void make_page(const void *e, FILE *f) { eval_html(e, f); }

/* With the page in `out`, or without if that is NULL.  The routing of the model is
 * recorded, not that of those it is compared with. */
static int run(struct eval *e, ggf_output *out, ggf_error *err)
{
    struct recorder recorder;
    int r = recorder_open(&recorder, &opt.record, opt.force, e->models->model, err);
    q3n_session_watch(e->models->session, recorder_watch(&recorder));
    if (!r) r = eval_run(e, err);
    if (!r) r = recorder_finish(&recorder, err);
    recorder_close(&recorder);
    if (r) return r;
    print_result(e);
    return out ? page_write(out, make_page, e, err) : 0;
}

/* What is written is nothing that is read; paths: of the models. */
static int check_spared(const char *const *paths, ggf_error *err)
{
    const char *const outputs[] = { opt.html, opt.record.trace,
                                    reads_base() ? NULL : opt.base };
    const char *const inputs[] = { opt.model.experts, opt.base_model, opt.file,
                                   reads_base() ? opt.base : NULL };
    int r = 0;
    for (int i = 0; i < 3 && !r; i++) {
        r = out_spare(outputs[i], inputs, 4, err);
        if (!r) r = out_spare(outputs[i], paths, 1 + (size_t)opt.others.count, err);
    }
    return r;
}

static int evaluate(const char *const *paths, ggf_error *err)
{
    const struct eval_options o = {
        .file = opt.file,
        .base = opt.base,
        .base_model = opt.base_model,
        .model = &load_options,
        .save = opt.base && !reads_base(),
        .force = opt.force,
        .dry_run = opt.dry_run,
        .form = opt.form && !strcmp(opt.form, "f32") ? KLD_F32 : KLD_LLAMA,
        .n_ctx = opt.ctx != OPT_NOT_GIVEN ? (uint32_t)opt.ctx : 512,
        .max_windows = (uint32_t)opt.chunks,
        .n_ubatch = model_ubatch(&opt.model),
        .type_k = cache_types.type_k,
        .type_v = cache_types.type_v,
    };
    struct eval e;
    ggf_output *page = NULL;
    int r = check_spared(paths, err);
    if (r) return r;
    r = eval_open(&e, &o, paths, 1 + (uint32_t)opt.others.count, err);
    if (!r && opt.html && !opt.dry_run)
        r = ggf_output_create(&page, opt.html, opt.force, err);
    if (!r && opt.dry_run) print_plan(&e);
    else if (!r) r = run(&e, page, err);
    if (!r && page) {
        r = ggf_output_commit(page, err);
        page = NULL;
    }
    ggf_output_discard(page);
    eval_close(&e);
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

    ggf_error err = { .code = GGF_E_NOMEM, .message = "out of memory" };
    const char **paths = malloc((1 + (size_t)opt.others.count) * sizeof *paths);
    if (!paths) return out_error(NAME, &err);
    paths[0] = opt.model.path;
    for (int i = 0; i < opt.others.count; i++) paths[1 + i] = opt.others.items[i];
    r = evaluate(paths, &err);
    free((void *)paths);
    free(opt.others.items);
    return out_close_stdout(NAME, r ? out_error(NAME, &err) : 0);
}
