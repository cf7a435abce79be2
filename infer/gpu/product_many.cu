/* product_many.cu - products of stored weights with tiles of up to 64 columns, where
 * multiplying takes the time.
 *
 * A warp has 16 rows.  For each 256 columns of theirs it unpacks the codes into the
 * registers that mma takes its operand from, and puts the scales into shared memory, as
 * lanes that share a row would all unpack the same; then it multiplies with 8 columns of
 * activations after the other, of which a block of 256 is staged for all warps.
 *
 * What is counted are instructions, as a device issues few for each mma.  Sums become
 * floats by an addition: mma begins with the bits of 1.5 * 2^23, so that what it gives
 * are the bits of a float, 1.5 * 2^23 + sum, for sums below 2^22.  The sum of the mins is
 * a product too, of 16 mins with 16 sums of activations. */
#include "product_tile.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / WARP,
    TILES = MANY_COLUMNS / 8, /* of 8 columns */
    UNITS = ACT_BLOCK / 32,
    SUMS_AT = ACT_BLOCK / 4, /* in words of an act_block, */
    D_AT = SUMS_AT + UNITS,  /* as are these */
    ACT_WORDS = D_AT + UNITS,
    COLUMN_WORDS = ACT_WORDS + 4, /* so that 8 columns have different banks */
    SHIFT_BITS = 0x4b400000       /* of 1.5 * 2^23 */
};
static_assert(ACT_WORDS * 4 == sizeof(struct act_block), "as they are in memory");

/* A block of 256 of the activations of 64 columns. */
struct alignas(16) staged {
    uint32_t column[MANY_COLUMNS][COLUMN_WORDS];
};

/* Of a warp's rows: what units of 256 columns have, in their order: a scale, two for both
 * halves, or, where blocks have 32, a scale and a min. */
struct alignas(16) scales {
    float row[16][2 * UNITS];
};
template <class W> struct unit_of {
    enum { numbers = W::groups == 2 || (W::has_min && W::block == 32) ? 2 : 1 };
};

/* What a lane (g, t) has of 256 columns of rows g and g + 8. */
struct lane_weights {
    uint32_t code[UNITS][4];
    uint32_t
        mins[2];  /* four whole numbers in bytes, of the 16 columns from 64 t on, ... */
    float min[2]; /* times these */
};

/* A warp's rows, as a lane has them. */
struct lane_rows {
    const uint8_t *row[2];
    uint32_t units; /* of 32, in a row */
};

template <class W>
static __device__ in_global<W::align> unit_at(const struct lane_rows &r, uint32_t i,
                                              uint32_t unit)
{
    enum { units = W::block / 32 };
    return { r.row[i] + (size_t)(unit / units) * W::bytes };
}

/* ---- Unpacking ------------------------------------------------------------------------
 */

/* Of block `at` of 256; behind the end of a row the last unit is read again. */
template <class W, bool whole>
static __device__ void unpack_codes(struct lane_weights *w, const struct lane_rows &r,
                                    uint32_t at, const struct grid_tables *grids)
{
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u++) {
        uint32_t unit = UNITS * at + u;
        if (!whole) unit = min(unit, r.units - 1);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++)
            W::codes(unit_at<W>(r, i, unit), W::block == 32 ? 0 : u, lane_of() % 4, grids,
                     &w->code[u][i], &w->code[u][2 + i]);
    }
}

/* The scales of rows g and g + 8, units 2 t and 2 t + 1 of block `at`.  What is behind
 * the end of a row counts nothing. */
template <class W>
static __device__ void unpack_scales(struct scales *s, struct lane_weights *w,
                                     const struct lane_rows &r, uint32_t at)
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        float *to = s->row[g + 8 * i];
        w->mins[i] = 0;
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) {
            const uint32_t u = 2 * t + k, unit = UNITS * at + u;
            const bool there = W::block != 32 || unit < r.units;
            const in_global<W::align> b = unit_at<W>(r, i, min(unit, r.units - 1));
            float scale[2];
            W::scales(b, W::block == 32 ? 0 : u, scale);
            to[unit_of<W>::numbers * u] = there ? scale[0] : 0;
            if (W::groups == 2) to[2 * u + 1] = scale[1];
            if constexpr (W::has_min && W::block == 32)
                to[2 * u + 1] = there ? W::min_of(b) : 0;
            if constexpr (W::has_min && W::block == ACT_BLOCK) {
                uint32_t m[2];
                W::mins(b, u, m);
                w->mins[i] |= (m[0] | m[W::groups - 1] << 8) << 16 * k;
            }
        }
        if constexpr (W::has_min && W::block == ACT_BLOCK)
            w->min[i] = W::min_of(unit_at<W>(r, i, UNITS * at));
    }
}

