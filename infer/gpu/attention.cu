/* attention.cu - gated full attention: everything between the two projections.
 *
 * Keys are taken in splits, by blocks of their own; what a split gives to a query, its
 * part, is the largest score, and sums relative to it, which are then merged (the online
 * softmax of "FlashAttention", Dao et al. 2022).  Where a split begins is computed on the
 * device from the position, so that a recorded graph is good for any.
 *
 * FEW tokens or fewer: a block has one token, with the query heads that share its keys,
 * and computes in binary32.  More: 64 rows, a row being a head of a token, meet 32 keys
 * at a time in the tensor cores: queries, keys, values and weights are rounded to
 * binary16. Keys or values in binary32 are not asked for by somebody who wants that, so
 * with them tokens are taken FEW at a time. */
#include "kv.cuh"

extern "C" {
#include "../../quant/grids.h"
}

#include <math.h>
#include <string.h>

constexpr uint32_t FEW = 8, MOST_DIM = 256;
constexpr uint32_t SPLITS = 64;     /* at most */
constexpr uint32_t LEAST_KEYS = 64; /* of a split but the last: whole tiles */
constexpr uint32_t GROUP = 8;       /* query heads of a block */
constexpr uint32_t KEYS = 4;        /* that a warp takes at once */
constexpr uint32_t FEW_WARPS = 4;
constexpr uint32_t ROWS = 64; /* of a block with many tokens */
constexpr uint32_t TILE_KEYS = 32;
constexpr uint32_t MANY_WARPS = 8, MANY_THREADS = MANY_WARPS * WARP;
constexpr uint32_t BLOCKS = 256; /* that we would like to have for many tokens */
constexpr uint32_t PREPARE_WARPS = 4;
static_assert(KEYS * GROUP == WARP, "a lane has one score");

struct attend {
    uint32_t n_head, n_head_kv, head_dim, n_rot, n_ctx;
    float eps;
    const float *q_norm, *k_norm;
    struct kv_rows k, v;
    const uint32_t *pos; /* of the call's first token */
    float *projected; /* this and the next for the first token of the launch, which is */
    float *out;
    uint32_t first; /* this one of the call */
    uint32_t tokens, splits;
    bool exact; /* splits as a token alone has them */
    size_t width;
    float *parts; /* [head_dim, splits, n_head, tokens] */
    float *sums;  /* [2, splits, n_head, tokens]: largest score, sum of the weights */
};

static __device__ uint32_t share(const struct attend *a)
{
    return a->n_head / a->n_head_kv;
}

static __device__ const float *query(const struct attend *a, uint32_t token,
                                     uint32_t head)
{
    return a->projected + token * a->width + (size_t)head * 2 * a->head_dim;
}

/* Keys that a token sees, and all that there are. */
static __device__ uint32_t visible(const struct attend *a, uint32_t token)
{
    return *a->pos + a->first + token + 1;
}

/* Keys of a split, for queries which see `keys` of them. */
static __device__ uint32_t split_keys(const struct attend *a, uint32_t keys)
{
    if (!a->exact) keys = visible(a, a->tokens - 1);
    return div_up(div_up(keys, a->splits), LEAST_KEYS) * LEAST_KEYS;
}

/* Number of a part. */
static __device__ size_t part_of(const struct attend *a, uint32_t token, uint32_t head,
                                 uint32_t split)
{
    return ((size_t)token * a->n_head + head) * a->splits + split;
}

/* ---- Queries, keys and values -------------------------------------------------- */

/* Angles are pos * base^(-2 i / n_rot), in double: at position 100000 a float would be
 * off by some thousandths.  Only the rest of a turn is left to float. */
struct frequencies {
    double f[MOST_DIM / 2];
};

static __device__ void rope_table(float *cosine, float *sine, uint32_t half, uint32_t pos,
                                  const struct frequencies *f)
{
    for (uint32_t i = threadIdx.x; i < half; i += blockDim.x) {
        const double turn = 6.283185307179586, angle = pos * f->f[i];
        const float rest = (float)(angle - turn * rint(angle / turn));
        cosine[i] = cosf(rest);
        sine[i] = sinf(rest);
    }
}

