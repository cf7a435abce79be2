/* test_knapsack.c - the solver against all choices tried, and its bound. */
#include "../../quant/knapsack.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

enum { ITEMS = 6, OPTIONS = 4, LARGE = 300 };

struct problem {
    struct knapsack_option options[LARGE][OPTIONS];
    struct knapsack_item items[LARGE];
    size_t n;
};

static void make_problem(struct problem *p, size_t n)
{
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        const int options = 1 + (int)random_below(OPTIONS);
        for (int k = 0; k < options; k++)
            p->options[i][k] = (struct knapsack_option){ 32 * random_below(100),
                                                         random_below(1000) / 7.0 };
        p->items[i] =
            (struct knapsack_item){ .options = p->options[i], .n_options = options };
    }
}

/* The least cost of items i.. in what is left; INFINITY if they do not fit. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as there are items, at most a handful */
static double try_all(const struct problem *p, size_t i, uint64_t left)
{
    if (i == p->n) return 0;
    double best = INFINITY;
    for (int k = 0; k < p->items[i].n_options; k++) {
        const struct knapsack_option *o = &p->options[i][k];
        if (o->bytes <= left)
            best = fmin(best, o->cost + try_all(p, i + 1, left - o->bytes));
    }
    return best;
}

/* The result is what the chosen options add up to, and keeps to the budget. */
static void check_sums(const struct problem *p, const struct knapsack_result *r,
                       uint64_t budget)
{
    uint64_t bytes = 0;
    double cost = 0;
    for (size_t i = 0; i < p->n; i++) {
        ck_assert_int_ge(p->items[i].chosen, 0);
        ck_assert_int_lt(p->items[i].chosen, p->items[i].n_options);
        bytes += p->options[i][p->items[i].chosen].bytes;
        cost += p->options[i][p->items[i].chosen].cost;
    }
    ck_assert_uint_eq(bytes, r->bytes);
    ck_assert_uint_le(bytes, budget);
    ck_assert_double_eq_tol(cost, r->cost, 1e-9);
    ck_assert_double_le(r->bound, r->cost + 1e-9);
}

START_TEST(test_optimum)
{
    static struct problem p;
    int solved = 0;
    random_state = 1;
    for (int round = 0; round < 2000; round++) {
        struct knapsack_result r;
        ggf_error err;
        make_problem(&p, 1 + random_below(ITEMS));
        const uint64_t budget = 32 * random_below(400);
        const double best = try_all(&p, 0, budget);
        const int s = knapsack_solve(p.items, p.n, budget, 0, &r, &err);
        ck_assert_int_eq(s, isinf(best) ? GGF_E_ARG : 0);
        if (s) {
            ck_assert_uint_gt(r.bytes, budget); /* the least that there is */
            ck_assert_int_eq(knapsack_solve(p.items, p.n, r.bytes, 0, &r, &err), 0);
            continue;
        }
        check_sums(&p, &r, budget);
        ck_assert_double_eq_tol(r.cost, best, 1e-9);
        ck_assert_double_le(r.bound, best + 1e-9);
        solved++;
    }
    ck_assert_int_gt(solved, 1000);
}
END_TEST

/* With room for few partial choices the answer is no optimum, but within the budget and
 * near the bound; with more room it is no worse than the answer without the search. */
START_TEST(test_large)
{
    static struct problem p;
    random_state = 2;
    for (int round = 0; round < 10; round++) {
        struct knapsack_result few, many, again;
        make_problem(&p, LARGE);
        const uint64_t budget = 32 * LARGE * (30 + random_below(30));
        ck_assert_int_eq(knapsack_solve(p.items, p.n, budget, 4, &few, NULL), 0);
        check_sums(&p, &few, budget);
        ck_assert_int_eq(knapsack_solve(p.items, p.n, budget, 0, &many, NULL), 0);
        check_sums(&p, &many, budget);
        ck_assert_double_le(many.cost, few.cost + 1e-9);
        ck_assert_double_le(many.cost - many.bound, 0.002 * many.cost);
        ck_assert_int_eq(knapsack_solve(p.items, p.n, budget, 0, &again, NULL), 0);
        ck_assert(again.cost == many.cost && again.bytes == many.bytes);
    }
}
END_TEST

/* A budget for everything: the cheapest of each; of two as cheap the smaller. */
START_TEST(test_plenty)
{
    const struct knapsack_option o[] = { { 64, 2 }, { 96, 1 }, { 32, 3 }, { 128, 1 } };
    struct knapsack_item items[2] = { { o, 4, 0 }, { o, 4, 0 } };
    struct knapsack_result r;
    ck_assert_int_eq(knapsack_solve(items, 2, 1000, 0, &r, NULL), 0);
    ck_assert_int_eq(items[0].chosen, 1);
    ck_assert_int_eq(items[1].chosen, 1);
    ck_assert_uint_eq(r.bytes, 192);
    ck_assert(r.bound == r.cost && r.cost == 2);
    ck_assert_int_eq(knapsack_solve(items, 0, 0, 0, &r, NULL), 0);
    ck_assert_uint_eq(r.bytes, 0);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("core");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_optimum);
    tcase_add_test(c, test_large);
    tcase_add_test(c, test_plenty);
    return SUITE_RUN("knapsack", c);
}
