/* test_sensitivity.c - the sampled error against the whole tensor's; threads. */
#include "../../quant/density.h"
#include "../../quant/decode.h"
#include "../../quant/encode.h"
#include "../../quant/sensitivity.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 512, ROWS = 640, SLICES = 4, VALUES = COLUMNS * ROWS * SLICES };

static const uint32_t types[] = { GGF_Q4_K, GGF_Q3_K, GGF_Q8_0, GGF_IQ4_XS };
enum { N_TYPES = sizeof types / sizeof *types };

struct fixture {
    float *x;
    float sums[COLUMNS * SLICES], counts[SLICES];
    struct ggf_tensor tensor;
    struct imatrix_entry weights;
};

/* Bell-shaped values whose size differs by row; expert 3 is hardly used. */
static struct fixture *make(void)
{
    static const float counts[SLICES] = { 1000, 10, 200, 1 };
    struct fixture *f = calloc(1, sizeof *f);
    uint64_t r = 7;
    f->x = malloc(VALUES * sizeof *f->x);
    for (size_t i = 0; i < VALUES; i++) {
        float v = 0;
        for (int k = 0; k < 4; k++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            v += (float)(int32_t)(r >> 32) * 0x1p-31F;
        }
        f->x[i] = v * (1 + (float)(i / COLUMNS % 5));
    }
    for (int e = 0; e < SLICES; e++) {
        f->counts[e] = counts[e];
        for (int j = 0; j < COLUMNS; j++)
            f->sums[e * COLUMNS + j] = counts[e] * (0.5F + (float)((j * 37 + e) % 11));
    }
    f->tensor = (struct ggf_tensor){ .name = "blk.0.ffn_down_exps.weight",
                                     .type = GGF_F32,
                                     .n_dims = 3,
                                     .ne = { COLUMNS, ROWS, SLICES, 1 },
                                     .count = VALUES,
                                     .bytes = VALUES * sizeof *f->x,
                                     .data = (const uint8_t *)f->x };
    f->weights = (struct imatrix_entry){ .name = f->tensor.name,
                                         .n_values = COLUMNS * SLICES,
                                         .n_slices = SLICES,
                                         .width = COLUMNS,
                                         .sums = (const uint8_t *)f->sums,
                                         .counts = (const uint8_t *)f->counts };
    return f;
}

static void drop(struct fixture *f)
{
    free(f->x);
    free(f);
}

static struct sensitivity task(const struct fixture *f)
{
    struct sensitivity s = { .tensor = &f->tensor,
                             .weights = &f->weights,
                             .n_types = N_TYPES };
    memcpy(s.types, types, sizeof types);
    return s;
}

/* The definition, over everything. */
static double whole_error(const struct fixture *f, uint32_t type)
{
    static uint8_t stored[COLUMNS * sizeof(float)];
    const size_t columns = f->tensor.ne[0], rows = f->tensor.ne[1];
    float y[COLUMNS], w[COLUMNS];
    double e = 0, energy = 0;
    for (size_t row = 0; row < rows * SLICES; row++) {
        const size_t slice = row / rows;
        const float *x = f->x + row * columns;
        imatrix_weights(&f->weights, slice * columns, columns, w);
        encode_for(type)(x, columns, w, stored);
        decode_for(type)(stored, y, columns);
        for (size_t j = 0; j < columns; j++) {
            const double d = (double)x[j] - (double)y[j];
            e += (double)f->counts[slice] * (double)w[j] * d * d;
            energy +=
                (double)f->counts[slice] * (double)w[j] * (double)x[j] * (double)x[j];
        }
    }
    return e / energy;
}

START_TEST(test_sampled_is_near_the_whole)
{
    struct fixture *f = make();
    struct sensitivity s = task(f);
    const struct sensitivity_options o = { .threads = 1, .spread = 0.02 };
    ck_assert_int_eq(sensitivity_measure(&s, 1, &o, NULL), 0);
    ck_assert_uint_lt(s.sampled, VALUES);
    for (int k = 0; k < N_TYPES; k++) {
        const double whole = whole_error(f, types[k]);
        ck_assert_double_gt(s.spread[k], 0);
        ck_assert_double_le(s.spread[k], 0.03);
        ck_assert_double_eq_tol(s.error[k], whole, 4 * s.spread[k] * whole);
    }
    drop(f);
}
END_TEST

