/* The device: memory, order, graphs, and what is left when something fails. */
#include "../../infer/engine.h"
#include "gpu_suite.h"

START_TEST(a_device_is_described)
{
    gpu *g = gpu_new();
    const struct gpu_info *i = gpu_describe(g);
    ck_assert_int_gt((int)strlen(i->name), 0);
    ck_assert_int_eq(i->index, 0);
    ck_assert_int_ge(10 * i->major + i->minor, 75);
    ck_assert_int_gt(i->n_sm, 0);
    ck_assert_uint_gt(i->bytes_free, 0);
    ck_assert_uint_ge(i->bytes_total, i->bytes_free);
    gpu_done(g);
}
END_TEST

START_TEST(a_device_that_is_not_there)
{
    gpu *g = (gpu *)&g;
    ggf_error err = { 0 };
    ck_assert_int_eq(gpu_open(&g, 99, &err), GGF_E_ARG);
    ck_assert_ptr_null(g);
    ck_assert_ptr_nonnull(strstr(err.message, "no device 99"));
    ck_assert_int_eq(gpu_open(&g, -1, &err), GGF_E_ARG);
    gpu_close(NULL);
    if (!emulated()) return;
    emulator_hide_device(true);
    ck_assert_int_eq(gpu_count(&err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "no CUDA device"));
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    emulator_hide_device(false);
    ck_assert_int_eq(gpu_count(&err), 1);
}
END_TEST

/* Why it cannot be used: so that others may do without. */
START_TEST(a_device_without_code)
{
    gpu *g;
    ggf_error err = { 0 };
    if (!emulated()) return;
    emulator_capability(61);
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    ck_assert_ptr_null(g);
    ck_assert_ptr_nonnull(strstr(err.message, "compute capability 6.1: no kernel image"));
    emulator_capability(103);
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    emulator_capability(75);
    gpu_done(gpu_new());
    emulator_versions(12040, 13000);
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.message, "driver is for CUDA 12.4"));
    /* which is found, but cannot launch as we do */
    emulator_versions(11040, 11080);
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    ck_assert_ptr_nonnull(
        strstr(err.message, "driver is for CUDA 11.4, this program for 11.8"));
    emulator_versions(12020, 11080);
    gpu_done(gpu_new());
    emulator_versions(0, 13000);
    ck_assert_int_eq(gpu_count(&err), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "there is no driver"));
    emulator_reset();
    gpu_done(gpu_new());
}
END_TEST

START_TEST(bytes_go_there_and_back)
{
    enum { N = 100003 };
    static uint8_t in[N], out[N];
    gpu *g = gpu_new();
    gpu_pattern(in, N, 1);
    uint8_t *p = gpu_memory(g, in, N);
    ck_assert_uint_eq((uintptr_t)p % 256, 0);
    memset(in, 0, N); /* the upload has taken them */
    gpu_download(g, out, p, N);
    gpu_wait(g);
    gpu_pattern(in, N, 1);
    ck_assert_mem_eq(in, out, N);
    gpu_zero(g, p + 10, 20);
    gpu_download(g, out, p, N);
    gpu_wait(g);
    memset(in + 10, 0, 20);
    ck_assert_mem_eq(in, out, N);
    gpu_free(g, p);
    gpu_free(g, NULL);
    gpu_done(g);
}
END_TEST

START_TEST(rows_keep_their_strides)
{
    uint8_t in[60], out[80], want[80];
    gpu *g = gpu_new();
    gpu_pattern(in, sizeof in, 3);
    memset(out, 9, sizeof out);
    memcpy(want, out, sizeof want);
    uint8_t *p = gpu_memory(g, NULL, 100);
    gpu_zero(g, p, 100);
    gpu_upload_rows(g, p, 25, in, 20, 11, 3);
    gpu_download_rows(g, out, 30, p + 1, 25, 10, 3);
    gpu_wait(g);
    for (int r = 0; r < 3; r++) memcpy(want + 30 * r, in + 20 * r + 1, 10);
    ck_assert_mem_eq(out, want, sizeof want - 1);
    uint8_t *all = gpu_bytes(g, p, 100);
    for (int r = 0; r < 3; r++) ck_assert_int_eq(all[25 * r + 11], 0);
    free(all);
    gpu_free(g, p);
    gpu_done(g);
}
END_TEST

START_TEST(memory_of_the_host)
{
    gpu *g = gpu_new();
    ggf_error err;
    void *p, *p_d;
    ck_assert_int_eq(gpu_host_alloc(g, &p, &p_d, 1000, &err), 0);
    ck_assert_ptr_nonnull(p_d);
    gpu_pattern(p, 1000, 5);
    uint8_t *to = gpu_memory(g, p, 1000);
    uint8_t *back = gpu_bytes(g, to, 1000);
    ck_assert_mem_eq(back, p, 1000);
    free(back);
    gpu_free(g, to);
    gpu_host_free(g, p);
    gpu_host_free(g, NULL);
    gpu_done(g);
}
END_TEST

