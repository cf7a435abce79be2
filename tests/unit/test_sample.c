/* test_sample.c - each step of sampling against what it is defined as, and the draw
 * against the probabilities it should follow. */
#include "../../infer/session/sample.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 8 };

/* Probabilities 0.4 0.25 0.15 0.1 0.05 0.03 0.015 0.005, in another order. */
static const double chance[N] = { 0.1, 0.4, 0.005, 0.25, 0.03, 0.15, 0.05, 0.015 };
static float logits[N];

static void set_logits(void)
{
    for (int i = 0; i < N; i++) logits[i] = (float)log(chance[i]) + 3;
}

/* Everything off: a plain draw. */
static struct q3n_sample_params plain(void)
{
    return (struct q3n_sample_params){
        .temp = 1, .top_p = 1, .repeat_penalty = 1, .seed = 42
    };
}

static q3n_sampler *make(const struct q3n_sample_params *p)
{
    q3n_sampler *s;
    ggf_error err;
    ck_assert_msg(!q3n_sampler_new(&s, N, p, &err), "%s", err.message);
    return s;
}

/* Draw often; the share of each token must be `want` up to five standard deviations, and
 * tokens with want 0 must not come at all. */
static void check_shares(const struct q3n_sample_params *p, const double *want)
{
    enum { DRAWS = 40000 };
    int count[N] = { 0 };
    q3n_sampler *s = make(p);
    for (int i = 0; i < DRAWS; i++) count[q3n_sampler_pick(s, logits)]++;
    q3n_sampler_free(s);
    for (int i = 0; i < N; i++) {
        const double sd = sqrt(want[i] * (1 - want[i]) / DRAWS);
        const double share = (double)count[i] / DRAWS;
        ck_assert_msg(fabs(share - want[i]) <= 5 * sd, "token %d: %g, expected %g", i,
                      share, want[i]);
    }
}

/* The shares when only tokens at least as likely as `least` are kept. */
static void check_kept(const struct q3n_sample_params *p, double least)
{
    double want[N], sum = 0;
    for (int i = 0; i < N; i++) sum += want[i] = chance[i] >= least ? chance[i] : 0;
    for (int i = 0; i < N; i++) want[i] /= sum;
    check_shares(p, want);
}

START_TEST(plain_draw)
{
    const struct q3n_sample_params p = plain();
    check_kept(&p, 0);
}
END_TEST

START_TEST(top_k)
{
    struct q3n_sample_params p = plain();
    p.top_k = 3;
    check_kept(&p, 0.15);
    p.top_k = 1;
    check_kept(&p, 0.4);
    p.top_k = 100;
    check_kept(&p, 0);
}
END_TEST

/* Is token i among the k likeliest, lower ids first among equals? */
static bool is_among(const float *all, int n, int i, int k)
{
    int before = 0;
    for (int j = 0; j < n; j++) before += all[j] > all[i] || (all[j] == all[i] && j < i);
    return before < k;
}

/* A large vocabulary with many ties; the temperature makes all that is kept alike. */
START_TEST(top_k_of_many)
{
    enum { MANY = 5000, K = 7 };
    static float all[MANY];
    struct q3n_sample_params p = plain();
    p.temp = 1e6f;
    p.top_k = K;
    q3n_sampler *s;
    ck_assert(!q3n_sampler_new(&s, MANY, &p, NULL));
    for (int round = 0; round < 20; round++) {
        bool seen[MANY] = { false };
        int n_seen = 0;
        for (int i = 0; i < MANY; i++)
            all[i] = (float)((i * 7919 + round * 104729) % 613);
        for (int i = 0; i < 300; i++) {
            const int32_t id = q3n_sampler_pick(s, all);
            ck_assert(is_among(all, MANY, id, K));
            n_seen += !seen[id];
            seen[id] = true;
        }
        ck_assert_int_eq(n_seen, K);
    }
    q3n_sampler_free(s);
}
END_TEST