/* A warp for each head of each kind: queries are normed, rotated and scaled where they
 * are; keys, normed and rotated, and values go to the cache. */
static __global__ void __launch_bounds__(PREPARE_WARPS *WARP)
    prepare(struct attend a, struct frequencies f)
{
    SHARED(float, cosine, [MOST_DIM / 2]);
    SHARED(float, sine, [MOST_DIM / 2]);
    SHARED(float, rows, [PREPARE_WARPS * MOST_DIM]);
    const uint32_t token = blockIdx.x, dim = a.head_dim, half = a.n_rot / 2;
    const uint32_t pos = *a.pos + a.first + token;
    rope_table(cosine, sine, half, pos, &f);
    block_sync();

    const uint32_t index = blockIdx.y * PREPARE_WARPS + warp_of();
    if (index >= a.n_head + 2 * a.n_head_kv) return;
    const bool is_query = index < a.n_head, is_value = index >= a.n_head + a.n_head_kv;
    float *const x = a.projected + token * a.width +
                     (size_t)(is_query ? 2 * index : a.n_head + index) * dim;
    float *const row = rows + warp_of() * MOST_DIM;
    float sum = 0;
    for (uint32_t i = lane_of(); i < dim; i += WARP) {
        row[i] = x[i];
        sum += x[i] * x[i];
    }
    sum = warp_sum(sum);
    if (!is_value) {
        const float *const weight = is_query ? a.q_norm : a.k_norm;
        const float scale = 1.0f / sqrtf(sum / (float)dim + a.eps);
        for (uint32_t i = lane_of(); i < dim; i += WARP) row[i] *= scale * weight[i];
        warp_sync();
        for (uint32_t i = lane_of(); i < half; i += WARP) {
            const float c = cosine[i], s = sine[i], u = row[i], v = row[half + i];
            row[i] = u * c - v * s;
            row[half + i] = u * s + v * c;
        }
    }
    warp_sync();
    if (is_query) {
        const float scale = 1.0f / sqrtf((float)dim);
        for (uint32_t i = lane_of(); i < dim; i += WARP) x[i] = row[i] * scale;
    } else {
        const struct kv_rows *const kv = is_value ? &a.v : &a.k;
        const uint32_t head = (index - a.n_head) % a.n_head_kv;
        uint8_t *const to = kv->data + ((size_t)head * a.n_ctx + pos) * kv->row_bytes;
        for (uint32_t i = 0; i < dim / WARP; i++)
            kv_put(kv, to, i, row[lane_of() + WARP * i]);
    }
}

/* ---- Few tokens ------------------------------------------------------------------ */

/* Of 2 N numbers a lane gives one half to its partner and adds what it gets to the other.
 */
template <uint32_t N> static __device__ void fold_half(float *s)
{
    const bool upper = lane_of() & N;
#pragma unroll
    for (uint32_t i = 0; i < N; i++) {
        const float low = s[i], high = s[i + N];
        const float got = lane_xor(upper ? low : high, N);
        s[i] = (upper ? high : low) + got;
    }
}

/* The sums over all lanes of 32 numbers: lane l gets that of number l. */
static __device__ float fold(float *s)
{
    fold_half<16>(s);
    fold_half<8>(s);
    fold_half<4>(s);
    fold_half<2>(s);
    fold_half<1>(s);
    return s[0];
}

/* Of neighbouring keys with the same head, which are GROUP lanes apart. */
static __device__ float max_of_keys(float v)
{
#pragma unroll
    for (uint32_t mask = GROUP; mask < WARP; mask *= 2) v = fmaxf(v, lane_xor(v, mask));
    return v;
}
static __device__ float sum_of_keys(float v)
{
#pragma unroll
    for (uint32_t mask = GROUP; mask < WARP; mask *= 2) v += lane_xor(v, mask);
    return v;
}

/* e^(score - max), also where there was nothing yet */
static __device__ float weight_of(float score, float max)
{
    return score == -INFINITY ? 0 : expf(score - max);
}

