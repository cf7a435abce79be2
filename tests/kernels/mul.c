/* mul.c - products of weight rows with activations.
 *
 * Every variant, the plain C one included, is held against a sum in double of what the
 * decoders make of the same bytes; and a batch must give the bits that its rows and
 * tokens give one at a time.  Products with encoded activations must be the bits of plain
 * C, whatever the bytes. */
#include "check.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/act.h"
#include "../../quant/decode.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 37, MAX_TOKENS = 19, MAX_N = 2048 + 256 };
enum {
    BENCH_BYTES = 512 << 20,
    BENCH_LAP = 4 << 20,
    BENCH_N = 2048,
    BENCH_TOKENS = 64,
    BENCH_ROWS = 512
};

struct problem {
    uint32_t type;
    enum act_kind kind;
    size_t n, rows, tokens, w_stride, x_stride;
    const uint8_t *w, *x;
};

/* What element i of an encoded activation stands for. */
static double act_value(const struct problem *p, size_t t, size_t i)
{
    const uint8_t *x = p->x + t * p->x_stride;
    if (p->kind == ACT_F32) {
        float f;
        memcpy(&f, x + 4 * i, 4);
        return f;
    }
    const struct act_block *b = (const struct act_block *)x + i / ACT_BLOCK;
    return (double)b->q[i % ACT_BLOCK] * b->d[i % ACT_BLOCK / 32];
}

/* The product and what its rounding errors are measured by: the size of what is summed,
 * not of the result, which cancellation can make as small as it likes. */
static double exact(const struct problem *p, size_t r, size_t t, double *magnitude)
{
    float w[MAX_N];
    decode_for(p->type)(p->w + r * p->w_stride, w, p->n);
    double sum = 0;
    *magnitude = 0;
    for (size_t i = 0; i < p->n; i++) {
        const double product = w[i] * act_value(p, t, i);
        sum += product;
        *magnitude += fabs(product);
    }
    return sum;
}

static void check_values(const struct problem *p, const float *y, size_t y_stride,
                         int pattern)
{
    for (size_t r = 0; r < p->rows && !check_failed(); r++)
        for (size_t t = 0; t < p->tokens; t++) {
            double magnitude;
            const double want = exact(p, r, t, &magnitude);
            const double tolerance = FLT_EPSILON * (double)(p->n + 16) * magnitude;
            const float got = y[t * y_stride + r];
            if (!(fabs(want - (double)got) <= tolerance)) {
                check_fail("n=%zu rows=%zu tokens=%zu pattern=%d row %zu token %zu: "
                           "%g and not %g",
                           p->n, p->rows, p->tokens, pattern, r, t, (double)got, want);
                return;
            }
        }
}

static void check_alone(const struct problem *p, mul_fn fn, const float *y,
                        size_t y_stride)
{
    for (size_t r = 0; r < p->rows; r++)
        for (size_t t = 0; t < p->tokens; t++) {
            float one = -1;
            fn(&one, 1, p->w + r * p->w_stride, p->w_stride, 1, p->x + t * p->x_stride,
               p->x_stride, 1, p->n);
            if (memcmp(&one, y + t * y_stride + r, sizeof one)) {
                check_fail(
                    "n=%zu rows=%zu tokens=%zu: row %zu of token %zu has other bits "
                    "alone",
                    p->n, p->rows, p->tokens, r, t);
                return;
            }
        }
}

/* Products with encoded activations are the bits of plain C; a NaN may be any NaN. */
static void check_bits(const struct problem *p, mul_fn ref, const float *y,
                       size_t y_stride, int pattern)
{
    for (size_t r = 0; r < p->rows; r++) {
        float want[MAX_TOKENS];
        ref(want, 1, p->w + r * p->w_stride, p->w_stride, 1, p->x, p->x_stride, p->tokens,
            p->n);
        for (size_t t = 0; t < p->tokens; t++) {
            const float got = y[t * y_stride + r];
            if (!memcmp(&got, want + t, sizeof got)) continue;
            if (isnan(got) && isnan(want[t])) continue;
            check_fail("n=%zu rows=%zu tokens=%zu pattern=%d row %zu token %zu: %a and "
                       "in plain C %a",
                       p->n, p->rows, p->tokens, pattern, r, t, (double)got,
                       (double)want[t]);
            return;
        }
    }
}

