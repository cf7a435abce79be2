/* tile.h - products of quantized rows with encoded activations, several rows at a time.
 *
 * A template: x86/mul_avx2.c and its like define a vector of LANES 32-bit lanes with a
 * few operations and include tile_types.h, which then defines one kernel for each type.
 *
 * A tile is one activation block, 256 columns, of LANES rows, a row in each lane: codes
 * four to a lane in the order of the columns, and scales as floats.  It is unpacked once
 * and then multiplied with all tokens.  An activation's four codes go to all lanes, so no
 * sum ever crosses lanes, and what is done for one (row, token) is the same wherever its
 * row sits in the tile and however many tokens there are: the steps that mul.h
 * prescribes.
 *
 * With a single token a tile's rows are gone through in one call; with registers enough
 * (FUSE_SINGLE) the tile is left out there and codes go straight into the sums.  The next
 * tile is asked for while codes are unpacked; with many tokens, while these are
 * multiplied.
 *
 * What the includer defines:
 *
 *   LANES, vu, vi, vf     vectors of uint32_t, int32_t and float
 *   columns(c, p, stride) c[0..3]: four 32-bit columns of LANES rows, from p on
 *   half(v)               binary16 in the low half of each lane to float
 *   madd(a, b, c)         a * b + c, rounded once
 *   repeat16(p)           16 bytes in every 128 bits
 *   lookup(table, v)      for each byte 0..15 of v that byte of such a table
 *   gather(table, v)      table[v], lane by lane
 *   dot_begin, dot_step, dot_step_signed, dot_end
 *                         products of each lane's four codes with x[0..3], added up in
 *                         parts that may be of 16 bits
 *   FUSE_SINGLE           1 if sums of all groups fit in registers; then also
 *   dot(sum, v, x)        a step by itself
 *   pairs(sum, v, x)      sum + the products of both 16-bit halves of v with x[0..1]
 *   SIGNED_CODES          1 if 8-bit codes stay signed, 0 if 128 is added to them
 *   TILE_GRIDS            1 if tile_grid.h makes the kernels of the types on a grid; then
 *   SIGNED_GRIDS          as SIGNED_CODES, for them: their codes are smaller
 *   WIDE_CODES            1 if codes may use all eight bits, unsigned
 *   MAX_TOKENS            tokens whose sums fit in registers: 8 or 4 */
#include "act.h"
#include "blocks.h"
#include "grid_words.h"
#include "grids.h"
#include "unroll.h"

#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* weight = scale * (code - offset) - min, group by group.  Types whose min is a whole
 * number times dmin keep the numbers in `pair`, twice for groups of 32 (their activations
 * have two sums) and two neighbours for groups of 16; the offset comes the same way. */
struct tile {
    vu code[ACT_BLOCK / 4];
    vf scale[ACT_BLOCK / 16];
    vu pair[ACT_BLOCK / 32];
    vf min[ACT_BLOCK / 32]; /* blocks of 32; otherwise min[0] is dmin */
    vu offset;              /* in both halves, negative */
};

INLINE vu splat(uint32_t u) { return u - (vu){ 0 }; }
INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vf splat_float(float f) { return f - (vf){ 0 }; }
INLINE vf byte_to_float(vu v, int i) { return to_float((vi)(v >> 8 * i & 255)); }

/* -n in both halves. */
INLINE vu offset_of(int n) { return splat((uint32_t)(-n & 0xffff) * 0x10001u); }

#include "tile_product.h"
#include "tile_unpack.h"

/* ==== Walking the rows ===================================================== */

/* Fill a tile; `blocks` of 32 columns. */
typedef void (*tile_fn)(struct tile *w, struct rows r, int blocks);
/* *y += the next `blocks` of 32 columns times x, a row's all if need be. */
typedef void (*single_fn)(vf *y, struct rows r, const struct act_block *x, int blocks);

struct walk {
    tile_fn unpack;
    product_fn product;
    single_fn single;      /* both at once, for one token */
    uint32_t block, bytes; /* of the type */
};

enum { TILE_BYTES_MAX = 8 * sizeof(struct block_q8_0), TOKENS_MAX = 64 };