/* What a warp knows of its keys: lane l has largest score and sum of weights of head l %
 * GROUP, and for each head N numbers of the weighted sum of values. */
template <uint32_t N> struct part {
    float max, sum, values[GROUP][N];
};

/* KEYS keys from key i on meet the queries, [N * WARP] floats a head; those from `end` on
 * count nothing.  scores: [KEYS * GROUP], of the warp. */
template <uint32_t N>
static __device__ void meet(const struct attend *a, struct part<N> *p,
                            const float *queries, const uint8_t *keys,
                            const uint8_t *values, uint32_t i, uint32_t end,
                            float *scores)
{
    const uint32_t lane = lane_of(), at = lane * N;
    const bool there = at < a->head_dim;
    uint32_t rows[KEYS];
    float x[KEYS][N] = {}, s[KEYS * GROUP];
#pragma unroll
    for (uint32_t k = 0; k < KEYS; k++) rows[k] = i + k < end ? i + k : end - 1;
    if (there) kv_read<N, KEYS>(&a->k, keys, rows, at, x);
#pragma unroll
    for (uint32_t h = 0; h < GROUP; h++) {
        const float4 *const q = (const float4 *)(queries + h * N * WARP + at);
#pragma unroll
        for (uint32_t k = 0; k < KEYS; k++) s[k * GROUP + h] = 0;
#pragma unroll
        for (uint32_t j = 0; j < N; j += 4) {
            const float4 y = q[j / 4];
#pragma unroll
            for (uint32_t k = 0; k < KEYS; k++)
                s[k * GROUP + h] += x[k][j] * y.x + x[k][j + 1] * y.y +
                                    x[k][j + 2] * y.z + x[k][j + 3] * y.w;
        }
    }
    if (there) kv_read<N, KEYS>(&a->v, values, rows, at, x);
    float score = fold(s);
    if (i + lane / GROUP >= end) score = -INFINITY;

    const float max = fmaxf(p->max, max_of_keys(score));
    const float shrink = weight_of(p->max, max), weight = weight_of(score, max);
    p->sum = p->sum * shrink + sum_of_keys(weight);
    p->max = max;
    warp_sync(); /* the last weights have been read */
    scores[lane] = weight;
    if (lanes_vote(shrink != 1)) {
#pragma unroll
        for (uint32_t h = 0; h < GROUP; h++) {
            const float c = lane_get(shrink, h);
#pragma unroll
            for (uint32_t j = 0; j < N; j++) p->values[h][j] *= c;
        }
    }
    warp_sync();
#pragma unroll
    for (uint32_t k = 0; k < KEYS; k++)
#pragma unroll
        for (uint32_t h = 0; h < GROUP; h++) {
            const float w = scores[k * GROUP + h];
#pragma unroll
            for (uint32_t j = 0; j < N; j++) p->values[h][j] += w * x[k][j];
        }
}

/* Grid: splits, groups of query heads for each key head, tokens.  Warps take KEYS keys in
 * turn; in the end their parts are added up in order.  A lane has N numbers of a row. */
