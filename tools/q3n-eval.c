/* q3n-eval - how well a model predicts a text: perplexity, and the distance from a
 * reference model. */
#include "../infer/text/tokenizer.h"
#include "common/divergence.h"
#include "common/input.h"
#include "common/kldbase.h"
#include "common/logprob.h"
#include "common/opt.h"
#include "common/out.h"
#include "common/runstats.h"
#include "common/windows.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "q3n-eval"

enum { NOT_GIVEN = INT_MIN };

static struct {
    const char *model, *experts, *file, *base;
    int ctx, chunks, threads, ubatch;
    bool exact, json, compare, force;
} opt = { .ctx = NOT_GIVEN, .chunks = INT_MAX, .threads = NOT_GIVEN, .ubatch = 512 };

static const struct opt options[] = {
    { "-m, --model", "FILE", OPT_STR, &opt.model, "the model" },
    { "--experts", "FILE", OPT_STR, &opt.experts,
      "its expert pack, if not where the model says" },
    { "-f, --file", "FILE", OPT_STR, &opt.file, "the text" },
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx, "tokens in a window (512)" },
    { "--chunks", "N", OPT_INT, &opt.chunks, "only the first N windows" },
    { "-ub, --ubatch-size", "N", OPT_INT, &opt.ubatch, "tokens computed at once (512)" },
    { "-t, --threads", "N", OPT_INT, &opt.threads, "threads (all the process may use)" },
    { "--exact", NULL, OPT_FLAG, &opt.exact,
      "float32 activations: slow, for comparisons" },
    { "--kl-divergence-base, --save-all-logits", "FILE", OPT_STR, &opt.base,
      "write the model's log-probabilities to this file,\nto compare other models with" },
    { "--kl-divergence", NULL, OPT_FLAG, &opt.compare,
      "read them from that file, with its text and windows,\nand print how far the model "
      "is from it" },
    { "--force", NULL, OPT_FLAG, &opt.force, "replace the file of --kl-divergence-base" },
    { "--json", NULL, OPT_FLAG, &opt.json, "print the result as JSON" },
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

static int check_options(void)
{
    const bool c = opt.compare;
    if (!opt.model) return opt_error(&program, "-m MODEL.gguf is missing");
    if (c && !opt.base)
        return opt_error(&program, "--kl-divergence needs --kl-divergence-base FILE");
    if (c && (opt.file || opt.ctx != NOT_GIVEN || opt.force))
        return opt_error(&program,
                         "-f, -c and --force have no effect with --kl-divergence");
    if (!c && !opt.file) return opt_error(&program, "-f TEXT is missing");
    if (opt.force && !opt.base)
        return opt_error(&program, "--force has no effect without --kl-divergence-base");
    if (opt.ctx != NOT_GIVEN && opt.ctx < 4)
        return opt_error(&program, "--ctx-size must be 4 or more");
    if (opt.chunks < 1 || opt.ubatch < 1 || (opt.threads != NOT_GIVEN && opt.threads < 1))
        return opt_error(&program,
                         "--chunks, --threads and --ubatch-size must be 1 or more");
    return OPT_GO;
}

/* ==== State =============================================================== */

struct eval {
    q3n_model *model;
    q3n_session *session;
    struct q3n_ids ids;   /* of the text; unused with --kl-divergence */
    struct kld_base base; /* windows and tokens, always; records with --kl-divergence */
    ggf_output *out;      /* the base file being written, or NULL */
    struct divergence d;  /* a place for each prediction */
    size_t done;          /* predictions so far */
    double nll, nll_squares;
    double start;
    int32_t bos;
    int threads;
};

static int no_memory(ggf_error *err)
{
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
}

/* A line on a terminal that shows where we are. */
static void show_progress(const struct eval *e, uint32_t window, bool last_row)
{
    char eta[24];
    const uint32_t done = window + 1, all = e->base.n_windows;
    if (!last_row || !isatty(STDERR_FILENO)) return;
    const double left = (out_now() - e->start) / done * (all - done);
    fprintf(stderr, "\r\033[K[%u/%u] PPL %.4f  ETA %s", done, all,
            exp(e->nll / (double)e->done), out_time(eta, left));
    if (done == all) fputs("\r\033[K", stderr);
}

