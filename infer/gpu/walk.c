/* walk.c - the steps of a batch on the device, and the way through all of them for a
 * model that is there as a whole.  What crosses are tokens and positions, activations of
 * layers that the host has a part in, and logits. */
#include "offload.h"
#include "../ops/clock.h"

#include <string.h>

/* ---- Between the host and the device -------------------------------------------- */

static const struct hparams *hp_of(const struct device_pass *p) { return &p->model->hp; }

static gpu *gpu_of(const struct device_pass *p) { return p->model->offload->gpu; }

static size_t x_bytes(const struct device_pass *p)
{
    return (size_t)p->batch->n * hp_of(p)->n_embd * sizeof(float);
}

/* A step is over; who wants to know how long it took has to wait for it. */
static void done(const struct device_pass *p, enum op op)
{
    const struct member me = { 0 };
    if (!p->batch->clock) return;
    gpu_sync(gpu_of(p), NULL); /* a failure sticks */
    op_done(&me, p->batch->clock, op);
}

void device_fill(struct device_pass *p)
{
    const struct batch *b = p->batch;
    for (uint32_t i = 0; i < b->n_runs; i++) {
        const struct run *run = &b->runs[i];
        p->d->host.pos[i] = run->pos;
        memcpy(p->d->host.tokens + run->first, run->tokens, run->n * sizeof *run->tokens);
    }
}

void device_begin(struct device_pass *p)
{
    gpu_upload(gpu_of(p), p->d->pos, p->d->host.pos,
               p->batch->n_runs * sizeof *p->d->pos);
}

void device_embed(struct device_pass *p)
{
    const uint32_t n = p->batch->n;
    struct device_work *d = p->d;
    gpu_upload(gpu_of(p), d->tokens, d->host.tokens, n * sizeof *d->tokens);
    gpu_rows(gpu_of(p), &p->model->offload->input, d->tokens, n, d->x);
    done(p, OP_EMBED);
}

void device_put_x(struct device_pass *p)
{
    gpu_upload(gpu_of(p), p->d->x, p->w->x, x_bytes(p));
}

void device_get_x(struct device_pass *p)
{
    gpu_download(gpu_of(p), p->w->x, p->d->x, x_bytes(p));
}

/* ---- Layers ------------------------------------------------------------------- */

/* What a norm is, and that its place is d->norm. */
static struct gpu_norm_to norm_to(const struct device_pass *p, const float *weight_d)
{
    return (struct gpu_norm_to){ weight_d, hp_of(p)->eps, p->d->norm, p->d->norm_q };
}

/* x += add, unless that is NULL, from token `first` on; norm = rms_norm(x), encoded. */
static void norm(struct device_pass *p, const float *add, const float *weight_d,
                 uint32_t first)
{
    const uint32_t n_embd = hp_of(p)->n_embd;
    const size_t at = (size_t)first * n_embd;
    const struct gpu_norm_to to = norm_to(p, weight_d);
    gpu_norm(gpu_of(p), p->d->x + at, add ? add + at : NULL, n_embd, p->batch->n - first,
             &to);
    done(p, OP_NORM);
}

/* Of tokens from `first` on. */
struct gpu_acts device_acts(const struct device_pass *p, uint32_t first)
{
    return (struct gpu_acts){ p->d->norm, p->d->norm_q, hp_of(p)->n_embd,
                              p->batch->n - first };
}

/* The norm that is wanted of x behind a layer, of all tokens from `first` on, if that is
 * known: the sum of the layer's experts may go on to it. */
static bool next_norm(struct device_pass *p, uint32_t layer, uint32_t first,
                      struct gpu_norm_to *to)
{
    const struct offload *o = p->model->offload;
    const uint32_t n = p->n_wanted;
    const float *weight_d = NULL;
    if (layer + 1 < hp_of(p)->n_layer) weight_d = o->layers[layer + 1].mixer_norm_d;
    else if (o->head && n == p->batch->n - first && n <= DEVICE_HEAD_ROWS)
        weight_d = o->output_norm_d;
    *to = norm_to(p, weight_d);
    return p->normed = weight_d != NULL;
}

