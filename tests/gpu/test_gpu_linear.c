/* Matrices on the device: rows of them, and products with any number of tokens. */
#include "problem.h"

/* ---- Rows ---------------------------------------------------------------------------
 */

START_TEST(rows_are_decoded_to_the_same_bits)
{
    uint32_t types[GGF_TYPE_COUNT];
    if ((uint32_t)_i >= problem_types(types)) return;
    const uint32_t type = types[_i], n = 768, n_rows = 9;
    static const int32_t ids[] = { 8, 0, 3, 3, 7 };
    gpu *g = gpu_new();
    struct problem_matrix m = problem_matrix_new(g, type, n, n_rows, _i % 2 ? 1 : 0.75f);
    int32_t *ids_d = gpu_memory(g, ids, sizeof ids);
    float *y_d = gpu_memory(g, NULL, 5 * n * sizeof(float));
    gpu_rows(g, &m.m, ids_d, 5, y_d);
    float *y = gpu_bytes(g, y_d, 5 * n * sizeof(float));
    for (uint32_t k = 0; k < 5; k++)
        for (uint32_t i = 0; i < n; i++)
            ck_assert_msg(y[k * n + i] == m.w[(uint32_t)ids[k] * n + i],
                          "%s: weight %u of row %d: %g and not %g",
                          ggf_type_info(type)->name, i, ids[k], (double)y[k * n + i],
                          (double)m.w[(uint32_t)ids[k] * n + i]);
    free(y);
    gpu_free(g, y_d);
    gpu_free(g, ids_d);
    problem_matrix_free(g, &m);
    gpu_done(g);
}
END_TEST

START_TEST(which_types)
{
    ck_assert(gpu_type(GGF_Q4_K));
    ck_assert(gpu_type(GGF_BF16));
    ck_assert(!gpu_type(GGF_F64));
    ck_assert(!gpu_type(GGF_TQ1_0));
    ck_assert(!gpu_type(UINT32_MAX));
}
END_TEST

/* ---- Products -------------------------------------------------------------------------
 */

enum { MAX_PARTS = 3, HOLE = 5 };

struct product {
    struct gpu_linear l;
    struct gpu_part parts[MAX_PARTS];
    struct problem_matrix m[MAX_PARTS];
    struct problem_acts x;
    float *y_d;
};

/* x: of all tokens, or NULL: random. */
static struct product product_of(gpu *g, uint32_t n, uint32_t tokens, uint32_t n_parts,
                                 const uint32_t *types, const uint32_t *rows,
                                 enum row_pattern pattern, const float *x)
{
    struct product p = { .l = { .n = n, .width = HOLE, .n_parts = n_parts } };
    for (uint32_t i = 0; i < n_parts; i++) {
        p.m[i] = problem_matrix_of(g, types[i], n, rows[i], i == 1 ? 1.5f : 1, pattern);
        p.parts[i] = (struct gpu_part){ p.m[i].m, p.l.width };
        p.l.width += rows[i] + HOLE;
    }
    p.x = problem_acts_new(g, x, n, tokens);
    p.y_d = gpu_memory(g, NULL, (uint64_t)tokens * p.l.width * sizeof(float));
    return p;
}

static struct product product_new(gpu *g, uint32_t n, uint32_t tokens, uint32_t n_parts,
                                  const uint32_t *types, const uint32_t *rows)
{
    return product_of(g, n, tokens, n_parts, types, rows, ROW_RANDOM, NULL);
}

static float *product_run(gpu *g, struct product *p, const struct gpu_acts *x)
{
    const uint64_t bytes = (uint64_t)x->tokens * p->l.width * sizeof(float);
    p->l.parts = p->parts;
    gpu_zero(g, p->y_d, bytes);
    gpu_linear(g, &p->l, x, p->y_d, p->l.width);
    return gpu_bytes(g, p->y_d, bytes);
}

