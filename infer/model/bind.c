/* bind.c - tensors to the roles they play: names, shapes, types, layout variants.
 *
 * Files of one architecture differ in how projections are fused (see docs/MODEL.md); a
 * fused tensor becomes parts of a struct linear that write their rows to the columns
 * where the computing code looks for them.  No weight is copied. */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct binder {
    struct q3n_model *model;
    ggf_error *err;
    int64_t layer; /* prefix of names, "blk.N."; none if negative */
};

/* ---- Finding tensors ----------------------------------------------------- */

struct tensor_name {
    char text[64 + 24];
};

static struct tensor_name full_name(const struct binder *b, const char *suffix)
{
    struct tensor_name name;
    if (b->layer < 0) snprintf(name.text, sizeof name.text, "%s", suffix);
    else snprintf(name.text, sizeof name.text, "blk.%" PRId64 ".%s", b->layer, suffix);
    return name;
}

static const struct ggf_tensor *find(const struct binder *b, const char *suffix)
{
    const struct q3n_model *m = b->model;
    const struct tensor_name name = full_name(b, suffix);
    const struct ggf_tensor *t =
        m->overlay ? ggf_find_tensor(m->overlay, name.text) : NULL;
    return t ? t : ggf_find_tensor(m->file, name.text);
}

static bool is_overlaid(const struct binder *b, const struct ggf_tensor *t)
{
    const ggf_file *overlay = b->model->overlay;
    return overlay && ggf_find_tensor(overlay, t->name) == t;
}

static const uint8_t *data_of(const struct binder *b, const struct ggf_tensor *t)
{
    const struct q3n_model *m = b->model;
    if (is_overlaid(b, t)) return t->data;
    return m->tensor_data[t - ggf_tensor(m->file, 0)];
}

static int missing(const struct binder *b, const char *suffix)
{
    return ggf_fail(b->err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "tensor '%s' is missing",
                    full_name(b, suffix).text);
}

static int check_shape(const struct binder *b, const struct ggf_tensor *t, uint64_t ne0,
                       uint64_t ne1, uint64_t ne2)
{
    if (t->ne[0] == ne0 && t->ne[1] == ne1 && t->ne[2] == ne2 && t->ne[3] == 1) return 0;
    return ggf_fail(b->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "tensor '%s' has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
                    ", %" PRIu64 "], expected [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", 1]",
                    t->name, t->ne[0], t->ne[1], t->ne[2], t->ne[3], ne0, ne1, ne2);
}

/* ---- Vectors ------------------------------------------------------------- */

static void *keep(const struct binder *b, void *block)
{
    struct model_memory *mem = &b->model->memory;
    void **blocks = block ? realloc(mem->blocks, (mem->n + 1) * sizeof *blocks) : NULL;
    if (!blocks) {
        free(block);
        return NULL;
    }
    mem->blocks = blocks;
    return blocks[mem->n++] = block;
}

/* All elements as floats of our own. */
static int decode_tensor(const struct binder *b, const struct ggf_tensor *t,
                         const float **out)
{
    const decode_fn decode = decode_for(t->type);
    if (!decode)
        return ggf_fail(b->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' has type %s, which cannot be decoded", t->name,
                        ggf_type_name(t->type));
    float *v = keep(b, malloc(t->count * sizeof *v));
    if (!v) return ggf_no_memory(b->err);
    decode(data_of(b, t), v, t->count);
    *out = v;
    return 0;
}

static int bind_vector(const struct binder *b, const char *suffix, uint64_t n,
                       const float **out)
{
    const struct ggf_tensor *t = find(b, suffix);
    if (!t) return missing(b, suffix);
    int e = check_shape(b, t, n, 1, 1);
    return e ? e : decode_tensor(b, t, out);
}

/* The optional scales of NAME.weight, NAME.scale: n of them, or one for all; *out is
 * NULL if there are none. */
