/* unpack_warp.cuh - what a warp of product_many() makes of 16 stored rows, 256 columns at
 * a time: operands of mma and the numbers they are scaled with, in registers.  How rows
 * come to shared memory is left to others. */
#ifndef INFER_GPU_UNPACK_WARP_CUH
#define INFER_GPU_UNPACK_WARP_CUH

#include "mma.cuh"
#include "product_tile.cuh"
#include "unpack_many.cuh"

enum { UNITS = ACT_BLOCK / 32 };

/* Of 16 rows: what units of 256 columns have, in their order: a scale, two for both
 * halves, or, where blocks have 32, a scale and a min.  Rows have different banks. */
struct alignas(16) scales {
    float row[16][2 * UNITS + 4];
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

/* Shared memory of a warp: its rows follow one another. */
struct warp_memory {
    struct scales *scales;
    uint4 *stored;
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
template <class W> struct lane_weights {
    uint32_t code[UNITS][4];
    float number[2][unit_of<W>::numbers * UNITS]; /* as struct scales has them */
    uint32_t mins[2]; /* in bytes, whole numbers: two of unit t, two of unit t + 4; */
    float min[2];     /* times these */
};

/* A stored row: its place, and the lower bits of its address in memory, which are the
 * same 16 rows further on.  (Behind the last row of a matrix they may not be: what is
 * unpacked there is of no use.) */
struct stored_row {
    const uint8_t *place;
    uint32_t low;
};

/* Block b of 256 of it, when that is there, `at` pieces of 16 bytes further on. */
template <class W>
static inline __device__ in_warp<W::align> block_of(const struct stored_row &r,
                                                    uint32_t at, uint32_t b)
{
    const uint8_t *const place = r.place + 16 * at;
    if (stored<W>::aligned) return { place };
    return { place + (r.low + b * stored<W>::bytes) % 16 };
}

/* ---- Unpacking ------------------------------------------------------------------------
 */

/* Of two rows.  Behind the end of them the last of `units` is read again. */
template <class W, bool whole, class K>
static inline __device__ void unpack_codes(struct lane_weights<W> *w,
                                           const in_warp<W::align> b[2], uint32_t units,
                                           K book)
{
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u++)
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t k = whole ? u : min(u, units - 1);
            W::codes(W::block == 32 ? b[i].from(k * W::bytes) : b[i],
                     W::block == 32 ? 0 : u, lane_of() % 4, book, &w->code[u][i],
                     &w->code[u][2 + i]);
        }
}

/* What codes() wants with t = 0: words 4-aligned memory has, at known places behind p. */
struct in_words {
    const uint8_t *p;
    uint32_t at;
    __device__ in_words from(uint32_t i) const { return { p, at + i }; }
    __device__ uint32_t word(uint32_t i) const
    {
        const uint32_t k = (at + i) / 4, off = (at + i) % 4;
        const uint32_t *const w = (const uint32_t *)p;
        return off ? pick_bytes(w[k], w[k + 1], 0x3210 + 0x1111 * off) : w[k];
    }
};

/* Of two rows whose blocks are 4-aligned. */
template <class W>
static inline __device__ void unpack_words(struct lane_weights<W> *w,
                                           const in_warp<W::align> b[2])
{
    enum { units = W::block / 32 };
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u++)
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const in_words own = { b[i].p + 4 * (lane_of() % 4), u / units * W::bytes };
            W::codes(own, u % units, 0, NULL, &w->code[u][i], &w->code[u][2 + i]);
        }
}

/* Of what codes() wants with t = 0, every 16 bytes' word t. */
struct in_runs {
    const uint32_t *run;
    uint32_t at;
    __device__ in_runs from(uint32_t i) const { return { run, at + i }; }
    __device__ uint32_t word(uint32_t i) const { return run[(at + i) / 16]; }
};

/* Of rows g and g + 8 of blocks that are 16-aligned, 16 bytes of both by one load for two
 * of them. */
template <class W>
static inline __device__ void unpack_runs(struct lane_weights<W> *w, const uint4 *rows)
{
    enum { runs = stored<W>::pieces };
    const uint32_t lane = lane_of();
    const uint4 *const own = rows + lane % 16 * stored<W>::place + lane / 16;
    uint32_t run[2][runs];
#pragma unroll
    for (uint32_t k = 1; k < runs; k += 2) { /* the first is for scales */
        uint32_t v[4];
        load_matrices(v, (const uint32_t *)(own + k));
        run[0][k] = v[0], run[1][k] = v[1];
        run[0][k + 1] = v[2], run[1][k + 1] = v[3];
    }
#pragma unroll
    for (uint32_t u = 0; u < UNITS; u++)
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const in_runs b = { run[i], 0 };
            W::codes(b, u, 0, NULL, &w->code[u][i], &w->code[u][2 + i]);
        }
}

