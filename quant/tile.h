/* tile.h - products of quantized rows with encoded activations, several rows at a time.
 *
 * A template: x86/mul_avx2.c and its like define a vector of LANES 32-bit lanes with a
 * few operations and include this file, which then defines one kernel for each type.
 *
 * A tile is one activation block, 256 columns, of LANES rows, a row in each lane: codes
 * four to a lane in the order of the columns, and scales as floats.  It is unpacked once
 * and then multiplied with all tokens.  An activation's four codes go to all lanes, so no
 * sum ever crosses lanes, and what is done for one (row, token) is the same wherever its
 * row sits in the tile and however many tokens there are:
 *
 *   in a group of 16 or 32 that shares a scale     whole numbers, exact
 *   over the groups of a super-block (Q8_K)        fma(sum, d * scale, total), in order
 *   over activation blocks                         fma(total, d of the activation, y)
 *
 * What the includer defines:
 *
 *   LANES, vu, vi, vf           vectors of uint32_t, int32_t, float
 *   columns(c, p, stride)       c[0..3]: four 32-bit columns of LANES rows from p on
 *   half(v)                     binary16 in the low half of each lane, to float
 *   madd(a, b, c)               a * b + c, rounded once
 *   lookup(table, v)            each byte 0..15 of v replaced by that byte of the table
 *   dot(sum, v, x)              sum + the products of the four codes of each lane with
 * x[0..3] dot_begin, dot_step, dot_step_signed, dot_end sums of products of four codes:
 * see there pairs(acc, v, x)            acc + the products of both 16-bit halves of v
 * with x[0..1] SIGNED_CODES                1 if 8-bit codes stay signed, 0 if 128 is
 * added to them MAX_TOKENS                  tokens that fit in registers: 8 or 4 LOOP
 * unrolls the loop that follows */
#include "act.h"
#include "blocks.h"
#include "grids.h"

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

/* ==== Products ============================================================= */

/* How a type's groups are summed.  `chunk`: steps of four codes that may be added before
 * dot_end(), where sums are kept in 16 bits. */
struct shape {
    int group, chunk;
    bool has_offset, has_min, is_signed;
};

INLINE const struct act_block *token(const void *x, size_t x_stride, int t)
{
    return (const void *)((const char *)x + (size_t)t * x_stride);
}

/* What takes the offset off the sum of group j: the offset for the activations' sum, or
 * for groups of 16 for one of a pair of sums, which has a zero beside it. */
INLINE vu group_offset(const struct tile *w, int j, const struct shape s)
{
    if (s.group == 32) return w->offset;
    return j & 1 ? w->offset & 0xffff0000u : w->offset & 0xffff;
}

INLINE const int16_t *group_sums(const struct act_block *x, int j, const struct shape s)
{
    return x->sum + j * s.group / 32 * 2;
}

/* sum[t] = the products of group j, for T tokens. */
INLINE void sum_group(vi sum[], const struct tile *w, int j, const void *x,
                      size_t x_stride, const int T, const struct shape s)
{
    const int steps = s.group / 4;
    LOOP for (int t = 0; t < T; t++)
    {
        sum[t] = (vi){ 0 };
        if (s.has_offset)
            sum[t] = pairs(sum[t], group_offset(w, j, s),
                           group_sums(token(x, x_stride, t), j, s));
    }
    LOOP for (int k = 0; k < steps; k += s.chunk)
    {
        vi part[MAX_TOKENS];
        LOOP for (int t = 0; t < T; t++) part[t] = dot_begin(sum[t]);
        LOOP for (int i = k; i < k + s.chunk; i++)
        {
            const vu code = w->code[j * steps + i];
            LOOP for (int t = 0; t < T; t++)
            {
                const int8_t *q = token(x, x_stride, t)->q + (j * steps + i) * 4;
                part[t] = s.is_signed ? dot_step_signed(part[t], code, q)
                                      : dot_step(part[t], code, q);
            }
        }
        LOOP for (int t = 0; t < T; t++) sum[t] = dot_end(sum[t], part[t]);
    }
}

/* The floating-point steps, the same for one token and for many. */
INLINE vf add_group(vf total, vi sum, const struct tile *w, int j)
{
    return madd(to_float(sum), w->scale[j], total);
}

