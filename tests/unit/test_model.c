/* test_model.c - loading models: every layout variant gives the same numbers, and what is
 * missing or wrong is named. */
#include "suite.h"
#include "tiny_model.h"

#include <math.h>

static char path[64];

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void teardown(void) { unlink(path); }

static void logits_of(const struct tiny *t, float logits[TINY_TOKENS * VOCAB])
{
    ggf_error err;
    tiny_write(path, t);
    ck_assert_msg(!tiny_run(path, NULL, logits, &err), "%s", err.message);
}

static void refused(const struct tiny *t, int code, const char *says)
{
    ggf_error err;
    q3n_model *model = (void *)&err; /* must become NULL */
    tiny_write(path, t);
    const int e = q3n_model_open(&model, path, NULL, &err);
    ck_assert_msg(e == code, "%s: code %d, not %d (%s)", says, e, code,
                  e ? err.message : "it opened");
    ck_assert_ptr_null(model);
    ck_assert_msg(strstr(err.message, says), "'%s' does not name '%s'", err.message,
                  says);
}

/* ---- Variants ------------------------------------------------------------ */

static const struct tiny variants[] = {
    { .fused_gate_up = true },
    { .fused_qkv = true },
    { .ssm_in = true },
    { .plain_dt = true },
    { .scales = true },
    { .scales = true, .fused_gate_up = true },
    { .recurrent_list = true, .key = "full_attention_interval", .value = 1 },
    { .type_of = "blk.0.ffn_gate_inp_shexp.weight", .type = GGF_F16 },
    { .type_of = "blk.1.ffn_gate_inp_shexp.weight", .type = GGF_BF16 },
    { .type_of = "blk.0.ssm_conv1d.weight", .type = GGF_F16 },
    { .type_of = "token_embd.weight", .type = GGF_F16 },
};

START_TEST(same_numbers)
{
    float plain[TINY_TOKENS * VOCAB], other[TINY_TOKENS * VOCAB];
    logits_of(&(struct tiny){ 0 }, plain);
    logits_of(&variants[_i], other);
    for (int i = 0; i < TINY_TOKENS * VOCAB; i++) ck_assert(isfinite(plain[i]));
    ck_assert_mem_eq(plain, other, sizeof plain);
}
END_TEST

START_TEST(tied_output)
{
    float tied[TINY_TOKENS * VOCAB], copy[TINY_TOKENS * VOCAB];
    logits_of(&(struct tiny){ .tied = true }, tied);
    logits_of(&(struct tiny){ .tie_by_value = true }, copy);
    ck_assert_mem_eq(tied, copy, sizeof tied);
}
END_TEST

/* A block behind the trunk is a draft block: neither needed nor used. */
START_TEST(draft_block)
{
    float plain[TINY_TOKENS * VOCAB], mtp[TINY_TOKENS * VOCAB];
    logits_of(&(struct tiny){ 0 }, plain);
    const struct tiny t = { .key = "block_count", .value = 3 };
    refused(&t, GGF_E_NOT_FOUND, "blk.2.attn_norm.weight");
    tiny_write(path, &(struct tiny){ .key = "nextn_predict_layers", .value = 1 });
    ggf_error err;
    q3n_model *model;
    /* 2 blocks of which 1 drafts: a trunk of the first layer. */
    ck_assert_msg(!q3n_model_open(&model, path, NULL, &err), "%s", err.message);
    ck_assert_uint_eq(q3n_model_info(model)->n_layer, 1);
    q3n_model_close(model);
    ck_assert_int_eq(tiny_run(path, NULL, mtp, &err), 0);
    ck_assert_mem_ne(plain, mtp, sizeof plain);
}
END_TEST

