/* tiny_model.h - a qwen3next model of a few kilobytes, whole or with one thing changed.
 */
#ifndef TEST_TINY_MODEL_H
#define TEST_TINY_MODEL_H

#include "../../infer/engine.h"
#include "../../quant/encode.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a test may want larger: types with blocks of 256 need rows of that. */
#ifndef TINY_WIDTH
#define TINY_WIDTH 32
#endif
#ifndef TINY_HEAD_DIM
#define TINY_HEAD_DIM 16
#endif
#ifndef TINY_EXPERTS
#define TINY_EXPERTS 4
#endif
#ifndef TINY_STATE
#define TINY_STATE 8
#endif

/* Two layers, the first recurrent.  Every row is a multiple of 32. */
enum {
    EMBD = TINY_WIDTH,
    VOCAB = 24,
    HEADS = 2,
    HEADS_KV = 1,
    HEAD_DIM = TINY_HEAD_DIM,
    K_HEADS = 2,
    V_HEADS = 4,
    STATE = TINY_STATE,
    TAPS = 4,
    EXPERTS = TINY_EXPERTS,
    USED = 2,
    FF = TINY_WIDTH,
    INNER = STATE * V_HEADS,
    KEYS = STATE * K_HEADS,
    CHANNELS = 2 * KEYS + INNER,
    Q_ROWS = 2 * HEADS * HEAD_DIM,
    KV_ROWS = HEADS_KV * HEAD_DIM,
};

struct tiny_tensor {
    const char *name;
    uint64_t ne[4];
    bool matrix; /* may be quantized, may have a scale */
};

static const struct tiny_tensor tiny_tensors[] = {
    { "token_embd.weight", { EMBD, VOCAB, 1, 1 }, true },
    { "output_norm.weight", { EMBD, 1, 1, 1 }, false },
    { "output.weight", { EMBD, VOCAB, 1, 1 }, true },
    { "blk.0.attn_norm.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.0.post_attention_norm.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.0.attn_qkv.weight", { EMBD, CHANNELS, 1, 1 }, true },
    { "blk.0.attn_gate.weight", { EMBD, INNER, 1, 1 }, true },
    { "blk.0.ssm_ba.weight", { EMBD, 2 * V_HEADS, 1, 1 }, true },
    { "blk.0.ssm_out.weight", { INNER, EMBD, 1, 1 }, true },
    { "blk.0.ssm_conv1d.weight", { TAPS, CHANNELS, 1, 1 }, false },
    { "blk.0.ssm_dt.bias", { V_HEADS, 1, 1, 1 }, false },
    { "blk.0.ssm_a", { V_HEADS, 1, 1, 1 }, false },
    { "blk.0.ssm_norm.weight", { STATE, 1, 1, 1 }, false },
    { "blk.0.ffn_gate_inp.weight", { EMBD, EXPERTS, 1, 1 }, true },
    { "blk.0.ffn_gate_exps.weight", { EMBD, FF, EXPERTS, 1 }, true },
    { "blk.0.ffn_up_exps.weight", { EMBD, FF, EXPERTS, 1 }, true },
    { "blk.0.ffn_down_exps.weight", { FF, EMBD, EXPERTS, 1 }, true },
    { "blk.0.ffn_gate_inp_shexp.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.0.ffn_gate_shexp.weight", { EMBD, FF, 1, 1 }, true },
    { "blk.0.ffn_up_shexp.weight", { EMBD, FF, 1, 1 }, true },
    { "blk.0.ffn_down_shexp.weight", { FF, EMBD, 1, 1 }, true },
    { "blk.1.attn_norm.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.1.post_attention_norm.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.1.attn_q.weight", { EMBD, Q_ROWS, 1, 1 }, true },
    { "blk.1.attn_k.weight", { EMBD, KV_ROWS, 1, 1 }, true },
    { "blk.1.attn_v.weight", { EMBD, KV_ROWS, 1, 1 }, true },
    { "blk.1.attn_output.weight", { HEADS * HEAD_DIM, EMBD, 1, 1 }, true },
    { "blk.1.attn_q_norm.weight", { HEAD_DIM, 1, 1, 1 }, false },
    { "blk.1.attn_k_norm.weight", { HEAD_DIM, 1, 1, 1 }, false },
    { "blk.1.ffn_gate_inp.weight", { EMBD, EXPERTS, 1, 1 }, true },
    { "blk.1.ffn_gate_exps.weight", { EMBD, FF, EXPERTS, 1 }, true },
    { "blk.1.ffn_up_exps.weight", { EMBD, FF, EXPERTS, 1 }, true },
    { "blk.1.ffn_down_exps.weight", { FF, EMBD, EXPERTS, 1 }, true },
    { "blk.1.ffn_gate_inp_shexp.weight", { EMBD, 1, 1, 1 }, false },
    { "blk.1.ffn_gate_shexp.weight", { EMBD, FF, 1, 1 }, true },
    { "blk.1.ffn_up_shexp.weight", { EMBD, FF, 1, 1 }, true },
    { "blk.1.ffn_down_shexp.weight", { FF, EMBD, 1, 1 }, true },
};
enum { TINY_TENSORS = sizeof tiny_tensors / sizeof *tiny_tensors };