/* ==== Predictions ========================================================= */

/* Everything of one prediction that does not depend on others; `slot` counts them. */
static void score(struct eval *e, const struct window_rows *w, uint32_t i, size_t slot,
                  uint16_t *records)
{
    const float *logits = w->logits + (size_t)i * w->n_vocab;
    const int32_t target = w->targets[i];
    const struct row_norm norm = row_norm(logits, w->n_vocab);
    struct divergence *d = &e->d;
    d->nll[slot] = row_nll(logits, norm, target);
    if (records)
        record_encode(records + i * record_codes(w->n_vocab), logits, w->n_vocab, norm);
    if (!opt.compare) return;
    const uint16_t *record = e->base.records + slot * record_codes(w->n_vocab);
    const struct row_distance far = row_distance(logits, w->n_vocab, norm, record);
    d->base_nll[slot] = record_nll(record, target);
    d->kld[slot] = (float)far.kld;
    d->dp[slot] = expf(-d->nll[slot]) - expf(-d->base_nll[slot]);
    if (far.same_top) {
#pragma omp atomic
        d->same_top++;
    }
}

static int take_rows(void *user, const struct window_rows *w, ggf_error *err)
{
    struct eval *e = user;
    const size_t bytes = record_codes(w->n_vocab) * sizeof(uint16_t);
    uint16_t *records = e->out ? malloc(w->n * bytes) : NULL;
    if (e->out && !records) return no_memory(err);
#pragma omp parallel for schedule(static) num_threads(e->threads)
    for (uint32_t i = 0; i < w->n; i++) score(e, w, i, e->done + i, records);
    for (uint32_t i = 0; i < w->n; i++) {
        const double nll = (double)e->d.nll[e->done + i];
        e->nll += nll;
        e->nll_squares += nll * nll;
    }
    e->done += w->n;
    int r = 0;
    if (records)
        r = ggf_output_write(e->out, kld_record_offset(&e->base, w->window, w->row),
                             records, w->n * bytes, err);
    free(records);
    show_progress(e, w->window, w->row + w->n == window_predictions(e->base.n_ctx));
    return r;
}

/* ==== Preparing =========================================================== */

/* The windows of a text. */
static int read_text(struct eval *e, ggf_error *err)
{
    struct input in = { 0 };
    q3n_tokenizer *t = NULL;
    int r = q3n_tokenizer_load(&t, q3n_model_file(e->model), err);
    if (!r) r = input_read(&in, opt.file, err);
    if (!r) e->bos = q3n_tokenizer_bos(t);
    if (!r && e->bos >= 0 && !q3n_ids_push(&e->ids, e->bos)) r = no_memory(err);
    if (!r) r = q3n_encode(t, in.bytes, in.len, false, &e->ids, err);
    free(in.bytes);
    q3n_tokenizer_free(t);
    if (r) return r;
    const uint32_t n_ctx = opt.ctx != NOT_GIVEN ? (uint32_t)opt.ctx : 512;
    e->base = (struct kld_base){ .n_ctx = n_ctx,
                                 .n_vocab = q3n_model_info(e->model)->n_vocab,
                                 .n_windows = (uint32_t)(e->ids.n / n_ctx),
                                 .tokens = e->ids.ids };
    if (e->base.n_windows) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "%s has %zu tokens, less than a window of %u", opt.file, e->ids.n,
                    n_ctx);
}

/* The windows of a base file. */
static int read_base(struct eval *e, ggf_error *err)
{
    q3n_tokenizer *t;
    int r = kld_base_open(&e->base, opt.base, err);
    if (r) return r;
    const uint32_t n_vocab = q3n_model_info(e->model)->n_vocab;
    if (e->base.n_vocab != n_vocab)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s is of a vocabulary of %u, the model has %u", opt.base,
                        e->base.n_vocab, n_vocab);
    if (q3n_tokenizer_load(&t, q3n_model_file(e->model), NULL)) return 0;
    e->bos = q3n_tokenizer_bos(t);
    q3n_tokenizer_free(t);
    return 0;
}

