/* lane.c - the buffers that sessions share, and computing: runs of several sessions are
 * cut into batches. */
#include "session.h"
#include "../gpu/offload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int q3n_lane_new(q3n_lane **out, q3n_model *model,
                 const struct q3n_session_options *options, ggf_error *err)
{
    const struct q3n_session_options o = q3n_session_complete(model, options);
    q3n_lane *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l) return ggf_no_memory(err);
    l->model = model;
    l->n_batch = o.n_ubatch;
    l->n_ctx = o.n_ctx;
    int e = workspace_new(&l->work, model, l->n_batch, l->n_ctx, err);
    if (!e) e = device_work_new(&l->work.device, model, &l->work, err);
    if (e) q3n_lane_free(l);
    else *out = l;
    return e;
}

void q3n_lane_free(q3n_lane *l)
{
    if (!l) return;
    device_work_free(l->work.device, l->model);
    workspace_free(&l->work);
    free(l->runs);
    free(l);
}

/* ---- What can be computed ------------------------------------------------------ */

static int check(const struct q3n_run *r, ggf_error *err)
{
    const q3n_session *s = r->session;
    const uint32_t n_vocab = s->model->info.n_vocab;
    if (s->broken)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "an earlier batch of the session failed; it must be reset");
    if (s->observer && s->model->offload)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "what a device computes cannot be observed");
    if (r->n > s->options.n_ctx - s->pos)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu32 " tokens do not fit: the context of %" PRIu32
                        " holds %" PRIu32 " already",
                        r->n, s->options.n_ctx, s->pos);
    for (uint32_t i = 0; i < r->n; i++)
        if (r->tokens[i] < 0 || (uint32_t)r->tokens[i] >= n_vocab)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "token %" PRId32 " is not in the vocabulary of %" PRIu32,
                            r->tokens[i], n_vocab);
    return 0;
}

static int check_all(const struct q3n_run *runs, uint32_t n, ggf_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const int e = check(&runs[i], err);
        if (e) return e;
        for (uint32_t k = 0; k < i; k++)
            if (runs[k].session == runs[i].session ||
                runs[k].session->lane != runs[i].session->lane)
                return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                                "sessions that are computed together must be different "
                                "ones of one lane");
    }
    return 0;
}

/* ---- Batches ------------------------------------------------------------------- */

/* How far a call is. */
struct progress {
    const struct q3n_run *runs;
    uint32_t n_runs;
    uint32_t run, at; /* the next token: of which run, and its number there */
    float *logits;    /* of the next token that wants them */
};

static bool make_room(q3n_lane *l, uint32_t n)
{
    if (n <= l->room) return true;
    struct run *runs = realloc(l->runs, n * sizeof *runs);
    if (!runs) return false;
    l->runs = runs;
    l->room = n;
    return true;
}

/* The next tokens of the run in hand, as many as fit. */
static void add_run(struct progress *p, q3n_lane *l, struct batch *b)
{
    const struct q3n_run *r = &p->runs[p->run];
    const uint32_t left = r->n - p->at, room = l->n_batch - b->n;
    const uint32_t n = left < room ? left : room;
    const uint32_t first = p->logits ? r->first_logits : r->n;
    l->runs[b->n_runs++] = (struct run){
        .seq = &r->session->seq,
        .tokens = r->tokens + p->at,
        .n = n,
        .pos = r->session->pos,
        .first = b->n,
        .first_logits = first <= p->at      ? 0
                        : first - p->at < n ? first - p->at
                                            : n,
    };
    b->n += n;
    p->at += n;
    if (p->at < r->n) return;
    p->run++;
    p->at = 0;
}

static void move_on(q3n_session *s, const struct run *r)
{
    memcpy(s->tokens + s->pos, r->tokens, r->n * sizeof *r->tokens);
    s->pos += r->n;
}

/* Runs of a batch follow each other in the call: the first is number `first`. */
static int compute(struct progress *p, q3n_lane *l, const struct batch *b, uint32_t first,
                   ggf_error *err)
{
    const int e = forward(l->model, &l->work, b, err);
    for (uint32_t i = 0; i < b->n_runs; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core*): runs of the batch are runs of the call */
        q3n_session *s = p->runs[first + i].session;
        const struct run *r = &l->runs[i];
        if (e) s->broken = true;
        else move_on(s, r);
        if (p->logits)
            p->logits += (size_t)(r->n - r->first_logits) * l->model->info.n_vocab;
    }
    return e;
}

static void skip_empty(struct progress *p)
{
    while (p->run < p->n_runs && !p->runs[p->run].n) p->run++;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): they are written */
int q3n_sessions_eval(const struct q3n_run *runs, uint32_t n_runs, float *logits,
                      ggf_error *err)
{
    struct progress p = { .runs = runs, .n_runs = n_runs, .logits = logits };
    int e = check_all(runs, n_runs, err);
    if (e || !n_runs) return e;
    const q3n_session *s = runs[0].session;
    q3n_lane *l = s->lane;
    if (!make_room(l, n_runs)) return ggf_no_memory(err);
    for (skip_empty(&p); p.run < n_runs && !e; skip_empty(&p)) {
        const uint32_t first = p.run;
        struct batch b = { .runs = l->runs,
                           .logits = p.logits,
                           .observer = s->observer,
                           .watch = s->watch,
                           .clock = s->clock };
        for (; p.run < n_runs && b.n < l->n_batch && p.runs[p.run].n;) add_run(&p, l, &b);
        e = compute(&p, l, &b, first, err);
    }
    return e;
}

int q3n_session_eval(q3n_session *s, const int32_t *tokens, uint32_t n,
                     uint32_t first_logits, float *logits, ggf_error *err)
{
    const struct q3n_run run = { s, tokens, n, logits ? first_logits : n };
    return q3n_sessions_eval(&run, 1, logits, err);
}