template <uint32_t N>
static __global__ void __launch_bounds__(FEW_WARPS *WARP) attend_few(struct attend a)
{
    SHARED(float4, memory, [GROUP * N * WARP / 4]); /* queries, then sums of values */
    SHARED(float, scores, [FEW_WARPS * KEYS * GROUP]);
    SHARED(float, maxima, [FEW_WARPS * GROUP]);
    SHARED(float, totals, [FEW_WARPS * GROUP]);
    float *const rows = (float *)memory;
    const uint32_t split = blockIdx.x, token = blockIdx.z, dim = a.head_dim;
    const uint32_t groups = div_up(share(&a), GROUP), kv_head = blockIdx.y / groups;
    const uint32_t before = blockIdx.y % groups * GROUP; /* heads of the key head */
    const uint32_t first = kv_head * share(&a) + before;
    const uint32_t heads = share(&a) - before < GROUP ? share(&a) - before : GROUP;
    const uint32_t seen = visible(&a, token), each = split_keys(&a, seen);
    if (split * each >= seen) return;
    const uint32_t end = seen - split * each < each ? seen : (split + 1) * each;

    for (uint32_t i = threadIdx.x; i < GROUP * N * WARP; i += blockDim.x) {
        const uint32_t h = i / (N * WARP), at = i % (N * WARP);
        rows[i] = h < heads && at < dim ? query(&a, token, first + h)[at] : 0;
    }
    block_sync();

    const uint8_t *const keys = a.k.data + (size_t)kv_head * a.n_ctx * a.k.row_bytes;
    const uint8_t *const values = a.v.data + (size_t)kv_head * a.n_ctx * a.v.row_bytes;
    struct part<N> p = {
        - INFINITY, 0, {}
    };
    for (uint32_t i = split * each + warp_of() * KEYS; i < end; i += FEW_WARPS * KEYS)
        meet(&a, &p, rows, keys, values, i, end, scores + warp_of() * KEYS * GROUP);

    const uint32_t head = lane_of() % GROUP;
    if (lane_of() < GROUP) maxima[warp_of() * GROUP + head] = p.max;
    block_sync();
    float max = maxima[head];
    for (uint32_t w = 1; w < FEW_WARPS; w++) max = fmaxf(max, maxima[w * GROUP + head]);
    const float shrink = weight_of(p.max, max);
    if (lane_of() < GROUP) totals[warp_of() * GROUP + head] = p.sum * shrink;
    for (uint32_t w = 0; w < FEW_WARPS; w++) {
#pragma unroll
        for (uint32_t h = 0; h < GROUP; h++) {
            const float c = lane_get(shrink, h);
#pragma unroll
            for (uint32_t j = 0; j < N; j++) {
                float *const sum = rows + h * N * WARP + lane_of() * N + j;
                if (w == warp_of()) *sum = (w ? *sum : 0) + c * p.values[h][j];
            }
        }
        block_sync();
    }
    for (uint32_t i = threadIdx.x; i < heads * dim; i += blockDim.x)
        a.parts[part_of(&a, token, first + i / dim, split) * dim + i % dim] =
            rows[i / dim * N * WARP + i % dim];
    if (threadIdx.x < heads) {
        float *const sums = a.sums + 2 * part_of(&a, token, first + head, split);
        float total = 0;
        for (uint32_t w = 0; w < FEW_WARPS; w++) total += totals[w * GROUP + head];
        sums[0] = max;
        sums[1] = total;
    }
}

/* ---- Many tokens ------------------------------------------------------------------ */

/* For heads of up to DIM numbers; what is beyond theirs is zero. */
template <uint32_t DIM> struct sizes {
    /* Words of shared memory between keys, between pairs of keys in values, and between
     * rows of weights: such that what a warp reads at once is in 32 different banks. */
    static constexpr uint32_t k_step = DIM / 2 + 4, v_step = DIM + 8;
    static constexpr uint32_t p_step = TILE_KEYS / 2 + 4;
    static constexpr uint32_t row = DIM / 8, pieces = TILE_KEYS * row / MANY_THREADS;
};

/* A thread's share of a tile on its way from memory: pieces of 8 numbers, binary16. */
template <uint32_t DIM> struct tile {
    uint32_t k[sizes<DIM>::pieces][4], v[sizes<DIM>::pieces][4];
};

static __device__ void fetch(const struct kv_rows *kv, const uint8_t *first, uint32_t row,
                             uint32_t at, uint32_t *words)
{
    if (kv->type == GGF_F16) {
        const uint4 v =
            *(const uint4 *)(first + (size_t)row * kv->row_bytes + 2 * (size_t)at);
        words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
        return;
    }
    float x[1][8];
    kv_read<8, 1>(kv, first, &row, at, x);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) words[i] = half_pair(x[0][2 * i], x[0][2 * i + 1]);
}

/* Pieces of keys: along a key.  Of values: of two neighbouring keys for each thread,
 * since products want pairs of keys.  Rows behind the last are the last once more. */