static int bind_scales(const struct binder *b, const char *suffix, uint32_t n,
                       const float **out)
{
    char name[64];
    const int stem = (int)(strlen(suffix) - strlen(".weight"));
    snprintf(name, sizeof name, "%.*s.scale", stem, suffix);
    const struct ggf_tensor *t = find(b, name);
    *out = NULL;
    if (!t) return 0;
    const float *v = NULL;
    int e = t->count == 1 ? 0 : check_shape(b, t, n, 1, 1);
    if (e || (e = decode_tensor(b, t, &v))) return e;
    if (t->count == n) {
        *out = v;
        return 0;
    }
    float *all = keep(b, malloc(n * sizeof *all));
    if (!all) return ggf_no_memory(b->err);
    for (uint32_t i = 0; i < n; i++) all[i] = v[0];
    *out = all;
    return 0;
}

/* ---- Matrices ------------------------------------------------------------ */

static int bind_matrix(const struct binder *b, const char *suffix, uint32_t n,
                       uint32_t rows, struct matrix *out)
{
    const struct ggf_tensor *t = find(b, suffix);
    const float *scale = NULL;
    if (!t) return missing(b, suffix);
    int e = check_shape(b, t, n, rows, 1);
    if (e || (e = bind_scales(b, suffix, 1, &scale))) return e;
    if (!matrix_init(out, t->type, data_of(b, t), n, rows, b->model->exact))
        return ggf_fail(b->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' has type %s, which cannot be multiplied", t->name,
                        ggf_type_name(t->type));
    if (scale) out->scale = *scale;
    return 0;
}

/* `count` rows of m from `first` on, to the output columns from `out` on. */
static int add_rows(const struct binder *b, struct linear *l, const struct matrix *m,
                    uint32_t first, uint32_t count, uint32_t out)
{
    struct matrix part = *m;
    part.data += first * m->row_bytes;
    part.rows = count;
    return linear_add(l, &part, out) ? 0 : ggf_no_memory(b->err);
}

static int add_matrix(const struct binder *b, struct linear *l, const char *suffix,
                      uint32_t n, uint32_t rows, uint32_t out)
{
    struct matrix m;
    int e = bind_matrix(b, suffix, n, rows, &m);
    return e ? e : add_rows(b, l, &m, 0, rows, out);
}

static int plan(const struct binder *b, struct linear *l)
{
    return linear_plan(l) ? 0 : ggf_no_memory(b->err);
}

/* A linear map that is one tensor. */
static int bind_linear(const struct binder *b, struct linear *l, const char *suffix,
                       uint32_t n, uint32_t rows)
{
    int e = add_matrix(b, l, suffix, n, rows, 0);
    return e ? e : plan(b, l);
}

/* ---- Layers -------------------------------------------------------------- */

static int bind_attention(const struct binder *b, struct attention *a)
{
    const struct hparams *hp = &b->model->hp;
    const uint32_t q = hp->n_head * 2 * hp->head_dim, kv = hp->n_head_kv * hp->head_dim;
    a->n_head = hp->n_head;
    a->n_head_kv = hp->n_head_kv;
    a->head_dim = hp->head_dim;
    a->n_rot = hp->n_rot;
    a->eps = hp->eps;
    int e;
    if (find(b, "attn_qkv.weight")) { /* the three as one tensor, in this order */
        e = add_matrix(b, &a->in, "attn_qkv.weight", hp->n_embd, q + 2 * kv, 0);
    } else if (!(e = add_matrix(b, &a->in, "attn_q.weight", hp->n_embd, q, 0)) &&
               !(e = add_matrix(b, &a->in, "attn_k.weight", hp->n_embd, kv, q))) {
        e = add_matrix(b, &a->in, "attn_v.weight", hp->n_embd, kv, q + kv);
    }
    if (e || (e = plan(b, &a->in)) ||
        (e = bind_linear(b, &a->out, "attn_output.weight", q / 2, hp->n_embd)) ||
        (e = bind_vector(b, "attn_q_norm.weight", hp->head_dim, &a->q_norm)))
        return e;
    return bind_vector(b, "attn_k_norm.weight", hp->head_dim, &a->k_norm);
}

/* Old files have one matrix with, for each key head: its query, its key, the values
 * of its value heads, their gates. */
