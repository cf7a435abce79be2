/* forward.c - the model card as code.
 *
 * Every thread of a team walks the layers; in the steps named _team they share the
 * work.  Where a device has a part in it, the first thread tells it what to do. */
#include "forward.h"
#include "../gpu/offload.h"
#include "../ops/rope.h"

#include <string.h>

/* What the steps of a batch have in common; each thread has its own. */
struct pass {
    const struct member *me;
    const q3n_model *model;
    struct workspace *w;
    const struct batch *batch;
    uint32_t n_wanted;          /* tokens whose logits are wanted: w->wanted, ascending */
    struct device_pass *device; /* for the first thread; unused if there is none */
    ggf_error *err;
};

/* A step is over. */
static void done(const struct pass *p, enum op op)
{
    op_done(p->me, p->batch->clock, op);
}

void embed_row(const q3n_model *m, int32_t token, float *x)
{
    const struct matrix *e = &m->embedding;
    m->decode_embedding(e->data + (size_t)token * e->row_bytes, x, e->n);
    if (e->scale != 1.0f)
        for (uint32_t i = 0; i < e->n; i++) x[i] *= e->scale;
}

static void embed_team(const struct pass *p)
{
    const q3n_model *m = p->model;
    const struct hparams *hp = &m->hp;
    for (uint64_t t; team_next(p->me, p->batch->n, &t);) {
        const struct run *run = &p->batch->runs[p->w->run_of[t]];
        const uint32_t at = (uint32_t)t - run->first;
        embed_row(m, run->tokens[at], p->w->x + t * hp->n_embd);
        rope_table(p->w->rope + t * hp->n_rot, hp->n_rot, hp->rope_base, run->pos + at);
    }
    done(p, OP_EMBED);
}

/* norm = rms_norm(x), encoded, for tokens from `first` on; before that x += add, unless
 * that is NULL. */
static struct acts norm_team(const struct pass *p, uint32_t first, const float *add,
                             const float *weight, unsigned kinds)
{
    const uint32_t n = p->model->hp.n_embd;
    const struct vec_ops *ops = &p->model->ops;
    struct acts acts;
    acts_place(&acts, p->w->norm_acts, kinds, n, p->w->n_batch);
    for (uint64_t i; team_next(p->me, p->batch->n - first, &i);) {
        const size_t at = (first + i) * n;
        float *x = p->w->x + at, *y = p->w->norm + at;
        if (add) ops->axpy(x, 1, add + at, n);
        ops->rms_norm(y, x, weight, n, p->model->hp.eps);
        acts_encode(&acts, kinds, i, y);
    }
    done(p, OP_NORM);
    return acts;
}

static void observe(const struct pass *p, enum observed_place place, uint32_t layer,
                    const float *x, uint32_t n, uint32_t rows)
{
    const struct observed o = {
        .place = place, .layer = layer, .n = n, .rows = rows, .x = x
    };
    observe_team(p->me, p->batch->observer, &o);
}

/* The mixer's output projection, into w->out. */
static void project_team(const struct pass *p, const struct linear *out)
{
    struct acts acts;
    acts_place(&acts, p->w->mixed_acts, out->kinds, out->n, p->w->n_batch);
    for (uint64_t t; team_next(p->me, p->batch->n, &t);)
        acts_encode(&acts, out->kinds, t, p->w->mixed + t * out->n);
    linear_team(p->me, out, &acts, p->batch->n, p->w->out, out->width);
    done(p, OP_MIXER_OUT);
}

/* The part between the projections, of one sequence. */
static void mix_team(const struct pass *p, const struct layer *l, uint32_t index,
                     const struct run *run)
{
    const struct vec_ops *ops = &p->model->ops;
    const struct linear *in = l->recurrent ? &l->delta.in : &l->attention.in;
    const struct linear *out = l->recurrent ? &l->delta.out : &l->attention.out;
    struct workspace *w = p->w;
    float *own = w->thread + (size_t)p->me->id * w->thread_floats;
    float *projected = w->projected + (size_t)run->first * in->width;
    float *mixed = w->mixed + (size_t)run->first * out->n;
    if (l->recurrent)
        delta_team(p->me, &l->delta, ops, &run->seq->delta[index], run->n, projected, own,
                   mixed);
    else
        attention_team(p->me, &l->attention, ops,
                       &(struct attention_run){ .cache = &run->seq->kv[index],
                                                .pos = run->pos,
                                                .tokens = run->n,
                                                .projected = projected,
                                                .rope = w->rope + (size_t)run->first *
                                                                      p->model->hp.n_rot,
                                                .scratch = own,
                                                .shared = w->shared,
                                                .out = mixed });
}

