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
 * are the bits of a float, 1.5 * 2^23 + sum, for sums below 2^22; or, where a product
 * with the scale is rounded by itself, by that product (shifted_times()).  The sum of the
 * mins is a product too, of 16 mins with the bytes of 16 sums of activations. */
#include "unpack_warp.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / WARP,
    TILES = MANY_COLUMNS / 8, /* of 8 columns */
    SUMS_AT = ACT_BLOCK / 4,  /* in words of an act_block, */
    D_AT = SUMS_AT + UNITS,   /* as are these */
    ACT_WORDS = D_AT + UNITS,
    COLUMN_WORDS = ACT_WORDS + 4, /* so that 8 columns have different banks */
    SHIFT_BITS = 0x4b400000       /* of SHIFT */
};
#define SHIFT 12582912.0f /* 1.5 * 2^23 */
static_assert(ACT_WORDS * 4 == sizeof(struct act_block), "as they are in memory");

/* A block of 256 of the activations of a column. */
struct alignas(16) staged {
    uint32_t word[COLUMN_WORDS];
};

/* Where a type has things in a block's memory, in bytes: first scales of the warps, then
 * their stored rows, a codebook, and the activations in what is left. */
enum { LEAST_MEMORY = 48 << 10 };
template <class W, uint32_t type> struct memory_of {
    enum {
        warp = 16 * 16 * stored<W>::place,
        rows = WARPS * sizeof(struct scales),
        book = rows + WARPS * warp,
        columns = book + 4 * shared_book<type>::words
    };
    static_assert(columns + MANY_COLUMNS * sizeof(struct staged) <= LEAST_MEMORY, "room");
};

/* ---- Multiplying ----------------------------------------------------------------------
 */

static __device__ float shifted_back(int sum)
{
    return sub(bits_float((uint32_t)sum), SHIFT);
}

/* The exact sum of mins times sums of 16 activations, for 16 rows and 8 columns, added in
 * the order of two_mins().  sums: of column g, from word t of them on.  A sum's upper
 * byte has a sign, its lower one has not. */
static __device__ void sum_mins(float sum[4], const uint32_t mins[2],
                                const uint32_t *sums)
{
    const uint32_t first = sums[0], second = sums[4];
    const int zeros[4] = { 0, 0, 0, 0 };
    int n[4];
    mma_k16<S8_S8>(n, zeros, mins[0], mins[1], pick_bytes(first, second, 0x7531));
#pragma unroll
    for (int i = 0; i < 4; i++) n[i] = n[i] * 256 + SHIFT_BITS;
    mma_k16<S8_U8>(n, n, mins[0], mins[1], pick_bytes(first, second, 0x6420));
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

/* sum * scale, rounded once, of a sum that is shifted.  Scales have at most 20 bits: what
 * the shift times the scale is too much is exact. */
static __device__ float shifted_times(int sum, float scale)
{
    return fma1(bits_float((uint32_t)sum), scale, mul(scale, -SHIFT));
}

/* total += unit u times 8 columns.  s: its numbers, of both rows; pair: where this lane's
 * two columns are. */
template <class W>
static __device__ void multiply_unit(float total[4], const struct lane_weights &w,
                                     uint32_t u, const float *const s[2],
                                     const uint32_t b[2], const struct staged *pair)
{
    constexpr enum mma_bytes bytes = W::is_unsigned ? U8_S8 : S8_S8;
    const int shift[4] = { SHIFT_BITS, SHIFT_BITS, SHIFT_BITS, SHIFT_BITS };
    const uint32_t *a = w.code[u];
    int n[4], n1[4];
    if (W::groups == 1) {
        mma_k32<bytes>(n, shift, a, b);
    } else {
        mma_k16<bytes>(n, shift, a[0], a[1], b[0]);
        mma_k16<bytes>(n1, shift, a[2], a[3], b[1]);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = i / 2;
        const uint32_t *const x = pair[i % 2].word;
        if constexpr (W::block == ACT_BLOCK) {
            total[i] = u == 0 ? shifted_times(n[i], s[row][0])
                              : fma1(shifted_back(n[i]), s[row][0], total[i]);
            if (W::groups == 2) total[i] = fma1(shifted_back(n1[i]), s[row][1], total[i]);
        } else {
            float p = W::any_scale ? mul(shifted_back(n[i]), s[row][0])
                                   : shifted_times(n[i], s[row][0]);
            if constexpr (W::has_min) p = fma1(sum_32(x[SUMS_AT + u]), -s[row][1], p);
            total[i] = fma1(p, bits_float(x[D_AT + u]), u ? total[i] : 0);
        }
    }
}

/* Where a lane has its operands of the first 8 columns. */
struct lane_columns {
    const struct staged *row; /* for load_matrices() */
    const struct staged *pair, *sums;
};

/* y += 256 columns of the weights times columns 8 j to 8 j + 7 of the activations. */
template <class W>
static __device__ void multiply_tile(float y[4], const struct lane_weights &w,
                                     const struct scales *s, const struct lane_columns &c,
                                     uint32_t j)
{
    const uint32_t *const row = c.row[8 * j].word + lane_of() / 8 * 4;
    const struct staged *const pair = c.pair + 8 * j;
    float total[4];
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
    if (W::has_min && W::block == ACT_BLOCK)
        sum_mins(mins, w.mins, c.sums[8 * j].word + SUMS_AT + lane_of() % 4);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        if (W::has_min && W::block == ACT_BLOCK)
            total[i] = fma1(mins[i], -w.min[i / 2], total[i]);
        y[i] = W::block == ACT_BLOCK
                   ? fma1(total[i], bits_float(pair[i % 2].word[D_AT]), y[i])
                   : add(y[i], total[i]);
    }
}

