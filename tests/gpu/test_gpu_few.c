/* Experts of a few tokens that are not on the device: copied there or computed by the
 * host, the bits are the same as if all were there. */
#define TINY_HEAD_DIM 32
#define TINY_WIDTH    96
#define TINY_EXPERTS  16
#include "../unit/tiny_pack.h"

#include "../../infer/experts/store.h"
#include "../../infer/gpu/misses.h"
#include "../../infer/ops/moe.h"

enum { CTX = 64 };

static const struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = 16 };

#include "room.h"

enum { ROOM = 2 }; /* for some of the experts */

/* ---- Models ------------------------------------------------------------------------ */

/* Experts of floats are the device's alone.  The others have scales beside them, which
 * host and device must apply alike. */
static const struct tiny floats = { 0 }, coded = { .matrices = GGF_Q8_0, .scales = true };

/* ---- Texts ------------------------------------------------------------------------- */

static const uint32_t steps[] = { 1, 1, 3, 8, 1, 9, 1 };
enum { STEPS = sizeof steps / sizeof *steps, TOKENS = 24 };

static int run(q3n_model *m, float *logits) { return run_steps(m, steps, STEPS, logits); }

static float wanted[TOKENS * VOCAB], logits[TOKENS * VOCAB];

/* What a model has to say whose experts are all there. */
static void want(const struct tiny *t, int n_steps)
{
    q3n_model *m;
    make(t, 0);
    ok(open_with(&m, source, 0, (struct q3n_model_options){ 0 }));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, LAYERS);
    ok(run_steps(m, steps, n_steps, wanted));
    q3n_model_close(m);
}

static void check_all_gone(void)
{
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}

/* Mapped, from a GGUF and a pack; from disk into too little memory; by one thread and
 * more; and when some are there.  What the emulated device says that copies took is
 * anything, so who computes what is so, too. */
START_TEST(the_same_bits)
{
    const struct {
        const char *path;
        struct q3n_model_options o;
    } from[] = {
        { source, { MISSES(UPLOAD) } },
        { source, { MISSES(COMPUTE), .threads = 3 } },
        { source, { MISSES(AUTO) } },
        { dense, { MISSES(AUTO), .threads = 1, .verify_reads = Q3N_VERIFY_ALWAYS } },
        { source,
          { MISSES(AUTO), .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = MIB / 4,
            .cache_policy = Q3N_CACHE_LRU } },
        { source,
          { MISSES(UPLOAD), .load_mode = Q3N_LOAD_DIRECT,
            .experts_cache_bytes = MIB / 2 } },
    };
    want(&coded, STEPS);
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        q3n_model *m;
        emulator_seed(i);
        ok(open_with(&m, from[i].path, ROOM, from[i].o));
        for (int round = 0; round < 1 + (i == 2); round++) {
            ok(run(m, logits));
            ck_assert_mem_eq(logits, wanted, sizeof wanted);
        }
        const struct q3n_expert_stats s = stats_of(m);
        ck_assert_uint_gt(s.device_hits, 0);
        ck_assert_uint_gt(s.device_misses, EXPERTS);
        if (from[i].o.device.misses == Q3N_MISSES_UPLOAD)
            ck_assert_uint_eq(s.device_computed, 0);
        else ck_assert_uint_gt(s.device_computed, 0);
        q3n_model_close(m);
    }
    check_all_gone();
}
END_TEST

/* The host computes what is missing, and what is used most follows into slots. */
START_TEST(the_host_computes)
{
    q3n_model *m;
    q3n_session *s;
    int32_t id = 3;
    make(&coded, 0);
    ok(open_with(&m, source, ROOM, (struct q3n_model_options){ MISSES(COMPUTE) }));
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(q3n_session_eval(s, &id, 1, 0, logits, &err));
    const struct q3n_expert_stats first = stats_of(m);
    ck_assert_uint_eq(first.device_hits, 0);
    ck_assert_uint_eq(first.device_misses, LAYERS * USED);
    ck_assert_uint_eq(first.device_computed, LAYERS * USED);
    ck_assert_uint_gt(first.device_bytes, 0);
    for (int i = 0; i < 20; i++) ok(q3n_session_eval(s, &id, 1, 0, logits, &err));
    const struct q3n_expert_stats then = stats_of(m);
    ck_assert_uint_eq(then.device_computed, then.device_misses);
    ck_assert_uint_gt(then.device_hits, 5 * LAYERS * USED);
    q3n_session_free(s);
    q3n_model_close(m);
}
END_TEST