START_TEST(top_p)
{
    struct q3n_sample_params p = plain();
    p.top_p = 0.6f; /* 0.4 + 0.25 is the first sum that reaches it */
    check_kept(&p, 0.25);
    p.top_p = 0.66f;
    check_kept(&p, 0.15);
    p.top_p = 0;
    check_kept(&p, 0.4);
}
END_TEST

START_TEST(min_p)
{
    struct q3n_sample_params p = plain();
    p.min_p = 0.24f; /* of 0.4: 0.096 */
    check_kept(&p, 0.1);
    p.min_p = 1;
    check_kept(&p, 0.4);
}
END_TEST

/* Among the top 3, 0.4 is half of the probability: top-p is taken after top-k. */
START_TEST(top_p_counts_what_top_k_left)
{
    struct q3n_sample_params p = plain();
    p.top_k = 3;
    p.top_p = 0.49f;
    check_kept(&p, 0.4);
}
END_TEST

/* Temperature comes last: it changes the shares, not what is kept. */
START_TEST(temperature)
{
    struct q3n_sample_params p = plain();
    double want[N], sum = 0;
    p.temp = 2;
    for (int i = 0; i < N; i++) sum += want[i] = sqrt(chance[i]);
    for (int i = 0; i < N; i++) want[i] /= sum;
    check_shares(&p, want);
    p.min_p = 0.5f;
    sum = 0;
    for (int i = 0; i < N; i++) sum += want[i] = chance[i] >= 0.2 ? sqrt(chance[i]) : 0;
    for (int i = 0; i < N; i++) want[i] /= sum;
    check_shares(&p, want);
}
END_TEST

START_TEST(greedy)
{
    struct q3n_sample_params p = plain();
    p.temp = 0;
    p.top_k = 5;
    q3n_sampler *s = make(&p);
    for (int i = 0; i < 100; i++) ck_assert_int_eq(q3n_sampler_pick(s, logits), 1);
    q3n_sampler_free(s);
}
END_TEST

static int greedy_after(float repeat, float presence, const int32_t *said, int n)
{
    struct q3n_sample_params p = plain();
    p.temp = 0;
    p.repeat_penalty = repeat;
    p.presence_penalty = presence;
    q3n_sampler *s = make(&p);
    for (int i = 0; i < n; i++) q3n_sampler_accept(s, said[i]);
    const int32_t id = q3n_sampler_pick(s, logits);
    q3n_sampler_free(s);
    return id;
}

START_TEST(penalties)
{
    /* Logits of 1 and 3 are 2.08 and 1.61. */
    ck_assert_int_eq(greedy_after(1, 0, (int32_t[]){ 1 }, 1), 1);
    ck_assert_int_eq(greedy_after(1.2f, 0, (int32_t[]){ 1 }, 1), 1);
    ck_assert_int_eq(greedy_after(1.4f, 0, (int32_t[]){ 1 }, 1), 3);
    ck_assert_int_eq(greedy_after(1, 0.4f, (int32_t[]){ 1 }, 1), 1);
    ck_assert_int_eq(greedy_after(1, 0.6f, (int32_t[]){ 1 }, 1), 3);
    /* Once however often it was said. */
    ck_assert_int_eq(greedy_after(1.2f, 0, (int32_t[]){ 1, 1, 1 }, 3), 1);
    ck_assert_int_eq(greedy_after(1, 0.4f, (int32_t[]){ 1, 1, 1 }, 3), 1);
    /* Ids outside the vocabulary are ignored. */
    ck_assert_int_eq(greedy_after(9, 9, (int32_t[]){ -1, N, INT32_MAX }, 3), 1);
    /* A negative logit is multiplied. */
    for (int i = 0; i < N; i++) logits[i] -= 4;
    ck_assert_int_eq(greedy_after(1.2f, 0, (int32_t[]){ 1 }, 1), 1);
    ck_assert_int_eq(greedy_after(1.4f, 0, (int32_t[]){ 1 }, 1), 3);
}
END_TEST