struct tiny_key {
    const char *name;
    double value;
    bool real;
};

static const struct tiny_key tiny_keys[] = {
    { "block_count", 2, false },
    { "context_length", 64, false },
    { "embedding_length", EMBD, false },
    { "full_attention_interval", 2, false },
    { "attention.head_count", HEADS, false },
    { "attention.head_count_kv", HEADS_KV, false },
    { "attention.key_length", HEAD_DIM, false },
    { "attention.value_length", HEAD_DIM, false },
    { "attention.layer_norm_rms_epsilon", 1e-6, true },
    { "rope.dimension_count", 8, false },
    { "rope.freq_base", 1e4, true },
    { "expert_count", EXPERTS, false },
    { "expert_used_count", USED, false },
    { "expert_feed_forward_length", FF, false },
    { "expert_shared_feed_forward_length", FF, false },
    { "ssm.conv_kernel", TAPS, false },
    { "ssm.state_size", STATE, false },
    { "ssm.group_count", K_HEADS, false },
    { "ssm.time_step_rank", V_HEADS, false },
    { "ssm.inner_size", INNER, false },
};
enum { TINY_KEYS = sizeof tiny_keys / sizeof *tiny_keys };

/* What differs from the plain model; all zero is the plain model. */
struct tiny {
    const char *arch;
    const char *drop_tensor, *drop_key;
    const char *only_tensor; /* all others are left out */
    const char *wide_tensor; /* has one row (or element) more */
    const char *key;         /* set to `value`, or added if it is not there */
    double value;
    const char *type_of; /* this tensor has `type` */
    uint32_t type;
    uint32_t matrices; /* the type of all others that are multiplied */
    bool fused_gate_up, fused_qkv, ssm_in, plain_dt, tied, tie_by_value, recurrent_list;
    bool scales; /* matrices doubled, NAME.scale of one half beside them */
};

/* Element i of a tensor: a multiple of 1/512 below 1/4, which every float format holds;
 * norms are near 1. */
static inline float tiny_value(const char *name, uint64_t i)
{
    uint32_t h = 2166136261u;
    for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * 16777619u;
    h = (h ^ (uint32_t)i) * 2654435761u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    const float v = (float)((int)(h % 255) - 127) / 512.0f;
    if (strstr(name, "norm")) return 1.0f + v / 2;
    return strstr(name, "ssm_a") ? -0.25f + v / 2 : v;
}

struct tiny_data {
    float *v;
    uint64_t n, rows; /* of n elements */
};

/* `count` elements of a tensor from `first` on, appended. */
static inline void tiny_append(struct tiny_data *d, const struct tiny_tensor *t,
                               uint64_t first, uint64_t count)
{
    const uint64_t have = d->n * d->rows;
    d->v = realloc(d->v, (have + count) * sizeof *d->v);
    ck_assert_ptr_nonnull(d->v);
    for (uint64_t i = 0; i < count; i++) d->v[have + i] = tiny_value(t->name, first + i);
    d->n = t->ne[0];
    d->rows = (have + count) / d->n;
}

