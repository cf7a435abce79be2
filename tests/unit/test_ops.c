/* test_ops.c - float kernels of the forward pass, at every level of instruction sets,
 * against plain definitions in double. */
#include "../../infer/ops/moe.h"
#include "../../infer/ops/rope.h"
#include "../../infer/ops/silu.h"
#include "../../infer/ops/vec.h"
#include "../../quant/cpu.h"
#include "suite.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 300, GUARD = 16 };

/* Lengths with every kind of tail. */
static const size_t lengths[] = { 1,  2,  7,  8,  9,   15,  16,  17,
                                  31, 33, 63, 64, 100, 129, 256, 300 };
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

static struct vec_ops ops;
static float x[MAX + GUARD], y[MAX + GUARD], z[MAX + GUARD];
static uint32_t state;

static float random_float(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)((int32_t)state >> 8) / (float)(1 << 22); /* -2 to 2 */
}

static void fill(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) v[i] = random_float();
}

/* The loop index is level * N_LENGTHS + length; false if the machine lacks the level. */
static bool start(int i, size_t *n)
{
    int levels = 0;
    while (cpu_levels[levels].name) levels++;
    const struct cpu_level *level = &cpu_levels[i / N_LENGTHS];
    if (i / N_LENGTHS >= levels || (cpu_flags() & level->flags) != level->flags)
        return false;
    cpu_set_mask(level->flags);
    vec_ops_init(&ops);
    state = (uint32_t)i + 1;
    *n = lengths[i % N_LENGTHS];
    fill(x, MAX + GUARD);
    fill(y, MAX + GUARD);
    fill(z, MAX + GUARD);
    return true;
}

static void near(double got, double expected, double scale)
{
    ck_assert_msg(fabs(got - expected) <= 1e-6 * scale, "%.9g, expected %.9g", got,
                  expected);
}

static double silu(double v) { return v / (1 + exp(-v)); }

START_TEST(sums)
{
    size_t n;
    if (!start(_i, &n)) return;
    double sum = 0, size = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        size += fabs((double)x[i] * (double)y[i]);
        square += (double)x[i] * (double)x[i];
    }
    near((double)ops.dot(x, y, n), sum, size);

    const float end = z[n];
    ops.rms_norm(z, x, y, n, 0.5f);
    for (size_t i = 0; i < n; i++)
        near((double)z[i], (double)x[i] * (double)y[i] / sqrt(square / (double)n + 0.5),
             4);
    ck_assert(z[n] == end);

    float v[MAX];
    memcpy(v, x, sizeof v);
    l2_norm(&ops, v, n, 1e-6f);
    for (size_t i = 0; i < n; i++) near((double)v[i], (double)x[i] / sqrt(square), 1);
    memset(v, 0, sizeof v);
    l2_norm(&ops, v, n, 1e-6f);
    ck_assert(v[0] == 0);
}
END_TEST

START_TEST(elementwise)
{
    size_t n;
    if (!start(_i, &n)) return;
    float v[MAX + GUARD];
    memcpy(v, y, sizeof v);
    ops.axpy(v, 1.5f, x, n);
    for (size_t i = 0; i < n; i++)
        near((double)v[i], (double)y[i] + 1.5 * (double)x[i], 4);
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);

    memcpy(v, y, sizeof v);
    ops.scale(v, 1.5f, n);
    for (size_t i = 0; i < n; i++) ck_assert(v[i] == 1.5f * y[i]);
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);

    memcpy(v, y, sizeof v);
    ops.silu_mul(v, x, y, n);
    for (size_t i = 0; i < n; i++)
        near((double)v[i], (double)x[i] * silu((double)y[i]), 4);
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);

    memcpy(v, y, sizeof v);
    ops.sigm_mul(v, x, n);
    for (size_t i = 0; i < n; i++)
        near((double)v[i], (double)y[i] / (1 + exp(-(double)x[i])), 4);
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);
}
END_TEST

/* Of floats of all sizes, infinities and NaN among them: vectors have the bits of silu.h,
 * which all levels share with a device. */
