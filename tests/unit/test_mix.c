/* test_mix.c - file types, and which tensor gets what.
 *
 * The sizes of Qwen3-Next-80B are those of the files on the Hugging Face hub, as
 * llama-quantize --dry-run prints them; the single decisions are llama-quantize's rules
 * worked out by hand. */
#include "../../quant/mix.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1024 };

struct list {
    struct mix_tensor tensors[MOST];
    char names[MOST][64];
    size_t n;
};

static struct mix_options to(const char *file_type)
{
    return (struct mix_options){ .to = file_type_find(file_type),
                                 .output_type = MIX_NO_TYPE,
                                 .embedding_type = MIX_NO_TYPE };
}

static struct list *list_new(void)
{
    struct list *l = calloc(1, sizeof *l);
    ck_assert_ptr_nonnull(l);
    return l;
}

static struct mix_tensor *add(struct list *l, const char *name, uint32_t type,
                              uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    ck_assert_uint_lt(l->n, MOST);
    snprintf(l->names[l->n], sizeof l->names[0], "%s", name);
    struct mix_tensor *t = &l->tensors[l->n];
    *t = (struct mix_tensor){ .name = l->names[l->n],
                              .type = type,
                              .forced = MIX_NO_TYPE,
                              .ne = { ne0, ne1, ne2, 1 } };
    l->n++;
    return t;
}

static struct mix_tensor *add_layer(struct list *l, int layer, const char *part,
                                    uint32_t type, uint64_t ne0, uint64_t ne1,
                                    uint64_t ne2)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, part);
    return add(l, name, type, ne0, ne1, ne2);
}

static void choose(const struct mix_model *m, const struct mix_options *o, struct list *l)
{
    ggf_error err = { 0 };
    ck_assert_msg(mix_choose(m, o, l->tensors, l->n, &err) == 0, "%s", err.message);
}

/* ---- Qwen3-Next-80B: whole-file sizes ---- */

static const struct mix_model qwen80 = { "qwen3next", 48, 16, 2, 512 };

static void add_mixer(struct list *l, int i)
{
    if (i % 4 == 3) {
        add_layer(l, i, "attn_k.weight", GGF_BF16, 2048, 512, 1);
        add_layer(l, i, "attn_k_norm.weight", GGF_F32, 256, 1, 1);
        add_layer(l, i, "attn_output.weight", GGF_BF16, 4096, 2048, 1);
        add_layer(l, i, "attn_q.weight", GGF_BF16, 2048, 8192, 1);
        add_layer(l, i, "attn_q_norm.weight", GGF_F32, 256, 1, 1);
        add_layer(l, i, "attn_v.weight", GGF_BF16, 2048, 512, 1);
        return;
    }
    add_layer(l, i, "attn_gate.weight", GGF_BF16, 2048, 4096, 1);
    add_layer(l, i, "attn_qkv.weight", GGF_BF16, 2048, 8192, 1);
    add_layer(l, i, "ssm_a", GGF_F32, 32, 1, 1);
    add_layer(l, i, "ssm_ba.weight", GGF_BF16, 2048, 64, 1);
    add_layer(l, i, "ssm_conv1d.weight", GGF_F32, 4, 8192, 1);
    add_layer(l, i, "ssm_dt.bias", GGF_F32, 32, 1, 1);
    add_layer(l, i, "ssm_norm.weight", GGF_F32, 128, 1, 1);
    add_layer(l, i, "ssm_out.weight", GGF_BF16, 4096, 2048, 1);
}

static struct list *qwen80_tensors(void)
{
    struct list *l = list_new();
    add(l, "output.weight", GGF_BF16, 2048, 151936, 1);
    add(l, "output_norm.weight", GGF_F32, 2048, 1, 1);
    add(l, "token_embd.weight", GGF_BF16, 2048, 151936, 1);
    for (int i = 0; i < 48; i++) {
        add_mixer(l, i);
        add_layer(l, i, "attn_norm.weight", GGF_F32, 2048, 1, 1);
        add_layer(l, i, "ffn_down_exps.weight", GGF_BF16, 512, 2048, 512);
        add_layer(l, i, "ffn_down_shexp.weight", GGF_BF16, 512, 2048, 1);
        add_layer(l, i, "ffn_gate_exps.weight", GGF_BF16, 2048, 512, 512);
        add_layer(l, i, "ffn_gate_inp.weight", GGF_F32, 2048, 512, 1);
        add_layer(l, i, "ffn_gate_inp_shexp.weight", GGF_F32, 2048, 1, 1);
        add_layer(l, i, "ffn_gate_shexp.weight", GGF_BF16, 2048, 512, 1);
        add_layer(l, i, "ffn_up_exps.weight", GGF_BF16, 2048, 512, 512);
        add_layer(l, i, "ffn_up_shexp.weight", GGF_BF16, 2048, 512, 1);
        add_layer(l, i, "post_attention_norm.weight", GGF_F32, 2048, 1, 1);
    }
    return l;
}

