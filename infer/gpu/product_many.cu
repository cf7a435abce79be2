/* product_many.cu - products of stored weights with tiles of up to 64 columns, where
 * multiplying takes the time.
 *
 * A block of threads has 128 rows, a warp 32 of them: two tiles of 16.  For each 256
 * columns of theirs it unpacks the codes into the registers that mma takes its operand
 * from, and the scales into others, by way of shared memory, as lanes that share a row
 * would all unpack the same; then it multiplies with 8 columns of activations after the
 * other, of which a block of 256 is staged for all warps.  Where there are registers and
 * memory for it, both tiles of rows are unpacked, and an operand of the activations that
 * has been loaded is for both; otherwise one comes after the other.  Stored weights come
 * to shared memory as they are, while those before are multiplied with: a lane wants few
 * bytes of many rows.
 *
 * What is counted are instructions, as a device issues few for each mma, passes through
 * shared memory, and what is asked of L2: the rows of a block share activations, its
 * columns weights.  Sums become floats by an addition: mma begins with the bits of
 * 1.5 * 2^23, so that what it gives are the bits of a float, 1.5 * 2^23 + sum, for sums
 * below 2^22; or, where a product with the scale is rounded by itself, by that product
 * (shifted_times()).  The sum of the mins is a product too, of 16 mins with the bytes of
 * 16 sums of activations. */
#include "unpack_warp.cuh"

enum {
    THREADS = 128,
    WARPS = THREADS / WARP,
    WARP_ROWS = MANY_ROWS / WARPS,
    ROW_TILES = WARP_ROWS / 16, /* of a warp */
    TILES = MANY_COLUMNS / 8,   /* of 8 columns */
    SHIFT_BITS = 0x4b400000     /* of SHIFT */
};
#define SHIFT 12582912.0f /* 1.5 * 2^23 */

/* Words of an act_block. */
enum {
    SUMS_AT = ACT_BLOCK / 4,
    D_AT = SUMS_AT + UNITS,
    ACT_WORDS = D_AT + UNITS,
};
static_assert(ACT_WORDS * 4 == sizeof(struct act_block), "as they are in memory");

/* What a type wants of it: codes, sums if there are mins, and scales.  8 columns have
 * different banks. */
template <class W> struct alignas(16) staged {
    enum {
        sums = SUMS_AT,
        d = sums + (W::has_min ? UNITS : 0),
        end = d + (W::block == ACT_BLOCK ? 4 : UNITS),
        words = end + (12 - end % 8) % 8
    };
    uint32_t word[words];
};

/* Where a type has things in a block's memory, in bytes: first scales of the warps, then
 * their stored rows, a codebook, and the activations in what is left.  `together`: row
 * tiles that are unpacked at the same time: both of types that take few registers for
 * that, where copies take none. */
enum { LEAST_MEMORY = 48 << 10 };
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 800
enum { MOST_TOGETHER = 1 };
#else
enum { MOST_TOGETHER = 2 };
#endif
template <class W, uint32_t type> struct memory_of {
    enum {
        rows = WARPS * sizeof(struct scales),
        rows_16 = WARPS * 16 * 16 * stored<W>::place,
        together = stored<W>::aligned ? MOST_TOGETHER : 1,
        book = rows + together * rows_16,
        columns = book + 4 * shared_book<type>::words
    };
    static_assert(columns + MANY_COLUMNS * sizeof(staged<W>) <= LEAST_MEMORY, "room");
};

/* ---- Multiplying ----------------------------------------------------------------------
 */

static __device__ float shifted_back(int sum)
{
    return sub(bits_float((uint32_t)sum), SHIFT);
}

/* What a lane has of the sums of 16 activations of 8 columns, as operands: of column g,
 * words t and t + 4, their upper bytes, which have a sign, and their lower ones. */
struct lane_sums {
    uint32_t upper, lower;
};

/* The exact sum of mins times those, for 16 rows and 8 columns, added in the order of
 * two_mins(). */
static __device__ void sum_mins(float sum[4], const uint32_t mins[2],
                                const struct lane_sums &sums)
{
    const int zeros[4] = { 0, 0, 0, 0 };
    int n[4];
    mma_k16<S8_S8>(n, zeros, mins[0], mins[1], sums.upper);
#pragma unroll
    for (int i = 0; i < 4; i++) n[i] = n[i] * 256 + SHIFT_BITS;
    mma_k16<S8_U8>(n, n, mins[0], mins[1], sums.lower);
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] = shifted_back(n[i]);
}

