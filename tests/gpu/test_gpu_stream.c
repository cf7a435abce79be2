/* Experts that pass through a device's memory while a prompt is computed: the same bits
 * as if all were there, each copied once, beside what is computed. */
#define TINY_HEAD_DIM 32
#define TINY_WIDTH    96
#define TINY_EXPERTS  12
#include "../unit/tiny_pack.h"

#include "../../infer/gpu/pinned.h"
#include "../../infer/gpu/staging.h"
#include "../../infer/ops/moe.h"

#include <sys/mman.h>

enum { N = 24 };

static const struct q3n_session_options settings = { .n_ctx = 64, .n_ubatch = N };

#include "room.h"

/* What was chosen in each layer of the last batch: different experts. */
struct seen {
    uint32_t n[LAYERS];
    bool used[LAYERS][EXPERTS];
};

static void see(void *user, const struct routed *r)
{
    struct seen *s = user;
    memset(s->used[r->layer], 0, sizeof s->used[r->layer]);
    for (uint32_t i = 0; i < r->tokens * r->n_used; i++)
        s->used[r->layer][r->ids[i]] = true;
    s->n[r->layer] = 0;
    for (int e = 0; e < EXPERTS; e++) s->n[r->layer] += s->used[r->layer][e];
}

/* Prompts of 9 and 24 tokens and a token between. */
static const uint32_t steps[] = { 9, 1, N };
enum { STEPS = sizeof steps / sizeof *steps, TOKENS = 34 };
enum { ROOM = 2 };

static float wanted[TOKENS * VOCAB], logits[TOKENS * VOCAB];

/* Room for 18 of 24 experts, 4 of them for prompts, of which the second finds some that
 * were kept; threads that fill pieces; mapped from a GGUF and from a pack, and read from
 * disk into too little memory. */
START_TEST(the_same_bits)
{
    const struct {
        const char *path;
        struct q3n_model_options o;
    } from[] = {
        { source, { .threads = 3 } },
        { dense, { .threads = 2, .verify_reads = Q3N_VERIFY_ALWAYS } },
        { source,
          { .threads = 1, .load_mode = Q3N_LOAD_DIRECT, .experts_cache_bytes = MIB } },
    };
    q3n_model *m;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, 0, (struct q3n_model_options){ 0 }));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, LAYERS);
    ok(run_steps(m, steps, STEPS, wanted));
    q3n_model_close(m);
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        emulator_seed(i);
        ok(open_with(&m, from[i].path, ROOM, from[i].o));
        ck_assert_uint_gt(q3n_model_info(m)->device.pool_slots, 4);
        ck_assert_uint_le(q3n_model_info(m)->device.pool_bytes, ROOM * MIB);
        ok(run_steps(m, steps, STEPS, logits));
        ck_assert_mem_eq(logits, wanted, sizeof wanted);
        q3n_model_close(m);
    }
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}
END_TEST

/* The first prompt copies what it needs; the second one all that is not kept, ahead. */
START_TEST(each_is_copied_once)
{
    struct seen seen = { 0 };
    const struct route_watch watch = { see, &seen };
    q3n_model *m;
    q3n_session *s;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, ROOM, (struct q3n_model_options){ 0 }));
    ok(q3n_session_new(&s, m, &settings, &err));
    q3n_session_watch(s, &watch);
    ok(eval_next(s, N, logits));
    const struct q3n_expert_stats first = stats_of(m);
    ck_assert_uint_eq(first.device_hits, 0);
    ck_assert_uint_eq(first.device_misses, seen.n[0] + seen.n[1]);
    ck_assert_uint_eq(first.device_bytes, first.device_misses * RECORD);
    ok(eval_next(s, N, logits));
    const struct q3n_expert_stats second = stats_of(m);
    const uint64_t copied = (second.device_bytes - first.device_bytes) / RECORD;
    const uint64_t misses = second.device_misses - first.device_misses;
    ck_assert_uint_gt(second.device_hits, 4);
    ck_assert_uint_eq(misses, seen.n[0] + seen.n[1] - second.device_hits);
    ck_assert_uint_ge(copied, misses);
    ck_assert_uint_le(copied, LAYERS * EXPERTS - second.device_hits);
    q3n_session_free(s);
    q3n_model_close(m);
}
END_TEST

/* A layer's experts are asked for while its mixer, and then its first experts, are
 * computed, and the host waits once a layer, for the choice, and for the end. */
