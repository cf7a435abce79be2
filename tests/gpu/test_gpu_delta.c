/* The gated delta rule on the device: against the definition in double, the same bits
 * however a text is cut, states that move between CPU and device in mid-text, and prompts
 * by chunks. */
#include "../../infer/ops/delta.h"
#include "gpu_suite.h"

#include <math.h>

enum { TOKENS = 37, PROMPT = 75, MOST_DIM = 256, MOST_HEADS = 4, MOST_TAPS = 16 };
enum {
    MOST_CHANNELS = 2 * MOST_HEADS * MOST_DIM,
    MOST_WIDTH = MOST_CHANNELS + MOST_HEADS * (MOST_DIM + 2),
    MOST_OUT = MOST_HEADS * MOST_DIM
};

static const struct shape {
    uint32_t dim, n_k_heads, n_v_heads, taps;
} shapes[] = {
    { 128, 2, 4, 4 }, { 8, 1, 1, 1 }, { 24, 2, 4, 3 }, { 40, 1, 3, 16 }, { 256, 1, 2, 4 }
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* What a layer is, what it is given, and what it remembers before that. */
static struct delta_net net;
static uint32_t channels, width, out_row;
static float conv[MOST_TAPS * MOST_CHANNELS], dt[MOST_HEADS], decays[MOST_HEADS],
    norm[MOST_DIM];
static float projected[PROMPT * MOST_WIDTH];
static float conv_before[MOST_TAPS * MOST_CHANNELS],
    s_before[MOST_HEADS * MOST_DIM * MOST_DIM];

static size_t conv_floats(void) { return (size_t)(net.taps - 1) * channels; }
static size_t s_floats(void) { return (size_t)net.n_v_heads * net.dim * net.dim; }

static void fill(uint64_t *state, float *x, size_t n, double from, double to)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(from + (to - from) * splitmix_uniform(state));
}

static void setup_shape(const struct shape *s, uint64_t state)
{
    emulator_seed(state);
    net = (struct delta_net){ .dim = s->dim,
                              .n_k_heads = s->n_k_heads,
                              .n_v_heads = s->n_v_heads,
                              .taps = s->taps,
                              .eps = 1e-6f,
                              .conv = conv,
                              .dt = dt,
                              .a = decays,
                              .norm = norm };
    channels = delta_channels(&net);
    width = channels + s->n_v_heads * (s->dim + 2);
    out_row = s->n_v_heads * s->dim;
    net.in.width = width;
    fill(&state, conv, (size_t)s->taps * channels, -1, 1);
    fill(&state, dt, s->n_v_heads, -1, 1);
    fill(&state, decays, s->n_v_heads, -0.5, -0.01);
    fill(&state, norm, s->dim, 0.5, 1.5);
    fill(&state, projected, (size_t)PROMPT * width, -2, 2);
    memset(projected + (size_t)20 * width, 0, 4 * width * sizeof *projected);
    fill(&state, conv_before, conv_floats(), -2, 2);
    fill(&state, s_before, s_floats(), -1, 1);
}

static void setup(int i) { setup_shape(&shapes[i], (uint64_t)i); }

/* ---- By definition ------------------------------------------------------------- */

/* With each number, how far floats may be from it. */
static double exact_s[MOST_HEADS][MOST_DIM][MOST_DIM], near_s[MOST_HEADS];
static double exact_out[PROMPT][MOST_OUT], near_out[PROMPT][MOST_OUT];
/* What an output is before its norm is a sum with as many squares as this has. */
static double length_s[PROMPT][MOST_HEADS], gate_out[PROMPT][MOST_OUT];

/* Element (i, j) of a head's state: see struct delta_run. */
static size_t element(uint32_t head, uint32_t i, uint32_t j)
{
    const uint32_t panel = j / DELTA_PANEL * DELTA_PANEL, rest = net.dim - panel;
    return (size_t)head * net.dim * net.dim + (size_t)panel * net.dim +
           (size_t)i * (rest < DELTA_PANEL ? rest : DELTA_PANEL) + (j - panel);
}

static double sigm(double x) { return 1 / (1 + exp(-x)); }