static int add_ssm_in(const struct binder *b, struct delta_net *d)
{
    const uint32_t dim = d->dim, shares = d->n_v_heads / d->n_k_heads;
    const uint32_t group = dim * (2 + 2 * shares), keys = dim * d->n_k_heads;
    const uint32_t values = dim * shares;
    struct matrix m;
    int e =
        bind_matrix(b, "ssm_in.weight", b->model->hp.n_embd, group * d->n_k_heads, &m);
    for (uint32_t h = 0; h < d->n_k_heads && !e; h++) {
        const uint32_t row = h * group;
        if ((e = add_rows(b, &d->in, &m, row, dim, h * dim)) ||
            (e = add_rows(b, &d->in, &m, row + dim, dim, keys + h * dim)) ||
            (e = add_rows(b, &d->in, &m, row + 2 * dim, values, 2 * keys + h * values)))
            return e;
        e = add_rows(b, &d->in, &m, row + 2 * dim + values, values,
                     delta_channels(d) + h * values);
    }
    return e;
}

/* [taps, channels] in the file, taps slowest in memory here. */
static int bind_conv(const struct binder *b, struct delta_net *d)
{
    const struct ggf_tensor *t = find(b, "ssm_conv1d.weight");
    const uint32_t channels = delta_channels(d);
    const float *w = NULL;
    if (!t) return missing(b, "ssm_conv1d.weight");
    int e = check_shape(b, t, d->taps, channels, 1);
    if (e || (e = decode_tensor(b, t, &w))) return e;
    float *conv = keep(b, malloc(t->count * sizeof *conv));
    if (!conv) return ggf_no_memory(b->err);
    for (uint32_t c = 0; c < channels; c++)
        for (uint32_t k = 0; k < d->taps; k++)
            conv[(size_t)k * channels + c] = w[(size_t)c * d->taps + k];
    d->conv = conv;
    return 0;
}

static int bind_delta(const struct binder *b, struct delta_net *d)
{
    const struct hparams *hp = &b->model->hp;
    const uint32_t inner = hp->state_dim * hp->n_v_heads;
    d->dim = hp->state_dim;
    d->n_k_heads = hp->n_k_heads;
    d->n_v_heads = hp->n_v_heads;
    d->taps = hp->conv_kernel;
    d->eps = hp->eps;
    const uint32_t channels = delta_channels(d);
    int e;
    if (!find(b, "attn_qkv.weight") && find(b, "ssm_in.weight")) {
        e = add_ssm_in(b, d);
    } else if (!(e = add_matrix(b, &d->in, "attn_qkv.weight", hp->n_embd, channels, 0))) {
        e = add_matrix(b, &d->in, "attn_gate.weight", hp->n_embd, inner, channels);
    }
    const char *dt = find(b, "ssm_dt.bias") ? "ssm_dt.bias" : "ssm_dt";
    if (e ||
        (e = add_matrix(b, &d->in, "ssm_ba.weight", hp->n_embd, 2 * hp->n_v_heads,
                        channels + inner)) ||
        (e = plan(b, &d->in)) ||
        (e = bind_linear(b, &d->out, "ssm_out.weight", inner, hp->n_embd)) ||
        (e = bind_conv(b, d)) || (e = bind_vector(b, dt, hp->n_v_heads, &d->dt)) ||
        (e = bind_vector(b, "ssm_a", hp->n_v_heads, &d->a)))
        return e;
    return bind_vector(b, "ssm_norm.weight", hp->state_dim, &d->norm);
}

/* ---- Experts ------------------------------------------------------------- */

/* One of the tensors that hold a matrix of every expert. */
static int bind_slab(const struct binder *b, const char *suffix, uint32_t n,
                     uint32_t rows, struct expert_slab *slab)
{
    const uint32_t n_expert = b->model->hp.n_expert;
    const struct ggf_tensor *t = find(b, suffix);
    if (!t) return missing(b, suffix);
    int e = check_shape(b, t, n, rows, n_expert);
    if (e) return e;
    const ggf_file *f = is_overlaid(b, t) ? b->model->overlay : b->model->file;
    const struct ggf_shard *shard = ggf_shard(f, t->shard);
    slab->data = t->data;
    slab->path = shard->path;
    slab->file_size = shard->size;
    slab->offset = t->offset;
    slab->type = t->type;
    slab->stride = t->bytes / n_expert;
    return 0;
}