/* Both sums of a unit together. */
static __device__ float sum_32(uint32_t both)
{
    return (float)((int16_t)both + ((int)both >> 16));
}

/* sum * scale, rounded once, of a sum that is shifted.  Scales have at most 20 bits: what
 * the shift times the scale is too much is exact. */
static __device__ float shifted_times(int sum, float scale)
{
    return fma1(bits_float((uint32_t)sum), scale, mul(scale, -SHIFT));
}

/* total += unit u times 8 columns.  pair: this lane's two columns. */
template <class W>
static __device__ void multiply_unit(float total[4], const struct lane_weights<W> &w,
                                     uint32_t u, const uint32_t b[2],
                                     const struct staged<W> *pair)
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
        const float *const s = w.number[i / 2] + unit_of<W>::numbers * u;
        const uint32_t *const x = pair[i % 2].word;
        if constexpr (W::block == ACT_BLOCK) {
            total[i] = u == 0 ? shifted_times(n[i], s[0])
                              : fma1(shifted_back(n[i]), s[0], total[i]);
            if (W::groups == 2) total[i] = fma1(shifted_back(n1[i]), s[1], total[i]);
        } else {
            float p =
                W::any_scale ? mul(shifted_back(n[i]), s[0]) : shifted_times(n[i], s[0]);
            if constexpr (W::has_min) p = fma1(sum_32(x[staged<W>::sums + u]), -s[1], p);
            total[i] = fma1(p, bits_float(x[staged<W>::d + u]), u ? total[i] : 0);
        }
    }
}

/* Where a lane has its operands of the first 8 columns. */
template <class W> struct lane_columns {
    const struct staged<W> *row; /* for load_matrices() */
    const struct staged<W> *pair, *sums;
};

/* y += 256 columns of the weights times columns 8 j to 8 j + 7 of the activations, for
 * `together` tiles of 16 rows. */
template <class W, uint32_t together>
static __device__ void multiply_tile(float y[][TILES][4], const struct lane_weights<W> *w,
                                     const struct lane_columns<W> &c, uint32_t j)
{
    const uint32_t *const row = c.row[8 * j].word + lane_of() / 8 * 4;
    const struct staged<W> *const pair = c.pair + 8 * j;
    float total[together][4];
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u += 2) {
        uint32_t b[4];
        load_matrices(b, row + 8 * u);
#pragma unroll
        for (uint32_t k = 0; k < 2; k++)
#pragma unroll
            for (uint32_t r = 0; r < together; r++)
                multiply_unit<W>(total[r], w[r], u + k, b + 2 * k, pair);
    }
    if constexpr (W::has_min && W::block == ACT_BLOCK) {
        const uint32_t *const at = c.sums[8 * j].word + staged<W>::sums + lane_of() % 4;
        const uint32_t first = at[0], second = at[4];
        const struct lane_sums sums = { pick_bytes(first, second, 0x7531),
                                        pick_bytes(first, second, 0x6420) };
#pragma unroll
        for (uint32_t r = 0; r < together; r++) {
            float mins[4];
            sum_mins(mins, w[r].mins, sums);
#pragma unroll
            for (uint32_t i = 0; i < 4; i++)
                total[r][i] = fma1(mins[i], -w[r].min[i / 2], total[r][i]);
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < together; r++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            float *const to = &y[r][j][i];
            *to = W::block == ACT_BLOCK
                      ? fma1(total[r][i], bits_float(pair[i % 2].word[staged<W>::d]), *to)
                      : add(*to, total[r][i]);
        }
}

/* ---- Staging --------------------------------------------------------------------------
 */

/* Four threads copy a column, and the one half a tile further on: block after block. */
struct copied_columns {
    uint32_t at[2]; /* in pieces of 16 bytes of product.q */
    bool there[2];
};

enum { COPY_STEP = THREADS / 4 };
static_assert(2 * COPY_STEP == MANY_COLUMNS, "two columns for four threads");

static __device__ void columns_begin(struct copied_columns *k, const struct product &p,
                                     const struct tile &t, uint32_t columns,
                                     uint32_t form)
{
    const uint32_t c = threadIdx.x / 4;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const struct act_block *from =
            acts_of(p, t, min(c + COPY_STEP * i, t.count - 1), form);
        k->at[i] = (uint32_t)(from - p.q) * (ACT_WORDS / 4) + threadIdx.x % 4;
        k->there[i] = c + COPY_STEP * i < columns;
    }
}

