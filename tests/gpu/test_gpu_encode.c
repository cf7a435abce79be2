/* Activations on the device: the bytes of the CPU's encoder, in both forms. */
#include "../../quant/act.h"
#include "gpu_suite.h"

#include <math.h>

enum { N_MAX = 1024 };

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

static uint32_t blocks_of(uint32_t n) { return (n + ACT_BLOCK - 1) / ACT_BLOCK; }

/* Blocks of one form; a NaN is as good as another. */
static void check_form(const struct act_block *got, const float *x, uint32_t n,
                       enum act_kind form)
{
    struct act_block want[N_MAX / ACT_BLOCK + 1];
    act_encode(form, x, n, want);
    for (uint32_t b = 0; b < blocks_of(n); b++) {
        for (int i = 0; i < ACT_BLOCK / 32; i++) {
            const float d = got[b].d[i];
            ck_assert(isnan(want[b].d[i]) ? isnan(d)
                                          : f32_bits(d) == f32_bits(want[b].d[i]));
        }
        ck_assert_mem_eq(got[b].q, want[b].q, sizeof want[b].q);
        ck_assert_mem_eq(got[b].sum, want[b].sum, sizeof want[b].sum);
    }
}

static void check_row(const struct act_block *got, const float *x, uint32_t n)
{
    check_form(got, x, n, ACT_Q8_0);
    if (n % ACT_BLOCK == 0) check_form(got + blocks_of(n), x, n, ACT_Q8_K);
}

START_TEST(codes_are_the_cpus)
{
    static const uint32_t sizes[] = { 32, 256, 96, 480, 512, 544, N_MAX };
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
    ck_assert_uint_eq(bytes, 2 * blocks_of(n) * sizeof(struct act_block) * tokens);
    void *q_d = gpu_memory(g, NULL, bytes);
    gpu_encode(g, &(struct gpu_acts){ x_d, q_d, n, tokens });
    struct act_block *q = gpu_bytes(g, q_d, bytes);
    for (uint32_t t = 0; t < tokens; t++)
        check_row(q + t * 2 * blocks_of(n), x + (size_t)t * n, n);
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