static double convolved(uint32_t t, uint32_t channel)
{
    double sum = 0;
    for (uint32_t k = 0; k < net.taps; k++) {
        const uint32_t at = t + k, before = net.taps - 1;
        const float x = at < before ? conv_before[(size_t)at * channels + channel]
                                    : projected[(size_t)(at - before) * width + channel];
        sum += (double)conv[(size_t)k * channels + channel] * (double)x;
    }
    return sum * sigm(sum);
}

static void unit(uint32_t t, uint32_t channel, double *x)
{
    double sum = 0;
    for (uint32_t i = 0; i < net.dim; i++) {
        x[i] = convolved(t, channel + i);
        sum += x[i] * x[i];
    }
    for (uint32_t i = 0; i < net.dim; i++) x[i] /= fmax(sqrt(sum), (double)net.eps);
}

/* One token of one head.  Each column of the state is rounded twice where it is
 * multiplied and added to, and what is added has errors of its own: products summed in
 * chains of at most 32, whose roundings partly cancel, convolutions, norms and gates.
 * Together that is less than 16 half units of the column's and the value's length.  A
 * step makes no error longer, since keys have length 1 and decay and beta are below 1, so
 * they add up. */
static void exact_token(uint32_t t, uint32_t head)
{
    const uint32_t dim = net.dim, shares = net.n_v_heads / net.n_k_heads;
    const uint32_t k_head = head / shares;
    const float *row = projected + (size_t)t * width;
    const float *ba = row + channels + dim * net.n_v_heads + 2 * shares * k_head;
    const double a = (double)ba[shares + head % shares] + (double)dt[head];
    const double decay = exp((double)decays[head] * log1p(exp(a)));
    const double beta = sigm((double)ba[head % shares]), u = 16 * 0x1p-24;
    double q[MOST_DIM] = { 0 }, k[MOST_DIM] = { 0 }, o[MOST_DIM], squares = 0,
           longest = 0, all = 0;
    unit(t, k_head * dim, q);
    unit(t, (net.n_k_heads + k_head) * dim, k);
    for (uint32_t j = 0; j < dim; j++) {
        const double v = convolved(t, (2 * net.n_k_heads + head) * dim + j);
        double p = 0, length = 0;
        o[j] = 0;
        for (uint32_t i = 0; i < dim; i++) p += decay * exact_s[head][i][j] * k[i];
        for (uint32_t i = 0; i < dim; i++) {
            double *s = &exact_s[head][i][j];
            *s = decay * *s + k[i] * beta * (v - p);
            o[j] += *s * q[i] / sqrt(dim);
            length += *s * *s;
        }
        squares += o[j] * o[j];
        all += length + v * v;
        longest = fmax(longest, sqrt(length) + fabs(v));
    }
    near_s[head] += u * longest;
    length_s[t][head] = sqrt(all);
    const double rms = sqrt(squares / dim + (double)net.eps);
    for (uint32_t j = 0; j < dim; j++) {
        const double z = (double)row[channels + head * dim + j];
        const double gate = (double)norm[j] * z * sigm(z) / rms;
        exact_out[t][head * dim + j] = o[j] * gate;
        gate_out[t][head * dim + j] = gate;
        near_out[t][head * dim + j] =
            fabs(gate) *
            (2 * (near_s[head] + u * longest) / sqrt(dim) + 32 * 0x1p-24 * fabs(o[j]));
    }
}

static void exact(uint32_t tokens)
{
    for (uint32_t h = 0; h < net.n_v_heads; h++) {
        near_s[h] = 0;
        for (uint32_t i = 0; i < net.dim; i++)
            for (uint32_t j = 0; j < net.dim; j++)
                exact_s[h][i][j] = (double)s_before[element(h, i, j)];
        for (uint32_t t = 0; t < tokens; t++) exact_token(t, h);
    }
}

static void check_out(const float *out, uint32_t from, uint32_t to)
{
    for (uint32_t t = from; t < to; t++)
        for (uint32_t i = 0; i < out_row; i++)
            near_to((double)out[(size_t)(t - from) * out_row + i], exact_out[t][i],
                    near_out[t][i]);
}

static void check_s(const float *s)
{
    for (uint32_t h = 0; h < net.n_v_heads; h++)
        for (uint32_t i = 0; i < net.dim; i++)
            for (uint32_t j = 0; j < net.dim; j++)
                near_to((double)s[element(h, i, j)], exact_s[h][i][j], near_s[h]);
}

