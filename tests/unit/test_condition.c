/* test_condition.c - weights of experts that saw few tokens. */
#include "../../quant/condition.h"
#include "../../quant/imatrix_sums.h"
#include "suite.h"
#include "tiny_model.h"

#include <math.h>

static char model_path[64], path[64];

static void temporary(char name[64])
{
    snprintf(name, 64, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void setup(void)
{
    temporary(model_path);
    temporary(path);
}

static void teardown(void)
{
    unlink(model_path);
    unlink(path);
}

static void near(double a, double b, double tolerance, const char *what)
{
    ck_assert_msg(fabs(a - b) <= tolerance * fabs(b), "%s: %g, expected %g", what, a, b);
}

/* Normal numbers, the same in every run. */
static double normal(uint64_t *state)
{
    double sum = -6; /* of twelve uniform ones: variance 1 */
    for (int i = 0; i < 12; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 11) / 9007199254740992.0;
    }
    return sum;
}

static double silu(double x) { return x / (1 + exp(-x)); }

/* ---- The integral ---------------------------------------------------------- */

START_TEST(integral)
{
    /* Without spread it is what it is. */
    const struct normal_pair fixed = { .mean_a = -1.5, .mean_b = 2, .sd_b = 3 };
    near(expected_square(&fixed), silu(-1.5) * silu(-1.5) * (4 + 9), 1e-12, "fixed");
    /* Far out silu(a) is a, and E[a^2 b^2] = (m^2 + s^2)(...) without correlation, ... */
    const struct normal_pair far = { .mean_a = 60, .mean_b = 1, .sd_a = 2, .sd_b = 3 };
    near(expected_square(&far), (3600 + 4) * (1 + 9), 1e-6, "independent");
    /* ... and with b = a it is the fourth moment. */
    const struct normal_pair same = { 60, 60, 2, 2, 1 };
    near(expected_square(&same), pow(60, 4) + 6 * 3600 * 4 + 3 * 16, 1e-6, "equal");
    const struct normal_pair any = { 0.3, -0.8, 1.2, 0.7, -0.6 };
    uint64_t state = 1;
    double sum = 0;
    enum { SAMPLES = 200000 };
    for (int i = 0; i < SAMPLES; i++) {
        const double z = normal(&state), y = normal(&state);
        const double h = silu(0.3 + 1.2 * z) * (-0.8 + 0.7 * (-0.6 * z + 0.8 * y));
        sum += h * h;
    }
    near(expected_square(&any), sum / SAMPLES, 0.03, "sampled");
}
END_TEST

/* ---- A matrix for the tiny model -------------------------------------------- */

static const uint64_t counts[EXPERTS] = { 0, 10, 64, 63 };

static double input_mean(int i) { return 0.4 * sin(i); }
static double input_variance(int i) { return 0.5 + 0.3 * cos(3.0 * i); }
static double square(int expert, int i) { return 0.1 + 0.01 * ((expert * 7 + i) % 11); }

static void fill_experts(struct imatrix_sums *s, const char *name, uint64_t width)
{
    struct imatrix_sum *e;
    ck_assert_int_eq(imatrix_sums_add(&e, s, name, width, EXPERTS, 0, NULL), 0);
    for (int x = 0; x < EXPERTS; x++) {
        e->counts[x] = counts[x];
        for (int i = 0; i < (int)width; i++)
            e->squares[x * (int)width + i] = (float)((double)counts[x] * square(x, i));
    }
}

static imatrix *make(bool means)
{
    struct imatrix_sums s = { .chunk_size = 512 };
    struct imatrix_sum *router;
    ggf_error err;
    imatrix *m;
    fill_experts(&s, "blk.1.ffn_gate_exps.weight", EMBD);
    fill_experts(&s, "blk.1.ffn_up_exps.weight", EMBD);
    fill_experts(&s, "blk.1.ffn_down_exps.weight", FF);
    ck_assert_int_eq(imatrix_sums_add(&router, &s, "blk.1.ffn_gate_inp.weight", EMBD, 1,
                                      means ? IMATRIX_MEAN : 0, &err),
                     0);
    router->counts[0] = 1000;
    for (int i = 0; i < EMBD; i++) {
        const double mean = input_mean(i);
        router->squares[i] = (float)(1000 * (input_variance(i) + mean * mean));
        if (means) router->means[i] = (float)(1000 * mean);
    }
    ck_assert_msg(!imatrix_sums_write(&s, path, true, &err), "%s", err.message);
    imatrix_sums_free(&s);
    ck_assert_msg(!imatrix_open(&m, path, &err), "%s", err.message);
    ck_assert_msg(!imatrix_check(m, &err), "%s", err.message);
    return m;
}

static struct condition_report condition(imatrix *m, const struct tiny *t)
{
    struct condition_report r;
    ggf_error err;
    ggf_file *f;
    tiny_write(model_path, t);
    ck_assert_int_eq(ggf_open(&f, model_path, NULL, &err), 0);
    ck_assert_msg(!imatrix_condition(m, f, &r, &err), "%s", err.message);
    ggf_close(f);
    ck_assert_uint_eq(r.experts, EXPERTS);
    ck_assert_uint_eq(r.unseen, 1);
    ck_assert_uint_eq(r.few, 1);
    return r;
}

static void weights(const imatrix *m, const char *name, float out[EXPERTS * EMBD])
{
    const struct imatrix_entry *e = imatrix_find(m, name);
    ck_assert_ptr_nonnull(e);
    imatrix_weights(e, 0, e->n_values, out);
    float one; /* in pieces, too */
    imatrix_weights(e, 37, 1, &one);
    ck_assert_float_eq(one, out[37]);
}

/* ---- What becomes of it ----------------------------------------------------- */

START_TEST(gate_and_up)
{
    imatrix *m = make(true);
    float w[EXPERTS * EMBD];
    ck_assert_uint_eq(condition(m, &(struct tiny){ 0 }).pooled, EXPERTS);
    weights(m, "blk.1.ffn_up_exps.weight", w);
    for (int i = 0; i < EMBD; i++) {
        double all = 0;
        for (int x = 0; x < EXPERTS; x++) all += (double)counts[x] * square(x, i);
        const double mean = all / (10 + 64 + 63);
        for (int x = 0; x < EXPERTS; x++) {
            const double n = (double)counts[x];
            near((double)w[x * EMBD + i], (n * square(x, i) + 8 * mean) / (n + 8), 1e-5,
                 "pooled");
        }
    }
    imatrix_close(m);
}
END_TEST

static double tensor_value(const char *name, int expert, int row, int i)
{
    return (double)tiny_value(name, ((uint64_t)expert * FF + (uint64_t)row) * EMBD +
                                        (uint64_t)i);
}

/* E[h^2] of a unit by sampling inputs. */
static double sampled(int expert, int unit)
{
    enum { SAMPLES = 40000 };
    uint64_t state = 7;
    double sum = 0;
    for (int k = 0; k < SAMPLES; k++) {
        double g = 0, u = 0;
        for (int i = 0; i < EMBD; i++) {
            const double x = input_mean(i) + sqrt(input_variance(i)) * normal(&state);
            g += x * tensor_value("blk.1.ffn_gate_exps.weight", expert, unit, i);
            u += x * tensor_value("blk.1.ffn_up_exps.weight", expert, unit, i);
        }
        sum += silu(g) * u * silu(g) * u;
    }
    return sum / SAMPLES;
}

START_TEST(down_from_gate_and_up)
{
    const struct tiny fused = { .fused_gate_up = true }, plain = { 0 };
    imatrix *m = make(true);
    float w[EXPERTS * FF];
    const struct condition_report r = condition(m, _i ? &fused : &plain);
    ck_assert_uint_eq(r.computed, 3);
    ck_assert_uint_eq(r.flat, 0);
    weights(m, "blk.1.ffn_down_exps.weight", w);
    for (int unit = 0; unit < 3; unit++) {
        near((double)w[unit], sampled(0, unit), 0.05, "unseen expert");
        const double prior = sampled(1, unit);
        near((double)w[FF + unit], (10 * square(1, unit) + 32 * prior) / 42, 0.05,
             "10 tokens");
    }
    for (int i = 0; i < FF; i++) /* 64 tokens are enough */
        near((double)w[2 * FF + i], square(2, i), 1e-5, "64 tokens");
    imatrix_close(m);
}
END_TEST

START_TEST(down_without_means)
{
    imatrix *m = make(false);
    float w[EXPERTS * FF];
    const struct condition_report r = condition(m, &(struct tiny){ 0 });
    ck_assert_uint_eq(r.computed, 0);
    ck_assert_uint_eq(r.flat, 3);
    weights(m, "blk.1.ffn_down_exps.weight", w);
    double mean = 0;
    for (int i = 0; i < FF; i++) mean += square(1, i) / FF;
    for (int i = 0; i < FF; i++) {
        ck_assert_float_eq(w[i], 1);
        near((double)w[FF + i], (10 * square(1, i) + 8 * mean) / 18, 1e-5, "flat");
        near((double)w[2 * FF + i], square(2, i), 1e-5, "64 tokens");
    }
    imatrix_close(m);
}
END_TEST

/* Opened for its header alone: counted, not computed. */
START_TEST(header_only)
{
    const struct ggf_open_options options = { .header_only = true };
    struct condition_report r;
    ggf_error err;
    ggf_file *f;
    imatrix *m = make(true);
    tiny_write(model_path, &(struct tiny){ 0 });
    ck_assert_int_eq(ggf_open(&f, model_path, &options, &err), 0);
    ck_assert_int_eq(imatrix_condition(m, f, &r, &err), 0);
    ck_assert_uint_eq(r.computed, 3);
    imatrix_close(m);
    /* No experts, nothing to do. */
    m = make(true);
    imatrix_filter(m, (const char *[]){ "gate_inp" }, 1, NULL, 0);
    ck_assert_int_eq(imatrix_condition(m, f, &r, &err), GGF_E_ARG);
    imatrix_close(m);
    ggf_close(f);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("condition");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, integral);
    tcase_add_test(t, gate_and_up);
    tcase_add_loop_test(t, down_from_gate_and_up, 0, 2);
    tcase_add_test(t, down_without_means);
    tcase_add_test(t, header_only);
    return SUITE_RUN("condition", t);
}
