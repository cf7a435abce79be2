/* product_many.cu - products of stored weights with tiles of up to 64 columns, where
 * multiplying takes the time.
 *
 * A warp has 16 rows.  For each 256 columns of theirs it unpacks the codes into the
 * registers that mma takes its operand from, and puts the scales into shared memory, as
 * lanes that share a row would all unpack the same; then it multiplies with 8 columns of
 * activations after the other, of which a block of 256 is staged for all warps.  Stored
 * weights come to shared memory as they are, while the block before is multiplied with: a
 * lane wants few bytes of many rows.
 *
 * What is counted are instructions, as a device issues few for each mma.  Sums become
 * floats by an addition: mma begins with the bits of 1.5 * 2^23, so that what it gives
 * are the bits of a float, 1.5 * 2^23 + sum, for sums below 2^22.  The sum of the mins is
 * a product too, of 16 mins with 16 sums of activations. */
#include "mma.cuh"
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

/* A block of 256 of the activations of a column. */
struct alignas(16) staged {
    uint32_t word[COLUMN_WORDS];
};

/* Of a warp's rows: what units of 256 columns have, in their order: a scale, two for both
 * halves, or, where blocks have 32, a scale and a min. */
struct alignas(16) scales {
    float row[16][2 * UNITS];
};
template <class W> struct unit_of {
    enum { numbers = W::groups == 2 || (W::has_min && W::block == 32) ? 2 : 1 };
};

/* 256 columns of a type as they are stored, from the 16-aligned address at or below them
 * on: pieces of 16 bytes, and of the place for them, which is such that rows have
 * different banks. */
template <class W> struct stored {
    enum {
        bytes = ACT_BLOCK / W::block * W::bytes,
        aligned = W::block == ACT_BLOCK && bytes % 16 == 0,
        pieces = (aligned ? bytes : bytes + 30) / 16,
        place = pieces | 1
    };
};
enum { STORED_MOST = 19 }; /* of all types: Q8_0 */

/* What is a warp's own. */
struct alignas(16) warp_memory {
    struct scales scales;
    uint4 stored[16][STORED_MOST];
};

/* A block there; a name of its own, as product_few.cu has another such. */
template <int align> struct in_warp {
    const uint8_t *p;
    __device__ in_warp from(uint32_t i) const { return { p + i }; }
    __device__ uint32_t byte(uint32_t i) const { return p[i]; }
    __device__ uint32_t half(uint32_t i) const { return *(const uint16_t *)(p + i); }
    __device__ uint32_t word(uint32_t i) const
    {
        if (align >= 4) return *(const uint32_t *)(p + i);
        if (align == 2) return half(i) | half(i + 2) << 16;
        return byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    }
};

/* What a lane (g, t) has of 256 columns of rows g and g + 8. */
struct lane_weights {
    uint32_t code[UNITS][4];
    uint32_t mins[2]; /* in bytes, whole numbers: two of unit t, two of unit t + 4; */
    float min[2];     /* times these */
};

/* Stored rows g and g + 8. */
struct lane_rows {
    const uint8_t *row[2];
    uint32_t units; /* of 32, that are there */
};

template <class W>
static __device__ in_warp<W::align> unit_at(const struct lane_rows &r, uint32_t i,
                                            uint32_t unit)
{
    enum { units = W::block / 32 };
    return { r.row[i] + unit / units * W::bytes };
}

/* ---- Types that have fewer steps here -------------------------------------------------
 */

template <uint32_t type> struct many_weights : weights<type> {
};

/* Codes times four fill a byte, whose sign is then theirs; scales are a quarter. */
template <> struct many_weights<GGF_Q6_K> : weights<GGF_Q6_K> {
    static __device__ uint32_t six_bits(uint32_t q, uint32_t high, uint32_t run)
    {
        const uint32_t top = (high << (6 - 2 * run) & 0xc0c0c0c0) ^ 0x80808080;
        return ((run < 2 ? q << 2 : q >> 2) & 0x3c3c3c3c) | top;
    }
    template <class B>
    static __device__ void codes(B b, uint32_t u, uint32_t t, const struct grid_tables *,
                                 uint32_t *lo, uint32_t *hi)
    {
        const uint32_t half = u / 4, run = u % 4;
        const B q = b.from(64 * half + 32 * (run & 1) + 4 * t);
        const B high = b.from(128 + 32 * half + 4 * t);
        *lo = six_bits(q.word(0), high.word(0), run);
        *hi = six_bits(q.word(16), high.word(16), run);
    }
    template <class B> static __device__ void scales(B b, uint32_t u, float *s)
    {
        weights<GGF_Q6_K>::scales(b, u, s);
        s[0] = mul(s[0], 0.25f);
        s[1] = mul(s[1], 0.25f);
    }
};

