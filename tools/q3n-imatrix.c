/* q3n-imatrix - the importance matrix of a model: which inputs of its weights matter for
 * a text, so that gguf-quant and llama-quantize can spend their bits there. */
#include "../infer/now.h"
#include "../infer/session/collect.h"
#include "common/coverage.h"
#include "common/divergence.h"
#include "common/logprob.h"
#include "common/modelopt.h"
#include "common/out.h"
#include "common/runstats.h"
#include "common/windows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "q3n-imatrix"

#define MAX_LOGITS_BYTES (512u << 20)

static struct {
    const char *file, *output, *format;
    struct model_options model;
    struct opt_list in_files;
    int ctx, chunks, chunk, frequency;
    bool process_output, no_ppl, statistics, json, force, dry_run;
} opt = { .model = MODEL_DEFAULTS,
          .ctx = OPT_NOT_GIVEN,
          .chunks = OPT_NOT_GIVEN,
          .chunk = OPT_NOT_GIVEN,
          .frequency = OPT_NOT_GIVEN };

static struct q3n_model_options load_options;

static const struct opt options[] = {
    MODEL_OPTIONS(opt.model, "the model"),
    { "-f, --file", "FILE", OPT_STR, &opt.file, "the text" },
    { "-o, --output-file, --output", "FILE", OPT_STR, &opt.output,
      "where to write (imatrix.gguf)" },
    { "--output-format", "FORMAT", OPT_STR, &opt.format,
      "gguf, or dat for old programs (gguf)" },
    { "--output-frequency", "N", OPT_INT, &opt.frequency,
      "write what there is after every N chunks (10)" },
    { "--in-file", "FILE", OPT_LIST, &opt.in_files,
      "add the sums of this matrix; may be given again" },
    { "-c, --ctx-size", "N", OPT_INT, &opt.ctx, "tokens in a chunk (512)" },
    { "--chunk", "N", OPT_INT, &opt.chunk, "start at chunk N: 0 is the first" },
    { "--chunks", "N", OPT_INT, &opt.chunks, "compute at most N chunks" },
    COMPUTE_OPTIONS(opt.model),
    { "--process-output", NULL, OPT_FLAG, &opt.process_output,
      "collect for output.weight too" },
    { "--no-ppl", NULL, OPT_FLAG, &opt.no_ppl, "compute no perplexity: faster" },
    { "--show-statistics", NULL, OPT_FLAG, &opt.statistics,
      "print how many tokens the experts of each layer saw;\nwithout -f and -o nothing "
      "is written" },
    { "--json", NULL, OPT_FLAG, &opt.json, "print the statistics as JSON" },
    { "--force", NULL, OPT_FLAG, &opt.force, "replace an existing output" },
    { "--dry-run", NULL, OPT_FLAG, &opt.dry_run,
      "say what would be done, compute and write nothing" },
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "-m MODEL.gguf -f TEXT [-o FILE] [options]\n"
             "       " NAME " --in-file FILE [--in-file FILE ...] [-o FILE] [options]",
    .about =
        "Runs a text through a model and collects its importance matrix. Without -f it\n"
        "merges matrices, turns them into another format or shows their statistics.\n"
        "An interrupted run goes on with --in-file OUTPUT --chunk N, N being the number "
        "of\nchunks in that file, and ends with the same bytes.",
    .options = options,
    .max_args = 0,
};

static bool dat(void) { return opt.format && !strcmp(opt.format, "dat"); }

/* Without a text options about computing would do nothing. */
static int check_merging(void)
{
    const struct {
        const char *name;
        bool given;
    } unused[] = {
        { "--experts", opt.model.experts && !opt.model.path },
        { "--output-frequency", opt.frequency != OPT_NOT_GIVEN },
        { "--ctx-size", opt.ctx != OPT_NOT_GIVEN },
        { "--chunk", opt.chunk != OPT_NOT_GIVEN },
        { "--chunks", opt.chunks != OPT_NOT_GIVEN },
        { "--ubatch-size", opt.model.ubatch != OPT_NOT_GIVEN },
        { "--threads", opt.model.threads != OPT_NOT_GIVEN },
        { "--process-output", opt.process_output && !opt.model.path },
        { "--no-ppl", opt.no_ppl },
    };
    if (!opt.in_files.count)
        return opt_error(&program, "neither -f TEXT nor --in-file FILE is given");
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (unused[i].given)
            return opt_error(&program, "%s has no effect without -f", unused[i].name);
    return OPT_GO;
}