/* ---- Multiplying ----------------------------------------------------------------------
 */

static __device__ float shifted_back(int sum)
{
    return sub(bits_float((uint32_t)sum), bits_float(SHIFT_BITS));
}

/* The exact sum of mins times sums of 16 activations, for 16 rows and 8 columns.  column:
 * g of them.  Sums have two digits, s = 64 (s / 64) + s % 64, down to the next whole
 * number. */
static __device__ void sum_mins(float sum[4], const uint32_t mins[2],
                                const uint32_t *column)
{
    const uint2 v = *(const uint2 *)(column + SUMS_AT + 2 * (lane_of() % 4));
    const uint32_t low = pick_bytes(v.x & 0x003f003f, v.y & 0x003f003f, 0x6420);
    const uint32_t high = pick_bytes(v.x >> 6, v.y >> 6, 0x6420);
    int n[4];
    mma_s8_k16_from(n, 0, mins[0], mins[1], high);
#pragma unroll
    for (int i = 0; i < 4; i++) n[i] = n[i] * 64 + SHIFT_BITS;
    mma_s8_k16(n, mins[0], mins[1], low);
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] = shifted_back(n[i]);
}

/* Both sums of a unit together. */
static __device__ float sum_32(uint32_t both)
{
    return (float)((int16_t)both + ((int)both >> 16));
}

/* Of a lane's two rows, of units u and u + 1. */
template <class W>
static __device__ void load_scales(float to[2][4], const struct scales *s, uint32_t u)
{
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const float *from = s->row[lane_of() / 4 + 8 * i] + unit_of<W>::numbers * u;
        if (unit_of<W>::numbers == 2) { /* there are not registers for all */
            const float4 v = load_anew(from);
            to[i][0] = v.x, to[i][1] = v.y, to[i][2] = v.z, to[i][3] = v.w;
        } else {
            to[i][0] = from[0], to[i][1] = from[1];
        }
    }
}

/* total += unit u times 8 columns.  s: its numbers; pair: this lane's two columns. */
template <class W>
static __device__ void multiply_unit(float total[4], const struct lane_weights &w,
                                     uint32_t u, const float *const s[2],
                                     const uint32_t b[2], const uint32_t *const pair[2])
{
    const uint32_t *a = w.code[u];
    int n[4], n1[4];
    if (W::groups == 1) {
        mma_s8_k32_from(n, SHIFT_BITS, a, b);
    } else {
        mma_s8_k16_from(n, SHIFT_BITS, a[0], a[1], b[0]);
        mma_s8_k16_from(n1, SHIFT_BITS, a[2], a[3], b[1]);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = i / 2;
        const uint32_t *const x = pair[i % 2];
        if constexpr (W::block == ACT_BLOCK) {
            total[i] = fma1(shifted_back(n[i]), s[row][0], total[i]);
            if (W::groups == 2) total[i] = fma1(shifted_back(n1[i]), s[row][1], total[i]);
        } else {
            float p = mul(shifted_back(n[i]), s[row][0]);
            if constexpr (W::has_min) p = fma1(sum_32(x[SUMS_AT + u]), -s[row][1], p);
            total[i] = fma1(p, bits_float(x[D_AT + u]), total[i]);
        }
    }
}

/* y += 256 columns of the weights times 8 columns of activations, tile j of those that
 * are staged. */
template <class W>
static __device__ void multiply_tile(float y[4], const struct lane_weights &w,
                                     const struct scales *s, const struct staged *x,
                                     uint32_t j)
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
    const uint32_t *row = x->column[8 * j + lane_of() % 8] + lane_of() / 8 * 4;
    const uint32_t *const pair[2] = { x->column[8 * j + 2 * t],
                                      x->column[8 * j + 2 * t + 1] };
    float total[4] = { 0, 0, 0, 0 };
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u += 2) {
        uint32_t b[4];
        float own[2][4];
        load_matrices(b, row + 8 * u);
        load_scales<W>(own, s, u);
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) {
            const float *const of_unit[2] = { own[0] + unit_of<W>::numbers * k,
                                              own[1] + unit_of<W>::numbers * k };
            multiply_unit<W>(total, w, u + k, of_unit, b + 2 * k, pair);
        }
    }
    float mins[4];
    if (W::has_min && W::block == ACT_BLOCK) sum_mins(mins, w.mins, x->column[8 * j + g]);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        if (W::has_min && W::block == ACT_BLOCK)
            total[i] = fma1(mins[i], -w.min[i / 2], total[i]);
        y[i] = W::block == ACT_BLOCK ? fma1(total[i], bits_float(pair[i % 2][D_AT]), y[i])
                                     : add(y[i], total[i]);
    }
}

