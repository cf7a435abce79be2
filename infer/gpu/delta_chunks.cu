/* delta_chunks.cu - the gated delta rule for prompts: 32 tokens at once, by products of
 * matrices ("Gated Delta Networks", Yang et al. 2024, where keys of a chunk are called
 * K, and so on).  With S the state before the chunk, [dim, dim], and decay(i) from its
 * beginning up to and with token i:
 *
 *   X = V - decay(i) K S            what the state lacks of the values
 *   C = (1 + L)^-1 beta X           what is added to it, for each token:
 *       L(i, j) = beta(i) decay(i) / decay(j) k(i) k(j) for tokens j before i, as
 *       what token j adds is there for token i
 *   out = decay(i) Q S + M C        M(i, j) = decay(i) / decay(j) q(i) k(j), j up to i
 *   S = decay(last) S + K^T decay(last) / decay(j) C
 *
 * prepare_chunks() does what does not need the state, all chunks at the same time:
 * convolutions, unit keys and queries, (1 + L)^-1 beta and M.  advance_chunks() takes a
 * state through the chunks, one after the other.
 *
 * All products are of tf32: what goes into them is rounded to 11 bits, sums are in
 * binary32.  An element of the inverse is at most 1, since it is a product of a key, of
 * matrices that make no vector longer, and of another key; so no error grows. */
#include "delta.cuh"
#include "mma.cuh"

constexpr uint32_t CHUNK = WARP; /* tokens */
constexpr uint32_t DIM = 128, TAPS = 4;
constexpr uint32_t PREPARE_WARPS = 8, MOST_SHARES = PREPARE_WARPS;
constexpr uint32_t HALF = CHUNK / 2; /* tokens that are convolved together */

/* What prepare_chunks() leaves for a chunk: of each key head, and of each value head.  In
 * rows for each token. */
struct alignas(16) chunk_keys {
    float k[CHUNK * DIM], q[CHUNK * DIM];
};
struct alignas(16) chunk_head {
    float solve[CHUNK * CHUNK]; /* (1 + L)^-1 beta */
    float mix[CHUNK * CHUNK];   /* M; not there where all of a 16 x 16 is zero */
    float since[CHUNK];         /* decay(i) */
    float until[CHUNK];         /* decay(last) / decay(i) */
};

struct chunks {
    struct chunk_keys *keys;  /* [n_k_heads, chunks] */
    struct chunk_head *heads; /* [n_v_heads, chunks] */
};

/* ---- Matrices in shared memory ---------------------------------------------------- */

/* Operands of products (see mma_tf32_k8()) have rows of 32 or 128 numbers, in pieces of
 * four, and are read by a warp in two ways, with g = lane / 4 and t = lane % 4:
 *
 *   rows     of row 16 i + 2 g, or the one behind it, numbers 16 m + 4 t to 4 t + 3
 *   columns  of row 16 i + 4 t + 0, 1, 2 or 3, numbers 16 m + 2 g and 2 g + 1
 *
 * So number t of an operand's 8 along k stands for 4 t or 4 t + 1, and t + 4 for the
 * number 2 behind; its row or column g for 2 g or 2 g + 1.  A product's result is then in
 * place to be the operand of another one, without leaving the registers.  Pieces of a row
 * are exchanged such that each way meets all banks. */
static __device__ uint32_t turned(uint32_t row, uint32_t piece)
{
    return piece ^ (row / 2 % 2 * 4) ^ (row / 4 % 4 * 2);
}

/* In both, what depends on the lane is apart from what is known to the compiler, so that
 * there are few addresses. */
template <uint32_t WIDTH>
static __device__ float4 by_row(const float *matrix, uint32_t i, uint32_t second,
                                uint32_t m)
{
    const uint32_t row = lane_of() / 4 * 2, piece = m % 2 * 4 + lane_of() % 4;
    const float *const own = matrix + row * WIDTH + 4 * turned(row, piece);
    return *(const float4 *)(own + (16 * i + second) * WIDTH + m / 2 * 32);
}