static inline const struct tiny_tensor *tiny_find(const char *name)
{
    for (int i = 0; i < TINY_TENSORS; i++)
        if (!strcmp(tiny_tensors[i].name, name)) return &tiny_tensors[i];
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

/* ---- Writing ------------------------------------------------------------- */

enum { TINY_MAX = 2 * TINY_TENSORS };

struct tiny_writer {
    const struct tiny *t;
    ggf_writer *w;
    uint64_t n;
    struct {
        void *bytes;
        size_t size;
    } data[TINY_MAX];
};

static inline void tiny_tensor(struct tiny_writer *w, const char *name, uint64_t ne[4],
                               bool matrix, struct tiny_data *d)
{
    ggf_error err;
    const bool typed = w->t->type_of && !strcmp(w->t->type_of, name);
    const uint32_t type = typed ? w->t->type : matrix ? w->t->matrices : GGF_F32;
    const bool doubled = w->t->scales && matrix;
    const size_t row = ggf_row_bytes(type, ne[0]);
    uint8_t *bytes = calloc(d->rows, row);
    /* NOLINTNEXTLINE(clang-analyzer-core*): all n * rows are set */
    for (uint64_t i = 0; doubled && i < d->n * d->rows; i++) d->v[i] *= 2;
    for (uint64_t r = 0; r < d->rows; r++) {
        const float *v = d->v + r * ne[0];
        if (type == GGF_F32) memcpy(bytes + r * row, v, row);
        else if (encode_for(type)) encode_for(type)(v, ne[0], NULL, bytes + r * row);
    }
    ck_assert_msg(!ggf_writer_add_tensor(w->w, name, type, ne, &err), "%s", err.message);
    w->data[w->n].bytes = bytes;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): w->data has them */
    w->data[w->n++].size = d->rows * row;
    free(d->v);
    if (!doubled) return;
    char scale[64];
    const int stem = (int)(strlen(name) - strlen(".weight"));
    snprintf(scale, sizeof scale, "%.*s.scale", stem, name);
    const uint64_t n = ne[2]; /* one for each expert */
    float *half = malloc(n * sizeof *half);
    for (uint64_t i = 0; i < n; i++) half[i] = 0.5f;
    const uint64_t scale_ne[4] = { n, 1, 1, 1 };
    ck_assert_int_eq(ggf_writer_add_tensor(w->w, scale, GGF_F32, scale_ne, &err), 0);
    w->data[w->n].bytes = half;
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed with the list, w->data */
    w->data[w->n++].size = n * sizeof *half;
}

static inline void tiny_plain(struct tiny_writer *w, const struct tiny_tensor *t)
{
    struct tiny_data d = { 0 };
    uint64_t ne[4] = { t->ne[0], t->ne[1], t->ne[2], 1 };
    const char *name = t->name;
    if (w->t->wide_tensor && !strcmp(w->t->wide_tensor, name)) ne[ne[1] > 1 ? 1 : 0]++;
    if (w->t->plain_dt && strstr(name, "ssm_dt")) name = "blk.0.ssm_dt";
    const char *values = name;
    if (w->t->tie_by_value && !strcmp(name, "output.weight"))
        values = "token_embd.weight";
    if (strstr(name, "ssm_dt")) values = "blk.0.ssm_dt.bias";
    const struct tiny_tensor source = { values, { ne[0], ne[1], ne[2], 1 }, t->matrix };
    tiny_append(&d, &source, 0, ne[0] * ne[1] * ne[2]);
    tiny_tensor(w, name, ne, t->matrix, &d);
}

/* Rows of several tensors as one. */
static inline void tiny_fused_qkv(struct tiny_writer *w)
{
    struct tiny_data d = { 0 };
    tiny_append(&d, tiny_find("blk.1.attn_q.weight"), 0, Q_ROWS * EMBD);
    tiny_append(&d, tiny_find("blk.1.attn_k.weight"), 0, KV_ROWS * EMBD);
    tiny_append(&d, tiny_find("blk.1.attn_v.weight"), 0, KV_ROWS * EMBD);
    uint64_t ne[4] = { EMBD, Q_ROWS + 2 * KV_ROWS, 1, 1 };
    tiny_tensor(w, "blk.1.attn_qkv.weight", ne, true, &d);
}

static inline void tiny_ssm_in(struct tiny_writer *w)
{
    const struct tiny_tensor *qkv = tiny_find("blk.0.attn_qkv.weight");
    const struct tiny_tensor *z = tiny_find("blk.0.attn_gate.weight");
    const uint64_t key = STATE * EMBD, values = V_HEADS / K_HEADS * key;
    struct tiny_data d = { 0 };
    for (uint64_t h = 0; h < K_HEADS; h++) {
        tiny_append(&d, qkv, h * key, key);
        tiny_append(&d, qkv, (K_HEADS + h) * key, key);
        tiny_append(&d, qkv, 2 * K_HEADS * key + h * values, values);
        tiny_append(&d, z, h * values, values);
    }
    uint64_t ne[4] = { EMBD, CHANNELS + INNER, 1, 1 };
    tiny_tensor(w, "blk.0.ssm_in.weight", ne, true, &d);
}

