/* Copies that run beside all else, and what orders them: events, marks, pinned memory. */
#include "gpu_suite.h"

/* Two slots that copies fill in turn while a kernel reads the other one: what it has read
 * is right only if every copy comes after the reader before and before the reader after.
 */
START_TEST(copies_are_in_order_if_asked)
{
    enum { N = 64, ROUNDS = 12, BYTES = N * sizeof(float) };
    gpu *g = gpu_new();
    ggf_error err;
    void *from, *from_d;
    ck_assert_int_eq(gpu_host_alloc(g, &from, &from_d, ROUNDS * BYTES, &err), 0);
    const uint64_t each = gpu_acts_bytes(N, 1);
    float *slots[2] = { gpu_memory(g, NULL, BYTES), gpu_memory(g, NULL, BYTES) };
    uint8_t *got = gpu_memory(g, NULL, ROUNDS * each), *want = gpu_memory(g, NULL, each);
    emulator_seed((uint64_t)_i);
    for (int i = 0; i < ROUNDS * N; i++) ((float *)from)[i] = (float)(i * 37 % 101 - 50);
    gpu_copy(g, slots[0], from, BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        gpu_after_copies(g);
        gpu_copies_after(g);
        gpu_encode(g, &(struct gpu_acts){ slots[i % 2], got + i * each, N, 1 });
        if (i + 1 < ROUNDS)
            gpu_copy(g, slots[(i + 1) % 2], (float *)from + (i + 1) * N, BYTES);
    }
    uint8_t *all = gpu_bytes(g, got, ROUNDS * each);
    for (int i = 0; i < ROUNDS; i++) {
        gpu_upload(g, slots[0], (float *)from + i * N, BYTES);
        gpu_encode(g, &(struct gpu_acts){ slots[0], want, N, 1 });
        uint8_t *one = gpu_bytes(g, want, each);
        ck_assert_mem_eq(all + i * each, one, each);
        free(one);
    }
    free(all);
    gpu_free(g, slots[0]);
    gpu_free(g, slots[1]);
    gpu_free(g, got);
    gpu_free(g, want);
    gpu_host_free(g, from);
    gpu_done(g);
}
END_TEST

/* The same with marks, two copies ahead of the readers. */
START_TEST(marks_order_slots)
{
    enum { N = 64, ROUNDS = 9, BYTES = N * sizeof(float) };
    gpu *g = gpu_new();
    ggf_error err;
    void *from, *from_d;
    ck_assert_int_eq(gpu_host_alloc(g, &from, &from_d, ROUNDS * BYTES, &err), 0);
    const uint64_t each = gpu_acts_bytes(N, 1);
    uint8_t *got = gpu_memory(g, NULL, ROUNDS * each), *want = gpu_memory(g, NULL, each);
    struct {
        float *slot;
        gpu_mark *there, *unused;
    } half[2];
    for (int i = 0; i < 2; i++) {
        half[i].slot = gpu_memory(g, NULL, BYTES);
        ck_assert_int_eq(gpu_mark_new(g, &half[i].there, &err), 0);
        ck_assert_int_eq(gpu_mark_new(g, &half[i].unused, &err), 0);
    }
    emulator_seed((uint64_t)_i);
    for (int i = 0; i < ROUNDS * N; i++) ((float *)from)[i] = (float)(i * 37 % 101 - 50);
    for (int i = 0; i < ROUNDS + 2; i++) {
        const int h = i % 2;
        if (i >= 2) {
            gpu_after(half[h].there);
            gpu_encode(g, &(struct gpu_acts){ half[h].slot, got + (i - 2) * each, N, 1 });
            gpu_mark_else(half[h].unused);
        }
        if (i >= ROUNDS) continue;
        gpu_copies_after_mark(half[h].unused);
        gpu_copy(g, half[h].slot, (float *)from + i * N, BYTES);
        gpu_mark_copies(half[h].there);
        if (_i % 2) gpu_wait(g);
    }
    uint8_t *all = gpu_bytes(g, got, ROUNDS * each);
    for (int i = 0; i < ROUNDS; i++) {
        gpu_upload(g, half[0].slot, (float *)from + i * N, BYTES);
        gpu_encode(g, &(struct gpu_acts){ half[0].slot, want, N, 1 });
        uint8_t *one = gpu_bytes(g, want, each);
        ck_assert_mem_eq(all + i * each, one, each);
        free(one);
    }
    free(all);
    for (int i = 0; i < 2; i++) {
        gpu_free(g, half[i].slot);
        gpu_mark_free(half[i].there);
        gpu_mark_free(half[i].unused);
    }
    gpu_free(g, got);
    gpu_free(g, want);
    gpu_host_free(g, from);
    gpu_done(g);
}
END_TEST