template <uint32_t WIDTH>
static __device__ float2 by_column(const float *matrix, uint32_t i, uint32_t at,
                                   uint32_t m)
{
    const uint32_t g = lane_of() / 4, row = lane_of() % 4 * 4;
    const uint32_t piece = (m ^ at / 2) % 2 * 4 + g / 2;
    const float *const own = matrix + row * WIDTH + 4 * turned(row, piece) + g % 2 * 2;
    return *(const float2 *)(own + (16 * i + at) * WIDTH + m / 2 * 32);
}

/* What a lane has of 16 x 16 sums: number k is of row g, or g + 8 for k / 2 odd, and of
 * column 4 t + place(k). */
struct sums {
    float v[8];
};
static __device__ uint32_t place(uint32_t k) { return k / 4 + k % 2 * 2; }

/* 16 numbers along k of a left operand. */
struct left {
    uint32_t word[2][4];
};

static __device__ struct left left_of(const struct sums &c)
{
    struct left a;
#pragma unroll
    for (uint32_t s = 0; s < 2; s++) {
        const float *const v = c.v + 4 * s;
        a.word[s][0] = tf32(v[0]), a.word[s][1] = tf32(v[2]);
        a.word[s][2] = tf32(v[1]), a.word[s][3] = tf32(v[3]);
    }
    return a;
}

/* The same of rows 16 i to 16 i + 15 in shared memory, even ones first. */
template <uint32_t WIDTH>
static __device__ struct left left_rows(const float *matrix, uint32_t i, uint32_t m)
{
    const float4 even = by_row<WIDTH>(matrix, i, 0, m);
    const float4 odd = by_row<WIDTH>(matrix, i, 1, m);
    return { { { float_bits(even.x), float_bits(odd.x), float_bits(even.z),
                 float_bits(odd.z) },
               { float_bits(even.y), float_bits(odd.y), float_bits(even.w),
                 float_bits(odd.w) } } };
}

/* c += a times 8 rows of b: what by_row() read of them. */
static __device__ void times_row(float c[4], const struct left &a, float4 b)
{
    const uint32_t first[2] = { float_bits(b.x), float_bits(b.z) };
    const uint32_t second[2] = { float_bits(b.y), float_bits(b.w) };
    mma_tf32_k8(c, a.word[0], first);
    mma_tf32_k8(c, a.word[1], second);
}

/* c += a b^T, of 16 rows of b from 16 i on, 16 numbers from 16 m on. */
template <uint32_t WIDTH>
static __device__ void times_rows(struct sums *c, const struct left &a, const float *b,
                                  uint32_t i, uint32_t m)
{
    times_row(c->v, a, by_row<WIDTH>(b, i, 0, m));
    times_row(c->v + 4, a, by_row<WIDTH>(b, i, 1, m));
}

/* c += a b, of 16 rows of b from 16 i on, 16 columns from 16 m on. */
template <uint32_t WIDTH>
static __device__ void times_columns(struct sums *c, const struct left &a, const float *b,
                                     uint32_t i, uint32_t m)
{
#pragma unroll
    for (uint32_t s = 0; s < 2; s++) {
        const float2 v = by_column<WIDTH>(b, i, s, m);
        const float2 w = by_column<WIDTH>(b, i, s + 2, m);
        const uint32_t first[2] = { float_bits(v.x), float_bits(w.x) };
        const uint32_t second[2] = { float_bits(v.y), float_bits(w.y) };
        mma_tf32_k8(c->v, a.word[s], first);
        mma_tf32_k8(c->v + 4, a.word[s], second);
    }
}

static __device__ float rounded(float v) { return bits_float(tf32(v)); }

/* ---- Before the state ------------------------------------------------------------ */

/* All channels of a key head and its value heads, convolved.  values: of the chunk's
 * first token, in rows of `row`. */
static __device__ void convolve_chunk(const struct gpu_delta *d, const float *state,
                                      const struct run *chunk, uint32_t k_head,
                                      struct chunk_keys *to, float *values, uint32_t row)
{
    const uint32_t n = (2 + d->n_v_heads / d->n_k_heads) * DIM;
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
        const uint32_t channel = channel_of(d, k_head, i), of = i / DIM;
        const uint32_t stride = of < 2 ? DIM : row;
        float *const y = of == 0   ? to->q + i
                         : of == 1 ? to->k + i % DIM
                                   : values + (i - 2 * DIM);
#pragma unroll 1
        for (uint32_t t = 0; t < chunk->n; t += HALF) {
            const struct run run = { chunk->projected, chunk->width, chunk->first + t,
                                     min(HALF, chunk->n - t) };
            struct window<TAPS, HALF> win;
            load(&win, d, state, &run, channel);
            convolve(&win, run.n, y + t * stride, stride);
        }
    }
}