static inline void tiny_fused_gate_up(struct tiny_writer *w, int layer)
{
    char gate[64], up[64], both[64];
    snprintf(gate, sizeof gate, "blk.%d.ffn_gate_exps.weight", layer);
    snprintf(up, sizeof up, "blk.%d.ffn_up_exps.weight", layer);
    snprintf(both, sizeof both, "blk.%d.ffn_gate_up_exps.weight", layer);
    struct tiny_data d = { 0 };
    for (uint64_t e = 0; e < EXPERTS; e++) {
        tiny_append(&d, tiny_find(gate), e * FF * EMBD, FF * EMBD);
        tiny_append(&d, tiny_find(up), e * FF * EMBD, FF * EMBD);
    }
    uint64_t ne[4] = { EMBD, 2 * FF, EXPERTS, 1 };
    tiny_tensor(w, both, ne, true, &d);
}

static inline bool tiny_left_out(const struct tiny *t, const char *name)
{
    if (t->drop_tensor && !strcmp(t->drop_tensor, name)) return true;
    if (t->only_tensor && strcmp(t->only_tensor, name) != 0) return true;
    if (t->tied && !strcmp(name, "output.weight")) return true;
    if (t->ssm_in && (strstr(name, "blk.0.attn_qkv") || strstr(name, "attn_gate")))
        return true;
    if (t->fused_gate_up && (strstr(name, "gate_exps") || strstr(name, "up_exps")))
        return true;
    return t->fused_qkv && (strstr(name, "attn_q.") || strstr(name, "attn_k.") ||
                            strstr(name, "attn_v."));
}

static inline void tiny_metadata(const struct tiny *t, ggf_writer *w)
{
    char key[96];
    bool found = false;
    ggf_writer_set_str(w, "general.architecture", t->arch ? t->arch : "qwen3next", NULL);
    for (int i = 0; i <= TINY_KEYS; i++) {
        struct tiny_key k = { t->key, t->value, false };
        if (i < TINY_KEYS) k = tiny_keys[i];
        else if (!t->key || found) break;
        if (t->drop_key && !strcmp(t->drop_key, k.name)) continue;
        if (t->key && !strcmp(t->key, k.name)) {
            k.value = t->value;
            found = true;
        }
        snprintf(key, sizeof key, "qwen3next.%s", k.name);
        if (k.real) ggf_writer_set_f32(w, key, (float)k.value, NULL);
        else ggf_writer_set_u32(w, key, (uint32_t)k.value, NULL);
    }
    const uint8_t list[2] = { 1, 0 };
    if (t->recurrent_list)
        ggf_writer_set_array(w, "qwen3next.attention.recurrent_layers", GGF_KV_BOOL, list,
                             2, NULL);
}

static inline void tiny_write(const char *path, const struct tiny *t)
{
    const struct ggf_writer_options options = { .force = true };
    struct tiny_writer w = { .t = t };
    ggf_error err;
    ck_assert_msg(!ggf_writer_create(&w.w, path, &options, &err), "%s", err.message);
    tiny_metadata(t, w.w);
    for (int i = 0; i < TINY_TENSORS; i++)
        if (!tiny_left_out(t, tiny_tensors[i].name)) tiny_plain(&w, &tiny_tensors[i]);
    if (t->fused_qkv) tiny_fused_qkv(&w);
    if (t->ssm_in) tiny_ssm_in(&w);
    for (int layer = 0; t->fused_gate_up && layer < 2; layer++)
        tiny_fused_gate_up(&w, layer);
    ck_assert_msg(!ggf_writer_begin(w.w, &err), "%s", err.message);
    for (uint64_t i = 0; i < w.n; i++) {
        ck_assert_int_eq(
            ggf_writer_write(w.w, i, 0, w.data[i].bytes, w.data[i].size, &err), 0);
        free(w.data[i].bytes);
    }
    ck_assert_msg(!ggf_writer_finish(w.w, &err), "%s", err.message);
}

/* ---- Running ------------------------------------------------------------- */

enum { TINY_TOKENS = 20 };

/* Logits of a fixed sequence; 0 or the error of opening or running. */
static inline int tiny_run(const char *path, const struct q3n_model_options *options,
                           float logits[TINY_TOKENS * VOCAB], ggf_error *err)
{
    q3n_model *model;
    q3n_session *session;
    int32_t tokens[TINY_TOKENS];
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    int e = q3n_model_open(&model, path, options, err);
    if (e) return e;
    ck_assert_int_eq(q3n_session_new(&session, model, NULL, err), 0);
    e = q3n_session_eval(session, tokens, TINY_TOKENS, 0, logits, err);
    q3n_session_free(session);
    q3n_model_close(model);
    return e;
}

/* In a new file, whose name goes to path. */
static inline void tiny_temp(char path[64], const struct tiny *t)
{
    snprintf(path, 64, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    tiny_write(path, t);
}

#endif
