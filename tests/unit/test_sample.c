/* test_sample.c - each step of sampling against what it is defined as, and the draw
 * against the probabilities it should follow. */
#include "../../infer/session/logprob.h"
#include "../../infer/session/sample.h"
#include "suite.h"

#include <math.h>
#include <stddef.h>
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
    struct q3n_sample_params p = q3n_sample_defaults();
    p.temp = p.top_p = 1;
    p.min_p = 0;
    p.top_k = 0;
    p.seed = 42;
    return p;
}

static q3n_sampler *make(const struct q3n_sample_params *p)
{
    q3n_sampler *s;
    ggf_error err;
    ck_assert_msg(!q3n_sampler_new(&s, N, NULL, p, &err), "%s", err.message);
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
    ck_assert(!q3n_sampler_new(&s, MANY, NULL, &p, NULL));
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

/* What can never come says nothing of how far logits lie apart: with or without a token
 * that is minus infinity, as an end of the reply that is not wanted, or no number, the
 * same are kept. */
START_TEST(top_n_sigma)
{
    static const float never[] = { -INFINITY, NAN };
    struct q3n_sample_params p = plain();
    p.top_n_sigma = 1.1f; /* logarithms of the chances are 1.385 apart */
    check_kept(&p, 0.1);  /* 0.4 / e^(1.1 * 1.385) = 0.087 */
    for (int i = 0; i < 2; i++) {
        logits[2] = never[i]; /* those of the others 1.088 */
        check_kept(&p, 0.15); /* 0.121 */
    }
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
    int32_t said[65] = { 1 };
    ck_assert_int_eq(greedy_after(100, 0, said, 64), 3);
    ck_assert_int_eq(greedy_after(100, 0, said, 65), 1);
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
    static const struct q3n_logit_bias bias[] = { { -1, 0 } };
    static const char *const empty[] = { "" };
    static const struct {
        const char *says;
        size_t at;
        float value;
    } bad[] = {
#define F(field) offsetof(struct q3n_sample_params, field)
        { "temperature is -1", F(temp), -1 },
        { "temperature", F(temp), NAN },
        { "temperature", F(temp), INFINITY },
        { "temperature range", F(dynatemp_range), -1 },
        { "temperature exponent", F(dynatemp_exponent), -1 },
        { "top-p is 1.5", F(top_p), 1.5f },
        { "min-p is -0.5", F(min_p), -0.5f },
        { "typical-p", F(typical_p), 2 },
        { "top-n-sigma", F(top_n_sigma), NAN },
        { "xtc probability", F(xtc_probability), 2 },
        { "xtc threshold", F(xtc_threshold), -1 },
        { "repeat penalty is 0", F(repeat_penalty), 0 },
        { "frequency penalty", F(frequency_penalty), 1e7f },
        { "presence penalty", F(presence_penalty), NAN },
        { "dry multiplier", F(dry_multiplier), -1 },
        { "dry base", F(dry_base), 0.5f },
#undef F
    };
    ggf_error err;
    struct q3n_sample_params p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        q3n_sampler *s;
        p = plain();
        memcpy((char *)&p + bad[i].at, &bad[i].value, sizeof(float));
        ck_assert_int_eq(q3n_sampler_new(&s, N, NULL, &p, &err), GGF_E_ARG);
        ck_assert_msg(strstr(err.message, bad[i].says) != NULL, "%s", err.message);
        ck_assert_ptr_null(s);
    }
    p = plain(), p.top_k = -2;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain(), p.penalty_last_n = -2;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain(), p.dry_last_n = -2;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain(), p.dry_allowed_length = 0;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain(), p.bias = bias, p.n_bias = 1;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain(), p.dry_breakers = empty, p.n_dry_breakers = 1;
    ck_assert_int_eq(q3n_sample_check(&p, NULL), GGF_E_ARG);
    p = plain();
    q3n_sampler *s;
    ck_assert_int_eq(q3n_sampler_new(&s, 0, NULL, &p, NULL), GGF_E_ARG);
}
END_TEST

