/* test_lane.c - sessions that are computed together give what each gives alone. */
#include "tiny_model.h"

enum { SESSIONS = 8, MOST = 600, CTX = 1024, STEPS = 5 };

static char path[64];
static q3n_model *model;
static q3n_lane *lane;
static q3n_session *session[SESSIONS], *alone;
static float logits[MOST * VOCAB], wanted[MOST * VOCAB];
static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static void setup(void)
{
    const struct q3n_session_options o = { .n_ctx = CTX, .n_ubatch = 100 };
    tiny_temp(path, &(struct tiny){ 0 });
    ok(q3n_model_open(&model, path, &(struct q3n_model_options){ .threads = 2 }, &err));
    ok(q3n_lane_new(&lane, model, &o, &err));
    for (int i = 0; i < SESSIONS; i++)
        ok(q3n_session_new_in(&session[i], lane, &o, &err));
    ok(q3n_session_new(&alone, model, &o, &err));
}

static void teardown(void)
{
    for (int i = 0; i < SESSIONS; i++) q3n_session_free(session[i]);
    q3n_session_free(alone);
    q3n_lane_free(lane);
    q3n_model_close(model);
    unlink(path);
}

/* Session i has its own text. */
static const int32_t *text(int i)
{
    static int32_t tokens[SESSIONS][CTX];
    for (int k = 0; k < CTX; k++) tokens[i][k] = (k * (i + 3) + k * k / (i + 7)) % VOCAB;
    return tokens[i];
}

static struct q3n_run next(int i, uint32_t n, uint32_t first_logits)
{
    return (struct q3n_run){ session[i], text(i) + q3n_session_pos(session[i]), n,
                             first_logits };
}

/* Its logits from position `first` on, up to `end`, are those of that text alone. */
static void same(int i, uint32_t first, uint32_t end, const float *got)
{
    q3n_session_reset(alone);
    ok(q3n_session_eval(alone, text(i), end, first, wanted, &err));
    ck_assert_mem_eq(got, wanted, (end - first) * VOCAB * sizeof *got);
    ck_assert_uint_eq(q3n_session_pos(session[i]), end);
    ck_assert_mem_eq(q3n_session_tokens(session[i]), text(i), end * sizeof(int32_t));
}

/* One token each, for some steps, from different positions on: before and behind the
 * first 256 keys. */
START_TEST(decoding)
{
    const int n = _i;
    struct q3n_run runs[SESSIONS];
    uint32_t start[SESSIONS];
    float got[SESSIONS][STEPS * VOCAB];
    for (int i = 0; i < n; i++) {
        start[i] = (uint32_t)(i * 75 + i % 3);
        ok(q3n_session_eval(session[i], text(i), start[i], 0, NULL, &err));
    }
    for (uint32_t step = 0; step < STEPS; step++) {
        for (int i = 0; i < n; i++) runs[i] = next(i, 1, 0);
        ok(q3n_sessions_eval(runs, (uint32_t)n, logits, &err));
        for (int i = 0; i < n; i++)
            memcpy(got[i] + step * VOCAB, logits + (size_t)i * VOCAB,
                   VOCAB * sizeof *logits);
    }
    for (int i = 0; i < n; i++) same(i, start[i], start[i] + STEPS, got[i]);
}
END_TEST

/* A prompt of which the last logits are wanted, single tokens, a run of which some are
 * wanted, one that wants none, one without tokens; more than fits into a batch. */
START_TEST(mixed)
{
    ok(q3n_session_eval(session[1], text(1), 300, 0, NULL, &err));
    ok(q3n_session_eval(session[3], text(3), 77, 0, NULL, &err));
    const struct q3n_run runs[] = { next(0, 250, 249), next(1, 1, 0),  next(2, 90, 90),
                                    next(3, 30, 10),   next(4, 0, 0),  next(5, 1, 0),
                                    next(6, 40, 39),   next(7, 99, 98) };
    ok(q3n_sessions_eval(runs, SESSIONS, logits, &err));
    const float *at = logits;
    same(0, 249, 250, at);
    same(1, 300, 301, at += VOCAB);
    same(3, 87, 107, at += VOCAB);
    same(5, 0, 1, at += 20 * VOCAB);
    same(6, 39, 40, at += VOCAB);
    same(7, 98, 99, at + VOCAB);
    ck_assert_uint_eq(q3n_session_pos(session[4]), 0);
    /* What was left without logits went on, too. */
    const struct q3n_run more[] = { next(2, 1, 0), next(0, 1, 0) };
    ok(q3n_sessions_eval(more, 2, logits, &err));
    same(2, 90, 91, logits);
    same(0, 250, 251, logits + VOCAB);
    ok(q3n_sessions_eval(more, 0, NULL, &err));
}
END_TEST

/* Nothing is computed if one of them cannot be. */
START_TEST(refused)
{
    const int32_t bad = VOCAB;
    ok(q3n_session_eval(session[2], text(2), CTX, 0, NULL, &err));
    const struct q3n_run runs[][2] = {
        { next(0, 1, 0), next(0, 1, 0) },
        { next(0, 1, 0), { alone, text(0), 1, 0 } },
        { next(0, 1, 0), { session[2], text(0), 1, 0 } },
        { next(0, 1, 0), { session[1], &bad, 1, 0 } },
    };
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(q3n_sessions_eval(runs[i], 2, logits, &err), GGF_E_ARG);
    ck_assert_uint_eq(q3n_session_pos(session[0]), 0);
    ok(q3n_sessions_eval(runs[0], 1, logits, &err));
    same(0, 0, 1, logits);
    const struct q3n_session_options o = { .n_ctx = CTX + 1 };
    q3n_session *s;
    ck_assert_int_eq(q3n_session_new_in(&s, lane, &o, &err), GGF_E_ARG);
    ck_assert_ptr_null(s);
}
END_TEST

/* Sessions that share a lane take less than as many lanes. */
START_TEST(memory)
{
    const struct q3n_session_options one = { .n_ctx = CTX },
                                     eight = { .n_ctx = CTX, .n_seq = 8 };
    const uint64_t a = q3n_session_bytes(model, &one),
                   b = q3n_session_bytes(model, &eight);
    const uint64_t each = q3n_model_info(model)->bytes_session +
                          CTX * (q3n_kv_bytes(q3n_model_info(model), &one) + 4);
    ck_assert_uint_eq(b - a, 7 * each);
    ck_assert_uint_lt(b, 8 * a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lane");
    TCase *c = tcase_create("lane");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60); /* sanitizers on a busy machine */
    tcase_add_loop_test(c, decoding, 1, SESSIONS + 1);
    tcase_add_test(c, mixed);
    tcase_add_test(c, refused);
    tcase_add_test(c, memory);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