INLINE vf add_super_block(vf y, vf total, const struct tile *w, const struct act_block *x,
                          const struct shape s)
{
    if (s.has_min) {
        vi mins = { 0 };
        LOOP for (int j = 0; j < ACT_BLOCK / 32; j++) mins =
            pairs(mins, w->pair[j], x->sum + 2 * j);
        total = madd(to_float(mins), -w->min[0], total);
    }
    return madd(total, splat_float(x->d[0]), y);
}

/* Block j of the activations, `at` in the tile. */
INLINE vf add_block(vf y, vi sum, const struct tile *w, int at, const struct act_block *x,
                    int j, const struct shape s)
{
    vf total = to_float(sum) * w->scale[at];
    if (s.has_min) {
        const vi ones = pairs((vi){ 0 }, splat(0x10001), x->sum + 2 * j);
        total = madd(to_float(ones), -w->min[at], total);
    }
    return madd(total, splat_float(x->d[j]), y);
}

/* acc[t] += a super-block that shares one activation scale. */
INLINE void super_block(vf acc[], const struct tile *w, const void *x, size_t x_stride,
                        const int T, const struct shape s)
{
    vf total[MAX_TOKENS];
    LOOP for (int t = 0; t < T; t++) total[t] = (vf){ 0 };
    for (int j = 0; j < ACT_BLOCK / s.group; j++) {
        vi sum[MAX_TOKENS];
        sum_group(sum, w, j, x, x_stride, T, s);
        LOOP for (int t = 0; t < T; t++) total[t] = add_group(total[t], sum[t], w, j);
    }
    LOOP for (int t = 0; t < T; t++) acc[t] =
        add_super_block(acc[t], total[t], w, token(x, x_stride, t), s);
}

/* acc[t] += blocks of 32 with an activation scale each. */
INLINE void blocks_of_32(vf acc[], const struct tile *w, const void *x, size_t x_stride,
                         int blocks, const int T, const struct shape s)
{
    vf y[MAX_TOKENS];
    LOOP for (int t = 0; t < T; t++) y[t] = acc[t];
    for (int j = 0; j < blocks; j++) {
        vi sum[MAX_TOKENS];
        sum_group(sum, w, j, x, x_stride, T, s);
        LOOP for (int t = 0; t < T; t++) y[t] =
            add_block(y[t], sum[t], w, j, token(x, x_stride, t), j, s);
    }
    LOOP for (int t = 0; t < T; t++) acc[t] = y[t];
}

/* acc[t] += the tile times token t; `blocks` of 32 columns. */
typedef void (*product_fn)(vf *acc, const struct tile *w, const void *x, size_t x_stride,
                           size_t tokens, int blocks);

#define TOKENS(n, call)                                                                  \
    for (const int T = n; tokens >= T; tokens -= T, acc += T)                            \
        call, x = (const char *)x + T * x_stride;

#define PRODUCT(name, body, ...)                                                         \
    static void name(vf *acc, const struct tile *w, const void *x, size_t x_stride,      \
                     size_t tokens, int blocks)                                          \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        (void)blocks;                                                                    \
        if (MAX_TOKENS == 8) TOKENS(8, body)                                             \
        TOKENS(4, body)                                                                  \
        TOKENS(2, body)                                                                  \
        TOKENS(1, body)                                                                  \
    }
#define SUPER_BLOCK  super_block(acc, w, x, x_stride, T, s)
#define BLOCKS_OF_32 blocks_of_32(acc, w, x, x_stride, blocks, T, s)

/* Chunks: a step adds at most 2 * 127 * the largest code to each 16-bit sum. */
#define K32_4BIT   .group = 32, .chunk = 8, .has_min = true
#define K32_5BIT   .group = 32, .chunk = 4, .has_min = true
#define K16_2BIT   .group = 16, .chunk = 4, .has_min = true
#define K16_6BIT   .group = 16, .chunk = 2, .has_offset = true
#define ANY32_5BIT .group = 32, .chunk = 4, .has_offset = true
#define ANY32_MIN  .group = 32, .chunk = 4, .has_min = true
#define ANY32_8BIT                                                                       \
    .group = 32, .chunk = 1, .is_signed = SIGNED_CODES, .has_offset = !SIGNED_CODES

