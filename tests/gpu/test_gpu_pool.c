/* Experts that come to a device when they are needed: the same bits as if all were there,
 * whatever room they have and wherever they come from. */
#define TINY_HEAD_DIM 32
#define TINY_WIDTH    256 /* so that experts are large enough to count */
#include "../unit/tiny_pack.h"

#include "../../infer/ops/moe.h"
#include "gpu_suite.h"

enum { N = 13, PROMPT = 9, CTX = 64, LAYERS = 2, MIB = 1 << 20 };

static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static const struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = 16 };

static uint64_t whole(uint64_t bytes)
{
    return (bytes + 2 * MIB - 1) / (2 * MIB) * 2 * MIB;
}

/* A model on the device with so much room for experts; 0: for all of them. */
static int open_with(q3n_model **m, const char *path, uint64_t mib,
                     struct q3n_model_options o)
{
    const struct q3n_model_options plan = { .device = { .n_gpu_layers = Q3N_GPU_ALL },
                                            .session = settings,
                                            .plan = true };
    ok(q3n_model_open(m, path, &plan, &err));
    const struct q3n_device_info *d = &q3n_model_info(*m)->device;
    const uint64_t rest = whole(d->dense_bytes) + whole(d->kv_bytes + d->state_bytes) +
                          whole(d->work_bytes);
    q3n_model_close(*m);
    o.threads = 1;
    o.session = settings;
    o.device.n_gpu_layers = Q3N_GPU_ALL;
    o.device.vram_bytes = mib ? rest + mib * MIB : 0;
    return q3n_model_open(m, path, &o, &err);
}

static void eval(q3n_session *s, uint32_t n, float *logits)
{
    int32_t ids[CTX];
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)((q3n_session_pos(s) + i) * 7 % VOCAB);
    ok(q3n_session_eval(s, ids, n, 0, logits, &err));
}

/* A prompt, then tokens one by one. */
static void logits_of(q3n_model *m, float *logits)
{
    q3n_session *s;
    ok(q3n_session_new(&s, m, &settings, &err));
    eval(s, PROMPT, logits);
    for (uint32_t i = PROMPT; i < N; i++) eval(s, 1, logits + (size_t)i * VOCAB);
    q3n_session_free(s);
}

static struct q3n_expert_stats stats_of(q3n_model *m)
{
    struct q3n_expert_stats s;
    q3n_model_expert_stats(m, &s);
    return s;
}

/* Seven slots for eight experts of 768 KiB, two of them for prompts. */
enum { ROOM = 6, SLOTS = 7 };

static void check_pooled(const q3n_model *m)
{
    const struct q3n_device_info *d = &q3n_model_info(m)->device;
    ck_assert_uint_eq(d->n_layers, LAYERS);
    ck_assert_uint_eq(d->n_expert_layers, 0);
    ck_assert_uint_eq(d->pool_slots, SLOTS);
    ck_assert_uint_le(d->pool_bytes, ROOM * MIB);
}

static float wanted[N * VOCAB], logits[N * VOCAB];

START_TEST(the_same_bits)
{
    q3n_model *m;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, 0, (struct q3n_model_options){ 0 }));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, LAYERS);
    logits_of(m, wanted);
    ck_assert_uint_eq(stats_of(m).device_misses, 0);
    q3n_model_close(m);
    /* Mapped, of a GGUF and of a pack; read past the page cache into too little memory.
     */
    const struct {
        const char *path;
        struct q3n_model_options o;
    } from[] = {
        { dense, { .verify_reads = Q3N_VERIFY_ALWAYS } },
        { source, { .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = 5 * MIB } },
    };
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        ok(open_with(&m, from[i].path, ROOM, from[i].o));
        check_pooled(m);
        logits_of(m, logits);
        ck_assert_mem_eq(logits, wanted, sizeof wanted);
        const struct q3n_expert_stats s = stats_of(m);
        ck_assert_uint_gt(s.device_hits, 0);
        ck_assert_uint_gt(s.device_misses, LAYERS * EXPERTS);
        ck_assert_uint_eq(s.device_bytes, s.device_misses * RECORD);
        q3n_model_close(m);
    }
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

