/* test_store.c - experts from a pack, or read from either file into too little memory:
 * the same numbers, damage found when it is read, packs of other models refused. */
#include "suite.h"
#include "tiny_pack.h"

#include <pthread.h>
#include <sys/stat.h>

static const struct tiny sources[] = {
    { 0 },
    { .fused_gate_up = true },
    { .scales = true },
    { .type_of = "blk.0.ffn_down_exps.weight", .type = GGF_Q8_0 },
};
enum { N_SOURCES = sizeof sources / sizeof *sources };

/* Plain and compressed, mapped and read. */
START_TEST(same_numbers)
{
    const struct q3n_model_options options = { .no_mmap = _i & 1 };
    float plain[TINY_TOKENS * VOCAB], packed[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&sources[_i >> 2], _i & 2 ? 3 : 0);
    ck_assert_int_eq(tiny_run(source, NULL, plain, &err), 0);
    ck_assert_msg(!tiny_run(dense, &options, packed, &err), "%s", err.message);
    ck_assert_mem_eq(plain, packed, sizeof plain);
    q3n_model *model;
    ck_assert_int_eq(q3n_model_open(&model, dense, NULL, &err), 0);
    ck_assert(q3n_model_info(model)->packed);
    ck_assert_uint_eq(q3n_model_info(model)->n_expert, EXPERTS);
    q3n_model_close(model);
}
END_TEST

/* A damaged record is named when it is first used, and the session must be reset; without
 * mmap it is found at opening. */
START_TEST(damaged_record)
{
    const uint32_t expert = (uint32_t)_i % EXPERTS, layer = (uint32_t)_i / EXPERTS % 2;
    float logits[TINY_TOKENS * VOCAB];
    char says[64];
    ggf_error err = { 0 };
    make(&sources[0], _i / EXPERTS / 2 ? 3 : 0);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), 0);
    damage(layer, expert);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), GGF_E_HASH);
    snprintf(says, sizeof says, "expert %u of block %u", expert, layer);
    ck_assert_msg(strstr(err.message, says) != NULL, "%s", err.message);
    const struct q3n_model_options own = { .no_mmap = true };
    q3n_model *model;
    ck_assert_int_eq(q3n_model_open(&model, dense, &own, &err), GGF_E_HASH);
}
END_TEST

START_TEST(broken_session)
{
    const int32_t token = 1;
    float logits[VOCAB];
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    make(&sources[0], 0);
    for (uint32_t e = 0; e < EXPERTS; e++) damage(0, e);
    ck_assert_int_eq(q3n_model_open(&model, dense, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_HASH);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "reset"));
    q3n_session_reset(s);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_HASH);
    q3n_session_free(s);
    q3n_model_close(model);
}
END_TEST

/* The dense file names its pack by the root hash. */
START_TEST(other_model)
{
    char other[96], kept[96];
    float logits[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&(struct tiny){ .type_of = "blk.0.ffn_up_exps.weight", .type = GGF_Q8_0 }, 0);
    snprintf(other, sizeof other, "%s/other.xpack", folder);
    ck_assert_int_eq(rename(pack, other), 0);
    make(&sources[0], 0);
    const struct q3n_model_options wrong = { .experts = other };
    ck_assert_int_eq(tiny_run(dense, &wrong, logits, &err), GGF_E_HASH);

    /* The right pack may have another name. */
    snprintf(kept, sizeof kept, "%s/kept.xpack", folder);
    ck_assert_int_eq(rename(pack, kept), 0);
    const struct q3n_model_options right = { .experts = kept };
    ck_assert_int_eq(tiny_run(dense, &right, logits, &err), 0);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), GGF_E_IO);
    unlink(other);
    unlink(kept);
}
END_TEST

/* A whole model belongs to no pack. */
START_TEST(pack_for_whole_model)
{
    float logits[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&sources[0], 0);
    const struct q3n_model_options options = { .experts = pack };
    ck_assert_int_lt(tiny_run(source, &options, logits, &err), 0);
}
END_TEST

/* ---- Experts that are read ------------------------------------------------ */

struct way {
    const char *name;
    struct q3n_model_options o;
};

