/* attend_few.cu - a few tokens meet all keys before them: reading those is what takes
 * time, so every key is read once for all query heads that share it.  See attention.cuh.
 */
#include "prepare.cuh"

constexpr uint32_t GROUP = 8; /* query heads of a block */
constexpr uint32_t KEYS = 4;  /* that a warp takes at once */
constexpr uint32_t WARPS = 4;
static_assert(KEYS * GROUP == WARP, "a lane has one score");

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

/* What a warp knows of its keys: lane l has largest score and sum of weights of head l %
 * GROUP, and for each head N numbers of the weighted sum of values. */
template <uint32_t N> struct part {
    float max, sum, values[GROUP][N];
};

/* Rows of N * WARP floats in shared memory: a lane has N numbers of each, in pieces of
 * four that are 4 WARP apart, so that the lanes' pieces are neighbours.  Where number i
 * is: */
template <uint32_t N> static __device__ uint32_t place(uint32_t i)
{
    return i % N / 4 * (4 * WARP) + i / N * 4 + i % 4;
}
/* A lane's piece j / 4. */
template <uint32_t N> static __device__ float4 *piece(float *row, uint32_t j)
{
    return (float4 *)(row + j * WARP) + lane_of();
}
/* A row in its own order gets that one; a warp's work. */
template <uint32_t N> static __device__ void put_in_place(float *row)
{
    float v[N];
    if (N == 4) return; /* the same */
    warp_sync();
#pragma unroll
    for (uint32_t i = 0; i < N; i++) v[i] = row[lane_of() + WARP * i];
    warp_sync();
#pragma unroll
    for (uint32_t i = 0; i < N; i++) row[place<N>(lane_of() + WARP * i)] = v[i];
}

/* KEYS keys from key i on meet the queries, [N * WARP] floats a head; those from `end` on
 * count nothing.  scores: [KEYS * GROUP], of the warp. */
template <uint32_t N>
static __device__ void meet(const struct attend *a, struct part<N> *p, float *queries,
                            const uint8_t *keys, const uint8_t *values, uint32_t i,
                            uint32_t end, float *scores)
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
#pragma unroll
        for (uint32_t k = 0; k < KEYS; k++) s[k * GROUP + h] = 0;