START_TEST(penalties_forget)
{
    int32_t said[Q3N_PENALTY_WINDOW + 1] = { 1 };
    for (int i = 1; i <= Q3N_PENALTY_WINDOW; i++) said[i] = 0;
    ck_assert_int_eq(greedy_after(100, 0, said, Q3N_PENALTY_WINDOW), 3);
    ck_assert_int_eq(greedy_after(100, 0, said, Q3N_PENALTY_WINDOW + 1), 1);
}
END_TEST

START_TEST(seeds)
{
    struct q3n_sample_params p = plain();
    q3n_sampler *a = make(&p), *b = make(&p);
    p.seed = 43;
    q3n_sampler *c = make(&p);
    int differ = 0;
    for (int i = 0; i < 200; i++) {
        const int32_t id = q3n_sampler_pick(a, logits);
        ck_assert_int_eq(id, q3n_sampler_pick(b, logits));
        differ += id != q3n_sampler_pick(c, logits);
    }
    ck_assert_int_gt(differ, 50);
    q3n_sampler_free(a);
    q3n_sampler_free(b);
    q3n_sampler_free(c);
}
END_TEST

/* Damaged logits choose some token and do not hang or crash. */
START_TEST(odd_logits)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY };
    struct q3n_sample_params p = q3n_sample_defaults();
    for (int temp = 0; temp < 2; temp++) {
        p.temp = (float)temp;
        q3n_sampler *s = make(&p);
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < N; k++) logits[k] = odd[i];
            const int32_t id = q3n_sampler_pick(s, logits);
            ck_assert(id >= 0 && id < N);
        }
        for (int k = 0; k < N; k++) logits[k] = k == 5 ? -50 : k % 2 ? NAN : -INFINITY;
        ck_assert_int_eq(q3n_sampler_pick(s, logits), 5);
        q3n_sampler_free(s);
    }
}
END_TEST

START_TEST(senseless_parameters)
{
    const struct {
        struct q3n_sample_params p;
        const char *says;
    } bad[] = {
        { { .temp = -1, .top_p = 1, .repeat_penalty = 1 }, "temperature is -1" },
        { { .temp = NAN, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
        { { .temp = INFINITY, .top_p = 1, .repeat_penalty = 1 }, "temperature" },
        { { .top_k = -1, .top_p = 1, .repeat_penalty = 1 }, "top-k is -1" },
        { { .top_p = 1.5f, .repeat_penalty = 1 }, "top-p is 1.5" },
        { { .top_p = 1, .min_p = -0.5f, .repeat_penalty = 1 }, "min-p is -0.5" },
        { { .top_p = 1, .repeat_penalty = 0 }, "repeat penalty is 0" },
        { { .top_p = 1, .repeat_penalty = 1, .presence_penalty = NAN }, "presence" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ggf_error err;
        q3n_sampler *s;
        ck_assert_int_eq(q3n_sampler_new(&s, N, &bad[i].p, &err), GGF_E_ARG);
        ck_assert_msg(strstr(err.message, bad[i].says) != NULL, "%s", err.message);
    }
    q3n_sampler *s;
    const struct q3n_sample_params p = plain();
    ck_assert_int_eq(q3n_sampler_new(&s, 0, &p, NULL), GGF_E_ARG);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("steps");
    tcase_add_checked_fixture(tc, set_logits, NULL);
    tcase_add_test(tc, plain_draw);
    tcase_add_test(tc, top_k);
    tcase_add_test(tc, top_k_of_many);
    tcase_add_test(tc, top_p);
    tcase_add_test(tc, min_p);
    tcase_add_test(tc, top_p_counts_what_top_k_left);
    tcase_add_test(tc, temperature);
    tcase_add_test(tc, greedy);
    tcase_add_test(tc, penalties);
    tcase_add_test(tc, penalties_forget);
    tcase_add_test(tc, seeds);
    tcase_add_test(tc, odd_logits);
    tcase_add_test(tc, senseless_parameters);
    return SUITE_RUN("sample", tc);
}
