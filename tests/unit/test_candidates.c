/* test_candidates.c - each cut against a plain reference that sorts everything, in any
 * order of cuts; and what DRY finds against a search by hand. */
#include "../../infer/session/candidates.h"
#include "../../infer/session/recent.h"
#include "../../infer/session/topk.h"
#include "../../infer/splitmix.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 700 };

static uint64_t seed;

/* ==== The reference ======================================================= */

struct ref {
    int n, min_keep;
    struct ref_token {
        int id;
        double logit, p, score;
    } t[MOST];
};

static int by_logit(const void *a, const void *b)
{
    const struct ref_token *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int by_score(const void *a, const void *b)
{
    const struct ref_token *x = a, *y = b;
    return (x->score > y->score) - (x->score < y->score);
}

static void ref_softmax(struct ref *r)
{
    double sum = 0;
    qsort(r->t, (size_t)r->n, sizeof *r->t, by_logit);
    for (int i = 0; i < r->n; i++) sum += r->t[i].p = exp(r->t[i].logit - r->t[0].logit);
    for (int i = 0; i < r->n; i++) r->t[i].p /= sum;
}

static double ref_entropy(const struct ref *r)
{
    double h = 0;
    for (int i = 0; i < r->n; i++)
        if (r->t[i].p > 0) h -= r->t[i].p * log(r->t[i].p);
    return h;
}

static void ref_top_p(struct ref *r, double p)
{
    double sum = 0;
    for (int i = 0; i < r->n; i++) {
        sum += r->t[i].p;
        if (sum >= p && i + 1 >= r->min_keep) r->n = i + 1;
    }
}

static void ref_min_p(struct ref *r, double p)
{
    int n = 1;
    while (n < r->n && (r->t[n].p >= p * r->t[0].p || n < r->min_keep)) n++;
    r->n = n;
}

static void ref_typical(struct ref *r, double p)
{
    const double h = ref_entropy(r);
    double sum = 0;
    for (int i = 0; i < r->n; i++) r->t[i].score = fabs(-log(r->t[i].p) - h);
    qsort(r->t, (size_t)r->n, sizeof *r->t, by_score);
    for (int i = 0; i < r->n; i++) {
        sum += r->t[i].p;
        if (sum > p && i + 1 >= r->min_keep) r->n = i + 1;
    }
}

static void ref_sigma(struct ref *r, double s)
{
    double mean = 0, var = 0;
    for (int i = 0; i < r->n; i++) mean += r->t[i].logit / r->n;
    for (int i = 0; i < r->n; i++) var += pow(r->t[i].logit - mean, 2) / r->n;
    int n = 1;
    while (n < r->n &&
           (r->t[n].logit >= r->t[0].logit - s * sqrt(var) || n < r->min_keep))
        n++;
    r->n = n;
}

static void ref_xtc(struct ref *r, double threshold)
{
    int last = 0;
    while (last + 1 < r->n && r->t[last + 1].p >= threshold) last++;
    if (r->n < 2 || r->n - last < r->min_keep) return;
    r->n -= last;
    memmove(r->t, r->t + last, (size_t)r->n * sizeof *r->t);
}

static void ref_temp(struct ref *r, double t, double range, double exponent)
{
    if (range > 0 && r->n > 1) {
        const double least = fmax(0, t - range);
        t = least + (t + range - least) * pow(ref_entropy(r) / log(r->n), exponent);
    }
    const double best = r->t[0].logit;
    for (int i = 0; i < r->n; i++) r->t[i].logit = (r->t[i].logit - best) / t;
}

/* ==== Both ================================================================ */

/* The same step with the same numbers in both. */
static void step_both(struct candidates *c, struct ref *r, int kind)
{
    const float share = (float)splitmix_uniform(&seed);
    uint64_t any = 1;
    ref_softmax(r);
    if (kind == 0) {
        const int k = 1 + (int)splitmix_below(&seed, MOST);
        cut_top_k(c, k);
        if (k < r->n) r->n = k;
    } else if (kind == 1) {
        cut_top_p(c, share);
        ref_top_p(r, (double)share);
    } else if (kind == 2) {
        cut_min_p(c, 0.2f * share);
        ref_min_p(r, 0.2 * (double)share);
    } else if (kind == 3) {
        cut_typical(c, share);
        ref_typical(r, (double)share);
    } else if (kind == 4) {
        cut_top_n_sigma(c, 3 * share + 0.1f);
        ref_sigma(r, 3 * (double)share + 0.1);
    } else if (kind == 5) {
        cut_xtc(c, 1, 0.2f * share, &any);
        ref_xtc(r, 0.2 * (double)share);
    } else {
        const float range = splitmix_below(&seed, 2) ? share : 0;
        apply_temperature(c, 0.5f + share, range, 1.5f);
        ref_temp(r, 0.5 + (double)share, (double)range, 1.5);
    }
}

/* Candidates that are not out, the logits counted from the best. */
static void check_same(struct candidates *c, struct ref *r)
{
    double is[MOST], want[MOST], best = -INFINITY;
    int n = 0;
    for (int i = 0; i < MOST; i++) is[i] = want[i] = -INFINITY;
    for (uint32_t i = 0; i < c->n; i++) {
        const uint32_t id = c->listed ? c->ids[i] : i;
        is[id] = (double)c->row[id];
        best = fmax(best, is[id]);
        n += is[id] > -INFINITY;
    }
    qsort(r->t, (size_t)r->n, sizeof *r->t, by_logit);
    for (int i = 0; i < r->n; i++) want[r->t[i].id] = r->t[i].logit - r->t[0].logit;
    ck_assert_int_eq(n, r->n);
    for (int i = 0; i < MOST; i++)
        ck_assert_msg(want[i] == is[i] || fabs(want[i] - (is[i] - best)) < 1e-3,
                      "token %d: %g, expected %g", i, is[i] - best, want[i]);
}

static void fill(struct candidates *c, struct ref *r)
{
    c->n_vocab = 1 + splitmix_below(&seed, MOST);
    r->n = (int)c->n_vocab;
    r->min_keep = (int)(c->min_keep = splitmix_below(&seed, 4));
    const double spread = 1 + 6 * splitmix_uniform(&seed);
    for (uint32_t i = 0; i < c->n_vocab; i++) {
        c->row[i] = (float)(spread * (splitmix_uniform(&seed) - splitmix_uniform(&seed)));
        r->t[i] = (struct ref_token){ .id = (int)i, .logit = (double)c->row[i] };
    }
    candidates_all(c);
}

START_TEST(any_order)
{
    static float row[MOST], score[MOST];
    static uint32_t ids[MOST];
    static struct ref r;
    struct candidates c = { .row = row, .ids = ids, .score = score };
    seed = 7;
    for (int round = 0; round < 600; round++) {
        fill(&c, &r);
        for (int i = 0; i < 1 + round % 4; i++) {
            step_both(&c, &r, (int)splitmix_below(&seed, 7));
            check_same(&c, &r);
        }
        const int32_t id = candidates_draw(&c, &seed);
        ck_assert(id >= 0 && id < (int)c.n_vocab && row[id] > -INFINITY);
    }
}
END_TEST

/* Tokens that are out stay out, and the rest behaves as if they were not there. */
START_TEST(some_are_out)
{
    float row[] = { -INFINITY, 2, -INFINITY, 3, -INFINITY, -INFINITY };
    uint32_t ids[6];
    float score[6];
    for (int kind = 0; kind < 6; kind++) {
        struct candidates c = {
            .row = row, .ids = ids, .score = score, .n_vocab = 6, .min_keep = 6
        };
        uint64_t random = 0;
        candidates_all(&c);
        if (kind == 0) cut_top_k(&c, 5);
        if (kind == 1) cut_top_p(&c, 0.999f);
        if (kind == 2) cut_min_p(&c, 0.01f);
        if (kind == 3) cut_typical(&c, 0.999f);
        if (kind == 4) cut_top_n_sigma(&c, 5);
        if (kind == 5) apply_temperature(&c, 0.9f, 0.1f, 1);
        bool seen[6] = { false };
        for (int i = 0; i < 200; i++) seen[candidates_draw(&c, &random)] = true;
        for (int i = 0; i < 6; i++) ck_assert_int_eq(seen[i], i == 1 || i == 3);
    }
}
END_TEST

START_TEST(all_are_out)
{
    float row[] = { -INFINITY, -INFINITY };
    uint32_t ids[2];
    float score[2];
    uint64_t random = 0;
    struct candidates c = { .row = row, .ids = ids, .score = score, .n_vocab = 2 };
    candidates_all(&c);
    ck_assert_int_eq(candidates_draw(&c, &random), -1);
    cut_top_k(&c, 1);
    cut_top_p(&c, 0.5f);
    cut_min_p(&c, 0.5f);
    cut_typical(&c, 0.5f);
    apply_temperature(&c, 0.5f, 0, 1);
    ck_assert_int_eq(candidates_draw(&c, &random), -1);
}
END_TEST

/* ==== DRY ================================================================= */

/* How long is the repetition that `id` would go on with?  No look-back, no reversal: the
 * definition.  `since`: tokens that count for a repetition are from there on. */
static int longest_repetition(const int32_t *t, int n, int since, int32_t id)
{
    int longest = 0;
    for (int at = 1; at < n; at++) { /* an earlier place where id came */
        int same = 0;
        if (t[at] != id) continue;
        while (same < at && n - 1 - same >= since && t[at - 1 - same] == t[n - 1 - same])
            same++;
        if (same > longest) longest = same;
    }
    return longest;
}

START_TEST(dry)
{
    enum { N_VOCAB = 5, LENGTH = 60 };
    struct q3n_sample_params p = q3n_sample_defaults();
    static const char *const breakers[] = { "|", "xy" };
    p.dry_breakers = breakers;
    p.n_dry_breakers = 2;
    p.dry_multiplier = 0.8f;
    seed = 11;
    for (int round = 0; round < 300; round++) {
        struct recent r = { 0 };
        int32_t said[LENGTH];
        int since = 0;
        bool was_x = false;
        p.dry_allowed_length = 1 + round % 3;
        p.dry_last_n = round % 2 ? -1 : 100;
        ck_assert(!recent_init(&r, N_VOCAB, &p, NULL));
        for (int i = 0; i < LENGTH; i++) {
            static const char *const text[] = { "a", "b", "x", "y", "c|d" };
            const uint32_t id = splitmix_below(&seed, round % 5 ? 4 : 5);
            float row[N_VOCAB] = { 0 };
            said[i] = (int32_t)id;
            if (id == 4 || (id == 3 && was_x)) since = i + 1;
            was_x = id == 2;
            recent_add(&r, &p, said[i], (struct ggf_str){ text[id], strlen(text[id]) });
            recent_dry(&r, &p, row);
            for (int k = 0; k < N_VOCAB; k++) {
                const int over =
                    longest_repetition(said, i + 1, since, k) - p.dry_allowed_length;
                const double want = over < 0 ? 0 : 0.8 * pow(1.75, over);
                ck_assert_msg(fabs(want + (double)row[k]) <= 1e-4 * want,
                              "token %d: %g, expected %g", k, (double)-row[k], want);
            }
        }
        recent_free(&r);
    }
}
END_TEST

/* What is out is not among those whose entropy sets the temperature. */
START_TEST(temperature_of_those_left)
{
    float few[3] = { 1, 0, -1 }, more[5] = { 1, -INFINITY, 0, -1, -INFINITY };
    struct candidates a = { .row = few, .n_vocab = 3 }, b = { .row = more, .n_vocab = 5 };
    candidates_all(&a);
    candidates_all(&b);
    apply_temperature(&a, 1, 0.5f, 1);
    apply_temperature(&b, 1, 0.5f, 1);
    ck_assert(few[1] != 0 && few[1] != -1);
    ck_assert(more[0] == few[0] && more[2] == few[1] && more[3] == few[2]);
}
END_TEST

/* Of equals the first are taken, also where most of a row is passed over. */
START_TEST(equals)
{
    enum { N_EQUAL = 100, K = 7 };
    float row[N_EQUAL];
    uint32_t ids[K];
    for (int i = 0; i < N_EQUAL; i++) row[i] = i == 60 || i == 3 ? 2 : 1;
    topk_row(row, N_EQUAL, K, ids);
    for (uint32_t i = 0; i < K; i++)
        ck_assert_uint_eq(ids[i], i == 0 ? 3 : i == 1 ? 60 : i - 2 + (i - 2 >= 3));
}
END_TEST

/* A long text of one token costs no time that grows with its square. */
START_TEST(dry_of_one_token)
{
    enum { LONG = 200000 };
    struct q3n_sample_params p = q3n_sample_defaults();
    struct recent r = { 0 };
    float row[2] = { 0 };
    p.dry_multiplier = 1;
    p.n_ctx = LONG;
    ck_assert(!recent_init(&r, 2, &p, NULL));
    for (int i = 0; i < LONG; i++) recent_add(&r, &p, 1, (struct ggf_str){ "a", 1 });
    recent_dry(&r, &p, row);
    ck_assert(row[0] == 0 && row[1] <= -1e29f && isfinite(row[1]));
    recent_free(&r);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, any_order);
    tcase_add_test(tc, some_are_out);
    tcase_add_test(tc, all_are_out);
    tcase_add_test(tc, temperature_of_those_left);
    tcase_add_test(tc, equals);
    tcase_add_test(tc, dry);
    tcase_add_test(tc, dry_of_one_token);
    return SUITE_RUN("candidates", tc);
}
