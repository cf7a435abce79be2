/* Attention on the device: keys and values stored byte for byte as the CPU stores them,
 * results against sums in double over what is stored, each key counted once, and the same
 * bits wherever that is promised. */
#include "../../infer/ops/kv.h"
#include "../../infer/ops/rope.h"
#include "gpu_suite.h"

#include <math.h>

enum { CTX = 224, MOST_DIM = 256, MOST_HEADS = 16, MOST_KV = 2, SHAPES = 5 };
enum { MOST_WIDTH = 2 * (MOST_HEADS + MOST_KV) * MOST_DIM };
enum { MOST_OUT = MOST_HEADS * MOST_DIM, LONG_CTX = 4500 };

static const uint32_t types[] = { GGF_F32,  GGF_F16,  GGF_BF16, GGF_Q8_0,  GGF_Q5_1,
                                  GGF_Q5_0, GGF_Q4_1, GGF_Q4_0, GGF_IQ4_NL };
enum { TYPES = sizeof types / sizeof *types };

static const struct shape {
    uint32_t n_head, n_head_kv, dim, n_rot;
} shapes[SHAPES + 1] = { { 16, 2, 256, 64 }, { 2, 1, 32, 16 },    { 6, 2, 96, 96 },
                         { 3, 1, 160, 2 },   { 12, 1, 128, 128 }, { 3, 1, 256, 64 } };

static struct shape shape;
static uint32_t width, out_row;
static float norms[2][MOST_DIM];
static float given[CTX * MOST_WIDTH];
static double base = 1e7;

static void fill(uint64_t *state, float *x, size_t n, double from, double to)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(from + (to - from) * splitmix_uniform(state));
}

/* Some values that encoders have to treat with care, in the first value head of tokens.
 */
static void unusual(uint32_t token)
{
    float *v = given + (size_t)token * width + 2 * (size_t)shape.n_head * shape.dim +
               (size_t)shape.n_head_kv * shape.dim;
    switch (token % 16) {
    case 3: memset(v, 0, 32 * sizeof *v); break;
    case 5:
        for (int i = 0; i < 32; i++) v[i] = i % 2 ? 0.0f : -0.0f;
        break;
    case 6: v[7] = v[3] = -v[9]; break; /* largest twice, with both signs */
    case 7:
        for (int i = 0; i < 32; i++) v[i] = 1;
        break;
    case 9:
        for (int i = 0; i < 32; i++) v[i] *= 1e-41f; /* subnormal */
        break;
    case 10:
        for (int i = 0; i < 32; i++) v[i] = (float)(i - 15) / 2;
        break;
    default: break;
    }
}

static void setup(int i)
{
    uint64_t state = (uint64_t)i;
    emulator_seed(state);
    shape = shapes[i];
    width = 2 * (shape.n_head + shape.n_head_kv) * shape.dim;
    out_row = shape.n_head * shape.dim;
    fill(&state, norms[0], shape.dim, -0.75, 0.75);
    fill(&state, norms[1], shape.dim, 0.25, 0.75);
    fill(&state, given, (size_t)CTX * width, -1, 1);
    for (uint32_t t = 0; t < CTX; t++) unusual(t);
}

/* ---- On the device --------------------------------------------------------------- */

struct device {
    gpu *g;
    struct gpu_attention a;
    struct gpu_kv kv;
    size_t k_row, v_row;
    uint32_t *pos_d;
    float *projected_d, *out_d;
    void *scratch_d, *q_d;
};

static void device_new(struct device *d, uint32_t type_k, uint32_t type_v, uint32_t n_ctx)
{
    gpu *g = d->g = gpu_new();
    d->a = (struct gpu_attention){ .n_head = shape.n_head,
                                   .n_head_kv = shape.n_head_kv,
                                   .head_dim = shape.dim,
                                   .n_rot = shape.n_rot,
                                   .eps = 1e-6f,
                                   .rope_base = base,
                                   .q_norm_d = gpu_memory(g, norms[0], sizeof norms[0]),
                                   .k_norm_d = gpu_memory(g, norms[1], sizeof norms[1]) };
    d->k_row = ggf_row_bytes(type_k, shape.dim);
    d->v_row = ggf_row_bytes(type_v, shape.dim);
    d->kv =
        (struct gpu_kv){ .k_d = gpu_memory(g, NULL, shape.n_head_kv * n_ctx * d->k_row),
                         .v_d = gpu_memory(g, NULL, shape.n_head_kv * n_ctx * d->v_row),
                         .type_k = type_k,
                         .type_v = type_v,
                         .n_ctx = n_ctx };
    d->pos_d = gpu_memory(g, NULL, sizeof *d->pos_d);
    d->projected_d = gpu_memory(g, given, (size_t)CTX * width * sizeof(float));
    d->out_d = gpu_memory(g, NULL, (size_t)CTX * out_row * sizeof(float));
    d->q_d = gpu_memory(g, NULL, gpu_acts_bytes(out_row, CTX));
    d->scratch_d = gpu_memory(g, NULL, gpu_attention_scratch(&d->a, CTX));
}

