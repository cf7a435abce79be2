/* attend_many.cu - the tokens of a prompt meet their keys in the tensor cores.  A block
 * has 64 rows, a row being a head of a token, so that heads that share keys are together;
 * 32 keys at a time lie in shared memory, while the next ones are on their way to
 * registers. See attention.cuh. */
#include "attention.cuh"
#include "mma.cuh"

constexpr uint32_t TILE_KEYS = 32;
constexpr uint32_t THREADS = 8 * WARP;
static_assert(LEAST_KEYS % TILE_KEYS == 0, "splits have whole tiles");

/* ---- Tiles of keys and values ------------------------------------------------------ */

/* For heads of up to DIM numbers; what is beyond theirs is zero. */
template <uint32_t DIM> struct sizes {
    /* Words of shared memory between keys, between pairs of keys in values, and between
     * rows of weights: such that what a warp reads at once is in 32 different banks. */
    static constexpr uint32_t k_step = DIM / 2 + 4, v_step = DIM + 8;
    static constexpr uint32_t p_step = TILE_KEYS / 2 + 4;
    static constexpr uint32_t row = DIM / 8, pieces = TILE_KEYS * row / THREADS;
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
        const uint32_t k = threadIdx.x + i * THREADS;
        const uint32_t v = threadIdx.x + i / 2 * THREADS;
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
        const uint32_t piece = threadIdx.x + i * THREADS;
        const uint32_t row = piece / sizes<DIM>::row, at = piece % sizes<DIM>::row;
        *(uint4 *)(keys + row * sizes<DIM>::k_step + 4 * at) =
            make_uint4(tile->k[i][0], tile->k[i][1], tile->k[i][2], tile->k[i][3]);
    }
#pragma unroll
    for (uint32_t i = 0; i < sizes<DIM>::pieces; i += 2) {
        const uint32_t piece = threadIdx.x + i / 2 * THREADS;
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

/* ---- Rows ---------------------------------------------------------------------------
 */

/* Two warps have 16 rows: in products with keys half of the keys each, in those with
 * values half of the columns.  Where matrices are in the lanes of a warp: see
 * mma_f16_k16(). */
template <uint32_t DIM> struct rows {
    uint32_t side, base;        /* which half the warp has, and of which rows */
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
    r->side = warp_of() % 2;
    r->base = warp_of() / 2 * 16;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t row = first + r->base + 8 * i + lane_of() / 4;
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

/* Scores of the warp's 16 keys of the tile from key `first` on: [n][2 i + j] is of row g
 * + 8 i with key 8 n + 2 t + j. */
template <uint32_t DIM>
static __device__ void rows_scores(const struct rows<DIM> *r, const uint32_t *keys,
                                   uint32_t first, float (*s)[4])
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
    keys += r->side * 16 * sizes<DIM>::k_step;
    first += r->side * 16;
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

/* Scores to weights, [TILE_KEYS / 2, ATTEND_ROWS] pairs of binary16, and what sums so far
 * have to shrink by.  maxima: [2, ATTEND_ROWS], of both warps of a row. */
template <uint32_t DIM>
static __device__ void rows_weights(struct rows<DIM> *r, const float (*s)[4],
                                    float *maxima, uint32_t *weights, float *shrink)
{
    const uint32_t t = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t row = r->base + lane_of() / 4 + 8 * i;
        const float max = max_of_row(fmaxf(fmaxf(s[0][2 * i], s[0][2 * i + 1]),
                                           fmaxf(s[1][2 * i], s[1][2 * i + 1])));
        if (t == 0) maxima[2 * row + r->side] = max;
    }
    block_sync();
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t row = r->base + lane_of() / 4 + 8 * i;
        const float max = fmaxf(r->max[i], fmaxf(maxima[2 * row], maxima[2 * row + 1]));
        shrink[i] = weight_of(r->max[i], max);
        r->max[i] = max;
        r->sum[i] *= shrink[i];
#pragma unroll
        for (uint32_t n = 0; n < 2; n++) {
            const uint32_t pair =
                half_pair(weight_of(s[n][2 * i], max), weight_of(s[n][2 * i + 1], max));
            weights[row * sizes<DIM>::p_step + 8 * r->side + 4 * n + t] = pair;
            /* what is divided by is the sum of what is multiplied with */
            r->sum[i] +=
                half_to_float((uint16_t)pair) + half_to_float((uint16_t)(pair >> 16));
        }
    }
    block_sync();
}