static int check_computing(void)
{
    if (opt.ctx == OPT_NOT_GIVEN) opt.ctx = 512;
    if (opt.frequency == OPT_NOT_GIVEN) opt.frequency = 10;
    if (opt.chunks == OPT_NOT_GIVEN) opt.chunks = INT_MAX;
    if (opt.chunk == OPT_NOT_GIVEN) opt.chunk = 0;
    if (opt.ctx < 4) return opt_error(&program, "--ctx-size must be 4 or more");
    if (opt.chunk < 0) return opt_error(&program, "--chunk must be 0 or more");
    if (opt.chunks < 1 || opt.frequency < 1)
        return opt_error(&program, "--chunks and --output-frequency must be 1 or more");
    return OPT_GO;
}

static int check_options(void)
{
    if (opt.format && strcmp(opt.format, "gguf") && !dat())
        return opt_error(&program, "--output-format must be gguf or dat, not '%s'",
                         opt.format);
    if (opt.json && !opt.statistics)
        return opt_error(&program, "--json has no effect without --show-statistics");
    int r = OPT_GO;
    if (opt.file || opt.model.path)
        r = model_options(&program, &opt.model, &load_options);
    if (r == OPT_GO) r = opt.file ? check_computing() : check_merging();
    if (r != OPT_GO) return r;
    if (!opt.output && (opt.file || !opt.statistics))
        opt.output = dat() ? "imatrix.dat" : "imatrix.gguf";
    if (!opt.output && (opt.force || opt.format || opt.dry_run))
        return opt_error(&program,
                         "--force, --output-format and --dry-run have no effect "
                         "where nothing is written");
    return OPT_GO;
}

/* ==== State =============================================================== */

struct run {
    struct imatrix_sums sums;
    q3n_model *model;
    q3n_session *session;
    q3n_collector *collector;
    struct q3n_ids ids;
    int32_t bos;
    uint32_t n_ctx, n_chunks; /* to do */
    uint32_t n_vocab, batch;
    float *logits;  /* [n_vocab, batch] if anybody wants them */
    uint64_t saved; /* chunks when the file was last written */
    bool written;   /* the output is ours, to be replaced */
    double nll, nll_squares;
    size_t predictions;
    double start;
};

static int save(struct run *r, ggf_error *err)
{
    const bool force = opt.force || r->written;
    int e = imatrix_sums_check(&r->sums, err);
    if (e) return e;
    e = dat() ? imatrix_sums_write_dat(&r->sums, opt.output, force, err)
              : imatrix_sums_write(&r->sums, opt.output, force, err);
    r->written = !e;
    r->saved = r->sums.chunks;
    return e;
}

/* ==== Computing =========================================================== */

/* Predictions of a batch that starts at token `at` of a chunk; rows of logits from token
 * `first` on.  The last token predicts nothing of the chunk. */
static void score(struct run *r, const int32_t *chunk, uint32_t at, uint32_t first,
                  uint32_t n)
{
    for (uint32_t i = first; i < n && at + i + 1 < r->n_ctx; i++) {
        if (at + i < r->n_ctx / 2) continue;
        const float *row = r->logits + (size_t)(i - first) * r->n_vocab;
        const double nll =
            (double)row_nll(row, row_norm(row, r->n_vocab), chunk[at + i + 1]);
        r->nll += nll;
        r->nll_squares += nll * nll;
        r->predictions++;
    }
}

/* All tokens of a chunk, in batches; logits only for the half that counts, unless the
 * output matrix is watched. */