/* Any matrix may be quantized, ssm_ba too; the numbers stay near. */
START_TEST(quantized)
{
    float plain[TINY_TOKENS * VOCAB], other[TINY_TOKENS * VOCAB];
    const struct tiny_tensor *t = &tiny_tensors[_i];
    if (!t->matrix) return;
    logits_of(&(struct tiny){ 0 }, plain);
    logits_of(&(struct tiny){ .type_of = t->name, .type = GGF_Q8_0 }, other);
    double error = 0, power = 0;
    for (int i = 0; i < TINY_TOKENS * VOCAB; i++) {
        const double d = (double)plain[i] - (double)other[i];
        error += d * d;
        power += (double)plain[i] * (double)plain[i];
    }
    ck_assert_msg(error > 0 && error < 0.01 * power, "%s: NMSE %g", t->name,
                  error / power);
}
END_TEST

static struct q3n_model_info info_of(const char *file, const struct q3n_model_options *o)
{
    q3n_model *model;
    ggf_error err;
    ck_assert_msg(!q3n_model_open(&model, file, o, &err), "%s", err.message);
    const struct q3n_model_info info = *q3n_model_info(model);
    q3n_model_close(model);
    return info;
}

/* A tensor of an overlay counts, those that it does not have are the file's. */
START_TEST(overlay)
{
    float whole[TINY_TOKENS * VOCAB], laid_over[TINY_TOKENS * VOCAB];
    const char *name = tiny_tensors[_i].name;
    char other[80];
    ggf_error err;
    if (!tiny_tensors[_i].matrix) return;
    logits_of(&(struct tiny){ .type_of = name, .type = GGF_Q8_0 }, whole);
    const struct q3n_model_info want = info_of(path, NULL);
    tiny_write(path, &(struct tiny){ 0 });
    snprintf(other, sizeof other, "%s-overlay", path);
    tiny_write(other,
               &(struct tiny){ .only_tensor = name, .type_of = name, .type = GGF_Q8_0 });
    const struct q3n_model_options o = { .overlay = other };
    const int e = tiny_run(path, &o, laid_over, &err);
    const struct q3n_model_info got = info_of(path, &o);
    unlink(other);
    ck_assert_msg(!e, "%s", err.message);
    ck_assert_mem_eq(whole, laid_over, sizeof whole);
    ck_assert_uint_eq(got.n_params, want.n_params);
    ck_assert_uint_eq(got.bytes, want.bytes);
    ck_assert_uint_eq(got.bytes_experts, want.bytes_experts);
    ck_assert_uint_eq(got.bytes_dense, want.bytes_dense);
}
END_TEST

START_TEST(information)
{
    ggf_error err;
    q3n_model *model;
    tiny_write(path, &(struct tiny){ 0 });
    ck_assert_int_eq(q3n_model_open(&model, path, NULL, &err), 0);
    const struct q3n_model_info *info = q3n_model_info(model);
    ck_assert_str_eq(info->architecture, "qwen3next");
    ck_assert_uint_eq(info->n_vocab, VOCAB);
    ck_assert_uint_eq(info->n_layer, 2);
    ck_assert_uint_eq(info->n_expert, EXPERTS);
    ck_assert_uint_eq(info->n_expert_used, USED);
    ck_assert_uint_eq(info->n_ctx_train, 64);
    ck_assert_uint_eq(info->bytes, 4 * info->n_params);
    ck_assert_uint_eq(info->bytes_experts, 2 * 4 * 3 * EXPERTS * FF * EMBD);
    ck_assert_uint_eq(info->n_kv, KV_ROWS);
    ck_assert_uint_eq(info->bytes_session,
                      4 * (V_HEADS * STATE * STATE + (TAPS - 1) * CHANNELS));
    const uint64_t ffn = EXPERTS * EMBD + 3 * EMBD * (USED * FF + FF);
    const uint64_t delta = EMBD * (CHANNELS + INNER + 2 * V_HEADS) + INNER * EMBD;
    const uint64_t attention = EMBD * (Q_ROWS + 2 * KV_ROWS) + HEADS * HEAD_DIM * EMBD;
    ck_assert_uint_eq(info->macs_token, delta + ffn + attention);
    ck_assert_uint_eq(info->macs_logits, ffn + EMBD * VOCAB);
    ck_assert(!info->packed);
    struct q3n_session_options so = { .n_ctx = 10, .type_k = GGF_F16 };
    ck_assert_uint_eq(q3n_kv_bytes(info, &so), KV_ROWS * (2 + 4));
    so.type_v = GGF_Q8_0; /* heads of 16 are half a block */
    q3n_session *session;
    ck_assert_int_eq(q3n_session_new(&session, model, &so, &err), GGF_E_ARG);
    ck_assert_ptr_null(session);
    q3n_model_close(model);
    q3n_model_close(NULL);
}
END_TEST

