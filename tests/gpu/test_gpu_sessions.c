/* Sessions that begin, compute and end in several threads: one of them has the device at
 * a time, and each gets what it would get alone. */
#define TINY_HEAD_DIM 32
#include "../unit/tiny_model.h"

#include "gpu_suite.h"

#include <pthread.h>

enum { CTX = 16, PROMPT = 6, THREADS = 3, TIMES = 4 };

static char path[64];
static q3n_model *model;

static const struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = 4 };

static void setup(void) { tiny_temp(path, &(struct tiny){ .matrices = GGF_Q8_0 }); }

static void teardown(void) { unlink(path); }

/* Logits of a prompt and of the token behind it. */
static int compute(uint32_t which, float logits[2][VOCAB], ggf_error *err)
{
    q3n_session *s;
    int32_t ids[PROMPT + 1];
    for (uint32_t i = 0; i <= PROMPT; i++)
        ids[i] = (int32_t)((i * 7 + which * 11) % VOCAB);
    int e = q3n_session_new(&s, model, &settings, err);
    if (!e) e = q3n_session_eval(s, ids, PROMPT, PROMPT - 1, logits[0], err);
    if (!e) e = q3n_session_eval(s, ids + PROMPT, 1, 0, logits[1], err);
    q3n_session_free(s);
    return e;
}

struct user {
    pthread_t thread;
    uint32_t which;
    float alone[2][VOCAB];
    int wrong;
    ggf_error err;
};

static void *use(void *arg)
{
    struct user *u = arg;
    float logits[2][VOCAB];
    for (int i = 0; i < TIMES; i++) {
        if (compute(u->which, logits, &u->err)) u->wrong++;
        else if (memcmp(logits, u->alone, sizeof logits)) u->wrong++;
    }
    return NULL;
}

START_TEST(at_the_same_time)
{
    const struct q3n_model_options o = { .threads = 2,
                                         .session = settings,
                                         .device.n_gpu_layers = Q3N_GPU_ALL };
    static struct user users[THREADS];
    ggf_error err = { 0 };
    ck_assert_msg(!q3n_model_open(&model, path, &o, &err), "%s", err.message);
    for (uint32_t i = 0; i < THREADS; i++) {
        users[i].which = i;
        ck_assert_int_eq(compute(i, users[i].alone, &err), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    for (uint32_t i = 0; i < THREADS; i++) pthread_join(users[i].thread, NULL);
    for (uint32_t i = 0; i < THREADS; i++)
        ck_assert_msg(!users[i].wrong, "%d: %s", users[i].wrong, users[i].err.message);
    q3n_model_close(model);
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sessions");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, at_the_same_time);
    return GPU_SUITE_RUN("gpu_sessions", tc);
}
