/* test_encode.c - the encoders against the reference engine's bytes, and their errors. */
#include "suite.h"
#include "vectors.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/blocks.h"
#include "../../quant/decode.h"
#include "../../quant/encode.h"
#include "../../quant/fp.h"

#include <math.h>

enum { ROWS = 8, COLUMNS = 1024 };

/* `error`: root mean square of the error of Gaussian values, relative to theirs. */
static const struct {
    uint32_t type;
    bool weighted; /* importances make a difference */
    double error;
} types[] = {
    { GGF_IQ2_XXS, true, 0.5 }, { GGF_IQ2_XS, true, 0.45 }, { GGF_IQ2_S, true, 0.4 },
    { GGF_IQ3_XXS, true, 0.3 }, { GGF_IQ3_S, true, 0.25 },  { GGF_IQ1_S, true, 0.7 },
    { GGF_IQ1_M, true, 0.7 },   { GGF_TQ1_0, false, 1 },    { GGF_TQ2_0, false, 1 },
    { GGF_Q1_0, false, 0.8 },   { GGF_Q2_0, false, 0.9 },   { GGF_NVFP4, false, 0.15 },
    { GGF_F16, false, 0.0003 }, { GGF_BF16, false, 0.003 }, { GGF_Q8_0, false, 0.008 },
    { GGF_Q4_0, true, 0.11 },   { GGF_Q4_1, true, 0.1 },    { GGF_Q5_0, true, 0.06 },
    { GGF_Q5_1, true, 0.05 },   { GGF_Q2_K, true, 0.33 },   { GGF_Q3_K, true, 0.18 },
    { GGF_Q4_K, true, 0.09 },   { GGF_Q5_K, true, 0.045 },  { GGF_Q6_K, true, 0.025 },
    { GGF_IQ4_NL, true, 0.09 }, { GGF_IQ4_XS, true, 0.09 }, { GGF_MXFP4, false, 0.15 },
};
enum { N_TYPES = sizeof types / sizeof *types, N_TAGS = 3 };
static const char *const tags[N_TAGS] = { "none", "a", "b" };

/* All rows with one set of importances (or none). */
static void check_vector(uint32_t type, const float *weights, const char *tag)
{
    char lower[16], name[64];
    size_t bytes, expected_bytes;
    vector_type_name(lower, ggf_type_name(type));
    snprintf(name, sizeof name, "q_%s.%s.bin", lower, tag);
    float *input = vector_load("input.f32", &bytes);
    ck_assert_uint_eq(bytes, ROWS * COLUMNS * sizeof *input);
    uint8_t *expected = vector_load(name, &expected_bytes);
    const size_t row = (size_t)ggf_row_bytes(type, COLUMNS);
    ck_assert_uint_eq(expected_bytes, ROWS * row);

    uint8_t got[COLUMNS * 4];
    for (size_t r = 0; r < ROWS; r++) {
        memset(got, 0x5a, sizeof got);
        encode_for_compat(type)(input + r * COLUMNS, COLUMNS, weights, got);
        for (size_t i = 0; i < row; i++)
            ck_assert_msg(got[i] == expected[r * row + i],
                          "%s %s: row %zu, byte %zu is %02x, not %02x", lower, tag, r, i,
                          got[i], expected[r * row + i]);
        ck_assert_uint_eq(got[row], 0x5a);
        ck_assert_uint_eq(row_bad_block(type, got, COLUMNS), SIZE_MAX);
    }
    free(input);
    free(expected);
}

START_TEST(vectors)
{
    const uint32_t type = types[_i / N_TAGS].type;
    const int tag = _i % N_TAGS;
    const bool weighted = types[_i / N_TAGS].weighted;
    float *weights = NULL;
    size_t bytes;
    if (!tag && encode_needs_weights(type)) return;
    if (tag) weights = vector_load(tag == 1 ? "imatrix_a.f32" : "imatrix_b.f32", &bytes);
    check_vector(type, weights, weighted ? tags[tag] : "none");
    free(weights);
}
END_TEST

/* Near normal values: four uniforms. */
static float gauss(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 1664525 + 1013904223;
        sum += (float)(int32_t)*state * 0x1p-31f;
    }
    return sum;
}

static double relative_error(const float *x, const float *y, int n)
{
    double error = 0, power = 0;
    for (int i = 0; i < n; i++) {
        error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        power += (double)x[i] * x[i];
    }
    return sqrt(error / power);
}