/* ---- Unpacking ------------------------------------------------------------------------
 */

/* Behind the end of a row the last unit is read again. */
template <class W, bool whole>
static __device__ void unpack_codes(struct lane_weights *w, const struct lane_rows &r,
                                    const struct grid_tables *grids)
{
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u++)
#pragma unroll
        for (uint32_t i = 0; i < 2; i++)
            W::codes(unit_at<W>(r, i, whole ? u : min(u, r.units - 1)),
                     W::block == 32 ? 0 : u, lane_of() % 4, grids, &w->code[u][i],
                     &w->code[u][2 + i]);
}

/* The scales of rows g and g + 8, units t and t + 4.  What is behind the end of a row
 * counts nothing. */
template <class W>
static __device__ void unpack_scales(struct scales *s, struct lane_weights *w,
                                     const struct lane_rows &r)
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        float *to = s->row[g + 8 * i];
        w->mins[i] = 0;
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) {
            const uint32_t u = t + 4 * k;
            const bool there = W::block != 32 || u < r.units;
            const in_warp<W::align> b = unit_at<W>(r, i, there ? u : 0);
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
            w->min[i] = W::min_of(unit_at<W>(r, i, 0));
    }
}

/* Block `at` of 256 of the rows, which is stored. */
template <class W>
static __device__ void unpack(struct lane_weights *w, struct warp_memory *m,
                              const struct tile &t, uint32_t row, uint32_t at,
                              const struct grid_tables *grids)
{
    const uint32_t g = lane_of() / 4;
    const uint8_t *stored_rows = (const uint8_t *)m->stored;
    struct lane_rows r;
    r.units = min((uint32_t)UNITS, t.n / 32 - UNITS * at);
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint8_t *from = weight_row(t, row + g + 8 * i) + at * stored<W>::bytes;
        const uint32_t before = stored<W>::aligned ? 0 : (uint32_t)(uintptr_t)from % 16;
        r.row[i] = stored_rows + (g + 8 * i) * (16 * stored<W>::place) + before;
    }
    if (W::block == ACT_BLOCK || r.units == UNITS) unpack_codes<W, true>(w, r, grids);
    else unpack_codes<W, false>(w, r, grids);
    unpack_scales<W>(&m->scales, w, r);
    warp_sync();
}

/* ---- Multiplying ----------------------------------------------------------------------
 */

static __device__ float shifted_back(int sum)
{
    return sub(bits_float((uint32_t)sum), bits_float(SHIFT_BITS));
}

/* The exact sum of mins times sums of 16 activations, for 16 rows and 8 columns, added in
 * the order of lane_weights' mins.  column: g of them.  Sums have two digits,
 * s = 64 (s / 64) + s % 64, down to the next whole number. */
static __device__ void sum_mins(float sum[4], const uint32_t mins[2],
                                const uint32_t *column)
{
    const uint32_t *both = column + SUMS_AT + lane_of() % 4;
    const uint32_t low = pick_bytes(both[0] & 0x003f003f, both[4] & 0x003f003f, 0x6420);
    const uint32_t high = pick_bytes(both[0] >> 6, both[4] >> 6, 0x6420);
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

/* y += 256 columns of the weights times 8 columns of activations. */
template <class W>
static __device__ void multiply_tile(float y[4], const struct lane_weights &w,
                                     const struct scales *s, const struct staged *x)
{
    const uint32_t g = lane_of() / 4, t = lane_of() % 4;
    const uint32_t *row = x[lane_of() % 8].word + lane_of() / 8 * 4;
    const uint32_t *const pair[2] = { x[2 * t].word, x[2 * t + 1].word };
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
    if (W::has_min && W::block == ACT_BLOCK) sum_mins(mins, w.mins, x[g].word);
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
            copy_begin<16>(&to[c + COPY_STEP * i].word[word + at], from + at);
    }
    copy_end();
}