static void device_free(struct device *d)
{
    gpu_free(d->g, (void *)d->a.q_norm_d);
    gpu_free(d->g, (void *)d->a.k_norm_d);
    gpu_free(d->g, d->kv.k_d);
    gpu_free(d->g, d->kv.v_d);
    gpu_free(d->g, d->pos_d);
    gpu_free(d->g, d->projected_d);
    gpu_free(d->g, d->out_d);
    gpu_free(d->g, d->q_d);
    gpu_free(d->g, d->scratch_d);
    gpu_done(d->g);
}

/* Tokens from..to - 1 of what is given, at the same positions. */
static void device_run(const struct device *d, uint32_t from, uint32_t to)
{
    const size_t at = (size_t)from * width;
    gpu_upload(d->g, d->pos_d, &from, sizeof from);
    gpu_upload(d->g, d->projected_d + at, given + at,
               (to - from) * (size_t)width * sizeof(float));
    gpu_attend(d->g, &d->a, &d->kv, d->pos_d, to - from, d->projected_d + at, width,
               d->scratch_d, d->out_d + (size_t)from * out_row,
               (char *)d->q_d + gpu_acts_bytes(out_row, from));
}

static float *device_out(const struct device *d, uint32_t from, uint32_t to)
{
    return gpu_bytes(d->g, d->out_d + (size_t)from * out_row,
                     (to - from) * (size_t)out_row * sizeof(float));
}

/* ---- What is stored ---------------------------------------------------------------- */

static const float *query_given(uint32_t t, uint32_t head)
{
    return given + (size_t)t * width + (size_t)head * 2 * shape.dim;
}
static const float *key_given(uint32_t t, uint32_t kv_head)
{
    return given + (size_t)t * width + (size_t)(2 * shape.n_head + kv_head) * shape.dim;
}
static const float *value_given(uint32_t t, uint32_t kv_head)
{
    return key_given(t, shape.n_head_kv + kv_head);
}

/* Norm and rotation. */
static void prepared(const float *x, const float *weight, uint32_t pos, double *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < shape.dim; i++) sum += (double)x[i] * (double)x[i];
    for (uint32_t i = 0; i < shape.dim; i++)
        y[i] = (double)x[i] * (double)weight[i] / sqrt(sum / shape.dim + (double)1e-6f);
    for (uint32_t i = 0; i < shape.n_rot / 2; i++) {
        const double angle = pos * pow(base, -2.0 * i / shape.n_rot);
        const double a = y[i], b = y[shape.n_rot / 2 + i];
        y[i] = a * cos(angle) - b * sin(angle);
        y[shape.n_rot / 2 + i] = a * sin(angle) + b * cos(angle);
    }
}

/* All rows of keys or values, as numbers. */
static float *decoded(const struct device *d, bool keys, uint32_t n_ctx)
{
    const uint32_t type = keys ? d->kv.type_k : d->kv.type_v;
    const size_t row = keys ? d->k_row : d->v_row, rows = (size_t)shape.n_head_kv * n_ctx;
    void *bytes = gpu_bytes(d->g, keys ? d->kv.k_d : d->kv.v_d, rows * row);
    float *x = malloc(rows * shape.dim * sizeof *x);
    ck_assert_ptr_nonnull(x);
    decode_for(type)(bytes, x, rows * shape.dim);
    free(bytes);
    return x;
}

/* Keys in binary32 are what they should be, up to the rounding of norm and angle; of
 * those, and of values, all other types hold the CPU's bytes. */
