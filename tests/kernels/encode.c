/* encode.c - the encoders: same bytes as plain C for any finite numbers. */
#include "check.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/encode.h"
#include "../../quant/fp.h"

#include <math.h>
#include <string.h>

enum { MAX_BLOCKS = 35, ROUNDS = 3, BENCH = 4096 };

enum numbers {
    NORMAL,
    LAPLACE,
    TIES,
    CONSTANT,
    ZEROS,
    SPARSE,
    TINY,
    HUGE_ONES,
    MIXED,
    POSITIVE,
    NEGATIVE,
    OUTLIERS,
    SUBNORMAL,
    N_NUMBERS
};
enum importances { NONE, RANDOM, ONES, NOTHING, SOME, N_IMPORTANCES };

/* Twice exponential: what trained weights look like. */
static float laplace(void)
{
    const float u = (float)(check_rnd() >> 8 | 1) * 0x1p-24f;
    return (check_rnd() & 1 ? -1.0f : 1.0f) * logf(u);
}

static float number(enum numbers kind, size_t i, float constant)
{
    const float v = check_rnd_normal();
    switch (kind) {
    case LAPLACE: return laplace() * 0.02f;
    case TIES: return roundf(v * 4) / 256; /* a few different values only */
    case CONSTANT: return constant;
    case ZEROS: return check_rnd() & 1 ? 0.0f : -0.0f;
    case SPARSE: return check_rnd() % 23 ? 0.0f : v;
    case TINY: return v * (i / 32 % 3 ? 1e-14f : 1e-20f);
    case SUBNORMAL: return v * 1e-38f;
    case HUGE_ONES: return v * 1e7f;
    case MIXED: /* each block its own size, some all zero */
        return i / 32 % 5 ? bf16_to_f32(f32_to_bf16(ldexpf(v, (int)(i / 16 % 29) - 20)))
                          : 0.0f;
    case POSITIVE: return fabsf(v) + (i / 32 % 2 ? 3.0f : 0.0f);
    case NEGATIVE: return -fabsf(v) - (i / 32 % 2 ? 3.0f : 0.0f);
    case OUTLIERS: return check_rnd() % 50 ? v * 0.01f : v * 10;
    default: return v;
    }
}

static float importance_of(enum importances kind)
{
    const float v = check_rnd_normal();
    switch (kind) {
    case ONES: return 1;
    case NOTHING: return 0;
    case SOME: return check_rnd() % 3 ? 0.0f : v * v;
    default: return v * v;
    }
}

static void fill(float *x, float *weights, size_t n, enum numbers kind,
                 enum importances important)
{
    const float constant = check_rnd_normal();
    for (size_t i = 0; i < n; i++) {
        x[i] = number(kind, i, constant);
        weights[i] = importance_of(important);
    }
}

/* One row; where the scales overflow, bytes may differ and are refused by all users. */
static void check_row(uint32_t type, encode_fn fn, encode_fn ref, size_t n,
                      enum numbers kind, enum importances important,
                      const struct area *out)
{
    static float x[MAX_BLOCKS * 256], weights[MAX_BLOCKS * 256];
    static uint8_t expected[MAX_BLOCKS * 256 * sizeof(float)];
    const size_t bytes = (size_t)ggf_row_bytes(type, n);
    const float *const w = important == NONE ? NULL : weights;
    if (!w && encode_needs_weights(type)) return;
    fill(x, weights, n, kind, important);
    uint8_t *dst = area_place(out, bytes, 1);
    ref(x, n, w, expected);
    fn(x, n, w, dst);
    if (memcmp(dst, expected, bytes) && row_bad_block(type, expected, n) == SIZE_MAX)
        check_fail("n=%zu numbers=%d importances=%d: other bytes", n, kind, important);
    if (!area_intact(out, dst, bytes))
        check_fail("n=%zu numbers=%d importances=%d: wrote outside", n, kind, important);
}

static void check_type(uint32_t type, encode_fn fn, const char *name, bool weighted)
{
    static float x[BENCH], weights[BENCH];
    static uint8_t out[BENCH * sizeof(float)];
    const encode_fn ref = (encode_fn)check_begin((check_fn)fn, "encode_%s%s", name,
                                                 weighted ? "_weighted" : "");
    if (!ref) return;
    struct area place = area_new((size_t)ggf_row_bytes(type, MAX_BLOCKS * 256));
    const size_t block = ggf_type_info(type)->block, most = block < 256 ? MAX_BLOCKS : 5;
    for (int round = 0; round < ROUNDS && fn != ref; round++)
        for (size_t blocks = 0; blocks <= most && !check_failed(); blocks++)
            for (int kind = 0; kind < N_NUMBERS; kind++)
                for (int w = weighted ? RANDOM : NONE;
                     w < (weighted ? N_IMPORTANCES : RANDOM); w++)
                    check_row(type, fn, ref, blocks * block, (enum numbers)kind,
                              (enum importances)w, &place);
    area_free(&place);
    fill(x, weights, BENCH, LAPLACE, RANDOM);
    bench_begin(sizeof x);
    bench_unit("w", BENCH);
    while (bench_more()) fn(x, BENCH, weighted ? weights : NULL, out);
    check_end();
}

void check_encode(void)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        const struct ggf_type_info *t = ggf_type_info(type);
        if (!t || !encode_for(type) || !t->quantized) continue;
        if (!encode_needs_weights(type))
            check_type(type, encode_for(type), t->name, false);
        check_type(type, encode_for(type), t->name, true);
    }
    check_type(GGF_IQ3_S, encode_for_compat(GGF_IQ3_S), "iq3_s_compat", true);
}