/* ---- Graphs ------------------------------------------------------------------------ */

START_TEST(a_graph_does_it_again)
{
    enum { N = 256 };
    gpu *g = gpu_new();
    ggf_error err;
    gpu_graph *graph;
    void *x, *x_d;
    ck_assert_int_eq(gpu_host_alloc(g, &x, &x_d, N * sizeof(float), &err), 0);
    const uint64_t bytes = gpu_acts_bytes(N, 1);
    uint8_t *direct = gpu_memory(g, NULL, bytes), *replayed = gpu_memory(g, NULL, bytes);
    float *there = gpu_memory(g, NULL, N * sizeof(float));
    const struct gpu_acts into_direct = { there, direct, N, 1 },
                          into_replayed = { there, replayed, N, 1 };

    gpu_zero(g, replayed, bytes);
    gpu_wait(g);
    ck_assert_int_eq(gpu_graph_begin(g, &err), 0);
    gpu_upload(g, there, x, N * sizeof(float));
    gpu_encode(g, &into_replayed);
    ck_assert_int_eq(gpu_graph_end(g, &graph, &err), 0);
    uint8_t *bytes_now = gpu_bytes(g, replayed, bytes);
    for (uint64_t i = 0; i < bytes; i++) ck_assert_int_eq(bytes_now[i], 0); /* not done */
    free(bytes_now);

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            ((float *)x)[i] = (float)((i * 37 + round) % 101 - 50);
        gpu_graph_run(g, graph);
        gpu_wait(g);
        gpu_encode(g, &into_direct);
        uint8_t *a = gpu_bytes(g, direct, bytes), *b = gpu_bytes(g, replayed, bytes);
        ck_assert_mem_eq(a, b, bytes);
        free(a);
        free(b);
    }
    gpu_graph_free(graph);
    gpu_graph_free(NULL);
    gpu_free(g, direct);
    gpu_free(g, replayed);
    gpu_free(g, there);
    gpu_host_free(g, x);
    gpu_done(g);
}
END_TEST

/* ---- Failures ------------------------------------------------------------------------
 */

START_TEST(no_memory_does_not_stick)
{
    gpu *g = gpu_new();
    ggf_error err;
    void *p;
    ck_assert_int_eq(gpu_alloc(g, &p, 1ull << 50, &err), GGF_E_NOMEM);
    ck_assert_ptr_null(p);
    ck_assert_ptr_nonnull(strstr(err.message, "1125899906842624 bytes"));
    ck_assert_int_eq(gpu_alloc(g, &p, 100, &err), 0);
    gpu_free(g, p);
    if (emulated()) {
        const uint64_t before = gpu_bytes_free(g);
        p = gpu_memory(g, NULL, 1 << 20);
        ck_assert_uint_eq(gpu_bytes_free(g), before - (1 << 20));
        gpu_free(g, p);
    }
    gpu_done(g);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    if (!emulated()) return;
    for (uint64_t n = 1;; n++) {
        gpu *g;
        ggf_error err = { 0 };
        emulator_fail_allocation(n);
        const int e = gpu_open(&g, 0, &err);
        emulator_fail_allocation(0);
        if (!e) {
            ck_assert_uint_gt(n, 1);
            gpu_done(g);
            break;
        }
        ck_assert_int_eq(e, GGF_E_NOMEM);
        ck_assert_ptr_null(g);
        ck_assert_uint_eq(emulator_count().live, 0);
    }
    gpu *g = gpu_new();
    ggf_error err;
    void *p, *p_d;
    emulator_fail_allocation(1);
    ck_assert_int_eq(gpu_host_alloc(g, &p, &p_d, 10, &err), GGF_E_NOMEM);
    ck_assert_ptr_null(p);
    gpu_done(g);
}
END_TEST

/* A device that is lost: the first failure is kept, what comes after it does nothing, and
 * memory can still be given back. */