static const struct {
    const char *type, *mib;
} qwen80_sizes[] = {
    { "Q8_0", "80877.56" },      { "Q6_K", "62487.29" },   { "Q5_K_M", "54115.95" },
    { "Q4_K_M", "46237.05" },    { "Q4_0", "42987.06" },   { "IQ4_XS", "41196.21" },
    { "IQ4_NL", "43445.31" },    { "Q3_K_M", "36499.08" }, { "Q2_K", "27908.02" },
    { "MXFP4_MOE", "41709.56" },
};

START_TEST(sizes_of_qwen3_next_80b)
{
    struct list *l = qwen80_tensors();
    const struct mix_options o = to(qwen80_sizes[_i].type);
    uint64_t elements = 0, bytes = 0;
    choose(&qwen80, &o, l);
    for (size_t i = 0; i < l->n; i++) {
        const struct mix_tensor *t = &l->tensors[i];
        const uint64_t rows = t->ne[1] * t->ne[2];
        elements += rows * t->ne[0];
        bytes += rows * ggf_row_bytes(t->choice, t->ne[0]);
    }
    char mib[32];
    snprintf(mib, sizeof mib, "%.2f", (double)bytes / 1048576);
    ck_assert_uint_eq(l->n, 843);
    ck_assert_uint_eq(elements, 79674391296);
    ck_assert_str_eq(mib, qwen80_sizes[_i].mib);
    free(l);
}
END_TEST

/* ---- Single decisions ---- */

static const struct mix_model dense = { "llama", 32, 32, 32, 0 };
static const struct mix_model grouped = { "llama", 32, 32, 8, 0 };
static const struct mix_model mixtral = { "llama", 32, 32, 8, 8 };
static const struct mix_model llama70 = { "llama", 80, 64, 8, 0 };
static const struct mix_model falcon = { "falcon", 32, 71, 1, 0 };
static const struct mix_model moe16 = { "qwen3moe", 32, 32, 32, 16 };