START_TEST(same_bits)
{
    enum { STEP = 400009 }; /* through all patterns of bits */
    size_t n;
    if (!start(_i, &n)) return;
    float g[MAX];
    for (uint64_t bits = (uint64_t)_i * 997; bits <= UINT32_MAX - (uint64_t)STEP * MAX;) {
        for (size_t i = 0; i < n; i++, bits += STEP) g[i] = bits_float((uint32_t)bits);
        memcpy(z, x, sizeof z);
        ops.silu_mul(z, z, g, n);
        for (size_t i = 0; i < n; i++) {
            const float want = silu_times(g[i], x[i]);
            ck_assert_msg(!memcmp(&z[i], &want, sizeof want) ||
                              (isnan(z[i]) && isnan(want)),
                          "silu(%a) * %a = %a, expected %a", (double)g[i], (double)x[i],
                          (double)z[i], (double)want);
        }
    }
}
END_TEST

START_TEST(largest)
{
    size_t n;
    if (!start(_i, &n)) return;
    float most = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > most) most = x[i];
    x[n] = 100; /* not looked at */
    ck_assert(ops.max(x, n) == most);
    for (size_t i = 0; i < n; i++) x[i] -= 5; /* all negative */
    ck_assert(ops.max(x, n) == most - 5);
    x[n / 2] = NAN;
    most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > most) most = x[i];
    ck_assert(ops.max(x, n) == most);
}
END_TEST

/* exp to 2 units in the last place over the range where sums of it are finite, and its
 * ends. */
START_TEST(exponential)
{
    size_t n;
    if (!start(_i, &n)) return;
    const float most = logf(FLT_MAX) - 6, least = logf(FLT_MIN) + 0.5f;
    float v[MAX + GUARD];
    double sum = 0;
    for (size_t i = 0; i < MAX + GUARD; i++)
        v[i] = x[i] =
            i % 3 ? random_float() : least + (most - least) * (random_float() / 4 + 0.5f);
    const float got = ops.exp_sum(v, 0, n);
    for (size_t i = 0; i < n; i++) {
        const double e = exp((double)x[i]);
        const double unit = ldexp(1, ilogb(e) - 23);
        ck_assert_msg(fabs((double)v[i] - e) <= 2 * unit, "exp(%.9g) = %.9g",
                      (double)x[i], (double)v[i]);
        sum += (double)v[i];
    }
    near((double)got, sum, sum);
    ck_assert_mem_eq(v + n, x + n, GUARD * sizeof *v);

    float ends[4] = { -1000, -INFINITY, 0, NAN };
    ops.exp_sum(ends, 0, 4);
    ck_assert(ends[0] == 0 && ends[1] == 0 && ends[2] == 1 && isnan(ends[3]));
}
END_TEST

START_TEST(soft_max)
{
    size_t n;
    if (!start(_i, &n)) return;
    double p[MAX], sum = 0;
    for (size_t i = 0; i < n; i++) sum += p[i] = exp(30 * (double)x[i]);
    for (size_t i = 0; i < n; i++) x[i] *= 30;
    softmax(&ops, x, n);
    for (size_t i = 0; i < n; i++) near((double)x[i], p[i] / sum, 20);
}
END_TEST

/* Mixtures of rows. */
START_TEST(rows)
{
    enum { ROWS = 7 };
    size_t n;
    if (!start(_i, &n)) return;
    float k[ROWS * MAX], s[ROWS], v[MAX + GUARD];
    fill(k, ROWS * MAX);
    fill(s, ROWS);
    memcpy(v, y, sizeof v);
    ops.mix(v, s, k, ROWS, n);
    for (size_t i = 0; i < n; i++) {
        double sum = (double)y[i], size = 2;
        for (size_t r = 0; r < ROWS; r++) {
            sum += (double)s[r] * (double)k[r * n + i];
            size += fabs((double)s[r] * (double)k[r * n + i]);
        }
        near((double)v[i], sum, size);
    }
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);
    /* One does not depend on how its rows are cut. */
    float parts[MAX];
    memcpy(parts, y, sizeof parts);
    ops.mix(parts, s, k, 3, n);
    ops.mix(parts, s + 3, k + 3 * n, ROWS - 3, n);
    ck_assert_mem_eq(parts, v, n * sizeof *v);
}
END_TEST

START_TEST(convolution)
{
    enum { TAPS = 4 };
    size_t n;
    if (!start(_i, &n)) return;
    float w[TAPS * (MAX + 3)], in[TAPS][MAX], v[MAX + GUARD];
    const float *const taps[TAPS] = { in[0], in[1], in[2], in[3] };
    fill(w, TAPS * (MAX + 3));
    for (int k = 0; k < TAPS; k++) fill(in[k], MAX);
    memcpy(v, y, sizeof v);
    ops.conv(v, taps, w, n + 3, TAPS, n);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < TAPS; k++)
            sum += (double)w[k * (n + 3) + i] * (double)in[k][i];
        near((double)v[i], silu(sum), 16);
    }
    ck_assert_mem_eq(v + n, y + n, GUARD * sizeof *v);
}
END_TEST