static int bind_slabs(const struct binder *b)
{
    const struct hparams *hp = &b->model->hp;
    struct expert_slab slab[GGF_PARTS];
    int e =
        bind_slab(b, "ffn_down_exps.weight", hp->n_ff_exp, hp->n_embd, &slab[GGF_DOWN]);
    if (e) return e;
    if (find(b, "ffn_gate_up_exps.weight")) { /* the gate's rows, then the up's */
        e = bind_slab(b, "ffn_gate_up_exps.weight", hp->n_embd, 2 * hp->n_ff_exp,
                      &slab[GGF_GATE]);
        slab[GGF_UP] = slab[GGF_GATE];
        slab[GGF_UP].data += slab[GGF_UP].stride / 2;
        slab[GGF_UP].offset += slab[GGF_UP].stride / 2;
    } else if (!(e = bind_slab(b, "ffn_gate_exps.weight", hp->n_embd, hp->n_ff_exp,
                               &slab[GGF_GATE]))) {
        e = bind_slab(b, "ffn_up_exps.weight", hp->n_embd, hp->n_ff_exp, &slab[GGF_UP]);
    }
    return e ? e
             : expert_store_set_slabs(b->model->experts, (uint32_t)b->layer, slab,
                                      b->err);
}

/* Scales stay in the GGUF when the experts are packed. */
static int bind_expert_scales(const struct binder *b)
{
    const uint32_t n = b->model->hp.n_expert;
    const float *scale[GGF_PARTS] = { NULL };
    int e;
    if ((e = bind_scales(b, "ffn_gate_up_exps.weight", n, &scale[GGF_GATE]))) return e;
    scale[GGF_UP] = scale[GGF_GATE];
    if (!scale[GGF_GATE] &&
        ((e = bind_scales(b, "ffn_gate_exps.weight", n, &scale[GGF_GATE])) ||
         (e = bind_scales(b, "ffn_up_exps.weight", n, &scale[GGF_UP]))))
        return e;
    if ((e = bind_scales(b, "ffn_down_exps.weight", n, &scale[GGF_DOWN]))) return e;
    expert_store_set_scales(b->model->experts, (uint32_t)b->layer, scale);
    return 0;
}

static int bind_experts(const struct binder *b)
{
    const struct q3n_model *m = b->model;
    int e = bind_expert_scales(b);
    if (e || !m->pack) return e ? e : bind_slabs(b);
    const int64_t at = ggf_pack_layer_of(m->pack, (uint32_t)b->layer);
    if (at < 0)
        return ggf_fail(b->err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                        "the pack has no experts for layer %" PRId64, b->layer);
    return expert_store_set_pack(m->experts, (uint32_t)b->layer, m->pack, (uint32_t)at,
                                 b->err);
}

static int bind_moe(const struct binder *b, struct moe *moe)
{
    struct q3n_model *m = b->model;
    const struct hparams *hp = &m->hp;
    const uint32_t layer = (uint32_t)b->layer;
    moe->layer = layer;
    moe->n_embd = hp->n_embd;
    moe->n_expert = hp->n_expert;
    moe->n_used = hp->n_expert_used;
    moe->n_ff = hp->n_ff_exp;
    moe->n_ff_shared = hp->n_ff_shexp;
    struct expert *s = &moe->shared;
    int e;
    if ((e = bind_experts(b)) ||
        (e = bind_linear(b, &moe->router, "ffn_gate_inp.weight", hp->n_embd,
                         hp->n_expert)) ||
        (e = bind_vector(b, "ffn_gate_inp_shexp.weight", hp->n_embd,
                         &moe->shared_gate)) ||
        (e = bind_matrix(b, "ffn_gate_shexp.weight", hp->n_embd, hp->n_ff_shexp,
                         &s->gate)) ||
        (e = bind_matrix(b, "ffn_up_shexp.weight", hp->n_embd, hp->n_ff_shexp, &s->up)) ||
        (e = bind_matrix(b, "ffn_down_shexp.weight", hp->n_ff_shexp, hp->n_embd,
                         &s->down)))
        return e;
    moe->in_kinds = expert_store_in_kinds(m->experts, layer);
    moe->mid_kinds = expert_store_mid_kinds(m->experts, layer);
    moe->shared_mid_kinds = 1u << s->down.act;
    moe->kinds = moe->in_kinds | moe->router.kinds | 1u << s->gate.act | 1u << s->up.act;
    return 0;
}

