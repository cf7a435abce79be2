/* test_replay.c - simulated caches: a textbook's example, what must hold for any trace,
 * and the heap beneath.  That they do what the store does is tested on the sample
 * (tests/cli/trace.bats). */
#include "../../infer/experts/heap.h"
#include "../../infer/experts/replay.h"
#include "../../infer/experts/sweep.h"
#include "../../tools/common/curves.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char path[] = "/tmp/q3n-test-XXXXXX";
static ggf_error err;
static struct trace *trace;
static struct replay_log log_;
static uint64_t sizes[64];
static uint32_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

static struct trace_writer *begin(uint32_t n_layer, uint32_t n_expert, uint32_t n_used)
{
    struct trace_writer *w;
    const struct trace_model m = {
        .n_layer = n_layer, .n_expert = n_expert, .n_used = n_used, .expert_bytes = sizes
    };
    close(mkstemp(path));
    for (int i = 0; i < 64; i++) sizes[i] = PAGE;
    ck_assert_msg(!trace_create(&w, path, true, &m, &err), "%s", err.message);
    return w;
}

static void finish(struct trace_writer *w)
{
    ck_assert_int_eq(trace_finish(w, &err), 0);
    ck_assert_msg(!trace_open(&trace, path, &err), "%s", err.message);
    ck_assert_msg(!replay_log_new(&log_, &trace, 1, &err), "%s", err.message);
    unlink(path);
}

static void forget(void)
{
    replay_log_free(&log_);
    trace_close(trace);
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
}

static struct replay_result run(enum replay_policy policy, uint64_t records)
{
    struct replay_result r;
    const struct replay_options o = { .policy = policy, .bytes = records * PAGE };
    ck_assert_int_eq(replay_run(&log_, &o, &r, &err), 0);
    return r;
}

/* Stallings, Operating Systems, section 8.2: three frames. */
START_TEST(textbook)
{
    static const uint32_t pages[] = { 2, 3, 2, 1, 5, 2, 4, 5, 3, 2, 5, 2 };
    const float weight = 1;
    struct trace_writer *w = begin(1, 6, 1);
    for (int i = 0; i < 12; i++) trace_add(w, 0, 1, &pages[i], &weight);
    finish(w);
    ck_assert_uint_eq(log_.n_decoded, 12);
    ck_assert_uint_eq(run(REPLAY_LRU, 3).misses[0], 7);
    ck_assert_uint_eq(run(REPLAY_BELADY, 3).misses[0], 6);
    ck_assert_uint_eq(run(REPLAY_LRU, 6).misses[0], 5);
    ck_assert_uint_eq(run(REPLAY_LRU, 3).miss_bytes[0], 7 * PAGE);
    forget();
}
END_TEST

/* Choices with favourites: layers * tokens * used, now and then a prompt. */
static void random_trace(uint32_t layers, uint32_t experts, uint32_t used, int batches)
{
    struct trace_writer *w = begin(layers, experts, used);
    uint32_t ids[16 * 8];
    float weights[16 * 8];
    for (int b = 0; b < batches; b++) {
        const uint32_t tokens = draw(8) ? 1 : 2 + draw(14);
        for (uint32_t l = 0; l < layers; l++) {
            for (uint32_t i = 0; i < tokens * used; i++) {
                bool taken = true;
                while (taken) {
                    ids[i] = draw(1 + draw(experts));
                    taken = false;
                    for (uint32_t k = i / used * used; k < i; k++)
                        taken |= ids[k] == ids[i];
                }
                weights[i] = 1.0f / (float)used;
            }
            trace_add(w, l, tokens, ids, weights);
        }
    }
    finish(w);
}

/* Hits of LRU without prompts, the long way: how many others since the last use. */
START_TEST(lru_is_lru)
{
    seed = 7;
    struct trace_writer *w = begin(2, 12, 3);
    uint32_t ids[3], order[24], n = 0, hits = 0;
    const float weights[3] = { 0.5f, 0.3f, 0.2f };
    const uint32_t room = 9;
    for (uint32_t b = 0; b < 400; b++) {
        const uint32_t layer = b % 2, first = draw(10);
        for (uint32_t k = 0; k < 3; k++) ids[k] = first + k;
        trace_add(w, layer, 1, ids, weights);
        /* The hits of a layer move up before its misses come in. */
        for (int pass = 0; pass < 2; pass++)
            for (uint32_t k = 0; k < 3; k++) {
                const uint32_t item = layer * 12 + ids[k];
                uint32_t at = 0;
                while (at < n && order[at] != item) at++;
                if (pass == 0 && (at == n || at >= room)) continue;
                if (pass == 1 && at < 3 && at < n) continue;
                hits += pass == 0;
                if (at == n) n++;
                memmove(order + 1, order, at * sizeof *order);
                order[0] = item;
            }
    }
    finish(w);
    ck_assert_uint_eq(run(REPLAY_LRU, room).hits[0], hits);
    forget();
}
END_TEST