/* A row gets this length, rounded. */
static __device__ float4 of_length(float4 v, float length, float eps)
{
    const float scale = length / fmaxf(sqrtf(warp_sum(squares(v))), eps);
    return make_float4(rounded(v.x * scale), rounded(v.y * scale), rounded(v.z * scale),
                       rounded(v.w * scale));
}

/* Rows become unit keys, and queries that have the output's scale; of tokens that are not
 * there zeros.  `to` gets them as they are, `stage` as by_row() wants them. */
static __device__ void keys_and_queries(const struct gpu_delta *d, uint32_t n,
                                        struct chunk_keys *stage, struct chunk_keys *to)
{
    const float scale = 1.0f / sqrtf((float)DIM);
    for (uint32_t t = warp_of(); t < CHUNK; t += PREPARE_WARPS) {
        const uint32_t at = t * DIM + 4 * lane_of();
        const uint32_t into = t * DIM + 4 * turned(t, lane_of());
        float4 k = make_float4(0, 0, 0, 0), q = k;
        if (t < n) {
            k = of_length(*(const float4 *)(stage->k + at), 1, d->eps);
            q = of_length(*(const float4 *)(stage->q + at), scale, d->eps);
        }
        warp_sync();
        *(float4 *)(stage->k + into) = *(float4 *)(to->k + at) = k;
        *(float4 *)(stage->q + into) = *(float4 *)(to->q + at) = q;
    }
}

/* Of a value head, a lane for each token: the sum of the logarithms of the decays so far,
 * and beta.  Tokens that are not there do not let the state decay; as they have no keys,
 * they change nothing. */
static __device__ void gates(const struct gpu_delta *d, const struct run *run,
                             uint32_t head, float *logs, float *betas,
                             struct chunk_head *to)
{
    const uint32_t t = lane_of();
    const struct gate g = load_gate(d, run, head, min(t, run->n - 1));
    float sum = t < run->n ? log_decay(g) : 0;
#pragma unroll
    for (uint32_t step = 1; step < WARP; step *= 2) {
        const float before = lane_get(sum, t >= step ? t - step : t);
        if (t >= step) sum += before;
    }
    logs[t] = sum;
    betas[t] = sigmoid(g.beta);
    to->since[t] = expf(sum);
    to->until[t] = expf(lane_get(sum, CHUNK - 1) - sum);
}

/* 16 x 16 products of rows of a from 16 i on and keys from 16 j on. */
static __device__ struct sums products_16(const float *a, const float *keys, uint32_t i,
                                          uint32_t j)
{
    struct sums c = {};
#pragma unroll 2
    for (uint32_t m = 0; m < DIM / 16; m++)
        times_rows<DIM>(&c, left_rows<DIM>(a, i, m), keys, j, m);
    return c;
}

/* k(i) k(j) into `to`, rows of CHUNK + 1. */
static __device__ void key_products(const struct sums &c, uint32_t i, uint32_t j,
                                    float *to)
{
    const uint32_t row = 16 * i + 2 * (lane_of() / 4);
    const uint32_t column = 16 * j + 4 * (lane_of() % 4);
#pragma unroll
    for (uint32_t k = 0; k < 8; k++)
        to[(row + k / 2 % 2) * (CHUNK + 1) + column + place(k)] = c.v[k];
}

/* M of a value head. */
static __device__ void query_products(const struct sums &c, uint32_t i, uint32_t j,
                                      const float *logs, struct chunk_head *to)
{
    const uint32_t row = 16 * i + 2 * (lane_of() / 4);
    const uint32_t column = 16 * j + 4 * (lane_of() % 4);
#pragma unroll
    for (uint32_t k = 0; k < 8; k++) {
        const uint32_t r = row + k / 2 % 2, at = column + place(k);
        const float decay = at <= r ? expf(logs[r] - logs[at]) : 0;
        to->mix[r * CHUNK + at] = rounded(c.v[k] * decay);
    }
}