/* Decoding what was encoded gives nearly what went in. */
START_TEST(round_trip)
{
    const uint32_t type = types[_i].type;
    float x[COLUMNS], weights[COLUMNS], y[COLUMNS];
    uint8_t row[COLUMNS * 4];
    uint32_t state = 7;
    for (int i = 0; i < COLUMNS; i++) {
        x[i] = gauss(&state);
        weights[i] = 1;
    }
    for (int weighted = encode_needs_weights(type); weighted < 2; weighted++) {
        encode_for(type)(x, COLUMNS, weighted ? weights : NULL, row);
        decode_for(type)(row, y, COLUMNS);
        const double relative = relative_error(x, y, COLUMNS);
        ck_assert_msg(relative < types[_i].error, "%s: relative error %g",
                      ggf_type_name(type), relative);
        /* and it is not better than the bits allow */
        ck_assert_msg(relative > types[_i].error / 4, "%s: relative error %g",
                      ggf_type_name(type), relative);
    }
}
END_TEST

/* Zeros decode to zeros, with importances and without, also if these are zero. */
START_TEST(zeros)
{
    const uint32_t type = types[_i].type;
    const float zero[512] = { 0 };
    float ones[512], y[512];
    uint8_t row[512 * 2];
    for (int i = 0; i < 512; i++) ones[i] = 1;
    const float *const weights[3] = { NULL, ones, zero };
    for (int w = encode_needs_weights(type); w < 3; w++) {
        memset(row, 0xff, sizeof row);
        encode_for(type)(zero, 512, weights[w], row);
        ck_assert_uint_eq(row_bad_block(type, row, 512), SIZE_MAX);
        decode_for(type)(row, y, 512);
        for (int i = 0; i < 512; i++) ck_assert_msg(y[i] == 0, "%s", ggf_type_name(type));
    }
}
END_TEST

/* What the reference engine writes for a block of zeros is not always zero bytes. */
START_TEST(zero_bytes)
{
    const float zero[256] = { 0 };
    struct block_q4_0 q4;
    struct block_q5_0 q5;
    struct block_iq4_nl nl;
    struct block_iq4_xs xs;
    encode_for(GGF_Q4_0)(zero, 32, NULL, &q4);
    ck_assert(q4.d == 0x8000 && q4.qs[0] == 0x88 && q4.qs[15] == 0x88);
    encode_for(GGF_Q5_0)(zero, 32, NULL, &q5);
    ck_assert(q5.d == 0x8000 && q5.qh == 0xffffffff && q5.qs[3] == 0);
    encode_for(GGF_IQ4_NL)(zero, 32, NULL, &nl);
    ck_assert(nl.d == 0 && nl.qs[7] == 0x88);
    encode_for(GGF_IQ4_XS)(zero, 256, NULL, &xs);
    ck_assert(xs.d == 0x8000 && xs.scales_h == 0xaaaa && xs.scales_l[0] == 0 &&
              xs.qs[99] == 0x88);
}
END_TEST

/* The reference engine's IQ3_S loses what comes after a sub-block of zeros; ours does
 * not, and without such a sub-block both are the same. */
START_TEST(iq3_s_zeros)
{
    float x[256], y[256];
    struct block_iq3_s ours, theirs;
    uint32_t state = 11;
    for (int i = 0; i < 256; i++) x[i] = gauss(&state);
    encode_for(GGF_IQ3_S)(x, 256, NULL, &ours);
    encode_for_compat(GGF_IQ3_S)(x, 256, NULL, &theirs);
    ck_assert_mem_eq(&ours, &theirs, sizeof ours);
    memset(x + 64, 0, 32 * sizeof *x);
    encode_for(GGF_IQ3_S)(x, 256, NULL, &ours);
    encode_for_compat(GGF_IQ3_S)(x, 256, NULL, &theirs);
    decode_for(GGF_IQ3_S)(&ours, y, 256);
    ck_assert(relative_error(x, y, 256) < 0.2);
    decode_for(GGF_IQ3_S)(&theirs, y, 256);
    ck_assert(relative_error(x, y, 64) < 0.2);
    ck_assert(relative_error(x + 96, y + 96, 160) > 1);
    ck_assert(encode_for(GGF_Q4_K) == encode_for_compat(GGF_Q4_K));
}
END_TEST

