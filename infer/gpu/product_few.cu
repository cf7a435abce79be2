/* product_few.cu - products of stored weights with up to 8 columns, where reading the
 * weights takes the time.
 *
 * A lane has a block of 256 weights of a row: it adds up the groups of the block in the
 * order of the CPU's kernels, and nothing crosses lanes.  The blocks of a row are added
 * up afterwards, by one lane for each row and column.
 *
 * A block of threads has as many whole rows as there are lanes for, or pieces of rows,
 * one after the other, where rows are long.  Rows follow one another in memory: they are
 * copied to shared memory as one run of 16 bytes after 16 bytes, all of it asked for at
 * once, and lanes take their blocks apart there.  That loads and products overlap is left
 * to the other blocks of the multiprocessor. */
#include "activate.cuh"
#include "product_tile.cuh"
#include "tail.cuh"
#include "unpack_few.cuh"

/* An act_block in shared memory, 21 times 16 bytes apart from the next: lanes that read
 * the same place of eight neighbours meet eight different groups of banks. */
struct staged_block {
    uint4 q[16];
    uint32_t sum[8];
    float d[8];
    uint4 unused;
};

/* Blocks that columns are apart there. */
enum { COLUMN_BLOCKS = 8 };

/* A codebook that comes to shared memory: what of grid_tables, in bytes. */
struct copied_book {
    uint32_t at, bytes;
};
static inline __host__ __device__ struct copied_book copied_book_of(uint32_t type)
{
    switch (type) {
#define CASE(T)                                                                          \
    case T: return { 4 * (uint32_t)codebook<T>::at, 4 * (uint32_t)shared_book<T>::words };
        CODED_TYPES(CASE)
#undef CASE
    default: return { 0, 0 };
    }
}

/* How a block of threads goes through its rows. */
struct way {
    struct tile t;
    struct few_shape shape;
    uint32_t rows;   /* of the block of threads, */
    uint32_t step;   /* and those at a time */
    uint32_t stride; /* from a row to the next in shared memory */
    bool whole;      /* rows are copied as they are; otherwise each by itself, */
    bool odd;        /* and byte by byte, as they are not even 8-aligned */
    struct copied_book book;
};

/* ---- Weights in shared memory ---------------------------------------------------------
 */

/* As in_global: a block at `at` bytes from p, which has the alignment; at is known to the
 * compiler wherever that matters.  Of a block that is only 2-aligned, p is what is below
 * it and 4-aligned, and `odd` is 2 or 0. */
template <int align> struct in_shared {
    const uint8_t *p;
    uint32_t at, odd;
    __device__ in_shared from(uint32_t i) const { return { p, at + i, odd }; }
    /* Word k from p on. */
    __device__ uint32_t aligned(uint32_t k) const
    {
        if (align == 16) {
            const uint4 v = in_one(((const uint4 *)p)[k / 4]);
            return k % 4 == 0 ? v.x : k % 4 == 1 ? v.y : k % 4 == 2 ? v.z : v.w;
        }
        if (align == 8) {
            const uint2 v = in_one(((const uint2 *)p)[k / 2]);
            return k % 2 ? v.y : v.x;
        }
        return ((const uint32_t *)p)[k];
    }
    __device__ uint32_t word(uint32_t i) const
    {
        const uint32_t k = (at + i) / 4, off = (at + i) % 4;
        if (align > 2 && off == 0) return aligned(k);
        return pick_bytes(aligned(k), aligned(k + 1),
                          0x3210 + 0x1111 * (align > 2 ? off : off + odd));
    }
    __device__ uint32_t half(uint32_t i) const { return word(i) & 0xffff; }
    __device__ uint32_t byte(uint32_t i) const
    {
        if (align > 2) return aligned((at + i) / 4) >> 8 * ((at + i) % 4) & 255;
        return half((at + i) % 2 ? i - 1 : i) >> 8 * ((at + i) % 2) & 255;
    }
};

/* ---- A lane's block -----------------------------------------------------------------
 */

/* c + the products of four words of codes with 16 activations */
template <class W> static __device__ int dot16(const uint32_t w[4], uint4 x, int c)
{
    if (W::is_unsigned) {
        c = dot4_unsigned(w[0], x.x, c);
        c = dot4_unsigned(w[1], x.y, c);
        c = dot4_unsigned(w[2], x.z, c);
        return dot4_unsigned(w[3], x.w, c);
    }
    c = dot4(w[0], x.x, c);
    c = dot4(w[1], x.y, c);
    c = dot4(w[2], x.z, c);
    return dot4(w[3], x.w, c);
}