/* ---- On the device --------------------------------------------------------------- */

struct device {
    gpu *g;
    struct gpu_delta d;
    struct gpu_delta_state state;
    float *projected_d, *out_d;
    void *q_d; /* or NULL */
    void *scratch_d;
};

static const float *upload(gpu *g, const float *x, size_t n)
{
    return gpu_memory(g, x, n * sizeof *x);
}

static void device_new(struct device *v)
{
    gpu *g = v->g = gpu_new();
    v->d = (struct gpu_delta){ .dim = net.dim,
                               .n_k_heads = net.n_k_heads,
                               .n_v_heads = net.n_v_heads,
                               .taps = net.taps,
                               .eps = net.eps,
                               .conv_d = upload(g, conv, (size_t)net.taps * channels),
                               .dt_d = upload(g, dt, net.n_v_heads),
                               .a_d = upload(g, decays, net.n_v_heads),
                               .norm_d = upload(g, norm, net.dim) };
    v->state.conv_d = gpu_memory(g, NULL, conv_floats() * sizeof(float) + 4);
    v->state.s_d = gpu_memory(g, NULL, s_floats() * sizeof(float));
    v->projected_d = gpu_memory(g, projected, (size_t)PROMPT * width * sizeof(float));
    v->out_d = gpu_memory(g, NULL, (size_t)PROMPT * out_row * sizeof(float));
    v->q_d = out_row % 32 ? NULL : gpu_memory(g, NULL, gpu_acts_bytes(out_row, PROMPT));
    v->scratch_d = gpu_memory(g, NULL, gpu_delta_scratch(&v->d, PROMPT) + 4);
    v->state.exact = true;
}

static void device_free(struct device *v)
{
    gpu_free(v->g, (void *)v->d.conv_d);
    gpu_free(v->g, (void *)v->d.dt_d);
    gpu_free(v->g, (void *)v->d.a_d);
    gpu_free(v->g, (void *)v->d.norm_d);
    gpu_free(v->g, v->state.conv_d);
    gpu_free(v->g, v->state.s_d);
    gpu_free(v->g, v->projected_d);
    gpu_free(v->g, v->out_d);
    gpu_free(v->g, v->q_d);
    gpu_free(v->g, v->scratch_d);
    gpu_done(v->g);
}

static void device_remember(const struct device *v, const float *kept, const float *s)
{
    gpu_upload(v->g, v->state.conv_d, kept, conv_floats() * sizeof *kept);
    gpu_upload(v->g, v->state.s_d, s, s_floats() * sizeof *s);
}

static void device_run(const struct device *v, uint32_t from, uint32_t to)
{
    gpu_delta_rule(v->g, &v->d, &v->state, to - from,
                   v->projected_d + (size_t)from * width, width, v->scratch_d,
                   v->out_d + (size_t)from * out_row,
                   v->q_d ? (char *)v->q_d + gpu_acts_bytes(out_row, from) : NULL);
}

/* Results are encoded as gpu_encode() does it. */
static void check_encoded(const struct device *v, uint32_t tokens)
{
    const uint64_t bytes = gpu_acts_bytes(out_row, tokens);
    if (!v->q_d) return;
    void *want_d = gpu_memory(v->g, NULL, bytes);
    gpu_encode(v->g, &(struct gpu_acts){ v->out_d, want_d, out_row, tokens });
    void *got = gpu_bytes(v->g, v->q_d, bytes), *want = gpu_bytes(v->g, want_d, bytes);
    ck_assert_mem_eq(got, want, bytes);
    free(got);
    free(want);
    gpu_free(v->g, want_d);
}

/* ---- On the CPU ------------------------------------------------------------------ */

struct call {
    struct delta_state state;
    uint32_t from, to;
    float *out;
};

static void work(const struct member *me, void *arg)
{
    const struct call *c = arg;
    struct vec_ops ops;
    float *scratch = malloc(delta_scratch(&net) * sizeof *scratch);
    ck_assert_ptr_nonnull(scratch);
    vec_ops_init(&ops);
    delta_team(me, &net, &ops, &c->state, c->to - c->from,
               projected + (size_t)c->from * width, scratch, c->out);
    free(scratch);
}

/* ---- Tests ----------------------------------------------------------------------- */