START_TEST(copies_are_beside_kernels)
{
    q3n_model *m;
    q3n_session *s;
    if (!emulated()) return;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, ROOM, (struct q3n_model_options){ 0 }));
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(eval_next(s, N, logits));
    const struct emulator_counts before = emulator_count();
    const uint64_t bytes = stats_of(m).device_bytes;
    ok(eval_next(s, N, logits));
    const struct emulator_counts now = emulator_count();
    const uint64_t experts = stats_of(m).device_bytes - bytes;
    ck_assert_uint_gt(experts, 7 * RECORD);
    ck_assert_uint_ge(now.beside - before.beside, experts);
    ck_assert_uint_le(now.waits - before.waits, LAYERS + 1);
    q3n_session_free(s);
    q3n_model_close(m);
}
END_TEST

/* Experts that were read from disk are copied from where they are, unless the system
 * refuses to pin that memory; which is not an error, and it is not asked again. */
START_TEST(memory_of_the_store)
{
    const struct q3n_model_options o = { .load_mode = Q3N_LOAD_DIRECT,
                                         .experts_cache_bytes = MIB };
    q3n_model *m;
    q3n_session *s;
    if (!emulated()) return;
    make(&(struct tiny){ 0 }, 0);
    for (int refused = 0; refused < 2; refused++) {
        ok(open_with(&m, source, ROOM, o));
        ok(q3n_session_new(&s, m, &settings, &err));
        const struct emulator_counts before = emulator_count();
        emulator_fail_allocation((uint64_t)refused);
        ok(eval_next(s, 9, refused ? wanted : logits));
        const struct emulator_counts now = emulator_count();
        ck_assert_uint_eq(now.pinned, before.pinned + !refused);
        ck_assert_uint_eq(now.allocations, before.allocations + 1);
        q3n_session_free(s);
        q3n_model_close(m);
        ck_assert_uint_eq(emulator_count().pinned, 0);
    }
    ck_assert_mem_eq(logits, wanted, 9 * VOCAB * sizeof *logits);
}
END_TEST

/* A prompt that meets a damaged record fails.  What it left behind is right: once the
 * record has been mended, so is everything. */
START_TEST(a_failed_prompt_leaves_nothing_wrong)
{
    const struct q3n_model_options direct = { .load_mode = Q3N_LOAD_DIRECT,
                                              .experts_cache_bytes = MIB };
    q3n_model *m;
    q3n_session *s;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, dense, 0, (struct q3n_model_options){ 0 }));
    ok(run_steps(m, steps, 1, wanted));
    q3n_model_close(m);
    for (int i = 0; i < 2; i++) {
        damage(1, 2);
        ok(open_with(&m, dense, ROOM, i ? direct : (struct q3n_model_options){ 0 }));
        ok(q3n_session_new(&s, m, &settings, &err));
        for (int k = 0; k < 2; k++) {
            ck_assert_int_eq(eval_next(s, steps[0], logits), GGF_E_HASH);
            q3n_session_reset(s);
        }
        q3n_session_free(s);
        damage(1, 2); /* the same bit */
        ok(run_steps(m, steps, 1, logits));
        ck_assert_mem_eq(logits, wanted, steps[0] * VOCAB * sizeof *logits);
        q3n_model_close(m);
    }
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}
END_TEST

/* So few tokens that decoding's slots serve them, with less memory than their experts
 * take: what is read next may take the place of what was copied. */
START_TEST(memory_of_the_store_is_used_again)
{
    enum { FEW = 8, BATCHES = 2 };
    static float all[BATCHES * FEW * VOCAB], some[BATCHES * FEW * VOCAB];
    const struct q3n_model_options o = { .load_mode = Q3N_LOAD_DIRECT,
                                         .experts_cache_bytes = LEAST + RECORD,
                                         .threads = 1,
                                         MISSES(UPLOAD) };
    q3n_model *m;
    q3n_session *s;
    make(&(struct tiny){ 0 }, 0);
    for (int pooled = 0; pooled < 2; pooled++) {
        ok(open_with(&m, source, pooled ? ROOM : 0,
                     pooled ? o : (struct q3n_model_options){ 0 }));
        ok(q3n_session_new(&s, m, &settings, &err));
        for (int i = 0; i < BATCHES; i++)
            ok(eval_next(s, FEW, (pooled ? some : all) + i * FEW * VOCAB));
        q3n_session_free(s);
        q3n_model_close(m);
    }
    ck_assert_mem_eq(some, all, sizeof all);
}
END_TEST

/* ---- Memory that is pinned piece by piece ------------------------------------------ */

/* What lies in two pieces, to the device and back. */
static void copy_across(gpu *g, struct pinned *p, uint8_t *border)
{
    enum { HALF = 1000 };
    uint8_t *to = gpu_memory(g, NULL, 2 * HALF);
    gpu_pattern(border - HALF, 2 * HALF, 3);
    ck_assert(pinned_get(p, border - HALF, 2 * HALF));
    pinned_copy(p, to, border - HALF, 2 * HALF);
    gpu_after_copies(g);
    uint8_t *got = gpu_bytes(g, to, 2 * HALF);
    ck_assert_mem_eq(got, border - HALF, 2 * HALF);
    free(got);
    gpu_free(g, to);
}