/* Infinite and NaN inputs crash nothing, and rows that became bad are told. */
START_TEST(not_finite)
{
    const uint32_t type = types[_i].type;
    static const float odd[] = {
        INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f, -1e-40f
    };
    float x[512], weights[512];
    uint8_t row[512 * 2];
    uint32_t state = 9;
    for (int i = 0; i < 512; i++) weights[i] = (float)(i % 7);
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
        for (int w = encode_needs_weights(type); w < 2; w++) {
            for (int i = 0; i < 512; i++) x[i] = gauss(&state);
            x[300] = odd[k];
            encode_for(type)(x, 512, w ? weights : NULL, row);
            const size_t bad = row_bad_block(type, row, 512);
            const uint32_t block = ggf_type_info(type)->block;
            /* (With importances Q4 and Q5 look at the whole row.) */
            ck_assert_msg(bad == SIZE_MAX || bad == 300 / block ||
                              (w && bad < 300 / block),
                          "%s: block %zu", ggf_type_name(type), bad);
            for (int i = 0; i < 512; i++) x[i] = odd[k];
            encode_for(type)(x, 512, w ? weights : NULL, row);
            (void)row_bad_block(type, row, 512);
        }
}
END_TEST

START_TEST(infinity_is_told)
{
    static const uint32_t told[] = { GGF_F32,  GGF_F16,  GGF_BF16, GGF_Q8_0,
                                     GGF_Q4_0, GGF_Q4_1, GGF_Q5_0, GGF_Q5_1 };
    for (size_t t = 0; t < sizeof told / sizeof *told; t++) {
        float x[512];
        uint8_t row[512 * 4];
        for (int i = 0; i < 512; i++) x[i] = (float)i / 512;
        x[300] = INFINITY;
        encode_for(told[t])(x, 512, NULL, row);
        ck_assert_msg(row_bad_block(told[t], row, 512) ==
                          300 / ggf_type_info(told[t])->block,
                      "%s", ggf_type_name(told[t]));
    }
}
END_TEST

/* One bad field in the second block of a row of zeros. */
static size_t bad_with(uint32_t type, size_t offset, uint16_t value)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    uint8_t row[3 * 292] = { 0 };
    memcpy(row + t->block_bytes + offset, &value, sizeof value);
    return row_bad_block(type, row, 3 * t->block);
}

START_TEST(bad_blocks)
{
    static const struct {
        uint32_t type;
        size_t offset;
        uint16_t bad, good;
    } cases[] = {
        { GGF_F32, 2, 0x7f80, 0x7f7f },     { GGF_F32, 2, 0xff80, 0xff7f },
        { GGF_F64, 6, 0x7ff0, 0x7fef },     { GGF_F16, 0, 0x7c00, 0x7bff },
        { GGF_F16, 0, 0xfe01, 0xfbff },     { GGF_BF16, 0, 0x7f80, 0x7f7f },
        { GGF_Q4_0, 0, 0x7c00, 0x7bff },    { GGF_Q4_0, 2, 0, 0x7c00 },
        { GGF_Q4_1, 2, 0xfc00, 0xfbff },    { GGF_Q5_0, 0, 0x7fff, 0x7bff },
        { GGF_Q5_1, 2, 0x7c00, 0x7bff },    { GGF_Q8_0, 0, 0x7c00, 0x7bff },
        { GGF_Q8_1, 2, 0x7c00, 0x7bff },    { GGF_Q2_K, 80, 0x7c00, 0x7bff },
        { GGF_Q2_K, 82, 0x7c00, 0x7bff },   { GGF_Q3_K, 108, 0x7c00, 0x7bff },
        { GGF_Q4_K, 2, 0x7c00, 0x7bff },    { GGF_Q5_K, 0, 0x7c00, 0x7bff },
        { GGF_Q6_K, 208, 0x7c00, 0x7bff },  { GGF_Q8_K, 2, 0x7f80, 0x7f7f },
        { GGF_IQ4_NL, 0, 0x7c00, 0x7bff },  { GGF_IQ4_XS, 0, 0x7c00, 0x7bff },
        { GGF_IQ2_XXS, 0, 0x7c00, 0x7bff }, { GGF_IQ2_XS, 0, 0x7c00, 0x7bff },
        { GGF_IQ2_S, 0, 0x7c00, 0x7bff },   { GGF_IQ3_XXS, 0, 0x7c00, 0x7bff },
        { GGF_IQ3_S, 0, 0x7c00, 0x7bff },   { GGF_IQ1_S, 0, 0x7c00, 0x7bff },
        { GGF_TQ1_0, 52, 0x7c00, 0x7bff },  { GGF_TQ2_0, 64, 0x7c00, 0x7bff },
        { GGF_Q1_0, 0, 0x7c00, 0x7bff },    { GGF_Q2_0, 0, 0x7c00, 0x7bff },
        { GGF_MXFP4, 0, 0x00ff, 0xfffe },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = ggf_type_name(cases[i].type);
        if (cases[i].bad)
            ck_assert_msg(bad_with(cases[i].type, cases[i].offset, cases[i].bad) == 1,
                          "%s", name);
        ck_assert_msg(bad_with(cases[i].type, cases[i].offset, cases[i].good) == SIZE_MAX,
                      "%s", name);
    }
    /* The exponent of IQ1_M is in the top of the third and fourth word. */
    struct block_iq1_m m[2] = { { .scales = { 0, 0, 0xc000, 0x7000 } },
                                { .scales = { 0, 0, 0xb000, 0x7000 } } };
    ck_assert_uint_eq(row_bad_block(GGF_IQ1_M, m, 512), 0);
    ck_assert_uint_eq(row_bad_block(GGF_IQ1_M, m + 1, 256), SIZE_MAX);
    /* Types without a bit pattern that is no number, and an unknown one. */
    ck_assert_uint_eq(bad_with(GGF_NVFP4, 0, 0xffff), SIZE_MAX);
    ck_assert_uint_eq(bad_with(GGF_I16, 0, 0x7c00), SIZE_MAX);
    ck_assert_uint_eq(row_bad_block(4, m, 512), 0);
}
END_TEST