/* What the sums of groups of unit u start from: the offset of their codes taken off.
 * sums: of the activations of both halves, of which `halves` (1, 2 or 3) are meant. */
template <class W>
static __device__ int sum_begin(uint32_t u, uint32_t sums, uint32_t halves)
{
    const uint32_t less = (0u - (uint32_t)W::offset * W::place(u)) & 255;
    if (W::offset == 0) return BIASED;
    return dot2_low(sums, (halves & 1 ? less : 0) | (halves & 2 ? less << 8 : 0), BIASED);
}

/* Unit u of 32 weights, number `at` of the activation block: total += its products with
 * `count` columns. */
template <class W, uint32_t columns, class B, class K>
static __device__ void few_unit(B b, uint32_t u, uint32_t at, uint32_t count,
                                const struct staged_block *x, K book, float *total)
{
    uint32_t lo[4], hi[4];
    float s[2], min = 0;
#pragma unroll
    for (uint32_t t = 0; t < 4; t++) W::codes(b, u, t, book, &lo[t], &hi[t]);
    W::scales(b, u, s);
    if constexpr (W::has_min && W::block == 32) min = W::min_of(b);
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) {
        if (columns > 1 && c >= count) break;
        const struct staged_block *a = x + COLUMN_BLOCKS * c;
        const uint4 q0 = a->q[2 * at], q1 = a->q[2 * at + 1];
        const uint32_t sums = a->sum[at];
        if (W::groups == 2) {
            const int low = dot16<W>(lo, q0, sum_begin<W>(u, sums, 1)),
                      high = dot16<W>(hi, q1, sum_begin<W>(u, sums, 2));
            total[c] = fma1(biased_float(low), s[0], total[c]);
            total[c] = fma1(biased_float(high), s[1], total[c]);
            continue;
        }
        const int both = dot16<W>(hi, q1, dot16<W>(lo, q0, sum_begin<W>(u, sums, 3)));
        if (W::block == ACT_BLOCK) {
            total[c] = fma1(biased_float(both), s[0], total[c]);
        } else {
            float p = mul(biased_float(both), s[0]);
            if (W::has_min)
                p = fma1(biased_float(dot2_low(sums, 0x0101, BIASED)), -min, p);
            total[c] = fma1(p, a->d[at], total[c]);
        }
    }
}

/* `units` of the block at b, times `count` columns. */
template <class W, uint32_t columns, class B, class K>
static __device__ void few_block(B b, uint32_t units, uint32_t count,
                                 const struct staged_block *x, K book,
                                 float total[columns])
{
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) total[c] = 0;
#pragma unroll
    for (uint32_t u = 0; u < ACT_BLOCK / 32; u++) {
        if (W::block == ACT_BLOCK) {
            few_unit<W, columns>(b, u, u, count, x, book, total);
        } else {
            if (u >= units) break;
            few_unit<W, columns>(b.from(u * W::bytes), 0, u, count, x, book, total);
        }
    }
    if constexpr (W::has_min && W::block == ACT_BLOCK) {
        const float min = W::min_of(b);
#pragma unroll
        for (uint32_t c = 0; c < columns; c++) {
            if (columns > 1 && c >= count) break;
            const float mins = (float)W::all_mins(b, x[COLUMN_BLOCKS * c].sum);
            total[c] = fma1(mins, -min, total[c]);
        }
    }
}

/* ---- Staging --------------------------------------------------------------------------
 */

/* `rows` rows from row `row` of the tile on, of each `blocks` blocks of 256 from `first`
 * on. */
static __device__ void stage_weights(const struct way &y, uint32_t row, uint32_t rows,
                                     uint32_t first, uint32_t blocks, uint8_t *to)
{
    const struct tile &t = y.t;
    const uint8_t *from = t.w + (size_t)(t.row + row) * t.row_bytes + first * y.t.item;
    if (y.whole) {
        const uint32_t before = (uint32_t)(uintptr_t)from % 16;
        const uint32_t n = before + rows * (uint32_t)t.row_bytes;
        copy_run(to, from - before, n, threadIdx.x, FEW_THREADS);
        return;
    }
    const uint32_t bytes =
        min(blocks * y.t.item, (uint32_t)t.row_bytes - first * y.t.item);
    for (uint32_t r = warp_of(); r < rows; r += FEW_THREADS / WARP) {
        const uint8_t *piece = from + (size_t)r * t.row_bytes;
        uint8_t *const place = to + r * y.stride;
        const uint32_t before = (uint32_t)(uintptr_t)piece % 16;
        if (y.odd)
            for (uint32_t i = lane_of(); i < bytes; i += WARP)
                place[i] = (uint8_t)read(piece + i);
        else copy_run(place, piece - before, before + bytes, lane_of(), WARP);
    }
}

