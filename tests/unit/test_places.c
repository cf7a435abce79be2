/* test_places.c - which blocks a sample of a tensor looks at. */
#include "../../quant/places.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 600, ROWS = 8, SLICES = 3, OUTER = 2 }; /* blocks of 256, 256 and 88 */
enum { ALL_ROWS = ROWS * SLICES * OUTER, BLOCKS = 3 };

static struct ggf_tensor tensor = { .name = "blk.0.ffn_up_exps.weight",
                                    .type = GGF_F32,
                                    .n_dims = 4,
                                    .ne = { COLUMNS, ROWS, SLICES, OUTER },
                                    .count = COLUMNS * ALL_ROWS };

static float sums[COLUMNS * SLICES], counts[SLICES];
static const struct imatrix_entry entry = { .name = "blk.0.ffn_up_exps.weight",
                                            .n_values = COLUMNS * SLICES,
                                            .n_slices = SLICES,
                                            .width = COLUMNS,
                                            .sums = (const uint8_t *)sums,
                                            .counts = (const uint8_t *)counts };

/* Weight 1 in the first block of a row, 3 in the second, 0 in the third; slice 1 unused,
 * slice 2 used three times as often as slice 0. */
static void fill(void)
{
    memcpy(counts, (float[SLICES]){ 100, 0, 300 }, sizeof counts);
    for (int i = 0; i < COLUMNS * SLICES; i++) {
        const int block = i % COLUMNS / 256;
        sums[i] = counts[i / COLUMNS] * (block == 0 ? 1.0F : block == 1 ? 3.0F : 0.0F);
    }
}

START_TEST(test_every_block_once)
{
    struct places p;
    bool seen[ALL_ROWS][BLOCKS] = { { false } };
    ck_assert_int_eq(places_init(&p, &tensor, NULL, 0, 0, NULL), 0);
    ck_assert_uint_eq(p.n, ALL_ROWS * BLOCKS);
    for (uint64_t i = 0; i < p.n; i++) {
        const struct place at = places_at(&p, i);
        ck_assert_uint_lt(at.row, ALL_ROWS);
        ck_assert_uint_eq(at.row / ROWS % SLICES, at.slice);
        ck_assert_uint_eq(at.n, at.column == 512 ? 88 : 256);
        ck_assert(at.factor == 1);
        ck_assert(!seen[at.row][at.column / 256]);
        seen[at.row][at.column / 256] = true;
    }
    places_free(&p);
}
END_TEST

START_TEST(test_draws_follow_use_and_importance)
{
    enum { N = 16000 };
    struct places p;
    int hits[SLICES][BLOCKS] = { { 0 } }, rows[ALL_ROWS] = { 0 };
    fill();
    ck_assert_int_eq(places_init(&p, &tensor, &entry, 0, 0, NULL), 0);
    for (uint64_t i = 0; i < N; i++) {
        const struct place at = places_draw(&p, i);
        ck_assert_uint_eq(at.row / ROWS % SLICES, at.slice);
        hits[at.slice][at.column / 256]++;
        rows[at.row]++;
    }
    for (int b = 0; b < BLOCKS; b++) ck_assert_int_eq(hits[1][b], 0);
    ck_assert_int_eq(hits[0][2] + hits[2][2], 0);
    ck_assert_int_le(abs(hits[0][0] - N / 16), 20);
    ck_assert_int_le(abs(hits[0][1] - 3 * N / 16), 20);
    ck_assert_int_le(abs(hits[2][0] - 3 * N / 16), 20);
    ck_assert_int_le(abs(hits[2][1] - 9 * N / 16), 20);
    for (int r = 0; r < ALL_ROWS; r++) {
        const int slice = r / ROWS % SLICES;
        const int expected = slice == 1 ? 0 : N * (slice ? 3 : 1) / 4 / ROWS / OUTER;
        ck_assert_int_le(abs(rows[r] - expected), 20);
    }
    places_free(&p);
}
END_TEST

/* With sums of w x^2 for x = 1 + slice, both ways of adding up give one mean. */
START_TEST(test_both_estimate_the_mean)
{
    enum { N = 4096 };
    struct places p;
    double whole = 0, drawn = 0;
    float w[256];
    fill();
    ck_assert_int_eq(places_init(&p, &tensor, &entry, 0, 0, NULL), 0);
    for (uint64_t i = 0; i < p.n + N; i++) {
        const struct place at = i < p.n ? places_at(&p, i) : places_draw(&p, i - p.n);
        double sum = 0;
        imatrix_weights(&entry, at.slice * COLUMNS + at.column, at.n, w);
        for (size_t k = 0; k < at.n; k++)
            sum += (double)w[k] * pow(1 + (double)at.slice, 2);
        *(i < p.n ? &whole : &drawn) += at.factor * sum;
    }
    whole /= (double)tensor.count;
    drawn *= p.average / N;
    ck_assert_double_gt(whole, 0);
    ck_assert_double_eq_tol(drawn, whole, 0.01 * whole);
    places_free(&p);
}
END_TEST

START_TEST(test_ranges_and_no_weights)
{
    struct places p;
    fill();
    ck_assert_int_eq(places_init(&p, &tensor, &entry, 1, 1, NULL), 0); /* unused */
    ck_assert_uint_eq(p.n, ROWS * OUTER * BLOCKS);
    for (uint64_t i = 0; i < 100; i++) {
        const struct place at = places_draw(&p, i);
        ck_assert_uint_eq(at.slice, 1);
        ck_assert_double_gt(at.factor, 0);
    }
    places_free(&p);
    memset(sums, 0, sizeof sums); /* and counts that are not 0 */
    ck_assert_int_eq(places_init(&p, &tensor, &entry, 2, 1, NULL), 0);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_uint_eq(places_draw(&p, i).row / ROWS % SLICES, 2);
    places_free(&p);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, test_every_block_once);
    tcase_add_test(tc, test_draws_follow_use_and_importance);
    tcase_add_test(tc, test_both_estimate_the_mean);
    tcase_add_test(tc, test_ranges_and_no_weights);
    return SUITE_RUN("places", tc);
}