static void check_value(const struct product *p, uint32_t i, uint32_t t, uint32_t r,
                        float got)
{
    const struct problem_matrix *m = &p->m[i];
    const uint32_t n = p->l.n;
    double bound;
    const double want =
        problem_dot(m->w + (size_t)r * n, problem_token(&p->x, m->m.type, t), n, &bound);
    ck_assert_msg(fabs((double)got - want) <= bound,
                  "%s n=%u rows=%u token %u row %u: %g and not %g +- %g",
                  ggf_type_info(m->m.type)->name, n, m->m.rows, t, r, (double)got, want,
                  bound);
    if (!mul_is_portable(m->m.type)) return;
    const float same = problem_exact(m, r, p->x.x + (size_t)t * n);
    ck_assert_msg(f32_bits(got) == f32_bits(same),
                  "%s n=%u rows=%u token %u row %u: %a and not the host's %a",
                  ggf_type_info(m->m.type)->name, n, m->m.rows, t, r, (double)got,
                  (double)same);
}

static void check_values(const struct product *p, const float *y)
{
    for (uint32_t i = 0; i < p->l.n_parts; i++)
        for (uint32_t t = 0; t < p->x.a.tokens; t++)
            for (uint32_t r = 0; r < p->m[i].m.rows; r++)
                check_value(p, i, t, r, y[(size_t)t * p->l.width + p->parts[i].out + r]);
    for (uint32_t t = 0; t < p->x.a.tokens; t++) /* holes stay */
        for (uint32_t k = 0; k < HOLE; k++) {
            const float *row = y + (size_t)t * p->l.width;
            ck_assert_float_eq(row[k], 0);
            ck_assert_float_eq(row[p->l.width - 1 - k], 0);
        }
}

/* Token t by itself. */
static void check_alone(gpu *g, struct product *p, const float *y, uint32_t t)
{
    struct gpu_acts one = p->x.a;
    one.x_d += (size_t)t * one.n;
    one.q_d = (char *)one.q_d + t * gpu_acts_bytes(one.n, 1);
    one.tokens = 1;
    float *alone = product_run(g, p, &one);
    ck_assert_mem_eq(alone, y + (size_t)t * p->l.width, p->l.width * sizeof *y);
    free(alone);
}

static void product_free(gpu *g, struct product *p)
{
    for (uint32_t i = 0; i < p->l.n_parts; i++) problem_matrix_free(g, &p->m[i]);
    problem_acts_free(g, &p->x);
    gpu_free(g, p->y_d);
}

static void product_check(uint32_t n, uint32_t tokens, uint32_t n_parts,
                          const uint32_t *types, const uint32_t *rows, uint64_t seed)
{
    emulator_capability(seed % 2 ? 90 : 86); /* blocks have more shared memory, or less */
    emulator_multiprocessors(seed % 3 ? 1 : 4); /* wide tiles, or many */
    gpu *g = gpu_new();
    emulator_seed(seed);
    struct product p = product_new(g, n, tokens, n_parts, types, rows);
    float *y = product_run(g, &p, &p.x.a);
    check_values(&p, y);
    check_alone(g, &p, y, 0);
    check_alone(g, &p, y, tokens / 2);
    check_alone(g, &p, y, tokens - 1);
    free(y);
    product_free(g, &p);
    gpu_done(g);
    emulator_reset();
}

/* Every type: one tile and many, n that ends inside a block of activations. */
START_TEST(every_type)
{
    uint32_t types[GGF_TYPE_COUNT];
    if ((uint32_t)_i >= problem_types(types)) return;
    const bool blocks32 = ggf_type_info(types[_i])->block <= 32;
    static const uint32_t sizes[][2] = { { 1, 1 },   { 37, 3 },   { 15, 8 }, { 70, 9 },
                                         { 16, 17 }, { 145, 31 }, { 33, 70 } };
    static const uint32_t n_of[2][7] = { { 256, 768, 1280, 256, 512, 768, 1280 },
                                         { 32, 544, 1120, 96, 512, 608, 1056 } };
    for (int k = 0; k < 7; k++)
        product_check(n_of[blocks32][k], sizes[k][1], 1, &types[_i], &sizes[k][0],
                      7 * (uint64_t)_i + (uint64_t)k);
}
END_TEST