PRODUCT(product_k32_4bit, SUPER_BLOCK, K32_4BIT)
PRODUCT(product_k32_5bit, SUPER_BLOCK, K32_5BIT)
PRODUCT(product_k32_8bit, SUPER_BLOCK, ANY32_8BIT)
PRODUCT(product_k16_2bit, SUPER_BLOCK, K16_2BIT)
PRODUCT(product_k16_6bit, SUPER_BLOCK, K16_6BIT)
PRODUCT(product_32_5bit, BLOCKS_OF_32, ANY32_5BIT)
PRODUCT(product_32_min, BLOCKS_OF_32, ANY32_MIN)
PRODUCT(product_32_8bit, BLOCKS_OF_32, ANY32_8BIT)

/* ==== Unpackers ============================================================ */

/* Where a tile's rows are: their bytes from here on, `stride` apart, and those of the
 * next tile.  Rows are too many streams, and too short, for the hardware to see ahead, so
 * every take() asks for some of the next tile. */
struct rows {
    const uint8_t *p, *next;
    size_t stride;
};

#define AT(name, field) offsetof(struct block_##name, field)

/* Bytes asked for by each take(), a quarter more than it takes: heads and tails too. */
enum { AHEAD = LANES * 20 };

/* Four columns from byte `at` of each row on: of a head or tail, and of the codes. */
INLINE void peek(vu c[4], const struct rows *r, size_t at)
{
    columns(c, r->p + at, r->stride);
}

INLINE void take(vu c[4], struct rows *r, size_t at)
{
    columns(c, r->p + at, r->stride);
    LOOP for (int i = 0; i < AHEAD; i += 64) __builtin_prefetch(r->next + i, 0, 1);
    r->next += AHEAD;
}

/* The last 16 bytes of a block. */
#define TAIL(name) (sizeof(struct block_##name) - 16)

/* Where codes go: into the tile, or with a single token straight into the sums of its
 * groups, which spares the way through memory. */
struct sink {
    vu *code;
    const int8_t *x;
    vi sum[ACT_BLOCK / 16];
    int steps; /* of four codes in a group; 0: into the tile */
};

INLINE void put(struct sink *s, int i, vu code)
{
    if (!s->steps) s->code[i] = code;
    else s->sum[i / s->steps] = dot(s->sum[i / s->steps], code, s->x + 4 * i);
}

INLINE vu low4(vu v) { return v & 0x0f0f0f0f; }
INLINE vu high4(vu v) { return v >> 4 & 0x0f0f0f0f; }

/* ---- Blocks of 32: scale and min of block j; codes from place 0 of the sink on ---- */

#define BLOCK_32(name)                                                                   \
    INLINE void block_##name(struct sink *s, struct tile *w, int j, struct rows *r)

/* 16 bytes of a row: their low halves are codes 0..15, the high ones 16..31. */
INLINE void nibbles_32(vu code[8], struct rows *r, size_t qs)
{
    vu c[4];
    take(c, r, qs);
    LOOP for (int i = 0; i < 4; i++)
    {
        code[i] = low4(c[i]);
        code[i + 4] = high4(c[i]);
    }
}

INLINE void put_nibbles(struct sink *s, struct rows *r, size_t qs)
{
    vu code[8];
    nibbles_32(code, r, qs);
    LOOP for (int i = 0; i < 8; i++) put(s, i, code[i]);
}

/* Bit i of qh is the fifth bit of code i: the product spreads four bits over four bytes,
 * bit b to 8 * b + 4. */
INLINE void put_five_bits(struct sink *s, struct rows *r, size_t qs, vu qh)
{
    vu code[8];
    nibbles_32(code, r, qs);
    LOOP for (int i = 0; i < 8; i++)
        put(s, i, code[i] | ((qh >> 4 * i & 15) * 0x02040810u & 0x10101010));
}

INLINE void put_levels(struct sink *s, vu table, struct rows *r, size_t qs, int first)
{
    vu code[8];
    nibbles_32(code, r, qs);
    LOOP for (int i = 0; i < 8; i++) put(s, first + i, lookup(table, code[i]));
}