START_TEST(by_definition)
{
    struct device v;
    setup(_i);
    exact(TOKENS);
    device_new(&v);
    device_remember(&v, conv_before, s_before);
    device_run(&v, 0, TOKENS);
    const size_t bytes = (size_t)TOKENS * out_row * sizeof(float);
    float *out = gpu_bytes(v.g, v.out_d, bytes);
    float *s = gpu_bytes(v.g, v.state.s_d, s_floats() * sizeof *s);
    float *kept = gpu_bytes(v.g, v.state.conv_d, conv_floats() * sizeof *kept + 4);
    check_out(out, 0, TOKENS);
    check_s(s);
    check_encoded(&v, TOKENS);
    for (uint32_t i = 0; i + 1 < net.taps; i++)
        ck_assert_mem_eq(kept + (size_t)i * channels,
                         projected + (size_t)(TOKENS - (net.taps - 1) + i) * width,
                         channels * sizeof *kept);

    /* The same text in pieces. */
    static const uint32_t cuts[][4] = {
        { 1, 1, 1, 1 }, { 16, 16, 1, 4 }, { 5, 32 }, { 2, 3, 17, 9 }
    };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        device_remember(&v, conv_before, s_before);
        gpu_zero(v.g, v.out_d, bytes);
        for (uint32_t at = 0, k = 0; at < TOKENS; k++) {
            uint32_t n = cuts[i][k % 4] ? cuts[i][k % 4] : 1;
            if (n > TOKENS - at) n = TOKENS - at;
            device_run(&v, at, at + n);
            at += n;
        }
        float *again = gpu_bytes(v.g, v.out_d, bytes);
        float *s_again = gpu_bytes(v.g, v.state.s_d, s_floats() * sizeof *s);
        float *kept_again =
            gpu_bytes(v.g, v.state.conv_d, conv_floats() * sizeof *kept + 4);
        ck_assert_mem_eq(again, out, bytes);
        ck_assert_mem_eq(s_again, s, s_floats() * sizeof *s);
        ck_assert_mem_eq(kept_again, kept, conv_floats() * sizeof *kept);
        free(again);
        free(s_again);
        free(kept_again);
    }
    free(out);
    free(s);
    free(kept);
    device_free(&v);
}
END_TEST

/* CPU, device and CPU again. */
START_TEST(states_move)
{
    static float kept[MOST_TAPS * MOST_CHANNELS], s[MOST_HEADS * MOST_DIM * MOST_DIM],
        out[TOKENS * MOST_OUT];
    enum { FIRST = 11, SECOND = 25 };
    struct device v;
    setup(_i);
    exact(TOKENS);
    device_new(&v);
    memcpy(kept, conv_before, sizeof kept);
    memcpy(s, s_before, sizeof s);
    struct call c = { { kept, s }, 0, FIRST, out };
    team_run(1, work, &c);
    check_out(out, 0, FIRST);

    device_remember(&v, kept, s);
    device_run(&v, FIRST, SECOND);
    gpu_download(v.g, kept, v.state.conv_d, conv_floats() * sizeof *kept);
    gpu_download(v.g, s, v.state.s_d, s_floats() * sizeof *s);
    gpu_download(v.g, out, v.out_d + (size_t)FIRST * out_row,
                 (size_t)(SECOND - FIRST) * out_row * sizeof *out);
    gpu_wait(v.g);
    check_out(out, FIRST, SECOND);

    c.from = SECOND;
    c.to = TOKENS;
    team_run(1, work, &c);
    check_out(out, SECOND, TOKENS);
    check_s(s);
    device_free(&v);
}
END_TEST

/* ---- By chunks ------------------------------------------------------------------- */

/* An output, and an element of the state, is a sum of some 128 products.  What is rounded
 * to tf32 on the way (state, keys, queries, what is lacking, the inverse, what is added,
 * M) is off by 2^-11 of itself at most, by half as much on average and with any sign: the
 * error, seen as a vector over a head's columns, has no more than 2^-10 of the length of
 * what went in. */
static const double rounding = 0x1p-10;