static const struct {
    const struct mix_model *model;
    const char *file, *part;
    bool matrix;
    int layer; /* what stands before it: the same tensor of all earlier layers */
    uint32_t type;
} decisions[] = {
    { &dense, "Q4_K_M", "attn_v.weight", false, 0, GGF_Q6_K },
    { &dense, "Q4_K_M", "attn_v.weight", false, 4, GGF_Q4_K },
    { &dense, "Q4_K_M", "attn_v.weight", false, 6, GGF_Q6_K },
    { &dense, "Q4_K_M", "attn_qkv.weight", false, 3, GGF_Q6_K },
    { &dense, "Q4_K_M", "attn_q.weight", false, 0, GGF_Q4_K },
    { &dense, "Q4_K_M", "ffn_down.weight", false, 28, GGF_Q6_K },
    { &dense, "Q4_K_M", "ffn_down.weight", false, 5, GGF_Q4_K },
    { &dense, "Q4_K_S", "attn_v.weight", false, 3, GGF_Q5_K },
    { &dense, "Q4_K_S", "attn_v.weight", false, 4, GGF_Q4_K },
    { &dense, "Q4_K_S", "ffn_down.weight", false, 3, GGF_Q5_K },
    { &dense, "Q5_K_M", "ffn_down.weight", false, 0, GGF_Q6_K },
    { &dense, "Q3_K_M", "attn_v.weight", false, 1, GGF_Q5_K },
    { &dense, "Q3_K_M", "attn_v.weight", false, 2, GGF_Q4_K },
    { &dense, "Q3_K_M", "ffn_down.weight", false, 1, GGF_Q5_K },
    { &dense, "Q3_K_M", "ffn_down.weight", false, 2, GGF_Q4_K },
    { &dense, "Q3_K_M", "attn_output.weight", false, 0, GGF_Q4_K },
    { &dense, "Q3_K_L", "attn_output.weight", false, 0, GGF_Q5_K },
    { &dense, "Q2_K", "attn_v.weight", false, 0, GGF_Q3_K },
    { &grouped, "Q2_K", "attn_v.weight", false, 0, GGF_Q4_K },
    { &grouped, "Q2_K_S", "attn_v.weight", true, 0, GGF_Q4_K },
    { &dense, "Q2_K", "ffn_down.weight", false, 9, GGF_Q3_K },
    { &dense, "Q2_K_S", "ffn_down.weight", true, 3, GGF_Q4_K },
    { &dense, "Q2_K_S", "ffn_down.weight", true, 4, GGF_Q2_K },
    { &dense, "Q4_0", "ffn_down.weight", true, 3, GGF_Q4_1 },
    { &dense, "Q4_0", "ffn_down.weight", false, 3, GGF_Q4_0 },
    { &dense, "Q5_0", "ffn_down.weight", true, 3, GGF_Q5_1 },
    { &dense, "Q5_0", "ffn_down.weight", false, 3, GGF_Q5_0 },
    { &grouped, "IQ3_S", "attn_v.weight", true, 9, GGF_Q4_K },
    { &dense, "IQ3_S", "attn_v.weight", true, 9, GGF_IQ3_S },
    { &dense, "IQ4_XS", "ffn_down.weight", false, 3, GGF_Q5_K },
    { &dense, "IQ4_XS", "ffn_down.weight", true, 3, GGF_IQ4_XS },
    { &grouped, "IQ4_NL", "attn_v.weight", true, 0, GGF_Q5_K },
    { &dense, "IQ3_XXS", "attn_v.weight", true, 0, GGF_IQ3_XXS },
    { &dense, "IQ3_XXS", "attn_v.weight", false, 0, GGF_IQ3_S },
    { &dense, "IQ3_XXS", "attn_k.weight", true, 0, GGF_IQ2_S },
    { &dense, "IQ3_XXS", "attn_q.weight", true, 0, GGF_IQ2_S },
    { &dense, "IQ3_XXS", "ffn_down.weight", false, 0, GGF_Q4_K },
    { &dense, "IQ3_XXS", "ffn_down.weight", false, 4, GGF_Q3_K },
    { &dense, "IQ3_XXS", "attn_output.weight", true, 0, GGF_IQ3_S },
    { &dense, "IQ3_XS", "attn_k.weight", true, 0, GGF_IQ3_XXS },
    { &dense, "IQ3_XS", "ffn_up.weight", true, 3, GGF_IQ3_S },
    { &dense, "IQ3_XS", "ffn_up.weight", true, 4, GGF_IQ3_XXS },
    { &dense, "IQ3_XS", "ffn_gate.weight", true, 27, GGF_IQ3_XXS },
    { &dense, "IQ3_XS", "ffn_gate.weight", true, 28, GGF_IQ3_S },
    { &dense, "IQ3_M", "attn_v.weight", true, 30, GGF_Q4_K },
    { &dense, "IQ3_M", "ffn_down.weight", true, 3, GGF_Q4_K },
    { &dense, "IQ3_M", "ffn_down.weight", true, 4, GGF_IQ3_S },
    { &dense, "IQ2_M", "attn_v.weight", true, 0, GGF_IQ3_S },
    { &dense, "IQ2_M", "ffn_down.weight", true, 3, GGF_IQ3_S },
    { &dense, "IQ2_M", "ffn_down.weight", true, 4, GGF_IQ2_S },
    { &dense, "IQ2_S", "ffn_up.weight", true, 0, GGF_IQ2_XS },
    { &dense, "IQ2_XS", "attn_output.weight", true, 0, GGF_IQ2_XS },
    { &dense, "IQ1_S", "attn_output.weight", true, 0, GGF_IQ2_XXS },
    { &dense, "IQ1_M", "attn_v.weight", true, 0, GGF_Q2_K },
    { &moe16, "IQ1_M", "attn_v.weight", true, 0, GGF_Q4_K },
    { &mixtral, "IQ2_XXS", "attn_k.weight", true, 0, GGF_Q4_K },
    { &mixtral, "IQ2_XXS", "attn_output.weight", true, 0, GGF_Q5_K },
    { &mixtral, "Q4_K_M", "attn_v.weight", false, 9, GGF_Q8_0 },
    { &mixtral, "Q4_K_M", "attn_k.weight", false, 0, GGF_Q8_0 },
    { &mixtral, "Q4_K_S", "attn_output.weight", false, 0, GGF_Q5_K },
    { &mixtral, "Q5_K_S", "attn_output.weight", false, 0, GGF_Q5_K },
    { &mixtral, "IQ3_M", "ffn_down_exps.weight", true, 28, GGF_Q4_K },
    { &moe16, "IQ3_M", "ffn_down_exps.weight", true, 28, GGF_IQ3_S },
    { &llama70, "Q4_K_S", "attn_v.weight", false, 40, GGF_Q5_K },
    { &llama70, "Q3_K_S", "attn_v.weight", false, 40, GGF_Q5_K },
    { &falcon, "Q4_K_M", "ffn_down.weight", false, 1, GGF_Q6_K },
    { &falcon, "Q4_K_M", "ffn_down.weight", false, 2, GGF_Q5_K },
    { &falcon, "Q4_K_M", "ffn_down.weight", false, 4, GGF_Q4_K },
    { &falcon, "Q3_K_M", "ffn_down.weight", false, 4, GGF_Q3_K },
    { &falcon, "Q3_K_L", "attn_output.weight", false, 0, GGF_Q4_K },
    { &falcon, "Q3_K_L", "ffn_down.weight", false, 0, GGF_Q4_K },
    { &falcon, "Q4_K_S", "ffn_down.weight", false, 0, GGF_Q4_K },
    { &moe16, "MXFP4_MOE", "attn_q.weight", false, 0, GGF_Q8_0 },
    { &dense, "TQ1_0", "attn_q.weight", false, 0, GGF_TQ1_0 },
    { &dense, "BF16", "attn_v.weight", false, 0, GGF_BF16 },
};

