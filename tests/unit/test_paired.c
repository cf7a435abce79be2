/* test_paired.c - the bootstrap against cases whose answer is known, and two models
 * compared window by window. */
#include "../../tools/common/paired.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(constant_values)
{
    const double v[5] = { 2.5, 2.5, 2.5, 2.5, 2.5 };
    const struct interval i = bootstrap_mean(v, 5);
    ck_assert_double_eq(i.value, 2.5);
    ck_assert_double_eq(i.low, 2.5);
    ck_assert_double_eq(i.high, 2.5);
}
END_TEST

START_TEST(one_window_has_no_interval)
{
    const double v[1] = { 3 };
    const struct interval i = bootstrap_mean(v, 1);
    ck_assert_double_eq(i.value, 3);
    ck_assert(isnan(i.low) && isnan(i.high));
}
END_TEST

/* Half zeros, half ones: the sum of a draw is binomial(100, 1/2), whose 2.5th and 97.5th
 * percentile are 40 and 60. */
START_TEST(binomial)
{
    double v[100];
    for (int i = 0; i < 100; i++) v[i] = i % 2;
    const struct interval i = bootstrap_mean(v, 100);
    ck_assert_double_eq(i.value, 0.5);
    ck_assert_double_eq_tol(i.low, 0.40, 0.011);
    ck_assert_double_eq_tol(i.high, 0.60, 0.011);
}
END_TEST

/* Logistic values, evenly spaced in probability: half the width is close to 1.96 standard
 * errors. */
START_TEST(many_values)
{
    double v[400], squares = 0;
    for (int i = 0; i < 400; i++) {
        const double u = (i + 0.5) / 400;
        v[i] = log(u / (1 - u));
        squares += v[i] * v[i];
    }
    const double error = sqrt(squares / 400 / 400);
    const struct interval i = bootstrap_mean(v, 400);
    ck_assert_double_eq_tol(i.high, 1.96 * error, 0.1 * error);
    ck_assert_double_eq_tol(i.low, -1.96 * error, 0.1 * error);
}
END_TEST

START_TEST(ratio_of_pairs)
{
    double a[20], b[20];
    for (int i = 0; i < 20; i++) {
        b[i] = 1 + i % 7;
        a[i] = 1.25 * b[i];
    }
    struct interval i = bootstrap_ratio(a, b, 20);
    ck_assert_double_eq_tol(i.value, 1.25, 1e-12);
    ck_assert_double_eq_tol(i.low, 1.25, 1e-12);
    ck_assert_double_eq_tol(i.high, 1.25, 1e-12);
    a[0] += 5;
    i = bootstrap_ratio(a, b, 20);
    const struct interval again = bootstrap_ratio(a, b, 20);
    ck_assert(i.low < i.value && i.value < i.high);
    ck_assert_mem_eq(&i, &again, sizeof i);
}
END_TEST

/* Four windows of three predictions: the second model is better by 0.1 in three of them
 * and worse by 0.1 in one. */
START_TEST(two_models)
{
    struct divergence a, b;
    struct paired p;
    ck_assert(divergence_alloc(&a, 12) && divergence_alloc(&b, 12));
    for (int i = 0; i < 12; i++) {
        a.kld[i] = (float)(1 + i);
        b.kld[i] = a.kld[i] + (i < 3 ? 0.1f : -0.1f);
        a.nll[i] = 2;
        b.nll[i] = 2.5f;
        a.same[i] = i % 3 == 0;
        b.same[i] = i % 3 != 1;
    }
    ck_assert(paired_compare(&p, &a, &b, 4));
    ck_assert_uint_eq(p.n_windows, 4);
    ck_assert_uint_eq(p.closer, 3);
    ck_assert_uint_eq(p.farther, 1);
    ck_assert_double_eq_tol(p.kld.value, -0.05, 1e-6);
    ck_assert_double_eq_tol(p.kld.low, -0.1, 1e-6);
    ck_assert_double_eq_tol(p.kld.high, 0.05, 1e-6);
    ck_assert_double_eq_tol(p.ratio.value, (78 - 0.6) / 78, 1e-6);
    ck_assert_double_eq_tol(p.same_top.value, 1.0 / 3, 1e-12);
    ck_assert_double_eq_tol(p.same_top.low, 1.0 / 3, 1e-12);
    ck_assert_double_eq_tol(p.nll.value, 0.5, 1e-12);
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    paired_print(&p, f);
    fclose(f);
    ck_assert_ptr_nonnull(
        strstr(text, ":  -0.050000   95 % from -0.100000 to 0.050000\n"));
    ck_assert_ptr_nonnull(strstr(text, ": 3 closer, 1 farther of 4\n"));
    free(text);
    divergence_free(&a);
    divergence_free(&b);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, constant_values);
    tcase_add_test(tc, one_window_has_no_interval);
    tcase_add_test(tc, binomial);
    tcase_add_test(tc, many_values);
    tcase_add_test(tc, ratio_of_pairs);
    tcase_add_test(tc, two_models);
    return SUITE_RUN("paired", tc);
}
