/* product.cu - products of stored weights with activations, for all types.
 *
 * Two kernels: product_few() for up to 8 columns, where reading the weights takes the
 * time, product_many() for tiles of 64 columns.  Both have a warp on 16 rows, unpack
 * weights into the registers that mma takes its operand from, and multiply 32 weights at
 * a time with 8 columns.  (For one token that is seven eighths for nothing, on units that
 * would idle; what it saves is adding up over lanes.)
 *
 * The order of the sums is the same in both, so a result does not depend on how many
 * columns a call has:
 *
 *   32 weights        scale * (exact sum of the codes' products) - min * sum of codes
 *   a segment of 512  these times the scales of the activations, one after the other
 *   a row             the segments, one after the other
 *
 * Weights in floats are multiplied in binary32: in a segment, lane l has elements 4l to
 * 4l + 3 of each 128, and the lanes are added up as a tree. */
#include "product.cuh"
#include "unpack.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / WARP,
    UNITS = SEGMENT / 32, /* of a segment */
    STEP = 4,             /* units that are loaded together */
    TILES = MANY_COLUMNS / FEW_COLUMNS,
    COLUMN_WORDS = STEP * 8 + 4 /* so that 8 columns have different banks */
};

/* What a block works on. */
struct tile {
    const uint8_t *w;
    size_t row_bytes;
    uint32_t type, n, rows;
    uint32_t row;             /* the block's first */
    uint32_t first, count;    /* columns */
    const uint32_t *act_rows; /* of the columns' activations, or NULL: */
    uint32_t act_first;       /* theirs are from here on */
    uint32_t out;
    float scale;
};

/* ---- Finding the tile -----------------------------------------------------------------
 */

static __device__ bool matrix_tile(const struct product &p, uint32_t columns, bool few,
                                   struct tile *t)
{
    uint32_t i = p.n_matrices - 1;
    while (p.matrices[i].first_block > blockIdx.y) i--;
    const struct product_matrix &m = p.matrices[i];
    t->w = m.data;
    t->row_bytes = m.row_bytes;
    t->type = m.type;
    t->n = m.n;
    t->rows = m.rows;
    t->row = (blockIdx.y - m.first_block) * (few ? few_rows(m.n) : (uint32_t)MANY_ROWS);
    t->first = t->act_first = blockIdx.x * columns;
    t->count = min(columns, p.columns - t->first);
    t->act_rows = NULL;
    t->out = m.out;
    t->scale = m.scale;
    return t->row < m.rows;
}

/* Which expert and columns. */
static __device__ struct expert_tile columns_of(const struct product &p)
{
    if (p.tiles) return p.tiles[blockIdx.x];
    if (blockIdx.x < p.pairs) return { p.ids[blockIdx.x], blockIdx.x, 1 };
    return { p.n_expert, p.pairs, p.columns - p.pairs };
}

static __device__ bool expert_tile_of(const struct product &p, bool few, struct tile *t)
{
    const struct expert_tile e = columns_of(p);
    if (!e.count ||
        !expert_wanted(p.experts, p.n_expert, p.expert_first, p.expert_end, e.expert))
        return false;
    const bool shared = e.expert == p.n_expert;
    const uint32_t n_ff = shared ? p.n_ff_shared : p.n_ff;
    t->n = p.part == GGF_DOWN ? n_ff : p.n_embd;
    t->rows = p.part == GGF_DOWN ? p.n_embd : n_ff;
    const uint32_t each = few ? few_rows(t->n) : (uint32_t)MANY_ROWS;
    const uint32_t blocks = div_up(t->rows, each), k = blockIdx.y / blocks;
    if (k >= p.n_parts) return false;
    const uint32_t part = p.part + k;
    t->row = (blockIdx.y - k * blocks) * each;
    t->w = (const uint8_t *)(shared ? p.shared[part].data_d
                                    : p.experts[e.expert].data_d[part]);
    t->type = shared ? p.shared[part].type : p.experts[e.expert].type[part];
    t->scale = shared ? p.shared[part].scale : p.experts[e.expert].scale[part];
    t->row_bytes = row_bytes_of(t->type, t->n);
    t->first = e.first;
    t->count = e.count;
    t->out = k * p.part_width;
    t->act_rows = NULL;
    t->act_first = e.first;
    if (p.part != GGF_DOWN) { /* the activations of tokens and not of pairs */
        if (shared) t->act_first = e.first - p.pairs;
        else if (p.act_rows) t->act_rows = p.act_rows + e.first;
        else t->act_first = e.first / p.n_used;
    }
    return true;
}

