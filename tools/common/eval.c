/* eval.c - see eval.h. */
#include "eval.h"

#include "input.h"
#include "logprob.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

/* ==== Opening ============================================================= */

static int open_model(struct eval *e, struct eval_model *m, const char *path,
                      const char *experts, ggf_error *err)
{
    const struct q3n_model_options o = { .experts = experts,
                                         .threads = e->o->threads,
                                         .exact = e->o->exact };
    m->path = path;
    return q3n_model_open(&m->model, path, &o, err);
}

static int open_models(struct eval *e, const char *const *paths, uint32_t n_paths,
                       ggf_error *err)
{
    const char *base = e->o->base_model;
    e->models = calloc(n_paths + 1, sizeof *e->models);
    if (!e->models) return ggf_no_memory(err);
    e->n_models = n_paths;
    e->n_running = n_paths + !!base;
    if (base) e->base = &e->models[n_paths];
    int r = 0;
    for (uint32_t i = 0; i < n_paths && !r; i++)
        r = open_model(e, &e->models[i], paths[i], i ? NULL : e->o->experts, err);
    return r || !base ? r : open_model(e, e->base, base, NULL, err);
}

/* The windows of a text, by the tokenizer of the base model or else of the first. */
static int read_text(struct eval *e, ggf_error *err)
{
    const q3n_model *model = (e->base ? e->base : e->models)->model;
    struct input in = { 0 };
    q3n_tokenizer *t = NULL;
    int r = q3n_tokenizer_load(&t, q3n_model_file(model), err);
    if (!r) r = input_read(&in, e->o->file, err);
    if (!r) e->bos = q3n_tokenizer_bos(t);
    if (!r && e->bos >= 0 && !q3n_ids_push(&e->ids, e->bos)) r = ggf_no_memory(err);
    if (!r) r = q3n_encode(t, in.bytes, in.len, false, &e->ids, err);
    free(in.bytes);
    q3n_tokenizer_free(t);
    if (r) return r;
    const uint32_t n_ctx = e->o->n_ctx;
    e->windows = (struct kld_base){ .n_ctx = n_ctx,
                                    .n_vocab = q3n_model_info(model)->n_vocab,
                                    .n_windows = (uint32_t)(e->ids.n / n_ctx),
                                    .tokens = e->ids.ids };
    if (e->windows.n_windows) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "%s has %zu tokens, less than a window of %u", e->o->file, e->ids.n,
                    n_ctx);
}

/* The windows of a base file. */
static int read_base(struct eval *e, ggf_error *err)
{
    q3n_tokenizer *t;
    const int r = kld_base_open(&e->windows, e->o->base, err);
    if (r || q3n_tokenizer_load(&t, q3n_model_file(e->models->model), NULL)) return r;
    e->bos = q3n_tokenizer_bos(t);
    q3n_tokenizer_free(t);
    return 0;
}

static int open_session(struct eval *e, struct eval_model *m, ggf_error *err)
{
    const struct kld_base *w = &e->windows;
    const struct q3n_session_options o = { .n_ctx = w->n_ctx,
                                           .n_ubatch = e->o->n_ubatch };
    const uint32_t n_vocab = q3n_model_info(m->model)->n_vocab;
    if (n_vocab != w->n_vocab)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s is of a vocabulary of %u, %s has %u",
                        e->base      ? e->base->path
                        : e->o->file ? e->models->path
                                     : e->o->base,
                        w->n_vocab, m->path, n_vocab);
    if (!divergence_alloc(&m->d, (size_t)w->n_windows * window_predictions(w->n_ctx)))
        return ggf_no_memory(err);
    return q3n_session_new(&m->session, m->model, &o, err);
}

int eval_open(struct eval *e, const struct eval_options *o, const char *const *paths,
              uint32_t n_paths, ggf_error *err)
{
    *e = (struct eval){ .o = o,
                        .bos = -1,
                        .threads = o->threads ? o->threads : omp_get_num_procs(),
                        .compares = o->base_model || (o->base && !o->save) };
    int r = open_models(e, paths, n_paths, err);
    if (!r) r = o->file ? read_text(e, err) : read_base(e, err);
    if (r) return r;
    if (o->max_windows < e->windows.n_windows) e->windows.n_windows = o->max_windows;
    for (uint32_t i = 0; i < e->n_running && !r; i++)
        r = open_session(e, &e->models[i], err);
    if (r || !o->save) return r;
    r = ggf_output_create(&e->out, o->base, o->force, err);
    return r ? r : kld_base_write_head(&e->windows, e->out, err);
}

void eval_close(struct eval *e)
{
    ggf_output_discard(e->out);
    for (uint32_t i = 0; i < e->n_running; i++) {
        divergence_free(&e->models[i].d);
        q3n_session_free(e->models[i].session);
        q3n_model_close(e->models[i].model);
    }
    free(e->models);
    kld_base_close(&e->windows);
    q3n_ids_free(&e->ids);
}

/* ==== Predictions ========================================================= */

/* A line on a terminal that shows where we are. */
static void show_progress(const struct eval *e, uint32_t window, bool last_row)
{
    char eta[24];
    const uint32_t done = window + 1, all = e->windows.n_windows;
    if (!last_row || !isatty(STDERR_FILENO)) return;
    const double left = (out_now() - e->start) / done * (all - done);
    fprintf(stderr, "\r\033[K[%u/%u] PPL %.4f  ETA %s", done, all,
            exp(e->models->nll / (double)e->done), out_time(eta, left));
    if (done == all) fputs("\r\033[K", stderr);
}