/* Does a kernel read what it would with the copies in another order, under some seed? */
static bool overtaken(bool after_copies, bool copies_after)
{
    enum { N = 32, BYTES = N * sizeof(float) };
    bool any = false;
    for (uint64_t seed = 1; seed < 30; seed++) {
        gpu *g = gpu_new();
        ggf_error err;
        void *from, *from_d;
        ck_assert_int_eq(gpu_host_alloc(g, &from, &from_d, 2 * BYTES, &err), 0);
        const uint64_t bytes = gpu_acts_bytes(N, 1);
        for (int i = 0; i < 2 * N; i++) ((float *)from)[i] = (float)(i + i / N);
        void *slot = gpu_memory(g, NULL, BYTES), *q = gpu_memory(g, NULL, 2 * bytes);
        gpu_zero(g, slot, BYTES);
        gpu_wait(g);
        emulator_seed(seed);
        gpu_copy(g, slot, from, BYTES);
        if (after_copies) gpu_after_copies(g);
        gpu_encode(g, &(struct gpu_acts){ slot, q, N, 1 });
        if (copies_after) gpu_copies_after(g);
        gpu_copy(g, slot, (float *)from + N, BYTES);
        uint8_t *got = gpu_bytes(g, q, bytes);
        gpu_after_copies(g);
        gpu_upload(g, slot, from, BYTES);
        gpu_encode(g, &(struct gpu_acts){ slot, q, N, 1 });
        uint8_t *want = gpu_bytes(g, q, bytes);
        any |= memcmp(got, want, bytes) != 0;
        free(got);
        free(want);
        gpu_free(g, slot);
        gpu_free(g, q);
        gpu_host_free(g, from);
        gpu_done(g);
    }
    return any;
}

START_TEST(the_emulator_shows_what_is_not_ordered)
{
    ck_assert(!overtaken(true, true));
    if (!emulated()) return;
    ck_assert(overtaken(false, true));
    ck_assert(overtaken(true, false));
}
END_TEST

START_TEST(a_mark_says_when_memory_is_free)
{
    enum { N = 1000, ROUNDS = 5 };
    gpu *g = gpu_new();
    ggf_error err;
    gpu_mark *mark;
    void *piece, *piece_d;
    uint8_t want[N];
    ck_assert_int_eq(gpu_host_alloc(g, &piece, &piece_d, N, &err), 0);
    ck_assert_int_eq(gpu_mark_new(g, &mark, &err), 0);
    ck_assert_int_eq(gpu_mark_wait(mark, &err), 0); /* of nothing */
    uint8_t *to = gpu_memory(g, NULL, ROUNDS * N);
    for (int i = 0; i < ROUNDS; i++) {
        ck_assert_int_eq(gpu_mark_wait(mark, &err), 0);
        gpu_pattern(piece, N, (unsigned)i);
        gpu_copy(g, to + i * N, piece, N);
        gpu_mark_copies(mark);
    }
    memset(want, 0, N); /* other memory is taken at once */
    gpu_copy(g, to, want, N);
    memset(want, 1, N);
    gpu_after_copies(g);
    uint8_t *all = gpu_bytes(g, to, ROUNDS * N);
    for (int i = 0; i < N; i++) ck_assert_int_eq(all[i], 0);
    for (int i = 1; i < ROUNDS; i++) {
        gpu_pattern(want, N, (unsigned)i);
        ck_assert_mem_eq(all + i * N, want, N);
    }
    free(all);
    gpu_mark_free(mark);
    gpu_mark_free(NULL);
    gpu_free(g, to);
    gpu_host_free(g, piece);
    gpu_done(g);
}
END_TEST

/* What is asked for behind a mark need not be done. */
START_TEST(a_mark_in_all_else)
{
    enum { N = 64 };
    gpu *g = gpu_new();
    ggf_error err;
    gpu_mark *mark[2];
    void *there, *there_d;
    ck_assert_int_eq(gpu_host_alloc(g, &there, &there_d, N, &err), 0);
    uint8_t *d = gpu_memory(g, NULL, N);
    for (int i = 0; i < 2; i++) ck_assert_int_eq(gpu_mark_new(g, &mark[i], &err), 0);
    ck_assert_double_eq(gpu_mark_seconds(mark[0], mark[1]), 0); /* of nothing */
    gpu_mark_else(mark[0]);
    gpu_pattern(there, N, 7);
    gpu_upload(g, d, there, N);
    gpu_download(g, there, d, N);
    gpu_mark_else(mark[1]);
    gpu_zero(g, d, N);
    ck_assert_int_eq(gpu_mark_wait(mark[1], &err), 0);
    ck_assert(gpu_mark_done(mark[0]) && gpu_mark_done(mark[1]));
    ck_assert_double_gt(gpu_mark_seconds(mark[0], mark[1]), 0);
    uint8_t want[N];
    gpu_pattern(want, N, 7);
    ck_assert_mem_eq(there, want, N);
    gpu_mark_else(mark[1]);
    while (!gpu_mark_done(mark[1])) continue;
    for (int i = 0; i < 2; i++) gpu_mark_free(mark[i]);
    gpu_free(g, d);
    gpu_host_free(g, there);
    gpu_done(g);
}
END_TEST