/* The block's tile, in shared memory: registers are for numbers. */
static __device__ bool block_tile(const struct product &p, uint32_t columns, bool few,
                                  struct tile *t)
{
    if (threadIdx.x == 0 &&
        !(p.n_matrices ? matrix_tile(p, columns, few, t) : expert_tile_of(p, few, t)))
        t->count = 0;
    block_sync();
    return t->count != 0;
}

static __device__ uint32_t act_row(const struct tile &t, uint32_t column)
{
    return t.act_rows ? t.act_rows[column] : t.act_first + column;
}

static __device__ const uint8_t *weight_row(const struct tile &t, uint32_t row)
{
    return t.w + (size_t)min(row, t.rows - 1) * t.row_bytes;
}

/* ---- A unit of 32 weights of 16 rows, as lane (g, t) has it
 * ------------------------------- */

template <class W> struct unit {
    uint32_t a[4];
    float s[2][2], m[2][2]; /* of rows g and g + 8: scales and mins */
};

template <class W>
static __device__ void unit_load(struct unit<W> *v, const uint8_t *row0,
                                 const uint8_t *row1, uint32_t at, uint32_t u, uint32_t t,
                                 const struct grid_tables *grids)
{
    const size_t block = (size_t)at * W::bytes;
    W::codes(row0 + block, u, t, grids, &v->a[0], &v->a[2]);
    W::codes(row1 + block, u, t, grids, &v->a[1], &v->a[3]);
    W::scales(row0 + block, u, v->s[0], v->m[0]);
    W::scales(row1 + block, u, v->s[1], v->m[1]);
}

/* What the epilogue needs of two columns of activations. */
struct two_columns {
    float d[2];
    float sum[2][2]; /* of 32 codes; or of 16 and 16 */
};

/* acc += the unit's products with 8 columns. */
template <class W>
static __device__ void unit_multiply(float acc[4], const struct unit<W> &v,
                                     const uint32_t b[2], const struct two_columns &c)
{
    int low[4] = { 0, 0, 0, 0 }, high[4] = { 0, 0, 0, 0 };
    if (W::groups == 1) {
        mma_s8_k32(low, v.a, b);
    } else {
        mma_s8_k16(low, v.a[0], v.a[1], b[0]);
        mma_s8_k16(high, v.a[2], v.a[3], b[1]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float *s = v.s[i / 2], *m = v.m[i / 2];
        float sum = mul(s[0], (float)low[i]);
        if (W::groups == 2) sum = fma1(s[1], (float)high[i], sum);
        if (W::has_min) sum = fma1(-m[0], c.sum[i % 2][0], sum);
        if (W::has_min && W::groups == 2) sum = fma1(-m[1], c.sum[i % 2][1], sum);
        acc[i] = fma1(c.d[i % 2], sum, acc[i]);
    }
}

/* ---- Few columns
 * ----------------------------------------------------------------------------- */

template <class W>
static __device__ void columns_load(struct two_columns *c, const struct act_chunk *x0,
                                    const struct act_chunk *x1, uint32_t half)
{
    c->d[0] = read(&x0->d[half]);
    c->d[1] = read(&x1->d[half]);
    if (W::has_min && W::groups == 1) {
        c->sum[0][0] = read(&x0->sum32[half]);
        c->sum[1][0] = read(&x1->sum32[half]);
    } else if (W::has_min) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            c->sum[0][i] = read(&x0->sum16[2 * half + i]);
            c->sum[1][i] = read(&x1->sum16[2 * half + i]);
        }
    }
}

