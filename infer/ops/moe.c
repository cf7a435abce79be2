/* moe.c - routing, grouping tokens by expert, and the experts' products. */
#include "moe.h"

#include <math.h>
#include <string.h>

enum { FF_ROWS = 128, OUT_ROWS = 512, SUM_COLUMNS = 512 }; /* pieces of work */

void moe_top(float *p, uint32_t n, uint32_t n_used, uint32_t *ids, float *weights)
{
    const float least = 6.103515625e-5f; /* 2^-14, as in the reference engine */
    float sum = 0;
    for (uint32_t k = 0; k < n_used; k++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
            if (p[i] > p[best]) best = i;
        ids[k] = best;
        weights[k] = p[best];
        sum += p[best];
        p[best] = -1; /* probabilities are not negative: never chosen again */
    }
    for (uint32_t k = 0; k < n_used; k++) weights[k] /= fmaxf(sum, least);
}

static uint32_t pieces(uint32_t rows, uint32_t piece)
{
    return (rows + piece - 1) / piece;
}

/* Number the pairs by expert and list the experts that have any. */
static void group(const struct moe *m, struct moe_work *w, uint32_t tokens)
{
    const uint32_t pairs = tokens * m->n_used;
    memset(w->count, 0, m->n_expert * sizeof *w->count);
    for (uint32_t i = 0; i < pairs; i++) w->count[w->ids[i]]++;
    uint32_t first = 0;
    w->n_jobs = 0;
    for (uint32_t e = 0; e < m->n_expert; e++) {
        const uint32_t n = w->count[e];
        w->count[e] = first; /* from here on: the next free pair of the expert */
        if (!n) continue;
        w->active[w->n_jobs] = e;
        w->jobs[w->n_jobs] = (struct moe_job){ w->n_jobs, first, n };
        w->n_jobs++;
        first += n;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        w->pair[i] = w->count[w->ids[i]]++;
        w->pair_token[w->pair[i]] = i / m->n_used;
        w->pair_weight[w->pair[i]] = w->weights[i];
    }
    w->experts[w->n_jobs] = m->shared;
    w->jobs[w->n_jobs] = (struct moe_job){ w->n_jobs, 0, tokens };
    w->n_jobs++;
}

static void route_team(const struct member *me, const struct moe *m,
                       const struct vec_ops *ops, struct moe_work *w, uint32_t tokens,
                       const float *norm, const struct acts *acts)
{
    linear_team(me, &m->router, acts, tokens, w->logits, m->n_expert);
    for (uint64_t t; team_next(me, tokens, &t);) {
        float *p = w->logits + t * m->n_expert;
        const size_t at = t * m->n_used;
        softmax(ops, p, m->n_expert);
        moe_top(p, m->n_expert, m->n_used, w->ids + at, w->weights + at);
        w->shared_weight[t] =
            sigmoid(ops->dot(m->shared_gate, norm + t * m->n_embd, m->n_embd));
    }
    if (me->id == 0) group(m, w, tokens);
    team_barrier(me);
}

/* The activations of each expert's tokens side by side, for kernels that take many. */
static void gather_team(const struct member *me, const struct moe *m,
                        const struct moe_work *w, uint32_t tokens,
                        const struct acts *acts, const struct acts *gathered)
{
    for (uint64_t i; team_next(me, (uint64_t)tokens * m->n_used, &i);)
        for (int k = 0; k < ACT_KINDS; k++)
            if (m->in_kinds >> k & 1)
                memcpy(gathered->data[k] + i * gathered->stride[k],
                       acts->data[k] + w->pair_token[i] * acts->stride[k],
                       acts->stride[k]);
}

struct buffers {
    struct acts in, shared_in, mid, shared_mid;
};

static void gate_up_piece(const struct moe *m, const struct moe_work *w,
                          const struct buffers *b, const struct moe_job *job,
                          uint32_t row)
{
    const bool shared = job == &w->jobs[w->n_jobs - 1];
    const struct expert *e = &w->experts[job->expert];
    const struct acts *in = shared ? &b->shared_in : &b->in;
    const uint32_t n_ff = shared ? m->n_ff_shared : m->n_ff;
    if (row >= n_ff) return;
    const uint32_t rows = n_ff - row < FF_ROWS ? n_ff - row : FF_ROWS;
    const size_t at = (size_t)job->first * n_ff + row;
    matrix_mul(&e->gate, row, rows, in, job->first, job->n,
               (shared ? w->shared_gate : w->gate) + at, n_ff);
    matrix_mul(&e->up, row, rows, in, job->first, job->n,
               (shared ? w->shared_up : w->up) + at, n_ff);
}

static void down_piece(const struct moe *m, const struct moe_work *w,
                       const struct buffers *b, const struct moe_job *job, uint32_t row)
{
    const bool shared = job == &w->jobs[w->n_jobs - 1];
    const struct expert *e = &w->experts[job->expert];
    const uint32_t rows = m->n_embd - row < OUT_ROWS ? m->n_embd - row : OUT_ROWS;
    matrix_mul(&e->down, row, rows, shared ? &b->shared_mid : &b->mid, job->first, job->n,
               (shared ? w->shared_down : w->down) + (size_t)job->first * m->n_embd + row,
               m->n_embd);
}