/* Too little room for a token's experts in all layers is used for whole layers. */
START_TEST(too_few_slots)
{
    q3n_model *m;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, 4, (struct q3n_model_options){ 0 }));
    ck_assert_uint_eq(q3n_model_info(m)->device.pool_slots, 0);
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, 1);
    logits_of(m, logits);
    q3n_model_close(m);
}
END_TEST

/* Experts that a reply used are still there after somebody else's prompt. */
START_TEST(prompts_push_nothing_out)
{
    q3n_model *m;
    q3n_session *s, *other;
    q3n_snapshot *snap;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, ROOM,
                 (struct q3n_model_options){ .cache_policy = Q3N_CACHE_LRU }));
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(q3n_session_new(&other, m, &settings, &err));
    eval(s, PROMPT, logits);
    ok(q3n_session_save(&snap, s, &err));
    eval(s, 1, wanted);
    eval(other, N, logits);
    const uint64_t before = stats_of(m).device_misses;
    q3n_session_restore(s, snap);
    eval(s, 1, logits);
    ck_assert_uint_eq(stats_of(m).device_misses, before);
    ck_assert_mem_eq(logits, wanted, VOCAB * sizeof *logits);
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    q3n_session_free(other);
    q3n_model_close(m);
}
END_TEST

/* Compressed records are unpacked; a damaged one is an error each time, and what was
 * there before is still right. */
START_TEST(damaged_records)
{
    const struct tiny t = { 0 };
    q3n_model *m;
    q3n_session *s;
    make(&t, _i);
    ok(open_with(&m, source, ROOM, (struct q3n_model_options){ 0 }));
    logits_of(m, wanted);
    q3n_model_close(m);
    ok(open_with(&m, dense, ROOM, (struct q3n_model_options){ 0 }));
    logits_of(m, logits);
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
    q3n_model_close(m);
    damage(1, 2);
    ok(open_with(&m, dense, ROOM, (struct q3n_model_options){ 0 }));
    ok(q3n_session_new(&s, m, &settings, &err));
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++) ids[i] = i * 7 % VOCAB;
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(q3n_session_eval(s, ids, PROMPT, 0, logits, &err), GGF_E_HASH);
        q3n_session_reset(s);
    }
    q3n_session_free(s);
    q3n_model_close(m);
    ck_assert_int_ne(open_with(&m, dense, 0, (struct q3n_model_options){ 0 }), 0);
    ck_assert_int_eq(err.code, GGF_E_HASH);
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

struct seen {
    uint32_t ids[LAYERS][N * USED], n[LAYERS];
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
    make(&(struct tiny){ 0 }, 0);
    for (int i = 0; i < 2; i++) {
        const struct route_watch watch = { see, &seen[i] };
        q3n_session *s;
        ok(open_with(&m, source, i ? ROOM : 0, (struct q3n_model_options){ 0 }));
        ok(q3n_session_new(&s, m, &settings, &err));
        q3n_session_watch(s, &watch);
        eval(s, PROMPT, logits);
        eval(s, 1, logits);
        q3n_session_free(s);
        q3n_model_close(m);
    }
    ck_assert_uint_eq(seen[1].n[0], (PROMPT + 1) * USED);
    ck_assert_mem_eq(&seen[0], &seen[1], sizeof seen[0]);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pool");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_same_bits);
    tcase_add_test(tc, too_few_slots);
    tcase_add_test(tc, prompts_push_nothing_out);
    tcase_add_loop_test(tc, damaged_records, 0, 2);
    tcase_add_test(tc, routing_is_watched);
    return GPU_SUITE_RUN("gpu_pool", tc);
}