static void mixer_team(const struct pass *p, const struct layer *l, uint32_t index)
{
    const struct batch *b = p->batch;
    struct workspace *w = p->w;
    const struct linear *in = l->recurrent ? &l->delta.in : &l->attention.in;

    const struct acts acts = norm_team(p, 0, NULL, l->mixer_norm, in->kinds);
    observe(p, OBSERVED_MIXER, index, w->norm, in->n, b->n);
    linear_team(p->me, in, &acts, b->n, w->projected, in->width);
    done(p, OP_MIXER_IN);
    for (uint32_t i = 0; i < b->n_runs; i++) mix_team(p, l, index, &b->runs[i]);
    done(p, l->recurrent ? OP_DELTA : OP_ATTENTION);
    const struct linear *out = l->recurrent ? &l->delta.out : &l->attention.out;
    observe(p, OBSERVED_MIXER_OUT, index, w->mixed, out->n, b->n);
    project_team(p, out);
}

/* Behind the last mixer tokens before the first whose logits are wanted do not matter,
 * unless somebody watches. */
static uint32_t first_routed(const struct pass *p, uint32_t layer)
{
    const bool all = layer + 1 < p->model->hp.n_layer || p->batch->observer;
    const uint32_t wanted = p->n_wanted ? p->w->wanted[0] : p->batch->n;
    return all ? 0 : wanted;
}

static int layer_team(const struct pass *p, uint32_t index)
{
    const q3n_model *m = p->model;
    const struct layer *l = &m->layers[index];
    mixer_team(p, l, index);
    const uint32_t first = first_routed(p, index);
    const size_t at = (size_t)first * m->hp.n_embd;
    const struct acts acts = norm_team(p, first, p->w->out, l->ffn_norm, l->moe.kinds);
    if (first == p->batch->n) return 0;
    return moe_team(p->me, &l->moe, &m->ops, m->experts, &p->w->moe, p->batch->n - first,
                    p->w->norm + at, &acts, p->w->x + at, p->batch->observer,
                    p->batch->watch, p->err);
}

/* The rows whose logits are wanted move together in w->norm. */
static void head_team(const struct pass *p)
{
    const q3n_model *m = p->model;
    const uint32_t n = p->n_wanted, width = m->hp.n_embd;
    struct acts acts;
    if (!n) return;
    acts_place(&acts, p->w->norm_acts, m->head.kinds, width, p->w->n_batch);
    for (uint64_t i; team_next(p->me, n, &i);) {
        const float *x = p->w->x + (size_t)p->w->wanted[i] * width;
        float *y = p->w->norm + i * width;
        m->ops.rms_norm(y, x, m->output_norm, width, m->hp.eps);
        acts_encode(&acts, m->head.kinds, i, y);
    }
    done(p, OP_NORM);
    observe(p, OBSERVED_HEAD, 0, p->w->norm, width, n);
    linear_team(p->me, &m->head, &acts, n, p->batch->logits, m->head.width);
    done(p, OP_HEAD);
}

/* ---- With a device --------------------------------------------------------------- */

/* All threads get what the first has come to, and go on together. */
static int joined(const struct pass *p, int status)
{
    if (status) team_fail(p->me, status);
    team_barrier(p->me);
    status = atomic_load(&p->me->team->status);
    team_barrier(p->me);
    return status;
}

static bool leads(const struct pass *p) { return p->me->id == 0; }

static int to_device(const struct pass *p)
{
    if (leads(p)) device_put_x(p->device);
    return 0;
}

static int to_host(const struct pass *p)
{
    int e = 0;
    if (leads(p)) {
        device_get_x(p->device);
        e = gpu_sync(p->model->offload->gpu, p->err);
    }
    return joined(p, e);
}

/* Attention of a layer on the device whose keys and values are the host's. */
static int mix_at_host(const struct pass *p, uint32_t index)
{
    const struct layer *l = &p->model->layers[index];
    int e = 0;
    if (leads(p)) e = device_get_projected(p->device, index, p->err);
    if ((e = joined(p, e))) return e;
    for (uint32_t i = 0; i < p->batch->n_runs; i++)
        mix_team(p, l, index, &p->batch->runs[i]);
    if (leads(p)) device_put_mixed(p->device, index);
    return 0;
}

/* The routed experts of a layer on the device, which the host has. */
static int experts_at_host(const struct pass *p, uint32_t index, uint32_t first)
{
    const q3n_model *m = p->model;
    const struct moe *moe = &m->layers[index].moe;
    const unsigned kinds =
        moe->in_kinds | (moe->next_router ? moe->next_router->kinds : 0);
    const uint32_t n = m->hp.n_embd, tokens = p->batch->n - first;
    float *sum = p->w->out + (size_t)first * n;
    struct acts acts;
    int e = 0;
    if (leads(p)) {
        p->w->moe.routed_only = true;
        e = device_get_choice(p->device, first, true, p->err);
        device_shared(p->device, index, first);
    }
    if ((e = joined(p, e))) return e;
    acts_place(&acts, p->w->norm_acts, kinds, n, p->w->n_batch);
    for (uint64_t t; team_next(p->me, tokens, &t);)
        acts_encode(&acts, kinds, t, p->w->norm + t * n);
    e = moe_team(p->me, moe, &m->ops, m->experts, &p->w->moe, tokens, p->w->norm, &acts,
                 sum, NULL, p->batch->watch, p->err);
    if (!e && leads(p)) device_put_sum(p->device, index, first);
    return e;
}