START_TEST(pieces_are_pinned_when_they_are_used)
{
    enum { PIECE = PINNED_PIECE, BYTES = 2 * PIECE + 8192 };
    gpu *g = gpu_new();
    struct pinned *p;
    uint8_t *base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(base, MAP_FAILED);
    ok(pinned_new(&p, g, base, BYTES, &err));
    if (emulated()) {
        ck_assert_uint_eq(emulator_count().pinned, 0);
        ck_assert(pinned_get(p, base + 5, 10));
        ck_assert_uint_eq(emulator_count().pinned, 1);
        ck_assert(pinned_get(p, base + PIECE - 1, 1));
        ck_assert_uint_eq(emulator_count().pinned, 1);
        ck_assert(pinned_get(p, base + 2 * PIECE - 1, 2)); /* two more */
        ck_assert_uint_eq(emulator_count().pinned, 3);
        copy_across(g, p, base + PIECE);
        pinned_leave(p, base + PIECE + 4096, 4096);
        ck_assert_uint_eq(emulator_count().pinned, 2);
        emulator_fail_allocation(1);
        ck_assert(!pinned_get(p, base + PIECE - 1, 2));
        ck_assert(!pinned_get(p, base + PIECE, 1)); /* nobody asks again */
        ck_assert(pinned_get(p, base + PIECE - 1, 1));
        ck_assert(pinned_get(p, base + BYTES - 1, 1));
    } else if (pinned_get(p, base + PIECE - 1, 2)) { /* a system may refuse */
        copy_across(g, p, base + PIECE);
    }
    ck_assert(!pinned_get(p, base + BYTES - 1, 2));
    ck_assert(!pinned_get(p, base - 1, 2));
    ck_assert(!pinned_get(p, &err, 1));
    pinned_free(p);
    pinned_free(NULL);
    munmap(base, BYTES);
    gpu_done(g);
}
END_TEST

/* ---- Experts on their way ------------------------------------------------------------
 */

/* One after the other, more than there are pieces; from memory that may change once it
 * was flushed, and from memory that the device reads and that is given back. */
START_TEST(what_was_flushed_may_change)
{
    enum { BYTES = 3 * 4096, EACH = 1024, EXPERTS_PUT = 20 };
    gpu *g = gpu_new();
    struct staging *s;
    uint8_t *from =
        mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(from, MAP_FAILED);
    uint8_t *to = gpu_memory(g, NULL, EXPERTS_PUT * BYTES);
    ok(staging_new(&s, g, BYTES, 1 + _i % 3, &err));
    ck_assert_ptr_nonnull(s);
    emulator_seed((uint64_t)_i);
    if (_i > 2) ok(staging_reads(s, from, BYTES, &err));
    for (int i = 0; i < EXPERTS_PUT; i++) {
        struct staged what = { .all = 2 * EACH + 5 };
        for (int k = 0; k < 3; k++) {
            what.from[k] = from + k * 4096;
            what.bytes[k] = k < 2 ? EACH : 5;
            what.at[k] = (uint64_t)k * EACH;
            memset(from + k * 4096, 3 * i + k, EACH);
        }
        ok(staging_put(s, to + i * BYTES, &what, &err));
        if (_i > 2 && i == 7) staging_leaves(s, from, 4096);
        else staging_flush(s);
    }
    gpu_after_copies(g);
    uint8_t *got = gpu_bytes(g, to, EXPERTS_PUT * BYTES);
    for (int i = 0; i < EXPERTS_PUT; i++)
        for (int k = 0; k < 3; k++) {
            const uint8_t *at = got + i * BYTES + k * EACH;
            ck_assert_int_eq(at[0], 3 * i + k);
            ck_assert_int_eq(at[4], 3 * i + k);
        }
    free(got);
    staging_free(s);
    staging_free(NULL);
    gpu_free(g, to);
    munmap(from, BYTES);
    gpu_done(g);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("stream");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_same_bits);
    tcase_add_test(tc, each_is_copied_once);
    tcase_add_test(tc, copies_are_beside_kernels);
    tcase_add_test(tc, memory_of_the_store);
    tcase_add_test(tc, a_failed_prompt_leaves_nothing_wrong);
    tcase_add_test(tc, memory_of_the_store_is_used_again);
    tcase_add_test(tc, pieces_are_pinned_when_they_are_used);
    tcase_add_loop_test(tc, what_was_flushed_may_change, 0, 6);
    return GPU_SUITE_RUN("gpu_stream", tc);
}
