/* Activations on the device: the codes and scales of the CPU's encoder, and their sums.
 */
#include "../../quant/act.h"
#include "gpu_suite.h"

#include <math.h>

enum { CHUNK = 64, N_MAX = 1024 };

/* As infer/gpu/acts.cuh has it. */
struct chunk {
    int8_t q[CHUNK];
    float d[2], sum32[2], sum16[4];
};

static float number(uint64_t *state)
{
    return (float)(splitmix_uniform(state) * 2 - 1) *
           exp2f((float)splitmix_below(state, 8));
}

/* One block of each kind that needs care among ordinary ones. */
static void unusual(float *x, uint32_t n, uint32_t block)
{
    if (32 * block >= n) return;
    x += 32 * block;
    switch (block % 8) {
    case 1: x[5] = INFINITY; break;
    case 2: x[31] = NAN; break;
    case 3: memset(x, 0, 32 * sizeof *x); break;
    case 4:
        for (int i = 0; i < 32; i++) x[i] *= 1e-38f;
        break;
    case 5:
        for (int i = 0; i < 32; i++) x[i] = (float)i - 15.5f; /* ties */
        x[0] = 127;
        break;
    case 6:
        for (int i = 0; i < 32; i++) x[i] = 3e38f;
        break;
    default: break;
    }
}

static void check_row(const struct chunk *got, const float *x, uint32_t n)
{
    struct act_block want[N_MAX / ACT_BLOCK + 1];
    act_encode(ACT_Q8_0, x, n, want);
    for (uint32_t i = 0; i < n; i++)
        ck_assert_int_eq(got[i / CHUNK].q[i % CHUNK],
                         want[i / ACT_BLOCK].q[i % ACT_BLOCK]);
    for (uint32_t i = 0; i < n; i += 32) {
        const float d = got[i / CHUNK].d[i % CHUNK / 32],
                    w = want[i / ACT_BLOCK].d[i % ACT_BLOCK / 32];
        if (isnan(w)) ck_assert(isnan(d));
        else ck_assert_mem_eq(&d, &w, sizeof d);
    }
    for (uint32_t i = n; i < (n + CHUNK - 1) / CHUNK * CHUNK; i++) {
        ck_assert_int_eq(got[i / CHUNK].q[i % CHUNK], 0);
        ck_assert_float_eq(got[i / CHUNK].d[i % CHUNK / 32], 0);
    }
    for (uint32_t c = 0; c < (n + CHUNK - 1) / CHUNK; c++) {
        int sum[4] = { 0 };
        for (int i = 0; i < CHUNK; i++) sum[i / 16] += got[c].q[i];
        for (int i = 0; i < 4; i++) ck_assert_float_eq(got[c].sum16[i], (float)sum[i]);
        for (int i = 0; i < 2; i++)
            ck_assert_float_eq(got[c].sum32[i], (float)(sum[2 * i] + sum[2 * i + 1]));
    }
}

START_TEST(codes_are_the_cpus)
{
    static const uint32_t sizes[] = { 32, 64, 96, 480, 512, 544, N_MAX };
    const uint32_t n = sizes[_i / 3], tokens = (uint32_t[]){ 1, 2, 7 }[_i % 3];
    uint64_t state = (uint64_t)_i;
    gpu *g = gpu_new();
    emulator_seed((uint64_t)_i);
    float *x = malloc((size_t)n * tokens * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (uint32_t i = 0; i < n * tokens; i++) x[i] = number(&state);
    for (uint32_t b = 0; b < n * tokens / 32; b++) unusual(x, n * tokens, b);
    float *x_d = gpu_memory(g, x, (uint64_t)n * tokens * sizeof *x);
    const uint64_t bytes = gpu_acts_bytes(n, tokens);
    ck_assert_uint_eq(bytes, (n + 63) / 64 * sizeof(struct chunk) * tokens);
    void *q_d = gpu_memory(g, NULL, bytes);
    gpu_encode(g, &(struct gpu_acts){ x_d, q_d, n, tokens });
    struct chunk *q = gpu_bytes(g, q_d, bytes);
    for (uint32_t t = 0; t < tokens; t++)
        check_row(q + t * ((n + 63) / 64), x + (size_t)t * n, n);
    free(q);
    free(x);
    gpu_free(g, x_d);
    gpu_free(g, q_d);
    gpu_done(g);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("codes");
    tcase_add_loop_test(tc, codes_are_the_cpus, 0, 7 * 3);
    return GPU_SUITE_RUN("gpu_encode", tc);
}
