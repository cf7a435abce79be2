/* test_attention.c - attention over a stored cache: against sums in double, for every
 * type of keys and values, and the same bits however tokens are cut and shared. */
#include "../../infer/ops/attention.h"
#include "../../infer/ops/rope.h"
#include "../../quant/cpu.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 4, KV_HEADS = 2, DIM = 32, ROT = 16, TOKENS = 530 };
enum { WIDTH = (2 * HEADS + 2 * KV_HEADS) * DIM, OUT = HEADS * DIM };

static const uint32_t types[] = { GGF_F32,  GGF_F16,  GGF_BF16, GGF_Q8_0,  GGF_Q5_1,
                                  GGF_Q5_0, GGF_Q4_1, GGF_Q4_0, GGF_IQ4_NL };
enum { TYPES = sizeof types / sizeof *types };

static float norms[2][DIM];
static float given[TOKENS][WIDTH];
static float ropes[TOKENS][ROT];

static const struct attention layer = {
    .n_head = HEADS,
    .n_head_kv = KV_HEADS,
    .head_dim = DIM,
    .n_rot = ROT,
    .eps = 1e-6f,
    .q_norm = norms[0],
    .k_norm = norms[1],
    .in = { .width = WIDTH },
};

static float draw(void)
{
    static uint32_t state = 7;
    state = state * 1664525 + 1013904223; /* Numerical Recipes */
    return (float)(int32_t)state * 0x1p-30f;
}

static void setup(void)
{
    for (int i = 0; i < DIM; i++) {
        norms[0][i] = 2 + draw();
        norms[1][i] = 1 + draw() / 4;
    }
    for (int t = 0; t < TOKENS; t++) {
        for (int i = 0; i < WIDTH; i++) given[t][i] = draw();
        rope_table(ropes[t], ROT, 10000, (uint32_t)t);
    }
}

/* ---- Running ----------------------------------------------------------------- */

struct job {
    struct vec_ops ops;
    struct kv_cache cache;
    const uint32_t *cuts; /* of the first batches; then all the rest */
    int n_cuts;
    float *projected, *scratch, *shared, *out;
    size_t scratch_floats;
};

static void work(const struct member *me, void *arg)
{
    const struct job *j = arg;
    uint32_t n = 0;
    for (uint32_t at = 0, i = 0; at < TOKENS; at += n, i++) {
        n = j->n_cuts && (int)i % (j->n_cuts + 1) < j->n_cuts
                ? j->cuts[i % (uint32_t)(j->n_cuts + 1)]
                : 40;
        if (!j->n_cuts || n > TOKENS - at) n = TOKENS - at;
        attention_team(me, &layer, &j->ops,
                       &(struct attention_run){
                           .cache = &j->cache,
                           .pos = at,
                           .tokens = n,
                           .projected = j->projected + (size_t)at * WIDTH,
                           .rope = ropes[at],
                           .scratch = j->scratch + (size_t)me->id * j->scratch_floats,
                           .shared = j->shared,
                           .out = j->out + (size_t)at * OUT });
    }
}