template <uint32_t DIM>
static __device__ void tile_fetch(const struct attend *a, struct tile<DIM> *tile,
                                  uint32_t kv_head, uint32_t first, uint32_t end)
{
    const size_t head = (size_t)kv_head * a->n_ctx;
    const uint8_t *const keys = a->k.data + head * a->k.row_bytes;
    const uint8_t *const values = a->v.data + head * a->v.row_bytes;
#pragma unroll
    for (uint32_t i = 0; i < sizes<DIM>::pieces; i++) {
        const uint32_t k = threadIdx.x + i * MANY_THREADS;
        const uint32_t v = threadIdx.x + i / 2 * MANY_THREADS;
        const uint32_t k_row = first + k / sizes<DIM>::row;
        const uint32_t v_row = first + 2 * (v / sizes<DIM>::row) + i % 2;
        const uint32_t k_at = 8 * (k % sizes<DIM>::row), v_at = 8 * (v % sizes<DIM>::row);
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) tile->k[i][j] = tile->v[i][j] = 0;
        if (k_at < a->head_dim) fetch(&a->k, keys, min(k_row, end - 1), k_at, tile->k[i]);
        if (v_at < a->head_dim)
            fetch(&a->v, values, min(v_row, end - 1), v_at, tile->v[i]);
    }
}

template <uint32_t DIM>
static __device__ void tile_store(const struct tile<DIM> *tile, uint32_t *keys,
                                  uint32_t *values)
{
#pragma unroll
    for (uint32_t i = 0; i < sizes<DIM>::pieces; i++) {
        const uint32_t piece = threadIdx.x + i * MANY_THREADS;
        const uint32_t row = piece / sizes<DIM>::row, at = piece % sizes<DIM>::row;
        *(uint4 *)(keys + row * sizes<DIM>::k_step + 4 * at) =
            make_uint4(tile->k[i][0], tile->k[i][1], tile->k[i][2], tile->k[i][3]);
    }
#pragma unroll
    for (uint32_t i = 0; i < sizes<DIM>::pieces; i += 2) {
        const uint32_t piece = threadIdx.x + i / 2 * MANY_THREADS;
        const uint32_t row = piece / sizes<DIM>::row, at = piece % sizes<DIM>::row;
        uint4 *const to = (uint4 *)(values + row * sizes<DIM>::v_step + 8 * at);
        uint32_t pair[8];
#pragma unroll
        for (uint32_t j = 0; j < 8; j++)
            pair[j] = pick_bytes(tile->v[i][j / 2], tile->v[i + 1][j / 2],
                                 j % 2 ? 0x7632 : 0x5410);
        to[0] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
        to[1] = make_uint4(pair[4], pair[5], pair[6], pair[7]);
    }
}

/* Two warps have 16 rows: in products with keys half of the keys each, in those with
 * values half of the columns.  Where matrices are in the lanes of a warp: see
 * mma_f16_k16(). */
template <uint32_t DIM> struct rows {
    uint32_t token[2], head[2]; /* of this lane's rows g and g + 8 */
    uint32_t seen[2];           /* keys; 0: there is no such row */
    float max[2], sum[2];       /* sum: of this lane's share of the weights */
    uint32_t q[DIM / 16][4];
    float out[DIM / 16][4];
};

template <uint32_t DIM>
static __device__ void rows_init(const struct attend *a, struct rows<DIM> *r,
                                 uint32_t first, uint32_t kv_head)
{
    const uint32_t t = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t row = first + 8 * i + lane_of() / 4;
        const bool there = row < a->tokens * share(a);
        r->token[i] = there ? row / share(a) : 0;
        r->head[i] = kv_head * share(a) + row % share(a);
        r->seen[i] = there ? visible(a, r->token[i]) : 0;
        r->max[i] = -INFINITY;
        r->sum[i] = 0;
        const float *const q = query(a, r->token[i], r->head[i]);
#pragma unroll
        for (uint32_t k = 0; k < DIM / 16; k++)
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
                const uint32_t at = 16 * k + 8 * half + 2 * t;
                r->q[k][2 * half + i] =
                    there && at < a->head_dim ? half_pair(q[at], q[at + 1]) : 0;
            }
    }
#pragma unroll
    for (uint32_t n = 0; n < DIM / 16; n++)
        r->out[n][0] = r->out[n][1] = r->out[n][2] = r->out[n][3] = 0;
}