/* ---- Staging --------------------------------------------------------------------------
 */

/* Four threads copy a column, and the one half a tile further on: block after block. */
struct copied_columns {
    const uint32_t *from[2];
    bool there[2];
};

enum { COPY_STEP = THREADS / 4 };
static_assert(2 * COPY_STEP == MANY_COLUMNS, "two columns for four threads");

static __device__ void columns_begin(struct copied_columns *k, const struct product &p,
                                     const struct tile &t, uint32_t columns,
                                     uint32_t form)
{
    const uint32_t c = threadIdx.x / 4, word = threadIdx.x % 4 * 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        k->from[i] = acts_of(p, t, min(c + COPY_STEP * i, t.count - 1), form)->q + word;
        k->there[i] = c + COPY_STEP * i < columns;
    }
}

/* The next block; sums only if there are mins. */
template <class W>
static __device__ void stage(struct staged *to, struct copied_columns *k)
{
    const uint32_t c = threadIdx.x / 4, first = threadIdx.x % 4 * 4;
    const bool rest = W::has_min || SUMS_AT + first >= D_AT;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t *const column = to[c + COPY_STEP * i].word + first;
        if (k->there[i])
#pragma unroll
            for (uint32_t word = 0; word < SUMS_AT; word += 16)
                copy_begin<16>(column + word, k->from[i] + word);
        if (k->there[i] && rest) copy_begin<16>(column + SUMS_AT, k->from[i] + SUMS_AT);
        k->from[i] += ACT_WORDS;
    }
    copy_end();
}

/* Two lanes copy a row of weights, block after block: from the 16-aligned address at or
 * below a block on, every second piece of 16 bytes each. */
struct copied_row {
    const uint8_t *from; /* this lane's first piece is at or below that */
    uint32_t rest;       /* bytes of the row from the block on */
    uint4 *to;
};

template <class W>
static __device__ void row_begin(struct copied_row *k, uint4 *rows, const struct tile &t,
                                 uint32_t row)
{
    const uint32_t r = lane_of() / 2, second = lane_of() % 2;
    k->from = weight_row(t, row + r) + 16 * second;
    k->rest = (uint32_t)t.row_bytes;
    k->to = rows + r * stored<W>::place + second;
}

/* So many bytes, or, if it is a whole block, as many as a block has at least. */
template <class W, bool whole>
static __device__ void copy_block(uint4 *to, const uint8_t *from, uint32_t bytes)
{
#pragma unroll
    for (uint32_t piece = 0; piece < stored<W>::pieces; piece += 2)
        if ((whole && 16 * (piece + 2) <= stored<W>::bytes) || 16 * piece < bytes)
            copy_begin<16>(to + piece, from + 16 * piece);
}

/* The next block; and what comes after it is wanted soon: in L2 it is near. */
template <class W> static __device__ void store_weights(struct copied_row *k)
{
    enum { bytes = stored<W>::bytes };
    const uint32_t before = stored<W>::aligned ? 0 : (uint32_t)(uintptr_t)k->from % 16;
    const uint32_t not_own = 16 * (lane_of() % 2);
    if (W::block == ACT_BLOCK || k->rest >= bytes) {
        copy_block<W, true>(k->to, k->from - before, before + bytes - not_own);
        k->rest -= bytes;
    } else {
        copy_block<W, false>(k->to, k->from - before, before + k->rest - not_own);
    }
    k->from += bytes;
    if (k->rest > bytes) ask_for(k->from + bytes);
}

/* ---- A tile ---------------------------------------------------------------------------
 */

/* The warp's 16 rows and 8 columns for each of `tiles`. */
static __device__ void store_sums(const struct product &p, const struct tile &t,
                                  const float y[TILES][4], uint32_t tiles)
{
    const uint32_t first = t.row + 16 * warp_of() + lane_of() / 4;
    const uint32_t pair = 2 * (lane_of() % 4);
    const float scale = t.scale;
    /* Rows and columns from this lane's on; no columns of rows that are not there. */
    const uint32_t rest = t.rows > first ? t.rows - first : 0;
    const uint32_t left = t.count > pair ? t.count - pair : 0;
    const uint32_t columns[2] = { rest > 0 ? left : 0, rest > 8 ? left : 0 };
    float *to[2];
    to[0] = p.y + (size_t)(t.first + pair) * p.y_stride + t.out + first;
    to[1] = to[0] + p.y_stride;
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++) {
        if (j >= tiles) break;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            if (8 * j + i % 2 < columns[i / 2])
                to[i % 2][i / 2 * 8] = mul(y[j][i], scale);
        to[0] += 8 * p.y_stride;
        to[1] += 8 * p.y_stride;
    }
}