/* All bits of codes set, and all codes of activations at one end: sums are as large as
 * they get. */
START_TEST(largest_sums)
{
    enum { N = 512, TOKENS = 18 };
    static const uint32_t tokens[] = { 1, 3, TOKENS }, rows = 17;
    uint32_t types[GGF_TYPE_COUNT];
    float x[N * TOKENS];
    if ((uint32_t)_i >= problem_types(types)) return;
    for (uint32_t i = 0; i < N * TOKENS; i++) x[i] = i / N % 2 ? 3 : -3;
    gpu *g = gpu_new();
    for (int k = 0; k < 3; k++) {
        struct product p = product_of(g, N, tokens[k], 1, &types[_i], &rows, ROW_ONES, x);
        float *y = product_run(g, &p, &p.x.a);
        check_values(&p, y);
        free(y);
        product_free(g, &p);
    }
    gpu_done(g);
}
END_TEST

START_TEST(parts_of_several_types)
{
    static const uint32_t types[][MAX_PARTS] = {
        { GGF_Q4_K, GGF_Q6_K, GGF_F32 },
        { GGF_F16, GGF_Q8_0, GGF_Q8_0 },
        { GGF_IQ2_XS, GGF_BF16, GGF_Q2_K },
    };
    static const uint32_t rows[][MAX_PARTS] = { { 130, 17, 3 }, { 1, 64, 65 } };
    static const uint32_t tokens[] = { 1, 16, 33, 65 };
    product_check(512, tokens[_i % 4], MAX_PARTS, types[_i / 4], rows[_i % 2],
                  (uint64_t)_i);
}
END_TEST

/* As routers are, and models that nobody has quantized. */
START_TEST(floats_alone)
{
    static const uint32_t types[] = { GGF_F32, GGF_F16, GGF_BF16 },
                          rows[] = { 40, 8, 33 }, tokens[] = { 17, 32, 39, 65 };
    product_check(544, tokens[_i], 3, types, rows, (uint64_t)_i);
}
END_TEST

/* ---- What follows a product ---------------------------------------------------------
 */

static void check_same(gpu *g, const void *a_d, const void *b_d, uint64_t bytes)
{
    void *a = gpu_bytes(g, a_d, bytes), *b = gpu_bytes(g, b_d, bytes);
    ck_assert_mem_eq(a, b, bytes);
    free(a);
    free(b);
}

static const uint32_t followed[] = { 1, 3, 4, 5, 8 };
enum { FOLLOWED = sizeof followed / sizeof *followed };

/* In the product's launch or not, the same bits as one after the other. */
START_TEST(a_norm_follows)
{
    enum { N = 512, ROWS = 288 };
    const uint32_t tokens = followed[_i], type = GGF_Q8_0, rows = ROWS;
    const uint64_t bytes = tokens * ROWS * sizeof(float);
    const uint64_t q_bytes = gpu_acts_bytes(ROWS, tokens);
    gpu *g = gpu_new();
    emulator_seed(tokens);
    struct product p = product_new(g, N, tokens, 1, &type, &rows);
    p.parts[0].out = 0;
    p.l.parts = p.parts;
    p.l.width = ROWS;
    float x[8 * ROWS];
    for (uint32_t i = 0; i < tokens * ROWS; i++) x[i] = check_rnd_normal();
    float *x_d[2], *weight_d = gpu_memory(g, x, ROWS * sizeof *x);
    struct gpu_norm_to to[2];
    for (int k = 0; k < 2; k++) {
        x_d[k] = gpu_memory(g, x, bytes);
        to[k] = (struct gpu_norm_to){ weight_d, 1e-6f, gpu_memory(g, NULL, bytes),
                                      gpu_memory(g, NULL, q_bytes) };
    }
    gpu_linear(g, &p.l, &p.x.a, p.y_d, ROWS);
    gpu_norm(g, x_d[0], p.y_d, ROWS, tokens, &to[0]);
    gpu_wait(g);
    const uint64_t before = emulator_count().launches;
    gpu_linear_norm(g, &p.l, &p.x.a, p.y_d, x_d[1], &to[1]);
    gpu_wait(g);
    if (emulated())
        ck_assert_uint_eq(emulator_count().launches - before, tokens > 4 ? 2 : 1);
    check_same(g, x_d[0], x_d[1], bytes);
    check_same(g, to[0].y_d, to[1].y_d, bytes);
    check_same(g, to[0].q_d, to[1].q_d, q_bytes);
    for (int k = 0; k < 2; k++) {
        gpu_free(g, x_d[k]);
        gpu_free(g, to[k].y_d);
        gpu_free(g, to[k].q_d);
    }
    gpu_free(g, weight_d);
    problem_matrix_free(g, &p.m[0]);
    problem_acts_free(g, &p.x);
    gpu_free(g, p.y_d);
    gpu_done(g);
}
END_TEST