/* `nr` rows at w, times up to TOKENS_MAX tokens. */
static void walk_tile(const struct walk *k, float *y, size_t y_stride, const uint8_t *w,
                      size_t w_stride, size_t nr, const uint8_t *next, const void *x,
                      size_t x_stride, size_t tokens, size_t n)
{
    struct tile tile;
    vf acc[TOKENS_MAX];
    uint8_t few[LANES * TILE_BYTES_MAX];
    memset(acc, 0, tokens * sizeof *acc);
    if (nr < LANES) memset(few, 0, sizeof few);
    for (size_t i = 0; i < n; i += ACT_BLOCK) {
        const size_t width = n - i < ACT_BLOCK ? n - i : ACT_BLOCK;
        const size_t at = i / k->block * k->bytes, len = width / k->block * k->bytes;
        struct rows r = { .p = w + at, .next = next + at * LANES, .stride = w_stride };
        const struct ask ask = { r.next, next != w ? len * LANES : 0 };
        if (nr < LANES) { /* rows that are not there are zero */
            for (size_t j = 0; j < nr; j++)
                memcpy(few + j * len, w + at + j * w_stride, len);
            r.p = few, r.stride = len;
        }
        if (tokens == 1) {
            k->single(acc, r, (const struct act_block *)x + i / ACT_BLOCK,
                      (int)(width / 32));
            continue;
        }
        k->unpack(&tile, r, (int)(width / 32));
        k->product(acc, &tile, (const char *)x + i / ACT_BLOCK * sizeof(struct act_block),
                   x_stride, tokens, (int)(width / 32), ask);
    }
    for (size_t t = 0; t < tokens; t++) memcpy(y + t * y_stride, acc + t, nr * sizeof *y);
}

/* LANES rows times one token: all blocks in one go, as to begin takes some time. */
static void walk_single(const struct walk *k, float *y, const uint8_t *w, size_t w_stride,
                        const uint8_t *next, const void *x, size_t n)
{
    vf sum = { 0 };
    k->single(&sum, (struct rows){ .p = w, .next = next, .stride = w_stride }, x,
              (int)(n / 32));
    memcpy(y, &sum, sizeof sum);
}

static void walk(const struct walk *k, float *y, size_t y_stride, const void *w,
                 size_t w_stride, size_t rows, const void *x, size_t x_stride,
                 size_t tokens, size_t n)
{
    /* The first tile has none before it to ask for it. */
    for (size_t i = 0; rows >= LANES && i < LANES * w_stride; i += 64)
        __builtin_prefetch((const uint8_t *)w + i, 0, 3);
    for (size_t r = 0; r < rows; r += LANES) {
        const uint8_t *row = (const uint8_t *)w + r * w_stride;
        const size_t nr = rows - r < LANES ? rows - r : LANES;
        if (tokens == 1 && nr == LANES) {
            walk_single(k, y + r, row, w_stride,
                        rows - r > LANES ? row + LANES * w_stride : row, x, n);
            continue;
        }
        for (size_t t = 0; t < tokens; t += TOKENS_MAX) {
            const size_t nt = tokens - t < TOKENS_MAX ? tokens - t : TOKENS_MAX;
            const int more = rows - r > LANES && t == 0;
            walk_tile(k, y + t * y_stride + r, y_stride, row, w_stride, nr,
                      more ? row + LANES * w_stride : row, (const char *)x + t * x_stride,
                      x_stride, nt, n);
        }
    }
}

/* ==== Kernels ============================================================== */