START_TEST(laws)
{
    uint64_t ranking[4 * 16] = { 0 };
    seed = (uint32_t)_i + 1;
    random_trace(4, 16, 2, 120);
    trace_count(trace, ranking);
    for (uint64_t room = 8; room <= 64; room += 7) {
        uint64_t best = 0;
        for (int p = 0; p < REPLAY_POLICIES; p++) {
            struct replay_result r;
            const struct replay_options o = { .policy = (enum replay_policy)p,
                                              .bytes = room * PAGE,
                                              .ranking = ranking };
            ck_assert_int_eq(replay_run(&log_, &o, &r, &err), 0);
            const uint64_t hits = r.hits[0] + r.hits[1];
            ck_assert_uint_eq(hits + r.misses[0] + r.misses[1], log_.n_items);
            ck_assert_uint_eq(r.miss_bytes[0], r.misses[0] * PAGE);
            /* static has its experts before the first use; nothing else is ahead. */
            if (p != REPLAY_STATIC && hits > best) best = hits;
            if (p == REPLAY_BELADY) ck_assert_uint_eq(hits, best);
        }
    }
    /* With room for all, only first uses miss. */
    uint64_t used = 0;
    for (int i = 0; i < 64; i++) used += ranking[i] > 0;
    for (int p = 0; p < REPLAY_POLICIES; p++) {
        if (p == REPLAY_STATIC) continue;
        const struct replay_result r = run((enum replay_policy)p, 64);
        ck_assert_uint_eq(r.misses[0] + r.misses[1], used);
    }
    forget();
}
END_TEST

/* What is counted from the middle on is the rest of what is counted from the start. */
START_TEST(from_the_middle)
{
    seed = 5;
    random_trace(3, 8, 2, 60);
    const uint64_t middle = replay_middle(&log_);
    ck_assert(log_.groups[middle].begins);
    struct replay_result all = run(REPLAY_LRU, 9), rest;
    const struct replay_options o = { .policy = REPLAY_LRU,
                                      .bytes = 9 * PAGE,
                                      .from = middle };
    ck_assert_int_eq(replay_run(&log_, &o, &rest, &err), 0);
    const uint64_t looked = rest.hits[0] + rest.misses[0];
    ck_assert_uint_eq(looked / (3 * 2), log_.n_decoded / 2);
    ck_assert(rest.hits[0] < all.hits[0] && rest.misses[0] < all.misses[0]);
    uint64_t counts[3 * 8] = { 0 }, sum = 0;
    replay_count(&log_, middle, counts);
    for (int i = 0; i < 24; i++) sum += counts[i];
    uint64_t uses = 0;
    for (uint64_t i = 0; i < log_.groups[middle].first; i++) uses += log_.uses[i];
    ck_assert_uint_eq(sum, uses);
    forget();
}
END_TEST

START_TEST(refused)
{
    struct replay_log none;
    struct trace_writer *w = begin(1, 2, 1);
    const uint64_t counts[2] = { 1, 1 };
    const struct trace_model m = {
        .n_layer = 1, .n_expert = 2, .n_used = 1, .expert_bytes = sizes
    };
    ck_assert_int_eq(trace_finish(w, &err), 0);
    ck_assert_int_eq(trace_open(&trace, path, &err), 0);
    ck_assert_int_eq(replay_log_new(&none, &trace, 1, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "empty"));
    trace_close(trace);
    ck_assert_int_eq(history_write(path, true, &m, counts, &err), 0);
    ck_assert_int_eq(trace_open(&trace, path, &err), 0);
    ck_assert_int_eq(replay_log_new(&none, &trace, 1, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "history"));
    unlink(path);
    trace_close(trace);
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
}
END_TEST

/* A B C A B C ...: the distance is 2 others; each token repeats none. */
START_TEST(locality)
{
    const float weight = 1;
    struct trace_writer *w = begin(1, 20, 1);
    for (uint32_t i = 0; i < 30; i++) {
        const uint32_t id = i % 3;
        trace_add(w, 0, 1, &id, &weight);
    }
    finish(w);
    struct locality l;
    ck_assert_int_eq(locality_measure(&l, &trace, 1, &log_, &err), 0);
    ck_assert_uint_eq(l.decoded_tokens, 30);
    ck_assert_uint_eq(l.used, 3);
    ck_assert_double_eq_tol(l.layers[0].effective, 3, 1e-9);
    ck_assert_double_eq_tol(l.layers[0].top, 2.0 / 3, 1e-9); /* two of the twenty */
    ck_assert_double_eq(l.layers[0].repeated, 0);
    ck_assert_double_eq(l.distance_half, 2);
    ck_assert_double_eq(l.distance_most, 2);
    ck_assert_double_eq_tol(l.first_uses, 0.1, 1e-9);
    locality_free(&l);
    forget();
}
END_TEST