void device_mixer_in(struct device_pass *p, uint32_t layer)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const struct gpu_acts acts = device_acts(p, 0);
    if (!p->normed) norm(p, NULL, l->mixer_norm_d, 0);
    p->normed = false;
    gpu_linear(gpu_of(p), &l->in, &acts, p->d->projected, l->in.width);
    done(p, OP_MIXER_IN);
}

void device_mix(struct device_pass *p, uint32_t layer)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const bool recurrent = p->model->layers[layer].recurrent;
    struct device_work *d = p->d;
    gpu *g = gpu_of(p);
    for (uint32_t i = 0; i < p->batch->n_runs; i++) {
        const struct run *run = &p->batch->runs[i];
        const struct device_sequence *s = run->seq->device;
        float *projected = d->projected + (size_t)run->first * l->in.width;
        float *mixed = d->mixed + (size_t)run->first * l->out.n;
        void *mixed_q = (char *)d->mixed_q + gpu_acts_bytes(l->out.n, run->first);
        if (recurrent)
            gpu_delta_rule(g, &l->delta, &s->delta[layer], run->n, projected, l->in.width,
                           d->scratch, mixed, mixed_q);
        else
            gpu_attend(g, &l->attention, &s->kv[layer], d->pos + i, run->n, projected,
                       l->in.width, d->scratch, mixed, mixed_q);
    }
    done(p, recurrent ? OP_DELTA : OP_ATTENTION);
}

void device_mixer_out(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const struct gpu_acts acts = { p->d->mixed, p->d->mixed_q, l->out.n, p->batch->n };
    const struct gpu_norm_to to = norm_to(p, l->ffn_norm_d);
    struct device_work *d = p->d;
    if (first == 0) gpu_linear_norm(gpu_of(p), &l->out, &acts, d->out, d->x, &to);
    else gpu_linear(gpu_of(p), &l->out, &acts, d->out, l->out.width);
    done(p, OP_MIXER_OUT);
    if (first && first < p->batch->n) norm(p, d->out, l->ffn_norm_d, first);
}

void device_route(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const struct gpu_acts acts = device_acts(p, first);
    struct device_work *d = p->d;
    if (!acts.tokens) return;
    gpu_linear_route(gpu_of(p), &l->router, &acts, d->choice, hp_of(p)->n_expert_used,
                     d->ids, d->weights);
    done(p, OP_ROUTE);
}

void device_experts(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const struct gpu_acts acts = device_acts(p, first);
    struct device_work *d = p->d;
    struct gpu_norm_to next;
    if (!acts.tokens) return;
    gpu_experts(gpu_of(p), &l->moe, &acts, d->ids, d->weights, d->scratch,
                d->x + (size_t)first * hp_of(p)->n_embd,
                next_norm(p, layer, first, &next) ? &next : NULL);
    done(p, OP_GATE_UP);
}

void device_shared(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const struct gpu_moe *moe = &p->model->offload->layers[layer].moe;
    const struct gpu_acts acts = device_acts(p, first);
    if (!acts.tokens) return;
    gpu_moe_sort(gpu_of(p), moe, p->d->ids, acts.tokens, p->d->scratch);
    gpu_moe_products(gpu_of(p), moe, &acts, p->d->ids, 0, moe->n_expert + 1,
                     p->d->scratch);
}

void device_sum(struct device_pass *p, uint32_t layer, uint32_t first,
                const struct gpu_moe_given *given)
{
    const struct gpu_moe *moe = &p->model->offload->layers[layer].moe;
    struct gpu_norm_to next;
    gpu_moe_sum(gpu_of(p), moe, p->batch->n - first, p->d->weights, given, p->d->scratch,
                p->d->x + (size_t)first * hp_of(p)->n_embd,
                next_norm(p, layer, first, &next) ? &next : NULL);
}