/* What the reference says of a prediction: one of the two. */
struct reference {
    const uint16_t *record;
    const float *logits;
    struct row_norm norm; /* of the logits */
};

static void compare(struct divergence *d, size_t slot, const struct window_rows *w,
                    const float *logits, struct row_norm norm,
                    const struct reference *base, int32_t target)
{
    const struct row_distance far =
        base->logits ? row_distance_exact(logits, base->logits, w->n_vocab)
                     : row_distance(logits, w->n_vocab, norm, base->record);
    d->base_nll[slot] = base->logits ? row_nll(base->logits, base->norm, target)
                                     : record_nll(base->record, target);
    d->kld[slot] = (float)far.kld;
    d->dp[slot] = expf(-d->nll[slot]) - expf(-d->base_nll[slot]);
    d->same[slot] = far.same_top;
}

/* Everything of one prediction that does not depend on others.  Of the running models the
 * base is first in w->logits. */
static void score(struct eval *e, const struct window_rows *w, uint32_t i,
                  uint16_t *records)
{
    const size_t slot = e->done + i, at = (size_t)i * w->n_vocab;
    const int32_t target = w->targets[i];
    const float *const *logits = w->logits + !!e->base;
    struct reference base = { 0 };
    if (e->base) {
        base.logits = w->logits[0] + at;
        base.norm = row_norm(base.logits, w->n_vocab);
        e->base->d.nll[slot] = row_nll(base.logits, base.norm, target);
    } else if (e->compares) {
        base.record = e->windows.records + slot * record_codes(w->n_vocab);
    }
    for (uint32_t k = 0; k < e->n_models; k++) {
        struct divergence *d = &e->models[k].d;
        const float *row = logits[k] + at;
        const struct row_norm norm = row_norm(row, w->n_vocab);
        d->nll[slot] = row_nll(row, norm, target);
        if (e->compares) compare(d, slot, w, row, norm, &base, target);
        if (records && k == 0)
            record_encode(records + i * record_codes(w->n_vocab), row, w->n_vocab, norm);
    }
}

/* The sums over rows, in their order.  A row that is no distribution is an error. */
static int sum_up(struct eval *e, struct eval_model *m, const struct window_rows *w,
                  ggf_error *err)
{
    for (uint32_t i = 0; i < w->n; i++) {
        const size_t slot = e->done + i;
        const double nll = (double)m->d.nll[slot];
        if (!isfinite(nll))
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "%s: logits of window %u are infinite or not numbers",
                            m->path, w->window);
        if (!isfinite(m->d.kld[slot]) || !isfinite(m->d.base_nll[slot]))
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "%s: a record of window %u is infinite or not numbers",
                            e->o->base, w->window);
        m->nll += nll;
        m->nll_squares += nll * nll;
    }
    return 0;
}

static int take_rows(void *user, const struct window_rows *w, ggf_error *err)
{
    struct eval *e = user;
    const size_t bytes = record_codes(w->n_vocab) * sizeof(uint16_t);
    uint16_t *records = e->out ? malloc(w->n * bytes) : NULL;
    if (e->out && !records) return ggf_no_memory(err);
#pragma omp parallel for schedule(static) num_threads(e->threads)
    for (uint32_t i = 0; i < w->n; i++) score(e, w, i, records);
    int r = 0;
    for (uint32_t k = e->n_running; k-- && !r;) r = sum_up(e, &e->models[k], w, err);
    e->done += w->n;
    if (records && !r)
        r = ggf_output_write(e->out, kld_record_offset(&e->windows, w->window, w->row),
                             records, w->n * bytes, err);
    free(records);
    if (!r)
        show_progress(e, w->window,
                      w->row + w->n == window_predictions(e->windows.n_ctx));
    return r;
}

static int run_windows(struct eval *e, q3n_session **sessions, ggf_error *err)
{
    const struct kld_base *b = &e->windows;
    const struct windows w = { .sessions = sessions,
                               .n_sessions = e->n_running,
                               .tokens = b->tokens,
                               .n_ctx = b->n_ctx,
                               .n_windows = b->n_windows,
                               .n_ubatch = e->o->n_ubatch,
                               .n_vocab = b->n_vocab,
                               .bos = e->bos,
                               .rows = take_rows,
                               .user = e };
    uint32_t n = 0;
    if (e->base) sessions[n++] = e->base->session;
    for (uint32_t i = 0; i < e->n_models; i++) sessions[n++] = e->models[i].session;
    return windows_run(&w, err);
}

/* What can be said when all predictions are in. */
static int finish(struct eval *e, ggf_error *err)
{
    for (uint32_t i = 0; i < e->n_models; i++) {
        struct eval_model *m = &e->models[i];
        divergence_rank(&m->d);
        if (i && !paired_compare(&m->paired, &e->models->d, &m->d, e->windows.n_windows))
            return ggf_no_memory(err);
    }
    return 0;
}

int eval_run(struct eval *e, ggf_error *err)
{
    q3n_session **sessions = calloc(e->n_running, sizeof *sessions);
    if (!sessions) return ggf_no_memory(err);
    e->start = out_now();
    int r = run_windows(e, sessions, err);
    e->seconds = out_now() - e->start;
    free((void *)sessions);
    if (!r && e->compares) r = finish(e, err);
    if (r || !e->out) return r;
    r = ggf_output_commit(e->out, err);
    e->out = NULL;
    return r;
}

struct estimate eval_ppl(const struct eval *e, const struct eval_model *m)
{
    return estimate_exp(estimate(m->nll, m->nll_squares, e->done));
}