/* The exponent of MXFP4 comes of a rounded logarithm, so that a value just below a power
 * of two counts as that power. */
START_TEST(mxfp4_exponents)
{
    for (int k = -100; k <= 100; k++) {
        float x[32] = { ldexpf(1, k) };
        struct block_mxfp4 b;
        encode_for(GGF_MXFP4)(x, 32, NULL, &b);
        ck_assert_int_eq(b.e, k + 125);
        x[0] = ldexpf(1.9f, k - 1);
        encode_for(GGF_MXFP4)(x, 32, NULL, &b);
        ck_assert_int_eq(b.e, k + 124);
        if (k > 4 || k < -4) {
            x[0] = nextafterf(ldexpf(1, k), 0);
            encode_for(GGF_MXFP4)(x, 32, NULL, &b);
            ck_assert_int_eq(b.e, k + 125);
        }
    }
}
END_TEST

START_TEST(who_encodes)
{
    for (int i = 0; i < N_TYPES; i++) ck_assert(encode_for(types[i].type) != NULL);
    ck_assert(encode_for(GGF_F32) != NULL);
    ck_assert(encode_for(4) == NULL);
    ck_assert(encode_for(GGF_I32) == NULL);
    ck_assert(encode_for(GGF_TYPE_COUNT) == NULL);
    ck_assert(encode_needs_weights(GGF_IQ2_XXS) && encode_needs_weights(GGF_IQ2_XS) &&
              encode_needs_weights(GGF_IQ1_S));
    ck_assert(!encode_needs_weights(GGF_Q2_K) && !encode_needs_weights(GGF_IQ2_S));
}
END_TEST

int main(void)
{
    TCase *vectors_case = tcase_create("vectors");
    tcase_add_loop_test(vectors_case, vectors, 0, N_TYPES * N_TAGS);
    TCase *values_case = tcase_create("values");
    tcase_add_loop_test(values_case, round_trip, 0, N_TYPES);
    tcase_add_loop_test(values_case, zeros, 0, N_TYPES);
    tcase_add_test(values_case, zero_bytes);
    tcase_add_test(values_case, mxfp4_exponents);
    tcase_add_test(values_case, iq3_s_zeros);
    TCase *bad_values_case = tcase_create("bad values");
    tcase_add_loop_test(bad_values_case, not_finite, 0, N_TYPES);
    tcase_add_test(bad_values_case, infinity_is_told);
    tcase_add_test(bad_values_case, bad_blocks);
    tcase_add_test(bad_values_case, who_encodes);
    return SUITE_RUN("encode", vectors_case, values_case, bad_values_case);
}
