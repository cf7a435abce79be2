/* product_many.cu - products of stored weights with tiles of 64 columns, where
 * multiplying takes the time.
 *
 * A warp has 16 rows: it unpacks weights into the registers that mma takes its operand
 * from, and multiplies 32 at a time with 8 columns.  The activations of a block of 256
 * are staged in shared memory, for all warps. */
#include "product_tile.cuh"

enum {
    THREADS = 128,
    TILES = MANY_COLUMNS / 8, /* of 8 columns */
    UNITS = ACT_BLOCK / 32,
    COLUMN_WORDS = ACT_BLOCK / 4 + 4 /* so that 8 columns have different banks */
};

/* ---- A unit of 32 weights of 16 rows, as lane (g, t) has it --------------------------
 */

template <class W> struct unit {
    uint32_t a[4];
    float s[2][2];    /* of rows g and g + 8: scales */
    uint32_t m[2][2]; /* and mins: whole numbers, */
    float min[2];     /* times these where blocks have 32 */
};

template <class W>
static __device__ void unit_load(struct unit<W> *v, const uint8_t *row0,
                                 const uint8_t *row1, uint32_t at, uint32_t u,
                                 const struct grid_tables *grids)
{
    const size_t block = (size_t)at * W::bytes;
    const in_global<W::align> b0 = { row0 + block }, b1 = { row1 + block };
    W::codes(b0, u, lane_of() % 4, grids, &v->a[0], &v->a[2]);
    W::codes(b1, u, lane_of() % 4, grids, &v->a[1], &v->a[3]);
    W::scales(b0, u, v->s[0]);
    W::scales(b1, u, v->s[1]);
    if constexpr (W::has_min) {
        W::mins(b0, u, v->m[0]);
        W::mins(b1, u, v->m[1]);
    }
    if constexpr (W::has_min && W::block == 32) {
        v->min[0] = W::min_of(b0);
        v->min[1] = W::min_of(b1);
    }
}

/* Sums of what a lane has of 16 rows and 8 columns: of a block of 256. */
struct sums {
    float total[4];
    int mins[4];
};

/* The activations of a block of 256 of 64 columns. */
struct staged {
    uint32_t q[MANY_COLUMNS][COLUMN_WORDS];
    uint32_t sum[UNITS][MANY_COLUMNS]; /* of both halves of a unit */
    float d[UNITS][MANY_COLUMNS];
};

/* What the mins of a unit count for a column. */
template <class W> static __device__ int times_mins(const uint32_t m[2], uint32_t sums)
{
    const int low = (int16_t)sums, high = (int)sums >> 16;
    if (W::groups == 2) return (int)m[0] * low + (int)m[1] * high;
    return (int)m[0] * (low + high);
}

/* The unit, number k of those that are staged, times the 8 columns of tile j. */
template <class W>
static __device__ void unit_multiply(struct sums *to, const struct unit<W> &v,
                                     const struct staged *x, uint32_t k, uint32_t j)
{
    const uint32_t g = lane_of() / 4, word = lane_of() % 4;
    const uint32_t *q = x->q[8 * j + g] + 8 * k + word;
    const uint32_t b[2] = { q[0], q[4] };
    int low[4] = { 0, 0, 0, 0 }, high[4] = { 0, 0, 0, 0 };
    if (W::groups == 1) {
        mma_s8_k32(low, v.a, b);
    } else {
        mma_s8_k16(low, v.a[0], v.a[1], b[0]);
        mma_s8_k16(high, v.a[2], v.a[3], b[1]);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = i / 2, c = 8 * j + 2 * word + i % 2;
        const float *s = v.s[row];
        if constexpr (W::block == ACT_BLOCK) {
            to->total[i] = fma1((float)low[i], s[0], to->total[i]);
            if (W::groups == 2) to->total[i] = fma1((float)high[i], s[1], to->total[i]);
            if constexpr (W::has_min)
                to->mins[i] += times_mins<W>(v.m[row], x->sum[k][c]);
        } else {
            float p = mul((float)low[i], s[0]);
            if constexpr (W::has_min)
                p = fma1((float)times_mins<W>(v.m[row], x->sum[k][c]), -v.min[row], p);
            to->total[i] = fma1(p, x->d[k][c], to->total[i]);
        }
    }
}

/* ---- Staging --------------------------------------------------------------------------
 */

/* Tiles of 8 columns that are worked on for `count` columns: 2, 4 or all. */
static __device__ uint32_t tiles_of(uint32_t count)
{
    return count <= 16 ? 2 : count <= 32 ? 4 : (uint32_t)TILES;
}

template <class W>
static __device__ void stage(struct staged *to, const struct product &p,
                             const struct tile &t, uint32_t block, uint32_t columns)
{
    enum { pieces = ACT_BLOCK / 16 };
    for (uint32_t i = threadIdx.x; i < columns * pieces; i += THREADS) {
        const uint32_t c = i / pieces, piece = i % pieces, k = piece / 2;
        const struct act_block *x =
            acts_of(p, t, min(c, t.count - 1), (uint32_t)W::block) + block;
        copy_begin<16>(&to->q[c][4 * piece], &x->q[4 * piece]);
        if (piece % 2 == 0) copy_begin<4>(&to->d[k][c], &x->d[k]);
        else if (W::has_min) copy_begin<4>(&to->sum[k][c], &x->sum[k]);
    }
    copy_end();
}