/* Copies take no time here, so all would be copied; no more than the limit are.  The bits
 * are the same. */
START_TEST(copies_are_limited)
{
    enum { BATCHES = 3, EACH = GPU_FEW_TOKENS };
    make(&coded, 0);
    emulator_time(1e-6f);
    for (uint32_t most = 0; most < 3; most++) {
        const struct q3n_model_options o = { .device = { .most_uploads = most } };
        float *out = most ? logits : wanted;
        q3n_model *m;
        q3n_session *s;
        ok(open_with(&m, source, ROOM, o));
        ok(q3n_session_new(&s, m, &settings, &err));
        for (int i = 0; i < BATCHES; i++) {
            const struct q3n_expert_stats was = stats_of(m);
            ok(eval_next(s, EACH, out + i * EACH * VOCAB));
            const struct q3n_expert_stats is = stats_of(m);
            const uint64_t misses = is.device_misses - was.device_misses;
            const uint64_t copied = misses - (is.device_computed - was.device_computed);
            if (most) ck_assert_uint_le(copied, most * LAYERS);
            else if (!i && emulated()) ck_assert_uint_gt(copied, 2 * LAYERS);
        }
        q3n_session_free(s);
        q3n_model_close(m);
        if (most)
            ck_assert_mem_eq(logits, wanted,
                             (size_t)BATCHES * EACH * VOCAB * sizeof *logits);
    }
}
END_TEST

/* Weights that are floats are not computed by the host. */
START_TEST(floats_are_copied)
{
    enum { SOME = 3 };
    q3n_model *m;
    want(&floats, SOME);
    ck_assert_int_eq(
        open_with(&m, source, ROOM, (struct q3n_model_options){ MISSES(COMPUTE) }),
        GGF_E_ARG);
    ok(open_with(&m, source, ROOM, (struct q3n_model_options){ 0 }));
    ok(run_steps(m, steps, SOME, logits));
    ck_assert_mem_eq(logits, wanted, 5 * VOCAB * sizeof *logits);
    ck_assert_uint_eq(stats_of(m).device_computed, 0);
    q3n_model_close(m);
}
END_TEST

/* The host has the last word, so its threads have more to do than to help. */
START_TEST(the_host_takes_part)
{
    static const uint8_t places[LAYERS + 1] = { 0, 0, Q3N_LAYER_HOST };
    static float once[TOKENS * VOCAB];
    make(&coded, 0);
    for (int how = Q3N_MISSES_AUTO; how <= Q3N_MISSES_COMPUTE; how++) {
        struct q3n_model_options o = { 0 };
        q3n_model *m;
        o.device.places = places;
        o.device.n_places = LAYERS + 1;
        o.device.misses = how;
        ok(open_with(&m, source, ROOM, o));
        ok(run(m, how ? logits : once));
        if (how) ck_assert_mem_eq(logits, once, sizeof once);
        q3n_model_close(m);
    }
    check_all_gone();
}
END_TEST

/* Experts that a reply used are still there after somebody else's prompt. */
START_TEST(prompts_push_nothing_out)
{
    enum { PROMPT = 9 };
    q3n_model *m;
    q3n_session *s, *other;
    q3n_snapshot *snap;
    make(&coded, 0);
    ok(open_with(
        &m, source, ROOM,
        (struct q3n_model_options){ MISSES(UPLOAD), .cache_policy = Q3N_CACHE_LRU }));
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(q3n_session_new(&other, m, &settings, &err));
    ok(eval_next(s, PROMPT, logits));
    ok(q3n_session_save(&snap, s, &err));
    ok(eval_next(s, 1, wanted));
    ok(eval_next(other, PROMPT + 4, logits));
    const uint64_t before = stats_of(m).device_misses;
    q3n_session_restore(s, snap);
    ok(eval_next(s, 1, logits));
    ck_assert_uint_eq(stats_of(m).device_misses, before);
    ck_assert_mem_eq(logits, wanted, VOCAB * sizeof *logits);
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    q3n_session_free(other);
    q3n_model_close(m);
}
END_TEST

