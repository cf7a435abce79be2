/* product_few.cu - products of stored weights with up to 8 columns, where reading the
 * weights takes the time.
 *
 * A lane has a block of 256 weights of a row: it adds up the groups of the block in the
 * order of the CPU's kernels, and nothing crosses lanes.  The blocks of a row are added
 * up afterwards, by one lane for each row and column.  A block of threads has as many
 * whole rows as there are lanes for; where rows are long, of pieces of rows, one after
 * the other. */
#include "product_tile.cuh"

/* An act_block in shared memory, 21 times 16 bytes apart from the next: lanes that read
 * the same place of eight neighbours meet eight different groups of banks. */
struct staged_block {
    uint4 q[16];
    uint32_t sum[8];
    float d[8];
    uint4 unused;
};

/* Columns and blocks in shared memory. */
template <uint32_t columns> struct staged {
    enum { blocks = columns == 1 ? 16 : 8 };
    struct staged_block x[columns][blocks];
    float sum[columns][FEW_THREADS]; /* of a lane's block */
};

/* ---- A lane's block -----------------------------------------------------------------
 */

/* c + the products of four words of codes with 16 activations */
static __device__ int dot16(const uint32_t w[4], uint4 x, int c)
{
    c = dot4(w[0], x.x, c);
    c = dot4(w[1], x.y, c);
    c = dot4(w[2], x.z, c);
    return dot4(w[3], x.w, c);
}

/* The sums of the halves of a unit, in a word. */
static __device__ int sum_low(uint32_t sums) { return (int16_t)sums; }
static __device__ int sum_high(uint32_t sums) { return (int)sums >> 16; }

/* Unit u of 32 weights: total += its products with `count` columns; mins likewise. */
template <class W, uint32_t columns, class B>
static __device__ void few_unit(B b, uint32_t u, uint32_t at, uint32_t count,
                                const struct staged_block (*x)[staged<columns>::blocks],
                                const struct grid_tables *grids, float *total, int *mins)
{
    uint32_t lo[4], hi[4], m[2];
    float s[2], min = 0;
#pragma unroll
    for (uint32_t t = 0; t < 4; t++) W::codes(b, u, t, grids, &lo[t], &hi[t]);
    W::scales(b, u, s);
    if constexpr (W::has_min) W::mins(b, u, m);
    if constexpr (W::has_min && W::block == 32) min = W::min_of(b);
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) {
        if (columns > 1 && c >= count) break;
        const struct staged_block *a = &x[c][0];
        const uint4 q0 = a->q[2 * at], q1 = a->q[2 * at + 1];
        const uint32_t sums = a->sum[at];
        const int low = dot16(lo, q0, 0);
        if constexpr (W::groups == 2) {
            total[c] = fma1((float)low, s[0], total[c]);
            total[c] = fma1((float)dot16(hi, q1, 0), s[1], total[c]);
            if constexpr (W::has_min)
                mins[c] += (int)m[0] * sum_low(sums) + (int)m[1] * sum_high(sums);
        } else if constexpr (W::block == ACT_BLOCK) {
            total[c] = fma1((float)dot16(hi, q1, low), s[0], total[c]);
            if constexpr (W::has_min)
                mins[c] += (int)m[0] * (sum_low(sums) + sum_high(sums));
        } else {
            float p = mul((float)dot16(hi, q1, low), s[0]);
            if constexpr (W::has_min)
                p = fma1((float)(sum_low(sums) + sum_high(sums)), -min, p);
            total[c] = fma1(p, a->d[at], total[c]);
        }
    }
}

/* `units` of the block at b, times `count` columns. */
template <class W, uint32_t columns, class B>
static __device__ void few_block(B b, uint32_t units, uint32_t count,
                                 const struct staged_block (*x)[staged<columns>::blocks],
                                 const struct grid_tables *grids, float total[columns])
{
    int mins[columns];
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) total[c] = 0, mins[c] = 0;
#pragma unroll
    for (uint32_t u = 0; u < ACT_BLOCK / 32; u++) {
        if (W::block == ACT_BLOCK) {
            few_unit<W, columns>(b, u, u, count, x, grids, total, mins);
        } else {
            if (u >= units) break;
            few_unit<W, columns>(b.from(u * W::bytes), 0, u, count, x, grids, total,
                                 mins);
        }
    }
    if constexpr (W::has_min && W::block == ACT_BLOCK) {
        const float min = W::min_of(b);
#pragma unroll
        for (uint32_t c = 0; c < columns; c++)
            total[c] = fma1((float)mins[c], -min, total[c]);
    }
}