static int run_chunk(struct run *r, int32_t *chunk, ggf_error *err)
{
    int e = 0;
    q3n_session_reset(r->session);
    for (uint32_t at = 0; at < r->n_ctx && !e; at += r->batch) {
        const uint32_t n = r->n_ctx - at < r->batch ? r->n_ctx - at : r->batch;
        const uint32_t half = r->n_ctx / 2, skip = half > at ? half - at : 0;
        const uint32_t first = opt.process_output ? 0 : skip < n ? skip : n;
        e = q3n_session_eval(r->session, chunk + at, n, first, r->logits, err);
        if (!e && !opt.no_ppl) score(r, chunk, at, first, n);
    }
    return e;
}

static void show(const struct run *r, uint32_t done)
{
    char eta[24];
    if (!opt.no_ppl && !opt.json) {
        printf("[%" PRIu32 "]%.4f,", done, exp(r->nll / (double)r->predictions));
        fflush(stdout);
    }
    if (!isatty(STDERR_FILENO)) return;
    const double left = (seconds_now() - r->start) / done * (r->n_chunks - done);
    fprintf(stderr, "\r\033[K[%" PRIu32 "/%" PRIu32 "] ETA %s", done, r->n_chunks,
            out_time(eta, left));
    if (done == r->n_chunks) fputs("\r\033[K", stderr);
}

static int collect(struct run *r, ggf_error *err)
{
    int e = 0;
    r->start = seconds_now();
    q3n_session_observe(r->session, q3n_collector_observer(r->collector));
    for (uint32_t i = 0; i < r->n_chunks && !e; i++) {
        int32_t *chunk = r->ids.ids + (size_t)(i + (uint32_t)opt.chunk) * r->n_ctx;
        if (r->bos >= 0) chunk[0] = r->bos;
        e = run_chunk(r, chunk, err);
        if (e) break;
        r->sums.chunks++;
        show(r, i + 1);
        if ((i + 1) % (uint32_t)opt.frequency == 0) e = save(r, err);
    }
    return e;
}

/* ==== Preparing =========================================================== */

static int open_model(struct run *r, ggf_error *err)
{
    const int e = q3n_model_open(&r->model, opt.model.path, &load_options, err);
    if (e) return e;
    return q3n_collector_new(&r->collector, r->model, &r->sums, opt.process_output, err);
}

/* The matrices to start from.  With a model they must be of its tensors. */
static int read_matrices(struct run *r, ggf_error *err)
{
    int e = 0;
    for (int i = 0; i < opt.in_files.count && !e; i++) {
        imatrix *m;
        ggf_error why;
        const char *path = opt.in_files.items[i];
        e = imatrix_open(&m, path, &why);
        if (!e) e = imatrix_check(m, &why);
        if (!e) e = imatrix_sums_merge(&r->sums, m, r->model, &why);
        if (e == GGF_E_IO) *err = why; /* names the file already */
        else if (e) ggf_fail(err, e, GGF_NO_OFFSET, "%s: %s", path, why.message);
        imatrix_close(m);
    }
    return e;
}

static int read_text(struct run *r, ggf_error *err)
{
    const int e = windows_read(&r->ids, &r->bos, r->model, opt.file, err);
    if (e) return e;
    const uint64_t all = r->ids.n / r->n_ctx, skip = (uint64_t)opt.chunk;
    if (!all)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s has %zu tokens, less than a chunk of %" PRIu32, opt.file,
                        r->ids.n, r->n_ctx);
    if (skip >= all)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s has only %" PRIu64 " chunks of %" PRIu32
                        " tokens, --chunk %" PRIu64 " is behind them",
                        opt.file, all, r->n_ctx, skip);
    r->n_chunks = (uint32_t)(all - skip);
    if ((uint32_t)opt.chunks < r->n_chunks) r->n_chunks = (uint32_t)opt.chunks;
    return imatrix_sums_dataset(&r->sums, opt.file, strlen(opt.file), err);
}

static int prepare_session(struct run *r, ggf_error *err)
{
    const bool wanted = !opt.no_ppl || opt.process_output;
    r->n_vocab = q3n_model_info(r->model)->n_vocab;
    const uint64_t fit = MAX_LOGITS_BYTES / sizeof(float) / r->n_vocab;
    r->batch = model_ubatch(&opt.model);
    if (r->batch > r->n_ctx) r->batch = r->n_ctx;
    if (wanted && r->batch > fit) r->batch = fit ? (uint32_t)fit : 1;
    if (wanted) r->logits = malloc((size_t)r->batch * r->n_vocab * sizeof *r->logits);
    if (wanted && !r->logits) return ggf_no_memory(err);
    const struct q3n_session_options s = { .n_ctx = r->n_ctx, .n_ubatch = r->batch };
    return q3n_session_new(&r->session, r->model, &s, err);
}