START_TEST(decision)
{
    const struct mix_model *m = decisions[_i].model;
    struct mix_options o = to(decisions[_i].file);
    o.has_matrix = decisions[_i].matrix;
    struct list *l = list_new();
    add(l, "output.weight", GGF_F32, 256, 256, 1);
    for (uint32_t i = 0; i < m->n_layers; i++)
        add_layer(l, (int)i, decisions[_i].part, GGF_F32, 256, 256, 1);
    choose(m, &o, l);
    const uint32_t got = l->tensors[1 + decisions[_i].layer].choice;
    ck_assert_msg(got == decisions[_i].type, "%s %s %s layer %d: %s, expected %s",
                  m->arch, decisions[_i].file, decisions[_i].part, decisions[_i].layer,
                  ggf_type_name(got), ggf_type_name(decisions[_i].type));
    free(l);
}
END_TEST

/* What the embedding and the head get, tied and not. */
static const struct {
    const char *file;
    uint32_t embedding, head, tied;
} ends[] = {
    { "Q4_K_M", GGF_Q4_K, GGF_Q6_K, GGF_Q6_K },
    { "Q8_0", GGF_Q8_0, GGF_Q8_0, GGF_Q8_0 },
    { "MXFP4_MOE", GGF_Q8_0, GGF_Q8_0, GGF_Q8_0 },
    { "IQ2_XS", GGF_Q2_K, GGF_Q5_K, GGF_Q5_K },
    { "IQ2_M", GGF_IQ3_S, GGF_Q5_K, GGF_Q5_K },
    { "IQ3_XXS", GGF_IQ3_S, GGF_Q5_K, GGF_Q5_K },
    { "TQ2_0", GGF_Q4_K, GGF_Q6_K, GGF_Q6_K },
    { "F16", GGF_F16, GGF_F16, GGF_F16 },
};

START_TEST(embedding_and_head)
{
    const struct mix_options o = to(ends[_i].file);
    struct list *l = list_new();
    struct mix_tensor *head = add(l, "output.weight", GGF_F32, 512, 99, 1);
    struct mix_tensor *embedding = add(l, "token_embd.weight", GGF_F32, 512, 99, 1);
    choose(&dense, &o, l);
    ck_assert_str_eq(ggf_type_name(head->choice), ggf_type_name(ends[_i].head));
    ck_assert_str_eq(ggf_type_name(embedding->choice), ggf_type_name(ends[_i].embedding));
    l->n = 0;
    embedding = add(l, "token_embd.weight", GGF_F32, 512, 99, 1);
    choose(&dense, &o, l);
    ck_assert_str_eq(ggf_type_name(embedding->choice), ggf_type_name(ends[_i].tied));
    free(l);
}
END_TEST