static const struct way ways[] = {
    { "populate", { .load_mode = Q3N_LOAD_POPULATE } },
    { "all", { .load_mode = Q3N_LOAD_DIRECT, .threads = 1 } },
    { "least", { .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = LEAST } },
    { "one more",
      { .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = LEAST + RECORD } },
    { "one less", { .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = ALL - RECORD } },
    { "always",
      { .experts_cache_bytes = LEAST + 2 * RECORD, .verify_reads = Q3N_VERIFY_ALWAYS } },
    { "never",
      { .experts_cache_bytes = LEAST,
        .verify_reads = Q3N_VERIFY_NEVER,
        .io_threads = 1 } },
    { "looking ahead", { .experts_cache_bytes = LEAST + RECORD, .look_ahead = true } },
    { "lru", { .experts_cache_bytes = LEAST + RECORD, .cache_policy = Q3N_CACHE_LRU } },
    { "clock",
      { .experts_cache_bytes = LEAST, .cache_policy = Q3N_CACHE_CLOCK, .threads = 1 } },
    { "clock, more",
      { .experts_cache_bytes = LEAST + 2 * RECORD,
        .io_threads = 16,
        .threads = 1,
        .cache_policy = Q3N_CACHE_CLOCK } },
};
enum { N_WAYS = sizeof ways / sizeof *ways };

static void same_way(const struct way *w, const char *path, const float *expected)
{
    const uint32_t steps[] = { 1, TINY_TOKENS };
    float logits[TINY_TOKENS * VOCAB];
    struct q3n_expert_stats stats;
    ggf_error err;
    for (int i = 0; i < 2; i++) {
        const int e = run_in_steps(path, &w->o, steps[i], 1, logits, &stats, &err);
        ck_assert_msg(!e, "%s, %s: %s", w->name, path, err.message);
        ck_assert_msg(!memcmp(logits, expected, sizeof logits), "%s, %s, steps of %u",
                      w->name, path, steps[i]);
    }
}

/* Wherever experts are and however few fit, no bit changes: from the GGUF, whose slices
 * start anywhere, and from packs, plain and compressed. */