int device_get_projected(struct device_pass *p, uint32_t layer, ggf_error *err)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    gpu_download(gpu_of(p), p->w->projected, p->d->projected,
                 (size_t)p->batch->n * l->in.width * sizeof(float));
    return gpu_sync(gpu_of(p), err);
}

void device_put_mixed(struct device_pass *p, uint32_t layer)
{
    const struct offload_layer *l = &p->model->offload->layers[layer];
    const struct gpu_acts acts = { p->d->mixed, p->d->mixed_q, l->out.n, p->batch->n };
    gpu_upload(gpu_of(p), p->d->mixed, p->w->mixed,
               (size_t)p->batch->n * l->out.n * sizeof(float));
    gpu_encode(gpu_of(p), &acts);
}

void device_ask_choice(struct device_pass *p, uint32_t first, bool with_norm)
{
    const struct hparams *hp = hp_of(p);
    const size_t n = p->batch->n - first, pairs = n * hp->n_expert_used;
    struct device_work *d = p->d;
    gpu *g = gpu_of(p);
    const bool asked = p->asked;
    p->asked = false;
    if (asked) return;
    const struct gpu_words what[] = {
        { device_sees(p, p->w->moe.ids), d->ids, (uint32_t)pairs },
        { device_sees(p, p->w->moe.weights), d->weights, (uint32_t)pairs },
        { device_sees(p, p->w->norm), d->norm, (uint32_t)n * hp->n_embd },
    };
    if (n <= GPU_FEW_TOKENS) {
        gpu_tell(g, what, with_norm ? 3 : 2);
        return;
    }
    gpu_download(g, p->w->moe.ids, d->ids, pairs * sizeof *d->ids);
    gpu_download(g, p->w->moe.weights, d->weights, pairs * sizeof *d->weights);
    if (with_norm) gpu_download(g, p->w->norm, d->norm, n * hp->n_embd * sizeof(float));
}

static void to_choice(struct device_pass *p, uint32_t layer, uint32_t first)
{
    device_mixer_in(p, layer);
    device_mix(p, layer);
    device_mixer_out(p, layer, first);
    device_route(p, layer, first);
}

/* For one token; NULL: it has to do without. */
static gpu_graph *record_choice(struct device_pass *p, uint32_t layer)
{
    gpu *g = gpu_of(p);
    const bool normed = p->normed;
    gpu_graph *graph;
    if (gpu_graph_begin(g, NULL)) return NULL;
    to_choice(p, layer, 0);
    device_ask_choice(p, 0, few_wants_norm(p->model->offload->few));
    p->normed = normed;
    gpu_graph_end(g, &graph, NULL);
    return graph;
}

/* A token alone costs a call; all that changes from one to the next is in memory of the
 * device. */
void device_to_choice(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const struct batch *b = p->batch;
    if (b->n > 1 || first || b->clock) {
        to_choice(p, layer, first);
        return;
    }
    gpu_graph **graph = &b->runs[0].seq->device->choice[2 * layer + p->normed];
    if (!*graph) *graph = record_choice(p, layer);
    if (!*graph) {
        to_choice(p, layer, first);
        return;
    }
    gpu_graph_run(gpu_of(p), *graph);
    p->normed = false;
    p->asked = true;
}

int device_get_choice(struct device_pass *p, uint32_t first, bool with_norm,
                      ggf_error *err)
{
    device_ask_choice(p, first, with_norm);
    return gpu_sync(gpu_of(p), err);
}

void device_tell_choice(const struct device_pass *p, uint32_t layer, uint32_t tokens)
{
    const struct batch *b = p->batch;
    if (b->watch) moe_tell(&p->model->layers[layer].moe, &p->w->moe, tokens, b->watch);
}

int device_tell(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err)
{
    const struct batch *b = p->batch;
    if (!b->watch || first == b->n) return 0;
    const int e = device_get_choice(p, first, false, err);
    if (!e) device_tell_choice(p, layer, b->n - first);
    return e;
}