START_TEST(bytes_are_the_cpus)
{
    enum { TOKENS = 18 };
    struct device d;
    setup(_i);
    device_new(&d, GGF_F32, GGF_F32, CTX);
    device_run(&d, 0, TOKENS);
    float *k = decoded(&d, true, CTX);
    device_free(&d);
    for (uint32_t h = 0; h < shape.n_head_kv; h++)
        for (uint32_t t = 0; t < TOKENS; t++) {
            double want[MOST_DIM] = { 0 };
            const float *row = k + ((size_t)h * CTX + t) * shape.dim;
            prepared(key_given(t, h), norms[1], t, want);
            for (uint32_t i = 0; i < shape.dim; i++)
                near_to((double)row[i], want[i], 32 * 0x1p-24 * 2);
        }
    for (int n = 0; n < TYPES; n++) {
        const encode_fn encode = encode_for(types[n]);
        uint8_t want[4 * MOST_DIM];
        device_new(&d, types[n], types[n], CTX);
        device_run(&d, 0, TOKENS);
        uint8_t *keys = gpu_bytes(d.g, d.kv.k_d, shape.n_head_kv * CTX * d.k_row);
        uint8_t *values = gpu_bytes(d.g, d.kv.v_d, shape.n_head_kv * CTX * d.v_row);
        for (uint32_t h = 0; h < shape.n_head_kv; h++)
            for (uint32_t t = 0; t < TOKENS; t++) {
                const size_t row = (size_t)h * CTX + t;
                encode(k + row * shape.dim, shape.dim, NULL, want);
                ck_assert_mem_eq(keys + row * d.k_row, want, d.k_row);
                encode(value_given(t, h), shape.dim, NULL, want);
                ck_assert_mem_eq(values + row * d.v_row, want, d.v_row);
            }
        free(keys);
        free(values);
        device_free(&d);
    }
    free(k);
}
END_TEST

/* ---- Results ----------------------------------------------------------------------- */

/* One head of one token over stored keys and values.  `unit` is how much queries, keys,
 * values and weights may be off, relatively: a score by as much of the sum of magnitudes,
 * twice; a weight by e to that, and its own rounding. */
static void check_head(const float *k, const float *v, uint32_t n_ctx, uint32_t t,
                       uint32_t head, const float *got, double unit)
{
    static double weight[LONG_CTX];
    const uint32_t dim = shape.dim;
    const size_t first = (size_t)(head / (shape.n_head / shape.n_head_kv)) * n_ctx;
    const float *gate = query_given(t % CTX, head) + dim;
    double q[MOST_DIM] = { 0 }, max = -INFINITY, most = 0, sum = 0;
    prepared(query_given(t % CTX, head), norms[0], t, q);
    for (uint32_t j = 0; j <= t; j++) {
        double score = 0, magnitude = 0;
        for (uint32_t i = 0; i < dim; i++) {
            const double x = q[i] * (double)k[(first + j) * dim + i] / sqrt(dim);
            score += x;
            magnitude += fabs(x);
        }
        weight[j] = score;
        max = fmax(max, score);
        most = fmax(most, magnitude);
    }
    for (uint32_t j = 0; j <= t; j++) sum += weight[j] = exp(weight[j] - max);
    const double off = 2 * expm1(2 * unit * most) + 2 * unit + 64 * 0x1p-24;
    for (uint32_t i = 0; i < dim; i++) {
        double want = 0, magnitude = 0;
        for (uint32_t j = 0; j <= t; j++) {
            const double x = weight[j] * (double)v[(first + j) * dim + i] / sum;
            want += x;
            magnitude += fabs(x);
        }
        const double gated = 1 / (1 + exp(-(double)gate[i]));
        /* 2^-24: values that are subnormal as binary16 */
        near_to((double)got[i], want * gated, gated * (off * magnitude + unit * 0x1p-12));
    }
}

static void check(const struct device *d, uint32_t n_ctx, uint32_t from, uint32_t to,
                  double unit)
{
    float *k = decoded(d, true, n_ctx), *v = decoded(d, false, n_ctx);
    float *out = device_out(d, from % CTX, from % CTX + (to - from));
    for (uint32_t t = from; t < to; t++)
        for (uint32_t h = 0; h < shape.n_head; h++)
            check_head(k, v, n_ctx, t, h,
                       out + ((size_t)(t - from) * shape.n_head + h) * shape.dim, unit);
    free(k);
    free(v);
    free(out);
}

