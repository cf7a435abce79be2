/* Norms on the device: against sums in double. */
#include "gpu_suite.h"

#include <math.h>

enum { MOST = 5120, TOKENS = 3 };

struct norm {
    gpu *g;
    uint32_t n;
    float x[TOKENS * MOST], more[TOKENS * MOST], weight[MOST];
    float *x_d, *more_d, *weight_d, *y_d;
    void *q_d;
};

static void norm_new(struct norm *m, uint32_t n, uint64_t seed)
{
    const size_t bytes = (size_t)TOKENS * n * sizeof(float);
    m->g = gpu_new();
    m->n = n;
    for (uint32_t i = 0; i < TOKENS * n; i++) {
        m->x[i] = (float)splitmix_uniform(&seed) * 6 - 3;
        if (i / n == 1) m->x[i] *= 0x1p-10f; /* so that eps counts */
        m->more[i] = (float)splitmix_uniform(&seed) - 0.5f;
    }
    for (uint32_t i = 0; i < n; i++) m->weight[i] = 1 + (float)splitmix_uniform(&seed);
    m->x_d = gpu_memory(m->g, m->x, bytes);
    m->more_d = gpu_memory(m->g, m->more, bytes);
    m->weight_d = gpu_memory(m->g, m->weight, n * sizeof(float));
    m->y_d = gpu_memory(m->g, NULL, bytes);
    m->q_d = gpu_memory(m->g, NULL, gpu_acts_bytes(n, TOKENS));
}

static void norm_free(struct norm *m)
{
    gpu_free(m->g, m->x_d);
    gpu_free(m->g, m->more_d);
    gpu_free(m->g, m->weight_d);
    gpu_free(m->g, m->y_d);
    gpu_free(m->g, m->q_d);
    gpu_done(m->g);
}

/* A sum of n positive terms, of which a thread adds up n / 1024 and then ten steps
 * follow, is off by that many roundings, its root by half as many; four more make y of
 * it. */
static void check_row(const float *y, const float *x, const float *weight, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    const double scale = 1 / sqrt(sum / n + (double)1e-6f);
    for (uint32_t i = 0; i < n; i++) {
        const double want = (double)x[i] * scale * (double)weight[i];
        near_to((double)y[i], want, (n / 2048.0 + 16) * 0x1p-24 * fabs(want));
    }
}

static const uint32_t sizes[] = { 8, 40, 128, 160, 2048, MOST };

START_TEST(by_definition)
{
    static struct norm m;
    const uint32_t n = sizes[_i];
    const size_t bytes = (size_t)TOKENS * n * sizeof(float);
    norm_new(&m, n, (uint64_t)_i);
    emulator_seed((uint64_t)_i);
    gpu_norm(m.g, m.x_d, NULL, n, TOKENS,
             &(struct gpu_norm_to){ m.weight_d, 1e-6f, m.y_d, NULL });
    float *y = gpu_bytes(m.g, m.y_d, bytes), *x = gpu_bytes(m.g, m.x_d, bytes);
    ck_assert_mem_eq(x, m.x, bytes);
    for (uint32_t t = 0; t < TOKENS; t++) check_row(y + t * n, m.x + t * n, m.weight, n);
    free(x);
    free(y);

    gpu_norm(m.g, m.x_d, m.more_d, n, TOKENS,
             &(struct gpu_norm_to){ m.weight_d, 1e-6f, m.y_d, NULL });
    y = gpu_bytes(m.g, m.y_d, bytes);
    x = gpu_bytes(m.g, m.x_d, bytes);
    for (uint32_t i = 0; i < TOKENS * n; i++)
        near_to((double)x[i], (double)(m.x[i] + m.more[i]), 0);
    for (uint32_t t = 0; t < TOKENS; t++) check_row(y + t * n, x + t * n, m.weight, n);

    /* A token alone: the same bits. */
    gpu_upload(m.g, m.x_d, m.x + 2 * n, n * sizeof(float));
    gpu_norm(m.g, m.x_d, m.more_d + 2 * n, n, 1,
             &(struct gpu_norm_to){ m.weight_d, 1e-6f, m.y_d, NULL });
    float *alone = gpu_bytes(m.g, m.y_d, n * sizeof(float));
    ck_assert_mem_eq(alone, y + 2 * n, n * sizeof(float));
    free(alone);
    free(x);
    free(y);
    norm_free(&m);
}
END_TEST

/* What gpu_norm() encodes is what gpu_encode() makes of what it writes. */
START_TEST(encoded)
{
    static struct norm m;
    const uint32_t n = (uint32_t[]){ 32, 96, 544, 2048, MOST }[_i];
    const uint64_t bytes = gpu_acts_bytes(n, TOKENS);
    norm_new(&m, n, (uint64_t)_i);
    void *want_d = gpu_memory(m.g, NULL, bytes);
    gpu_norm(m.g, m.x_d, m.more_d, n, TOKENS,
             &(struct gpu_norm_to){ m.weight_d, 1e-6f, m.y_d, m.q_d });
    gpu_encode(m.g, &(struct gpu_acts){ m.y_d, want_d, n, TOKENS });
    void *got = gpu_bytes(m.g, m.q_d, bytes), *want = gpu_bytes(m.g, want_d, bytes);
    ck_assert_mem_eq(got, want, bytes);
    free(got);
    free(want);
    gpu_free(m.g, want_d);
    norm_free(&m);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("norm");
    tcase_add_loop_test(tc, by_definition, 0, sizeof sizes / sizeof *sizes);
    tcase_add_loop_test(tc, encoded, 0, 5);
    return GPU_SUITE_RUN("gpu_norm", tc);
}