/* Where that is of a row. */
static __device__ const uint8_t *staged_row(const struct way &y, uint32_t row, uint32_t r,
                                            uint32_t first, const uint8_t *at)
{
    const struct tile &t = y.t;
    const uint32_t low = (uint32_t)(uintptr_t)t.w, each = (uint32_t)t.row_bytes;
    if (y.odd) return at + r * y.stride;
    if (y.whole) return at + (low + (t.row + row) * each) % 16 + r * each;
    return at + r * y.stride + (low + (t.row + row + r) * each + first * y.t.item) % 16;
}

/* Blocks first .. first + blocks - 1 of the activations of all columns, in a form. */
static __device__ void stage_acts(const struct product &p, const struct tile &t,
                                  uint32_t form, uint32_t first, uint32_t blocks,
                                  struct staged_block *to)
{
    enum { pieces = sizeof(struct act_block) / 16 };
    for (uint32_t c = 0; c < t.count; c++) {
        const uint4 *from = (const uint4 *)(acts_of(p, t, c, form) + first);
        for (uint32_t i = threadIdx.x; i < blocks * pieces; i += FEW_THREADS)
            copy_begin<16>((uint4 *)(to + COLUMN_BLOCKS * c + i / pieces) + i % pieces,
                           from + i);
    }
}

/* ---- A tile ---------------------------------------------------------------------------
 */

/* What lies in shared memory: staged activations, and then weights. */
template <uint32_t columns> struct place {
    struct staged_block *x;
    float (*sum)[FEW_THREADS]; /* of lanes' blocks, for each column */
    const uint32_t *book;      /* of shared_book */
    uint8_t *w;
};

/* What a lane has of the rows from `row` on. */
template <uint32_t type, uint32_t columns>
static __device__ void lane_block(const struct product &p, const struct way &y,
                                  const struct place<columns> &s, uint32_t row,
                                  uint32_t rows, uint32_t first, uint32_t blocks)
{
    typedef weights<type> W;
    enum { align = W::block == 32 ? 8 : (int)W::align };
    const uint32_t r = threadIdx.x * y.shape.lanes >> 16,
                   block = threadIdx.x - r * y.shape.span;
    if (r >= rows || block >= blocks) return;
    const uint8_t *at = staged_row(y, row, r, first, s.w) + block * y.t.item;
    const uint32_t odd = align == 2 ? (uint32_t)(uintptr_t)at & 2 : 0;
    const in_shared<align> b = { at - odd, 0, odd };
    enum { shared = shared_book<type>::words != 0 };
    const book<shared> words = { shared ? s.book : global_book<type>(p.grids).words };
    float total[columns];
    few_block<few_weights<type>, columns>(b, y.t.n / 32 - 8 * (first + block), y.t.count,
                                          s.x + block, words, total);
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) s.sum[c][threadIdx.x] = total[c];
}

/* y of a row and column, going on from what it was. */
template <bool super>
static __device__ float add_blocks(float y, const float *sum,
                                   const struct staged_block *x, uint32_t blocks)
{
    for (uint32_t k = 0; k < blocks; k++)
        y = super ? fma1(sum[k], x[k].d[0], y) : add(y, sum[k]);
    return y;
}