START_TEST(memory_is_pinned)
{
    enum { N = 4 << 12 };
    gpu *g = gpu_new();
    ggf_error err = { 0 };
    uint8_t *p = aligned_alloc(4096, N), *to = gpu_memory(g, NULL, N);
    gpu_pattern(p, N, 7);
    ck_assert_int_eq(gpu_host_pin(g, p, N, &err), 0);
    ck_assert_int_ne(gpu_host_pin(g, p, N, &err), 0); /* it is */
    ck_assert_ptr_nonnull(strstr(err.message, "cudaHostRegister"));
    gpu_copy(g, to, p, N);
    gpu_after_copies(g);
    uint8_t *back = gpu_bytes(g, to, N);
    ck_assert_mem_eq(back, p, N);
    free(back);
    gpu_host_unpin(g, p);
    emulator_fail_allocation(1);
    if (emulated()) ck_assert_int_eq(gpu_host_pin(g, p, N, &err), GGF_E_NOMEM);
    gpu_free(g, to);
    gpu_done(g); /* none of this has stuck */
    free(p);
}
END_TEST

START_TEST(copies_are_counted)
{
    enum { N = 32, BYTES = N * sizeof(float) };
    if (!emulated()) return;
    gpu *g = gpu_new();
    const float x[N] = { 0 };
    float *slot = gpu_memory(g, x, BYTES), *other = gpu_memory(g, x, BYTES);
    void *q = gpu_memory(g, NULL, gpu_acts_bytes(N, 1));
    gpu_wait(g);
    const struct emulator_counts before = emulator_count();
    gpu_encode(g, &(struct gpu_acts){ slot, q, N, 1 });
    gpu_copy(g, other, x, BYTES); /* beside it */
    gpu_copies_after(g);
    gpu_copy(g, slot, x, BYTES); /* not */
    gpu_after_copies(g);
    gpu_wait(g);
    const struct emulator_counts now = emulator_count();
    ck_assert_uint_eq(now.up - before.up, 2 * BYTES);
    ck_assert_uint_eq(now.beside - before.beside, BYTES);
    ck_assert_uint_eq(now.waits - before.waits, 1);
    gpu_free(g, slot);
    gpu_free(g, other);
    gpu_free(g, q);
    gpu_done(g);
}
END_TEST

/* In a copy that nobody waits for before its mark does. */
START_TEST(a_device_that_is_lost_while_it_copies)
{
    enum { N = 64 };
    if (!emulated()) return;
    gpu *g = gpu_new();
    ggf_error err = { 0 };
    gpu_mark *mark;
    const uint8_t x[N] = { 0 };
    void *to = gpu_memory(g, x, N);
    gpu_wait(g);
    ck_assert_int_eq(gpu_mark_new(g, &mark, &err), 0);
    emulator_lose_in_copy(2);
    for (int i = 0; i < 4; i++) gpu_copy(g, to, x, N);
    gpu_mark_copies(mark);
    ck_assert_int_eq(gpu_mark_wait(mark, &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "unspecified launch failure"));
    gpu_copy(g, to, x, N);
    gpu_after_copies(g);
    gpu_copies_after(g);
    gpu_mark_copies(mark);
    gpu_mark_else(mark);
    gpu_after(mark);
    gpu_copies_after_mark(mark);
    gpu_mark *none;
    ck_assert_int_eq(gpu_mark_new(g, &none, &err), GGF_E_IO);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(gpu_host_pin(g, &err, 1, &err), GGF_E_IO);
    ck_assert_int_eq(gpu_sync(g, &err), GGF_E_IO);
    gpu_mark_free(mark);
    gpu_free(g, to);
    gpu_close(g);
    ck_assert_uint_eq(emulator_count().live, 0);
    emulator_reset();
    gpu_done(gpu_new());
}
END_TEST

int main(void)
{
    TCase *copies = tcase_create("copies");
    tcase_add_loop_test(copies, copies_are_in_order_if_asked, 1, 9);
    tcase_add_loop_test(copies, marks_order_slots, 1, 9);
    tcase_add_test(copies, the_emulator_shows_what_is_not_ordered);
    tcase_add_test(copies, a_mark_says_when_memory_is_free);
    tcase_add_test(copies, a_mark_in_all_else);
    tcase_add_test(copies, memory_is_pinned);
    tcase_add_test(copies, copies_are_counted);
    tcase_add_test(copies, a_device_that_is_lost_while_it_copies);
    return GPU_SUITE_RUN("gpu_copies", copies);
}