/* ---- A tile ---------------------------------------------------------------------------
 */

/* Blocks first .. first + blocks - 1 of the activations of all columns. */
template <uint32_t columns>
static __device__ void stage(struct staged<columns> *s, const struct product &p,
                             const struct tile &t, uint32_t form, uint32_t first,
                             uint32_t blocks)
{
    enum { pieces = sizeof(struct act_block) / 16 };
    const uint32_t n = blocks * pieces;
    for (uint32_t c = 0; c < t.count; c++) {
        const uint4 *from = (const uint4 *)(acts_of(p, t, c, form) + first);
        for (uint32_t i = threadIdx.x; i < n; i += FEW_THREADS)
            copy_begin<16>((uint4 *)&s->x[c][i / pieces] + i % pieces, from + i);
    }
    copy_end();
}

template <uint32_t type, uint32_t columns>
static __device__ void few_coded(const struct product &p, const struct tile &t,
                                 struct staged<columns> *s)
{
    typedef weights<type> W;
    const uint32_t span = few_blocks(t.n, columns > 1), all = act_blocks(t.n);
    const uint32_t rows = min(FEW_THREADS / span, t.rows - t.row);
    float y = 0;
    for (uint32_t first = 0; first < all; first += span) {
        const uint32_t blocks = min(span, all - first);
        const uint32_t row = threadIdx.x / blocks, block = threadIdx.x % blocks;
        stage(s, p, t, (uint32_t)W::block, first, blocks);
        copy_wait<0>();
        block_sync();
        if (row < rows) {
            const uint32_t at = first + block;
            const in_global<W::align> b = { weight_row(t, t.row + row) +
                                            (size_t)at * (ACT_BLOCK / W::block) *
                                                W::bytes };
            float total[columns];
            few_block<W, columns>(
                b, t.n / 32 - 8 * at, t.count,
                (const struct staged_block(*)[staged<columns>::blocks]) & s->x[0][block],
                p.grids, total);
#pragma unroll
            for (uint32_t c = 0; c < columns; c++) s->sum[c][threadIdx.x] = total[c];
        }
        block_sync();
        /* If there is more to come, there are not more sums than threads: 8 rows of one
           column, or 16 of 8. */
        for (uint32_t i = threadIdx.x; i < rows * t.count; i += FEW_THREADS) {
            const uint32_t r = i % rows, c = i / rows;
            const float *sum = &s->sum[c][r * blocks];
            if (!first) y = 0;
            for (uint32_t k = 0; k < blocks; k++)
                y = W::block == ACT_BLOCK ? fma1(sum[k], s->x[c][k].d[0], y)
                                          : add(y, sum[k]);
            if (first + blocks == all)
                p.y[(t.first + c) * p.y_stride + t.out + t.row + r] = mul(y, t.scale);
        }
        block_sync();
    }
}

template <uint32_t columns>
static __global__ void __launch_bounds__(FEW_THREADS)
    few(const __grid_constant__ struct product p)
{
    SHARED(struct staged<columns>, s, );
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, FEW_COLUMNS, true, &t)) return;
    /* of floats */
    const uint32_t rows = few_rows(t.n, p.several, p.n_matrices != 0);
    const uint32_t first = t.row + warp_of(), end = min(t.row + rows, t.rows);
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: few_coded<T, columns>(p, t, &s); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: rows_of_floats<T, columns>(p, t, first, FEW_THREADS / WARP, end); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

void product_few(struct gpu *g, const struct product *p, uint32_t tiles,
                 uint32_t row_blocks)
{
    const dim3 grid(tiles, row_blocks);
    if (p->several) LAUNCH(g, few<FEW_COLUMNS>, grid, FEW_THREADS, 0, *p);
    else LAUNCH(g, few<1>, grid, FEW_THREADS, 0, *p);
}