/* ---- Delta rule ---------------------------------------------------------- */

enum { DIM_MAX = 128, RUN = 6 };

static const size_t dims[] = { 8, 16, 24, 40, 64, 72, 96, 128 };

static float q[RUN * DIM_MAX], k[RUN * DIM_MAX], v[RUN * DIM_MAX], o[RUN * DIM_MAX];
static float decay[RUN], beta[RUN], s0[DIM_MAX * DIM_MAX], s1[DIM_MAX * DIM_MAX];
static float start_of_run[DIM_MAX * DIM_MAX];
static double exact[DIM_MAX][DIM_MAX];

static float *element(float *s, size_t dim, size_t i, size_t j)
{
    const size_t panel = j / DELTA_PANEL * DELTA_PANEL;
    const size_t width = dim - panel < DELTA_PANEL ? dim - panel : DELTA_PANEL;
    return s + panel * dim + i * width + j % DELTA_PANEL;
}

/* The rule as it is written, one token. */
static void exact_step(size_t dim, size_t t, double out[DIM_MAX])
{
    for (size_t j = 0; j < dim; j++) {
        double p = 0;
        for (size_t i = 0; i < dim; i++) {
            exact[i][j] *= (double)decay[t];
            p += exact[i][j] * (double)k[t * dim + i];
        }
        const double d = (double)beta[t] * ((double)v[t * dim + j] - p);
        out[j] = 0;
        for (size_t i = 0; i < dim; i++) {
            exact[i][j] += (double)k[t * dim + i] * d;
            out[j] += exact[i][j] * (double)q[t * dim + i];
        }
    }
}

static struct delta_run run_of(float *s, size_t dim, size_t first, size_t tokens)
{
    return (struct delta_run){ .s = s,
                               .q = q + first * dim,
                               .k = k + first * dim,
                               .v = v + first * dim,
                               .decay = decay + first,
                               .beta = beta + first,
                               .o = o + first * dim,
                               .dim = dim,
                               .tokens = tokens,
                               .v_stride = dim,
                               .o_stride = dim,
                               .scale = 0.125f };
}

/* Runs of any lengths give the bits of the run that led from `before` to s0 and o, also
 * when the output takes the place of the values. */
static void same_in_parts(size_t dim, const float *before)
{
    static const size_t cuts[][RUN + 1] = {
        { 0, 1, 2, 3, 4, 5, 6 }, { 0, 2, 6 }, { 0, 3, 4, 6 }, { 0, 6 }
    };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        float out[RUN * DIM_MAX];
        memcpy(s1, before, sizeof s1);
        memcpy(out, v, sizeof out);
        for (const size_t *cut = cuts[i]; *cut < RUN; cut++) {
            struct delta_run run = run_of(s1, dim, cut[0], cut[1] - cut[0]);
            run.v = run.o = out + cut[0] * dim;
            ops.delta(&run);
        }
        ck_assert_mem_eq(out, o, RUN * dim * sizeof *o);
        ck_assert_mem_eq(s0, s1, dim * dim * sizeof *s0);
    }
}

START_TEST(delta_rule)
{
    size_t n;
    if (!start(_i * N_LENGTHS, &n)) return;
    for (size_t which = 0; which < sizeof dims / sizeof *dims; which++) {
        const size_t dim = dims[which];
        fill(q, RUN * dim);
        fill(k, RUN * dim);
        fill(v, RUN * dim);
        for (size_t t = 0; t < RUN; t++) {
            l2_norm(&ops, k + t * dim, dim, 1e-6f);
            l2_norm(&ops, q + t * dim, dim, 1e-6f);
            decay[t] = 0.75f + random_float() / 8;
            beta[t] = 0.5f + random_float() / 4;
        }
        for (size_t i = 0; i < dim; i++)
            for (size_t j = 0; j < dim; j++)
                exact[i][j] = (double)(*element(s0, dim, i, j) = random_float());
        memcpy(start_of_run, s0, sizeof start_of_run);
        struct delta_run run = run_of(s0, dim, 0, RUN);
        ops.delta(&run);
        for (size_t t = 0; t < RUN; t++) {
            double out[DIM_MAX];
            exact_step(dim, t, out);
            for (size_t j = 0; j < dim; j++) near((double)o[t * dim + j], out[j] / 8, 10);
        }
        for (size_t i = 0; i < dim; i++)
            for (size_t j = 0; j < dim; j++)
                near((double)*element(s0, dim, i, j), exact[i][j], 10);
        same_in_parts(dim, start_of_run);
    }
}
END_TEST

