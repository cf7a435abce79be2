/* act.c - encoding activations: the same bits as plain C, and close to what they encode.
 */
#include "check.h"

#include "../../quant/act.h"

#include <math.h>
#include <string.h>

enum { MAX_N = 1024, BENCH_N = 2048 };

/* Floats that are usual, large, tiny, on ties, zero or not numbers at all. */
static void fill(float *x, size_t n, int pattern)
{
    static const float odd[] = { 0,     -0.0f,    INFINITY, NAN,   0x1p-140f, -0x1p-101f,
                                 3e38f, -3.4e38f, 0x1p-99f, 63.5f, 127.0f,    -0.5f };
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = check_rnd();
        x[i] = pattern == 0   ? check_rnd_normal()
               : pattern == 1 ? (float)((int)(r % 509) - 254) / 2 /* ties at scale 1 */
               : pattern == 2 ? ldexpf(check_rnd_normal(), (int)(r % 260) - 140)
               : pattern == 3 ? odd[r % (sizeof odd / sizeof *odd)]
                              : 0;
    }
}

static void check_near(enum act_kind kind, const float *x, size_t n,
                       const struct act_block *b)
{
    const size_t group = kind == ACT_Q8_K ? 256 : 32;
    for (size_t i = 0; i < n; i++) {
        const float d = b[i / ACT_BLOCK].d[i % ACT_BLOCK / 32];
        const float error = fabsf((float)b[i / ACT_BLOCK].q[i % ACT_BLOCK] * d - x[i]);
        float max = 0;
        for (size_t j = i / group * group; j < i / group * group + group; j++)
            max = fmaxf(max, fabsf(x[j]));
        if (!(error <= max / 253.0f)) {
            check_fail("n=%zu: element %zu is off by %g of %g", n, i, (double)error,
                       (double)max);
            return;
        }
    }
}

static void check_sums(size_t n, const struct act_block *b)
{
    for (size_t i = 0; i < (n + ACT_BLOCK - 1) / ACT_BLOCK * 16; i++) {
        int sum = 0;
        for (int j = 0; j < 16; j++) sum += b[i / 16].q[i % 16 * 16 + j];
        if (sum != b[i / 16].sum[i % 16]) check_fail("n=%zu: sum %zu", n, i);
    }
}

static void check_kind(enum act_kind kind, const char *name)
{
    const size_t unit = kind == ACT_Q8_K ? 256 : 32;
    const act_fn fn = act_encoder();
    const act_fn ref = (act_fn)check_begin((check_fn)fn, "act_%s", name);
    if (!ref) return;
    struct area in = area_new(BENCH_N * sizeof(float));
    struct area out = area_new(act_bytes(kind, BENCH_N));
    struct act_block expected[MAX_N / ACT_BLOCK];
    for (int pattern = 0; pattern < 5; pattern++)
        for (size_t n = 0; n <= MAX_N && !check_failed(); n += unit)
            for (int high = 0; high < 2; high++) {
                const size_t bytes = act_bytes(kind, n);
                float *x = area_place(&in, n * sizeof *x, high);
                struct act_block *dst = area_place(&out, bytes, high);
                fill(x, n, pattern);
                ref(x, n, unit, expected);
                fn(x, n, unit, dst);
                if (memcmp(dst, expected, bytes))
                    check_fail("n=%zu pattern=%d: other bytes", n, pattern);
                if (!area_intact(&out, dst, bytes))
                    check_fail("n=%zu pattern=%d: wrote outside", n, pattern);
                check_sums(n, dst);
                if (pattern < 2) check_near(kind, x, n, dst);
            }
    float *x = area_place(&in, BENCH_N * sizeof *x, 0);
    struct act_block *dst = area_place(&out, act_bytes(kind, BENCH_N), 0);
    fill(x, BENCH_N, 0);
    for (bench_begin(BENCH_N * sizeof *x); bench_more();) fn(x, BENCH_N, unit, dst);
    check_end();
    area_free(&in);
    area_free(&out);
}

void check_act(void)
{
    check_kind(ACT_Q8_0, "q8_0");
    check_kind(ACT_Q8_K, "q8_K");
}