static int greedy_with(const struct q3n_sample_params *params, const int32_t *said, int n)
{
    struct q3n_sample_params p = *params;
    p.temp = 0;
    q3n_sampler *s = make(&p);
    for (int i = 0; i < n; i++) q3n_sampler_accept(s, said[i]);
    const int32_t id = q3n_sampler_pick(s, logits);
    q3n_sampler_free(s);
    return id;
}

/* Each time counts; the logits of 1 and 3 are 0.47 apart. */
START_TEST(frequency)
{
    struct q3n_sample_params p = plain();
    const int32_t said[] = { 1, 0, 1, 0, 1 };
    p.frequency_penalty = 0.2f;
    ck_assert_int_eq(greedy_with(&p, said, 1), 1);
    ck_assert_int_eq(greedy_with(&p, said, 3), 1);
    ck_assert_int_eq(greedy_with(&p, said, 5), 3);
    p.penalty_last_n = 4;
    ck_assert_int_eq(greedy_with(&p, said, 5), 1);
    p.penalty_last_n = -1;
    ck_assert_int_eq(greedy_with(&p, said, 5), 3);
    p.penalty_last_n = 0;
    ck_assert_int_eq(greedy_with(&p, said, 5), 1);
}
END_TEST

/* After 1 2 3 1 2 the repetition would go on with 3, which is the likeliest but one. */
START_TEST(dry_in_the_chain)
{
    struct q3n_sample_params p = plain();
    const int32_t said[] = { 4, 2, 1, 6, 4, 2 };
    p.dry_multiplier = 1;
    ck_assert_int_eq(greedy_with(&p, said, 6), 3);
    p.dry_allowed_length = 3;
    ck_assert_int_eq(greedy_with(&p, said, 6), 1);
    p.dry_allowed_length = 2;
    p.dry_last_n = 5; /* sees only the last of the two before the 1 */
    ck_assert_int_eq(greedy_with(&p, said, 6), 1);
    p.dry_last_n = 0;
    ck_assert_int_eq(greedy_with(&p, said, 6), 1);
}
END_TEST

START_TEST(bias)
{
    static const struct q3n_logit_bias all_but_5[] = {
        { 0, -INFINITY }, { 1, -INFINITY }, { 2, -INFINITY }, { 3, -INFINITY },
        { 4, -INFINITY }, { 6, -INFINITY }, { 7, -INFINITY }, { N, 100 } /* no token */
    };
    static const struct q3n_logit_bias twice[] = { { 5, 1 }, { 5, 1 }, { 5, -INFINITY } };
    struct q3n_sample_params p = plain();
    p.bias = twice;
    p.n_bias = 2;
    ck_assert_int_eq(greedy_with(&p, NULL, 0), 5);
    p.n_bias = 3;
    ck_assert_int_eq(greedy_with(&p, NULL, 0), 1);
    p = q3n_sample_defaults();
    p.bias = all_but_5;
    p.n_bias = 8;
    q3n_sampler *s = make(&p);
    for (int i = 0; i < 50; i++) ck_assert_int_eq(q3n_sampler_pick(s, logits), 5);
    q3n_sampler_free(s);
    const struct q3n_logit_bias all[] = { { 5, -INFINITY }, all_but_5[0], all_but_5[1],
                                          all_but_5[2],     all_but_5[3], all_but_5[4],
                                          all_but_5[5],     all_but_5[6] };
    p.bias = all;
    ck_assert_int_eq(greedy_with(&p, NULL, 0), -1);
}
END_TEST

/* What was said is forgotten: all costs what it did at the beginning. */
START_TEST(forget)
{
    struct q3n_sample_params p = plain();
    int32_t first[40];
    p.temp = 0;
    p.frequency_penalty = 0.5f;
    p.dry_multiplier = 0.3f;
    q3n_sampler *s = make(&p);
    for (int i = 0; i < 40; i++)
        q3n_sampler_accept(s, first[i] = q3n_sampler_pick(s, logits));
    ck_assert_int_ne(q3n_sampler_pick(s, logits), first[0]);
    q3n_sampler_forget(s);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(q3n_sampler_pick(s, logits), first[i]);
        q3n_sampler_accept(s, first[i]);
    }
    q3n_sampler_free(s);
}
END_TEST