static bool of_four(void *user, uint32_t item) { return item % 4 == *(uint32_t *)user; }

START_TEST(heap)
{
    enum { N = 50 };
    struct heap h;
    uint64_t keys[N] = { 0 };
    bool in[N] = { false };
    seed = 3;
    ck_assert(heap_init(&h, N));
    for (int step = 0; step < 5000; step++) {
        const uint32_t item = draw(N);
        if (in[item] && draw(3) == 0) {
            heap_remove(&h, item);
            in[item] = false;
        } else {
            keys[item] = draw(1000);
            heap_set(&h, item, keys[item]);
            in[item] = true;
        }
        uint64_t least = UINT64_MAX;
        uint32_t n = 0;
        for (int i = 0; i < N; i++) {
            if (in[i] && keys[i] < least) least = keys[i];
            n += in[i];
        }
        ck_assert_uint_eq(h.n, n);
        if (n) ck_assert_uint_eq(h.entries->key, least);
        const uint32_t among = draw(4);
        uint32_t best = UINT32_MAX;
        for (uint32_t i = among; i < N; i += 4)
            if (in[i] && (best == UINT32_MAX || keys[i] < keys[best])) best = i;
        ck_assert_uint_eq(heap_least(&h, of_four, &(uint32_t){ among }), best);
    }
    heap_free(&h);
}
END_TEST

START_TEST(forecasts)
{
    const struct speeds speeds = { .disk = 1, .memory = 10 };
    struct token_bytes bytes = { .dense = 1e9, .experts = 5e8, .disk = 4e8 };
    struct forecast f = forecast(&bytes, &speeds);
    ck_assert_double_eq_tol(f.per_second, 1 / 0.5, 1e-9); /* 0.1 dense, then 0.4 disk */
    ck_assert(f.disk_limits);
    bytes.disk = 0;
    f = forecast(&bytes, &speeds);
    ck_assert_double_eq_tol(f.per_second, 1 / 0.15, 1e-9);
    ck_assert(!f.disk_limits);
}
END_TEST

START_TEST(forecasts_with_a_device)
{
    const struct device_speeds speeds = { 100, 10, { .disk = 1, .memory = 10 } };
    struct device_bytes bytes = { .dense_there = 1e9, .there = 2e9 };
    struct device_forecast f = forecast_device(&bytes, &speeds);
    ck_assert_double_eq_tol(f.per_second, 1 / 0.03, 1e-9);
    bytes.missing = 1e9; /* copied and computed: 0.05, the hits' 0.02 meanwhile */
    f = forecast_device(&bytes, &speeds);
    ck_assert_double_eq_tol(f.missing_seconds, 0.05, 1e-9);
    ck_assert_double_eq_tol(f.per_second, 1 / 0.06, 1e-9);
    bytes.dense_here = 1e9, bytes.here = 5e8;
    f = forecast_device(&bytes, &speeds);
    ck_assert_double_eq_tol(f.host_seconds, 0.15, 1e-9);
    ck_assert_double_eq_tol(f.per_second, 1 / 0.21, 1e-9);
    bytes.disk = 1e9; /* takes longer than all experts, but not what is dense */
    f = forecast_device(&bytes, &speeds);
    ck_assert_double_eq_tol(f.per_second, 1 / 1.11, 1e-9);
}
END_TEST

/* Who stays of a sweep: as many of the most used as the layer's share of what is free or
 * cold; a quarter of the share where nothing is; never more than the share.  Those with
 * equal uses stay together or not at all. */
START_TEST(sweeps)
{
    static const uint32_t uses[] = { 9, 1, 5, 5, 2, 7, 1, 3 };
    static const struct {
        uint64_t free, cold;
        uint32_t from;
    } cases[] = {
        { 0, 0, 8 },   { 9, 0, 8 },   { 10, 10, 6 },    { 0, 39, 6 },
        { 20, 20, 4 }, { 30, 30, 2 }, { 1000, 500, 2 },
    };
    struct sweep s = { .n_layer = 4, .n = 8, .each = 10, .room = 240, .uses = uses };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s.free = cases[i].free;
        s.cold = cases[i].cold;
        ck_assert_uint_eq(sweep_hot_from(&s), cases[i].from);
    }
    ck_assert(sweep_is_one(&s));
    s.room = 320; /* all layers fit */
    ck_assert(!sweep_is_one(&s));
    s.room = 319;
    ck_assert(sweep_is_one(&s));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("replay");
    tcase_add_test(tc, textbook);
    tcase_add_test(tc, lru_is_lru);
    tcase_add_loop_test(tc, laws, 0, 20);
    tcase_add_test(tc, from_the_middle);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, locality);
    tcase_add_test(tc, heap);
    tcase_add_test(tc, sweeps);
    tcase_add_test(tc, forecasts);
    tcase_add_test(tc, forecasts_with_a_device);
    return SUITE_RUN("replay", tc);
}