/* out = shrink out + weights * values, of the warp's columns. */
template <uint32_t DIM>
static __device__ void rows_values(struct rows<DIM> *r, const uint32_t *weights,
                                   const uint32_t *values, const float *shrink)
{
    constexpr uint32_t V_STEP = sizes<DIM>::v_step, P_STEP = sizes<DIM>::p_step;
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
    for (uint32_t n = 0; n < DIM / 16; n++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) r->out[n][i] *= shrink[i / 2];
#pragma unroll
    for (uint32_t k = 0; k < TILE_KEYS / 16; k++) {
        const uint32_t *const w = weights + (r->base + g) * P_STEP + 8 * k + t;
        const uint32_t *const v = values + (8 * k + t) * V_STEP + r->side * DIM / 2 + g;
        const uint32_t p[4] = { w[0], w[8 * P_STEP], w[4], w[8 * P_STEP + 4] };
#pragma unroll
        for (uint32_t n = 0; n < DIM / 16; n++) {
            const uint32_t b[2] = { v[8 * n], v[4 * V_STEP + 8 * n] };
            mma_f16_k16(r->out[n], p, b);
        }
    }
}

/* Parts of a split that begins at key `first`; totals: [2, ATTEND_ROWS]. */
template <uint32_t DIM>
static __device__ void rows_store(const struct attend *a, const struct rows<DIM> *r,
                                  uint32_t split, uint32_t first, float *totals)
{
    const uint32_t t = lane_of() % 4, row = r->base + lane_of() / 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const float sum = sum_of_row(r->sum[i]);
        if (t == 0) totals[2 * (row + 8 * i) + r->side] = sum;
    }
    block_sync();
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        if (r->seen[i] <= first) continue;
        const size_t part = part_of(a, r->token[i], r->head[i], split);
        const uint32_t column = r->side * DIM / 2 + 2 * t;
        float *const to = a->parts + part * a->head_dim + column;
#pragma unroll
        for (uint32_t n = 0; n < DIM / 16; n++)
            if (column + 8 * n < a->head_dim)
                *(float2 *)(to + 8 * n) =
                    make_float2(r->out[n][2 * i], r->out[n][2 * i + 1]);
        if (r->side || t) continue;
        a->sums[2 * part] = r->max[i];
        a->sums[2 * part + 1] = totals[2 * (row + 8 * i)] + totals[2 * (row + 8 * i) + 1];
    }
}

/* ---- The kernel ---------------------------------------------------------------------
 */

/* Grid: blocks of rows, the longest work first; key heads; splits. */
template <uint32_t DIM>
static __global__ void __launch_bounds__(THREADS) many(struct attend a)
{
    SHARED(uint4, keys4, [TILE_KEYS * sizes<DIM>::k_step / 4]);
    SHARED(uint4, values4, [TILE_KEYS / 2 * sizes<DIM>::v_step / 4]);
    SHARED(uint32_t, weights, [ATTEND_ROWS * sizes<DIM>::p_step]);
    SHARED(float, maxima, [2 * ATTEND_ROWS]);
    after_previous();
    uint32_t *const keys = (uint32_t *)keys4, *const values = (uint32_t *)values4;
    const uint32_t kv_head = blockIdx.y, split = blockIdx.z;
    const uint32_t row = (gridDim.x - 1 - blockIdx.x) * ATTEND_ROWS;
    const uint32_t last = min(row + ATTEND_ROWS, a.tokens * share(&a)) - 1;
    const uint32_t seen = visible(&a, last / share(&a)), each = split_keys(&a, seen);
    const uint32_t first = split * each, end = min(seen, first + each);
    if (first >= seen) return;

    struct rows<DIM> r;
    struct tile<DIM> tile;
    rows_init(&a, &r, row, kv_head);
    tile_fetch(&a, &tile, kv_head, first, end);
    for (uint32_t key = first; key < end; key += TILE_KEYS) {
        block_sync(); /* the last tile is done with */
        tile_store(&tile, keys, values);
        block_sync();
        if (key + TILE_KEYS < end) tile_fetch(&a, &tile, kv_head, key + TILE_KEYS, end);
        float s[2][4], shrink[2];
        rows_scores(&r, keys, key, s);
        rows_weights(&r, s, maxima, weights, shrink);
        rows_values(&r, weights, values, shrink);
    }
    rows_store(&a, &r, split, first, maxima);
}

void attend_many(gpu *g, const struct attend *a)
{
    const dim3 grid(div_up(a->tokens * share(a), ATTEND_ROWS), a->n_head_kv, a->splits);
    auto *const kernel = a->head_dim > 128 ? many<256> : many<128>;
    LAUNCH(g, kernel, grid, THREADS, 0, *a);
}