BLOCK_32(q4_0)
{
    vu head[4];
    peek(head, r, 0);
    w->offset = offset_of(8);
    w->scale[j] = half(head[0]);
    put_nibbles(s, r, AT(q4_0, qs));
}

BLOCK_32(q4_1)
{
    vu head[4];
    peek(head, r, 0);
    w->scale[j] = half(head[0]);
    w->min[j] = -half(head[0] >> 16);
    put_nibbles(s, r, AT(q4_1, qs));
}

BLOCK_32(q5_0)
{
    vu head[4];
    peek(head, r, 0);
    w->offset = offset_of(16);
    w->scale[j] = half(head[0]);
    put_five_bits(s, r, AT(q5_0, qs), head[0] >> 16 | head[1] << 16);
}

BLOCK_32(q5_1)
{
    vu head[4];
    peek(head, r, 0);
    w->scale[j] = half(head[0]);
    w->min[j] = -half(head[0] >> 16);
    put_five_bits(s, r, AT(q5_1, qs), head[1]);
}

/* Signed bytes, as the products take them. */
#define BIAS (SIGNED_CODES ? 0u : 0x80808080u)

BLOCK_32(q8_0)
{
    vu head[4];
    peek(head, r, 0);
    w->offset = offset_of(128);
    w->scale[j] = half(head[0]);
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, AT(q8_0, qs) + 4 * k);
        LOOP for (int i = 0; i < 4; i++) put(s, k + i, c[i] ^ BIAS);
    }
}

/* 16 levels in every 128 bits, as lookup() takes them, `bias` in each byte. */
INLINE vu level_table(const int8_t level[16], uint32_t bias)
{
    vu table;
    for (size_t i = 0; i < sizeof table; i += 16) memcpy((char *)&table + i, level, 16);
    return table ^ bias;
}

BLOCK_32(iq4_nl)
{
    vu head[4];
    peek(head, r, 0);
    w->offset = offset_of(128);
    w->scale[j] = half(head[0]);
    put_levels(s, level_table(levels_iq4_nl, BIAS), r, AT(iq4_nl, qs), 0);
}

/* Levels are -12..12; 12 more makes codes of five bits.  The scale is 2^(e - 128), with
 * two subnormals (see fp.h). */
BLOCK_32(mxfp4)
{
    const vu levels = level_table(levels_fp4, 0);
    /* added byte by byte: the top bits by themselves, so that nothing is carried */
    const vu table = ((levels & 0x7f7f7f7f) + 0x0c0c0c0c) ^ (levels & 0x80808080);
    vu head[4];
    peek(head, r, 0);
    const vu e = head[0] & 255, small = (vu)(e < 2);
    w->offset = offset_of(12);
    w->scale[j] = (vf)((small & (e + 1) << 21) | (~small & (e - 1) << 23));
    put_levels(s, table, r, AT(mxfp4, qs), 0);
}

/* ---- Super-blocks ---- */

#define SUPER(name)                                                                      \
    INLINE void super_##name(struct sink *s, struct tile *w, struct rows *r)

/* 32 columns of bits that add to the codes of all groups, bit j of a byte for group j. */
INLINE void take_bits(vu bits[8], struct rows *r, size_t at)
{
    take(bits, r, at);
    take(bits + 4, r, at + 16);
}

/* 32 bytes of a row, the 64 columns of part g: low halves are codes 0..31, high ones
 * 32..63.  `fifth`: NULL, or the fifth bits. */
INLINE void put_nibbles_64(struct sink *s, struct rows *r, size_t qs, int g,
                           const vu *fifth)
{
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, qs + 32 * g + 4 * k);
        LOOP for (int i = 0; i < 4; i++)
        {
            vu low = low4(c[i]), high = high4(c[i]);
            if (fifth) {
                low |= (fifth[k + i] >> 2 * g & 0x01010101) << 4;
                high |= (fifth[k + i] >> (2 * g + 1) & 0x01010101) << 4;
            }
            put(s, 16 * g + k + i, low);
            put(s, 16 * g + k + i + 8, high);
        }
    }
}

/* The same with two bits, 128 columns of half h: the lowest pairs are codes 0..31, and so
 * on.  `third`: NULL, or the third bits. */