/* ---- Refusals ------------------------------------------------------------ */

START_TEST(missing_tensor)
{
    const char *name = tiny_tensors[_i].name;
    if (!strcmp(name, "output.weight")) return; /* then the embedding is the output */
    const char *says = strstr(name, "ssm_dt") ? "blk.0.ssm_dt" : name;
    refused(&(struct tiny){ .drop_tensor = name }, GGF_E_NOT_FOUND, says);
}
END_TEST

START_TEST(wrong_shape)
{
    const char *name = tiny_tensors[_i].name;
    /* The embedding's rows say how large the vocabulary is. */
    const char *says = strstr(name, "token_embd") ? "output.weight" : name;
    refused(&(struct tiny){ .wide_tensor = name }, GGF_E_FORMAT, says);
}
END_TEST

START_TEST(missing_key)
{
    const char *name = tiny_keys[_i].name;
    /* These have defaults, with which some tensor may not fit. */
    static const char *const optional[] = { "full_attention_interval", "head_count_kv",
                                            "_length", "rope." };
    for (int i = 0; i < 4; i++)
        if (strstr(name, optional[i]) && strcmp(name, "context_length") &&
            strcmp(name, "embedding_length") && !strstr(name, "expert"))
            return;
    refused(&(struct tiny){ .drop_key = name }, GGF_E_NOT_FOUND, name);
}
END_TEST

struct bad_key {
    const char *name;
    double value;
    int code;
    const char *says;
};

