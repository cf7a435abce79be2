/* test_lint.c - each finding of the linter, and plans without any. */
#include "../../quant/lint.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

enum { EXPERTS = 8, MOST = 8 };

/* A layer of a large model. */
static const struct {
    const char *name;
    uint64_t ne[3];
} shapes[MOST] = {
    { "output.weight", { 2048, 151936, 1 } },
    { "token_embd.weight", { 2048, 151936, 1 } },
    { "blk.3.attn_v.weight", { 2048, 512, 1 } },
    { "blk.3.ffn_down_exps.weight", { 512, 2048, 512 } },
    { "blk.3.ffn_gate_exps.weight", { 2048, 512, 512 } },
    { "blk.3.ffn_up_exps.weight", { 2048, 512, 512 } },
    { "blk.3.ssm_ba.weight", { 2048, 64, 1 } },
    { "blk.3.attn_norm.weight", { 2048, 1, 1 } },
};

struct example {
    struct ggf_tensor sources[MOST];
    struct plan_item items[MOST];
    struct imatrix_entry entry;
    struct plan plan;
    struct plan_options options;
    struct lint lint;
};

/* A plan that is fine: q4_K experts, the rest as the floors want it. */
static void make(struct example *e)
{
    static const uint32_t types[MOST] = { GGF_Q6_K, GGF_Q5_K, GGF_Q8_0, GGF_Q5_K,
                                          GGF_Q4_K, GGF_Q4_K, GGF_Q8_0, GGF_F32 };
    *e = (struct example){ 0 };
    for (size_t i = 0; i < MOST; i++) {
        struct ggf_tensor *t = &e->sources[i];
        memcpy(t->ne, shapes[i].ne, sizeof shapes[i].ne);
        t->ne[3] = 1;
        t->type = t->ne[1] > 1 ? GGF_BF16 : GGF_F32;
        t->count = t->ne[0] * t->ne[1] * t->ne[2];
        e->items[i] = (struct plan_item){ .source = t, .type = types[i] };
        snprintf(e->items[i].name, sizeof e->items[i].name, "%s", shapes[i].name);
    }
    e->plan = (struct plan){ .items = e->items, .n_items = MOST };
    e->options.mix = (struct mix_options){ .to = file_type_by_id(FT_Q8_0),
                                           .output_type = MIX_NO_TYPE,
                                           .embedding_type = MIX_NO_TYPE };
}

static void look(struct example *e)
{
    e->plan.n_elements = e->plan.bytes = 0;
    for (size_t i = 0; i < MOST; i++) {
        struct plan_item *item = &e->items[i];
        const struct ggf_type_info *type = ggf_type_info(item->type);
        if (item->refused == 0) item->refused = item->type;
        item->bytes = item->source->count / type->block * type->block_bytes;
        e->plan.n_elements += item->source->count;
        e->plan.bytes += item->bytes;
    }
    lint_plan(&e->lint, &e->plan, &e->options, false, false);
}

static void expect_one(struct example *e, enum lint_kind kind, size_t count,
                       const char *message)
{
    look(e);
    ck_assert_int_eq(e->lint.n, 1);
    ck_assert_int_eq(e->lint.findings[0].kind, kind);
    ck_assert_uint_eq(e->lint.findings[0].count, count);
    ck_assert_str_eq(e->lint.findings[0].message, message);
}

START_TEST(nothing)
{
    struct example e;
    make(&e);
    look(&e);
    ck_assert_int_eq(e.lint.n, 0);
    /* What is copied was not chosen. */
    make(&e);
    e.sources[2].type = e.items[2].type = GGF_Q4_0;
    look(&e);
    ck_assert_int_eq(e.lint.n, 0);
}
END_TEST