static int bind_layer(const struct binder *b, struct layer *l)
{
    const uint32_t n_embd = b->model->hp.n_embd;
    l->recurrent = b->model->hp.recurrent[b->layer];
    int e;
    if ((e = bind_vector(b, "attn_norm.weight", n_embd, &l->mixer_norm)) ||
        (e = bind_vector(b, "post_attention_norm.weight", n_embd, &l->ffn_norm)) ||
        (e = l->recurrent ? bind_delta(b, &l->delta) : bind_attention(b, &l->attention)))
        return e;
    return bind_moe(b, &l->moe);
}

/* ---- The whole ----------------------------------------------------------- */

static int bind_ends(const struct binder *b)
{
    struct q3n_model *m = b->model;
    const struct ggf_tensor *t = find(b, "token_embd.weight");
    if (!t) return missing(b, "token_embd.weight");
    if (t->ne[1] > INT32_MAX)
        return ggf_fail(b->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "tensor '%s' has %" PRIu64 " rows, more than token ids can name",
                        t->name, t->ne[1]);
    const uint32_t n_vocab = (uint32_t)t->ne[1], n_embd = m->hp.n_embd;
    int e = bind_matrix(b, "token_embd.weight", n_embd, n_vocab, &m->embedding);
    if (e || (e = bind_vector(b, "output_norm.weight", n_embd, &m->output_norm)))
        return e;
    m->decode_embedding = decode_for(t->type);
    const char *head = find(b, "output.weight") ? "output.weight" : "token_embd.weight";
    return bind_linear(b, &m->head, head, n_embd, n_vocab);
}

/* Let each layer see the router of the next, if both take their input in the same form.
 */
static void look_ahead(struct q3n_model *m)
{
    for (uint32_t i = 0; i + 1 < m->hp.n_layer; i++) {
        const struct linear *next = &m->layers[i + 1].moe.router;
        if (!(next->kinds & ~m->layers[i].moe.kinds)) m->layers[i].moe.next_router = next;
    }
}

int model_bind(struct q3n_model *m, const struct q3n_model_options *o, bool direct,
               ggf_error *err)
{
    struct binder b = { m, err, -1 };
    const struct expert_store_options options = {
        .dims = { m->hp.n_layer, m->hp.n_expert, m->hp.n_embd, m->hp.n_ff_exp, m->exact },
        .n_used = m->hp.n_expert_used,
        .direct = direct,
        .verify = o->verify_reads,
        .policy = o->cache_policy,
        .io_threads = o->io_threads,
        .look_ahead = o->look_ahead,
        .tiers = m->tiers,
        .n_tiers = m->hp.n_layer,
        .limits_root = o->limits_root,
    };
    int e = bind_ends(&b);
    if (e || (e = expert_store_new(&m->experts, &options, err))) return e;
    m->layers = calloc(m->hp.n_layer, sizeof *m->layers);
    if (!m->layers) return ggf_no_memory(b.err);
    for (b.layer = 0; b.layer < m->hp.n_layer; b.layer++)
        if ((e = bind_layer(&b, &m->layers[b.layer]))) return e;
    if (direct && o->look_ahead) look_ahead(m);
    return 0;
}

static void layer_free(struct layer *l)
{
    linear_free(l->recurrent ? &l->delta.in : &l->attention.in);
    linear_free(l->recurrent ? &l->delta.out : &l->attention.out);
    linear_free(&l->moe.router);
}

void model_unbind(struct q3n_model *m)
{
    for (uint32_t i = 0; m->layers && i < m->hp.n_layer; i++) layer_free(&m->layers[i]);
    free(m->layers);
    m->layers = NULL;
    linear_free(&m->head);
    expert_store_free(m->experts);
    m->experts = NULL;
    for (size_t i = 0; i < m->memory.n; i++) free(m->memory.blocks[i]);
    free(m->memory.blocks);
    m->memory = (struct model_memory){ 0 };
}