START_TEST(demands_come_first)
{
    struct mix_options o = to("Q4_K_M");
    struct list *l = list_new();
    struct mix_tensor *head = add(l, "output.weight", GGF_F32, 512, 99, 1);
    struct mix_tensor *embedding = add(l, "token_embd.weight", GGF_F32, 512, 99, 1);
    struct mix_tensor *q = add_layer(l, 0, "attn_q.weight", GGF_F32, 512, 99, 1);
    struct mix_tensor *norm = add_layer(l, 0, "attn_norm.weight", GGF_F32, 512, 99, 1);
    q->forced = head->forced = norm->forced = GGF_Q3_K;
    choose(&dense, &o, l);
    ck_assert_int_eq(q->choice, GGF_Q3_K);
    ck_assert_int_eq(head->choice, GGF_Q3_K);
    ck_assert_int_eq(norm->choice, GGF_F32);
    o.output_type = GGF_Q8_0;
    o.embedding_type = GGF_Q5_K;
    choose(&dense, &o, l);
    ck_assert_int_eq(head->choice, GGF_Q8_0);
    ck_assert_int_eq(embedding->choice, GGF_Q5_K);
    o = to("Q4_K_M");
    o.keep_output = true;
    choose(&dense, &o, l);
    ck_assert_int_eq(head->choice, GGF_F32);
    o = to("Q4_K_M");
    o.pure = true;
    head->forced = MIX_NO_TYPE;
    choose(&dense, &o, l);
    ck_assert_int_eq(head->choice, GGF_Q4_K);
    ck_assert_int_eq(q->choice, GGF_Q3_K);
    o = to("F16");
    choose(&dense, &o, l);
    ck_assert_int_eq(q->choice, GGF_Q3_K);
    o.compat = true; /* llama-quantize passes demands over for 16-bit files */
    choose(&dense, &o, l);
    ck_assert_int_eq(q->choice, GGF_F16);
    o = to("Q4_K_M");
    o.to = NULL;
    choose(&dense, &o, l);
    ck_assert_int_eq(q->choice, GGF_F32);
    free(l);
}
END_TEST

/* A demanded tensor is not counted among those that the rules see. */
START_TEST(demanded_tensors_are_not_counted)
{
    const struct mix_options o = to("Q4_K_S");
    struct list *l = list_new();
    for (int i = 0; i < 6; i++) add_layer(l, i, "attn_v.weight", GGF_F32, 256, 256, 1);
    l->tensors[0].forced = GGF_Q8_0;
    choose(&dense, &o, l);
    ck_assert_int_eq(l->tensors[0].choice, GGF_Q8_0);
    ck_assert_int_eq(l->tensors[4].choice, GGF_Q5_K); /* the fourth that is counted */
    ck_assert_int_eq(l->tensors[5].choice, GGF_Q4_K);
    free(l);
}
END_TEST

static const char *const left_alone[] = {
    "blk.0.attn_norm.weight",
    "blk.0.ffn_gate_inp.weight",
    "blk.0.ssm_conv1d.weight",
    "blk.0.ssm_a",
    "blk.0.attn_q.bias",
    "position_embd.weight",
    "token_types.weight",
    "blk.0.time_mix_w1.weight",
    "blk.0.altup_proj.weight",
    "blk.0.laurel_l.weight",
    "blk.0.shortconv.conv.weight",
    "per_layer_model_proj.weight",
    "blk.0.attn_rel_b.weight",
    "blk.0.indexer.k_proj.weight",
    "v.patch_embd.weight",
    "v.position_embd.weight",
    "blk.0.time_mix_decay_w2.weight",
    "mm.a.code_embd.weight",
};

START_TEST(small_tensors_are_left_alone)
{
    const struct mix_options o = to("Q4_K_M");
    struct mix_tensor t = { .name = left_alone[_i], .ne = { 256, 256, 1, 1 } };
    ck_assert(!mix_allows(&t, &o));
    t.name = "blk.0.attn_q.weight";
    ck_assert(mix_allows(&t, &o));
    t.ne[1] = 1; /* one row is a vector */
    ck_assert(!mix_allows(&t, &o));
    t.ne[1] = 256;
    t.type = GGF_I32;
    ck_assert(!mix_allows(&t, &o));
}
END_TEST