#pragma unroll
        for (uint32_t j = 0; j < N; j += 4) {
            const float4 y = *piece<N>(queries + h * N * WARP, j);
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

/* The parts of the warps become one, added in order: rows, [N * WARP] floats a head.
 * maxima, totals: [GROUP * WARPS]; each warp's largest score, and sum of weights relative
 * to the largest of all.  Returns that, of head lane % GROUP. */
template <uint32_t N>
static __device__ float add_up(const struct part<N> *p, float *rows, float *maxima,
                               float *totals)
{
    const uint32_t head = lane_of() % GROUP, mine = warp_of() * GROUP + head;
    if (lane_of() < GROUP) maxima[mine] = p->max;
    block_sync();
    float max = maxima[head];
    for (uint32_t w = 1; w < WARPS; w++) max = fmaxf(max, maxima[w * GROUP + head]);
    const float shrink = weight_of(p->max, max);
    if (lane_of() < GROUP) totals[mine] = p->sum * shrink;
    for (uint32_t w = 0; w < WARPS; w++) {
#pragma unroll
        for (uint32_t h = 0; h < GROUP; h++) {
            const float c = lane_get(shrink, h);
#pragma unroll
            for (uint32_t j = 0; j < N; j += 4) {
                float4 *const at = piece<N>(rows + h * N * WARP, j);
                const float *const more = &p->values[h][j];
                if (w != warp_of()) continue;
                float4 sum = w ? *at : make_float4(0, 0, 0, 0);
                sum.x += c * more[0];
                sum.y += c * more[1];
                sum.z += c * more[2];
                sum.w += c * more[3];
                *at = sum;
            }
        }
        block_sync();
    }
    return max;
}

/* Queries of a block's heads, and where the last key is the token's own, that key and its
 * value, which others of the key head's blocks may store too: the same bytes. */
template <uint32_t N>
static __device__ void prepare_block(const struct attend *a, const struct frequencies *f,
                                     uint32_t kv_head, uint32_t first, uint32_t heads,
                                     bool store, float *rows, float *memory)
{
    SHARED(struct angles, angles, );
    const uint32_t dim = a->head_dim, warp = warp_of();
    angles_at(&angles, a->n_rot / 2, *a->pos + a->first, f);
    block_sync();
    if (store && warp < 2)
        store_row(a, &angles, 0, *a->pos + a->first, kv_head, warp == 1,
                  memory + warp * MOST_DIM);
    for (uint32_t h = warp; h < GROUP; h += WARPS) {
        float *const row = rows + h * N * WARP;
        if (h < heads) query_row(a, &angles, query(a, 0, first + h), row);
        for (uint32_t i = lane_of(); i < N * WARP; i += WARP)
            if (h >= heads || i >= dim) row[i] = 0;
        put_in_place<N>(row);
    }
}

/* Grid: splits, groups of query heads for each key head, tokens.  Warps take KEYS keys in
 * turn; in the end their parts are added up in order.  A lane has N numbers of a row. */
template <uint32_t N>
static __global__ void __launch_bounds__(WARPS *WARP)
    few(const __grid_constant__ struct attend a,
        const __grid_constant__ struct frequencies f, bool prepared)
{
    SHARED(float4, memory, [GROUP * N * WARP / 4]); /* queries, then sums of values */
    SHARED(float, key_value, [2 * MOST_DIM]);
    SHARED(float, scores, [WARPS * KEYS * GROUP]);
    SHARED(float, maxima, [WARPS * GROUP]);
    SHARED(float, totals, [WARPS * GROUP]);
    after_previous();
    float *const rows = (float *)memory;
    const uint32_t split = blockIdx.x, token = blockIdx.z, dim = a.head_dim;
    const uint32_t groups = div_up(share(&a), GROUP), kv_head = blockIdx.y / groups;
    const uint32_t before = blockIdx.y % groups * GROUP; /* heads of the key head */
    const uint32_t first = kv_head * share(&a) + before;
    const uint32_t heads = share(&a) - before < GROUP ? share(&a) - before : GROUP;
    const uint32_t seen = visible(&a, token), each = split_keys(&a, seen);
    if (split * each >= seen) return;
    const uint32_t end = seen - split * each < each ? seen : (split + 1) * each;

    if (!prepared)
        prepare_block<N>(&a, &f, kv_head, first, heads, end == seen, rows, key_value);
    for (uint32_t i = threadIdx.x; prepared && i < GROUP * N * WARP; i += blockDim.x) {
        const uint32_t h = i / (N * WARP), at = i % (N * WARP);
        rows[h * N * WARP + place<N>(at)] =
            h < heads && at < dim ? query(&a, token, first + h)[at] : 0;
    }
    block_sync();

    const uint8_t *const keys = a.k.data + (size_t)kv_head * a.n_ctx * a.k.row_bytes;
    const uint8_t *const values = a.v.data + (size_t)kv_head * a.n_ctx * a.v.row_bytes;
    struct part<N> p = {
        - INFINITY, 0, {}
    };
    for (uint32_t i = split * each + warp_of() * KEYS; i < end; i += WARPS * KEYS)
        meet(&a, &p, rows, keys, values, i, end, scores + warp_of() * KEYS * GROUP);

    const uint32_t head = lane_of() % GROUP;
    const float max = add_up(&p, rows, maxima, totals);
    for (uint32_t i = threadIdx.x; i < heads * dim; i += blockDim.x)
        a.parts[part_of(&a, token, first + i / dim, split) * dim + i % dim] =
            rows[i / dim * N * WARP + place<N>(i % dim)];
    if (threadIdx.x < heads) {
        float *const sums = a.sums + 2 * part_of(&a, token, first + head, split);
        float total = 0;
        for (uint32_t w = 0; w < WARPS; w++) total += totals[w * GROUP + head];
        sums[0] = max;
        sums[1] = total;
    }
}

void attend_few(gpu *g, const struct attend *a, const struct frequencies *f)
{
    const dim3 grid(a->splits, a->n_head_kv * div_up(share(a), GROUP), a->tokens);
    auto *const kernel = a->head_dim > 128 ? few<8> : few<4>;
    const struct frequencies none = {};
    LAUNCH(g, kernel, grid, WARPS * WARP, 0, *a, f ? *f : none, !f);
}