struct seen {
    uint32_t ids[LAYERS][TOKENS * USED], n[LAYERS];
};

static void see(void *user, const struct routed *r)
{
    struct seen *s = user;
    memcpy(s->ids[r->layer] + s->n[r->layer], r->ids,
           r->tokens * r->n_used * sizeof *r->ids);
    s->n[r->layer] += r->tokens * r->n_used;
}

START_TEST(routing_is_watched)
{
    static struct seen seen[2];
    q3n_model *m;
    make(&coded, 0);
    for (int i = 0; i < 2; i++) {
        const struct route_watch watch = { see, &seen[i] };
        q3n_session *s;
        ok(open_with(&m, source, i ? ROOM : 0, (struct q3n_model_options){ 0 }));
        ok(q3n_session_new(&s, m, &settings, &err));
        q3n_session_watch(s, &watch);
        ok(eval_next(s, 9, logits));
        ok(eval_next(s, 1, logits));
        q3n_session_free(s);
        q3n_model_close(m);
    }
    ck_assert_uint_eq(seen[1].n[0], 10 * USED);
    ck_assert_mem_eq(&seen[0], &seen[1], sizeof seen[0]);
}
END_TEST

/* ---- Failures ---------------------------------------------------------------------- */

/* Records are compressed, or not.  A damaged one is an error for all who need it, each
 * time. */
START_TEST(damaged_records)
{
    q3n_model *m;
    want(&coded, STEPS);
    make(&coded, _i);
    ok(open_with(&m, dense, ROOM, (struct q3n_model_options){ 0 }));
    ok(run(m, logits));
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
    q3n_model_close(m);
    damage(1, 2);
    for (int how = Q3N_MISSES_AUTO; how <= Q3N_MISSES_COMPUTE; how++) {
        ok(open_with(&m, dense, ROOM,
                     (struct q3n_model_options){ .device = { .misses = how } }));
        for (int k = 0; k < 2; k++) ck_assert_int_eq(run(m, logits), GGF_E_HASH);
        q3n_model_close(m);
    }
    ck_assert_int_ne(open_with(&m, dense, 0, (struct q3n_model_options){ 0 }), 0);
    ck_assert_int_eq(err.code, GGF_E_HASH);
    check_all_gone();
}
END_TEST

/* The device is lost at any time: in a launch, or in a copy. */
START_TEST(the_device_is_lost)
{
    const struct q3n_model_options o = { MISSES(AUTO) };
    make(&coded, 0);
    if (!emulated()) return;
    for (uint64_t n = 1 + (uint64_t)_i; n < (_i ? 60 : 150); n += n / 2 + 7) {
        q3n_model *m;
        emulator_seed(n);
        ok(open_with(&m, source, ROOM, o));
        if (_i) emulator_lose_in_copy(n);
        else emulator_lose_device(n);
        ck_assert_int_eq(run(m, logits), GGF_E_IO);
        ck_assert_int_ne(run(m, logits), 0);
        emulator_reset();
        q3n_model_close(m);
        check_all_gone();
    }
}
END_TEST

/* ---- Who computes what ------------------------------------------------------------- */

static void add(struct rate *r, double seconds, int times)
{
    while (times--) rate_add(r, 1000, 1000 * seconds);
}

START_TEST(rates_are_medians)
{
    struct rate r = { 0 };
    ck_assert_double_eq(rate_of(&r, 7), 7);
    rate_add(&r, 0, 1);
    rate_add(&r, 1, 0);
    ck_assert_double_eq(rate_of(&r, 7), 7);
    add(&r, 0.5, 1);
    ck_assert_double_eq(rate_of(&r, 7), 0.5);
    add(&r, 0.125, 2);
    add(&r, 1000, 2);
    ck_assert_double_eq(rate_of(&r, 7), 0.5);
    add(&r, 0.25, 3);
    ck_assert_double_eq(rate_of(&r, 7), 0.25);
}
END_TEST