START_TEST(test_all_blocks_are_the_whole)
{
    struct fixture *f = make();
    struct sensitivity s = task(f);
    const struct sensitivity_options o = { .threads = 1, .blocks = VALUES / 256 };
    ck_assert_int_eq(sensitivity_measure(&s, 1, &o, NULL), 0);
    ck_assert_uint_eq(s.sampled, VALUES);
    for (int k = 0; k < N_TYPES; k++) {
        const double whole = whole_error(f, types[k]);
        ck_assert(s.spread[k] == 0);
        ck_assert_double_eq_tol(s.error[k], whole, 1e-9 * whole);
    }
    drop(f);
}
END_TEST

/* Types that look at what they are given as at a row: where rows are blocks, the blocks
 * of different rows must not be given together. */
START_TEST(test_blocks_are_rows)
{
    static const uint32_t of_rows[] = { GGF_Q4_0, GGF_Q4_1, GGF_Q5_0, GGF_Q5_1 };
    struct fixture *f = make();
    f->tensor.ne[0] = COLUMNS / 2;
    f->tensor.ne[1] = 2 * ROWS;
    f->weights.width = COLUMNS / 2;
    f->weights.n_values = COLUMNS / 2 * SLICES;
    struct sensitivity s = task(f);
    memcpy(s.types, of_rows, sizeof of_rows);
    const struct sensitivity_options o = { .threads = 1, .blocks = VALUES / 256 };
    ck_assert_int_eq(sensitivity_measure(&s, 1, &o, NULL), 0);
    for (int k = 0; k < 4; k++) {
        const double whole = whole_error(f, of_rows[k]);
        ck_assert_double_eq_tol(s.error[k], whole, 1e-9 * whole);
    }
    drop(f);
}
END_TEST

/* Of many samples: how far they are from the whole is what their spread says, on average.
 * (Without what the blocks tell that are stored as Q4_0 alone it would be twice that.) */
START_TEST(test_spread_is_what_it_says)
{
    enum { SAMPLES = 60 };
    static char names[SAMPLES][32];
    static struct ggf_tensor tensors[SAMPLES];
    static struct sensitivity s[SAMPLES];
    struct fixture *f = make();
    double squares[N_TYPES] = { 0 };
    for (int i = 0; i < SAMPLES; i++) {
        snprintf(names[i], sizeof names[i], "blk.%d.ffn_down_exps.weight", i);
        tensors[i] = f->tensor;
        tensors[i].name = names[i];
        s[i] = task(f);
        s[i].tensor = &tensors[i];
    }
    const struct sensitivity_options o = { .threads = 2, .blocks = 150, .spread = 1e-9 };
    ck_assert_int_eq(sensitivity_measure(s, SAMPLES, &o, NULL), 0);
    for (int k = 0; k < N_TYPES; k++) {
        const double whole = whole_error(f, types[k]);
        for (int i = 0; i < SAMPLES; i++) {
            const double off = (s[i].error[k] / whole - 1) / s[i].spread[k];
            squares[k] += off * off / SAMPLES;
        }
        /* Its own standard deviation is sqrt(2 / SAMPLES), 0.18. */
        ck_assert_double_gt(squares[k], 1 - 4 * 0.18);
        ck_assert_double_lt(squares[k], 1 + 4 * 0.18);
    }
    drop(f);
}
END_TEST

START_TEST(test_threads_do_not_matter)
{
    struct fixture *f = make();
    struct sensitivity a[5], b[5];
    for (int i = 0; i < 5; i++) a[i] = b[i] = task(f);
    const struct sensitivity_options one = { .threads = 1, .blocks = 300 },
                                     three = { .threads = 3, .blocks = 300 };
    ck_assert_int_eq(sensitivity_measure(a, 5, &one, NULL), 0);
    ck_assert_int_eq(sensitivity_measure(b, 5, &three, NULL), 0);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < N_TYPES; k++) ck_assert(a[i].error[k] == b[i].error[k]);
    drop(f);
}
END_TEST

START_TEST(test_places_follow_the_name)
{
    struct fixture *f = make();
    struct sensitivity a[2];
    struct ggf_tensor other = f->tensor;
    other.name = "blk.1.ffn_down_exps.weight";
    a[0] = a[1] = task(f);
    a[1].tensor = &other;
    const struct sensitivity_options o = { .threads = 1, .blocks = 300 };
    ck_assert_int_eq(sensitivity_measure(a, 2, &o, NULL), 0);
    ck_assert(a[0].error[1] != a[1].error[1]);
    drop(f);
}
END_TEST

