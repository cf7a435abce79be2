/* Routing on the device: the experts and weights of moe_top(). */
#include "../../infer/ops/moe.h"
#include "gpu_suite.h"

#include <math.h>

enum { MOST = 1024, TOKENS = 9 };

/* Logits 1/64 apart in random order; of `pairs` experts another has the same. */
static void draw(uint64_t *state, float *logits, uint32_t n, uint32_t pairs)
{
    for (uint32_t i = 0; i < n; i++) logits[i] = (float)i / 64 - 2;
    for (uint32_t i = n; i-- > 1;) {
        const uint32_t j = splitmix_below(state, i + 1);
        const float kept = logits[i];
        logits[i] = logits[j];
        logits[j] = kept;
    }
    for (uint32_t i = 0; i < pairs; i++)
        logits[splitmix_below(state, n)] = logits[splitmix_below(state, n)];
}

/* Probabilities differ by what is rounded in the exponent, at most 18 here, in exp() and
 * in their sum; weights are quotients of two. */
static void check(const float *logits, uint32_t n, uint32_t n_used, const uint32_t *ids,
                  const float *weights)
{
    float p[MOST], want[MOST];
    uint32_t chosen[MOST];
    struct vec_ops ops;
    vec_ops_init(&ops);
    memcpy(p, logits, n * sizeof *p);
    softmax(&ops, p, n);
    moe_top(p, n, n_used, chosen, want);
    for (uint32_t k = 0; k < n_used; k++) {
        ck_assert_uint_eq(ids[k], chosen[k]);
        ck_assert_float_eq_tol(weights[k], want[k], 2 * (18 + 8) * 0x1p-24f * want[k]);
    }
}

START_TEST(experts_are_those_of_the_cpu)
{
    static const uint32_t shapes[][2] = { { 1, 1 },     { 4, 2 },    { 31, 31 },
                                          { 33, 5 },    { 128, 8 },  { 512, 10 },
                                          { 1000, 40 }, { 1024, 10 } };
    const uint32_t n = shapes[_i][0], n_used = shapes[_i][1];
    static float logits[TOKENS * MOST];
    uint64_t state = (uint64_t)_i;
    gpu *g = gpu_new();
    emulator_seed((uint64_t)_i);
    for (uint32_t t = 0; t < TOKENS; t++) draw(&state, logits + t * n, n, t);
    float *logits_d = gpu_memory(g, logits, TOKENS * n * sizeof *logits);
    const size_t numbers = (size_t)TOKENS * n_used * sizeof(float);
    uint32_t *ids_d = gpu_memory(g, NULL, numbers);
    float *weights_d = gpu_memory(g, NULL, numbers);
    gpu_route(g, logits_d, n, n_used, TOKENS, ids_d, weights_d);
    uint32_t *ids = gpu_bytes(g, ids_d, numbers);
    float *weights = gpu_bytes(g, weights_d, numbers);
    for (uint32_t t = 0; t < TOKENS; t++)
        check(logits + t * n, n, n_used, ids + t * n_used, weights + t * n_used);

    /* A token alone: the same bits. */
    gpu_route(g, logits_d + 5 * n, n, n_used, 1, ids_d, weights_d);
    float *alone = gpu_bytes(g, weights_d, n_used * sizeof *alone);
    ck_assert_mem_eq(alone, weights + 5 * n_used, n_used * sizeof *alone);
    free(ids);
    free(weights);
    free(alone);
    gpu_free(g, logits_d);
    gpu_free(g, ids_d);
    gpu_free(g, weights_d);
    gpu_done(g);
}
END_TEST

/* What is no number shows in the weights, and is no reason to read past the experts. */
START_TEST(no_numbers)
{
    enum { N = 20, USED = 4 };
    float logits[2][N] = { { 0 } };
    gpu *g = gpu_new();
    logits[0][7] = INFINITY;
    for (int i = 0; i < N; i++) logits[1][i] = NAN;
    float *logits_d = gpu_memory(g, logits, sizeof logits);
    uint32_t *ids_d = gpu_memory(g, NULL, 2 * USED * sizeof *ids_d);
    float *weights_d = gpu_memory(g, NULL, 2 * USED * sizeof *weights_d);
    gpu_route(g, logits_d, N, USED, 2, ids_d, weights_d);
    uint32_t *ids = gpu_bytes(g, ids_d, 2 * USED * sizeof *ids);
    float *weights = gpu_bytes(g, weights_d, 2 * USED * sizeof *weights);
    for (int i = 0; i < 2 * USED; i++) ck_assert_uint_lt(ids[i], N);
    ck_assert(isnan(weights[0]));
    for (int i = 0; i < USED; i++) ck_assert(isnan(weights[USED + i]));
    free(ids);
    free(weights);
    gpu_free(g, logits_d);
    gpu_free(g, ids_d);
    gpu_free(g, weights_d);
    gpu_done(g);
}
END_TEST

/* Pieces of different sizes. */
START_TEST(the_host_is_told)
{
    enum { MOST_WORDS = 700 };
    static const uint32_t sizes[] = { 20, MOST_WORDS, 3 };
    uint32_t words[MOST_WORDS], *host, *seen;
    struct gpu_words what[3];
    void *from_d[3], *memory, *memory_d;
    ggf_error err;
    gpu *g = gpu_new();
    ck_assert_int_eq(gpu_host_alloc(g, &memory, &memory_d, 3 * sizeof words, &err), 0);
    host = memory;
    seen = memory_d;
    memset(host, 0, 3 * sizeof words);
    for (uint32_t i = 0; i < MOST_WORDS; i++) words[i] = 7 * i + 1;
    for (int k = 0; k < 3; k++) {
        from_d[k] = gpu_memory(g, words, sizes[k] * sizeof *words);
        what[k] = (struct gpu_words){ seen + k * MOST_WORDS, from_d[k], sizes[k] };
    }
    gpu_tell(g, what, 3);
    gpu_wait(g);
    for (int k = 0; k < 3; k++) {
        ck_assert_mem_eq(host + k * MOST_WORDS, words, sizes[k] * sizeof *words);
        if (sizes[k] < MOST_WORDS) ck_assert_uint_eq(host[k * MOST_WORDS + sizes[k]], 0);
        gpu_free(g, from_d[k]);
    }
    gpu_host_free(g, memory);
    gpu_done(g);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("route");
    tcase_add_loop_test(tc, experts_are_those_of_the_cpu, 0, 8);
    tcase_add_test(tc, no_numbers);
    tcase_add_test(tc, the_host_is_told);
    return GPU_SUITE_RUN("gpu_route", tc);
}
