/* test_recipe.c - plan files: what is a line and what is not, the compact form. */
#include "../../quant/recipe.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static recipe *read_text(const char *text)
{
    recipe *r = NULL;
    ggf_error err = { 0 };
    ck_assert_msg(!recipe_read(&r, text, strlen(text), "p", &err), "%s", err.message);
    return r;
}

START_TEST(lines)
{
    recipe *r = read_text("#head:of the file=f32\n\n"
                          "^blk\\.0\\.attn_q\\.weight$=q8_0\n"
                          "  blk.1.attn_q.weight=Q4_K \r\n"
                          "\t# more\n"
                          "a-b=iq3_s\n"
                          "output.weight=bf16");
    ck_assert_int_eq(recipe_type(r, "blk.0.attn_q.weight"), GGF_Q8_0);
    ck_assert_int_eq(recipe_type(r, "blk.1.attn_q.weight"), GGF_Q4_K);
    ck_assert_int_eq(recipe_type(r, "a-b"), GGF_IQ3_S);
    ck_assert_int_eq(recipe_type(r, "output.weight"), GGF_BF16);
    ck_assert_int_eq(recipe_type(r, "blk_1_attn_q_weight"), MIX_NO_TYPE);
    ck_assert_int_eq(recipe_type(NULL, "a-b"), MIX_NO_TYPE);
    recipe_free(r);
    r = read_text("");
    ck_assert_int_eq(recipe_type(r, ""), MIX_NO_TYPE);
    recipe_free(r);
}
END_TEST

START_TEST(bad_lines)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "a=q8_0\nb\n", "p, line 2: 'b' is not NAME=TYPE" },
        { "a q8_0", "p, line 1: 'a q8_0' is not NAME=TYPE" },
        { "\n\na=q4_k_m\n", "p, line 3: 'q4_k_m' is not a tensor type" },
        { "a=", "p, line 1: '' is not a tensor type" },
        { "=q8_0", "p, line 1: '' is not the name of a tensor" },
        { "attn_.*=q8_0", "p, line 1: 'attn_.*' is not the name of a tensor" },
        { "^blk\\.\\d$=q8_0", "p, line 1: '^blk\\.\\d$' is not the name of a tensor" },
        { "a\\=q8_0", "p, line 1: 'a\\' is not the name of a tensor" },
        { "^a=q8_0", "p, line 1: '^a' is not the name of a tensor" },
        { "\x01\xff=q8_0", "p, line 1: '..' is not the name of a tensor" },
        { "a=q8_0\n#\n^a$=q4_K", "p, line 3: tensor 'a' has a type from line 1 already" },
        { "0123456789012345678901234567890123456789012345678901234567890123=f32",
          "p, line 1: '01234567890123456789012345678901234567890123456789012345678901"
          "23' is not the name of a tensor" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe *r = NULL;
        ggf_error err = { 0 };
        ck_assert_int_eq(recipe_read(&r, cases[i].text, strlen(cases[i].text), "p", &err),
                         GGF_E_FORMAT);
        ck_assert_ptr_null(r);
        ck_assert_str_eq(err.message, cases[i].message);
    }
}
END_TEST

/* ---- Plans ---- */

enum { N = 8 };

struct example {
    struct ggf_tensor sources[N];
    struct plan_item items[N];
    struct plan plan;
    struct plan_options options;
};

static struct example *example_new(void)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t rows;
    } tensors[N] = {
        { "output.weight", GGF_Q6_K, 4 },        { "output_norm.weight", GGF_F32, 1 },
        { "blk.0.ffn_up.weight", GGF_Q4_K, 4 },  { "blk.1.ffn_up.weight", GGF_Q5_K, 4 },
        { "blk.2.ffn_up.weight", GGF_Q4_K, 4 },  { "blk.3.ffn_up.weight", GGF_Q4_K, 4 },
        { "blk.10.ffn_up.weight", GGF_Q4_K, 4 }, { "blk.10.x+y.weight", GGF_Q8_0, 4 },
    };
    struct example *e = calloc(1, sizeof *e);
    ck_assert_ptr_nonnull(e);
    for (size_t i = 0; i < N; i++) {
        struct ggf_tensor *t = &e->sources[i];
        t->type = tensors[i].rows > 1 ? GGF_BF16 : GGF_F32;
        t->ne[0] = 256, t->ne[1] = tensors[i].rows, t->ne[2] = t->ne[3] = 1;
        e->items[i].source = t;
        e->items[i].type = tensors[i].type;
        snprintf(e->items[i].name, sizeof e->items[i].name, "%s", tensors[i].name);
    }
    e->plan = (struct plan){ .items = e->items, .n_items = N };
    e->options.mix = (struct mix_options){ .to = file_type_by_id(FT_Q8_0),
                                           .output_type = MIX_NO_TYPE,
                                           .embedding_type = MIX_NO_TYPE };
    return e;
}

