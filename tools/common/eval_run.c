/* eval_run.c - the windows of an evaluation, prediction by prediction; see eval.h. */
#include "../../infer/now.h"
#include "eval.h"

#include "logprob.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* ==== Predictions ========================================================= */

/* A line on a terminal that shows where we are. */
static void show_progress(const struct eval *e, uint32_t window, bool last_row)
{
    char eta[24];
    const uint32_t done = window + 1, all = e->windows.n_windows;
    if (!last_row || !isatty(STDERR_FILENO)) return;
    const double left = (seconds_now() - e->start) / done * (all - done);
    fprintf(stderr, "\r\033[K[%u/%u] PPL %.4f  ETA %s", done, all,
            exp(e->models->nll / (double)e->done), out_time(eta, left));
    if (done == all) fputs("\r\033[K", stderr);
}

/* What the reference says of a prediction: logits, or else a record; and -log p of the
 * token that came. */
struct reference {
    const float *logits;
    const uint16_t *record;
    float nll;
};

static struct reference exact_reference(const float *logits, uint32_t n, int32_t target)
{
    return (struct reference){ logits, NULL,
                               row_nll(logits, row_norm(logits, n), target) };
}

/* Row i of those in hand; of the running models the base is the first. */
static struct reference reference_of(const struct eval *e, const struct window_rows *w,
                                     uint32_t i)
{
    const int32_t target = w->targets[i];
    if (e->base)
        return exact_reference(w->logits[0] + (size_t)i * w->n_vocab, w->n_vocab, target);
    if (e->windows.form == KLD_F32)
        return exact_reference(kld_logits(&e->windows, e->done + i), w->n_vocab, target);
    const uint16_t *record = kld_codes(&e->windows, e->done + i);
    return (struct reference){ NULL, record, record_nll(record, target) };
}

static void compare(struct divergence *d, size_t slot, const float *logits, uint32_t n,
                    struct row_norm norm, const struct reference *base)
{
    const struct row_distance far = base->logits
                                        ? row_distance_exact(logits, base->logits, n)
                                        : row_distance(logits, n, norm, base->record);
    d->base_nll[slot] = base->nll;
    d->kld[slot] = (float)far.kld;
    d->dp[slot] = expf(-d->nll[slot]) - expf(-base->nll);
    d->same[slot] = far.same_top;
}

/* Everything of one prediction that does not depend on others. */
static void score(struct eval *e, const struct window_rows *w, uint32_t i)
{
    const size_t slot = e->done + i, at = (size_t)i * w->n_vocab;
    const float *const *logits = w->logits + !!e->base;
    struct reference base = { 0 };
    if (e->compares) base = reference_of(e, w, i);
    if (e->base) e->base->d.nll[slot] = base.nll;
    for (uint32_t k = 0; k < e->n_models; k++) {
        struct divergence *d = &e->models[k].d;
        const float *row = logits[k] + at;
        const struct row_norm norm = row_norm(row, w->n_vocab);
        d->nll[slot] = row_nll(row, norm, w->targets[i]);
        if (e->compares) compare(d, slot, row, w->n_vocab, norm, &base);
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
                            "%s: what it says of window %u is infinite or not numbers",
                            e->base ? e->base->path : e->o->base, w->window);
        m->nll += nll;
        m->nll_squares += nll * nll;
    }
    return 0;
}

/* Records of the first model into the base file. */
static int save(struct eval *e, const struct window_rows *w, ggf_error *err)
{
    const size_t each = kld_record_bytes(&e->windows), bytes = w->n * each;
    const uint64_t at = kld_record_offset(&e->windows, w->window, w->row);
    const float *logits = w->logits[0];
    if (e->windows.form == KLD_F32)
        return ggf_output_write(e->out, at, logits, bytes, err);
    uint16_t *records = malloc(bytes);
    if (!records) return ggf_no_memory(err);
#pragma omp parallel for schedule(static) num_threads(e->threads)
    for (uint32_t i = 0; i < w->n; i++) {
        const float *row = logits + (size_t)i * w->n_vocab;
        record_encode(records + i * (each / sizeof *records), row, w->n_vocab,
                      row_norm(row, w->n_vocab));
    }
    const int r = ggf_output_write(e->out, at, records, bytes, err);
    free(records);
    return r;
}

static void count_layers(struct eval *e, uint32_t n)
{
    if (!e->trail) return;
    for (uint32_t i = 0; i < e->n_models; i++)
        if (e->models[i].follow) follow_count(e->models[i].follow, n);
    trail_clear(e->trail);
}

static int take_rows(void *user, const struct window_rows *w, ggf_error *err)
{
    struct eval *e = user;
    int r = 0;
#pragma omp parallel for schedule(static) num_threads(e->threads)
    for (uint32_t i = 0; i < w->n; i++) score(e, w, i);
    for (uint32_t k = e->n_running; k-- && !r;) r = sum_up(e, &e->models[k], w, err);
    e->done += w->n;
    count_layers(e, w->n);
    if (!r && e->out) r = save(e, w, err);
    if (!r)
        show_progress(e, w->window,
                      w->row + w->n == window_predictions(e->windows.n_ctx));
    return r;
}

/* The models that can be followed from the base on. */
static int open_follow(struct eval *e, uint32_t max_rows, ggf_error *err)
{
    const struct q3n_model_info *base = q3n_model_info(e->base->model);
    e->trail = trail_new(base, max_rows);
    if (!e->trail) return ggf_no_memory(err);
    for (uint32_t i = 0; i < e->n_models; i++) {
        struct eval_model *m = &e->models[i];
        if (!follow_possible(base, q3n_model_info(m->model))) continue;
        m->follow = follow_new(e->trail);
        if (!m->follow) return ggf_no_memory(err);
    }
    return 0;
}

/* The base computes first: its trail is what the others are compared with. */
static int run_windows(struct eval *e, q3n_session **sessions,
                       const struct observer **observers, ggf_error *err)
{
    const struct kld_base *b = &e->windows;
    const struct windows w = { .sessions = sessions,
                               .n_sessions = e->n_running,
                               .observers = observers,
                               .tokens = b->tokens,
                               .n_ctx = b->n_ctx,
                               .n_windows = b->n_windows,
                               .n_ubatch = e->o->n_ubatch,
                               .n_vocab = b->n_vocab,
                               .bos = e->bos,
                               .rows = take_rows,
                               .user = e };
    const int r = e->base ? open_follow(e, windows_piece(&w), err) : 0;
    if (r) return r;
    uint32_t n = 0;
    if (e->base) {
        observers[n] = trail_observer(e->trail);
        sessions[n++] = e->base->session;
    }
    for (uint32_t i = 0; i < e->n_models; i++, n++) {
        const struct follow *f = e->models[i].follow;
        observers[n] = f ? follow_observer(f) : NULL;
        sessions[n] = e->models[i].session;
    }
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
    const struct observer **observers = calloc(e->n_running, sizeof *observers);
    e->start = seconds_now();
    int r = sessions && observers ? run_windows(e, sessions, observers, err)
                                  : ggf_no_memory(err);
    e->seconds = seconds_now() - e->start;
    free((void *)sessions);
    free((void *)observers);
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