/* One segment of the 16 rows from `row` on. */
template <uint32_t type>
static __device__ void few_coded(const struct product &p, const struct tile &t,
                                 uint32_t row, uint32_t segment, float acc[4])
{
    typedef weights<type> W;
    enum { units = W::block / 32 };
    const uint32_t g = lane_of() / 4, word = lane_of() % 4, last = t.count - 1;
    const uint8_t *row0 = weight_row(t, row + g), *row1 = weight_row(t, row + g + 8);
    const struct act_chunk *x = p.q + (size_t)act_row(t, min(g, last)) * p.act_stride;
    const struct act_chunk *x0 =
        p.q + (size_t)act_row(t, min(2 * word, last)) * p.act_stride;
    const struct act_chunk *x1 =
        p.q + (size_t)act_row(t, min(2 * word + 1, last)) * p.act_stride;
    const uint32_t end = min((segment + 1) * UNITS, t.n / 32);
    for (uint32_t u0 = segment * UNITS; u0 < end; u0 += STEP) {
        struct unit<W> v[STEP];
        struct two_columns c[STEP];
        uint32_t b[STEP][2];
#pragma unroll
        for (uint32_t k = 0; k < STEP; k++) {
            /* Behind the end the last unit is read again and counts nothing: with a
               branch loads would not be on their way together. */
            const uint32_t u = units == 1 ? min(u0 + k, end - 1) : u0 + k, half = u % 2;
            const uint32_t *q = x[u / 2].q + 8 * half + word;
            unit_load<W>(&v[k], row0, row1, u / units, u % units, word, p.grids);
            columns_load<W>(&c[k], x0 + u / 2, x1 + u / 2, half);
            b[k][0] = read(q);
            b[k][1] = read(q + 4);
            if (u0 + k >= end) c[k].d[0] = c[k].d[1] = 0;
        }
#pragma unroll
        for (uint32_t k = 0; k < STEP; k++) unit_multiply<W>(acc, v[k], b[k], c[k]);
    }
}

/* Sums of a warp, [i][lane]: what lane `lane` has in acc[i]. */
typedef float warp_sums[4][WARP];

/* A segment of 16 rows with columns from `column` on, at most 8. */
template <uint32_t type>
static __device__ void few_floats(const struct product &p, const struct tile &t,
                                  uint32_t row, uint32_t segment, uint32_t column,
                                  warp_sums &sums)
{
    enum { pieces = SEGMENT / 128 };
    const uint32_t lane = lane_of(),
                   columns = min(t.count - column, (uint32_t)FEW_COLUMNS);
#pragma unroll 1
    for (uint32_t r = 0; r < 16; r++) {
        const uint8_t *w = weight_row(t, row + r);
        float4 v[pieces];
#pragma unroll
        for (uint32_t k = 0; k < pieces; k++) {
            const uint32_t i = segment * SEGMENT + 128 * k + 4 * lane;
            v[k] = i < t.n ? floats<type>::four(w, i) : make_float4(0, 0, 0, 0);
        }
#pragma unroll 2
        for (uint32_t c = 0; c < columns; c++) {
            const float *x = p.x + (size_t)act_row(t, column + c) * p.x_stride;
            float sum = 0;
#pragma unroll
            for (uint32_t k = 0; k < pieces; k++) {
                const uint32_t i = segment * SEGMENT + 128 * k + 4 * lane;
                if (i >= t.n) break;
                const float4 a = read((const float4 *)(x + i));
                sum = fma1(v[k].x, a.x, sum);
                sum = fma1(v[k].y, a.y, sum);
                sum = fma1(v[k].z, a.z, sum);
                sum = fma1(v[k].w, a.w, sum);
            }
            sum = warp_sum(sum);
            if (lane == 0) sums[r / 8 * 2 + c % 2][r % 8 * 4 + c / 2] = sum;
        }
    }
}

static __device__ void few_segment(const struct product &p, const struct tile &t,
                                   uint32_t row, uint32_t segment, warp_sums &sums)
{
    float acc[4] = { 0, 0, 0, 0 };
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: few_coded<T>(p, t, row, segment, acc); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: few_floats<T>(p, t, row, segment, 0, sums); return;
        FLOAT_TYPES(CASE)
#undef CASE
    }
#pragma unroll
    for (int i = 0; i < 4; i++) sums[i][lane_of()] = acc[i];
}

/* What lane (g, t) has of 16 rows and 8 columns, both counted from the tile's. */
static __device__ void store_sums(const struct product &p, const struct tile &t,
                                  uint32_t row, uint32_t column, const float total[4])
{
    const uint32_t g = lane_of() / 4, word = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t r = row + g + i / 2 * 8, c = column + 2 * word + i % 2;
        if (r < t.rows && c < t.count)
            p.y[(t.first + c) * p.y_stride + t.out + r] = mul(total[i], t.scale);
    }
}