/* Of many tokens: the experts come in groups, while the device computes with others. */
static int streamed(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err)
{
    const struct offload *o = p->model->offload;
    const struct gpu_acts acts = device_acts(p, first);
    const struct device_work *d = p->d;
    struct gpu_moe moe = o->layers[layer].moe;
    uint32_t end = moe.n_expert + 1; /* the shared one once */
    device_ask_choice(p, first, false);
    int e = stream_ahead(o->stream, layer, acts.tokens, err);
    if (!e) e = gpu_sync(o->gpu, err);
    if (!e) device_tell_choice(p, layer, acts.tokens);
    if (!e) e = stream_begin(o->stream, layer, p->w->moe.ids, acts.tokens, err);
    gpu_moe_sort(o->gpu, &moe, d->ids, acts.tokens, d->scratch);
    while (!e && (e = stream_next(o->stream, &moe.experts_d, err)) > 0) {
        gpu_moe_products(o->gpu, &moe, &acts, d->ids, 0, end, d->scratch);
        end = moe.n_expert;
        e = 0;
    }
    stream_end(o->stream);
    if (!e) device_sum(p, layer, first, NULL);
    return e;
}

int device_pooled(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err)
{
    const struct offload *o = p->model->offload;
    const uint32_t tokens = p->batch->n - first;
    const bool more = layer + 1 < hp_of(p)->n_layer && o->layers[layer + 1].pooled;
    if (!tokens || tokens > GPU_FEW_TOKENS) few_settle(o->few);
    if (!tokens) return 0;
    const int e = tokens > GPU_FEW_TOKENS
                      ? streamed(p, layer, first, err)
                      : few_experts(o->few, p, layer, first, more, err);
    done(p, OP_GATE_UP);
    return e;
}

void device_put_sum(struct device_pass *p, uint32_t layer, uint32_t first)
{
    const size_t at = (size_t)first * hp_of(p)->n_embd;
    const struct gpu_moe_given given = { .sum_d = p->d->out + at };
    gpu_upload(gpu_of(p), p->d->out + at, p->w->out + at,
               x_bytes(p) - at * sizeof(float));
    device_sum(p, layer, first, &given);
}

/* ---- Logits ------------------------------------------------------------------- */

/* The wanted tokens from number i on that are neighbours. */
static uint32_t neighbours(const uint32_t *wanted, uint32_t i, uint32_t end)
{
    uint32_t n = 1;
    while (i + n < end && wanted[i + n] == wanted[i] + n) n++;
    return n;
}

/* Rows first .. first + n - 1 of those that are wanted, into d->logits. */
static void head_rows(struct device_pass *p, uint32_t first, uint32_t n)
{
    const struct offload *o = p->model->offload;
    const struct hparams *hp = hp_of(p);
    const uint32_t *wanted = p->w->wanted;
    struct device_work *d = p->d;
    for (uint32_t i = first, k; i < first + n && !p->normed; i += k) {
        const size_t from = (size_t)wanted[i] * hp->n_embd;
        struct gpu_norm_to to = norm_to(p, o->output_norm_d);
        to.y_d += (size_t)(i - first) * hp->n_embd;
        to.q_d = (char *)to.q_d + gpu_acts_bytes(hp->n_embd, i - first);
        k = neighbours(wanted, i, first + n);
        gpu_norm(gpu_of(p), d->x + from, NULL, hp->n_embd, k, &to);
    }
    const struct gpu_acts acts = { d->norm, d->norm_q, hp->n_embd, n };
    done(p, OP_NORM);
    gpu_linear(gpu_of(p), &o->output, &acts, d->logits, o->output.width);
    done(p, OP_HEAD);
}