/* silu(gate) * up, encoded for the down matrices: all pairs, then the shared expert. */
static void activate_team(const struct member *me, const struct moe *m,
                          const struct vec_ops *ops, const struct moe_work *w,
                          uint32_t tokens, const struct buffers *b)
{
    const uint64_t pairs = (uint64_t)tokens * m->n_used;
    for (uint64_t i; team_next(me, pairs + tokens, &i);) {
        if (i < pairs) {
            float *up = w->up + i * m->n_ff;
            ops->silu_mul(up, up, w->gate + i * m->n_ff, m->n_ff);
            acts_encode(&b->mid, m->mid_kinds, i, up);
        } else {
            const size_t at = (i - pairs) * m->n_ff_shared;
            float *up = w->shared_up + at;
            ops->silu_mul(up, up, w->shared_gate + at, m->n_ff_shared);
            acts_encode(&b->shared_mid, m->shared_mid_kinds, i - pairs, up);
        }
    }
}

static void sum_team(const struct member *me, const struct moe *m,
                     const struct vec_ops *ops, const struct moe_work *w, uint32_t tokens,
                     float *x)
{
    const uint32_t per_token = pieces(m->n_embd, SUM_COLUMNS);
    for (uint64_t i; team_next(me, (uint64_t)tokens * per_token, &i);) {
        const uint64_t t = i / per_token;
        const uint32_t column = (uint32_t)(i % per_token) * SUM_COLUMNS;
        const uint32_t n =
            m->n_embd - column < SUM_COLUMNS ? m->n_embd - column : SUM_COLUMNS;
        float sum[SUM_COLUMNS] = { 0 };
        for (uint32_t k = 0; k < m->n_used; k++) {
            const size_t at = t * m->n_used + k;
            ops->axpy(sum, w->weights[at],
                      w->down + (size_t)w->pair[at] * m->n_embd + column, n);
        }
        const size_t at = t * m->n_embd + column;
        ops->axpy(sum, w->shared_weight[t], w->shared_down + at, n);
        ops->axpy(x + at, 1, sum, n);
    }
}

/* What the routed experts see: `at` says where the rows of the pairs are in x. */
static void observe_experts(const struct member *me, const struct observer *observer,
                            const struct moe_work *w, const struct observed *all)
{
    const uint32_t per_expert = observe_pieces(all->n);
    for (uint64_t i; team_next(me, (uint64_t)(w->n_jobs - 1) * per_expert, &i);) {
        const struct moe_job *job = &w->jobs[i / per_expert];
        struct observed o = *all;
        o.expert = w->active[job->expert];
        o.rows = job->n;
        o.weights = w->pair_weight + job->first;
        if (o.at) o.at += job->first;
        else o.x += (size_t)job->first * o.n;
        observe_piece(observer, o, (uint32_t)(i % per_expert));
    }
}

static void observe_in(const struct member *me, const struct observer *observer,
                       const struct moe *m, const struct moe_work *w, uint32_t tokens,
                       const float *norm)
{
    struct observed o = { .place = OBSERVED_FFN, .layer = m->layer, .n = m->n_embd };
    if (!observer) return;
    o.x = norm;
    o.rows = tokens;
    observe_team(me, observer, &o);
    o.place = OBSERVED_EXPERTS;
    o.at = w->pair_token;
    observe_experts(me, observer, w, &o);
}

static void observe_mid(const struct member *me, const struct observer *observer,
                        const struct moe *m, const struct moe_work *w, uint32_t tokens)
{
    struct observed o = { .place = OBSERVED_SHARED_DOWN, .layer = m->layer };
    if (!observer) return;
    o.n = m->n_ff_shared;
    o.x = w->shared_up;
    o.rows = tokens;
    observe_team(me, observer, &o);
    o.place = OBSERVED_DOWN;
    o.n = m->n_ff;
    o.x = w->up;
    observe_experts(me, observer, w, &o);
}

int moe_team(const struct member *me, const struct moe *m, const struct vec_ops *ops,
             struct expert_store *store, struct moe_work *w, uint32_t tokens,
             const float *norm, const struct acts *acts, float *x,
             const struct observer *observer, ggf_error *err)
{
    const uint32_t pairs = tokens * m->n_used;
    struct buffers b = { .in = *acts, .shared_in = *acts };
    acts_place(&b.mid, w->mid, m->mid_kinds, m->n_ff, pairs);
    acts_place(&b.shared_mid, w->shared_mid, m->shared_mid_kinds, m->n_ff_shared, tokens);

    route_team(me, m, ops, w, tokens, norm, acts);
    int e = expert_store_acquire_team(me, store, m->layer, w->active, w->n_jobs - 1,
                                      w->experts, err);
    if (e) return e;
    observe_in(me, observer, m, w, tokens, norm);
    acts_place(&b.in, w->gathered, m->in_kinds, m->n_embd, pairs);
    gather_team(me, m, w, tokens, acts, &b.in);

    const uint32_t n_ff = m->n_ff > m->n_ff_shared ? m->n_ff : m->n_ff_shared;
    const uint32_t ff_pieces = pieces(n_ff, FF_ROWS),
                   out_pieces = pieces(m->n_embd, OUT_ROWS);
    for (uint64_t i; team_next(me, (uint64_t)w->n_jobs * ff_pieces, &i);)
        gate_up_piece(m, w, &b, &w->jobs[w->n_jobs - 1 - i / ff_pieces],
                      (uint32_t)(i % ff_pieces) * FF_ROWS);
    activate_team(me, m, ops, w, tokens, &b);
    observe_mid(me, observer, m, w, tokens);
    for (uint64_t i; team_next(me, (uint64_t)w->n_jobs * out_pieces, &i);)
        down_piece(m, w, &b, &w->jobs[w->n_jobs - 1 - i / out_pieces],
                   (uint32_t)(i % out_pieces) * OUT_ROWS);
    sum_team(me, m, ops, w, tokens, x);
    return 0;
}