/* The experts apart, put together by tokens and energy, are the whole. */
START_TEST(test_slices)
{
    struct fixture *f = make();
    struct sensitivity s[SLICES];
    const struct sensitivity_options o = { .threads = 2, .blocks = VALUES };
    for (uint64_t i = 0; i < SLICES; i++) {
        s[i] = task(f);
        s[i].first_slice = i;
        s[i].n_slices = 1;
    }
    ck_assert_int_eq(sensitivity_measure(s, SLICES, &o, NULL), 0);
    for (int k = 0; k < N_TYPES; k++) {
        double e = 0, energy = 0;
        for (int i = 0; i < SLICES; i++) {
            ck_assert_uint_eq(s[i].sampled, VALUES / SLICES);
            e += (double)f->counts[i] * s[i].energy * s[i].error[k];
            energy += (double)f->counts[i] * s[i].energy;
        }
        const double whole = whole_error(f, types[k]);
        ck_assert_double_eq_tol(e / energy, whole, 1e-6 * whole);
    }
    drop(f);
}
END_TEST

/* An expert that no token reached has an error, with whatever weights there are. */
START_TEST(test_slice_without_tokens)
{
    struct fixture *f = make();
    f->counts[2] = f->counts[3] = 0;
    struct sensitivity s[2] = { task(f), task(f) };
    const struct sensitivity_options o = { .threads = 1, .blocks = VALUES };
    s[0].first_slice = s[1].first_slice = 2;
    s[0].n_slices = 1;
    s[1].n_slices = 2;
    ck_assert_int_eq(sensitivity_measure(s, 2, &o, NULL), 0);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < N_TYPES; k++) ck_assert_double_gt(s[i].error[k], 0);
    drop(f);
}
END_TEST

START_TEST(test_bad_value)
{
    struct fixture *f = make();
    struct sensitivity s = task(f);
    const struct sensitivity_options o = { .threads = 1, .blocks = VALUES };
    ggf_error err = { 0 };
    f->x[VALUES / 2] = NAN;
    ck_assert_int_eq(sensitivity_measure(&s, 1, &o, &err), GGF_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "ffn_down_exps"));
    drop(f);
}
END_TEST

START_TEST(test_classes_and_floors)
{
    ck_assert_double_gt(density_of("blk.3.attn_v.weight", 48, false),
                        100 * density_of("blk.3.ffn_up_exps.weight", 48, false));
    ck_assert_double_gt(density_of("blk.47.ffn_up_exps.weight", 48, false),
                        density_of("blk.20.ffn_up_exps.weight", 48, false));
    ck_assert(density_of("token_embd.weight", 48, true) ==
              density_of("output.weight", 48, false));
    ck_assert(density_floor("blk.3.attn_k.weight", 4, false) == 8.5);
    ck_assert(density_floor("blk.3.attn_k.weight", 2.5, false) == 6.5);
    ck_assert(density_floor("blk.3.ssm_out.weight", 2.5, false) == 5.5);
    ck_assert(density_floor("blk.3.ssm_out.weight", 2.1, false) == 4.5);
    ck_assert(density_floor("output.weight", 2.1, false) == 5.5);
    ck_assert(density_floor("token_embd.weight", 2.1, false) == 4.25);
    ck_assert(density_floor("token_embd.weight", 2.1, true) == 5.5);
    ck_assert(density_floor("blk.3.ffn_up_exps.weight", 8, false) == 0);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("core");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_sampled_is_near_the_whole);
    tcase_add_test(c, test_all_blocks_are_the_whole);
    tcase_add_test(c, test_blocks_are_rows);
    tcase_add_test(c, test_spread_is_what_it_says);
    tcase_add_test(c, test_threads_do_not_matter);
    tcase_add_test(c, test_places_follow_the_name);
    tcase_add_test(c, test_slices);
    tcase_add_test(c, test_slice_without_tokens);
    tcase_add_test(c, test_bad_value);
    tcase_add_test(c, test_classes_and_floors);
    return SUITE_RUN("sensitivity", c);
}