static int prepare(struct eval *e, ggf_error *err)
{
    e->threads = opt.threads != NOT_GIVEN ? opt.threads : omp_get_num_procs();
    const struct q3n_model_options o = { .experts = opt.experts,
                                         .threads =
                                             opt.threads != NOT_GIVEN ? opt.threads : 0,
                                         .exact = opt.exact };
    int r = q3n_model_open(&e->model, opt.model, &o, err);
    e->bos = -1;
    if (!r) r = opt.compare ? read_base(e, err) : read_text(e, err);
    if (r) return r;
    struct kld_base *b = &e->base;
    if ((uint32_t)opt.chunks < b->n_windows) b->n_windows = (uint32_t)opt.chunks;
    const struct q3n_session_options s = { .n_ctx = b->n_ctx,
                                           .n_ubatch = (uint32_t)opt.ubatch };
    r = q3n_session_new(&e->session, e->model, &s, err);
    if (!r &&
        !divergence_alloc(&e->d, (size_t)b->n_windows * window_predictions(b->n_ctx)))
        r = no_memory(err);
    if (!r && opt.base && !opt.compare) {
        r = ggf_output_create(&e->out, opt.base, opt.force, err);
        if (!r) r = kld_base_write_head(b, e->out, err);
    }
    return r;
}

/* ==== Results ============================================================= */

static void print_result(struct eval *e, double seconds)
{
    const struct estimate ppl = estimate_exp(estimate(e->nll, e->nll_squares, e->done));
    const double tokens = (double)e->base.n_windows * e->base.n_ctx;
    if (opt.json) {
        struct json j = { .f = stdout };
        json_open(&j, NULL, '{');
        json_f64(&j, "perplexity", ppl.mean);
        json_f64(&j, "uncertainty", ppl.error);
        json_u64(&j, "windows", e->base.n_windows);
        json_u64(&j, "n_ctx", e->base.n_ctx);
        json_u64(&j, "predictions", e->done);
        json_f64(&j, "seconds", seconds);
        json_f64(&j, "tokens_per_second", tokens / seconds);
        if (opt.compare) {
            json_open(&j, "divergence", '{');
            divergence_json(&e->d, &j);
            json_close(&j, '}');
        }
        json_close(&j, '}');
        json_end(&j);
        return;
    }
    if (opt.compare) {
        divergence_print(&e->d, stdout);
        putchar('\n');
    }
    printf("Final estimate: PPL = %.4f +/- %.5f\n", ppl.mean, ppl.error);
    char memory[24];
    fprintf(stderr,
            "%u windows of %u tokens, %zu predictions, %.2f tok/s, %s of memory\n",
            e->base.n_windows, e->base.n_ctx, e->done, tokens / seconds,
            out_size(memory, peak_memory()));
}

static int evaluate(struct eval *e, ggf_error *err)
{
    int r = prepare(e, err);
    if (r) return r;
    const struct kld_base *b = &e->base;
    const struct windows w = { .session = e->session,
                               .tokens = b->tokens,
                               .n_ctx = b->n_ctx,
                               .n_windows = b->n_windows,
                               .n_ubatch = (uint32_t)opt.ubatch,
                               .n_vocab = b->n_vocab,
                               .bos = e->bos,
                               .rows = take_rows,
                               .user = e };
    e->start = out_now();
    r = windows_run(&w, err);
    if (!r && e->out) {
        r = ggf_output_commit(e->out, err);
        e->out = NULL;
    }
    if (!r) print_result(e, out_now() - e->start);
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

    struct eval e = { 0 };
    ggf_error err;
    r = evaluate(&e, &err);
    const int status = r ? out_error(NAME, &err) : 0;
    ggf_output_discard(e.out);
    divergence_free(&e.d);
    q3n_session_free(e.session);
    kld_base_close(&e.base);
    q3n_ids_free(&e.ids);
    q3n_model_close(e.model);
    return out_close_stdout(NAME, status);
}