/* Activations that try the kernel: random, with all codes at an end, or zero. */
static void fill_act(enum act_kind kind, size_t n, void *dst, int pattern)
{
    float x[MAX_N];
    for (size_t i = 0; i < n; i++)
        x[i] = pattern == ROW_RANDOM ? check_rnd_normal()
               : pattern == ROW_ONES ? -3.0f
                                     : 0;
    if (pattern == ROW_ZEROS && n) x[n - 1] = 1;
    act_encode(kind, x, n, dst);
}

struct areas {
    struct area w, x, y;
};

/* One call with its data at the low or high end of guarded memory. */
static void check_call(struct problem p, mul_fn fn, mul_fn ref, const struct areas *a,
                       int high, enum row_pattern pattern)
{
    const size_t row = (size_t)ggf_row_bytes(p.type, p.n), act = act_bytes(p.kind, p.n);
    const size_t y_stride = p.rows + (size_t)high * 3;
    /* the last row ends where its bytes end and not where its stride does */
    const size_t w_size = p.rows ? (p.rows - 1) * p.w_stride + row : 0;
    const size_t x_size = p.tokens ? (p.tokens - 1) * p.x_stride + act : 0;
    const size_t y_size = p.tokens ? ((p.tokens - 1) * y_stride + p.rows) * 4 : 0;
    uint8_t *w = area_place(&a->w, w_size, high), *x = area_place(&a->x, x_size, high);
    float *y = area_place(&a->y, y_size, high);
    for (size_t r = 0; r < p.rows; r++)
        fill_row(p.type, w + r * p.w_stride, p.n, pattern);
    for (size_t t = 0; t < p.tokens; t++)
        fill_act(p.kind, p.n, x + t * p.x_stride,
                 pattern == ROW_WILD ? ROW_RANDOM : (int)((t + pattern) % ROW_WILD));
    p.w = w, p.x = x;
    fn(y, y_stride, w, p.w_stride, p.rows, x, p.x_stride, p.tokens, p.n);
    if (!area_intact(&a->y, y, y_size))
        check_fail("n=%zu rows=%zu tokens=%zu: wrote outside", p.n, p.rows, p.tokens);
    for (size_t t = 0; t + 1 < p.tokens; t++)
        for (size_t r = p.rows; r < y_stride; r++)
            if (((uint8_t *)(y + t * y_stride + r))[0] != a->y.bytes[0] && high)
                check_fail("n=%zu rows=%zu: wrote between the tokens", p.n, p.rows);
    if (p.kind != ACT_F32) check_bits(&p, ref, y, y_stride, pattern);
    if (pattern == ROW_WILD) return; /* numbers that mean nothing */
    check_values(&p, y, y_stride, pattern);
    check_alone(&p, fn, y, y_stride);
}

/* One token: a round reads the next few MB of weights that are larger than all caches, so
 * that the best round is one that was left in peace. */
static void bench_stream(uint32_t type, enum act_kind kind, mul_fn fn)
{
    const size_t row = (size_t)ggf_row_bytes(type, BENCH_N), piece = 128;
    const size_t pieces = BENCH_BYTES / (row * piece);
    uint8_t *w = malloc(pieces * piece * row), *x = malloc(act_bytes(kind, BENCH_N));
    float y[128];
    if (w && x) {
        fill_row(type, w, BENCH_N * piece, ROW_RANDOM);
        for (size_t i = 1; i < pieces; i++) memcpy(w + i * piece * row, w, piece * row);
        fill_act(kind, BENCH_N, x, ROW_RANDOM);
        const size_t lap = BENCH_LAP / (piece * row);
        size_t at = 0;
        for (bench_begin(lap * piece * row); bench_more();
             /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a lap is not all */
             at = (at + lap) % (pieces - lap))
            for (size_t i = at; i < at + lap; i++)
                fn(y, piece, w + i * piece * row, row, piece, x, 0, 1, BENCH_N);
    }
    free(w);
    free(x);
}