START_TEST(dominated)
{
    static const struct {
        uint32_t type;
        const char *message;
    } cases[] = {
        { GGF_Q3_K,
          "1 expert tensors are q3_K: iq3_s takes no more bytes and loses less" },
        { GGF_MXFP4,
          "1 expert tensors are mxfp4: iq4_xs takes no more bytes and loses less" },
        { GGF_Q2_K, "1 expert tensors are q2_K: iq2_s takes no more bytes and loses less "
                    "with an importance matrix" },
    };
    struct example e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(&e);
        e.items[3].type = cases[i].type;
        expect_one(&e, LINT_DOMINATED, 1, cases[i].message);
        lint_plan(&e.lint, &e.plan, &e.options, true, false);
        ck_assert_int_eq(e.lint.n, 0);
        /* Rows of half blocks cannot have the better type. */
        e.sources[3].ne[0] = 128, e.sources[3].ne[1] = 8192;
        lint_plan(&e.lint, &e.plan, &e.options, false, false);
        ck_assert_int_eq(e.lint.n, 0);
    }
}
END_TEST

START_TEST(gate_and_up)
{
    struct example e;
    make(&e);
    e.items[5].type = GGF_Q5_K;
    expect_one(
        &e, LINT_GATE_UP, 1,
        "gate and up differ in 1 layers (blk.3.ffn_gate_exps.weight q4_K, up q5_K): "
        "engines multiply them faster with one type");
}
END_TEST

START_TEST(pinned)
{
    struct example e;
    make(&e);
    e.items[1].type = GGF_Q8_0;
    expect_one(
        &e, LINT_PINNED, 1,
        "token_embd.weight is q8_0, more than pays beside experts of 4.8 bits: q6_K "
        "frees 71.9 MiB");
    make(&e);
    e.items[0].type = GGF_F16;
    look(&e);
    ck_assert_int_eq(e.lint.n, 1);
    ck_assert_str_eq(e.lint.findings[0].first, "output.weight");
    /* Beside experts of 8 bits it pays. */
    make(&e);
    e.items[1].type = e.items[3].type = e.items[4].type = e.items[5].type = GGF_Q8_0;
    look(&e);
    ck_assert_int_eq(e.lint.n, 0);
}
END_TEST

START_TEST(small_and_floor)
{
    struct example e;
    make(&e);
    e.items[6].type = GGF_IQ4_NL;
    look(&e);
    ck_assert_int_eq(e.lint.n, 2);
    ck_assert_int_eq(e.lint.findings[0].kind, LINT_SMALL);
    ck_assert_str_eq(
        e.lint.findings[0].message,
        "1 small tensors have codebooks (blk.3.ssm_ba.weight: iq4_nl), which "
        "are slow: q8_0 would take 0.1 MiB more");
    ck_assert_int_eq(e.lint.findings[1].kind, LINT_FLOOR);
    make(&e);
    e.items[2].type = GGF_Q4_K;
    expect_one(&e, LINT_FLOOR, 1,
               "1 tensors have fewer bits than their class should (blk.3.attn_v.weight: "
               "q4_K, at least 8.50 bits)");
}
END_TEST

START_TEST(coverage)
{
    const float counts[EXPERTS] = { 100, 0, 15, 16, 17, 0, 200, 3 };
    struct example e;
    make(&e);
    e.entry =
        (struct imatrix_entry){ .n_slices = EXPERTS, .counts = (const uint8_t *)counts };
    e.items[3].weights = e.items[4].weights = &e.entry; /* the same experts */
    expect_one(&e, LINT_COVERAGE, 4,
               "the importance matrix saw 4 of 8 experts in fewer than 16 tokens, 2 in "
               "none: --imatrix-shrink draws them to the others");
    lint_plan(&e.lint, &e.plan, &e.options, false, true);
    ck_assert_int_eq(e.lint.n, 0);
}
END_TEST

START_TEST(rows)
{
    struct example e;
    make(&e);
    e.sources[3].ne[0] = 640;
    e.items[3].type = GGF_Q5_1;
    e.items[3].refused = GGF_Q5_K;
    expect_one(
        &e, LINT_ROWS, 1,
        "1 of 8 tensors have rows that do not fit the type chosen and get a larger "
        "one (blk.3.ffn_down_exps.weight: rows of 640, q5_1 for q5_K)");
    ck_assert_str_eq(lint_name(LINT_ROWS), "row_width");
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("findings");
    tcase_add_test(t, nothing);
    tcase_add_test(t, dominated);
    tcase_add_test(t, gate_and_up);
    tcase_add_test(t, pinned);
    tcase_add_test(t, small_and_floor);
    tcase_add_test(t, coverage);
    tcase_add_test(t, rows);
    return SUITE_RUN("lint", t);
}