/* The warps of a block share 16, 32 or 64 rows: what is left of them is for segments. */
static __global__ void __launch_bounds__(THREADS, 4)
    product_few(const __grid_constant__ struct product p)
{
    SHARED(warp_sums, sums, [WARPS]);
    SHARED(warp_sums, totals, [WARPS]);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, FEW_COLUMNS, true, &t)) return;
    const uint32_t sharing = WARPS * 16 / few_rows(t.n), segments = div_up(t.n, SEGMENT);
    const uint32_t mine = warp_of() % sharing;
    const uint32_t row = t.row + warp_of() / sharing * 16;
    float(&total)[4][WARP] = totals[warp_of()]; /* registers are scarce */
#pragma unroll
    for (int i = 0; i < 4; i++) total[i][lane_of()] = 0;
    for (uint32_t s = 0; s < segments; s += sharing) {
        if (s + mine < segments && row < t.rows)
            few_segment(p, t, row, s + mine, sums[warp_of()]);
        block_sync();
        if (mine == 0 && row < t.rows)
            for (uint32_t k = 0; k < min(sharing, segments - s); k++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    total[i][lane_of()] =
                        add(total[i][lane_of()], sums[warp_of() + k][i][lane_of()]);
        block_sync();
    }
    if (mine) return; /* others have the sums */
    const uint32_t lane = lane_of();
    const float v4[4] = { total[0][lane], total[1][lane], total[2][lane],
                          total[3][lane] };
    store_sums(p, t, row, 0, v4);
}

/* ---- Many columns
 * -------------------------------------------------------------------------------- */

/* STEP units of the activations of 64 columns. */
struct staged {
    uint32_t q[MANY_COLUMNS][COLUMN_WORDS];
    float d[STEP][MANY_COLUMNS];
    float sum[2 * STEP][MANY_COLUMNS]; /* [STEP] of 32 codes, or all of 16 */
};

/* Tiles of 8 columns that are worked on for `count` columns: 2, 4 or all. */
static __device__ uint32_t tiles_of(uint32_t count)
{
    return count <= 2 * FEW_COLUMNS ? 2 : count <= 4 * FEW_COLUMNS ? 4 : (uint32_t)TILES;
}

template <class W>
static __device__ void stage(struct staged *to, const struct product &p,
                             const struct tile &t, uint32_t unit, uint32_t columns)
{
    const uint32_t units = act_chunks(t.n) * 2; /* what there is, zeros at the end */
    for (uint32_t i = threadIdx.x; i < columns * STEP * 2; i += THREADS) {
        const uint32_t c = i / (STEP * 2), piece = i % (STEP * 2), u = unit + piece / 2;
        if (u >= units) { /* counts nothing */
            to->d[piece / 2][c] = 0;
            to->sum[piece / 2][c] = to->sum[piece][c] = 0;
            continue;
        }
        const struct act_chunk *x =
            p.q + (size_t)act_row(t, min(c, t.count - 1)) * p.act_stride + u / 2;
        copy_begin<16>(&to->q[c][4 * piece], &x->q[8 * (u % 2) + 4 * (piece % 2)]);
        if (piece % 2 == 0) {
            copy_begin<4>(&to->d[piece / 2][c], &x->d[u % 2]);
            if (W::has_min && W::groups == 1)
                copy_begin<4>(&to->sum[piece / 2][c], &x->sum32[u % 2]);
        }
        if (W::has_min && W::groups == 2)
            copy_begin<4>(&to->sum[piece][c], &x->sum16[2 * (u % 2) + piece % 2]);
    }
    copy_end();
}

/* Tile j of 8 columns and unit k of those that are staged. */
template <class W>
static __device__ void many_multiply(float acc[4], const struct unit<W> &v,
                                     const struct staged *x, uint32_t k, uint32_t j)
{
    const uint32_t g = lane_of() / 4, word = lane_of() % 4, c0 = 8 * j + 2 * word;
    const uint32_t *q = x->q[8 * j + g] + 8 * k + word;
    const uint32_t b[2] = { q[0], q[4] };
    struct two_columns c;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        c.d[i] = x->d[k][c0 + i];
        if (W::has_min && W::groups == 1) c.sum[i][0] = x->sum[k][c0 + i];
        else if (W::has_min)
            c.sum[i][0] = x->sum[2 * k][c0 + i], c.sum[i][1] = x->sum[2 * k + 1][c0 + i];
    }
    unit_multiply<W>(acc, v, b, c);
}