/* (1 + L)^-1 beta of a value head, by a warp: a lane has a column, from above.  l: room
 * for L. */
static __device__ void solve(const float *products, const float *logs, const float *betas,
                             float *l, struct chunk_head *to)
{
    const uint32_t j = lane_of();
    float x[CHUNK];
    for (uint32_t i = 0; i < CHUNK; i++)
        l[i * CHUNK + j] =
            j < i ? betas[i] * products[i * (CHUNK + 1) + j] * expf(logs[i] - logs[j])
                  : 0;
    warp_sync();
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; i++) {
        float sum = i == j;
#pragma unroll
        for (uint32_t k = 0; k < i; k += 4) {
            const float4 v = *(const float4 *)(l + i * CHUNK + k);
            sum -= v.x * x[k];
            if (k + 1 < i) sum -= v.y * x[k + 1];
            if (k + 2 < i) sum -= v.z * x[k + 2];
            if (k + 3 < i) sum -= v.w * x[k + 3];
        }
        x[i] = sum;
        to->solve[i * CHUNK + j] = rounded(sum * betas[j]);
    }
}

/* A block has a chunk of a key head and the value heads that share it; convolved values
 * go to `out`. */
static __global__ void __launch_bounds__(PREPARE_WARPS *WARP, 2)
    prepare_chunks(const __grid_constant__ struct gpu_delta d, const float *state,
                   uint32_t tokens, const float *projected, size_t width,
                   struct chunks to, float *out)
{
    SHARED(struct chunk_keys, stage, ); /* at last room for the L of each warp */
    SHARED(float, products, [CHUNK * (CHUNK + 1)]);
    SHARED(float, logs, [MOST_SHARES * CHUNK]);
    SHARED(float, betas, [MOST_SHARES * CHUNK]);
    const uint32_t chunk = blockIdx.x, k_head = blockIdx.y, warp = warp_of();
    const uint32_t shares = d.n_v_heads / d.n_k_heads, first = k_head * shares;
    const struct run run = { projected, width, chunk * CHUNK,
                             min(CHUNK, tokens - chunk * CHUNK) };
    const size_t row = (size_t)d.n_v_heads * DIM;
    struct chunk_head *const heads = to.heads + (size_t)chunk * d.n_v_heads + first;
    float *const own_logs = logs + warp * CHUNK, *const own_betas = betas + warp * CHUNK;
    after_previous();

    convolve_chunk(&d, state, &run, k_head, &stage, out + run.first * row + first * DIM,
                   (uint32_t)row);
    if (warp < shares) gates(&d, &run, first + warp, own_logs, own_betas, heads + warp);
    block_sync();
    keys_and_queries(&d, run.n, &stage, to.keys + (size_t)chunk * d.n_k_heads + k_head);
    block_sync();
    /* The lower triangle of either has three quarters. */
    if (warp < 6) {
        const uint32_t i = warp % 3 != 0, j = warp % 3 == 2;
        const struct sums c = products_16(warp < 3 ? stage.k : stage.q, stage.k, i, j);
        if (warp < 3) key_products(c, i, j, products);
        for (uint32_t h = 0; warp >= 3 && h < shares; h++)
            query_products(c, i, j, logs + h * CHUNK, heads + h);
    }
    block_sync();
    float *const room = (float *)&stage + warp * CHUNK * CHUNK;
    if (warp < shares) solve(products, own_logs, own_betas, room, heads + warp);
}

/* ---- The state ------------------------------------------------------------------- */

constexpr uint32_t ADVANCE_WARPS = 4; /* of a block, */
constexpr uint32_t ADVANCE_THREADS = ADVANCE_WARPS * WARP;
constexpr uint32_t COLUMNS = 16;           /* of a warp: a panel of the state */
constexpr uint32_t GROUPS = DIM / COLUMNS; /* panels; and 16s of its rows */

/* What a chunk has in shared memory; there is room for two. */
struct staged {
    struct chunk_keys keys;
    struct chunk_head head;
};
static_assert(GROUPS % ADVANCE_WARPS == 0, "whole blocks");