START_TEST(order_of_steps)
{
    enum q3n_step steps[Q3N_N_STEPS], same[Q3N_N_STEPS];
    ggf_error err;
    ck_assert(!q3n_sample_steps(steps, "top-k;temp", NULL));
    ck_assert_int_eq(steps[0], Q3N_STEP_TOP_K);
    ck_assert_int_eq(steps[1], Q3N_STEP_TEMPERATURE);
    ck_assert_int_eq(steps[2], Q3N_STEP_NONE);
    const struct q3n_sample_params p = q3n_sample_defaults();
    ck_assert(!q3n_sample_letters(same, "edskypmxt", NULL));
    ck_assert_mem_eq(same, p.steps, sizeof same);
    ck_assert(!q3n_sample_steps(same,
                                "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;"
                                "temperature",
                                NULL));
    ck_assert_mem_eq(same, p.steps, sizeof same);
    ck_assert_int_eq(q3n_sample_steps(steps, "top_k;magic", &err), GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "'magic'") != NULL, "%s", err.message);
    ck_assert_int_eq(q3n_sample_steps(steps, "top_k;min_p;top-k", &err), GGF_E_ARG);
    ck_assert_msg(strstr(err.message, "top_k is named twice") != NULL, "%s", err.message);
    ck_assert_int_eq(q3n_sample_letters(steps, "kk", &err), GGF_E_ARG);
    ck_assert_int_eq(q3n_sample_letters(steps, "edskypmxtedskypmxt", &err), GGF_E_ARG);
    ck_assert_int_eq(steps[0], Q3N_STEP_TOP_K);
    for (int i = 1; i < Q3N_N_STEPS; i++) {
        ck_assert(!q3n_sample_steps(same, q3n_sample_step_name((enum q3n_step)i), NULL));
        ck_assert_int_eq(same[0], i);
    }
}
END_TEST

/* What the order changes: with the temperature first, top-p sees flatter shares. */
START_TEST(temperature_first)
{
    struct q3n_sample_params p = plain();
    double want[N], sum = 0;
    p.temp = 2;
    p.top_p = 0.39f; /* one of 0.4 0.25 0.15 ..., two of 0.26 0.20 0.16 ... */
    ck_assert(!q3n_sample_steps(p.steps, "temperature;top_p", NULL));
    for (int i = 0; i < N; i++) want[i] = chance[i] >= 0.25 ? sqrt(chance[i]) : 0;
    for (int i = 0; i < N; i++) sum += want[i];
    for (int i = 0; i < N; i++) want[i] /= sum;
    check_shares(&p, want);
}
END_TEST

START_TEST(log_probabilities)
{
    struct q3n_logprob top[N];
    ck_assert_double_eq_tol((double)q3n_logprobs(logits, N, 5, top, N), log(0.15), 1e-5);
    for (int i = 0; i < N; i++) {
        ck_assert_double_eq_tol((double)top[i].logprob, log(chance[top[i].id]), 1e-5);
        ck_assert(!i || top[i].logprob <= top[i - 1].logprob);
    }
    logits[2] = -INFINITY;
    ck_assert(q3n_logprobs(logits, N, 2, NULL, 0) == -INFINITY);
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
    tcase_add_test(tc, top_n_sigma);
    tcase_add_test(tc, top_p_counts_what_top_k_left);
    tcase_add_test(tc, temperature);
    tcase_add_test(tc, greedy);
    tcase_add_test(tc, penalties);
    tcase_add_test(tc, penalties_forget);
    tcase_add_test(tc, seeds);
    tcase_add_test(tc, odd_logits);
    tcase_add_test(tc, senseless_parameters);
    tcase_add_test(tc, frequency);
    tcase_add_test(tc, dry_in_the_chain);
    tcase_add_test(tc, bias);
    tcase_add_test(tc, forget);
    tcase_add_test(tc, order_of_steps);
    tcase_add_test(tc, temperature_first);
    tcase_add_test(tc, log_probabilities);
    return SUITE_RUN("sample", tc);
}
