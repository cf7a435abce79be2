/* test_roles.c - what tensors are for, by their names and their neighbours'. */
#include "image.h"
#include "suite.h"

static const struct {
    const char *name;
    enum ggf_role role;
    int layer;
} tensors[] = {
    { "token_embd.weight", GGF_ROLE_EMBEDDING, -1 },
    { "output.weight", GGF_ROLE_OUTPUT, -1 },
    { "output_norm.weight", GGF_ROLE_NORM, -1 },
    { "rope_freqs.weight", GGF_ROLE_OTHER, -1 },
    { "blk.x.attn_q.weight", GGF_ROLE_OTHER, -1 },
    { "blk.123456.attn_q.weight", GGF_ROLE_OTHER, -1 }, /* more than five digits */
    /* A delta layer: attn_qkv and attn_gate are its input. */
    { "blk.0.attn_norm.weight", GGF_ROLE_NORM, 0 },
    { "blk.0.attn_qkv.weight", GGF_ROLE_DELTA, 0 },
    { "blk.0.attn_gate.weight", GGF_ROLE_DELTA, 0 },
    { "blk.0.ssm_a", GGF_ROLE_DELTA, 0 },
    { "blk.0.ssm_norm.weight", GGF_ROLE_NORM, 0 },
    { "blk.0.ssm_out.weight", GGF_ROLE_DELTA, 0 },
    { "blk.0.ffn_gate_inp.weight", GGF_ROLE_ROUTER, 0 },
    { "blk.0.exp_probs_b.bias", GGF_ROLE_ROUTER, 0 },
    { "blk.0.ffn_gate_up_exps.weight", GGF_ROLE_EXPERTS, 0 },
    { "blk.0.ffn_down_exps.scale", GGF_ROLE_EXPERTS, 0 },
    { "blk.0.ffn_gate_inp_shexp.weight", GGF_ROLE_SHARED, 0 },
    { "blk.0.ffn_up_shexp.weight", GGF_ROLE_SHARED, 0 },
    { "blk.0.something", GGF_ROLE_OTHER, 0 },
    /* An attention layer with its inputs in one. */
    { "blk.1.attn_qkv.weight", GGF_ROLE_ATTENTION, 1 },
    { "blk.1.attn_output.weight", GGF_ROLE_ATTENTION, 1 },
    { "blk.1.attn_q_norm.weight", GGF_ROLE_NORM, 1 },
    { "blk.1.ffn_down.weight", GGF_ROLE_FFN, 1 },
    /* The last block is for multi-token prediction, whatever is in it. */
    { "blk.2.attn_q.weight", GGF_ROLE_MTP, 2 },
    { "blk.2.ffn_up_exps.weight", GGF_ROLE_MTP, 2 },
    { "blk.2.nextn.eh_proj.weight", GGF_ROLE_MTP, 2 },
};
enum { COUNT = sizeof tensors / sizeof *tensors };

static void write_model(const char *path)
{
    ggf_writer *w;
    ck_assert_int_eq(ggf_writer_create(&w, path, NULL, NULL), 0);
    ck_assert_int_eq(ggf_writer_set_str(w, "general.architecture", "any", NULL), 0);
    ck_assert_int_eq(ggf_writer_set_u32(w, "any.block_count", 3, NULL), 0);
    ck_assert_int_eq(ggf_writer_set_u32(w, "any.nextn_predict_layers", 1, NULL), 0);
    const uint64_t ne[4] = { 4, 1, 1, 1 };
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(ggf_writer_add_tensor(w, tensors[i].name, GGF_I8, ne, NULL), 0);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    for (uint64_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(ggf_writer_write(w, i, 0, "data", 4, NULL), 0);
    ck_assert_int_eq(ggf_writer_finish(w, NULL), 0);
}

START_TEST(by_name)
{
    const char *path = scratch("roles.gguf");
    write_model(path);
    ggf_file *f;
    ck_assert_int_eq(ggf_open(&f, path, NULL, NULL), 0);
    remove(path);
    ck_assert_uint_eq(ggf_mtp_layers(f), 1);
    for (uint64_t i = 0; i < COUNT; i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        ck_assert_msg(ggf_tensor_role(f, t) == tensors[i].role, "%s is '%s', not '%s'",
                      t->name, ggf_role_name(ggf_tensor_role(f, t)),
                      ggf_role_name(tensors[i].role));
        ck_assert_int_eq(ggf_tensor_layer(t), tensors[i].layer);
    }
    ggf_close(f);
}
END_TEST

START_TEST(names)
{
    for (int r = 0; r < GGF_ROLE_COUNT; r++)
        ck_assert_str_ne(ggf_role_name((enum ggf_role)r), "?");
    ck_assert_str_eq(ggf_role_name(GGF_ROLE_COUNT), "?");
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("roles");
    tcase_add_test(t, by_name);
    tcase_add_test(t, names);
    return SUITE_RUN("roles", t);
}