START_TEST(names_of_five_bytes)
{
    struct mix_options o = to("Q4_K_M");
    const struct mix_tensor t = { .name = "abcde", .ne = { 256, 256, 1, 1 } };
    ck_assert(!mix_allows(&t, &o));
    o.compat = true;
    ck_assert(mix_allows(&t, &o));
}
END_TEST

static const struct {
    const char *file;
    uint64_t row;
    uint32_t type;
} fallbacks[] = {
    { "Q2_K", 288, GGF_Q4_0 },    { "Q3_K_S", 288, GGF_Q4_0 },
    { "Q4_K_S", 288, GGF_Q5_0 },  { "Q5_K_S", 288, GGF_Q5_1 },
    { "Q6_K", 288, GGF_Q8_0 },    { "IQ4_XS", 288, GGF_IQ4_NL },
    { "IQ3_S", 288, GGF_IQ4_NL }, { "IQ2_XXS", 288, GGF_IQ4_NL },
    { "IQ1_M", 288, GGF_IQ4_NL }, { "TQ1_0", 288, GGF_Q4_0 },
    { "Q2_0", 96, GGF_Q4_0 },     { "Q4_K_S", 100, GGF_F16 },
    { "IQ4_XS", 8, GGF_F16 },     { "Q4_K_S", 512, GGF_Q4_K },
};

START_TEST(rows_that_do_not_fit)
{
    const struct mix_options o = to(fallbacks[_i].file);
    struct list *l = list_new();
    add(l, "output.weight", GGF_F32, 512, 9, 1);
    struct mix_tensor *t =
        add_layer(l, 0, "ssm_out.weight", GGF_F32, fallbacks[_i].row, 9, 1);
    choose(&dense, &o, l);
    ck_assert_str_eq(ggf_type_name(t->choice), ggf_type_name(fallbacks[_i].type));
    ck_assert_int_eq(t->refused != t->choice, fallbacks[_i].row % 256 != 0);
    free(l);
}
END_TEST

/* The head goes to Q8_0 at once; a demand falls back as the rest does. */
START_TEST(head_rows_that_do_not_fit)
{
    struct mix_options o = to("Q4_K_M");
    struct list *l = list_new();
    struct mix_tensor *head = add(l, "output.weight", GGF_F32, 288, 9, 1);
    choose(&dense, &o, l);
    ck_assert_int_eq(head->choice, GGF_Q8_0);
    o.output_type = GGF_Q4_K;
    choose(&dense, &o, l);
    ck_assert_int_eq(head->choice, GGF_Q5_0);
    ck_assert_int_eq(head->refused, GGF_Q4_K);
    free(l);
}
END_TEST

START_TEST(rows_that_fit_nothing)
{
    const struct mix_options o = to("Q8_0");
    ggf_error err = { 0 };
    struct list *l = list_new();
    add_layer(l, 0, "attn_q.weight", GGF_F32, 100, 9, 1);
    ck_assert_int_eq(mix_choose(&dense, &o, l->tensors, l->n, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "blk.0.attn_q.weight"));
    free(l);
}
END_TEST

static const char *const unplaced[] = { "ffn_down.weight", "blk.32.ffn_up_exps.weight",
                                        "blk.x.ffn_gate.weight" };

START_TEST(expert_tensors_need_a_layer)
{
    const struct mix_options o = to("Q4_K_M");
    ggf_error err = { 0 };
    struct list *l = list_new();
    add(l, unplaced[_i], GGF_F32, 256, 256, 4);
    ck_assert_int_eq(mix_choose(&mixtral, &o, l->tensors, l->n, &err), GGF_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, unplaced[_i]));
    ck_assert_int_eq(mix_choose(&dense, &o, l->tensors, l->n, &err), 0);
    free(l);
}
END_TEST

