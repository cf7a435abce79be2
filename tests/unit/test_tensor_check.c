/* test_tensor_check.c - a tensor against its source: what is equal, what an error is. */
#include "../../quant/tensor_check.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { COLUMNS = 64, ROWS = 3, EXPERTS = 2, OUTER = 2 };
enum { N = COLUMNS * ROWS * EXPERTS * OUTER };

static float values[N];
static uint8_t stored[N / 32 * 34];

static struct ggf_tensor tensor(uint32_t type, const void *data, uint64_t bytes)
{
    return (struct ggf_tensor){ .name = "x",
                                .type = type,
                                .ne = { COLUMNS, ROWS, EXPERTS, OUTER },
                                .count = N,
                                .bytes = bytes,
                                .data = data };
}

/* Q8_0 with a scale of 1: whole numbers up to 127 are stored as they are. */
static void fill(void)
{
    for (int i = 0; i < N; i++) values[i] = (float)(i % 32 == 0 ? 127 : i % 5 - 2);
    for (int b = 0; b < N / 32; b++) {
        uint8_t *block = stored + 34 * b;
        block[0] = 0x00, block[1] = 0x3c;
        for (int i = 0; i < 32; i++) block[2 + i] = (uint8_t)(int8_t)values[32 * b + i];
    }
}

START_TEST(equal)
{
    fill();
    const struct ggf_tensor a = tensor(GGF_F32, values, sizeof values);
    const struct ggf_tensor b = tensor(GGF_Q8_0, stored, sizeof stored);
    struct tensor_check r;
    ggf_error err = { 0 };
    ck_assert_msg(!tensor_check(&r, &a, &b, NULL, false, 0, 2, &err), "%s", err.message);
    ck_assert_uint_eq(r.bytes, sizeof stored);
    ck_assert_uint_eq(r.blocks, N / 32);
    ck_assert_uint_eq(r.bytes_different, 0);
    ck_assert_double_eq(r.error_here, 0);
    ck_assert_double_eq(r.error_there, 0);
}
END_TEST

/* One value of the second expert off by 3, by weights of 1 and of what its column has. */
START_TEST(one_value_off)
{
    float sums[COLUMNS * EXPERTS], counts[EXPERTS] = { 1, 2 };
    fill();
    const int at = COLUMNS * ROWS + 2 * COLUMNS + 40; /* row 2, column 40 of expert 1 */
    stored[34 * (at / 32) + 2 + at % 32] = (uint8_t)(int8_t)(values[at] + 3);
    for (int i = 0; i < COLUMNS * EXPERTS; i++) sums[i] = (float)(1 + i % 7);
    const struct imatrix_entry e = { .n_values = COLUMNS * EXPERTS,
                                     .n_slices = EXPERTS,
                                     .width = COLUMNS,
                                     .sums = (const uint8_t *)sums,
                                     .counts = (const uint8_t *)counts };
    const struct ggf_tensor a = tensor(GGF_F32, values, sizeof values);
    const struct ggf_tensor b = tensor(GGF_Q8_0, stored, sizeof stored);
    double energy = 0, weighted = 0;
    for (int i = 0; i < N; i++) {
        const int expert = i / (COLUMNS * ROWS) % EXPERTS;
        const double w = (double)sums[expert * COLUMNS + i % COLUMNS] / (expert ? 2 : 1);
        energy += (double)values[i] * (double)values[i];
        weighted += w * (double)values[i] * (double)values[i];
    }
    struct tensor_check r;
    ggf_error err = { 0 };
    ck_assert_int_eq(tensor_check(&r, &a, &b, NULL, false, 0, 1, &err), 0);
    ck_assert_uint_eq(r.bytes_different, 1);
    ck_assert_uint_eq(r.blocks_different, 1);
    ck_assert_double_eq(r.error_here, 0);
    ck_assert_double_eq_tol(r.error_there, 9 / energy, 1e-15);
    ck_assert_int_eq(tensor_check(&r, &a, &b, &e, false, 0, 1, &err), 0);
    const double w = (double)sums[COLUMNS + 40] / 2;
    ck_assert_double_eq_tol(r.error_there, 9 * w / weighted, 1e-12);
}
END_TEST

START_TEST(refused)
{
    fill();
    const struct ggf_tensor a = tensor(GGF_F32, values, sizeof values);
    struct ggf_tensor b = tensor(GGF_Q8_0, stored, sizeof stored);
    struct tensor_check r;
    ggf_error err = { 0 };
    b.ne[1] = 2, b.ne[2] = 3;
    ck_assert_int_ne(tensor_check(&r, &a, &b, NULL, false, 0, 1, &err), 0);
    ck_assert_str_eq(err.message,
                     "tensor 'x' has 2 elements in dimension 1, in the source 3");
    b = tensor(GGF_IQ2_XXS, stored, sizeof stored);
    ck_assert_int_ne(tensor_check(&r, &a, &b, NULL, false, 0, 1, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "needs an importance matrix"));
    values[70] = INFINITY;
    b = tensor(GGF_Q8_0, stored, sizeof stored);
    ck_assert_int_ne(tensor_check(&r, &a, &b, NULL, false, 0, 2, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "tensor 'x', row 1"));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("tensor_check");
    tcase_add_test(t, equal);
    tcase_add_test(t, one_value_off);
    tcase_add_test(t, refused);
    return SUITE_RUN("tensor_check", t);
}