static const struct bad_key bad_keys[] = {
    { "block_count", 0, GGF_E_FORMAT, "block_count" },
    { "block_count", 4294967295.0, GGF_E_FORMAT, "block_count" },
    { "block_count", 1 << 20, GGF_E_FORMAT, "block_count" },
    { "nextn_predict_layers", 2, GGF_E_ARG, "draft" },
    { "nextn_predict_layers", 3, GGF_E_FORMAT, "nextn_predict_layers" },
    { "embedding_length", 0, GGF_E_FORMAT, "embedding_length" },
    { "embedding_length", 1 << 30, GGF_E_FORMAT, "embedding_length" },
    { "embedding_length", 64, GGF_E_FORMAT, "token_embd.weight" },
    { "context_length", 0, GGF_E_FORMAT, "context_length" },
    { "full_attention_interval", 0, GGF_E_FORMAT, "full_attention_interval" },
    { "attention.head_count", 0, GGF_E_FORMAT, "head_count" },
    { "attention.head_count", 1 << 24, GGF_E_FORMAT, "head_count" },
    { "attention.head_count", 4, GGF_E_FORMAT, "attn_q.weight" },
    { "attention.head_count_kv", 3, GGF_E_FORMAT, "head_count_kv" },
    { "attention.head_count_kv", 0, GGF_E_FORMAT, "head_count_kv" },
    { "attention.key_length", 1, GGF_E_FORMAT, "key_length" },
    { "attention.key_length", 8, GGF_E_ARG, "not supported" },
    { "attention.value_length", 1 << 20, GGF_E_FORMAT, "value_length" },
    { "attention.layer_norm_rms_epsilon", -1, GGF_E_FORMAT, "epsilon" },
    { "attention.layer_norm_rms_epsilon", NAN, GGF_E_FORMAT, "epsilon" },
    { "rope.dimension_count", 7, GGF_E_ARG, "rotated" },
    { "rope.dimension_count", 32, GGF_E_FORMAT, "dimension_count" },
    { "rope.freq_base", 0, GGF_E_FORMAT, "freq_base" },
    { "rope.scaling.type", 1, GGF_E_TYPE, "scaling.type" },
    { "expert_count", 0, GGF_E_FORMAT, "expert_count" },
    { "expert_count", 1 << 20, GGF_E_FORMAT, "expert_count" },
    { "expert_used_count", 0, GGF_E_FORMAT, "expert_used_count" },
    { "expert_used_count", 5, GGF_E_FORMAT, "expert_used_count" },
    { "expert_feed_forward_length", 0, GGF_E_FORMAT, "feed_forward" },
    { "expert_feed_forward_length", 33, GGF_E_FORMAT, "ffn_down_exps" },
    { "expert_shared_feed_forward_length", 64, GGF_E_FORMAT, "shexp" },
    { "ssm.conv_kernel", 0, GGF_E_FORMAT, "conv_kernel" },
    { "ssm.conv_kernel", 17, GGF_E_FORMAT, "conv_kernel" },
    { "ssm.state_size", 0, GGF_E_FORMAT, "state_size" },
    { "ssm.state_size", 16, GGF_E_FORMAT, "fit together" },
    { "ssm.group_count", 3, GGF_E_FORMAT, "fit together" },
    { "ssm.group_count", 0, GGF_E_FORMAT, "group_count" },
    { "ssm.time_step_rank", 1 << 16, GGF_E_FORMAT, "time_step_rank" },
    { "ssm.inner_size", 31, GGF_E_FORMAT, "fit together" },
};
enum { N_BAD_KEYS = sizeof bad_keys / sizeof *bad_keys };

START_TEST(bad_value)
{
    const struct bad_key *b = &bad_keys[_i];
    refused(&(struct tiny){ .key = b->name, .value = b->value }, b->code, b->says);
}
END_TEST

START_TEST(other_files)
{
    ggf_error err;
    q3n_model *model;
    refused(&(struct tiny){ .arch = "llama" }, GGF_E_ARG, "llama");
    ck_assert_int_eq(q3n_model_open(&model, "/nowhere/model.gguf", NULL, &err), GGF_E_IO);
    tiny_write(path, &(struct tiny){ 0 });
    const struct q3n_model_options many = { .threads = 1 << 20 };
    ck_assert_int_eq(q3n_model_open(&model, path, &many, &err), GGF_E_ARG);
    const struct q3n_model_options o = { .experts = "/nowhere/model.xpack" };
    ck_assert_int_eq(q3n_model_open(&model, path, &o, &err), GGF_E_IO);
    const struct q3n_model_options over = { .overlay = "/nowhere/overlay.gguf" };
    ck_assert_int_eq(q3n_model_open(&model, path, &over, &err), GGF_E_IO);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("loading");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, same_numbers, 0, sizeof variants / sizeof *variants);
    tcase_add_test(tc, tied_output);
    tcase_add_test(tc, draft_block);
    tcase_add_loop_test(tc, quantized, 0, TINY_TENSORS);
    tcase_add_loop_test(tc, overlay, 0, TINY_TENSORS);
    tcase_add_test(tc, information);
    tcase_add_loop_test(tc, missing_tensor, 0, TINY_TENSORS);
    tcase_add_loop_test(tc, wrong_shape, 0, TINY_TENSORS);
    tcase_add_loop_test(tc, missing_key, 0, TINY_KEYS);
    tcase_add_loop_test(tc, bad_value, 0, N_BAD_KEYS);
    tcase_add_test(tc, other_files);
    return SUITE_RUN("model", tc);
}