START_TEST(both_are_done_soonest)
{
    static const uint64_t same[10] = { 8, 8, 8, 8, 8, 8, 8, 8, 8, 8 };
    static const uint64_t sizes[3] = { 10, 1, 1 };
    const struct {
        double upload, compute;
        uint32_t n, want;
    } cases[] = {
        { 1, 1, 10, 5 }, { 1, 1, 1, 1 },   { 3, 1, 10, 2 },   { 1, 3, 10, 8 },
        { 2, 1, 1, 0 },  { 20, 1, 10, 0 }, { 1, 20, 10, 10 }, { 1, 1, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct miss_costs c = { 0 };
        add(&c.upload, cases[i].upload, 1);
        add(&c.compute, cases[i].compute, 1);
        ck_assert_uint_eq(misses_to_upload(&c, same, cases[i].n, 10), cases[i].want);
    }
    struct miss_costs c = { 0 };
    add(&c.upload, 1, 1);
    add(&c.compute, 4, 1);
    ck_assert_uint_eq(misses_to_upload(&c, sizes, 3, 3), 1);
    ck_assert_uint_eq(misses_to_upload(&c, same, 10, 10), 8);
    ck_assert_uint_eq(misses_to_upload(&c, same, 10, 3), 3);
    ck_assert_uint_eq(misses_to_upload(&c, same, 10, 0), 0);
}
END_TEST

/* What never happens is tried now and then. */
START_TEST(both_are_tried)
{
    static const uint64_t n[4] = { 1, 1, 1, 1 };
    for (int k = 0; k < 2; k++) {
        struct miss_costs c = { 0 };
        uint32_t other = 0;
        add(&c.upload, k ? 100 : 1, 1);
        add(&c.compute, k ? 1 : 100, 1);
        for (int i = 0; i < 200; i++)
            other += misses_to_upload(&c, n, 4, 4) != (k ? 0 : 4);
        ck_assert_uint_ge(other, 2);
        ck_assert_uint_le(other, 4);
    }
}
END_TEST

/* What the host took counts unless it was busy copying; and if it always is, it computes
 * without that now and then. */
START_TEST(copying_is_not_computing)
{
    struct miss_costs c = { 0 };
    ck_assert(misses_apart(&c));
    misses_computed(&c, 1000, 8, 0);
    ck_assert_double_eq(rate_of(&c.compute, 0), 0.008);
    for (int i = 0; i < 10; i++) misses_computed(&c, 1000, 80, 79);
    ck_assert_double_eq(rate_of(&c.compute, 0), 0.008);
    for (int i = 0; i < 2; i++) misses_computed(&c, 1000, 4, 1);
    ck_assert_double_eq(rate_of(&c.compute, 0), 0.004);
    int n = 0;
    for (; n < 1000 && !misses_apart(&c); n++) misses_computed(&c, 1000, 4, 2);
    ck_assert_int_gt(n, 10);
    ck_assert_int_lt(n, 100);
    misses_computed(&c, 1000, 4, 0);
    ck_assert(!misses_apart(&c));
}
END_TEST

START_TEST(what_is_there_comes_first)
{
    static const uint8_t flags[6] = {
        DEMAND_HIT | DEMAND_HELD, 0, DEMAND_HIT, 0, DEMAND_HELD, DEMAND_HIT
    };
    static const uint32_t wants[] = { 0, 2, 5, 1, 3, 4 };
    uint32_t which[] = { 4, 2, 3, 5, 1, 0 };
    ck_assert_uint_eq(misses_there(flags, which, 6), 3);
    ck_assert_mem_eq(which, wants, sizeof wants);
    ck_assert_uint_eq(misses_there(flags, which + 3, 2), 0);
    ck_assert_uint_eq(misses_there(flags, which, 0), 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("few");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_same_bits);
    tcase_add_test(tc, the_host_computes);
    tcase_add_test(tc, copies_are_limited);
    tcase_add_test(tc, floats_are_copied);
    tcase_add_test(tc, the_host_takes_part);
    tcase_add_test(tc, prompts_push_nothing_out);
    tcase_add_test(tc, routing_is_watched);
    tcase_add_loop_test(tc, damaged_records, 0, 2);
    tcase_add_loop_test(tc, the_device_is_lost, 0, 2);
    TCase *costs = tcase_create("costs");
    tcase_add_test(costs, rates_are_medians);
    tcase_add_test(costs, both_are_done_soonest);
    tcase_add_test(costs, both_are_tried);
    tcase_add_test(costs, copying_is_not_computing);
    tcase_add_test(costs, what_is_there_comes_first);
    return GPU_SUITE_RUN("gpu_few", tc, costs);
}
