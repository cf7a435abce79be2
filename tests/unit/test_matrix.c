/* How work on matrices is shared: every row once, whoever takes it. */
#include "../../infer/ops/matrix.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* ---- Stretches ----------------------------------------------------------- */

struct tally {
    uint64_t n, least;
    _Atomic int *seen;
    _Atomic int short_ones, strays;
};

static void count_items(const struct member *me, void *arg)
{
    struct tally *t = arg;
    for (int round = 0; round < 2; round++)
        for (struct stretch s; team_next_stretch(me, t->n, t->least, &s);) {
            if (s.first + s.n > t->n) {
                t->strays++;
                continue;
            }
            if (s.n < t->least && s.first + s.n < t->n) t->short_ones++;
            for (uint64_t i = s.first; i < s.first + s.n; i++) t->seen[i]++;
        }
}

START_TEST(stretches_take_every_item_once)
{
    static const uint64_t sizes[] = { 0, 1, 7, 100, 1001 }, least[] = { 1, 8, 5000 };
    struct tally t = { .n = sizes[_i % 5], .least = least[_i / 5 % 3] };
    t.seen = calloc(t.n + 1, sizeof *t.seen);
    ck_assert_ptr_nonnull(t.seen);
    team_run(1 + _i / 15, count_items, &t);
    for (uint64_t i = 0; i < t.n; i++) ck_assert_int_eq(t.seen[i], 2); /* two rounds */
    ck_assert_int_eq(t.short_ones, 0);
    ck_assert_int_eq(t.strays, 0);
    free(t.seen);
}
END_TEST

START_TEST(a_stretch_is_cut_at_the_ends_of_matrices)
{
    struct stretch s = { 1, 4 }; /* of matrices of 2, 1 and 3 groups */
    struct matrix_rows r = matrix_in_stretch(GROUP_ROWS + 3, &s);
    ck_assert_uint_eq(r.first, GROUP_ROWS);
    ck_assert_uint_eq(r.n, 3);
    r = matrix_in_stretch(5, &s);
    ck_assert_uint_eq(r.first, 0);
    ck_assert_uint_eq(r.n, 5);
    r = matrix_in_stretch(3 * GROUP_ROWS, &s);
    ck_assert_uint_eq(r.first, 0);
    ck_assert_uint_eq(r.n, 2 * GROUP_ROWS);
    ck_assert_uint_eq(s.n, 0);
    s = (struct stretch){ 2, 1 };
    r = matrix_in_stretch(2 * GROUP_ROWS, &s);
    ck_assert_uint_eq(r.n, 0);
    ck_assert_uint_eq(s.first, 0);
    ck_assert_uint_eq(s.n, 1);
}
END_TEST

/* ---- Products ------------------------------------------------------------ */

enum { N = 64, TOKENS = STREAM_TOKENS + 1, PARTS = 4, WIDTH = 700 };

static struct {
    struct linear l;
    struct acts x;
    size_t tokens;
    float *y;
} product;

static void multiply(const struct member *me, void *arg)
{
    (void)arg;
    linear_team(me, &product.l, &product.x, product.tokens, product.y, WIDTH);
}

/* Small whole numbers: every sum is exact, in any order. */
static float weight(uint32_t row, uint32_t i) { return (float)((row * 7 + i * 3) % 11); }
static float input(uint32_t t, uint32_t i) { return (float)((t * 5 + i) % 7) - 3; }

START_TEST(linear_gives_every_output)
{
    static const uint32_t rows[PARTS] = { 5, 33, 600, 1 },
                          out[PARTS] = { 660, 0, 40, 35 };
    static float w[PARTS][600 * N], x[TOKENS * N], y[TOKENS * WIDTH];
    static const size_t tokens[] = { 1, 3, STREAM_TOKENS, TOKENS };
    memset(&product, 0, sizeof product);
    memset(y, 0, sizeof y);
    for (uint32_t p = 0; p < PARTS; p++) {
        struct matrix m;
        for (uint32_t r = 0; r < rows[p]; r++)
            for (uint32_t i = 0; i < N; i++) w[p][r * N + i] = weight(out[p] + r, i);
        ck_assert(matrix_init(&m, GGF_F32, w[p], N, rows[p], true));
        ck_assert(linear_add(&product.l, &m, out[p]));
    }
    ck_assert(linear_plan(&product.l));
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t i = 0; i < N; i++) x[t * N + i] = input(t, i);
    acts_place(&product.x, x, product.l.kinds, N, TOKENS);
    product.tokens = tokens[_i % 4];
    product.y = y;
    team_run(1 + _i / 4, multiply, NULL);
    for (uint32_t t = 0; t < product.tokens; t++)
        for (uint32_t p = 0; p < PARTS; p++)
            for (uint32_t r = out[p]; r < out[p] + rows[p]; r++) {
                float sum = 0;
                for (uint32_t i = 0; i < N; i++) sum += weight(r, i) * input(t, i);
                ck_assert_float_eq(y[t * WIDTH + r], sum);
            }
    linear_free(&product.l);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sharing");
    tcase_add_loop_test(tc, stretches_take_every_item_once, 0, 5 * 3 * 4);
    tcase_add_test(tc, a_stretch_is_cut_at_the_ends_of_matrices);
    tcase_add_loop_test(tc, linear_gives_every_output, 0, 4 * 3);
    return SUITE_RUN("matrix", tc);
}
