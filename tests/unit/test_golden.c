/* test_golden.c - logits of small models against the reference engine's.
 *
 * Runs tests/data/golden, or the folder that the environment variable GOLDEN names (see
 * the README there for the files), and prints the figures. */
#include "golden.h"
#include "suite.h"

static bool same(const struct golden *g, const float *a, const float *b)
{
    return !memcmp(a, b, (size_t)g->n * g->n_vocab * sizeof *a);
}

/* ---- Tests --------------------------------------------------------------- */

/* Unquantized models agree with the reference engine; of quantized ones, float
 * activations agree with exact arithmetic and the fast kernels lose at most twice what
 * the reference engine's lose. */
START_TEST(agrees)
{
    struct golden g;
    load(&g, _i);
    float *fast = run(&g, &(struct q3n_model_options){ 0 }, 0, NULL, 0);
    if (!g.exact) {
        const double e = nmse(&g, fast, g.logits);
        printf("%-16s NMSE to the reference %.1e\n", g.name, e);
        ck_assert_msg(e <= bar_of(&g), "%s: NMSE to the reference is %g", g.name, e);
    } else {
        float *slow = run(&g, &(struct q3n_model_options){ .exact = true }, 0, NULL, 0);
        const double reference = nmse(&g, g.logits, g.exact);
        const double mine = nmse(&g, fast, g.exact), exact = nmse(&g, slow, g.exact);
        printf("%-16s NMSE to exact: float %.1e, fast %.2e, reference engine %.2e\n",
               g.name, exact, mine, reference);
        ck_assert_msg(exact <= 1e-6, "%s: NMSE of exact mode is %g", g.name, exact);
        ck_assert_msg(mine <= 2 * reference, "%s: NMSE is %g, the reference's %g", g.name,
                      mine, reference);
        free(slow);
    }
    free(fast);
    unload(&g);
}
END_TEST

/* How a sequence is cut, by the caller or into ubatches, changes no bit. */
START_TEST(batches)
{
    const uint32_t sizes[] = { 1, 2, 3, 5, 63 };
    struct golden g;
    load(&g, _i);
    for (int exact = 0; exact < 2; exact++) {
        const struct q3n_model_options o = { .exact = exact };
        float *whole = run(&g, &o, 0, NULL, 0);
        float *cut = run(&g, &o, 0, sizes, 5);
        float *ubatches = run(&g, &o, 7, NULL, 0);
        ck_assert_msg(same(&g, whole, cut), "%s: batches differ", g.name);
        ck_assert_msg(same(&g, whole, ubatches), "%s: ubatches differ", g.name);
        free(whole);
        free(cut);
        free(ubatches);
    }
    unload(&g);
}
END_TEST

/* Nor do threads, nor where the weights are. */
START_TEST(threads)
{
    struct golden g;
    load(&g, _i);
    float *one = run(&g, &(struct q3n_model_options){ .threads = 1 }, 0, NULL, 0);
    float *two = run(&g, &(struct q3n_model_options){ .threads = 2 }, 0, NULL, 0);
    float *own =
        run(&g, &(struct q3n_model_options){ .threads = 3, .no_mmap = true }, 0, NULL, 0);
    ck_assert_msg(same(&g, one, two), "%s: 2 threads differ from 1", g.name);
    ck_assert_msg(same(&g, one, own), "%s: --no-mmap differs", g.name);
    free(one);
    free(two);
    free(own);
    unload(&g);
}
END_TEST

/* Only the logits that were asked for are computed, and a session can start again. */
START_TEST(last_logits)
{
    struct golden g;
    load(&g, _i);
    float *all = run(&g, NULL, 0, NULL, 0);
    const struct q3n_session_options so = { .n_ctx = g.n, .n_ubatch = 16 };
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    ck_assert_msg(!q3n_model_open(&model, g.path, NULL, &err), "%s", err.message);
    ck_assert_msg(!q3n_session_new(&s, model, &so, &err), "%s", err.message);
    float *last = malloc(g.n_vocab * sizeof *last);
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, g.n - 1, 0, NULL, &err), 0);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens + g.n - 1, 1, 0, last, &err), 0);
        ck_assert_mem_eq(last, all + (size_t)(g.n - 1) * g.n_vocab,
                         g.n_vocab * sizeof *last);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, 1, 0, NULL, &err), GGF_E_ARG);
        q3n_session_reset(s);
        ck_assert_uint_eq(q3n_session_pos(s), 0);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, g.n, g.n - 1, last, &err), 0);
        ck_assert_mem_eq(last, all + (size_t)(g.n - 1) * g.n_vocab,
                         g.n_vocab * sizeof *last);
        q3n_session_reset(s);
    }
    const int32_t outside = (int32_t)g.n_vocab;
    ck_assert_int_eq(q3n_session_eval(s, &outside, 1, 0, NULL, &err), GGF_E_ARG);
    ck_assert_int_eq(q3n_session_eval(s, &(int32_t){ -1 }, 1, 0, NULL, &err), GGF_E_ARG);
    free(last);
    free(all);
    q3n_session_free(s);
    q3n_model_close(model);
    unload(&g);
}
END_TEST

/* Back at a saved place, the session computes the same again. */
START_TEST(snapshots)
{
    struct golden g;
    load(&g, _i);
    const struct q3n_session_options so = { .n_ctx = g.n, .type_v = GGF_F16 };
    const uint32_t half = g.n / 2, rest = g.n - half;
    float *want = malloc((size_t)rest * g.n_vocab * sizeof *want),
          *got = malloc((size_t)rest * g.n_vocab * sizeof *got);
    ck_assert(want && got);
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    q3n_snapshot *snap;
    ck_assert_msg(!q3n_model_open(&model, g.path, NULL, &err), "%s", err.message);
    ck_assert_msg(!q3n_session_new(&s, model, &so, &err), "%s", err.message);
    ck_assert_int_eq(q3n_session_eval(s, g.tokens, half, 0, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_save(&snap, s, &err), 0);
    ck_assert_int_eq(q3n_session_eval(s, g.tokens + half, rest, 0, want, &err), 0);
    for (int again = 0; again < 2; again++) {
        q3n_session_restore(s, snap);
        ck_assert_uint_eq(q3n_session_pos(s), half);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens + half, rest, 0, got, &err), 0);
        ck_assert_mem_eq(got, want, (size_t)rest * g.n_vocab * sizeof *got);
    }
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    q3n_model_close(model);
    free(want);
    free(got);
    unload(&g);
}
END_TEST

int main(void)
{
    if (!find_cases()) return 1;
    TCase *tc = tcase_create("logits");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, agrees, 0, n_cases);
    tcase_add_loop_test(tc, batches, 0, n_cases);
    tcase_add_loop_test(tc, threads, 0, n_cases);
    tcase_add_loop_test(tc, last_logits, 0, n_cases);
    tcase_add_loop_test(tc, snapshots, 0, n_cases);
    const int failed = SUITE_RUN("golden", tc);
    free_cases();
    return failed;
}