START_TEST(same_everywhere)
{
    const struct tiny *t = &sources[_i % N_SOURCES];
    float expected[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(t, _i < N_SOURCES ? 0 : 3);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    /* All ways for the plain model, a third of them for each other one. */
    for (int w = _i ? _i % 3 : 0; w < N_WAYS; w += _i ? 3 : 1) {
        struct way of_gguf = ways[w];
        of_gguf.o.verify_reads = Q3N_VERIFY_FIRST; /* there is nothing to verify */
        if (of_gguf.o.experts_cache_bytes) /* and slices need room for their starts */
            of_gguf.o.experts_cache_bytes +=
                of_gguf.o.experts_cache_bytes / RECORD * 3 * 4096;
        same_way(&of_gguf, source, expected);
        same_way(&ways[w], dense, expected);
    }
}
END_TEST

/* Past the page cache of a disk, if /tmp is on one. */
START_TEST(on_disk)
{
    float expected[TINY_TOKENS * VOCAB];
    ggf_error err;
    setup_in("/tmp");
    make(&sources[0], 0);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    same_way(&ways[2], dense, expected);
    teardown();
}
END_TEST

struct timeline {
    q3n_model *model;
    float logits[TINY_TOKENS * VOCAB];
    uint32_t step;
    int status;
};

static void *live(void *arg)
{
    struct timeline *t = arg;
    int32_t tokens[TINY_TOKENS];
    q3n_session *s;
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    t->status = q3n_session_new(&s, t->model, NULL, NULL);
    for (int round = 0; round < 3 && !t->status; round++) {
        q3n_session_reset(s);
        for (uint32_t i = 0; i < TINY_TOKENS && !t->status; i += t->step)
            t->status = q3n_session_eval(s, tokens + i, t->step, 0,
                                         t->logits + (size_t)i * VOCAB, NULL);
    }
    q3n_session_free(s);
    return NULL;
}

/* Sessions at the same time, with room for one token of one: each waits for the others to
 * let go of theirs. */
START_TEST(sessions_share)
{
    const struct q3n_model_options o = { .experts_cache_bytes = LEAST,
                                         .threads = 1,
                                         .look_ahead = _i };
    static struct timeline lines[3] = { { .step = 1 }, { .step = 4 }, { .step = 20 } };
    float expected[TINY_TOKENS * VOCAB];
    pthread_t threads[3];
    q3n_model *model;
    ggf_error err;
    make(&sources[0], 0);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    ck_assert_int_eq(q3n_model_open(&model, dense, &o, &err), 0);
    for (int i = 0; i < 3; i++) {
        lines[i].model = model;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, live, &lines[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_int_eq(lines[i].status, 0);
        ck_assert_mem_eq(lines[i].logits, expected, sizeof expected);
    }
    q3n_model_close(model);
}
END_TEST

/* Thousands of evictions; figures add up. */
START_TEST(many_evictions)
{
    float logits[TINY_TOKENS * VOCAB];
    struct q3n_expert_stats s;
    ggf_error err;
    struct q3n_model_options o = ways[2].o;
    o.threads = 1;
    make(&sources[0], _i ? 3 : 0);
    ck_assert_int_eq(run_in_steps(dense, &o, 1, 27, logits, &s, &err), 0);
    ck_assert_uint_ge(s.evictions, 1000);
    ck_assert_uint_eq(s.hits + s.misses, 27 * TINY_TOKENS * 2 * USED);
    ck_assert_uint_eq(s.misses, s.evictions + LEAST / RECORD);
    ck_assert_uint_ge(s.reads, s.misses);
    ck_assert_uint_eq(s.slot_bytes, LEAST);
    ck_assert_uint_eq(s.retries + s.mapped, 0);
    ck_assert(s.read_seconds > 0 && s.wait_seconds > 0);
}
END_TEST

/* An expert that cannot be had is named, and nothing is computed with it. */
START_TEST(damaged_when_read)
{
    const uint32_t expert = (uint32_t)_i % EXPERTS, layer = (uint32_t)_i / EXPERTS % 2;
    float logits[TINY_TOKENS * VOCAB];
    struct q3n_expert_stats stats;
    char says[64];
    ggf_error err = { 0 };
    make(&sources[0], _i / EXPERTS / 2 ? 3 : 0);
    damage(layer, expert);
    ck_assert_int_eq(
        run_in_steps(dense, &ways[2].o, TINY_TOKENS, 1, logits, &stats, &err),
        GGF_E_HASH);
    snprintf(says, sizeof says, "layer %u, expert %u", layer, expert);
    ck_assert_msg(strstr(err.message, says) != NULL, "%s", err.message);
    ck_assert_uint_eq(stats.retries, 1);
}
END_TEST

/* Files that are cut short while the model runs. */
START_TEST(truncated)
{
    const char *path = _i ? source : dense, *file = _i ? source : pack;
    const int32_t tokens[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    struct q3n_model_options options = ways[2].o;
    float logits[8 * VOCAB];
    struct stat st;
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    make(&sources[0], 0);
    if (_i) options.experts_cache_bytes *= 2;
    ck_assert_msg(!q3n_model_open(&model, path, &options, &err), "%s", err.message);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_int_eq(truncate(file, _i ? st.st_size / 16 : 8192), 0);
    ck_assert_int_eq(q3n_session_eval(s, tokens, 8, 0, logits, &err), GGF_E_IO);
    ck_assert_msg(strstr(err.message, "cut short") != NULL, "%s", err.message);
    q3n_session_free(s);
    q3n_model_close(model);
    ck_assert_int_lt(q3n_model_open(&model, path, &options, &err), 0);
}
END_TEST

/* Experts to begin with are such as are read: those of a layer that is mapped take no
 * room away from them. */
START_TEST(warm)
{
    static const uint8_t tiers[2][2] = { { Q3N_EXPERTS_ANYWHERE, Q3N_EXPERTS_ANYWHERE },
                                         { Q3N_EXPERTS_MAPPED, Q3N_EXPERTS_ANYWHERE } };
    const uint32_t room = _i ? USED + 1 : 2 * USED + 1;
    const struct q3n_model_options o = { .experts_cache_bytes = room * RECORD,
                                         .expert_tiers = tiers[_i],
                                         .n_expert_tiers = 2 };
    uint64_t counts[2 * EXPERTS];
    struct q3n_expert_stats stats;
    uint32_t loaded;
    ggf_error err;
    q3n_model *model;
    make(&sources[0], 0);
    ck_assert_msg(!q3n_model_open(&model, dense, &o, &err), "%s", err.message);
    for (int i = 0; i < 2 * EXPERTS; i++) counts[i] = 1;
    ck_assert_msg(!q3n_model_warm(model, counts, &loaded, &err), "%s", err.message);
    q3n_model_expert_stats(model, &stats);
    ck_assert_uint_eq(loaded, room);
    ck_assert_uint_eq(stats.slot_bytes_free, 0);
    ck_assert_uint_eq(stats.read_bytes, room * RECORD);
    q3n_model_close(model);
}
END_TEST

/* What the disk gives is found out without a trace but the figure. */
START_TEST(measured)
{
    const char *path = _i == 2 ? source : dense;
    const struct q3n_model_options options = { .load_mode = Q3N_LOAD_DIRECT,
                                               .io_threads = 1 + _i };
    struct q3n_expert_stats stats;
    ggf_error err;
    q3n_model *model;
    make(&sources[0], _i == 1 ? 3 : 0);
    ck_assert_int_eq(q3n_model_open(&model, path, &options, &err), 0);
    ck_assert_msg(!q3n_model_measure_disk(model, 0.01, &err), "%s", err.message);
    q3n_model_expert_stats(model, &stats);
    ck_assert(stats.disk_gb_s > 0);
    ck_assert_uint_eq(stats.reads + stats.hits + stats.misses, 0);
    ck_assert_uint_eq(stats.slot_bytes_free, stats.slot_bytes);
    ck_assert_int_eq(truncate(_i == 2 ? source : pack, 4096), 0);
    ck_assert_int_eq(q3n_model_measure_disk(model, 0.5, &err), GGF_E_IO);
    ck_assert_msg(strstr(err.message, "cut short") != NULL, "%s", err.message);
    q3n_model_close(model);
}
END_TEST

static const struct refusal {
    struct q3n_model_options o;
    const char *says;
} refusals[] = {
    { { .experts_cache_bytes = LEAST - 1 }, "least that works" },
    { { .ram_bytes = 1 << 20 }, "least that works" },
    { { .ram_bytes = 1 << 20, .no_mmap = true }, "least that works" },
    { { .experts_cache_bytes = LEAST, .no_mmap = true }, "all take" },
    { { .experts_cache_bytes = LEAST, .ram_bytes = 1 << 20 }, "do not fit" },
    { { .ram_bytes = 1 << 30, .load_mode = Q3N_LOAD_MMAP }, "no effect" },
    { { .experts_cache_bytes = LEAST, .load_mode = Q3N_LOAD_POPULATE }, "no effect" },
    { { .io_threads = 3, .load_mode = Q3N_LOAD_MMAP }, "no effect" },
    { { .look_ahead = true, .load_mode = Q3N_LOAD_MMAP }, "no effect" },
    { { .io_threads = 65 }, "65" },
};

START_TEST(refused)
{
    ggf_error err;
    q3n_model *model;
    make(&sources[0], 0);
    ck_assert_int_lt(q3n_model_open(&model, dense, &refusals[_i].o, &err), 0);
    ck_assert_msg(strstr(err.message, refusals[_i].says) != NULL, "%s", err.message);
    const struct q3n_model_options verify = { .verify_reads = Q3N_VERIFY_NEVER };
    ck_assert_int_eq(q3n_model_open(&model, source, &verify, &err), GGF_E_ARG);
}
END_TEST

/* What a limit says is what is taken, and a little is kept. */
START_TEST(within_ram)
{
    const struct q3n_model_options o = { .ram_bytes = 1 << 30,
                                         .load_mode = Q3N_LOAD_DIRECT };
    ggf_error err;
    q3n_model *model;
    make(&sources[0], 0);
    ck_assert_int_eq(q3n_model_open(&model, dense, &o, &err), 0);
    ck_assert_uint_eq(q3n_model_info(model)->bytes_slots, ALL);
    ck_assert_uint_eq(q3n_model_info(model)->load_mode, Q3N_LOAD_DIRECT);
    ck_assert_uint_gt(q3n_session_bytes(model, NULL), 0);
    q3n_model_close(model);
    ck_assert_int_eq(q3n_model_open(&model, dense, NULL, &err), 0);
    ck_assert_uint_eq(q3n_model_info(model)->bytes_slots, 0);
    ck_assert_uint_eq(q3n_model_info(model)->load_mode, Q3N_LOAD_MMAP);
    q3n_model_close(model);
}
END_TEST

int main(void)
{
    TCase *pack_case = tcase_create("pack");
    tcase_add_checked_fixture(pack_case, setup, teardown);
    tcase_set_timeout(pack_case, 60);
    tcase_add_loop_test(pack_case, same_numbers, 0, 4 * N_SOURCES);
    tcase_add_loop_test(pack_case, damaged_record, 0, 4 * EXPERTS);
    tcase_add_test(pack_case, broken_session);
    tcase_add_test(pack_case, other_model);
    tcase_add_test(pack_case, pack_for_whole_model);
    tcase_add_loop_test(pack_case, same_everywhere, 0, 2 * N_SOURCES);
    tcase_add_loop_test(pack_case, sessions_share, 0, 2);
    tcase_add_loop_test(pack_case, many_evictions, 0, 2);
    tcase_add_loop_test(pack_case, damaged_when_read, 0, 4 * EXPERTS);
    tcase_add_loop_test(pack_case, truncated, 0, 2);
    tcase_add_loop_test(pack_case, warm, 0, 2);
    tcase_add_loop_test(pack_case, measured, 0, 3);
    tcase_add_loop_test(pack_case, refused, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(pack_case, within_ram);
    TCase *disk_case = tcase_create("disk");
    tcase_add_test(disk_case, on_disk);
    return SUITE_RUN("store", pack_case, disk_case);
}