/* ---- Staging --------------------------------------------------------------------------
 */

/* Four threads copy a column, and the one half a tile further on. */
struct copier {
    const struct act_block *from[2];
    uint32_t columns;
};

enum { COPY_STEP = THREADS / 4 };
static_assert(2 * COPY_STEP == MANY_COLUMNS, "two columns for four threads");

static __device__ void copier_init(struct copier *k, const struct product &p,
                                   const struct tile &t, uint32_t columns, uint32_t block)
{
    const uint32_t c = threadIdx.x / 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++)
        k->from[i] = acts_of(p, t, min(c + COPY_STEP * i, t.count - 1), block);
    k->columns = columns;
}

static __device__ void stage(struct staged *to, const struct copier &k, uint32_t block)
{
    const uint32_t c = threadIdx.x / 4, word = threadIdx.x % 4 * 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        if (c + COPY_STEP * i >= k.columns) break;
        const uint32_t *from = k.from[i][block].q + word;
#pragma unroll
        for (uint32_t at = 0; at < ACT_WORDS; at += 16)
            copy_begin<16>(&to->column[c + COPY_STEP * i][word + at], from + at);
    }
    copy_end();
}

/* Lane 2 r, and 2 r + 1, asks for what the warp's row r has in block `at`. */
template <class W>
static __device__ void ask_for_weights(const struct tile &t, uint32_t row, uint32_t at)
{
    enum { bytes = ACT_BLOCK / W::block * W::bytes };
    const uint32_t lane = lane_of(), to = bytes * at + lane % 2 * (bytes / 2);
    if (to < t.row_bytes) ask_for(weight_row(t, row + lane / 2) + to);
}

/* ---- A tile ---------------------------------------------------------------------------
 */

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
                                  struct staged *x, struct scales *s)
{
    typedef weights<type> W;
    const uint32_t row = t.row + 16 * warp_of(), blocks = act_blocks(t.n);
    const uint32_t tiles = div_up(t.count, 8);
    const struct lane_rows rows = { { weight_row(t, row + lane_of() / 4),
                                      weight_row(t, row + lane_of() / 4 + 8) },
                                    t.n / 32 };
    struct copier k;
    float y[TILES][4];
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) y[j][i] = 0;
    copier_init(&k, p, t, 8 * tiles, (uint32_t)W::block);
    stage(&x[0], k, 0);
    for (uint32_t b = 0; b < blocks; b++) {
        struct lane_weights w;
        if (b + 1 < blocks) {
            stage(&x[(b + 1) % 2], k, b + 1);
            ask_for_weights<W>(t, row, b + 1);
        } else {
            copy_end();
        }
        if (W::block == ACT_BLOCK || UNITS * (b + 1) <= rows.units)
            unpack_codes<W, true>(&w, rows, b, p.grids);
        else unpack_codes<W, false>(&w, rows, b, p.grids);
        unpack_scales<W>(s, &w, rows, b);
        copy_wait<1>();
        block_sync(); /* for the scales too */
#pragma unroll
        for (uint32_t j = 0; j < TILES; j++) {
            if (j >= tiles) break;
            multiply_tile<W>(y[j], w, s, &x[b % 2], j);
        }
        block_sync();
    }
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
        if (j < tiles) store_sums(p, t, row, 8 * j, y[j]);
}

static __global__ void __launch_bounds__(THREADS, 3)
    many(const __grid_constant__ struct product p)
{
    SHARED(struct staged, x, [2]);
    SHARED(struct scales, s, [WARPS]);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, MANY_COLUMNS, false, &t)) return;
    const uint32_t first = t.row + 16 * warp_of(), end = min(first + 16, t.rows);
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, x, &s[warp_of()]); break;
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