/* The results of tokens 0 .. n - 1 are encoded as gpu_encode() does it. */
static void check_encoded(const struct device *d, uint32_t n)
{
    const uint64_t bytes = gpu_acts_bytes(out_row, n);
    void *want_d = gpu_memory(d->g, NULL, bytes);
    gpu_encode(d->g, &(struct gpu_acts){ d->out_d, want_d, out_row, n });
    void *got = gpu_bytes(d->g, d->q_d, bytes), *want = gpu_bytes(d->g, want_d, bytes);
    ck_assert_mem_eq(got, want, bytes);
    free(got);
    free(want);
    gpu_free(d->g, want_d);
}

/* Roundings of binary32 in a score, of binary16 in it. */
#define UNIT_F32 (32 * 0x1p-24)
#define UNIT_F16 (1.1 * 0x1p-11)

/* Many tokens, then some, then one; all types of keys with two shapes, and mixed with
 * others of values; binary16 with the other shapes. */
START_TEST(by_definition)
{
    static const int others[] = { 0, 2, 4 };
    const bool all = _i < 2 * TYPES;
    struct device d;
    setup(all ? 1 + _i / TYPES * 2 : others[_i - 2 * TYPES]);
    const uint32_t type_k = all ? types[_i % TYPES] : GGF_F16;
    const uint32_t type_v = all ? types[(_i + _i / TYPES * 3) % TYPES] : GGF_F16;
    const bool exact = type_k == GGF_F32 || type_v == GGF_F32;
    device_new(&d, type_k, type_v, CTX);
    device_run(&d, 0, 41);
    device_run(&d, 41, 49);
    device_run(&d, 49, 70);
    device_run(&d, 70, 71);
    check_encoded(&d, 71);
    check(&d, CTX, 0, 41, exact ? UNIT_F32 : UNIT_F16);
    check(&d, CTX, 41, 49, UNIT_F32);
    check(&d, CTX, 49, 70, exact ? UNIT_F32 : UNIT_F16);
    check(&d, CTX, 70, 71, UNIT_F32);
    device_free(&d);
}
END_TEST

/* A token has the same bits alone and among FEW; in binary32, among any number. */
START_TEST(same_bits_in_any_company)
{
    enum { FEW = 8, TOKENS = 68 };
    const uint32_t type = (uint32_t[]){ GGF_F16, GGF_Q8_0, GGF_F32 }[_i / 2];
    struct device d;
    setup(_i % 2 ? 1 : 3);
    device_new(&d, type, type, CTX);
    for (uint32_t t = 0; t < TOKENS; t++) device_run(&d, t, t + 1);
    float *alone = device_out(&d, 0, TOKENS);
    const uint32_t step = type == GGF_F32 ? 31 : FEW;
    for (uint32_t t = 0; t < TOKENS; t += step)
        device_run(&d, t, t + step < TOKENS ? t + step : TOKENS);
    float *together = device_out(&d, 0, TOKENS);
    ck_assert_mem_eq(alone, together, (size_t)TOKENS * out_row * sizeof(float));
    free(alone);
    free(together);
    device_free(&d);
}
END_TEST

/* Queries that are nothing give each key the same weight; value j is 1 in column j alone,
 * so that a result says which keys were counted. */
START_TEST(keys_are_counted_once)
{
    static const uint32_t steps[] = { 8, 41, CTX };
    struct device d;
    const uint32_t step = steps[_i];
    setup(5);
    memset(norms[0], 0, sizeof norms[0]);
    for (uint32_t t = 0; t < CTX; t++) {
        float *row = given + (size_t)t * width;
        for (uint32_t i = 0; i < shape.dim; i++) {
            for (uint32_t h = 0; h < shape.n_head_kv; h++)
                ((float *)value_given(t, h))[i] = i == t;
            for (uint32_t h = 0; h < shape.n_head; h++)
                row[(2 * h + 1) * shape.dim + i] = 0;
        }
    }
    device_new(&d, GGF_F16, GGF_F16, CTX);
    for (uint32_t t = 0; t < CTX; t += step)
        device_run(&d, t, t + step < CTX ? t + step : CTX);
    float *out = device_out(&d, 0, CTX);
    for (uint32_t t = 0; t < CTX; t++)
        for (uint32_t h = 0; h < shape.n_head; h++)
            for (uint32_t i = 0; i < shape.dim; i++) {
                const double want = i <= t ? 0.5 / (t + 1) : 0;
                near_to((double)out[(size_t)t * out_row + h * shape.dim + i], want,
                        8 * 0x1p-24 * want);
            }
    free(out);
    device_free(&d);
}
END_TEST