/* The first thread asks the others for help, if it needs any. */
static int pooled(const struct pass *p, uint32_t index, uint32_t first)
{
    int e = 0;
    if (leads(p)) {
        p->device->me = p->me;
        e = device_pooled(p->device, index, first, p->err);
        team_dismiss(p->me);
    } else {
        team_follow(p->me);
    }
    return joined(p, e);
}

static int device_layer_team(const struct pass *p, uint32_t index)
{
    const q3n_model *m = p->model;
    const uint32_t first = first_routed(p, index);
    const bool keeps = offload_keeps(m, index);
    int e = 0;
    if (m->offload->layers[index].pooled && keeps) {
        if (leads(p)) device_to_choice(p->device, index, first);
        return first < p->batch->n ? pooled(p, index, first) : 0;
    }
    if (leads(p)) {
        device_mixer_in(p->device, index);
        if (keeps) device_mix(p->device, index);
    }
    if (!keeps && (e = mix_at_host(p, index))) return e;
    if (leads(p)) {
        device_mixer_out(p->device, index, first);
        device_route(p->device, index, first);
    }
    if (first == p->batch->n) return 0;
    if (m->offload->layers[index].pooled) return pooled(p, index, first);
    if (!m->offload->layers[index].experts) return experts_at_host(p, index, first);
    if (leads(p)) {
        e = device_tell(p->device, index, first, p->err);
        device_experts(p->device, index, first);
    }
    return p->batch->watch ? joined(p, e) : 0;
}

/* The layers, and the head as the last of them, each where it belongs. */
static int shared_team(const struct pass *p)
{
    const q3n_model *m = p->model;
    const uint32_t n = m->hp.n_layer;
    bool there = false;
    if (leads(p)) device_begin(p->device);
    for (uint32_t i = 0; i <= n; i++) {
        const bool here = i < n ? offload_layer_here(m, i) : m->offload->head;
        int e = 0;
        if (here != there) e = here ? to_device(p) : to_host(p);
        if (e) return e;
        there = here;
        if (i == n) break;
        if (!here && leads(p)) p->w->moe.routed_only = false;
        if ((e = here ? device_layer_team(p, i) : layer_team(p, i))) return e;
    }
    if (!there) head_team(p);
    return there ? joined(p, leads(p) ? device_head(p->device, p->n_wanted, p->err) : 0)
                 : 0;
}

static int forward_team(const struct pass *p)
{
    embed_team(p);
    if (p->model->offload) return shared_team(p);
    for (uint32_t i = 0; i < p->model->hp.n_layer; i++) {
        int e = layer_team(p, i);
        if (e) return e;
    }
    head_team(p);
    return 0;
}

struct call {
    struct pass pass;
    int status;
};

static void work(const struct member *me, void *arg)
{
    struct call *call = arg;
    struct pass pass = call->pass;
    pass.me = me;
    const int e = forward_team(&pass); /* the same for all threads */
    if (me->id == 0) call->status = e;
}

/* All of it there, but for what the first thread needs help with. */
static void work_there(const struct member *me, void *arg)
{
    struct call *call = arg;
    struct device_pass *d = call->pass.device;
    if (me->id) {
        team_follow(me);
        return;
    }
    d->me = me;
    call->status = device_forward(d, call->pass.n_wanted, call->pass.err);
    team_dismiss(me);
}

/* Number the tokens; returns how many logits are wanted. */
static uint32_t number(struct workspace *w, const struct batch *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_runs; i++)
        for (uint32_t t = 0; t < b->runs[i].n; t++) {
            w->run_of[b->runs[i].first + t] = i;
            if (t >= b->runs[i].first_logits) w->wanted[n++] = b->runs[i].first + t;
        }
    return n;
}

static int forward_with(struct device_pass *d, uint32_t n_wanted, ggf_error *err)
{
    struct offload *o = d->model->offload;
    struct call call = { .pass = { NULL, d->model, d->w, d->batch, n_wanted, d, err } };
    pthread_mutex_lock(&o->mutex);
    device_fill(d);
    if (o->steady) call.status = device_forward(d, n_wanted, err);
    else team_run(d->model->threads, o->all ? work_there : work, &call);
    if (call.status) gpu_sync(o->gpu, NULL); /* what was asked for ends before we do */
    if (call.status && o->few) few_settle(o->few);
    pthread_mutex_unlock(&o->mutex);
    return call.status;
}

int forward(const q3n_model *model, struct workspace *w, const struct batch *batch,
            ggf_error *err)
{
    const uint32_t n_wanted = number(w, batch);
    struct device_pass device = {
        .model = model, .d = w->device, .w = w, .batch = batch, .n_wanted = n_wanted
    };
    struct call call = { .pass = { NULL, model, w, batch, n_wanted, &device, err } };
    w->moe.clock = batch->clock;
    op_start(batch->clock);
    if (model->offload) return forward_with(&device, n_wanted, err);
    team_run(model->threads, work, &call);
    return call.status;
}