/* CHUNK rows of WIDTH numbers on their way to where by_row() looks for them. */
template <uint32_t WIDTH> static __device__ void fetch(float *to, const float *from)
{
    constexpr uint32_t PIECES = WIDTH / 4;
#pragma unroll
    for (uint32_t k = 0; k < CHUNK * PIECES / ADVANCE_THREADS; k++) {
        const uint32_t i = threadIdx.x + k * ADVANCE_THREADS, row = i / PIECES;
        copy_begin<16>(to + row * WIDTH + 4 * turned(row, i % PIECES), from + 4 * i);
    }
}

static __device__ void fetch_chunk(struct staged *to, const struct chunk_keys *keys,
                                   const struct chunk_head *head)
{
    fetch<DIM>(to->keys.k, keys->k);
    fetch<DIM>(to->keys.q, keys->q);
    fetch<CHUNK>(to->head.solve, head->solve);
    fetch<CHUNK>(to->head.mix, head->mix);
    if (threadIdx.x < 2 * CHUNK / 4)
        copy_begin<16>(to->head.since + 4 * threadIdx.x, head->since + 4 * threadIdx.x);
    copy_end();
}

/* Where a lane's numbers of 16 rows and a warp's columns are in memory: with rows as the
 * columns of `struct sums`, so that they are the left operand of products with keys. */
static __device__ uint32_t row_at(uint32_t m, uint32_t k)
{
    return 16 * m + 4 * (lane_of() % 4) + place(k);
}
static __device__ uint32_t column_at(uint32_t k) { return lane_of() / 4 + k / 2 % 2 * 8; }

/* Rows of the state, or tokens of values and outputs. */
struct rows {
    float *first; /* this warp's first column */
    size_t row;
    uint32_t n; /* those behind them are zeros */
};

template <uint32_t groups>
static __device__ void load_rows(struct sums v[groups], const struct rows &from)
{
#pragma unroll
    for (uint32_t m = 0; m < groups; m++)
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) {
            const uint32_t r = row_at(m, k);
            v[m].v[k] = r < from.n ? from.first[r * from.row + column_at(k)] : 0;
        }
}

template <uint32_t groups>
static __device__ void store_rows(const struct sums v[groups], const struct rows &to)
{
#pragma unroll
    for (uint32_t m = 0; m < groups; m++)
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) {
            const uint32_t r = row_at(m, k);
            if (r < to.n) to.first[r * to.row + column_at(k)] = v[m].v[k];
        }
}

/* c times a number for each token. */
static __device__ void scale_tokens(struct sums c[2], const float *scale)
{
#pragma unroll
    for (uint32_t m = 0; m < 2; m++) {
        const float4 v = *(const float4 *)(scale + 16 * m + 4 * (lane_of() % 4));
        const float own[4] = { v.x, v.y, v.z, v.w };
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) c[m].v[k] *= own[place(k)];
    }
}

/* y += A x, for tokens; A is of CHUNK x CHUNK, its upper right quarter zero. */
static __device__ void times_lower(struct sums y[2], const float *a,
                                   const struct sums x[2])
{
    const struct left first = left_of(x[0]), second = left_of(x[1]);
    times_rows<CHUNK>(&y[0], first, a, 0, 0);
    times_rows<CHUNK>(&y[1], first, a, 1, 0);
    times_rows<CHUNK>(&y[1], second, a, 1, 1);
}

/* A chunk: v has values, then outputs. */
static __device__ void advance_chunk(struct sums s[GROUPS], const struct staged &x,
                                     struct sums v[2])
{
    struct sums lack[2] = {}, out[2] = {}, change[2] = {};
#pragma unroll
    for (uint32_t m = 0; m < GROUPS; m++) {
        const struct left a = left_of(s[m]);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            times_rows<DIM>(&lack[i], a, x.keys.k, i, m);
            times_rows<DIM>(&out[i], a, x.keys.q, i, m);
        }
    }
    scale_tokens(lack, x.head.since);
    scale_tokens(out, x.head.since);