INLINE void put_two_bits_128(struct sink *s, struct rows *r, size_t qs, int h,
                             const vu *third)
{
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, qs + 32 * h + 4 * k);
        LOOP for (int i = 0; i < 4; i++) LOOP for (int b = 0; b < 4; b++)
        {
            vu code = c[i] >> 2 * b & 0x03030303;
            if (third) code |= (third[k + i] >> (4 * h + b) & 0x01010101) << 2;
            put(s, 32 * h + 8 * b + k + i, code);
        }
    }
}

SUPER(q2_k)
{
    vu packed[4], tail[4];
    peek(packed, r, AT(q2_k, scales));
    peek(tail, r, TAIL(q2_k));
    const vf d = half(tail[3]);
    w->min[0] = half(tail[3] >> 16);
    LOOP for (int i = 0; i < 4; i++)
    {
        const vu mins = high4(packed[i]);
        LOOP for (int b = 0; b < 4; b++) w->scale[4 * i + b] =
            d * byte_to_float(low4(packed[i]), b);
        w->pair[2 * i] = (mins & 0xff) | (mins << 8 & 0xff0000);
        w->pair[2 * i + 1] = (mins >> 16 & 0xff) | (mins >> 8 & 0xff0000);
    }
    put_two_bits_128(s, r, AT(q2_k, qs), 0, NULL);
    put_two_bits_128(s, r, AT(q2_k, qs), 1, NULL);
}

/* A set bit of hmask adds 4 to codes of -4..-1; here to 0..3, with the offset 4. */
SUPER(q3_k)
{
    vu tail[4], third[8];
    peek(tail, r, TAIL(q3_k)); /* two bytes of no use, the scales, d */
    const vu a = tail[0] >> 16 | tail[1] << 16, b = tail[1] >> 16 | tail[2] << 16,
             c = tail[2] >> 16 | tail[3] << 16;
    const vf d = half(tail[3] >> 16);
    const vu scales[4] = { low4(a) | (c << 4 & 0x30303030),
                           low4(b) | (c << 2 & 0x30303030), high4(a) | (c & 0x30303030),
                           high4(b) | (c >> 2 & 0x30303030) };
    LOOP for (int i = 0; i < 16; i++) w->scale[i] =
        d * (byte_to_float(scales[i / 4], i % 4) - 32.0f);
    w->offset = offset_of(4);
    take_bits(third, r, AT(q3_k, hmask));
    put_two_bits_128(s, r, AT(q3_k, qs), 0, third);
    put_two_bits_128(s, r, AT(q3_k, qs), 1, third);
}

/* The head of Q4_K and Q5_K: d, dmin and eight 6-bit scales and mins (see scales.h). */
INLINE void scales_and_mins(struct tile *w, const struct rows *r)
{
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]);
    const vu scales[2] = { head[1] & 0x3f3f3f3f,
                           low4(head[3]) | (head[1] >> 2 & 0x30303030) };
    const vu mins[2] = { head[2] & 0x3f3f3f3f,
                         high4(head[3]) | (head[2] >> 2 & 0x30303030) };
    w->min[0] = half(head[0] >> 16);
    LOOP for (int j = 0; j < 8; j++)
    {
        const vu min = mins[j / 4] >> 8 * (j % 4) & 255;
        w->scale[j] = d * byte_to_float(scales[j / 4], j % 4);
        w->pair[j] = min | min << 16;
    }
}

SUPER(q4_k)
{
    scales_and_mins(w, r);
    LOOP for (int g = 0; g < 4; g++) put_nibbles_64(s, r, AT(q4_k, qs), g, NULL);
}

SUPER(q5_k)
{
    vu fifth[8];
    scales_and_mins(w, r);
    take_bits(fifth, r, AT(q5_k, qh));
    LOOP for (int g = 0; g < 4; g++) put_nibbles_64(s, r, AT(q5_k, qs), g, fifth);
}