/* Scores of 16 keys: [n][2 i + j] is of row g + 8 i with key 8 n + 2 t + j. */
template <uint32_t DIM>
static __device__ void tile_scores(const struct rows<DIM> *r, const uint32_t *keys,
                                   uint32_t first, float (*s)[4])
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
    for (uint32_t n = 0; n < 2; n++) {
        const uint32_t *const key = keys + (8 * n + g) * sizes<DIM>::k_step + t;
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
        for (uint32_t k = 0; k < DIM / 16; k++) {
            const uint32_t b[2] = { key[8 * k], key[8 * k + 4] };
            mma_f16_k16(s[n], r->q[k], b);
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            if (first + 8 * n + 2 * t + i % 2 >= r->seen[i / 2]) s[n][i] = -INFINITY;
    }
}

/* Of the four lanes that share a row. */
static __device__ float max_of_row(float v)
{
    v = fmaxf(v, lane_xor(v, 1));
    return fmaxf(v, lane_xor(v, 2));
}
static __device__ float sum_of_row(float v)
{
    v += lane_xor(v, 1);
    return v + lane_xor(v, 2);
}

/* Grid: row blocks of each key head, the longest first; splits. */
template <uint32_t DIM>
static __global__ void __launch_bounds__(MANY_THREADS) attend_many(struct attend a)
{
    constexpr uint32_t K_STEP = sizes<DIM>::k_step, V_STEP = sizes<DIM>::v_step;
    constexpr uint32_t P_STEP = sizes<DIM>::p_step, COLUMNS = DIM / 2; /* of a warp */
    SHARED(uint4, keys4, [TILE_KEYS * K_STEP / 4]);
    SHARED(uint4, values4, [TILE_KEYS / 2 * V_STEP / 4]);
    SHARED(uint32_t, weights, [ROWS * P_STEP]);
    SHARED(float, maxima, [2 * ROWS]);
    uint32_t *const keys = (uint32_t *)keys4, *const values = (uint32_t *)values4;
    const uint32_t g = lane_of() / 4, t = lane_of() % 4, side = warp_of() % 2;
    const uint32_t base = warp_of() / 2 * 16; /* of the warp's rows in the block */
    const uint32_t kv_head = blockIdx.y, split = blockIdx.z;
    const uint32_t first = (gridDim.x - 1 - blockIdx.x) * ROWS;
    const uint32_t last = min(first + ROWS, a.tokens * share(&a)) - 1;
    const uint32_t seen = visible(&a, last / share(&a)), each = split_keys(&a, seen);
    if (split * each >= seen) return;
    const uint32_t end = seen - split * each < each ? seen : (split + 1) * each;

    struct rows<DIM> r;
    struct tile<DIM> tile;
    rows_init(&a, &r, first + base, kv_head);
    tile_fetch(&a, &tile, kv_head, split * each, end);
    for (uint32_t key = split * each; key < end; key += TILE_KEYS) {
        block_sync(); /* the last tile is done with */
        tile_store(&tile, keys, values);
        block_sync();
        if (key + TILE_KEYS < end) tile_fetch(&a, &tile, kv_head, key + TILE_KEYS, end);

        float s[2][4], shrink[2];
        tile_scores(&r, keys + side * 16 * K_STEP, key + side * 16, s);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const float max = max_of_row(fmaxf(fmaxf(s[0][2 * i], s[0][2 * i + 1]),
                                               fmaxf(s[1][2 * i], s[1][2 * i + 1])));
            if (t == 0) maxima[2 * (base + g + 8 * i) + side] = max;
        }
        block_sync();
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t row = base + g + 8 * i;
            const float max =
                fmaxf(r.max[i], fmaxf(maxima[2 * row], maxima[2 * row + 1]));
            shrink[i] = weight_of(r.max[i], max);
            r.max[i] = max;
            r.sum[i] *= shrink[i];
#pragma unroll
            for (uint32_t n = 0; n < 2; n++) {
                const uint32_t pair = half_pair(weight_of(s[n][2 * i], max),
                                                weight_of(s[n][2 * i + 1], max));
                weights[row * P_STEP + 8 * side + 4 * n + t] = pair;
                /* what is divided by is the sum of what is multiplied with */
                r.sum[i] +=
                    half_to_float((uint16_t)pair) + half_to_float((uint16_t)(pair >> 16));
            }
        }
        block_sync();
