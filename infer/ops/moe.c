/* moe.c - routing, grouping tokens by expert, and the experts' products. */
#include "moe.h"

#include <math.h>
#include <string.h>

enum { FF_ROWS = 256, OUT_ROWS = 1024, SUM_COLUMNS = 512 }; /* pieces of work */
enum { FEW_TOKENS = 8 }; /* weights are what takes time, not products with them */

/* What is no number comes last. */
static inline bool goes_before(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

/* One pass, with the largest so far in order: few of many go in. */
void moe_top(const float *p, uint32_t n, uint32_t n_used, uint32_t *ids, float *weights)
{
    const float least = 6.103515625e-5f; /* 2^-14, as in the reference engine */
    float sum = 0;
    for (uint32_t i = 0, held = 0; i < n; i++) {
        if (held == n_used && !goes_before(p[i], weights[held - 1])) continue;
        uint32_t at = held < n_used ? held++ : held - 1;
        for (; at && goes_before(p[i], weights[at - 1]); at--) {
            weights[at] = weights[at - 1];
            ids[at] = ids[at - 1];
        }
        weights[at] = p[i];
        ids[at] = i;
    }
    for (uint32_t k = 0; k < n_used; k++) sum += weights[k];
    for (uint32_t k = 0; k < n_used; k++) weights[k] /= fmaxf(sum, least);
}

static uint32_t pieces(uint32_t rows, uint32_t piece)
{
    return (rows + piece - 1) / piece;
}

uint32_t moe_asked(const struct moe *m, struct moe_work *w, uint32_t tokens)
{
    const uint32_t pairs = tokens * m->n_used;
    uint32_t n = 0;
    memset(w->count, 0, m->n_expert * sizeof *w->count);
    for (uint32_t i = 0; i < pairs; i++) w->count[w->ids[i]]++;
    for (uint32_t e = 0; e < m->n_expert; e++)
        if (w->count[e]) w->demand.ids[n++] = e;
    return n;
}

/* Number the pairs by expert, in the order of the demand. */
static void group(const struct moe *m, struct moe_work *w, uint32_t tokens)
{
    const uint32_t pairs = tokens * m->n_used;
    uint32_t first = 0;
    for (w->n_jobs = 0; w->n_jobs < w->demand.n; w->n_jobs++) {
        const uint32_t e = w->demand.ids[w->n_jobs], n = w->count[e];
        w->jobs[w->n_jobs] = (struct moe_job){ w->n_jobs, first, n };
        w->next[e] = first;
        first += n;
    }
    for (uint32_t i = 0; i < pairs; i++) {
        w->pair[i] = w->next[w->ids[i]]++;
        w->pair_token[w->pair[i]] = i / m->n_used;
        w->pair_weight[w->pair[i]] = w->weights[i];
    }
    w->jobs[w->n_jobs] = (struct moe_job){ MOE_SHARED, 0, tokens };
    w->n_jobs++;
}

static void tell(const struct moe *m, const struct moe_work *w, uint32_t tokens,
                 uint32_t n_active, const struct route_watch *watch)
{
    const struct routed r = { .layer = m->layer,
                              .tokens = tokens,
                              .n_used = m->n_used,
                              .ids = w->ids,
                              .weights = w->weights,
                              .n_active = n_active,
                              .active = w->demand.ids,
                              .flags = w->demand.flags };
    if (watch) watch->see(watch->user, &r);
}

void moe_tell(const struct moe *m, struct moe_work *w, uint32_t tokens,
              const struct route_watch *watch)
{
    const uint32_t n = moe_asked(m, w, tokens);
    memset(w->demand.flags, DEMAND_HIT, n);
    tell(m, w, tokens, n, watch);
}

/* Ask the store for the experts of the batch. */
static void demand(const struct moe *m, struct expert_store *store, struct moe_work *w,
                   uint32_t tokens, const struct route_watch *watch)
{
    const uint32_t n = moe_asked(m, w, tokens);
    expert_store_begin(store, &w->demand, m->layer, n, w->count);
    group(m, w, tokens);
    tell(m, w, tokens, n, watch);
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
}

/* The next layer's input resembles this one's: what its router would choose now is read
 * while this layer is computed.  For a few tokens; more of them need everything. */
static void look_ahead_team(const struct member *me, const struct moe *m,
                            const struct vec_ops *ops, struct expert_store *store,
                            struct moe_work *w, uint32_t tokens, const struct acts *acts)
{
    if (!m->next_router || w->demand.sweep) return;
    linear_team(me, m->next_router, acts, tokens, w->logits, m->n_expert);
    if (me->id == 0) {
        for (uint32_t t = 0; t < tokens; t++) {
            float *p = w->logits + (size_t)t * m->n_expert;
            softmax(ops, p, m->n_expert);
            moe_top(p, m->n_expert, m->n_used, w->guess, w->guess_weight);
            expert_store_guess(store, m->layer + 1, w->guess, m->n_used);
        }
    }
    team_barrier(me);
}

/* The activations of each expert's tokens side by side, for kernels that take many. */
static void gather(const struct moe *m, const struct moe_work *w, size_t pair,
                   const struct acts *acts, const struct acts *gathered)
{
    for (int k = 0; k < ACT_KINDS; k++)
        if (m->in_kinds >> k & 1)
            memcpy(gathered->data[k] + pair * gathered->stride[k],
                   acts->data[k] + w->pair_token[pair] * acts->stride[k],
                   acts->stride[k]);
}

static void gather_team(const struct member *me, const struct moe *m,
                        const struct moe_work *w, uint32_t pairs, const struct acts *acts,
                        const struct acts *gathered)
{
    for (uint64_t i; team_next(me, pairs, &i);) gather(m, w, i, acts, gathered);
}

struct buffers {
    struct acts in, shared_in, mid, shared_mid;
};

/* Everything that the steps of a batch have in common. */
struct moe_pass {
    const struct member *me;
    const struct moe *m;
    const struct vec_ops *ops;
    struct expert_store *store;
    struct moe_work *w;
    uint32_t tokens;
    struct buffers b;
    float *down;                /* [n_embd, pairs] */
    const struct moe_job *jobs; /* of routed experts: of the chunk, or fewer */
    uint32_t n_jobs;
    bool shared; /* and the shared one's, which comes first; it is always there */
    ggf_error *err;
};

static const struct moe_job *job_of(const struct moe_pass *p, uint64_t i)
{
    if (!p->shared) return &p->jobs[i];
    return i ? &p->jobs[i - 1] : &p->w->jobs[p->w->n_jobs - 1];
}

static bool is_shared(const struct moe_job *job) { return job->expert == MOE_SHARED; }

/* The expert of a job once it is that far; NULL if that failed. */
static const struct expert *expert_of(const struct moe_pass *p, const struct moe_job *job,
                                      enum expert_stage stage)
{
    const struct expert_demand *d = &p->w->demand;
    ggf_error mine;
    if (is_shared(job)) return &p->m->shared;
    const int e = expert_store_wait(p->store, d, job->expert, stage, &mine);
    if (!e) return &d->experts[job->expert];
    if (team_fail(p->me, e) && p->err) *p->err = mine;
    return NULL;
}

static void gate_up_rows(const struct moe_pass *p, const struct moe_job *job,
                         struct matrix_rows gate, struct matrix_rows up)
{
    const struct moe_work *w = p->w;
    const struct expert *e = gate.n || up.n ? expert_of(p, job, EXPERT_IN) : NULL;
    const bool shared = is_shared(job);
    const struct acts *in = shared ? &p->b.shared_in : &p->b.in;
    const uint32_t n_ff = shared ? p->m->n_ff_shared : p->m->n_ff;
    const size_t at = (size_t)job->first * n_ff;
    if (!e) return;
    matrix_mul(&e->gate, gate.first, gate.n, in, job->first, job->n,
               (shared ? w->shared_gate : w->gate) + at + gate.first, n_ff);
    matrix_mul(&e->up, up.first, up.n, in, job->first, job->n,
               (shared ? w->shared_up : w->up) + at + up.first, n_ff);
}

static void down_rows(const struct moe_pass *p, const struct moe_job *job,
                      struct matrix_rows rows)
{
    const struct moe_work *w = p->w;
    const struct expert *e = rows.n ? expert_of(p, job, EXPERT_READY) : NULL;
    const bool shared = is_shared(job);
    const size_t at = (size_t)job->first * p->m->n_embd + rows.first;
    if (!e) return;
    matrix_mul(&e->down, rows.first, rows.n, shared ? &p->b.shared_mid : &p->b.mid,
               job->first, job->n, (shared ? w->shared_down : p->down) + at,
               p->m->n_embd);
}

/* silu(gate) * up, encoded for the down matrices: the chunk's pairs, and with the first
 * chunk the shared expert. */
static void activate_team(const struct moe_pass *p)
{
    const struct moe *m = p->m;
    const struct moe_work *w = p->w;
    const struct moe_job *last = &p->jobs[p->n_jobs - 1];
    const uint64_t first = p->jobs->first, pairs = last->first + last->n - first;
    for (uint64_t i; team_next(p->me, pairs + (p->shared ? p->tokens : 0), &i);) {
        if (i < pairs) {
            const size_t pair = first + i;
            float *up = w->up + pair * m->n_ff;
            p->ops->silu_mul(up, up, w->gate + pair * m->n_ff, m->n_ff);
            acts_encode(&p->b.mid, m->mid_kinds, pair, up);
        } else {
            const size_t at = (i - pairs) * m->n_ff_shared;
            float *up = w->shared_up + at;
            p->ops->silu_mul(up, up, w->shared_gate + at, m->n_ff_shared);
            acts_encode(&p->b.shared_mid, m->shared_mid_kinds, i - pairs, up);
        }
    }
}

/* ---- Sharing the work ------------------------------------------------------ */

static struct matrix_rows piece(uint64_t i, uint32_t each, uint32_t rows)
{
    const uint32_t row = (uint32_t)i * each;
    if (row >= rows) return (struct matrix_rows){ 0 };
    return (struct matrix_rows){ row, rows - row < each ? rows - row : each };
}

/* Many tokens: pieces of a matrix are shared. */
static void gate_up_pieces(const struct moe_pass *p, uint64_t jobs)
{
    const struct moe *m = p->m;
    const uint32_t n_ff = m->n_ff > m->n_ff_shared ? m->n_ff : m->n_ff_shared;
    const uint32_t each = pieces(n_ff, FF_ROWS);
    for (uint64_t i; team_next(p->me, jobs * each, &i);) {
        const struct moe_job *job = job_of(p, i / each);
        const struct matrix_rows rows =
            piece(i % each, FF_ROWS, is_shared(job) ? m->n_ff_shared : m->n_ff);
        gate_up_rows(p, job, rows, rows);
    }
}

static void down_pieces(const struct moe_pass *p, uint64_t jobs)
{
    const uint32_t each = pieces(p->m->n_embd, OUT_ROWS);
    for (uint64_t i; team_next(p->me, jobs * each, &i);)
        down_rows(p, job_of(p, i / each), piece(i % each, OUT_ROWS, p->m->n_embd));
}

/* Few tokens: stretches of rows across the matrices of all jobs. */
static void gate_up_stretches(const struct moe_pass *p)
{
    const struct moe *m = p->m;
    const struct expert *e = &p->w->demand.experts[p->jobs->expert];
    const uint64_t groups = 2 * (p->n_jobs * matrix_groups(m->n_ff) +
                                 p->shared * matrix_groups(m->n_ff_shared));
    const uint64_t least = matrix_least_stretch(&e->gate);
    for (struct stretch s; team_next_stretch(p->me, groups, least, &s);)
        for (uint64_t i = 0; s.n; i++) {
            const struct moe_job *job = job_of(p, i);
            const uint32_t n_ff = is_shared(job) ? m->n_ff_shared : m->n_ff;
            const struct matrix_rows gate = matrix_in_stretch(n_ff, &s);
            gate_up_rows(p, job, gate, matrix_in_stretch(n_ff, &s));
        }
}

static void down_stretches(const struct moe_pass *p, uint64_t jobs)
{
    const struct expert *e = &p->w->demand.experts[p->jobs->expert];
    const uint64_t least = matrix_least_stretch(&e->down);
    const uint64_t groups = jobs * matrix_groups(p->m->n_embd);
    for (struct stretch s; team_next_stretch(p->me, groups, least, &s);)
        for (uint64_t i = 0; s.n; i++)
            down_rows(p, job_of(p, i), matrix_in_stretch(p->m->n_embd, &s));
}

static int chunk_team(const struct moe_pass *p)
{
    const struct moe_work *w = p->w;
    const uint64_t jobs = p->n_jobs + p->shared;
    if (p->tokens > FEW_TOKENS) gate_up_pieces(p, jobs);
    else gate_up_stretches(p);
    op_done(p->me, w->clock, OP_GATE_UP);
    const int e = atomic_load(&p->me->team->status);
    if (e) return e;
    activate_team(p);
    op_done(p->me, w->clock, OP_SILU);
    if (p->tokens > FEW_TOKENS) down_pieces(p, jobs);
    else down_stretches(p, jobs);
    op_done(p->me, w->clock, OP_DOWN);
    return atomic_load(&p->me->team->status);
}

/* All chunks of the demand, one after the other; the shared expert with the first. */
static int experts_team(struct moe_pass *p)
{
    struct expert_demand *d = &p->w->demand;
    int e = 0;
    if (d->unchecked && (e = expert_store_check_team(p->me, p->store, d, p->err)))
        return e;
    for (;;) {
        p->jobs = p->w->jobs + d->first;
        p->n_jobs = d->count;
        p->shared = !d->first && !p->w->routed_only;
        if ((e = chunk_team(p)) || d->first + d->count == d->n) return e;
        team_barrier(p->me); /* all have seen that there is more */
        if (p->me->id == 0) expert_store_next(p->store, d);
        team_barrier(p->me);
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
        if (w->routed_only) {
            memcpy(x + at, sum, n * sizeof *sum);
            continue;
        }
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
        o.expert = w->demand.ids[job->expert];
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

static struct moe_pass pass_of(const struct member *me, const struct moe *m,
                               const struct vec_ops *ops, struct expert_store *store,
                               struct moe_work *w, uint32_t tokens, ggf_error *err)
{
    const uint32_t pairs = tokens * m->n_used;
    struct moe_pass p = { .me = me,
                          .m = m,
                          .ops = ops,
                          .store = store,
                          .w = w,
                          .tokens = tokens,
                          .down = w->down,
                          .err = err };
    acts_place(&p.b.in, w->gathered, m->in_kinds, m->n_embd, pairs);
    acts_place(&p.b.mid, w->mid, m->mid_kinds, m->n_ff, pairs);
    acts_place(&p.b.shared_mid, w->shared_mid, m->shared_mid_kinds, m->n_ff_shared,
               tokens);
    return p;
}

int moe_team(const struct member *me, const struct moe *m, const struct vec_ops *ops,
             struct expert_store *store, struct moe_work *w, uint32_t tokens,
             const float *norm, const struct acts *acts, float *x,
             const struct observer *observer, const struct route_watch *watch,
             ggf_error *err)
{
    struct moe_pass p = pass_of(me, m, ops, store, w, tokens, err);
    p.b.shared_in = *acts;
    if (!w->routed_only) route_team(me, m, ops, w, tokens, norm, acts);
    if (me->id == 0) demand(m, store, w, tokens, watch);
    team_barrier(me);
    look_ahead_team(me, m, ops, store, w, tokens, acts);
    observe_in(me, observer, m, w, tokens, norm);
    gather_team(me, m, w, tokens * m->n_used, acts, &p.b.in);
    op_done(me, w->clock, OP_ROUTE);
    const int e = experts_team(&p);
    if (!e) {
        observe_mid(me, observer, m, w, tokens);
        sum_team(me, m, ops, w, tokens, x);
        op_done(me, w->clock, OP_SUM);
    }
    /* Nobody looks at the demand any more. */
    if (me->id == 0) expert_store_end(store, &w->demand);
    return e;
}

uint32_t moe_share(const struct moe *m, struct moe_work *w, uint32_t tokens,
                   const struct acts *acts, const uint32_t *which, uint32_t n,
                   uint32_t row, uint32_t *place)
{
    const uint32_t pairs = tokens * m->n_used;
    struct acts gathered;
    acts_place(&gathered, w->gathered, m->in_kinds, m->n_embd, pairs);
    for (w->n_jobs = 0; w->n_jobs < n; w->n_jobs++) {
        const uint32_t expert = w->demand.ids[which[w->n_jobs]], first = row;
        for (uint32_t i = 0; i < pairs; i++) {
            if (w->ids[i] != expert) continue;
            w->pair_token[row] = i / m->n_used;
            gather(m, w, row, acts, &gathered);
            place[i] = row++;
        }
        w->jobs[w->n_jobs] = (struct moe_job){ which[w->n_jobs], first, row - first };
    }
    return row;
}

int moe_rows_team(const struct member *me, const struct moe *m, const struct vec_ops *ops,
                  struct expert_store *store, struct moe_work *w, uint32_t tokens,
                  float *rows, ggf_error *err)
{
    struct moe_pass p = pass_of(me, m, ops, store, w, tokens, err);
    p.down = rows;
    p.jobs = w->jobs;
    p.n_jobs = w->n_jobs;
    return chunk_team(&p);
}
