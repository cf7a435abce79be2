/* A model whose recurrent heads are wide enough for chunks of a prompt (delta_chunks.cu):
 * logits near the host's, the same from several sequences at once, and without rounding
 * for those who want none. */
#define TINY_HEAD_DIM 32
#define TINY_STATE    128
#include "../unit/tiny_model.h"

#include "../unit/files.h"
#include "gpu_suite.h"

#include <math.h>

enum { N = 40, CTX = 64 };

static char path[64];
static int32_t text[CTX];
static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = CTX };

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    tiny_write(path, &(struct tiny){ 0 });
    for (int i = 0; i < CTX; i++) text[i] = (i * 5 + i * i / 3) % VOCAB;
}

static void teardown(void) { unlink(path); }

static q3n_model *open_model(int layers, bool exact)
{
    q3n_model *m;
    const struct q3n_model_options o = { .threads = 2,
                                         .exact = exact,
                                         .device = { .n_gpu_layers = layers },
                                         .session = settings };
    ok(q3n_model_open(&m, path, &o, &err));
    return m;
}

static q3n_model *open_device(void)
{
    q3n_model *m = open_model(Q3N_GPU_ALL, false);
    ck_assert_uint_eq(q3n_model_info(m)->device.n_layers, 2);
    return m;
}

static q3n_session *session_of(q3n_model *m)
{
    q3n_session *s;
    ok(q3n_session_new(&s, m, &settings, &err));
    return s;
}

/* Logits of the first N tokens, `step` of them at a time. */
static void logits_of(q3n_model *m, uint32_t step, float *logits)
{
    q3n_session *s = session_of(m);
    for (uint32_t at = 0; at < N; at += step)
        ok(q3n_session_eval(s, text + at, step, 0, logits + (size_t)at * VOCAB, &err));
    q3n_session_free(s);
}

static double distance(const float *a, const float *b)
{
    double sum = 0, all = 0;
    for (uint32_t i = 0; i < N * VOCAB; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(sum / all);
}

static const struct {
    uint32_t type; /* of keys and values */
    double bound;
} kinds[] = {
    /* Additions in another order: a few hundred float roundings, one after the other. */
    { GGF_F32, 2e-5 },
    /* Attention rounds to binary16, the delta rule to tf32 (gpu.h). */
    { GGF_F16, 0x1p-9 },
};

START_TEST(near_the_host)
{
    static float host[N * VOCAB], device[N * VOCAB];
    settings.type_k = settings.type_v = kinds[_i].type;
    q3n_model *m = open_model(0, true);
    logits_of(m, N, host);
    q3n_model_close(m);
    m = open_device();
    logits_of(m, N, device);
    const double off = distance(device, host);
    ck_assert_msg(off <= kinds[_i].bound, "%g off, %g allowed", off, kinds[_i].bound);
    q3n_model_close(m);
}
END_TEST

/* Float32 for keys and values is for those who want no rounding, of states neither. */
START_TEST(exact_if_asked_for)
{
    static float whole[N * VOCAB], cut[N * VOCAB];
    settings.type_k = settings.type_v = kinds[_i].type;
    q3n_model *m = open_device();
    logits_of(m, N, whole);
    logits_of(m, N / 5, cut);
    ck_assert_int_eq(!memcmp(whole, cut, sizeof cut), kinds[_i].type == GGF_F32);
    q3n_model_close(m);
}
END_TEST

START_TEST(sequences_at_once)
{
    enum { SESSIONS = 2, EACH = N / SESSIONS };
    static float alone[N * VOCAB], together[N * VOCAB];
    q3n_session *s[SESSIONS];
    q3n_lane *lane;
    settings.type_k = settings.type_v = GGF_F16;
    q3n_model *m = open_device();
    ok(q3n_lane_new(&lane, m, &settings, &err));
    for (int i = 0; i < SESSIONS; i++) {
        ok(q3n_session_new_in(&s[i], lane, &settings, &err));
        ok(q3n_session_eval(s[i], text + i * EACH, EACH, 0,
                            alone + (size_t)i * EACH * VOCAB, &err));
        q3n_session_reset(s[i]);
    }
    const struct q3n_run runs[] = { { s[0], text, EACH, 0 },
                                    { s[1], text + EACH, EACH, 0 } };
    ok(q3n_sessions_eval(runs, SESSIONS, together, &err));
    ck_assert_mem_eq(together, alone, sizeof alone);
    for (int i = 0; i < SESSIONS; i++) q3n_session_free(s[i]);
    q3n_lane_free(lane);
    q3n_model_close(m);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("prompt");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, near_the_host, 0, 2);
    tcase_add_loop_test(tc, exact_if_asked_for, 0, 2);
    tcase_add_test(tc, sequences_at_once);
    return GPU_SUITE_RUN("gpu_prompt", tc);
}