/* ---- A tile ---------------------------------------------------------------------------
 */

/* The warp's 16 rows, block `at` of 256, times the columns that are staged. */
template <class W>
static __device__ void multiply(struct sums to[TILES], const struct staged *x,
                                const struct product &p, const uint8_t *row0,
                                const uint8_t *row1, uint32_t at, uint32_t units,
                                uint32_t tiles)
{
    enum { together = 2 /* there are not registers for more */ };
#pragma unroll 1
    for (uint32_t k0 = 0; k0 < units; k0 += together) {
        struct unit<W> v[together];
#pragma unroll
        for (uint32_t i = 0; i < together; i++) {
            const uint32_t k = W::block == 32 ? min(k0 + i, units - 1) : k0 + i;
            if (W::block == 32) unit_load<W>(&v[i], row0, row1, 8 * at + k, 0, p.grids);
            else unit_load<W>(&v[i], row0, row1, at, k, p.grids);
        }
#pragma unroll
        for (uint32_t i = 0; i < together; i++) {
            const uint32_t k = k0 + i;
            if (W::block == 32 && k >= units) break;
#pragma unroll
            for (uint32_t j = 0; j < 2; j++) unit_multiply<W>(&to[j], v[i], x, k, j);
            if (tiles <= 2) continue;
#pragma unroll
            for (uint32_t j = 2; j < 4; j++) unit_multiply<W>(&to[j], v[i], x, k, j);
            if (tiles <= 4) continue;
#pragma unroll
            for (uint32_t j = 4; j < TILES; j++) unit_multiply<W>(&to[j], v[i], x, k, j);
        }
    }
}

/* y += a block's sums, which are then zero. */
template <class W>
static __device__ void add_block(float y[TILES][4], struct sums to[TILES],
                                 const struct staged *x, const uint8_t *row0,
                                 const uint8_t *row1, uint32_t at)
{
    float min[2] = { 0, 0 };
    if constexpr (W::has_min && W::block == ACT_BLOCK) {
        min[0] = W::min_of(in_global<W::align>{ row0 + (size_t)at * W::bytes });
        min[1] = W::min_of(in_global<W::align>{ row1 + (size_t)at * W::bytes });
    }
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            float total = to[j].total[i];
            if (W::has_min && W::block == ACT_BLOCK)
                total = fma1((float)to[j].mins[i], -min[i / 2], total);
            const uint32_t c = 8 * j + 2 * (lane_of() % 4) + i % 2;
            y[j][i] = W::block == ACT_BLOCK ? fma1(total, x->d[0][c], y[j][i])
                                            : add(y[j][i], total);
            to[j].total[i] = 0;
            to[j].mins[i] = 0;
        }
}

/* 16 rows and 8 columns, both counted from the tile's. */
static __device__ void store_sums(const struct product &p, const struct tile &t,
                                  uint32_t row, uint32_t column, const float y[4])
{
    const uint32_t g = lane_of() / 4, word = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t r = row + g + i / 2 * 8, c = column + 2 * word + i % 2;
        if (r < t.rows && c < t.count)
            p.y[(t.first + c) * p.y_stride + t.out + r] = mul(y[i], t.scale);
    }
}

/* 16 rows a warp, from the activations that the block stages in turn. */
template <uint32_t type>
static __device__ void many_coded(const struct product &p, const struct tile &t,
                                  struct staged *x)
{
    typedef weights<type> W;
    const uint32_t row = t.row + 16 * warp_of(), blocks = act_blocks(t.n);
    const uint32_t tiles = tiles_of(t.count);
    const uint8_t *row0 = weight_row(t, row + lane_of() / 4),
                  *row1 = weight_row(t, row + lane_of() / 4 + 8);
    float y[TILES][4];
    struct sums to[TILES];
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            y[j][i] = to[j].total[i] = 0;
            to[j].mins[i] = 0;
        }
    stage<W>(&x[0], p, t, 0, 8 * tiles);
    for (uint32_t b = 0; b < blocks; b++) {
        if (b + 1 < blocks) stage<W>(&x[(b + 1) % 2], p, t, b + 1, 8 * tiles);
        else copy_end();
        copy_wait<1>();
        block_sync();
        multiply<W>(to, &x[b % 2], p, row0, row1, b,
                    min((uint32_t)UNITS, t.n / 32 - UNITS * b), tiles);
        add_block<W>(y, to, &x[b % 2], row0, row1, b);
        block_sync();
    }
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
        if (j < tiles) store_sums(p, t, row, 8 * j, y[j]);
}

static __global__ void __launch_bounds__(THREADS, 2)
    many(const __grid_constant__ struct product p)
{
    SHARED(struct staged, x, [2]);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, MANY_COLUMNS, false, &t)) return;
    const uint32_t first = t.row + 16 * warp_of(), end = min(first + 16, t.rows);
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, x); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: rows_of_floats<T, 8>(p, t, first, 1, end); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

void product_many(struct gpu *g, const struct product *p, uint32_t tiles,
                  uint32_t row_blocks)
{
    LAUNCH(g, many, dim3(tiles, row_blocks), THREADS, 0, *p);
}
