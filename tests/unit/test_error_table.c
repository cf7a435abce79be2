/* test_error_table.c - what is measured, what is not, and what an assignment costs. */
#include "../../quant/density.h"
#include "../../quant/error_table.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 256, ROWS = 64, VALUES = COLUMNS * ROWS };

static float values[VALUES];
static struct ggf_tensor tensors[] = {
    { .name = "blk.0.attn_v.weight" },
    { .name = "blk.0.ffn_up_exps.weight" },
    { .name = "blk.0.attn_norm.weight" },
};
static struct plan_item items[3];
static struct plan plan = { .model = { .n_layers = 4 }, .items = items, .n_items = 3 };
static const struct plan_options plan_options = { 0 };

static void make(void)
{
    uint64_t r = 1;
    for (int i = 0; i < VALUES; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        values[i] = (float)(int32_t)(r >> 32) * 0x1p-31F;
    }
    plan.n_elements = 0;
    for (int i = 0; i < 3; i++) {
        struct ggf_tensor *t = &tensors[i];
        const uint64_t rows = i < 2 ? ROWS : 1;
        t->n_dims = i < 2 ? 2 : 1;
        memcpy(t->ne, (uint64_t[]){ COLUMNS, rows, 1, 1 }, sizeof t->ne);
        t->type = GGF_F32;
        t->count = COLUMNS * rows;
        t->bytes = t->count * sizeof *values;
        t->data = (const uint8_t *)values;
        items[i].source = t;
        strcpy(items[i].name, t->name);
        plan.n_elements += t->count;
    }
}

START_TEST(test_wanted_is_measured)
{
    struct error_table t;
    const struct sensitivity_options o = { .threads = 1 };
    make();
    ck_assert_int_eq(error_table_init(&t, &plan, &plan_options, NULL), 0);
    error_table_want(&t, 0, GGF_Q4_K);
    error_table_want(&t, 1, GGF_F16);
    error_table_want(&t, 1, GGF_IQ2_XXS); /* needs importances */
    error_table_want(&t, 1, GGF_Q8_1);    /* is not written to files */
    ck_assert_int_eq(error_table_measure(&t, &o, NULL), 0);
    ck_assert_double_gt(t.entries[0].error[GGF_Q4_K], 1e-4);
    ck_assert_double_lt(t.entries[0].error[GGF_Q4_K], 1e-2);
    ck_assert(isnan(t.entries[0].error[GGF_Q5_K]));
    ck_assert(isnan(t.entries[1].error[GGF_Q4_K]));
    ck_assert(isnan(t.entries[1].error[GGF_IQ2_XXS]));
    ck_assert(isnan(t.entries[1].error[GGF_Q8_1]));
    ck_assert_double_gt(t.entries[1].error[GGF_F16], 1e-9);
    ck_assert_double_lt(t.entries[1].error[GGF_F16], 1e-6);
    ck_assert(t.entries[2].error[GGF_F32] == 0);
    ck_assert_uint_eq(error_table_sampled(&t), 2 * VALUES);
    error_table_want(&t, 0, GGF_Q4_K); /* is known */
    ck_assert_int_eq(error_table_measure(&t, &o, NULL), 0);
    ck_assert_uint_eq(error_table_sampled(&t), 2 * VALUES);
    error_table_free(&t);
}
END_TEST

START_TEST(test_cost)
{
    struct error_table t;
    const struct sensitivity_options o = { .threads = 1, .blocks = 20 };
    const uint32_t source[] = { GGF_F32, GGF_F32, GGF_F32 },
                   mixed[] = { GGF_Q8_0, GGF_Q4_K, GGF_F32 };
    double deviation;
    make();
    ck_assert_int_eq(error_table_init(&t, &plan, &plan_options, NULL), 0);
    ck_assert(error_table_cost(&t, source, &deviation) == 0);
    ck_assert(deviation == 0);
    ck_assert(isnan(error_table_cost(&t, mixed, &deviation)));
    error_table_want_all(&t, mixed);
    ck_assert_int_eq(error_table_measure(&t, &o, NULL), 0);
    double cost = 0, variance = 0;
    for (int i = 0; i < 2; i++) {
        const struct error_entry *e = &t.entries[i];
        const double c = density_of(items[i].name, 4, true) * VALUES /
                         (double)plan.n_elements * e->error[mixed[i]];
        ck_assert_double_gt(e->spread[mixed[i]], 0);
        cost += c;
        variance += pow(c * e->spread[mixed[i]], 2);
    }
    ck_assert_double_eq_tol(error_table_cost(&t, mixed, &deviation), cost, 1e-12 * cost);
    ck_assert_double_eq_tol(deviation, sqrt(variance), 1e-12 * cost);
    ck_assert(error_table_cost(&t, mixed, NULL) > 0);
    error_table_free(&t);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, test_wanted_is_measured);
    tcase_add_test(tc, test_cost);
    return SUITE_RUN("error_table", tc);
}
