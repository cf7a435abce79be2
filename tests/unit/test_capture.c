/* test_capture.c - inputs kept of matrices, and errors of types as outputs show them. */
#include "suite.h"
#include "tiny_model.h"
#include "../../infer/session/output_error.h"
#include "../../quant/decode.h"

#include <math.h>

static char path[64];
static q3n_model *model;
static q3n_capture *capture;
static float logits[TINY_TOKENS * VOCAB];

enum { STRIDE = 3, KEPT = (TINY_TOKENS + STRIDE - 1) / STRIDE };

static void setup(void)
{
    ggf_error err;
    q3n_session *session;
    int32_t tokens[TINY_TOKENS];
    tiny_temp(path, &(struct tiny){ 0 });
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    const struct q3n_model_options exact = { .exact = true };
    ck_assert_int_eq(q3n_model_open(&model, path, &exact, &err), 0);
    ck_assert_int_eq(q3n_capture_new(&capture, model, 2 * KEPT - 1, STRIDE, &err), 0);
    ck_assert_int_eq(q3n_session_new(&session, model, NULL, &err), 0);
    q3n_session_observe(session, q3n_capture_observer(capture));
    ck_assert_int_eq(q3n_session_eval(session, tokens, TINY_TOKENS, 0, logits, &err), 0);
    q3n_capture_next(capture, TINY_TOKENS);
    q3n_session_free(session);
}

static void teardown(void)
{
    q3n_capture_free(capture);
    q3n_model_close(model);
    unlink(path);
}

static const float *weights_of(const char *name)
{
    return (const void *)ggf_find_tensor(q3n_model_file(model), name)->data;
}

static double product(const float *w, const float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)w[i] * (double)x[i];
    return sum;
}

/* The head's inputs times the head are the logits of the tokens kept. */
START_TEST(inputs_of_the_head)
{
    struct captured in;
    const float *w = weights_of("output.weight");
    ck_assert(q3n_capture_inputs(capture, "output.weight", 0, &in));
    ck_assert_uint_eq(in.rows, KEPT);
    ck_assert_uint_eq(in.n, EMBD);
    ck_assert_ptr_null(in.weights);
    for (uint32_t i = 0; i < in.rows; i++)
        for (int v = 0; v < VOCAB; v++) {
            const double want = (double)logits[i * STRIDE * VOCAB + v];
            const double y = product(w + v * EMBD, in.x + i * EMBD, EMBD);
            ck_assert_double_lt(fabs(y - want), 1e-4 * (1 + fabs(want)));
        }
}
END_TEST

/* Every token kept is with USED experts, the router's weights add up to 1, and the input
 * of an expert's down follows from that of its gate and up. */
START_TEST(inputs_of_experts)
{
    double sums[KEPT] = { 0 };
    uint32_t pairs = 0;
    const float *gates = weights_of("blk.1.ffn_gate_exps.weight"),
                *ups = weights_of("blk.1.ffn_up_exps.weight");
    for (uint32_t e = 0; e < EXPERTS; e++) {
        struct captured in, down;
        if (!q3n_capture_inputs(capture, "blk.1.ffn_gate_exps.weight", e, &in)) continue;
        ck_assert(q3n_capture_inputs(capture, "blk.1.ffn_down_exps.weight", e, &down));
        ck_assert_uint_eq(in.rows, down.rows);
        pairs += in.rows;
        for (uint32_t i = 0; i < in.rows; i++) {
            sums[in.at[i]] += (double)in.weights[i];
            for (uint32_t r = 0; r < FF; r++) {
                const size_t row = (e * FF + r) * EMBD;
                const float *x = in.x + in.at[i] * EMBD;
                const double g = product(gates + row, x, EMBD);
                const double h = g / (1 + exp(-g)) * product(ups + row, x, EMBD);
                ck_assert_double_lt(fabs(h - (double)down.x[down.at[i] * FF + r]), 1e-4);
            }
        }
    }
    ck_assert_uint_eq(pairs, KEPT * USED);
    for (int t = 0; t < KEPT; t++) ck_assert_double_lt(fabs(sums[t] - 1), 1e-5);
}
END_TEST

START_TEST(no_inputs)
{
    static const char *const names[] = { "token_embd.weight", "blk.2.attn_q.weight",
                                         "blk.1.attn_q.bias", "output_norm.weight",
                                         "blk.x.attn_q.weight" };
    struct captured in;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_msg(!q3n_capture_inputs(capture, names[i], 0, &in), "%s", names[i]);
    ck_assert(!q3n_capture_inputs(capture, "blk.1.ffn_up_exps.weight", EXPERTS, &in));
}
END_TEST

/* Of a matrix with few rows all are looked at: the same as by hand. */
START_TEST(error_of_outputs)
{
    ggf_error err;
    struct captured in;
    struct plan plan;
    struct error_table table;
    struct plan_options options = { 0 };
    options.mix.to = file_type_by_id(FT_Q8_0);
    options.mix.pure = true;
    options.mix.output_type = options.mix.embedding_type = MIX_NO_TYPE;
    const ggf_file *file = q3n_model_file(model);
    ck_assert_msg(!plan_make(&plan, file, &options, &err), "%s", err.message);
    ck_assert_int_eq(error_table_init(&table, &plan, &options, &err), 0);
    size_t head = 0, embedding = 0, n;
    for (size_t i = 0; i < plan.n_items; i++) {
        if (!strcmp(plan.items[i].name, "output.weight")) head = i;
        if (!strcmp(plan.items[i].name, "token_embd.weight")) embedding = i;
        error_table_want(&table, i, GGF_Q4_0);
    }
    const struct sensitivity_options o = { .threads = 1 };
    ck_assert_int_eq(error_table_measure(&table, &o, &err), 0);
    const double before = table.entries[embedding].error[GGF_Q4_0];
    ck_assert_int_eq(q3n_output_errors(&n, capture, &table, 0, 2, &err), 0);
    ck_assert_uint_ge(n, 10);
    ck_assert_double_eq(table.entries[embedding].error[GGF_Q4_0], before);

    const float *w = weights_of("output.weight");
    double e = 0, x = 0;
    ck_assert(q3n_capture_inputs(capture, "output.weight", 0, &in));
    for (int v = 0; v < VOCAB; v++) {
        float other[EMBD];
        uint8_t stored[EMBD];
        encode_for(GGF_Q4_0)(w + v * EMBD, EMBD, NULL, stored);
        decode_for(GGF_Q4_0)(stored, other, EMBD);
        for (uint32_t i = 0; i < in.rows; i++) {
            const double y = product(w + v * EMBD, in.x + i * EMBD, EMBD);
            const double z = product(other, in.x + i * EMBD, EMBD);
            e += (z - y) * (z - y);
            x += y * y;
        }
    }
    ck_assert_double_lt(fabs(table.entries[head].error[GGF_Q4_0] / (e / x) - 1), 1e-3);
    error_table_free(&table);
    plan_free(&plan);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("capture");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, inputs_of_the_head);
    tcase_add_test(tc, inputs_of_experts);
    tcase_add_test(tc, no_inputs);
    tcase_add_test(tc, error_of_outputs);
    return SUITE_RUN("capture", tc);
}
