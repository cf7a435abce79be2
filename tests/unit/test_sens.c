/* test_sens.c - the file of --sens: both forms, what they change, what is refused. */
#include "../../tools/common/sens.h"
#include "image.h"
#include "suite.h"

#include <math.h>

enum { N = 4 };
static const char *const names[N] = { "blk.0.attn_v.weight", "blk.0.ffn_up_exps.weight",
                                      "blk.1.ffn_up_exps.weight", "output.weight" };
static const uint64_t counts[N] = { 32, 320, 320, 96 };

static struct image *image;
static ggf_file *file;
static struct plan plan;
static struct error_table table;
static double before[N];

/* A header with these tensors, its plan and its table. */
static void make(void)
{
    const struct ggf_open_options header = { .header_only = true };
    const struct plan_options o = { 0 };
    uint64_t offset = 0;
    image = image_new();
    put_head(image, 3, N, 1);
    put_key_str(image, "general.architecture", "qwen3next");
    for (int i = 0; i < N; i++) {
        put_tensor(image, names[i], counts[i], GGF_F32, offset);
        offset += counts[i] * sizeof(float);
    }
    ck_assert_int_eq(ggf_open_buffer(&file, image->bytes, image->len, &header, NULL), 0);
    ck_assert_int_eq(plan_make(&plan, file, &o, NULL), 0);
    ck_assert_int_eq(error_table_init(&table, &plan, &o, NULL), 0);
    for (int i = 0; i < N; i++) before[i] = table.entries[i].weight;
}

static void drop(void)
{
    error_table_free(&table);
    plan_free(&plan);
    ggf_close(file);
    free(image);
}

/* The place of a tensor in the plan, which has an order of its own. */
static int place(const char *name)
{
    int i = 0;
    while (strcmp(table.entries[i].tensor->name, name) != 0) i++;
    return i;
}

static double weight(const char *name) { return table.entries[place(name)].weight; }

static int apply(const char *text, ggf_error *err)
{
    sens *s;
    int status = sens_parse(&s, text, strlen(text), "f.csv", err);
    if (!status) status = sens_apply(s, file, &plan, &table, err);
    sens_free(s);
    return status;
}

START_TEST(test_densities)
{
    make();
    ck_assert_int_eq(apply("# mine\n\n ffn_(up|gate)_exps , 2 \r\n"
                           "blk\\.\\d{1,2}\\.,5\nblk.1,7\noutput,0",
                           NULL),
                     0);
    ck_assert_double_eq_tol(weight(names[1]), 2 * 320.0 / 768, 1e-12);
    ck_assert_double_eq_tol(weight(names[2]), 2 * 320.0 / 768, 1e-12);
    ck_assert_double_eq_tol(weight(names[0]), 5 * 32.0 / 768, 1e-12);
    ck_assert(weight(names[3]) == 0);
    drop();
}
END_TEST

START_TEST(test_others_keep_theirs)
{
    make();
    ck_assert_int_eq(apply("attn_v,1000\n", NULL), 0);
    for (int i = 1; i < N; i++) ck_assert(weight(names[i]) == before[place(names[i])]);
    ck_assert(weight(names[0]) > before[place(names[0])]);
    drop();
}
END_TEST

/* 0 was not measured; the rest is shared out 3 : 1, and the sum stays. */
START_TEST(test_table)
{
    make();
    const double both = before[place(names[1])] + before[place(names[2])];
    ck_assert_int_eq(apply("qtype,blk.1.ffn_up_exps.weight,blk.0.ffn_up_exps.weight,"
                           "output.weight\niq1_kt,0.03,1e-2%,\n",
                           NULL),
                     0);
    ck_assert_double_eq_tol(weight(names[2]), 0.75 * both, 1e-12 * both);
    ck_assert_double_eq_tol(weight(names[1]), 0.25 * both, 1e-12 * both);
    ck_assert(weight(names[0]) == before[place(names[0])]);
    ck_assert(weight(names[3]) == before[place(names[3])]);
    drop();
}
END_TEST

static const struct {
    const char *text, *message;
} bad[] = {
    { "", "f.csv names no tensor" },
    { "# nothing\n\n", "f.csv names no tensor" },
    { "output 3\n", "f.csv, line 1: expected REGEX,DENSITY" },
    { "output,1\n\nffn,-1\n",
      "f.csv, line 3: expected a number from 0 to 1e9, found '-1'" },
    { "output,nan\n", "f.csv, line 1: expected a number from 0 to 1e9, found 'nan'" },
    { "output,inf\n", "line 1: expected a number from 0 to 1e9, found 'inf'" },
    { "output,1e300\n", "line 1: expected a number from 0 to 1e9, found '1e300'" },
    { "output,1x\n", "line 1: expected a number from 0 to 1e9, found '1x'" },
    { "output,\n", "line 1: expected a number from 0 to 1e9, found ''" },
    { ",1\n", "f.csv, line 1: expected a name before ','" },
    { "out(put,1\n", "f.csv, line 1: pattern 'out(put', character 8: missing closing" },
    { "output,1\nattn_x,2\n", "f.csv, line 2: no tensor of the model matches 'attn_x'" },
    { "QTYPE,output.weight\n", "f.csv, line 1: the table ends before its values" },
    { "QTYPE,output.weight\nq,1,2\n", "line 2: not one value for each of 1 tensors" },
    { "QTYPE,output.weight,a\nq,1\n", "line 2: not one value for each of 2 tensors" },
    { "QTYPE,output.weight\nq,-0.5\n", "line 2: expected a number from 0 to 1e9" },
    { "QTYPE,output.weight\nq,1\nr,2\n", "line 3: a second line of values" },
    { "QTYPE,,output.weight\nq,1,2\n", "line 1: expected a name before ','" },
    { "#\nQTYPE,output\nq,1\n", "f.csv, line 2: the model has no tensor 'output'" },
};

START_TEST(test_refused)
{
    ggf_error err = { 0 };
    make();
    ck_assert_int_eq(apply(bad[_i].text, &err), GGF_E_FORMAT);
    ck_assert_msg(strstr(err.message, bad[_i].message) != NULL, "%s", err.message);
    for (int i = 0; i < N; i++) ck_assert(table.entries[i].weight == before[i]);
    drop();
}
END_TEST

START_TEST(test_files)
{
    ggf_error err = { 0 };
    sens *s;
    ck_assert_int_eq(sens_parse(&s, "a,1\0", 4, "f.csv", &err), GGF_E_FORMAT);
    ck_assert_str_eq(err.message, "f.csv is not a text file");
    ck_assert_int_eq(sens_read(&s, "no/such/file", &err), GGF_E_IO);
    ck_assert_ptr_null(s);
    make();
    ck_assert_int_eq(sens_apply(NULL, file, &plan, &table, NULL), 0);
    drop();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, test_densities);
    tcase_add_test(tc, test_others_keep_theirs);
    tcase_add_test(tc, test_table);
    tcase_add_loop_test(tc, test_refused, 0, sizeof bad / sizeof *bad);
    tcase_add_test(tc, test_files);
    return SUITE_RUN("sens", tc);
}