/* Rather now than after hours of work. */
static int check_output(ggf_error *err)
{
    const char *const inputs[] = { opt.model.path, opt.model.experts, opt.file };
    const int e = out_spare(opt.output, inputs, 3, err);
    if (e || !opt.output || opt.force || access(opt.output, F_OK)) return e;
    return ggf_fail(err, GGF_E_EXISTS, GGF_NO_OFFSET,
                    "%s exists already; --force replaces it", opt.output);
}

/* ==== The whole =========================================================== */

static int print_statistics(const struct run *r, ggf_error *err)
{
    if (!opt.json)
        return coverage_print(&r->sums, stdout)
                   ? 0
                   : ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                              "the matrix counts no experts: it is of a model without, "
                              "or in the .dat format");
    struct json j = { .f = stdout };
    json_open(&j, NULL, '{');
    coverage_json(&r->sums, &j);
    if (r->predictions) {
        const struct estimate ppl =
            estimate_exp(estimate(r->nll, r->nll_squares, r->predictions));
        json_f64(&j, "perplexity", ppl.mean);
        json_f64(&j, "uncertainty", ppl.error);
    }
    json_close(&j, '}');
    json_end(&j);
    return 0;
}

static void print_run(const struct run *r)
{
    char memory[24];
    const double seconds = seconds_now() - r->start;
    if (r->predictions && !opt.json) {
        const struct estimate ppl =
            estimate_exp(estimate(r->nll, r->nll_squares, r->predictions));
        printf("\nFinal estimate: PPL = %.4f +/- %.5f\n", ppl.mean, ppl.error);
    }
    fprintf(stderr,
            "%" PRIu32 " chunks of %" PRIu32 " tokens, %.2f tok/s, %s of memory\n",
            r->n_chunks, r->n_ctx, (double)r->n_chunks * r->n_ctx / seconds,
            out_size(memory, peak_memory()));
}

static void print_plan(const struct run *r)
{
    if (opt.file)
        printf("chunks %d to %" PRIu64 " of %" PRIu32 " tokens of %s\n", opt.chunk,
               (uint64_t)opt.chunk + r->n_chunks - 1, r->n_ctx, opt.file);
    printf("%" PRIu64 " entries, %" PRIu64 " chunks so far, to %s\n", r->sums.n_entries,
           r->sums.chunks, opt.output);
}

static int work(struct run *r, ggf_error *err)
{
    int e = check_output(err);
    r->n_ctx = opt.file ? (uint32_t)opt.ctx : 0;
    r->sums.chunk_size = r->n_ctx;
    if (!e && opt.model.path) e = open_model(r, err);
    if (!e) e = read_matrices(r, err);
    if (!e && opt.file) e = read_text(r, err);
    if (e) return e;
    if (opt.dry_run) {
        print_plan(r);
        return 0;
    }
    if (opt.file && (e = prepare_session(r, err))) return e;
    if (opt.file && (e = collect(r, err))) return e;
    if (opt.output && !(r->written && r->saved == r->sums.chunks)) e = save(r, err);
    if (e) return e;
    if (opt.file) print_run(r);
    return opt.statistics ? print_statistics(r, err) : 0;
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int status = opt_parse(&program, argc, argv, &args, &n_args);
    if (status == OPT_GO) status = check_options();
    if (status != OPT_GO) return status;
    out_handle_signals();

    struct run r = { .bos = -1 };
    ggf_error err;
    status = work(&r, &err) ? out_error(NAME, &err) : 0;
    free(r.logits);
    q3n_session_free(r.session);
    q3n_collector_free(r.collector);
    q3n_model_close(r.model);
    q3n_ids_free(&r.ids);
    imatrix_sums_free(&r.sums);
    return out_close_stdout(NAME, status);
}