/* The first rows' first blocks have been asked for. */
template <uint32_t type, uint32_t columns>
static __device__ void few_coded(const struct product &p, const struct way &w,
                                 const struct place<columns> &s)
{
    typedef weights<type> W;
    const struct tile &t = w.t;
    const uint32_t all = act_blocks(t.n);
    float y = 0;
    for (uint32_t row = 0; row < w.rows; row += w.step)
        for (uint32_t first = 0; first < all; first += w.shape.span) {
            const uint32_t rows = min(w.step, w.rows - row),
                           blocks = min(w.shape.span, all - first);
            if (row || first) {
                block_sync(); /* nobody reads any more what was there */
                stage_weights(w, row, rows, first, blocks, s.w);
            }
            if (!row || all > w.shape.span)
                stage_acts(p, t, (uint32_t)W::block, first, blocks, s.x);
            copy_end();
            copy_wait<0>();
            block_sync();
            lane_block<type, columns>(p, w, s, row, rows, first, blocks);
            block_sync();
            /* If there is more of a row to come, there are not more sums than threads: 8
               rows of one column, or 16 of 8. */
            for (uint32_t i = threadIdx.x; i < rows * t.count; i += FEW_THREADS) {
                const uint32_t c = columns == 1 ? 0 : i / rows, r = i - c * rows;
                y = add_blocks<W::block == ACT_BLOCK>(first ? y : 0,
                                                      &s.sum[c][r * w.shape.span],
                                                      s.x + COLUMN_BLOCKS * c, blocks);
                if (first + blocks == all)
                    p.y[(t.first + c) * p.y_stride + t.out + t.row + row + r] =
                        mul(y, t.scale);
            }
        }
}

/* ---- Ways through the rows ------------------------------------------------------------
 */

/* The most bytes of shared memory for weights: devices of compute capability 7.5 have
 * 64 KiB. */
enum { MOST_ROOM = 36 << 10 };

/* How rows of n weights lie in shared memory; 256 have `item` bytes. */
struct few_rows {
    uint32_t stride;
    bool whole, odd;
};
static inline __host__ __device__ struct few_rows few_rows_of(uint32_t n,
                                                              size_t row_bytes,
                                                              uint32_t item,
                                                              uint32_t span)
{
    const uint32_t bytes = div_up(span * item, 16) * 16;
    struct few_rows r;
    r.odd = n % ACT_BLOCK && row_bytes % 8;
    r.whole = !r.odd && act_blocks(n) <= span;
    r.stride = r.whole ? (uint32_t)row_bytes : r.odd ? bytes : bytes + 16;
    return r;
}

/* `room`: for weights and their codebook. */
static __device__ void find_way(const struct product &p, uint32_t room, struct way *y)
{
    struct tile *t = &y->t;
    if (!(p.n_matrices ? matrix_tile(p, true, t) : expert_tile_of(p, true, t))) {
        t->count = 0;
        return;
    }
    y->shape = p.few[t->shape];
    const bool floats = is_floats(t->type);
    y->rows = min(floats && p.n_matrices ? (uint32_t)FEW_FLOAT_ROWS : y->shape.rows,
                  t->rows - t->row);
    if (floats) return;
    const struct few_rows r = few_rows_of(t->n, t->row_bytes, t->item, y->shape.span);
    y->odd = r.odd;
    y->whole = r.whole;
    y->stride = r.stride;
    y->step = y->rows;
    y->book = copied_book_of(t->type);
    room -= y->book.bytes;
    if (y->rows * r.stride + 32 > room)
        y->step = div_up(y->rows, div_up(y->rows, (room - 32) / r.stride));
}

/* What is left to do where a tile's products of gate and up are done.  A call, so that it
 * costs the products no registers. */
static __noinline__ __device__ void finish_tile(const struct product &p,
                                                const struct tile &t)
{
    const uint32_t blocks = p.n_parts * p.few[t.shape].blocks;
    if (!last_block(p.counters + blockIdx.x, blocks)) return;
    for (uint32_t c = 0; c < t.count; c++) activate_row(p, t.first + c);
}