START_TEST(a_choice_follows)
{
    enum { N = 96, USED = 10, MOST = 600 };
    static const uint32_t experts[] = { 12, 300, 512, MOST };
    const uint32_t tokens = followed[_i % FOLLOWED], n = experts[_i / FOLLOWED];
    const uint32_t type = GGF_F32;
    const uint64_t bytes = tokens * USED * sizeof(float);
    gpu *g = gpu_new();
    emulator_seed((uint64_t)_i);
    struct product p = product_new(g, N, tokens, 1, &type, &n);
    p.parts[0].out = 0;
    p.l.parts = p.parts;
    p.l.width = n;
    uint32_t *ids_d[2];
    float *weights_d[2];
    for (int k = 0; k < 2; k++) {
        ids_d[k] = gpu_memory(g, NULL, bytes);
        weights_d[k] = gpu_memory(g, NULL, bytes);
    }
    gpu_linear(g, &p.l, &p.x.a, p.y_d, n);
    gpu_route(g, p.y_d, n, USED, tokens, ids_d[0], weights_d[0]);
    gpu_wait(g);
    const uint64_t before = emulator_count().launches;
    gpu_linear_route(g, &p.l, &p.x.a, p.y_d, USED, ids_d[1], weights_d[1]);
    gpu_wait(g);
    if (emulated())
        ck_assert_uint_eq(emulator_count().launches - before,
                          tokens > 4 || n == MOST ? 2 : 1);
    check_same(g, ids_d[0], ids_d[1], bytes);
    check_same(g, weights_d[0], weights_d[1], bytes);
    for (int k = 0; k < 2; k++) {
        gpu_free(g, ids_d[k]);
        gpu_free(g, weights_d[k]);
    }
    problem_matrix_free(g, &p.m[0]);
    problem_acts_free(g, &p.x);
    gpu_free(g, p.y_d);
    gpu_done(g);
}
END_TEST

int main(void)
{
    TCase *rows = tcase_create("rows");
    tcase_add_test(rows, which_types);
    tcase_add_loop_test(rows, rows_are_decoded_to_the_same_bits, 0, GGF_TYPE_COUNT);
    TCase *products = tcase_create("products");
    tcase_add_loop_test(products, every_type, 0, GGF_TYPE_COUNT);
    tcase_add_loop_test(products, largest_sums, 0, GGF_TYPE_COUNT);
    tcase_add_loop_test(products, parts_of_several_types, 0, 12);
    tcase_add_loop_test(products, floats_alone, 0, 4);
    TCase *then = tcase_create("then");
    tcase_add_loop_test(then, a_norm_follows, 0, FOLLOWED);
    tcase_add_loop_test(then, a_choice_follows, 0, 4 * FOLLOWED);
    return GPU_SUITE_RUN("gpu_linear", rows, products, then);
}