/* The next block. */
template <class W>
static __device__ void stage(struct staged<W> *to, const struct product &p,
                             struct copied_columns *k)
{
    typedef struct staged<W> S;
    const uint32_t c = threadIdx.x / 4, first = threadIdx.x % 4 * 4;
    const uint32_t skipped = D_AT - S::d; /* behind the codes */
    const bool rest =
        (W::has_min || first >= skipped) && SUMS_AT + first < S::end + skipped;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t *const column = to[c + COPY_STEP * i].word + first;
        const uint4 *const from = (const uint4 *)p.q + k->at[i];
        if (k->there[i])
#pragma unroll
            for (uint32_t word = 0; word < SUMS_AT; word += 16)
                copy_begin<16>(column + word, from + word / 4);
        if (k->there[i] && rest)
            copy_begin<16>(column + SUMS_AT - skipped, from + SUMS_AT / 4);
        k->at[i] += ACT_WORDS / 4;
    }
    copy_end();
}

/* Two lanes copy a row of weights, and the one 16 rows further on, block after block:
 * from the 16-aligned address at or below a block on, every second piece of 16 bytes
 * each. */
struct copied_rows {
    const uint8_t *from; /* this lane's first piece is at or below that, */
    uint32_t further;    /* and so much further on */
    uint4 *to;
};
static_assert(ROW_TILES == 2, "two rows for two lanes");