START_TEST(a_lost_device)
{
    enum { N = 64 };
    if (!emulated()) return;
    gpu *g = gpu_new();
    ggf_error err = { 0 };
    float x[N] = { 0 }, y[N];
    void *in = gpu_memory(g, x, sizeof x),
         *out = gpu_memory(g, NULL, gpu_acts_bytes(N, 1));
    gpu_wait(g);
    const uint64_t before = emulator_count().launches;
    memset(y, 1, sizeof y);
    emulator_lose_device(2);
    for (int i = 0; i < 4; i++) gpu_encode(g, &(struct gpu_acts){ in, out, N, 1 });
    gpu_download(g, y, in, sizeof y);
    ck_assert_int_eq(gpu_sync(g, &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "unspecified launch failure"));
    ck_assert_uint_eq(emulator_count().launches, before + 2);
    ck_assert_int_eq(((uint8_t *)y)[0], 1); /* nothing came */

    ggf_error again = { 0 };
    void *p;
    gpu_graph *graph;
    gpu_zero(g, out, 1);
    ck_assert_int_eq(gpu_alloc(g, &p, 1, &again), GGF_E_IO);
    ck_assert_int_eq(gpu_graph_begin(g, &again), GGF_E_IO);
    ck_assert_int_eq(gpu_graph_end(g, &graph, &again), GGF_E_IO);
    ck_assert_ptr_null(graph);
    ck_assert_int_eq(gpu_sync(g, &again), GGF_E_IO);
    ck_assert_str_eq(again.message, err.message);
    gpu_free(g, in);
    gpu_free(g, out);
    gpu_close(g);
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_int_eq(gpu_open(&g, 0, &err), GGF_E_NOT_FOUND);
    emulator_reset();
    gpu_done(gpu_new());
}
END_TEST

/* What cannot be recorded spoils the graph, and nothing else. */
START_TEST(a_spoiled_graph)
{
    enum { N = 64 };
    if (_i && !emulated()) return;
    gpu *g = gpu_new();
    ggf_error err = { 0 };
    gpu_graph *graph;
    float x[N];
    for (int i = 0; i < N; i++) x[i] = (float)i;
    const uint64_t bytes = gpu_acts_bytes(N, 1);
    const struct gpu_acts a = { gpu_memory(g, x, sizeof x), gpu_memory(g, NULL, bytes), N,
                                1 };
    gpu_wait(g);
    if (_i) emulator_refuse_graphs(true);
    ck_assert_int_eq(gpu_graph_begin(g, &err), 0);
    gpu_encode(g, &a);
    if (!_i) ck_assert_int_ne(gpu_sync(g, &err), 0);
    ck_assert_int_ne(gpu_graph_end(g, &graph, &err), 0);
    ck_assert_ptr_null(graph);
    ck_assert_int_ne(gpu_graph_begin(g, &err), 0); /* nor is another one tried */
    ck_assert_int_eq(gpu_sync(g, &err), 0);
    gpu_encode(g, &a);
    free(gpu_bytes(g, a.q_d, bytes));
    gpu_free(g, (void *)a.x_d);
    gpu_free(g, a.q_d);
    gpu_done(g);
    emulator_reset();
}
END_TEST

/* ---- What it can do ------------------------------------------------------------- */

START_TEST(speeds_are_measured)
{
    struct q3n_device_speeds s;
    ggf_error err = { 0 };
    ck_assert_msg(q3n_device_measure(&s, 0, &err) == 0, "%s", err.message);
    ck_assert(s.memory > 0 && s.upload > 0 && s.products16 > 0 && s.products8 > 0);
    ck_assert_int_eq(q3n_device_measure(&s, 99, &err), GGF_E_ARG);
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}
END_TEST

START_TEST(speeds_of_a_device_that_fails)
{
    struct q3n_device_speeds s;
    ggf_error err = { 0 };
    if (!emulated()) return;
    for (uint64_t n = 1; n <= 4; n++) {
        emulator_fail_allocation(n);
        ck_assert_int_eq(q3n_device_measure(&s, 0, &err), GGF_E_NOMEM);
        emulator_reset();
    }
    emulator_lose_device(3);
    ck_assert_int_eq(q3n_device_measure(&s, 0, &err), GGF_E_IO);
    emulator_reset();
    emulator_hide_device(true);
    ck_assert_int_eq(q3n_device_measure(&s, 0, &err), GGF_E_NOT_FOUND);
    emulator_reset();
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("memory");
    tcase_add_test(tc, a_device_is_described);
    tcase_add_test(tc, a_device_that_is_not_there);
    tcase_add_test(tc, a_device_without_code);
    tcase_add_test(tc, bytes_go_there_and_back);
    tcase_add_test(tc, rows_keep_their_strides);
    tcase_add_test(tc, memory_of_the_host);
    tcase_add_test(tc, a_graph_does_it_again);
    TCase *faults = tcase_create("failures");
    tcase_add_test(faults, no_memory_does_not_stick);
    tcase_add_test(faults, every_allocation_may_fail);
    tcase_add_test(faults, a_lost_device);
    tcase_add_loop_test(faults, a_spoiled_graph, 0, 2);
    TCase *speeds = tcase_create("speeds");
    tcase_add_test(speeds, speeds_are_measured);
    tcase_add_test(speeds, speeds_of_a_device_that_fails);
    return GPU_SUITE_RUN("gpu_device", tc, faults, speeds);
}