/* 16 rows a warp.  Where there is not enough memory for two blocks of the activations,
 * the next comes when all warps are done with the one. */
template <uint32_t type>
static __device__ void many_coded(const struct product &p, const struct tile &t,
                                  uint8_t *memory, uint32_t bytes)
{
    typedef many_weights<type> W;
    typedef memory_of<W, type> M;
    enum { shared = shared_book<type>::words != 0 };
    const struct warp_memory m = { (struct scales *)memory + warp_of(),
                                   (uint4 *)(memory + M::rows + warp_of() * M::warp) };
    struct staged *const x = (struct staged *)(memory + M::columns);
    const uint32_t room = (bytes - M::columns) / sizeof(struct staged);
    const uint32_t *const words = global_book<type>(p.grids).words;
    const struct book<shared> book = {
        shared ? (const uint32_t *)(memory + M::book) : words
    };
    const uint32_t row = t.row + 16 * warp_of(), blocks = act_blocks(t.n);
    const uint32_t tiles = div_up(t.count, 8);
    const uint32_t second = 16 * tiles <= room ? 8 * tiles : 0, lane = lane_of();
    const struct lane_rows rows = { { row_of<W>(m.stored, t, row, lane / 4),
                                      row_of<W>(m.stored, t, row, lane / 4 + 8) },
                                    row_of<W>(m.stored, t, row, lane / 2) };
    struct copied_columns columns;
    struct copied_row weights;
    float y[TILES][4];
#pragma unroll
    for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) y[j][i] = 0;
    columns_begin(&columns, p, t, 8 * tiles, (uint32_t)W::block);
    row_begin<W>(&weights, m.stored, t, row);
    store_weights<W>(&weights);
    if (shared)
        copy_run(memory + M::book, (const uint8_t *)words, M::columns - M::book,
                 threadIdx.x, THREADS);
    stage<W>(x, &columns);
    for (uint32_t b = 0, now = 0; b < blocks; b++, now = second - now) {
        const bool more = b + 1 < blocks;
        const struct lane_columns c = {
            x + now + lane % 8,
            x + now + 2 * (lane % 4),
            x + now + lane / 4,
        };
        struct lane_weights w;
        copy_wait<0>();
        block_sync();
        unpack<W>(&w, m, rows, b, min((uint32_t)UNITS, t.n / 32 - UNITS * b), book);
        if (more) {
            store_weights<W>(&weights);
            if (second) stage<W>(x + second - now, &columns);
        }
#pragma unroll
        for (uint32_t j = 0; j < TILES; j++) {
            if (j >= tiles) break;
            multiply_tile<W>(y[j], w, m.scales, c, j);
        }
        if (more && !second) {
            block_sync();
            stage<W>(x, &columns);
        }
    }
    store_sums(p, t, y, tiles);
}

template <uint32_t type>
static __device__ void many_floats(const struct product &p, const struct tile &t)
{
    const uint32_t first = t.row + 16 * warp_of();
    rows_of_floats<type, 8>(p, t, first, 1, min(first + 16, t.rows));
}

/* Blocks that an SM has memory for, see memory_of_block(). */
#if defined __CUDA_ARCH__ && (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900)
enum { BLOCKS = 3 };
#else
enum { BLOCKS = 2 };
#endif

static __global__ void __launch_bounds__(THREADS, BLOCKS)
    many(const __grid_constant__ struct product p, uint32_t memory)
{
    SHARED_BYTES(bytes);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, MANY_COLUMNS, false, &t)) return;
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, bytes, memory); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: many_floats<T>(p, t); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

/* Bytes of a block's part of an SM's shared memory; of each part the system takes 1 KiB
 * ("Technical Specifications per Compute Capability" in the CUDA programming guide). */
static uint32_t memory_of_block(const struct gpu_info *info)
{
    const uint32_t most = 67 << 10; /* twice 64 columns, with any type */
    const bool many = info->major == 9 || info->major == 10;
    const bool some = info->major == 8 && info->minor == 0;
    const uint32_t part = info->major == 7 ? 64 << 10
                          : many           ? (228 << 10) / 3
                          : some           ? (164 << 10) / 3
                                           : (100 << 10) / 2;
    return min((part - (1 << 10) - (uint32_t)sizeof(struct tile)) / 16 * 16, most);
}

void product_many(struct gpu *g, const struct product *p, uint32_t tiles,
                  uint32_t row_blocks)
{
    const uint32_t memory = memory_of_block(&g->info);
    LAUNCH(g, many, dim3(tiles, row_blocks), THREADS, memory, *p, memory);
}