#pragma unroll
        for (uint32_t n = 0; n < DIM / 16; n++)
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) r.out[n][i] *= shrink[i / 2];
#pragma unroll
        for (uint32_t k = 0; k < TILE_KEYS / 16; k++) {
            const uint32_t *const w = weights + (base + g) * P_STEP + 8 * k + t;
            const uint32_t *const v = values + (8 * k + t) * V_STEP + side * COLUMNS + g;
            const uint32_t p[4] = { w[0], w[8 * P_STEP], w[4], w[8 * P_STEP + 4] };
#pragma unroll
            for (uint32_t n = 0; n < DIM / 16; n++) {
                const uint32_t b[2] = { v[8 * n], v[4 * V_STEP + 8 * n] };
                mma_f16_k16(r.out[n], p, b);
            }
        }
    }

    /* Both warps have weights of each row. */
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        r.sum[i] = sum_of_row(r.sum[i]);
        if (t == 0) maxima[2 * (base + g + 8 * i) + side] = r.sum[i];
    }
    block_sync();
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        if (r.seen[i] <= split * each) continue;
        const size_t part = part_of(&a, r.token[i], r.head[i], split);
        float *const to = a.parts + part * a.head_dim + side * COLUMNS + 2 * t;
#pragma unroll
        for (uint32_t n = 0; n < DIM / 16; n++) {
            if (side * COLUMNS + 8 * n >= a.head_dim) break;
            *(float2 *)(to + 8 * n) = make_float2(r.out[n][2 * i], r.out[n][2 * i + 1]);
        }
        if (side == 0 && t == 0) {
            const float *const sums = maxima + 2 * (base + g + 8 * i);
            a.sums[2 * part] = r.max[i];
            a.sums[2 * part + 1] = sums[0] + sums[1];
        }
    }
}

/* ---- Parts to results ---------------------------------------------------------------
 */

/* A block for a head of a token, a thread for each number of it. */
static __global__ void __launch_bounds__(MOST_DIM) merge(struct attend a)
{
    SHARED(float, weights, [SPLITS]);
    const uint32_t head = blockIdx.x, token = blockIdx.y, dim = a.head_dim;
    const uint32_t seen = visible(&a, token), n = div_up(seen, split_keys(&a, seen));
    const size_t part = part_of(&a, token, head, 0);
    if (warp_of() == 0) {
        float max = -INFINITY, sum = 0;
        for (uint32_t i = lane_of(); i < n; i += WARP)
            max = fmaxf(max, a.sums[2 * (part + i)]);
        max = warp_max(max);
        for (uint32_t i = lane_of(); i < n; i += WARP) {
            weights[i] = weight_of(a.sums[2 * (part + i)], max);
            sum += weights[i] * a.sums[2 * (part + i) + 1];
        }
        sum = warp_sum(sum);
        for (uint32_t i = lane_of(); i < n; i += WARP) weights[i] /= sum;
    }
    block_sync();
    const uint32_t at = threadIdx.x; /* of dim */
    const float *const values = a.parts + part * dim + at;
    float sum = 0;
#pragma unroll 4
    for (uint32_t i = 0; i < n; i++) sum += weights[i] * values[(size_t)i * dim];
    const float gate = query(&a, token, head)[dim + at];
    a.out[((size_t)token * a.n_head + head) * dim + at] = sum / (1.0f + expf(-gate));
}

/* ---- Calls ----------------------------------------------------------------------------
 */

/* How many splits the keys of so many tokens get, at most. */
static uint32_t splits_of(const struct gpu_attention *a, uint32_t tokens)
{
    if (tokens <= FEW) return SPLITS;
    const uint32_t rows = a->n_head / a->n_head_kv * tokens;
    const uint32_t splits = BLOCKS / (div_up(rows, ROWS) * a->n_head_kv);
    return splits < 1 ? 1 : splits > SPLITS ? SPLITS : splits;
}

