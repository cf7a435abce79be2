/* gpu_suite.h - what test programs of infer/gpu share: a device, memory of it that holds
 * given bytes, and how they end. */
#ifndef TESTS_GPU_GPU_SUITE_H
#define TESTS_GPU_GPU_SUITE_H

#include "../../infer/gpu/gpu.h"
#include "../../infer/splitmix.h"
#include "../unit/suite.h"
#include "emulator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The device of a test; gpu_done() checks that nothing of it is left. */
static inline gpu *gpu_new(void)
{
    gpu *g;
    ggf_error err;
    ck_assert_msg(gpu_open(&g, 0, &err) == 0, "%s", err.message);
    return g;
}
static inline void gpu_done(gpu *g)
{
    ggf_error err;
    ck_assert_msg(gpu_sync(g, &err) == 0, "%s", err.message);
    gpu_close(g);
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}
static inline void gpu_wait(gpu *g)
{
    ggf_error err;
    ck_assert_msg(gpu_sync(g, &err) == 0, "%s", err.message);
}

/* Memory of the device, with what is at `from` unless that is NULL. */
static inline void *gpu_memory(gpu *g, const void *from, uint64_t bytes)
{
    void *p;
    ggf_error err;
    ck_assert_msg(gpu_alloc(g, &p, bytes, &err) == 0, "%s", err.message);
    if (from) gpu_upload(g, p, from, bytes);
    return p;
}
/* What is there, once the device has come to it; to be freed. */
static inline void *gpu_bytes(gpu *g, const void *from_d, uint64_t bytes)
{
    void *p = malloc(bytes);
    ck_assert_ptr_nonnull(p);
    gpu_download(g, p, from_d, bytes);
    gpu_wait(g);
    return p;
}

/* Bytes that can be told apart, others for each k. */
static inline void gpu_pattern(uint8_t *p, size_t n, unsigned k)
{
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(i * 7 + k);
}

/* ck_assert() tells its parent of each time it is reached, which takes long in loops. */
static inline void near_to(double got, double want, double by)
{
    if (fabs(got - want) <= by) return;
    ck_abort_msg("%.9g where %.9g was expected, by %.3g", got, want, by);
}

static inline int gpu_suite_run(const char *name, TCase *const *list)
{
    ggf_error err;
    Suite *suite = suite_create(name);
    for (; *list; list++) {
        tcase_set_timeout(*list, 120); /* PTX, on a busy machine */
        suite_add_tcase(suite, *list);
    }
    SRunner *runner = srunner_create(suite);
    int failed = 0;
    if (emulated() || gpu_count(&err) > 0) {
        /* A process that was forked cannot use the device of its parent. */
        if (!emulated()) srunner_set_fork_status(runner, CK_NOFORK);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
    } else {
        printf("SKIP: %s\n0 passed, 0 failed\n", err.message);
    }
    srunner_free(runner);
    return failed != 0;
}
#define GPU_SUITE_RUN(name, ...) gpu_suite_run(name, (TCase *[]){ __VA_ARGS__, NULL })

#endif