#define KERNEL(type, product, single, qk)                                                \
    static decl_mul_fn(mul_##type)                                                       \
    {                                                                                    \
        const struct walk k = { tile_##type, product, single, qk,                        \
                                sizeof(struct block_##type) };                           \
        walk(&k, y, y_stride, w, w_stride, rows, x, x_stride, tokens, n);                \
    }

/* y + the next activation block's columns times x. */
#define ONE(name)                                                                        \
    INLINE vf one_##name(vf y, struct rows r, const struct act_block *x, int blocks)

#define SINGLE(name, bytes)                                                              \
    static void single_##name(vf *y, struct rows r, const struct act_block *x,           \
                              int blocks)                                                \
    {                                                                                    \
        vf sum = *y;                                                                     \
        r.quiet = false;                                                                 \
        for (; blocks > 0; blocks -= ACT_BLOCK / 32, x++) {                              \
            sum = one_##name(sum, r, x, blocks < 8 ? blocks : 8);                        \
            r.p += bytes;                                                                \
            r.next += LANES * bytes;                                                     \
        }                                                                                \
        *y = sum;                                                                        \
    }

#if FUSE_SINGLE
/* The sum of group j less the offset of its codes. */
INLINE vi group_sum(const struct sink *to, const struct tile *w, int j,
                    const struct act_block *x, const struct shape s)
{
    const vi sum = s.group == 16 ? to->sum[j] : to->sum[2 * j] + to->sum[2 * j + 1];
    return s.has_offset ? pairs(sum, group_offset(w, j, s), group_sums(x, j, s)) : sum;
}

INLINE void init_sums(struct sink *s, int columns)
{
    LOOP for (int j = 0; j < columns / 16; j++) s->sum[j] = (vi){ 0 };
}

#define SUPER_ONE(name, ...)                                                             \
    ONE(name)                                                                            \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        struct sink to = { .x = x->q, .fused = true };                                   \
        vf total = { 0 };                                                                \
        (void)blocks;                                                                    \
        init_sums(&to, ACT_BLOCK);                                                       \
        super_##name(&to, &w, &r);                                                       \
        LOOP for (int j = 0; j < ACT_BLOCK / s.group; j++) total =                       \
            add_group(total, group_sum(&to, &w, j, x, s), &w, j);                        \
        return add_super_block(y, total, &w, x, s);                                      \
    }

#define BLOCK_32_ONE(name, ...)                                                          \
    ONE(name)                                                                            \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        vf total = { 0 };                                                                \
        for (int j = 0; j < blocks; j++, r.p += sizeof(struct block_##name)) {           \
            struct sink to = { .x = x->q + 32 * j, .fused = true };                      \
            vi sum;                                                                      \
            init_sums(&to, 32);                                                          \
            block_##name(&to, &w, 0, &r);                                                \
            sum = to.sum[0] + to.sum[1];                                                 \
            if (s.has_offset) sum = pairs(sum, w.offset, x->sum + 2 * j);                \
            total = add_block(total, sum, &w, 0, x, j, s);                               \
        }                                                                                \
        return y + total;                                                                \
    }
#else
/* Through the tile. */
#define SUPER_ONE(name, ...)                                                             \
    ONE(name)                                                                            \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        fill_##name(&w, r, blocks);                                                      \
        super_block(&y, &w, x, 0, (struct ask){ 0 }, 1, s);                              \
        return y;                                                                        \
    }

#define BLOCK_32_ONE(name, ...)                                                          \
    ONE(name)                                                                            \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        fill_##name(&w, r, blocks);                                                      \
        blocks_of_32(&y, &w, x, 0, blocks, (struct ask){ 0 }, 1, s);                     \
        return y;                                                                        \
    }
#endif

#define SUPER_TILE(name)                                                                 \
    INLINE void fill_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        struct sink to = { .code = w->code };                                            \
        (void)blocks;                                                                    \
        super_##name(&to, w, &r);                                                        \
    }

#define BLOCK_32_TILE(name)                                                              \
    INLINE void fill_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        for (int j = 0; j < blocks; j++, r.p += sizeof(struct block_##name)) {           \
            struct sink to = { .code = w->code + 8 * j };                                \
            block_##name(&to, w, j, &r);                                                 \
        }                                                                                \
    }

#define TILE(name)                                                                       \
    static void tile_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        r.quiet = true;                                                                  \
        fill_##name(w, r, blocks);                                                       \
    }

#define SUPER_FNS(name, product, ...)                                                    \
    SUPER_TILE(name)                                                                     \
    TILE(name)                                                                           \
    SUPER_ONE(name, __VA_ARGS__)                                                         \
    SINGLE(name, sizeof(struct block_##name))                                            \
    KERNEL(name, product, single_##name, QK_K)

#define BLOCK_32_FNS(name, product, ...)                                                 \
    BLOCK_32_TILE(name)                                                                  \
    TILE(name)                                                                           \
    BLOCK_32_ONE(name, __VA_ARGS__)                                                      \
    SINGLE(name, 8 * sizeof(struct block_##name))                                        \
    KERNEL(name, product, single_##name, QK_32)