static void bench_batch(uint32_t type, enum act_kind kind, mul_fn fn)
{
    const size_t row = (size_t)ggf_row_bytes(type, BENCH_N),
                 act = act_bytes(kind, BENCH_N);
    uint8_t *w = malloc(BENCH_ROWS * row), *x = malloc(BENCH_TOKENS * act);
    float *y = malloc(BENCH_TOKENS * BENCH_ROWS * sizeof *y);
    if (w && x && y) {
        fill_row(type, w, BENCH_N * BENCH_ROWS, ROW_RANDOM);
        for (size_t t = 0; t < BENCH_TOKENS; t++)
            fill_act(kind, BENCH_N, x + t * act, ROW_RANDOM);
        bench_begin(BENCH_ROWS * row);
        bench_unit("MAC", (double)BENCH_ROWS * BENCH_TOKENS * BENCH_N);
        while (bench_more())
            fn(y, BENCH_ROWS, w, row, BENCH_ROWS, x, act, BENCH_TOKENS, BENCH_N);
    }
    free(w);
    free(x);
    free(y);
}

static const char *const kind_names[] = { "f32", "q8_0", "q8_K" };

static void check_kind(uint32_t type, enum act_kind kind)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    const mul_fn fn = mul_for(type, kind);
    /* Types without a float kernel of their own are new when the F32 kernel below is. */
    const bool decoded = kind == ACT_F32 && type != GGF_F16 && type != GGF_BF16;
    const mul_fn key = decoded ? mul_for(GGF_F32, ACT_F32) : fn;
    const mul_fn ref =
        (mul_fn)check_begin((check_fn)key, "mul_%s_%s", t->name, kind_names[kind]);
    if (!ref) return;
    static const size_t sizes[][2] = {
        /* rows, tokens */
        { 1, 1 },        { 3, 2 },           { 16, 1 }, { 17, 3 }, { 4, 8 },
        { MAX_ROWS, 5 }, { 33, MAX_TOKENS }, { 8, 16 }, { 2, 0 },  { 0, 2 },
    };
    const size_t unit = kind == ACT_Q8_0 ? 32 : t->block;
    const size_t row_max = (size_t)ggf_row_bytes(type, MAX_N) + 64;
    struct areas a = { area_new(MAX_ROWS * row_max),
                       area_new(MAX_TOKENS * (act_bytes(kind, MAX_N) + 64)),
                       area_new(MAX_TOKENS * (MAX_ROWS + 3) * sizeof(float)) };
    int high = 0;
    for (int pattern = 0; pattern < ROW_PATTERNS; pattern++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes && !check_failed();
             s++, high ^= 1) {
            const size_t blocks = s == 0   ? 0
                                  : s == 5 ? MAX_N / unit
                                           : 1 + check_rnd() % 9;
            struct problem p = { .type = type, .kind = kind, .n = blocks * unit };
            p.rows = sizes[s][0], p.tokens = sizes[s][1];
            p.w_stride = (size_t)ggf_row_bytes(type, p.n) + check_rnd() % 2 * 36;
            p.x_stride = act_bytes(kind, p.n) + check_rnd() % 2 * 64;
            check_call(p, fn, ref, &a, high, (enum row_pattern)pattern);
        }
    if (bench_wanted()) bench_stream(type, kind, fn);
    check_end();
    if (bench_wanted() &&
        check_begin((check_fn)key, "mul_%s_%s_batch", t->name, kind_names[kind])) {
        bench_batch(type, kind, fn);
        check_end();
    }
    area_free(&a.w);
    area_free(&a.x);
    area_free(&a.y);
}

void check_mul(void)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        if (!ggf_type_info(type)) continue;
        check_kind(type, ACT_F32);
        if (act_kind_of(type, 0) != ACT_F32) check_kind(type, act_kind_of(type, 0));
    }
}
