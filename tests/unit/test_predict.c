/* test_predict.c - the curve from cost to divergence: its fit and its intervals. */
#include "../../quant/predict.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>

enum { POINTS = 6 };
static const double costs[POINTS] = { 1e-4, 5e-4, 2e-3, 8e-3, 3e-2, 0.1 };

static double truth(double cost) { return 0.03 * sqrt(cost) + 0.5 * cost; }

static void make(struct predict_point *p, double jitter)
{
    for (int i = 0; i < POINTS; i++)
        p[i] = (struct predict_point){ costs[i],
                                       truth(costs[i]) * exp(i % 2 ? jitter : -jitter) };
}

START_TEST(fit_finds_the_curve)
{
    struct predict_point points[POINTS];
    struct predict p;
    make(points, 0);
    ck_assert(predict_fit(&p, points, POINTS, 0, 0));
    ck_assert(p.measured);
    for (int i = 0; i < 20; i++) {
        const double c = 5e-5 * pow(1.5, i);
        ck_assert_double_lt(fabs(predict_kld(&p, c, 0).kld / truth(c) - 1), 0.02);
    }
}
END_TEST

/* Either term may be missing. */
START_TEST(fit_of_one_term)
{
    struct predict_point points[POINTS];
    struct predict p;
    for (int term = 0; term < 2; term++) {
        for (int i = 0; i < POINTS; i++)
            points[i] =
                (struct predict_point){ costs[i], term ? costs[i] : sqrt(costs[i]) };
        ck_assert(predict_fit(&p, points, POINTS, 0, 0));
        for (int i = 0; i < POINTS; i++)
            ck_assert_double_lt(
                fabs(predict_kld(&p, costs[i], 0).kld / points[i].kld - 1), 0.05);
    }
}
END_TEST

/* Points that scatter, a noisy text, an uncertain cost: each widens the interval, and
 * nothing makes it narrower than texts differ. */
START_TEST(intervals)
{
    struct predict_point points[POINTS];
    struct predict exact, scattered, noisy, less_free;
    make(points, 0);
    ck_assert(predict_fit(&exact, points, POINTS, 0, 0));
    ck_assert(predict_fit(&noisy, points, POINTS, 0, 0.2));
    make(points, 0.2);
    ck_assert(predict_fit(&scattered, points, POINTS, 0, 0));
    ck_assert(predict_fit(&less_free, points, POINTS, 3, 0));
    ck_assert_double_gt(less_free.factor, scattered.factor);
    ck_assert(!predict_fit(&less_free, points, POINTS, 4, 0));
    ck_assert_double_gt(exact.factor, 1.15);
    ck_assert_double_gt(scattered.factor, exact.factor * 1.2);
    ck_assert_double_gt(noisy.factor, exact.factor * 1.2);
    const struct prediction a = predict_kld(&exact, 0.01, 0),
                            b = predict_kld(&exact, 0.01, 0.002);
    ck_assert_double_lt(a.low, a.kld);
    ck_assert_double_gt(a.high, a.kld);
    ck_assert_double_lt(b.low, a.low);
    ck_assert_double_gt(b.high, a.high);
}
END_TEST

START_TEST(alone)
{
    for (int i = 0; i < 12; i++) {
        const double cost = 1e-6 * pow(3, i);
        const double kld = cost + 0.03 * sqrt(cost);
        ck_assert_double_lt(fabs(predict_cost_alone(kld, 0.03) / cost - 1), 1e-6);
        ck_assert_double_lt(fabs(predict_cost_alone(cost, 0) / cost - 1), 1e-6);
    }
    ck_assert_double_eq(predict_cost_alone(-1e-9, 0.03), 0);
}
END_TEST

START_TEST(bad_points)
{
    struct predict_point points[POINTS];
    struct predict p;
    make(points, 0);
    ck_assert(!predict_fit(&p, points, 2, 0, 0));
    points[2].kld = 0;
    ck_assert(!predict_fit(&p, points, POINTS, 0, 0));
    points[2].kld = NAN;
    ck_assert(!predict_fit(&p, points, POINTS, 0, 0));
}
END_TEST

/* The four published models lie inside, whatever the scale of the weights. */
START_TEST(published)
{
    static const double slopes[] = { 4.83, 3.24, 4.12, 1.54 };
    const double error = 0.01;
    for (int i = 0; i < 4; i++)
        for (int power = -1; power < 3; power++) {
            const double sum = pow(2, power);
            const struct predict p = predict_published(sum);
            const struct prediction k = predict_kld(&p, error * sum, 0);
            const double kld = slopes[i] * error + (i ? 0 : 0.0038);
            ck_assert(!p.measured);
            ck_assert_double_lt(k.low, kld);
            ck_assert_double_gt(k.high, kld);
        }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("predict");
    tcase_add_test(tc, fit_finds_the_curve);
    tcase_add_test(tc, fit_of_one_term);
    tcase_add_test(tc, intervals);
    tcase_add_test(tc, alone);
    tcase_add_test(tc, bad_points);
    tcase_add_test(tc, published);
    return SUITE_RUN("predict", tc);
}