template <class W>
static __device__ void many_step(const struct staged *x, const struct product &p,
                                 const uint8_t *row0, const uint8_t *row1, uint32_t unit0,
                                 uint32_t end, uint32_t tiles, float acc[TILES][4])
{
    enum { units = W::block / 32, together = 2 /* there are not registers for more */ };
#pragma unroll 1
    for (uint32_t k0 = 0; k0 < STEP; k0 += together) {
        struct unit<W> v[together];
#pragma unroll
        for (uint32_t i = 0; i < together; i++) {
            const uint32_t at = unit0 + k0 + i, u = units == 1 ? min(at, end - 1) : at;
            unit_load<W>(&v[i], row0, row1, u / units, u % units, lane_of() % 4, p.grids);
        }
#pragma unroll
        for (uint32_t i = 0; i < together; i++) {
            const uint32_t k = k0 + i;
#pragma unroll
            for (uint32_t j = 0; j < 2; j++) many_multiply<W>(acc[j], v[i], x, k, j);
            if (tiles <= 2) continue;
#pragma unroll
            for (uint32_t j = 2; j < 4; j++) many_multiply<W>(acc[j], v[i], x, k, j);
            if (tiles <= 4) continue;
#pragma unroll
            for (uint32_t j = 4; j < TILES; j++) many_multiply<W>(acc[j], v[i], x, k, j);
        }
    }
}

/* 16 rows a warp, from the activations that the block stages in turn. */
template <uint32_t type>
static __device__ void many_coded(const struct product &p, const struct tile &t,
                                  struct staged *x)
{
    typedef weights<type> W;
    const uint32_t row = t.row + 16 * warp_of(), units = t.n / 32;
    const uint32_t tiles = tiles_of(t.count);
    const uint8_t *row0 = weight_row(t, row + lane_of() / 4),
                  *row1 = weight_row(t, row + lane_of() / 4 + 8);
    float total[TILES][4], acc[TILES][4];
#pragma unroll
    for (int j = 0; j < TILES; j++)
        for (int i = 0; i < 4; i++) total[j][i] = acc[j][i] = 0;
    stage<W>(&x[0], p, t, 0, 8 * tiles);
    for (uint32_t u = 0, turn = 0; u < units; u += STEP, turn ^= 1) {
        if (u + STEP < units) stage<W>(&x[turn ^ 1], p, t, u + STEP, 8 * tiles);
        else copy_end();
        copy_wait<1>();
        block_sync();
        many_step<W>(&x[turn], p, row0, row1, u, units, tiles, acc);
        if ((u + STEP) % UNITS == 0 || u + STEP >= units)
#pragma unroll
            for (int j = 0; j < TILES; j++)
                for (int i = 0; i < 4; i++) {
                    total[j][i] = add(total[j][i], acc[j][i]);
                    acc[j][i] = 0;
                }
        block_sync();
    }
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
        if (j < tiles) store_sums(p, t, row, 8 * j, total[j]);
}

template <uint32_t type>
static __device__ void many_floats(const struct product &p, const struct tile &t,
                                   warp_sums &sums)
{
    const uint32_t row = t.row + 16 * warp_of(), segments = div_up(t.n, SEGMENT);
    if (row >= t.rows) return;
    for (uint32_t c = 0; c < t.count; c += FEW_COLUMNS) {
        float total[4] = { 0, 0, 0, 0 };
        for (uint32_t s = 0; s < segments; s++) {
            few_floats<type>(p, t, row, s, c, sums);
            warp_sync();
#pragma unroll
            for (int i = 0; i < 4; i++) total[i] = add(total[i], sums[i][lane_of()]);
            warp_sync();
        }
        store_sums(p, t, row, c, total);
    }
}

static __global__ void __launch_bounds__(THREADS, 3)
    product_many(const __grid_constant__ struct product p)
{
    SHARED(struct staged, x, [2]);
    SHARED(warp_sums, sums, [WARPS]);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, MANY_COLUMNS, false, &t)) return;
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, x); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: many_floats<T>(p, t, sums[warp_of()]); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

void product_launch(struct gpu *g, const struct product *p, bool few, uint32_t tiles,
                    uint32_t row_blocks)
{
    const dim3 grid(tiles, row_blocks);
    if (few) LAUNCH(g, product_few, grid, THREADS, 0, *p);
    else LAUNCH(g, product_many, grid, THREADS, 0, *p);
}