/* Half h, 128 columns: 4 bits each in 64 bytes, 2 bits each in 32. */
INLINE void put_six_bits_128(struct sink *s, struct rows *r, int h)
{
    const size_t ql = AT(q6_k, ql) + 64 * (size_t)h, qh = AT(q6_k, qh) + 32 * (size_t)h;
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu a[4], b[4], high[4];
        take(a, r, ql + 4 * k);
        take(b, r, ql + 32 + 4 * k);
        take(high, r, qh + 4 * k);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int to = 32 * h + k + i;
            put(s, to, low4(a[i]) | (high[i] << 4 & 0x30303030));
            put(s, to + 8, low4(b[i]) | (high[i] << 2 & 0x30303030));
            put(s, to + 16, high4(a[i]) | (high[i] & 0x30303030));
            put(s, to + 24, high4(b[i]) | (high[i] >> 2 & 0x30303030));
        }
    }
}

SUPER(q6_k)
{
    vu scales[4], tail[4];
    peek(scales, r, AT(q6_k, scales));
    peek(tail, r, TAIL(q6_k));
    const vf d = half(tail[3] >> 16);
    LOOP for (int i = 0; i < 16; i++) w->scale[i] =
        d * to_float((vi)(scales[i / 4] << (24 - i % 4 * 8)) >> 24);
    w->offset = offset_of(32);
    put_six_bits_128(s, r, 0);
    put_six_bits_128(s, r, 1);
}

SUPER(iq4_xs)
{
    const vu table = level_table(levels_iq4_nl, BIAS);
    vu head[4];
    peek(head, r, 0); /* d and scales_h, scales_l */
    const vf d = half(head[0]);
    w->offset = offset_of(128);
    LOOP for (int k = 0; k < 8; k++)
    {
        const vu scale = (head[1] >> 4 * k & 15) | (head[0] >> (16 + 2 * k) & 3) << 4;
        w->scale[k] = d * (to_float((vi)scale) - 32.0f);
        put_levels(s, table, r, AT(iq4_xs, qs) + 16 * k, 8 * k);
    }
}

/* ==== Walking the rows ===================================================== */

/* Fill a tile; `blocks` of 32 columns. */
typedef void (*tile_fn)(struct tile *w, struct rows r, int blocks);
/* *y += the next activation block's columns times x. */
typedef void (*single_fn)(vf *y, struct rows r, const struct act_block *x, int blocks);

struct walk {
    tile_fn unpack;
    product_fn product;
    single_fn single;      /* both at once */
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
        const size_t columns = n - i < ACT_BLOCK ? n - i : ACT_BLOCK;
        const size_t at = i / k->block * k->bytes, len = columns / k->block * k->bytes;
        struct rows r = { w + at, next + at * LANES, w_stride };
        if (nr < LANES) { /* rows that are not there are zero */
            for (size_t j = 0; j < nr; j++)
                memcpy(few + j * len, w + at + j * w_stride, len);
            r.p = few, r.stride = len;
        }
        if (tokens == 1) {
            k->single(acc, r, (const struct act_block *)x + i / ACT_BLOCK,
                      (int)(columns / 32));
            continue;
        }
        k->unpack(&tile, r, (int)(columns / 32));
        k->product(acc, &tile, (const char *)x + i / ACT_BLOCK * sizeof(struct act_block),
                   x_stride, tokens, (int)(columns / 32));
    }
    for (size_t t = 0; t < tokens; t++) memcpy(y + t * y_stride, acc + t, nr * sizeof *y);
}