/* One of these ways. */
template <class W, class K>
static inline __device__ void unpack_any(struct lane_weights<W> *w, const uint4 *rows,
                                         const in_warp<W::align> b[2], uint32_t units,
                                         K book)
{
    const bool whole = W::block == ACT_BLOCK || units == UNITS;
    if constexpr (stored<W>::aligned) {
        unpack_runs<W>(w, rows);
        return;
    }
    if constexpr (W::by_word)
        if (whole && ((uintptr_t)b[0].p | (uintptr_t)b[1].p) % 4 == 0) {
            unpack_words<W>(w, b);
            return;
        }
    if (whole) unpack_codes<W, true>(w, b, units, book);
    else unpack_codes<W, false>(w, b, units, book);
}

/* The numbers of four units of a row, the first or the second four: two lanes have a row.
 * What is behind the end of it counts nothing. */
template <class W>
static inline __device__ void unpack_scales(struct scales *s, in_warp<W::align> b,
                                            uint32_t units)
{
    enum { numbers = unit_of<W>::numbers };
    const uint32_t half = lane_of() % 2;
    alignas(16) float v[4 * numbers];
    if constexpr (W::block == ACT_BLOCK) {
        W::four_units(b, half, v);
    } else {
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) {
            const bool there = 4 * half + k < units;
            const in_warp<W::align> unit = b.from(there ? (4 * half + k) * W::bytes : 0);
            float scale[2];
            W::scales(unit, 0, scale);
            v[numbers * k] = there ? scale[0] : 0;
            if constexpr (W::has_min) v[2 * k + 1] = there ? W::min_of(unit) : 0;
        }
    }
    float4 *to = (float4 *)(s->row[lane_of() / 2] + 4 * numbers * half);
#pragma unroll
    for (uint32_t k = 0; k < numbers; k++)
        to[k] = make_float4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3]);
}

/* Those of a lane's own rows. */
template <class W>
static inline __device__ void load_scales(struct lane_weights<W> *w,
                                          const struct scales *s)
{
#pragma unroll
    for (uint32_t i = 0; i < 2; i++)
#pragma unroll
        for (uint32_t k = 0; k < unit_of<W>::numbers * UNITS; k += 4) {
            const float4 v = *(const float4 *)(s->row[lane_of() / 4 + 8 * i] + k);
            float *const to = w->number[i] + k;
            to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
        }
}

/* What a lane unpacks: codes and mins of rows g, which is `own`, and g + 8, scales of row
 * lane / 2.  eight: how much lower bits differ 8 rows further on. */
struct lane_rows {
    struct stored_row own, other;
    uint32_t eight;
};

/* Of 16 rows from `row` on. */
template <class W>
static inline __device__ struct lane_rows rows_of(const uint4 *stored_rows,
                                                  const struct tile &t, uint32_t row)
{
    const uint32_t g = lane_of() / 4, other = lane_of() / 2;
    const uint32_t low = (uint32_t)(uintptr_t)t.w, bytes = (uint32_t)t.row_bytes;
    return { { (const uint8_t *)(stored_rows + g * stored<W>::place),
               low + (row + g) * bytes },
             { (const uint8_t *)(stored_rows + other * stored<W>::place),
               low + (row + other) * bytes },
             W::align == 1 ? 8 * bytes : 0 };
}

/* Block b of 256 of 16 rows, which is stored `at` pieces behind the begin. */
template <class W, class K>
static inline __device__ void unpack(struct lane_weights<W> *w,
                                     const struct warp_memory &m, uint32_t at,
                                     const struct lane_rows &r, uint32_t block,
                                     uint32_t units, K book)
{
    const struct stored_row below = { r.own.place + 8 * 16 * stored<W>::place,
                                      r.own.low + r.eight };
    const in_warp<W::align> b[2] = { block_of<W>(r.own, at, block),
                                     block_of<W>(below, at, block) };
    unpack_any<W>(w, m.stored + at, b, units, book);
    unpack_scales<W>(m.scales, block_of<W>(r.other, at, block), units);
    if constexpr (W::has_min && W::block == ACT_BLOCK)
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            w->mins[i] = W::two_mins(b[i], lane_of() % 4);
            w->min[i] = W::min_of(b[i]);
        }
    warp_sync();
    load_scales<W>(w, m.scales);
    warp_sync(); /* nobody reads any more what was there */
}

#endif