/* Block `at` of 256 of the warp's rows, two lanes for each. */
template <class W>
static __device__ void store_weights(struct warp_memory *m, const struct tile &t,
                                     uint32_t row, uint32_t at)
{
    const uint32_t r = lane_of() / 2;
    const uint8_t *from = weight_row(t, row + r) + at * stored<W>::bytes;
    const uint32_t before = stored<W>::aligned ? 0 : (uint32_t)(uintptr_t)from % 16;
    const uint32_t rest = (uint32_t)t.row_bytes - at * stored<W>::bytes;
    const uint32_t bytes = before + min((uint32_t)stored<W>::bytes, rest);
    uint4 *to = &m->stored[0][0] + r * stored<W>::place;
#pragma unroll
    for (uint32_t k = 0; k < stored<W>::pieces; k += 2) {
        const uint32_t piece = k + lane_of() % 2;
        if (16 * piece < bytes) copy_begin<16>(to + piece, from - before + 16 * piece);
    }
}

/* What comes after them is wanted soon: in L2 it is near. */
template <class W>
static __device__ void ask_for_weights(const struct tile &t, uint32_t row, uint32_t at)
{
    enum { bytes = stored<W>::bytes };
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

/* 16 rows a warp.  x: room for blocks of the activations of so many columns.  Where there
 * is not enough for two, the next comes when all warps are done with the one. */
template <uint32_t type>
static __device__ void many_coded(const struct product &p, const struct tile &t,
                                  struct staged *x, uint32_t room, struct warp_memory *m)
{
    typedef many_weights<type> W;
    static_assert((int)stored<W>::place <= (int)STORED_MOST, "");
    const uint32_t row = t.row + 16 * warp_of(), blocks = act_blocks(t.n);
    const uint32_t tiles = div_up(t.count, 8), second = 8 * tiles;
    const bool two = 2 * second <= room;
    struct copier k;
    float y[TILES][4];
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) y[j][i] = 0;
    copier_init(&k, p, t, 8 * tiles, (uint32_t)W::block);
    store_weights<W>(m, t, row, 0);
    ask_for_weights<W>(t, row, 1);
    stage(x, k, 0);
    for (uint32_t b = 0; b < blocks; b++) {
        const bool more = b + 1 < blocks;
        struct staged *const now = x + (two && b % 2 ? second : 0);
        struct staged *const next = x + (two && b % 2 == 0 ? second : 0);
        struct lane_weights w;
        copy_wait<0>();
        block_sync();
        unpack<W>(&w, m, t, row, b, p.grids);
        if (more) {
            store_weights<W>(m, t, row, b + 1);
            ask_for_weights<W>(t, row, b + 2);
            if (two) stage(next, k, b + 1);
        }
#pragma unroll
        for (uint32_t j = 0; j < TILES; j++) {
            if (j >= tiles) break;
            multiply_tile<W>(y[j], w, &m->scales, now + 8 * j);
        }
        if (more && !two) {
            block_sync();
            stage(next, k, b + 1);
        }
    }
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
        if (j < tiles) store_sums(p, t, row, 8 * j, y[j]);
}

static __global__ void __launch_bounds__(THREADS, 3)
    many(const __grid_constant__ struct product p, uint32_t room)
{
    SHARED_BYTES(bytes);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, MANY_COLUMNS, false, &t)) return;
    struct staged *const x = (struct staged *)bytes;
    struct warp_memory *const m = (struct warp_memory *)(x + room) + warp_of();
    const uint32_t first = t.row + 16 * warp_of(), end = min(first + 16, t.rows);
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, x, room, m); break;
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
    /* Twice as much where an SM has memory for three such blocks. */
    const bool wide = g->info.major == 9 || g->info.major == 10;
    const uint32_t room = wide ? 2 * MANY_COLUMNS : (uint32_t)MANY_COLUMNS;
    const size_t bytes =
        room * sizeof(struct staged) + WARPS * sizeof(struct warp_memory);
    LAUNCH(g, many, dim3(tiles, row_blocks), THREADS, bytes, *p, room);
}