static void walk(const struct walk *k, float *y, size_t y_stride, const void *w,
                 size_t w_stride, size_t rows, const void *x, size_t x_stride,
                 size_t tokens, size_t n)
{
    for (size_t r = 0; r < rows; r += LANES) {
        const uint8_t *row = (const uint8_t *)w + r * w_stride;
        const size_t nr = rows - r < LANES ? rows - r : LANES;
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

#define KERNEL(type, product, qk)                                                        \
    static decl_mul_fn(mul_##type)                                                       \
    {                                                                                    \
        const struct walk k = { tile_##type, product, single_##type, qk,                 \
                                sizeof(struct block_##type) };                           \
        walk(&k, y, y_stride, w, w_stride, rows, x, x_stride, tokens, n);                \
    }

/* The sum of a group so far less the offset of its codes. */
INLINE vi less_offset(vi sum, const struct tile *w, int j, const struct act_block *x,
                      const struct shape s)
{
    return s.has_offset ? pairs(sum, group_offset(w, j, s), group_sums(x, j, s)) : sum;
}

INLINE void init_sums(struct sink *s)
{
    LOOP for (int j = 0; j < ACT_BLOCK / 16; j++) s->sum[j] = (vi){ 0 };
}

#define SUPER_FNS(name, product, ...)                                                    \
    static void tile_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        struct sink to = { .code = w->code };                                            \
        (void)blocks;                                                                    \
        super_##name(&to, w, &r);                                                        \
    }                                                                                    \
    static void single_##name(vf *y, struct rows r, const struct act_block *x,           \
                              int blocks)                                                \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        struct sink to = { .x = x->q, .steps = s.group / 4 };                            \
        vf total = { 0 };                                                                \
        (void)blocks;                                                                    \
        init_sums(&to);                                                                  \
        super_##name(&to, &w, &r);                                                       \
        LOOP for (int j = 0; j < ACT_BLOCK / s.group; j++) total =                       \
            add_group(total, less_offset(to.sum[j], &w, j, x, s), &w, j);                \
        *y = add_super_block(*y, total, &w, x, s);                                       \
    }                                                                                    \
    KERNEL(name, product, QK_K)

#define BLOCK_32_FNS(name, product, ...)                                                 \
    static void tile_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        for (int j = 0; j < blocks; j++, r.p += sizeof(struct block_##name)) {           \
            struct sink to = { .code = w->code + 8 * j };                                \
            block_##name(&to, w, j, &r);                                                 \
        }                                                                                \
    }                                                                                    \
    static void single_##name(vf *y, struct rows r, const struct act_block *x,           \
                              int blocks)                                                \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        struct tile w;                                                                   \
        for (int j = 0; j < blocks; j++, r.p += sizeof(struct block_##name)) {           \
            struct sink to = { .x = x->q + 32 * j, .steps = 8 };                         \
            to.sum[0] = (vi){ 0 };                                                       \
            block_##name(&to, &w, 0, &r);                                                \
            *y = add_block(*y, less_offset(to.sum[0], &w, j, x, s), &w, 0, x, j, s);     \
        }                                                                                \
    }                                                                                    \
    KERNEL(name, product, QK_32)

SUPER_FNS(q2_k, product_k16_2bit, K16_2BIT)
SUPER_FNS(q3_k, product_k16_6bit, K16_6BIT)
SUPER_FNS(q4_k, product_k32_4bit, K32_4BIT)
SUPER_FNS(q5_k, product_k32_5bit, K32_5BIT)
SUPER_FNS(q6_k, product_k16_6bit, K16_6BIT)
SUPER_FNS(iq4_xs, product_k32_8bit, ANY32_8BIT)
BLOCK_32_FNS(q4_0, product_32_5bit, ANY32_5BIT)
BLOCK_32_FNS(q4_1, product_32_min, ANY32_MIN)
BLOCK_32_FNS(q5_0, product_32_5bit, ANY32_5BIT)
BLOCK_32_FNS(q5_1, product_32_min, ANY32_MIN)
BLOCK_32_FNS(q8_0, product_32_8bit, ANY32_8BIT)
BLOCK_32_FNS(iq4_nl, product_32_8bit, ANY32_8BIT)
BLOCK_32_FNS(mxfp4, product_32_5bit, ANY32_5BIT)

static const mul_fn tile_kernels[GGF_TYPE_COUNT] = {
    [GGF_Q4_0] = mul_q4_0,     [GGF_Q4_1] = mul_q4_1, [GGF_Q5_0] = mul_q5_0,
    [GGF_Q5_1] = mul_q5_1,     [GGF_Q8_0] = mul_q8_0, [GGF_IQ4_NL] = mul_iq4_nl,
    [GGF_MXFP4] = mul_mxfp4,   [GGF_Q2_K] = mul_q2_k, [GGF_Q3_K] = mul_q3_k,
    [GGF_Q4_K] = mul_q4_k,     [GGF_Q5_K] = mul_q5_k, [GGF_Q6_K] = mul_q6_k,
    [GGF_IQ4_XS] = mul_iq4_xs,
};