START_TEST(round_trip)
{
    struct example *e = example_new();
    const char *const head[] = { "source:a b=c", NULL };
    char *text = recipe_write(&e->plan, &e->options, head);
    ck_assert_str_eq(text, "#source:a_b_c=f32\n"
                           "^output\\.weight$=q6_K\n"
                           "^blk\\.0\\.ffn_up\\.weight$=q4_K\n"
                           "^blk\\.1\\.ffn_up\\.weight$=q5_K\n"
                           "^blk\\.2\\.ffn_up\\.weight$=q4_K\n"
                           "^blk\\.3\\.ffn_up\\.weight$=q4_K\n"
                           "^blk\\.10\\.ffn_up\\.weight$=q4_K\n"
                           "^blk\\.10\\.x\\+y\\.weight$=q8_0\n");
    recipe *r = read_text(text);
    ggf_error err = { 0 };
    for (size_t i = 0; i < N; i++)
        ck_assert_int_eq(recipe_type(r, e->items[i].name),
                         i == 1 ? MIX_NO_TYPE : (int)e->items[i].type);
    ck_assert_msg(!recipe_check(r, &e->plan, &e->options, true, &err), "%s", err.message);
    recipe_free(r);
    free(text);
    free(e);
}
END_TEST

START_TEST(compact)
{
    struct example *e = example_new();
    char *text = recipe_compact(&e->plan, &e->options);
    ck_assert_str_eq(text, "output.weight=q6_K blk.{0,2-3,10}.ffn_up.weight=q4_K "
                           "blk.{1}.ffn_up.weight=q5_K blk.{10}.x+y.weight=q8_0");
    ck_assert_uint_lt(strlen(text), recipe_compact_bound(&e->plan));
    free(text);
    /* No two alike, the longest name of a type. */
    for (size_t i = 0; i < N; i++) e->items[i].type = i % 2 ? GGF_IQ3_XXS : GGF_IQ2_XXS;
    text = recipe_compact(&e->plan, &e->options);
    ck_assert_uint_lt(strlen(text), recipe_compact_bound(&e->plan));
    free(text);
    free(e);
}
END_TEST

START_TEST(against_a_plan)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "output.weight=q8_0\nblk.7.ffn_up.weight=q8_0\nx=f16\n",
          "p, line 2: the model has no tensor 'blk.7.ffn_up.weight'" },
        { "output_norm.weight=q8_0\n",
          "p, line 1: tensor 'output_norm.weight' stays as it is, f32" },
    };
    struct example *e = example_new();
    ggf_error err = { 0 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe *r = read_text(cases[i].text);
        ck_assert_int_ne(recipe_check(r, &e->plan, &e->options, false, &err), 0);
        ck_assert_str_eq(err.message, cases[i].message);
        recipe_free(r);
    }
    recipe *r = read_text("output.weight=q8_0\noutput_norm.weight=f32\n");
    ck_assert_int_eq(recipe_check(r, &e->plan, &e->options, false, &err), 0);
    ck_assert_int_ne(recipe_check(r, &e->plan, &e->options, true, &err), 0);
    ck_assert_str_eq(
        err.message,
        "p has no type for tensor 'blk.0.ffn_up.weight', and no file type is given");
    recipe_free(r);
    free(e);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("text");
    tcase_add_test(t, lines);
    tcase_add_test(t, bad_lines);
    tcase_add_test(t, round_trip);
    tcase_add_test(t, compact);
    tcase_add_test(t, against_a_plan);
    return SUITE_RUN("recipe", t);
}