/* ---- Scalars ------------------------------------------------------------- */

START_TEST(top)
{
    float p[6] = { 0.1f, 0.3f, 0.05f, 0.3f, 0.2f, 0.05f }, weights[3];
    uint32_t ids[3];
    moe_top(p, 6, 3, ids, weights);
    ck_assert_uint_eq(ids[0], 1); /* of equals the lower */
    ck_assert_uint_eq(ids[1], 3);
    ck_assert_uint_eq(ids[2], 4);
    near((double)weights[0], 0.3 / 0.8, 1);
    near((double)weights[2], 0.2 / 0.8, 1);

    float tiny[3] = { 1e-6f, 2e-6f, 0 };
    moe_top(tiny, 3, 2, ids, weights);
    near((double)weights[0], 2e-6 * 16384, 0.01); /* the sum counts as 2^-14 at least */

    float none[4] = { NAN, NAN, NAN, NAN };
    moe_top(none, 4, 3, ids, weights);
    for (uint32_t i = 0; i < 3; i++) ck_assert_uint_eq(ids[i], i);
}
END_TEST

/* Against picking the largest again and again: many equals, numbers and none, and as many
 * as there are. */
START_TEST(top_of_any)
{
    float p[40], weights[40];
    uint32_t ids[40];
    for (int round = 0; round < 2000; round++) {
        const uint32_t n = 1 + (uint32_t)rand() % 40, used = 1 + (uint32_t)rand() % n;
        bool taken[40] = { false };
        float sum = 0;
        for (uint32_t i = 0; i < n; i++)
            p[i] = round % 4 == 0 && rand() % 3 == 0 ? NAN : (float)(rand() % 20) / 64;
        moe_top(p, n, used, ids, weights);
        for (uint32_t i = 0; i < used; i++) {
            uint32_t best = n;
            for (uint32_t j = 0; j < n; j++)
                if (!taken[j] &&
                    (best == n || p[j] > p[best] || (isnan(p[best]) && !isnan(p[j]))))
                    best = j;
            ck_assert_uint_eq(ids[i], best);
            taken[best] = true;
            sum += p[best];
        }
        for (uint32_t i = 0; i < used && !isnan(sum); i++)
            ck_assert(weights[i] == p[ids[i]] / fmaxf(sum, 6.103515625e-5f));
    }
}
END_TEST

START_TEST(rotation)
{
    const uint32_t n_rot = 64, position = 100000;
    float head[80], table[64];
    for (int i = 0; i < 80; i++) head[i] = (float)i;
    rope_table(table, n_rot, 1e7, position);
    rope_apply(head, table, n_rot);
    for (uint32_t i = 0; i < 32; i++) {
        const double angle = position * pow(1e7, -2.0 * i / n_rot), a = i, b = i + 32;
        near((double)head[i], a * cos(angle) - b * sin(angle), 64);
        near((double)head[i + 32], a * sin(angle) + b * cos(angle), 64);
    }
    for (int i = 64; i < 80; i++) ck_assert(head[i] == (float)i);
}
END_TEST

START_TEST(soft_plus)
{
    near((double)softplus(0), log(2), 1);
    near((double)softplus(3), log1p(exp(3)), 3);
    near((double)softplus(10), log1p(exp(10)), 10);
    ck_assert(softplus(25) == 25);
    ck_assert(softplus(-30) == 0); /* as log(1 + exp(x)) rounds, not log1p */
    near((double)sigmoid(-2), 1 / (1 + exp(2)), 1);
}
END_TEST

int main(void)
{
    int levels = 0;
    while (cpu_levels[levels].name) levels++;
    TCase *tc = tcase_create("kernels");
    tcase_add_loop_test(tc, sums, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, elementwise, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, same_bits, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, largest, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, exponential, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, soft_max, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, rows, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, convolution, 0, levels * N_LENGTHS);
    tcase_add_loop_test(tc, delta_rule, 0, levels);
    tcase_add_test(tc, top);
    tcase_add_test(tc, top_of_any);
    tcase_add_test(tc, rotation);
    tcase_add_test(tc, soft_plus);
    return SUITE_RUN("ops", tc);
}