#pragma unroll
    for (uint32_t k = 0; k < 8; k++) {
        lack[0].v[k] = v[0].v[k] - lack[0].v[k];
        lack[1].v[k] = v[1].v[k] - lack[1].v[k];
    }
    times_lower(change, x.head.solve, lack);
    times_lower(out, x.head.mix, change);
    v[0] = out[0], v[1] = out[1];
    scale_tokens(change, x.head.until);
    const struct left first = left_of(change[0]), second = left_of(change[1]);
    const float decay = x.head.since[CHUNK - 1];
#pragma unroll
    for (uint32_t m = 0; m < GROUPS; m++) {
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) s[m].v[k] *= decay;
        times_columns<DIM>(&s[m], first, x.keys.k, 0, m);
        times_columns<DIM>(&s[m], second, x.keys.k, 1, m);
    }
}

/* A block has ADVANCE_WARPS panels of a value head.  out: values, which become outputs.
 */
static __global__ void __launch_bounds__(ADVANCE_THREADS)
    advance_chunks(const __grid_constant__ struct gpu_delta d, float *state,
                   uint32_t tokens, struct chunks from, float *out)
{
    SHARED_BYTES(bytes);
    struct staged *const stage = (struct staged *)bytes;
    const uint32_t head = blockIdx.y, k_head = head / (d.n_v_heads / d.n_k_heads);
    const uint32_t panel = blockIdx.x * ADVANCE_WARPS + warp_of();
    const uint32_t chunks = div_up(tokens, CHUNK);
    const size_t row = (size_t)d.n_v_heads * DIM;
    const struct rows mine = { state + ((size_t)head * DIM + panel * COLUMNS) * DIM,
                               COLUMNS, DIM };
    const struct chunk_keys *keys = from.keys + k_head;
    const struct chunk_head *heads = from.heads + head;
    struct rows at = { out + (size_t)head * DIM + panel * COLUMNS, row,
                       min(CHUNK, tokens) };
    struct sums s[GROUPS], v[2], next[2] = {};

    after_previous();
    fetch_chunk(&stage[0], keys, heads);
    load_rows<2>(v, at);
    load_rows<GROUPS>(s, mine);
    for (uint32_t c = 0; c < chunks; c++) {
        copy_wait<0>();
        block_sync(); /* this chunk is there, and nobody reads the last one any more */
        const struct rows now = at;
        if (c + 1 < chunks) {
            keys += d.n_k_heads;
            heads += d.n_v_heads;
            fetch_chunk(&stage[(c + 1) % 2], keys, heads);
            at.first += CHUNK * row;
            at.n = min(CHUNK, tokens - (c + 1) * CHUNK);
            load_rows<2>(next, at);
        }
        advance_chunk(s, stage[c % 2], v);
        store_rows<2>(v, now);
        v[0] = next[0], v[1] = next[1];
    }
    store_rows<GROUPS>(s, mine);
}

static bool fits(const struct gpu_delta *d)
{
    return d->dim == DIM && d->taps <= TAPS && d->n_v_heads / d->n_k_heads <= MOST_SHARES;
}

bool delta_has_chunks(const struct gpu *g, const struct gpu_delta *d)
{
    return g->has_tf32 && fits(d);
}

uint64_t gpu_delta_scratch(const struct gpu_delta *d, uint32_t tokens)
{
    return (uint64_t)(fits(d) ? div_up(tokens, CHUNK) : 0) *
           (d->n_k_heads * sizeof(struct chunk_keys) +
            d->n_v_heads * sizeof(struct chunk_head));
}

void delta_chunks(struct gpu *g, const struct gpu_delta *d,
                  const struct gpu_delta_state *s, uint32_t tokens,
                  const float *projected, size_t width, void *scratch, float *out)
{
    const uint32_t n = div_up(tokens, CHUNK);
    struct chunk_keys *const keys = (struct chunk_keys *)scratch;
    const struct chunks c = { keys, (struct chunk_head *)(keys + n * d->n_k_heads) };
    LAUNCH(g, prepare_chunks, dim3(n, d->n_k_heads), PREPARE_WARPS * WARP, 0, *d,
           s->conv_d, tokens, projected, width, c, out);
    LAUNCH(g, advance_chunks, dim3(GROUPS / ADVANCE_WARPS, d->n_v_heads), ADVANCE_THREADS,
           2 * sizeof(struct staged), *d, s->s_d, tokens, c, out);
}