START_TEST(order_of_names)
{
    static const char *const sorted[] = { "output.weight",       "token_embd.weight",
                                          "blk.0.attn_k.weight", "blk.0.ffn_up.weight",
                                          "blk.2.attn_k.weight", "blk.10.attn_k.weight" };
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) {
            const int c = mix_compare_names(sorted[i], sorted[k]);
            ck_assert_int_eq((c > 0) - (c < 0), (i > k) - (i < k));
        }
    ck_assert_int_eq(mix_layer("blk.7.x"), 7);
    ck_assert_int_eq(mix_layer("blk.7"), -1);
    ck_assert_int_eq(mix_layer("blk..x"), -1);
    ck_assert_int_eq(mix_layer("v.blk.7.x"), -1);
}
END_TEST

START_TEST(who_wants_a_matrix)
{
    const struct file_type *q2 = file_type_find("Q2_K"), *q2s = file_type_find("Q2_K_S");
    ck_assert(mix_wants_matrix("blk.0.attn_q.weight", GGF_IQ2_XS, q2));
    ck_assert(!mix_wants_matrix("token_embd.weight", GGF_IQ2_XS, q2));
    ck_assert(!mix_wants_matrix("output.weight", GGF_IQ2_XS, q2));
    ck_assert(!mix_wants_matrix("blk.0.attn_q.weight", GGF_Q2_K, q2));
    ck_assert(mix_wants_matrix("blk.0.attn_q.weight", GGF_Q2_K, q2s));
    ck_assert(!mix_wants_matrix("blk.0.attn_q.weight", GGF_IQ4_XS, q2));
}
END_TEST

START_TEST(names_of_file_types)
{
    ck_assert_uint_eq(file_type_find("q4_k_m")->id, FT_Q4_K_M);
    ck_assert_uint_eq(file_type_find("Q4_K")->id, FT_Q4_K_M);
    ck_assert_uint_eq(file_type_find("q3_k")->id, FT_Q3_K_M);
    ck_assert_uint_eq(file_type_find("15")->id, FT_Q4_K_M);
    ck_assert_uint_eq(file_type_find("0")->id, FT_F32);
    ck_assert_uint_eq(file_type_find("IQ2_S")->base, GGF_IQ2_XS);
    ck_assert_uint_eq(file_type_find("IQ2_M")->base, GGF_IQ2_S);
    ck_assert_uint_eq(file_type_find("IQ3_XS")->base, GGF_IQ3_S);
    ck_assert_ptr_null(file_type_find("Q4"));
    ck_assert_ptr_null(file_type_find("4"));
    ck_assert_ptr_null(file_type_find(""));
    ck_assert_ptr_null(file_type_find("-1"));
    ck_assert_ptr_null(file_type_find("99999999999999999999"));
    for (const struct file_type *t = file_types; t->name; t++) {
        ck_assert_ptr_nonnull(ggf_type_info(t->base));
        ck_assert_ptr_eq(file_type_by_id(t->id), t);
        ck_assert_ptr_eq(file_type_find(t->name), t);
    }
    ck_assert_uint_eq(file_type_of_tensors(GGF_Q4_K), FT_Q4_K_M);
    ck_assert_uint_eq(file_type_of_tensors(GGF_IQ3_S), FT_IQ3_S);
    ck_assert_uint_eq(file_type_of_tensors(GGF_MXFP4), FT_MXFP4_MOE);
    ck_assert_uint_eq(file_type_of_tensors(GGF_I32), FT_F32);
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

int main(void)
{
    TCase *tc = tcase_create("mix");
    tcase_add_loop_test(tc, sizes_of_qwen3_next_80b, 0, COUNT(qwen80_sizes));
    tcase_add_loop_test(tc, decision, 0, COUNT(decisions));
    tcase_add_loop_test(tc, embedding_and_head, 0, COUNT(ends));
    tcase_add_test(tc, demands_come_first);
    tcase_add_test(tc, demanded_tensors_are_not_counted);
    tcase_add_loop_test(tc, small_tensors_are_left_alone, 0, COUNT(left_alone));
    tcase_add_test(tc, names_of_five_bytes);
    tcase_add_loop_test(tc, rows_that_do_not_fit, 0, COUNT(fallbacks));
    tcase_add_test(tc, head_rows_that_do_not_fit);
    tcase_add_test(tc, rows_that_fit_nothing);
    tcase_add_loop_test(tc, expert_tensors_need_a_layer, 0, COUNT(unplaced));
    tcase_add_test(tc, order_of_names);
    tcase_add_test(tc, who_wants_a_matrix);
    tcase_add_test(tc, names_of_file_types);
    return SUITE_RUN("mix", tc);
}