template <class W>
static __device__ void rows_begin(struct copied_rows *k, uint4 *rows,
                                  const struct tile &t, uint32_t row)
{
    const uint32_t r = lane_of() / 2, second = lane_of() % 2;
    const uint8_t *const first = weight_row(t, row + r);
    k->from = first + 16 * second;
    k->further = (uint32_t)(weight_row(t, row + r + 16) - first);
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

/* Block b of row tile h, `at` pieces behind the buffer's begin; and what comes after it
 * is wanted soon: in L2 it is near. */
template <class W>
static __device__ void store_weights(const struct copied_rows &k, const struct tile &t,
                                     uint32_t h, uint32_t b, uint32_t at)
{
    enum { bytes = stored<W>::bytes };
    const uint8_t *const from = k.from + (h ? k.further : 0) + b * bytes;
    const uint32_t rest = (uint32_t)t.row_bytes - b * bytes;
    const uint32_t before = stored<W>::aligned ? 0 : (uint32_t)(uintptr_t)from % 16;
    const uint32_t not_own = 16 * (lane_of() % 2);
    if (W::block == ACT_BLOCK || rest >= bytes)
        copy_block<W, true>(k.to + at, from - before, before + bytes - not_own);
    else copy_block<W, false>(k.to + at, from - before, before + rest - not_own);
    if (rest > 2 * bytes) ask_for(from + 2 * bytes);
}

/* ---- A tile ---------------------------------------------------------------------------
 */

/* The warp's row tile h and 8 columns for each of `tiles`. */
static __device__ void store_sums(const struct product &p, const struct tile &t,
                                  uint32_t h, const float y[TILES][4], uint32_t tiles)
{
    const uint32_t first = t.row + WARP_ROWS * warp_of() + 16 * h + lane_of() / 4;
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

/* A tile.  Where there is not enough memory for two blocks of the activations, the next
 * comes when all warps are done with the one. */
template <uint32_t type>
static __device__ void many_coded(const struct product &p, const struct tile &t,
                                  uint8_t *memory, uint32_t bytes)
{
    typedef many_weights<type> W;
    typedef memory_of<W, type> M;
    typedef struct staged<W> S;
    enum {
        shared = shared_book<type>::words != 0,
        together = M::together,
        place_16 = 16 * stored<W>::place /* of 16 rows */
    };
    const struct warp_memory m = { (struct scales *)memory + warp_of(),
                                   (uint4 *)(memory + M::rows) +
                                       warp_of() * together * place_16 };
    S *const x = (S *)(memory + M::columns);
    const uint32_t room = (bytes - M::columns) / sizeof(S);
    const uint32_t *const words = global_book<type>(p.grids).words;
    const struct book<shared> book = {
        shared ? (const uint32_t *)(memory + M::book) : words
    };
    const uint32_t row = t.row + WARP_ROWS * warp_of(), blocks = act_blocks(t.n);
    const uint32_t tiles = div_up(t.count, 8);
    const uint32_t second = 16 * tiles <= room ? 8 * tiles : 0, lane = lane_of();
    const struct lane_rows rows = rows_of<W>(m.stored, t, row);
    struct copied_columns columns;
    struct copied_rows weights;
    float y[ROW_TILES][TILES][4];
#pragma unroll
    for (uint32_t h = 0; h < ROW_TILES; h++)
#pragma unroll
        for (uint32_t j = 0; j < TILES; j++)
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) y[h][j][i] = 0;
    columns_begin(&columns, p, t, 8 * tiles, (uint32_t)W::block);
    rows_begin<W>(&weights, m.stored, t, row);
#pragma unroll
    for (uint32_t i = 0; i < together; i++)
        store_weights<W>(weights, t, i, 0, i * place_16);
    if (shared)
        copy_run(memory + M::book, (const uint8_t *)words, M::columns - M::book,
                 threadIdx.x, THREADS);
    stage<W>(x, p, &columns);
#pragma unroll 1
    for (uint32_t b = 0, now = 0; b < blocks; b++, now = second - now) {
        const bool more = b + 1 < blocks;
        const struct lane_columns<W> c = {
            x + now + lane % 8, x + now + 2 * (lane % 4), x + now + lane / 4,
        };
        copy_wait<0>();
        block_sync();
#pragma unroll
        for (uint32_t h = 0; h < ROW_TILES; h += together) {
            const bool last = h + together == ROW_TILES;
            struct lane_weights<W> w[together];
            if (h) { /* what only this warp has copied */
                copy_wait<0>();
                warp_sync();
            }
#pragma unroll
            for (uint32_t i = 0; i < together; i++)
                unpack<W>(&w[i], m, i * place_16, rows, b,
                          min((uint32_t)UNITS, t.n / 32 - UNITS * b), book);
            if (!last || more)
#pragma unroll
                for (uint32_t i = 0; i < together; i++)
                    store_weights<W>(weights, t, last ? i : h + together + i, b + last,
                                     i * place_16);
            if (!last) copy_end();
            else if (more && second) stage<W>(x + second - now, p, &columns);
#pragma unroll
            for (uint32_t j = 0; j < TILES; j++) {
                if (j >= tiles) break;
                multiply_tile<W, together>(y + h, w, c, j);
            }
        }
        if (more && !second) {
            block_sync();
            stage<W>(x, p, &columns);
        }
    }
#pragma unroll
    for (uint32_t h = 0; h < ROW_TILES; h++) store_sums(p, t, h, y[h], tiles);
}

template <uint32_t type>
static __device__ void tile_of_floats(const struct product &p, const struct tile &t)
{
    const uint32_t most = p.n_matrices ? MANY_FLOAT_ROWS : MANY_ROWS;
    const uint32_t end = min(t.row + most, t.rows);
    rows_of_floats<type, 8>(p, t, t.row + warp_of(), WARPS, end);
}

/* Blocks that a multiprocessor has registers for, and memory but for devices of compute
 * capability 7.5. */
enum { BLOCKS = 2 };

static __global__ void __launch_bounds__(THREADS, BLOCKS)
    many(const __grid_constant__ struct product p, uint32_t memory)
{
    SHARED_BYTES(bytes);
    SHARED(struct tile, t, );
    after_previous();
    if (!block_tile(p, &t)) return;
    switch (t.type) {
#define CASE(T)                                                                          \
    case T: many_coded<T>(p, t, bytes, memory); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: tile_of_floats<T>(p, t); break;
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
                          : many           ? (228 << 10) / BLOCKS
                          : some           ? (164 << 10) / BLOCKS
                                           : (100 << 10) / BLOCKS;
    return min((part - (1 << 10) - (uint32_t)sizeof(struct tile)) / 16 * 16, most);
}

uint32_t many_columns(const struct gpu *g, uint32_t columns, uint32_t row_blocks)
{
    uint32_t best = MANY_COLUMNS, least = UINT32_MAX;
    for (uint32_t c = MANY_COLUMNS; c >= 8; c /= 2) {
        const uint32_t turns =
            div_up(row_blocks * div_up(columns, c), (uint32_t)g->info.n_sm);
        const uint32_t time = turns * (3 + c / 8);
        if (time < least) {
            least = time;
            best = c;
        }
    }
    return best;
}

void product_many(struct gpu *g, const struct product *p, uint32_t tiles,
                  uint32_t row_blocks)
{
    const uint32_t memory = memory_of_block(&g->info);
    LAUNCH(g, many, dim3(tiles, row_blocks), THREADS, memory, *p, memory);
}