static uint64_t part_bytes(const struct gpu_attention *a, uint32_t tokens)
{
    return (uint64_t)tokens * a->n_head * splits_of(a, tokens) * (a->head_dim + 2) *
           sizeof(float);
}

uint64_t gpu_attention_scratch(const struct gpu_attention *a, uint32_t tokens)
{
    uint64_t bytes = part_bytes(a, tokens < FEW ? tokens : FEW);
    for (uint32_t t = FEW + 1; t <= tokens; t++)
        if (part_bytes(a, t) > bytes) bytes = part_bytes(a, t);
    return bytes;
}

static struct kv_rows rows_of(uint32_t type, void *data, uint32_t dim)
{
    struct kv_rows kv = { (uint8_t *)data, type, (uint32_t)ggf_row_bytes(type, dim), {} };
    static_assert(sizeof kv.levels == sizeof levels_iq4_nl, "16 bytes");
    memcpy(&kv.levels, levels_iq4_nl, sizeof kv.levels);
    return kv;
}

/* A launch's tokens: from a->first on. */
static void attend_tokens(gpu *g, struct attend *a, bool few)
{
    const uint32_t shared = a->n_head / a->n_head_kv;
    if (few) {
        const dim3 grid(a->splits, a->n_head_kv * div_up(shared, GROUP), a->tokens);
        auto *const kernel = a->head_dim > 128 ? attend_few<8> : attend_few<4>;
        LAUNCH(g, kernel, grid, FEW_WARPS * WARP, 0, *a);
    } else {
        const dim3 grid(div_up(a->tokens * shared, ROWS), a->n_head_kv, a->splits);
        auto *const kernel = a->head_dim > 128 ? attend_many<256> : attend_many<128>;
        LAUNCH(g, kernel, grid, MANY_THREADS, 0, *a);
    }
    LAUNCH(g, merge, dim3(a->n_head, a->tokens), a->head_dim, 0, *a);
}

void gpu_attend(gpu *g, const struct gpu_attention *c, const struct gpu_kv *kv,
                const uint32_t *pos_d, uint32_t tokens, float *projected_d, size_t width,
                void *scratch_d, float *out_d)
{
    const bool exact = kv->type_k == GGF_F32 || kv->type_v == GGF_F32;
    const bool few = tokens <= FEW || exact;
    const uint32_t step = few && tokens > FEW ? FEW : tokens;
    struct attend a = {};
    a.n_head = c->n_head;
    a.n_head_kv = c->n_head_kv;
    a.head_dim = c->head_dim;
    a.n_rot = c->n_rot;
    a.n_ctx = kv->n_ctx;
    a.eps = c->eps;
    a.q_norm = c->q_norm_d;
    a.k_norm = c->k_norm_d;
    a.k = rows_of(kv->type_k, kv->k_d, c->head_dim);
    a.v = rows_of(kv->type_v, kv->v_d, c->head_dim);
    a.pos = pos_d;
    a.projected = projected_d;
    a.out = out_d;
    a.tokens = tokens;
    a.width = width;
    a.exact = few;
    a.splits = splits_of(c, step);
    a.parts = (float *)scratch_d;
    a.sums = a.parts + (size_t)step * c->n_head * a.splits * c->head_dim;

    struct frequencies f;
    for (uint32_t i = 0; i < c->n_rot / 2; i++)
        f.f[i] = pow(c->rope_base, -2.0 * i / c->n_rot);
    const uint32_t heads = c->n_head + 2 * c->n_head_kv;
    LAUNCH(g, prepare, dim3(tokens, div_up(heads, PREPARE_WARPS)), PREPARE_WARPS * WARP,
           0, a, f);
    for (; a.first < tokens; a.first += step) {
        a.tokens = tokens - a.first < step ? tokens - a.first : step;
        attend_tokens(g, &a, few);
        a.projected += step * width;
        a.out += (size_t)step * c->n_head * c->head_dim;
    }
}