static float *floats(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void job_init(struct job *j, uint32_t k, uint32_t v, bool exact)
{
    const struct kv_shape shape = { .type_k = k,
                                    .type_v = v,
                                    .head_dim = DIM,
                                    .n_head_kv = KV_HEADS,
                                    .n_ctx = TOKENS,
                                    .exact = exact };
    ggf_error err;
    *j = (struct job){ 0 };
    vec_ops_init(&j->ops);
    ck_assert_msg(!kv_cache_new(&j->cache, &shape, &err), "%s", err.message);
    j->scratch_floats = (attention_scratch(&layer) + 15) / 16 * 16;
    j->projected = floats((size_t)TOKENS * WIDTH);
    j->scratch = floats(3 * j->scratch_floats);
    j->shared = floats(attention_shared(&layer, TOKENS));
    j->out = floats((size_t)TOKENS * OUT);
}

static void job_free(struct job *j)
{
    kv_cache_free(&j->cache);
    free(j->projected);
    free(j->scratch);
    free(j->shared);
    free(j->out);
}

static void job_run(struct job *j, const uint32_t *cuts, int n_cuts, int threads)
{
    j->cuts = cuts;
    j->n_cuts = n_cuts;
    memcpy(j->projected, given, sizeof given);
    memset(j->out, 0xff, (size_t)TOKENS * OUT * sizeof(float));
    team_run(threads, work, j);
}

/* ---- The same by definition ---------------------------------------------------- */

static double norm_scale(const float *x)
{
    double sum = 0;
    for (int i = 0; i < DIM; i++) sum += (double)x[i] * (double)x[i];
    return 1 / sqrt(sum / DIM + 1e-6);
}

/* A query as the products see it; quantized keys meet it rounded to 8 bits. */
static void query_of(double *q, int t, int head, bool rounded)
{
    const float *x = given[t] + (size_t)head * 2 * DIM;
    const double scale = norm_scale(x);
    float f[DIM];
    double max = 0;
    for (int i = 0; i < DIM; i++) f[i] = (float)(x[i] * scale * norms[0][i]);
    rope_apply(f, ropes[t], ROT);
    /* no fmax() of doubles made from floats: gcc 12 for aarch64 dies of it */
    for (int i = 0; i < DIM; i++)
        if (fabs((double)f[i]) > max) max = fabs((double)f[i]);
    for (int i = 0; i < DIM; i++)
        q[i] = rounded ? nearbyint(f[i] / max * 127) * max / 127 : (double)f[i];
}

static void row_of(const struct kv_cache *c, const struct kv_rows *rows, int head, int t,
                   float *x)
{
    rows->decode(kv_row(c, rows, (uint32_t)head, (size_t)t), x, DIM);
}

static void expect(const struct kv_cache *c, int t, int head, double *out)
{
    double q[DIM], weights[TOKENS], sum = 0;
    float x[DIM];
    const int kv_head = head / (HEADS / KV_HEADS);
    query_of(q, t, head, c->k.act != ACT_F32);
    for (int i = 0; i <= t; i++) {
        double dot = 0;
        row_of(c, &c->k, kv_head, i, x);
        for (int d = 0; d < DIM; d++) dot += q[d] * (double)x[d];
        sum += weights[i] = exp(dot / sqrt(DIM));
    }
    memset(out, 0, DIM * sizeof *out);
    for (int i = 0; i <= t; i++) {
        row_of(c, &c->v, kv_head, i, x);
        for (int d = 0; d < DIM; d++) out[d] += weights[i] / sum * (double)x[d];
    }
    const float *gate = given[t] + (2 * (size_t)head + 1) * DIM;
    for (int d = 0; d < DIM; d++) out[d] /= 1 + exp(-(double)gate[d]);
}

static void check_cache(const struct job *j, uint32_t k, uint32_t v)
{
    uint8_t row[DIM * sizeof(float)];
    for (int t = 0; t < TOKENS; t += 101)
        for (int h = 0; h < KV_HEADS; h++) {
            const float *x = given[t] + (size_t)(2 * HEADS + KV_HEADS + h) * DIM;
            encode_for(v)(x, DIM, NULL, row);
            ck_assert_mem_eq(kv_row(&j->cache, &j->cache.v, (uint32_t)h, (size_t)t), row,
                             ggf_row_bytes(v, DIM));
        }
    ck_assert_uint_eq(j->cache.k.row_bytes, ggf_row_bytes(k, DIM));
}

/* ---- Tests ---------------------------------------------------------------------- */

static int n_levels(void)
{
    int n = 0;
    while (cpu_levels[n].name) n++;
    return n;
}

static void check_head(const float *got, const double *want, double bar)
{
    for (int d = 0; d < DIM; d++)
        ck_assert_msg(fabs(got[d] - want[d]) < bar, "%d: %g, not %g", d, (double)got[d],
                      want[d]);
}

/* Keys of each type, values of the next, at each level. */
START_TEST(by_definition)
{
    const uint32_t k = types[_i % TYPES], v = types[(_i + 1) % TYPES];
    cpu_set_mask(cpu_levels[_i / TYPES].flags);
    struct job j;
    double want[DIM];
    job_init(&j, k, v, false);
    /* Values are below 2.  A query's code may fall to the other side of a half. */
    const double bar = j.cache.k.act == ACT_F32 ? 4e-6 : 4e-3;
    job_run(&j, NULL, 0, 1);
    check_cache(&j, k, v);
    for (int t = 0; t < TOKENS; t += t < 5 ? 1 : 37)
        for (int h = 0; h < HEADS; h++) {
            const float *got = j.out + (size_t)t * OUT + (size_t)h * DIM;
            expect(&j.cache, t, h, want);
            check_head(got, want, bar);
        }
    job_free(&j);
    cpu_set_mask(~0u);
}
END_TEST

/* Single tokens take their spans apart, longer batches do not: no bit may differ. */
START_TEST(cuts_and_threads)
{
    static const uint32_t one[] = { 1, 1 }, few[] = { 100, 1, 3, 4, 5, 2, 90, 1, 4 };
    const uint32_t k = types[_i % TYPES], v = types[(_i + 4) % TYPES];
    struct job j;
    job_init(&j, k, v, _i == TYPES);
    const size_t bytes = (size_t)TOKENS * OUT * sizeof(float);
    float *whole = floats((size_t)TOKENS * OUT);
    job_run(&j, NULL, 0, 1);
    memcpy(whole, j.out, bytes);
    job_run(&j, NULL, 0, 3);
    ck_assert_mem_eq(whole, j.out, bytes);
    job_run(&j, one, 2, 2);
    ck_assert_mem_eq(whole, j.out, bytes);
    job_run(&j, few, 9, 3);
    ck_assert_mem_eq(whole, j.out, bytes);
    free(whole);
    job_free(&j);
}
END_TEST

START_TEST(bad_types)
{
    struct kv_shape s = { .head_dim = 48, .n_head_kv = 1, .n_ctx = 4 };
    struct kv_cache c;
    ggf_error err;
    for (uint32_t t = 0; t < GGF_TYPE_COUNT + 2; t++) {
        bool known = false;
        for (int i = 0; i < TYPES; i++) known |= types[i] == t;
        ck_assert_int_eq(kv_type(t), known);
        s.type_k = t;
        s.type_v = GGF_F16;
        const bool whole = t == GGF_F32 || t == GGF_F16 || t == GGF_BF16;
        ck_assert_int_eq(kv_cache_new(&c, &s, &err), whole ? 0 : GGF_E_ARG);
        kv_cache_free(&c);
    }
    s = (struct kv_shape){ GGF_F32, GGF_F32, UINT32_MAX, UINT32_MAX, UINT32_MAX, false };
    ck_assert_int_eq(kv_cache_new(&c, &s, &err), GGF_E_NOMEM);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("attention");
    setup();
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, by_definition, 0, n_levels() * TYPES);
    tcase_add_loop_test(tc, cuts_and_threads, 0, TYPES + 1);
    tcase_add_test(tc, bad_types);
    return SUITE_RUN("attention", tc);
}
