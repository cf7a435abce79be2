/* test_refine.c - refined rows: closer, block by block, and still what decoders read. */
#include "../../quant/decode.h"
#include "../../quant/encode.h"
#include "../../quant/refine.h"

#include "../../libgguf/libgguf.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, BLOCKS = 5, N = BLOCK * BLOCKS, ROW_MAX = N };

static const uint32_t types[] = { GGF_Q2_K, GGF_Q3_K, GGF_Q4_K,
                                  GGF_Q5_K, GGF_Q6_K, GGF_IQ4_XS };
enum { N_TYPES = sizeof types / sizeof *types };

enum numbers { BELL, HEAVY, POSITIVE, SPARSE, TINY, LARGE, N_NUMBERS };
enum importances { ALIKE, SPREAD, MANY_ZERO, ALL_ZERO, N_IMPORTANCES };

static uint64_t state = 1;

static float uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

static float bell(void) { return uniform() + uniform() + uniform() + uniform(); }

static float number(enum numbers kind)
{
    const float v = bell();
    switch (kind) {
    case HEAVY: return v * v * v;
    case POSITIVE: return fabsf(v) + 0.5f;
    case SPARSE: return uniform() < 0.7f ? 0 : v;
    case TINY: return v * 1e-7f;
    case LARGE: return v * 1e4f;
    default: return v;
    }
}

static const float *fill(float *x, float *w, enum numbers kind,
                         enum importances important)
{
    for (int i = 0; i < N; i++) {
        const float v = bell();
        x[i] = number(kind);
        w[i] = important == ALL_ZERO                        ? 0
               : important == MANY_ZERO && uniform() < 0.5f ? 0
                                                            : expf(2 * v);
    }
    return important == ALIKE ? NULL : w;
}

static double error_of(uint32_t type, const uint8_t *row, const float *x, const float *w,
                       int block)
{
    float y[BLOCK], weights[BLOCK];
    double sum = 0;
    refine_weights(x + BLOCK * block, w ? w + BLOCK * block : NULL, weights);
    decode_for(type)(row + ggf_row_bytes(type, BLOCK) * (size_t)block, y, BLOCK);
    for (int i = 0; i < BLOCK; i++) {
        const double e = (double)x[BLOCK * block + i] - (double)y[i];
        sum += (double)weights[i] * e * e;
    }
    return sum;
}

START_TEST(what_errors_count)
{
    float x[BLOCK] = { [7] = 32 }, weights[BLOCK] = { [7] = 3, [8] = 5 }, w[BLOCK];
    refine_weights(x, weights, w); /* mean of x^2: 4 */
    ck_assert_float_eq_tol(w[7], 3 * sqrtf(8 + 1024), 1e-4f);
    ck_assert_float_eq_tol(w[8], 5 * sqrtf(8), 1e-5f);
    ck_assert_float_eq(w[9], 0);
    refine_weights(x, NULL, w);
    ck_assert_float_eq_tol(w[9], sqrtf(8), 1e-5f);
}
END_TEST

START_TEST(no_block_is_worse)
{
    const uint32_t type = types[_i];
    for (int kind = 0; kind < N_NUMBERS; kind++)
        for (int important = 0; important < N_IMPORTANCES; important++)
            for (int level = 1; level <= REFINE_MOST; level++) {
                float x[N], weights[N];
                uint8_t before[ROW_MAX], after[ROW_MAX];
                const float *w =
                    fill(x, weights, (enum numbers)kind, (enum importances)important);
                encode_for(type)(x, N, w, before);
                memcpy(after, before, ggf_row_bytes(type, N));
                refine_row(type, level, x, N, w, after);
                ck_assert_uint_eq(row_bad_block(type, after, N), SIZE_MAX);
                const size_t bytes = ggf_row_bytes(type, BLOCK);
                for (int b = 0; b < BLOCKS; b++) {
                    const double was = error_of(type, before, x, w, b),
                                 is = error_of(type, after, x, w, b);
                    const bool same = !memcmp(before + bytes * (size_t)b,
                                              after + bytes * (size_t)b, bytes);
                    ck_assert_msg(same || is < was, "%s, numbers %d, importances %d",
                                  ggf_type_name(type), kind, important);
                }
            }
}
END_TEST