/* Keys beyond the largest number of splits times the smallest split. */
START_TEST(a_long_context)
{
    struct device d;
    uint64_t state = 1;
    setup(1);
    const size_t bytes = (size_t)LONG_CTX * shape.n_head_kv * shape.dim * 2;
    uint16_t *halves = malloc(bytes);
    ck_assert_ptr_nonnull(halves);
    device_new(&d, GGF_F16, GGF_F16, LONG_CTX);
    for (int keys = 0; keys < 2; keys++) {
        /* between 2^-7 and 1, of both signs */
        for (size_t i = 0; i < bytes / 2; i++)
            halves[i] = (uint16_t)(0x2000 + splitmix_below(&state, 0x1c00) +
                                   0x8000 * splitmix_below(&state, 2));
        gpu_upload(d.g, keys ? d.kv.k_d : d.kv.v_d, halves, bytes);
    }
    const uint32_t tokens = _i ? 20 : 2, pos = LONG_CTX - tokens;
    const uint32_t at = pos % CTX;
    ck_assert_uint_le(at + tokens, CTX);
    gpu_upload(d.g, d.pos_d, &pos, sizeof pos);
    gpu_attend(d.g, &d.a, &d.kv, d.pos_d, tokens, d.projected_d + (size_t)at * width,
               width, d.scratch_d, d.out_d + (size_t)at * out_row, NULL);
    check(&d, LONG_CTX, pos, LONG_CTX, _i ? UNIT_F16 : UNIT_F32);
    free(halves);
    device_free(&d);
}
END_TEST

/* What was recorded once is good for every position. */
START_TEST(a_graph_for_all_positions)
{
    enum { TOKENS = 70 };
    struct device d;
    ggf_error err;
    gpu_graph *graph;
    setup(1);
    device_new(&d, GGF_Q8_0, GGF_F16, CTX);
    for (uint32_t t = 0; t < TOKENS; t++) device_run(&d, t, t + 1);
    float *want = device_out(&d, 0, TOKENS);
    ck_assert_int_eq(gpu_graph_begin(d.g, &err), 0);
    gpu_attend(d.g, &d.a, &d.kv, d.pos_d, 1, d.projected_d, width, d.scratch_d, d.out_d,
               NULL);
    ck_assert_int_eq(gpu_graph_end(d.g, &graph, &err), 0);
    for (uint32_t t = 0; t < TOKENS; t++) {
        gpu_upload(d.g, d.pos_d, &t, sizeof t);
        gpu_upload(d.g, d.projected_d, given + (size_t)t * width, width * sizeof(float));
        gpu_graph_run(d.g, graph);
        float *out = device_out(&d, 0, 1);
        ck_assert_mem_eq(out, want + (size_t)t * out_row, out_row * sizeof *out);
        free(out);
    }
    free(want);
    gpu_graph_free(graph);
    device_free(&d);
}
END_TEST

/* What comes later changes nothing, to the bit; a token sees itself. */
START_TEST(the_future_does_not_matter)
{
    enum { TOKENS = 45 };
    struct device d;
    setup(_i);
    device_new(&d, GGF_F16, GGF_Q4_0, CTX);
    device_run(&d, 0, TOKENS);
    float *before = device_out(&d, 0, TOKENS);
    for (uint32_t i = 0; i < width; i++) given[(size_t)(TOKENS - 1) * width + i] *= -3;
    device_run(&d, 0, TOKENS);
    float *after = device_out(&d, 0, TOKENS);
    ck_assert_mem_eq(before, after, (size_t)(TOKENS - 1) * out_row * sizeof(float));
    for (uint32_t h = 0; h < shape.n_head; h++) {
        const size_t at = (size_t)(TOKENS - 1) * out_row + h * shape.dim;
        ck_assert_mem_ne(before + at, after + at, shape.dim * sizeof(float));
    }
    free(before);
    free(after);
    device_free(&d);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("attention");
    tcase_add_loop_test(tc, bytes_are_the_cpus, 0, SHAPES);
    tcase_add_loop_test(tc, by_definition, 0, 2 * TYPES + 3);
    tcase_add_loop_test(tc, same_bits_in_any_company, 0, 6);
    tcase_add_loop_test(tc, keys_are_counted_once, 0, 3);
    tcase_add_loop_test(tc, a_long_context, 0, 2);
    tcase_add_test(tc, a_graph_for_all_positions);
    tcase_add_loop_test(tc, the_future_does_not_matter, 0, SHAPES);
    return GPU_SUITE_RUN("gpu_attention", tc);
}