int device_head(struct device_pass *p, uint32_t n, ggf_error *err)
{
    const size_t width = p->model->offload->output.width;
    for (uint32_t i = 0; i < n; i += DEVICE_HEAD_ROWS) {
        const uint32_t rows = n - i < DEVICE_HEAD_ROWS ? n - i : DEVICE_HEAD_ROWS;
        head_rows(p, i, rows);
        gpu_download(gpu_of(p), p->batch->logits + i * width, p->d->logits,
                     rows * width * sizeof(float));
    }
    return gpu_sync(gpu_of(p), err);
}

/* ---- A model that is there as a whole --------------------------------------------- */

static uint32_t last_first(const struct device_pass *p, uint32_t n_wanted)
{
    return n_wanted ? p->w->wanted[0] : p->batch->n;
}

/* The experts of a layer that are all there. */
static int there(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err)
{
    const int e = device_tell(p, layer, first, err);
    if (!e) device_experts(p, layer, first);
    return e;
}

/* From tokens, or rows of the input's matrix, to what the head takes. */
static int layers(struct device_pass *p, uint32_t n_wanted, ggf_error *err)
{
    const uint32_t n = hp_of(p)->n_layer;
    device_begin(p);
    if (p->model->offload->embedding) device_embed(p);
    else device_put_x(p);
    for (uint32_t l = 0; l < n; l++) {
        const uint32_t first = l + 1 < n ? 0 : last_first(p, n_wanted);
        if (p->model->offload->layers[l].pooled) device_to_choice(p, l, first);
        else to_choice(p, l, first);
        const int e = p->model->offload->layers[l].pooled
                          ? device_pooled(p, l, first, err)
                          : there(p, l, first, err);
        if (e) return e;
    }
    return 0;
}

static void fill_rows(struct device_pass *p)
{
    const struct batch *b = p->batch;
    if (p->model->offload->embedding) return;
    for (uint32_t i = 0; i < b->n_runs; i++)
        for (uint32_t t = 0; t < b->runs[i].n; t++)
            embed_row(p->model, b->runs[i].tokens[t],
                      p->w->x + (size_t)(b->runs[i].first + t) * hp_of(p)->n_embd);
}

/* All that changes from one token to the next is in memory that the host fills before.
 * NULL: it has to do without. */
static gpu_graph *record_step(struct device_pass *p, uint32_t n_wanted)
{
    const size_t width = p->model->offload->output.width;
    gpu *g = gpu_of(p);
    gpu_graph *graph;
    if (gpu_graph_begin(g, NULL)) return NULL;
    layers(p, n_wanted, NULL); /* nobody is told, nothing is brought: it cannot fail */
    if (n_wanted) {
        head_rows(p, 0, 1);
        gpu_download(g, p->d->host.logits, p->d->logits, width * sizeof(float));
    }
    p->normed = false;
    gpu_graph_end(g, &graph, NULL);
    return graph;
}

/* Of one token of one sequence. */
static gpu_graph *step_of(struct device_pass *p, uint32_t n_wanted)
{
    const struct batch *b = p->batch;
    if (b->n > 1 || b->watch || b->clock || !p->model->offload->steady) return NULL;
    gpu_graph **graph = &b->runs[0].seq->device->step[n_wanted];
    if (!*graph) *graph = record_step(p, n_wanted);
    return *graph;
}

static int run_step(struct device_pass *p, gpu_graph *graph, uint32_t n_wanted,
                    ggf_error *err)
{
    const size_t width = p->model->offload->output.width;
    gpu_graph_run(gpu_of(p), graph);
    const int e = gpu_sync(gpu_of(p), err);
    if (!e && n_wanted)
        memcpy(p->batch->logits, p->d->host.logits, width * sizeof(float));
    return e;
}

int device_forward(struct device_pass *p, uint32_t n_wanted, ggf_error *err)
{
    fill_rows(p);
    gpu_graph *const graph = step_of(p, n_wanted);
    if (graph) return run_step(p, graph, n_wanted, err);
    const int e = layers(p, n_wanted, err);
    return e ? e : device_head(p, n_wanted, err);
}