/* By how much at least; measured on these numbers: see docs/gguf-quant.md for a model's.
 */
START_TEST(bell_shaped_rows_gain)
{
    static const double most[][N_TYPES] = { { 0.97, 0.995, 0.985, 0.96, 0.995, 0.995 },
                                            { 0.95, 0.99, 0.97, 0.93, 0.98, 0.985 } };
    double was = 0, is[REFINE_MOST] = { 0 };
    const uint32_t type = types[_i];
    for (int round = 0; round < 8; round++) {
        float x[N], weights[N];
        uint8_t row[ROW_MAX], refined[ROW_MAX];
        const float *w = fill(x, weights, BELL, SPREAD);
        encode_for(type)(x, N, w, row);
        for (int b = 0; b < BLOCKS; b++) was += error_of(type, row, x, w, b);
        for (int level = 1; level <= REFINE_MOST; level++) {
            memcpy(refined, row, sizeof row);
            refine_row(type, level, x, N, w, refined);
            for (int b = 0; b < BLOCKS; b++)
                is[level - 1] += error_of(type, refined, x, w, b);
        }
    }
    for (int level = 1; level <= REFINE_MOST; level++)
        ck_assert_msg(is[level - 1] < most[level - 1][_i] * was, "%s, level %d: %g",
                      ggf_type_name(type), level, is[level - 1] / was);
    ck_assert(is[1] < is[0]);
}
END_TEST

/* However many super-blocks are looked at together. */
START_TEST(super_blocks_are_on_their_own)
{
    const uint32_t type = types[_i];
    const size_t bytes = ggf_row_bytes(type, BLOCK);
    float x[N], weights[N];
    uint8_t row[ROW_MAX], alone[ROW_MAX];
    const float *w = fill(x, weights, HEAVY, SPREAD);
    encode_for(type)(x, N, w, row);
    memcpy(alone, row, sizeof row);
    refine_row(type, 2, x, N, w, row);
    for (size_t b = 0; b < BLOCKS; b++)
        refine_row(type, 2, x + BLOCK * b, BLOCK, w + BLOCK * b, alone + bytes * b);
    ck_assert_mem_eq(row, alone, bytes * BLOCKS);
}
END_TEST

START_TEST(what_stays_as_it_is)
{
    float x[N], weights[N];
    uint8_t row[ROW_MAX * sizeof(float)], before[sizeof row];
    const float *w = fill(x, weights, BELL, SPREAD);
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        const bool k = refine_takes(type);
        if (!encode_for(type)) continue;
        encode_for(type)(x, N, w, row);
        memcpy(before, row, sizeof row);
        refine_row(type, k ? 0 : 2, x, N, w, row);
        ck_assert_mem_eq(row, before, ggf_row_bytes(type, N));
        if (!k) continue;
        /* Numbers that the blocks hold exactly. */
        float exact[N];
        decode_for(type)(row, exact, N);
        refine_row(type, 2, exact, N, w, row);
        ck_assert_mem_eq(row, before, ggf_row_bytes(type, N));
    }
    ck_assert(!refine_takes(GGF_Q8_0) && !refine_takes(GGF_TYPE_COUNT));
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("refine");
    tcase_add_test(c, what_errors_count);
    tcase_add_loop_test(c, no_block_is_worse, 0, N_TYPES);
    tcase_add_loop_test(c, bell_shaped_rows_gain, 0, N_TYPES);
    tcase_add_loop_test(c, super_blocks_are_on_their_own, 0, N_TYPES);
    tcase_add_test(c, what_stays_as_it_is);
    return SUITE_RUN("refine", c);
}