template <uint32_t columns>
static __forceinline__ __device__ void few_tile(const struct product &p, uint32_t blocks,
                                                uint32_t room)
{
    SHARED_BYTES(bytes); /* activations, `blocks` of them, and weights */
    SHARED(float, sum, [columns][FEW_THREADS]);
    SHARED(struct way, y, );
    struct staged_block *const x = (struct staged_block *)bytes;
    uint8_t *const book = (uint8_t *)(x + blocks);
    const bool early = p.n_matrices != 0; /* where weights are depends on nothing */
    if (!early) after_previous();
    if (threadIdx.x == 0) find_way(p, room, &y);
    block_sync();
    const bool coded = y.t.count && !is_floats(y.t.type);
    const struct place<columns> s = {
        x, sum, (const uint32_t *)book, book + (coded ? y.book.bytes : 0)
    };
    if (coded)
        copy_run(book, (const uint8_t *)p.grids + y.book.at, y.book.bytes, threadIdx.x,
                 FEW_THREADS);
    if (coded)
        stage_weights(y, 0, min(y.step, y.rows), 0, min(y.shape.span, act_blocks(y.t.n)),
                      s.w);
    const uint32_t first = y.t.row + warp_of(), end = y.t.row + y.rows; /* of floats */
    if (early && !coded && y.t.count && first < end)
        for (uint32_t i = 128 * lane_of(); i < y.t.row_bytes; i += 128 * WARP)
            ask_for(weight_row(y.t, first) + i);
    if (early) after_previous();
    if (!y.t.count) return;
    switch (y.t.type) {
#define CASE(T)                                                                          \
    case T: few_coded<T, columns>(p, y, s); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: rows_of_floats<T, columns>(p, y.t, first, FEW_THREADS / WARP, end); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
    if (p.counters) finish_tile(p, y.t);
}

/* Blocks of one column that a multiprocessor has registers for; 7.5 has shared memory for
 * few. */
#if defined __CUDA_ARCH__ && __CUDA_ARCH__ < 800
enum { RESIDENT = 5 };
#else
enum { RESIDENT = 6 };
#endif

template <uint32_t columns>
static __global__ void __launch_bounds__(FEW_THREADS, columns == 1 ? RESIDENT : 4)
    few(const __grid_constant__ struct product p, uint32_t blocks, uint32_t room)
{
    if (p.tail.what == product_tail::TAIL_NORM && blockIdx.x == 0 && blockIdx.y == 0)
        for (uint32_t i = 32 * threadIdx.x; i < p.tail.n; i += 32 * FEW_THREADS)
            ask_for(p.tail.norm.weight_d + i); /* for the block that comes last */
    few_tile<columns>(p, blocks, room);
    if (p.tail.what && last_block(p.tail.counter, gridDim.x * gridDim.y))
        product_tail(&p);
}

/* Room for the weights that all lanes have, of a matrix with rows of n, and what they
 * look up. */
static uint32_t room_for(const struct few_shape *shape, uint32_t n, uint32_t type)
{
    if (is_floats(type)) return 0;
    const uint32_t item = (uint32_t)row_bytes_of(type, ACT_BLOCK);
    return copied_book_of(type).bytes + 32 +
           shape->rows * few_rows_of(n, row_bytes_of(type, n), item, shape->span).stride;
}

static uint32_t room_of_experts(const struct product *p)
{
    const bool down = p->part == GGF_DOWN;
    uint32_t room = 0;
    for (uint32_t k = p->part; k < p->part + p->n_parts; k++) {
        for (uint32_t type = 0; type < 64; type++)
            if (p->types[k] >> type & 1)
                room = max(room, room_for(&p->few[0], down ? p->n_ff : p->n_embd, type));
        if (p->n_ff_shared)
            room = max(room, room_for(&p->few[1], down ? p->n_ff_shared : p->n_embd,
                                      p->shared[k].type));
    }
    return room;
}

/* Of all matrices, or as much of it as there can be. */
static uint32_t room_of(const struct product *p)
{
    uint32_t room = p->n_matrices ? 0 : room_of_experts(p);
    for (uint32_t i = 0; i < p->n_matrices; i++)
        room = max(room, room_for(&p->few[0], p->matrices[i].n, p->matrices[i].type));
    return min(div_up(room, 16) * 16, (uint32_t)MOST_ROOM);
}

void product_few(struct gpu *g, const struct product *p, uint32_t tiles,
                 uint32_t row_blocks)
{
    const dim3 grid(tiles, row_blocks);
    const uint32_t room = room_of(p), span = max(p->few[0].span, p->few[1].span);
    /* The most columns that a tile has: of experts, those of the shared one. */
    const uint32_t columns = p->n_matrices ? p->columns : p->columns - p->pairs;
    const uint32_t blocks =
        p->several ? COLUMN_BLOCKS * max(1u, min(columns, (uint32_t)FEW_COLUMNS)) : span;
    const size_t shared = blocks * sizeof(struct staged_block) + room;
    if (p->several)
        LAUNCH(g, few<FEW_COLUMNS>, grid, FEW_THREADS, shared, *p, blocks, room);
    else LAUNCH(g, few<1>, grid, FEW_THREADS, shared, *p, blocks, room);
}
