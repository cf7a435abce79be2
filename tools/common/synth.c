/* synth.c - see synth.h. */
#include "synth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The tensors ----------------------------------------------------------- */

/* The type of a matrix: overrides first, then --type; a row that is no whole number of
 * blocks falls back to q8_0 or f16, as quantizers do. */
static uint32_t matrix_type(const struct synth *s, const char *name, uint32_t type,
                            uint64_t row)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    for (int i = 0; i < s->overrides.count; i++)
        if (pcre2_match(s->patterns[i], (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0,
                        match, NULL) >= 0) {
            type = s->pattern_types[i];
            break;
        }
    pcre2_match_data_free(match);
    if (row % ggf_type_info(type)->block == 0) return type;
    return row % 32 == 0 ? GGF_Q8_0 : GGF_F16;
}

static void add(struct synth *s, int64_t block, const char *name, enum fill fill,
                uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 256;
        s->tensors = realloc(s->tensors, s->capacity * sizeof *s->tensors);
        if (!s->tensors) abort();
    }
    struct tensor *t = &s->tensors[s->n++];
    *t = (struct tensor){ .fill = fill, .ne = { ne0, ne1, ne2, 1 }, .rows = ne1 };
    if (block < 0) snprintf(t->name, sizeof t->name, "%s", name);
    else snprintf(t->name, sizeof t->name, "blk.%" PRId64 ".%s", block, name);
    t->type = type == GGF_F32 ? GGF_F32 : matrix_type(s, t->name, type, ne0);
}

static void matrix(struct synth *s, int64_t block, const char *name, uint64_t ne0,
                   uint64_t ne1)
{
    add(s, block, name, FILL_WEIGHTS, s->type, ne0, ne1, 1);
}

static void vector(struct synth *s, int64_t block, const char *name, enum fill fill,
                   uint64_t n)
{
    add(s, block, name, fill, GGF_F32, n, 1, 1);
}

/* The experts' tensor; each expert has `matrices` of them in a row. */
static void experts(struct synth *s, int64_t b, const char *name, uint32_t type,
                    uint64_t ne0, uint64_t ne1, uint64_t matrices)
{
    add(s, b, name, FILL_WEIGHTS, type, ne0, ne1 * matrices, s->shape.experts);
    s->tensors[s->n - 1].rows = ne1;
    s->tensors[s->n - 1].expert = true;
}

static void attention(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    matrix(s, b, "attn_q.weight", p->embd, p->heads * p->head_dim * 2); /* and its gate */
    matrix(s, b, "attn_k.weight", p->embd, p->heads_kv * p->head_dim);
    matrix(s, b, "attn_v.weight", p->embd, p->heads_kv * p->head_dim);
    matrix(s, b, "attn_output.weight", p->heads * p->head_dim, p->embd);
    vector(s, b, "attn_q_norm.weight", FILL_NORM, p->head_dim);
    vector(s, b, "attn_k_norm.weight", FILL_NORM, p->head_dim);
}

static void delta(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    const uint64_t inner = p->v_heads * p->state;
    const uint64_t channels = 2 * p->k_heads * p->state + inner;
    if (s->legacy) {
        matrix(s, b, "ssm_in.weight", p->embd, channels + inner);
    } else {
        matrix(s, b, "attn_qkv.weight", p->embd, channels);
        matrix(s, b, "attn_gate.weight", p->embd, inner);
    }
    matrix(s, b, "ssm_ba.weight", p->embd, 2 * p->v_heads);
    matrix(s, b, "ssm_out.weight", inner, p->embd);
    add(s, b, "ssm_conv1d.weight", FILL_CONV, GGF_F32, p->conv, channels, 1);
    vector(s, b, "ssm_dt.bias", FILL_DT, p->v_heads);
    vector(s, b, "ssm_a", FILL_DECAY, p->v_heads);
    vector(s, b, "ssm_norm.weight", FILL_NORM, p->state);
}

static void feed_forward(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    add(s, b, "ffn_gate_inp.weight", FILL_ROUTER, GGF_F32, p->embd, p->experts, 1);
    if (s->fused) {
        experts(s, b, "ffn_gate_up_exps.weight", s->type_gate, p->embd, p->ff, 2);
    } else {
        experts(s, b, "ffn_gate_exps.weight", s->type_gate, p->embd, p->ff, 1);
        experts(s, b, "ffn_up_exps.weight", s->type_up, p->embd, p->ff, 1);
    }
    experts(s, b, "ffn_down_exps.weight", s->type_down, p->ff, p->embd, 1);
    vector(s, b, "ffn_gate_inp_shexp.weight", FILL_WEIGHTS, p->embd);
    matrix(s, b, "ffn_gate_shexp.weight", p->embd, p->ff_shared);
    matrix(s, b, "ffn_up_shexp.weight", p->embd, p->ff_shared);
    matrix(s, b, "ffn_down_shexp.weight", p->ff_shared, p->embd);
}

