/* test_squeeze.c - limits of cgroups that change while a model runs: memory for experts
 * follows them, and no number changes.  The cgroup is made up of a few files. */
#include "suite.h"
#include "tiny_pack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static char group[96];
static ggf_error err;
static float expected[TINY_TOKENS * VOCAB];

enum { PAGE = 4096, SLACK = 8 << 20 };
#define USAGE (INT64_C(1) << 30) /* of the group, always */

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", group, name);
    for (char *p = path + strlen(folder) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(path, 0777);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

/* The group may hold so many pages more than it does, or fewer. */
static void leave(const char *limit, int64_t pages)
{
    char text[32];
    snprintf(text, sizeof text, "%lld\n", (long long)(USAGE + SLACK + pages * PAGE));
    put(limit, text);
}

static void set_up(void)
{
    char text[32];
    setup();
    snprintf(group, sizeof group, "%s/root", folder);
    put("proc/self/cgroup", "0::/\n");
    put("proc/self/mountinfo", "29 22 0:26 / /g rw - cgroup2 cgroup2 rw\n");
    snprintf(text, sizeof text, "%lld\n", (long long)USAGE);
    put("g/memory.current", text);
    leave("g/memory.max", 1 << 20);
}

static void tear_down(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", group);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): our own words */
    teardown();
}

/* All experts in memory, at first. */
static q3n_model *open_model(const struct tiny *t, int zstd_level, bool look_ahead)
{
    const struct q3n_model_options o = { .experts_cache_bytes = UINT64_C(1) << 30,
                                         .limits_root = group,
                                         .threads = 1,
                                         .look_ahead = look_ahead };
    uint64_t counts[2 * EXPERTS];
    uint32_t loaded;
    q3n_model *model;
    make(t, zstd_level);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    ck_assert_msg(!q3n_model_open(&model, dense, &o, &err), "%s", err.message);
    for (int i = 0; i < 2 * EXPERTS; i++) counts[i] = 1;
    ck_assert_int_eq(q3n_model_warm(model, counts, &loaded, &err), 0);
    return model;
}

static uint64_t memory_of(q3n_model *model)
{
    struct q3n_expert_stats s;
    q3n_model_expert_stats(model, &s);
    return s.slot_bytes;
}

static void token(q3n_session *s, uint32_t n)
{
    float logits[TINY_TOKENS * VOCAB];
    const uint32_t at = q3n_session_pos(s);
    int32_t tokens[TINY_TOKENS];
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    ck_assert_msg(!q3n_session_eval(s, tokens + at, n, 0, logits, &err), "%s",
                  err.message);
    ck_assert_mem_eq(logits, expected + (size_t)at * VOCAB, n * VOCAB * sizeof *logits);
}

/* Cut to a length, to the least, below that, and back to all. */
START_TEST(lengths)
{
    struct q3n_expert_stats stats;
    q3n_session *s;
    q3n_model *model = open_model(&(struct tiny){ 0 }, _i ? 3 : 0, false);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), ALL);
    leave("g/memory.max", -5);
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), ALL - 5 * PAGE);
    leave("g/memory.max", 1 << 20);
    leave("g/memory.high", -1); /* another page */
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), ALL - 6 * PAGE);
    leave("g/memory.high", -(ALL - LEAST) / PAGE + 6);
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), LEAST);
    q3n_model_expert_stats(model, &stats);
    ck_assert_uint_eq(stats.shrinks, 3);
    ck_assert_uint_eq(stats.short_bytes, 0);
    ck_assert_uint_gt(stats.evictions, 0);
    leave("g/memory.high", -100000);
    for (int i = 0; i < 4; i++) token(s, 1);
    ck_assert_uint_eq(memory_of(model), LEAST);
    leave("g/memory.high", 3);
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), LEAST + 3 * PAGE);
    leave("g/memory.high", 1000);
    token(s, 1);
    ck_assert_uint_eq(memory_of(model), ALL);
    q3n_model_expert_stats(model, &stats);
    ck_assert_uint_eq(stats.shrinks, 3);
    ck_assert_uint_eq(stats.grows, 2);
    ck_assert_uint_eq(stats.slot_bytes_least, LEAST);
    ck_assert_uint_eq(stats.short_bytes, LEAST); /* not even one page was left */
    q3n_session_free(s);
    q3n_model_close(model);
}
END_TEST

static const struct tiny sources[] = {
    { 0 },
    { .type_of = "blk.0.ffn_down_exps.weight", .type = GGF_Q8_0 }, /* mixed sizes */
};

static int64_t draw(int64_t below)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(state >> 33) % below;
}

/* Limits that go up and down before every batch, of one token and of all. */
START_TEST(up_and_down)
{
    struct q3n_expert_stats stats;
    q3n_session *s;
    q3n_model *model = open_model(&sources[_i & 1], _i & 2 ? 3 : 0, _i & 4);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    for (int round = 0; round < 60; round++) {
        const uint32_t step = round % 3 ? 1 : TINY_TOKENS;
        q3n_session_reset(s);
        for (uint32_t i = 0; i < TINY_TOKENS; i += step) {
            leave("g/memory.max", draw(2 * ALL / PAGE) - ALL / PAGE);
            token(s, step);
            ck_assert_uint_ge(memory_of(model), LEAST / 2);
        }
    }
    q3n_model_expert_stats(model, &stats);
    ck_assert_uint_gt(stats.shrinks, 50);
    ck_assert_uint_gt(stats.grows, 50);
    q3n_session_free(s);
    q3n_model_close(model);
}
END_TEST

static atomic_bool done;

static void *run_on(void *arg)
{
    q3n_session *s;
    ck_assert_int_eq(q3n_session_new(&s, arg, NULL, NULL), 0);
    for (int round = 0; round < 40; round++) {
        const uint32_t step = round % 2 ? 1 : 4;
        q3n_session_reset(s);
        for (uint32_t i = 0; i < TINY_TOKENS; i += step) token(s, step);
    }
    q3n_session_free(s);
    return NULL;
}

static void *change_limits(void *arg)
{
    (void)arg;
    while (!atomic_load(&done)) {
        leave("g/memory.max", draw(2 * ALL / PAGE) - ALL / PAGE);
        usleep(100);
    }
    return NULL;
}

/* While others hold what lies at the end. */
START_TEST(several_sessions)
{
    struct q3n_expert_stats stats;
    pthread_t threads[3], changer;
    q3n_model *model = open_model(&sources[_i], 0, false);
    ck_assert_int_eq(pthread_create(&changer, NULL, change_limits, NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_on, model), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    atomic_store(&done, true);
    pthread_join(changer, NULL);
    q3n_model_expert_stats(model, &stats);
    ck_assert_uint_gt(stats.shrinks, 0);
    ck_assert_uint_gt(stats.grows, 0);
    q3n_model_close(model);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("cgroup");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, lengths, 0, 2);
    tcase_add_loop_test(tc, up_and_down, 0, 8);
    tcase_add_loop_test(tc, several_sessions, 0, 2);
    return SUITE_RUN("squeeze", tc);
}
