/* forward.c - the model card as code.
 *
 * Every thread of a team walks the layers; in the steps named _team they share the
 * work. */
#include "forward.h"
#include "../ops/rope.h"

/* What the steps of a batch have in common; each thread has its own. */
struct pass {
    const struct member *me;
    const q3n_model *model;
    const struct sequence *seq;
    struct workspace *w;
    const struct batch *batch;
    ggf_error *err;
};

/* A step is over. */
static void done(const struct pass *p, enum op op)
{
    op_done(p->me, p->batch->clock, op);
}

static void embed_team(const struct pass *p)
{
    const q3n_model *m = p->model;
    const struct hparams *hp = &m->hp;
    for (uint64_t t; team_next(p->me, p->batch->n, &t);) {
        const struct matrix *e = &m->embedding;
        float *x = p->w->x + t * hp->n_embd;
        m->decode_embedding(e->data + (size_t)p->batch->tokens[t] * e->row_bytes, x,
                            hp->n_embd);
        if (e->scale != 1.0f)
            for (uint32_t i = 0; i < hp->n_embd; i++) x[i] *= e->scale;
        rope_table(p->w->rope + t * hp->n_rot, hp->n_rot, hp->rope_base,
                   p->batch->pos + (uint32_t)t);
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

static void mixer_team(const struct pass *p, const struct layer *l, uint32_t index)
{
    const struct vec_ops *ops = &p->model->ops;
    const struct batch *b = p->batch;
    struct workspace *w = p->w;
    float *own = w->thread + (size_t)p->me->id * w->thread_floats;
    const struct linear *in = l->recurrent ? &l->delta.in : &l->attention.in;

    const struct acts acts = norm_team(p, 0, NULL, l->mixer_norm, in->kinds);
    observe(p, OBSERVED_MIXER, index, w->norm, in->n, b->n);
    linear_team(p->me, in, &acts, b->n, w->projected, in->width);
    done(p, OP_MIXER_IN);
    if (l->recurrent)
        delta_team(p->me, &l->delta, ops, &p->seq->delta[index], b->n, w->projected, own,
                   w->mixed);
    else
        attention_team(p->me, &l->attention, ops,
                       &(struct attention_run){ .cache = &p->seq->kv[index],
                                                .pos = b->pos,
                                                .tokens = b->n,
                                                .projected = w->projected,
                                                .rope = w->rope,
                                                .scratch = own,
                                                .shared = w->shared,
                                                .out = w->mixed });
    done(p, l->recurrent ? OP_DELTA : OP_ATTENTION);
    const struct linear *out = l->recurrent ? &l->delta.out : &l->attention.out;
    observe(p, OBSERVED_MIXER_OUT, index, w->mixed, out->n, b->n);
    project_team(p, out);
}

static int layer_team(const struct pass *p, uint32_t index)
{
    const q3n_model *m = p->model;
    const struct layer *l = &m->layers[index];
    mixer_team(p, l, index);
    /* Behind the last mixer only tokens whose logits are wanted matter, or those that
     * somebody watches. */
    const bool all = index + 1 < m->hp.n_layer || p->batch->observer;
    const uint32_t first = all ? 0 : p->batch->first_logits;
    const size_t at = (size_t)first * m->hp.n_embd;
    const struct acts acts = norm_team(p, first, p->w->out, l->ffn_norm, l->moe.kinds);
    if (first == p->batch->n) return 0;
    return moe_team(p->me, &l->moe, &m->ops, m->experts, &p->w->moe, p->batch->n - first,
                    p->w->norm + at, &acts, p->w->x + at, p->batch->observer,
                    p->batch->watch, p->err);
}

static void head_team(const struct pass *p)
{
    const q3n_model *m = p->model;
    const uint32_t first = p->batch->first_logits;
    if (first == p->batch->n) return;
    const struct acts acts = norm_team(p, first, NULL, m->output_norm, m->head.kinds);
    observe(p, OBSERVED_HEAD, 0, p->w->norm + (size_t)first * m->hp.n_embd, m->hp.n_embd,
            p->batch->n - first);
    linear_team(p->me, &m->head, &acts, p->batch->n - first, p->batch->logits,
                m->head.width);
    done(p, OP_HEAD);
}

static int forward_team(const struct pass *p)
{
    embed_team(p);
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

int forward(const q3n_model *model, const struct sequence *seq, struct workspace *w,
            const struct batch *batch, ggf_error *err)
{
    w->moe.clock = batch->clock;
    op_start(batch->clock);
    struct call call = { .pass = { NULL, model, seq, w, batch, err } };
    team_run(model->threads, work, &call);
    return call.status;
}