static void block(struct synth *s, uint64_t b)
{
    const struct shape *p = &s->shape;
    const bool next = b >= p->layers; /* the appended multi-token-prediction block */
    vector(s, (int64_t)b, "attn_norm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "post_attention_norm.weight", FILL_NORM, p->embd);
    if (next || (b + 1) % p->interval == 0) attention(s, (int64_t)b);
    else delta(s, (int64_t)b);
    feed_forward(s, (int64_t)b);
    if (!next) return;
    matrix(s, (int64_t)b, "nextn.eh_proj.weight", 2 * p->embd, p->embd);
    vector(s, (int64_t)b, "nextn.enorm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "nextn.hnorm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "nextn.shared_head_norm.weight", FILL_NORM, p->embd);
}

void synth_list_tensors(struct synth *s)
{
    const struct shape *p = &s->shape;
    add(s, -1, "token_embd.weight", FILL_EMBD, s->type, p->embd, p->vocab, 1);
    vector(s, -1, "output_norm.weight", FILL_NORM, p->embd);
    matrix(s, -1, "output.weight", p->embd, p->vocab);
    for (uint64_t b = 0; b < p->layers + s->mtp; b++) block(s, b);
}

/* ---- The metadata ---------------------------------------------------------- */

/* general.file_type of a file mostly of this type; 0xffffffff where there is none. */
static uint32_t file_type(uint32_t type)
{
    static const struct {
        uint32_t type, file_type;
    } map[] = { { GGF_F32, 0 },      { GGF_F16, 1 },     { GGF_Q4_0, 2 },
                { GGF_Q4_1, 3 },     { GGF_Q8_0, 7 },    { GGF_Q5_0, 8 },
                { GGF_Q5_1, 9 },     { GGF_Q2_K, 10 },   { GGF_Q3_K, 11 },
                { GGF_Q4_K, 14 },    { GGF_Q5_K, 16 },   { GGF_Q6_K, 18 },
                { GGF_IQ2_XXS, 19 }, { GGF_IQ2_XS, 20 }, { GGF_IQ3_XXS, 23 },
                { GGF_IQ1_S, 24 },   { GGF_IQ4_NL, 25 }, { GGF_IQ3_S, 26 },
                { GGF_IQ2_S, 28 },   { GGF_IQ4_XS, 30 }, { GGF_IQ1_M, 31 },
                { GGF_BF16, 32 },    { GGF_TQ1_0, 36 },  { GGF_TQ2_0, 37 },
                { GGF_MXFP4, 38 },   { GGF_NVFP4, 39 } };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].type == type) return map[i].file_type;
    return UINT32_MAX;
}

static int set_u32(ggf_writer *w, const char *key, uint64_t value, ggf_error *err)
{
    char full[96];
    snprintf(full, sizeof full, "qwen3next.%s", key);
    return ggf_writer_set_u32(w, full, (uint32_t)value, err);
}

static int set_numbers(const struct synth *s, ggf_writer *w, ggf_error *err)
{
    const struct shape *p = &s->shape;
    const struct {
        const char *key;
        uint64_t value;
    } keys[] = {
        { "block_count", p->layers + s->mtp },
        { "context_length", p->ctx },
        { "embedding_length", p->embd },
        { "vocab_size", p->vocab },
        { "attention.head_count", p->heads },
        { "attention.head_count_kv", p->heads_kv },
        { "attention.key_length", p->head_dim },
        { "attention.value_length", p->head_dim },
        { "rope.dimension_count", p->rope_dims },
        { "expert_count", p->experts },
        { "expert_used_count", p->used },
        { "expert_feed_forward_length", p->ff },
        { "expert_shared_feed_forward_length", p->ff_shared },
        { "ssm.conv_kernel", p->conv },
        { "ssm.state_size", p->state },
        { "ssm.group_count", p->k_heads },
        { "ssm.time_step_rank", p->v_heads },
        { "ssm.inner_size", p->v_heads * p->state },
    };
    int e = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !e; i++)
        e = set_u32(w, keys[i].key, keys[i].value, err);
    if (!e && !s->legacy) e = set_u32(w, "full_attention_interval", p->interval, err);
    if (!e && s->mtp) e = set_u32(w, "nextn_predict_layers", 1, err);
    return e;
}

static int set_tokenizer(const ggf_file *vocab, ggf_writer *w, ggf_error *err)
{
    if (!vocab) return ggf_writer_set_str(w, "tokenizer.ggml.model", "none", err);
    for (uint64_t i = 0; i < ggf_kv_count(vocab); i++) {
        const struct ggf_kv *kv = ggf_kv(vocab, i);
        if (strncmp(kv->key, "tokenizer.", 10) != 0) continue;
        const int e = ggf_writer_set_kv(w, kv, err);
        if (e) return e;
    }
    return 0;
}

int synth_set_metadata(const struct synth *s, const ggf_file *vocab, ggf_writer *w,
                       ggf_error *err)
{
    char name[96];
    snprintf(name, sizeof name, "random %s %s, seed %" PRIu64, s->shape.name,
             ggf_type_name(s->type), s->seed);
    int e = ggf_writer_set_str(w, "general.architecture", "qwen3next", err);
    if (!e) e = ggf_writer_set_str(w, "general.type", "model", err);
    if (!e) e = ggf_writer_set_str(w, "general.name", name, err);
    if (!e) e = set_numbers(s, w, err);
    if (!e) e = ggf_writer_set_f32(w, "qwen3next.rope.freq_base", 1e7f, err);
    if (!e)
        e = ggf_writer_set_f32(w, "qwen3next.attention.layer_norm_rms_epsilon", 1e-6f,
                               err);
    if (!e) e = set_tokenizer(vocab, w, err);
    if (!e && ggf_type_info(s->type)->quantized)
        e = ggf_writer_set_u32(w, "general.quantization_version", 2, err);
    if (!e && file_type(s->type) != UINT32_MAX)
        e = ggf_writer_set_u32(w, "general.file_type", file_type(s->type), err);
    return e;
}