static void check_chunked_out(const float *out, uint32_t from, uint32_t to)
{
    for (uint32_t t = from; t < to; t++)
        for (uint32_t h = 0; h < net.n_v_heads; h++) {
            double error = 0, gate = 0;
            for (uint32_t j = 0; j < net.dim; j++) {
                const uint32_t at = h * net.dim + j;
                const double off =
                    (double)out[(size_t)t * out_row + at] - exact_out[t][at];
                ck_assert(isfinite(off));
                error += off * off;
                gate = fmax(gate, fabs(gate_out[t][at]));
            }
            ck_assert_double_le(sqrt(error), rounding * gate * length_s[t][h] / net.dim);
        }
}

static void check_chunked_s(const float *s, uint32_t tokens)
{
    for (uint32_t h = 0; h < net.n_v_heads; h++) {
        double error = 0;
        for (uint32_t i = 0; i < net.dim; i++)
            for (uint32_t j = 0; j < net.dim; j++) {
                const double off = (double)s[element(h, i, j)] - exact_s[h][i][j];
                ck_assert(isfinite(off));
                error += off * off;
            }
        ck_assert_double_le(sqrt(error), rounding * length_s[tokens - 1][h]);
    }
}

static const struct chunked {
    struct shape shape;
    uint32_t cuts[6]; /* runs; what has no more than 8 tokens is not by chunks */
} chunked[] = {
    { { 128, 2, 4, 4 }, { 75 } },
    { { 128, 2, 4, 4 }, { 32, 3, 1, 38, 1 } },
    { { 128, 1, 3, 2 }, { 9, 64, 2 } },
    { { 128, 2, 2, 1 }, { 8, 33, 34 } },
    { { 128, 3, 3, 4 }, { 1, 31, 10, 33 } },
};

START_TEST(by_chunks)
{
    const struct chunked *c = &chunked[_i];
    struct device v;
    setup_shape(&c->shape, (uint64_t)_i + SHAPES);
    exact(PROMPT);
    device_new(&v);
    v.state.exact = false;
    device_remember(&v, conv_before, s_before);
    gpu_wait(v.g);
    const uint64_t before = emulator_count().launches;
    /* Others do what they do for few tokens, and what follows that. */
    const uint32_t prompt = gpu_describe(v.g)->major >= 8 ? 3 : 2;
    const bool encode = c->shape.n_v_heads / c->shape.n_k_heads % 2;
    uint32_t launches = 0;
    for (uint32_t at = 0, k = 0; at < PROMPT; at += c->cuts[k++]) {
        device_run(&v, at, at + c->cuts[k]);
        launches += (c->cuts[k] > 8 ? prompt : 1) + encode;
    }
    const size_t bytes = (size_t)PROMPT * out_row * sizeof(float);
    float *out = gpu_bytes(v.g, v.out_d, bytes);
    float *s = gpu_bytes(v.g, v.state.s_d, s_floats() * sizeof *s);
    float *kept = gpu_bytes(v.g, v.state.conv_d, conv_floats() * sizeof *kept + 4);
    if (emulated()) ck_assert_uint_eq(emulator_count().launches, before + launches);
    check_chunked_out(out, 0, PROMPT);
    check_chunked_s(s, PROMPT);
    check_encoded(&v, PROMPT);
    for (uint32_t i = 0; i + 1 < net.taps; i++)
        ck_assert_mem_eq(kept + (size_t)i * channels,
                         projected + (size_t)(PROMPT - (net.taps - 1) + i) * width,
                         channels * sizeof *kept);
    free(out);
    free(s);
    free(kept);
    device_free(&v);
}
END_TEST

/* The last blocks do what follows. */
START_TEST(a_token_is_one_launch)
{
    struct device v;
    setup(0);
    device_new(&v);
    device_remember(&v, conv_before, s_before);
    gpu_wait(v.g);
    const uint64_t before = emulator_count().launches;
    device_run(&v, 0, 1);
    gpu_wait(v.g);
    if (emulated()) ck_assert_uint_eq(emulator_count().launches, before + 1);
    device_free(&v);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("delta");
    tcase_add_loop_test(tc, by_definition, 0, SHAPES);
    tcase_add_loop_test(tc, states_move, 0, SHAPES);
    tcase_add_loop_test(tc, by_chunks, 0, sizeof chunked / sizeof *chunked);
    tcase_add_test(tc, a_token_is_one_launch);
    return GPU_SUITE_RUN("gpu_delta", tc);
}
