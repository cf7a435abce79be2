/* workspace.c - the buffers of a batch.  Large ones come from the system untouched, so a
 * session that only decodes never holds the memory that a full batch would need. */
#include "forward.h"

#include <inttypes.h>
#include <stdlib.h>

static void *block(struct workspace *w, uint64_t n, uint64_t size)
{
    uint64_t bytes;
    static char counted;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64) return NULL;
    w->bytes += (bytes + 64) / 64 * 64;
    if (w->counting) return &counted;
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    void **blocks =
        p ? realloc(w->memory.blocks, (w->memory.n + 1) * sizeof *blocks) : NULL;
    if (!blocks) {
        free(p);
        return NULL;
    }
    w->memory.blocks = blocks;
    return blocks[w->memory.n++] = p;
}

/* The largest need of any layer. */
struct needs {
    uint32_t projected, mixed;
    size_t norm_acts, mixed_acts, gathered, mid, shared_mid, thread, shared;
};

static void raise(size_t *most, size_t n)
{
    if (*most < n) *most = n;
}

static struct needs needs_of(const q3n_model *model, uint32_t n_batch, uint32_t n_ctx)
{
    struct needs n = { 0 };
    const uint32_t n_embd = model->hp.n_embd;
    raise(&n.norm_acts, acts_bytes(model->head.kinds, n_embd, n_batch));
    for (uint32_t i = 0; i < model->hp.n_layer; i++) {
        const struct layer *l = &model->layers[i];
        const struct moe *moe = &l->moe;
        const struct linear *in = l->recurrent ? &l->delta.in : &l->attention.in;
        const struct linear *out = l->recurrent ? &l->delta.out : &l->attention.out;
        const size_t pairs = (size_t)n_batch * moe->n_used;
        if (n.projected < in->width) n.projected = in->width;
        if (n.mixed < out->n) n.mixed = out->n;
        raise(&n.norm_acts, acts_bytes(in->kinds, n_embd, n_batch));
        raise(&n.norm_acts, acts_bytes(moe->kinds, n_embd, n_batch));
        raise(&n.mixed_acts, acts_bytes(out->kinds, out->n, n_batch));
        raise(&n.gathered, acts_bytes(moe->in_kinds, n_embd, pairs));
        raise(&n.mid, acts_bytes(moe->mid_kinds, moe->n_ff, pairs));
        raise(&n.shared_mid,
              acts_bytes(moe->shared_mid_kinds, moe->n_ff_shared, n_batch));
        raise(&n.thread,
              l->recurrent ? delta_scratch(&l->delta) : attention_scratch(&l->attention));
        if (!l->recurrent) raise(&n.shared, attention_shared(&l->attention, n_ctx));
    }
    return n;
}

static bool moe_blocks(struct workspace *w, const struct hparams *hp,
                       const struct needs *n, uint32_t n_batch)
{
    struct moe_work *moe = &w->moe;
    struct expert_demand *d = &moe->demand;
    const uint64_t pairs = (uint64_t)n_batch * hp->n_expert_used, f = sizeof(float);
    return (moe->logits = block(w, n_batch, hp->n_expert * f)) &&
           (moe->ids = block(w, pairs, sizeof *moe->ids)) &&
           (moe->weights = block(w, pairs, f)) &&
           (moe->shared_weight = block(w, n_batch, f)) &&
           (moe->guess = block(w, hp->n_expert_used, sizeof *moe->guess)) &&
           (moe->guess_weight = block(w, hp->n_expert_used, f)) &&
           (moe->pair = block(w, pairs, sizeof *moe->pair)) &&
           (moe->pair_token = block(w, pairs, sizeof *moe->pair_token)) &&
           (moe->pair_weight = block(w, pairs, f)) &&
           (moe->count = block(w, hp->n_expert, sizeof *moe->count)) &&
           (moe->next = block(w, hp->n_expert, sizeof *moe->next)) &&
           (d->ids = block(w, hp->n_expert, sizeof *d->ids)) &&
           (d->flags = block(w, hp->n_expert, sizeof *d->flags)) &&
           (d->experts = block(w, hp->n_expert, sizeof *d->experts)) &&
           (d->records = block(w, hp->n_expert, sizeof(struct record *))) &&
           (moe->jobs = block(w, hp->n_expert + 1, sizeof *moe->jobs)) &&
           (moe->gate = block(w, pairs, hp->n_ff_exp * f)) &&
           (moe->up = block(w, pairs, hp->n_ff_exp * f)) &&
           (moe->down = block(w, pairs, hp->n_embd * f)) &&
           (moe->shared_gate = block(w, n_batch, hp->n_ff_shexp * f)) &&
           (moe->shared_up = block(w, n_batch, hp->n_ff_shexp * f)) &&
           (moe->shared_down = block(w, n_batch, hp->n_embd * f)) &&
           (moe->gathered = block(w, n->gathered, 1)) &&
           (moe->mid = block(w, n->mid, 1)) &&
           (moe->shared_mid = block(w, n->shared_mid, 1));
}

static bool all_blocks(struct workspace *w, const q3n_model *model, uint32_t n_batch,
                       uint32_t n_ctx)
{
    const struct hparams *hp = &model->hp;
    const struct needs n = needs_of(model, n_batch, n_ctx);
    const uint64_t f = sizeof(float);
    w->n_batch = n_batch;
    w->thread_floats = (n.thread + 15) / 16 * 16;
    return (w->x = block(w, n_batch, hp->n_embd * f)) &&
           (w->norm = block(w, n_batch, hp->n_embd * f)) &&
           (w->out = block(w, n_batch, hp->n_embd * f)) &&
           (w->projected = block(w, n_batch, n.projected * f)) &&
           (w->mixed = block(w, n_batch, n.mixed * f)) &&
           (w->rope = block(w, n_batch, hp->n_rot * f)) &&
           (w->run_of = block(w, n_batch, sizeof *w->run_of)) &&
           (w->wanted = block(w, n_batch, sizeof *w->wanted)) &&
           (w->norm_acts = block(w, n.norm_acts, 1)) &&
           (w->mixed_acts = block(w, n.mixed_acts, 1)) &&
           (w->thread = block(w, model->threads, w->thread_floats * f)) &&
           (w->shared = block(w, n.shared, f)) && moe_blocks(w, hp, &n, n_batch);
}

int workspace_new(struct workspace *w, const q3n_model *model, uint32_t n_batch,
                  uint32_t n_ctx, ggf_error *err)
{
    *w = (struct workspace){ 0 };
    if (all_blocks(w, model, n_batch, n_ctx)) return 0;
    workspace_free(w);
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                    "out of memory for batches of %" PRIu32 " tokens", n_batch);
}

uint64_t workspace_bytes(const q3n_model *model, uint32_t n_batch, uint32_t n_ctx)
{
    struct workspace w = { .counting = true };
    return all_blocks(&w, model, n_batch, n_ctx) ? w.bytes : UINT64_MAX / 4;
}

void workspace_free(struct workspace *w)
{
    for (size_t i = 0; i < w->memory.n; i++) free(w->memory.blocks[i]);
    free(w->memory.blocks);
    *w = (struct workspace){ 0 };
}
