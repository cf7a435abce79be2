/* mul_grid_avx2.c - products of the types on a grid with encoded activations: 8 rows at a
 * time.
 *
 * Scales are whole numbers here, 2 s + 1 for a stored s, and are multiplied where two
 * neighbouring sums of 16 bits become one of 32, which takes an instruction anyhow.  So a
 * super-block's sum is a whole number, whatever the order of its columns; two floating
 * operations follow:
 *
 *   y = fma(sum * (d * unit of the scales), d of the activation, y)
 *
 * Codes are magnitudes and signs.  With one token the signs go to the activations, which
 * spares the way through the tile; with many into the codes of the tile, to which so much
 * is added that none is negative. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"
#include "tile_lanes_avx2.h"

#include "../tile.h"

/* What is added to the codes of a tile: the largest magnitude. */
enum { BIAS_IQ2 = 43, BIAS_IQ3_XXS = 62, BIAS_IQ3_S = 15 };

/* ==== Columns of magnitudes and signs ====================================== */

/* Where they go: sums of one token's products, or a tile. */
struct out {
    const int8_t *x;
    vi sum;
    vu *code;
    bool fused; /* into the sum */
};

/* Bytes that are negative where the bit of `which` is set, positive where it is not:
 * `rest` is what each bit lacks to 128, or 1 for the highest. */
INLINE __m256i signs_at(vu bits, uint32_t which, uint32_t rest)
{
    return (__m256i)((bits & which) + rest);
}

INLINE __m256i with_signs(vu v, __m256i signs)
{
    return _mm256_sign_epi8((__m256i)v, signs);
}

INLINE __m256i products(vu magnitude, __m256i signs, const int8_t *x)
{
    return _mm256_maddubs_epi16((__m256i)magnitude,
                                _mm256_sign_epi8(broadcast4(x), signs));
}

/* Eight columns, number `at` of the block: magnitudes of four and four; their signs,
 * eight bits in byte g of each lane.  Returns sums of four products in 16 bits. */
INLINE vi put_eight(struct out *o, int at, vu first, vu second, vu signs, int g, int bias)
{
    const uint8_t a = (uint8_t)g, b = (uint8_t)(4 + g), c = (uint8_t)(8 + g),
                  d = (uint8_t)(12 + g);
    const uint8_t four[16] = { a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d };
    const vu bits = lookup(signs, repeat16(four));
    const __m256i s0 = signs_at(bits, 0x08040201, 0x787c7e7f);
    const __m256i s1 = signs_at(bits, 0x80402010, 0x01406070);
    if (o->fused) {
        const int8_t *x = o->x + 8 * at;
        return (vi)_mm256_add_epi16(products(first, s0, x), products(second, s1, x + 4));
    }
    const vu offset = splat((uint32_t)bias * 0x01010101u);
    o->code[2 * at] = (vu)_mm256_add_epi8(with_signs(first, s0), (__m256i)offset);
    o->code[2 * at + 1] = (vu)_mm256_add_epi8(with_signs(second, s1), (__m256i)offset);
    return (vi){ 0 };
}

/* Sums of 16 bits times the scale, which is there twice. */
INLINE vi add_scaled(vi sum, vi part, vu times)
{
    sum += (vi)_mm256_madd_epi16((__m256i)part, (__m256i)times);
    __asm__("" : "+x"(sum)); /* now: or the compiler keeps all parts for a tree of sums */
    return sum;
}

/* ==== Scales =============================================================== */

/* A tile keeps them as whole numbers in place of floats. */
INLINE void set_times(struct tile *w, int j, vu times) { w->scale[j] = (vf)times; }
INLINE vu times_of(const struct tile *w, int j) { return (vu)w->scale[j]; }

/* Of 32 columns: `low` and `high` for 16 each.  What is to be taken off for the bias is
 * the tile's pair. */
INLINE void set_scales(struct tile *w, int u, vu low, vu high, int bias)
{
    const __m256i both = _mm256_blend_epi16((__m256i)low, (__m256i)high, 0xaa);
    set_times(w, 2 * u, low);
    set_times(w, 2 * u + 1, high);
    w->pair[u] = (vu)_mm256_mullo_epi16(both, _mm256_set1_epi16((int16_t)-bias));
}

/* 2 s + 1 for the four bits at the top. */
INLINE vu top_scale(vu word)
{
    const vu s = (word >> 27 & 0x1e) | 1;
    return s | s << 16;
}

/* The same for all eight of a column, and one of these: a byte has two. */
struct eight_scales {
    vu even, odd;
};

INLINE struct eight_scales eight_scales(vu v)
{
    return (struct eight_scales){ (v << 1 & 0x1e1e1e1e) | 0x01010101,
                                  (v >> 3 & 0x1e1e1e1e) | 0x01010101 };
}

INLINE vu one_scale(const struct eight_scales *e, int i)
{
    const uint8_t a = (uint8_t)(i / 2), b = (uint8_t)(4 + a), c = (uint8_t)(8 + a),
                  d = (uint8_t)(12 + a), z = 128;
    const uint8_t twice[16] = { a, z, a, z, b, z, b, z, c, z, c, z, d, z, d, z };
    return lookup(i % 2 ? e->odd : e->even, repeat16(twice));
}

/* ==== Signs and points ===================================================== */

/* The eighth sign of groups that store seven: in each byte the number of bits is even. */
INLINE vu even_signs(vu sevens)
{
    static const uint8_t odd[16] = { 0,   128, 128, 0,   128, 0,   0,   128,
                                     128, 0,   0,   128, 0,   128, 128, 0 };
    return sevens | lookup(repeat16(odd), low4(sevens ^ sevens >> 4));
}

/* Four times seven bits to a byte each: at first two and two in a half. */
INLINE vu four_sevens(vu word)
{
    const vu two = (vu)_mm256_blend_epi16((__m256i)word, (__m256i)(word << 2), 0xaa);
    const vu clean = two & 0x3fff3fff;
    return clean + (clean & 0x3f803f80);
}

/* Byte i of each lane. */
INLINE vu byte_of(vu v, int i)
{
    if (i == 0) return v & 255;
    if (i == 3) return v >> 24;
    const uint8_t a = (uint8_t)i, b = (uint8_t)(4 + a), c = (uint8_t)(8 + a),
                  d = (uint8_t)(12 + a), z = 128;
    const uint8_t own[16] = { a, z, z, z, b, z, z, z, c, z, z, z, d, z, z, z };
    return lookup(v, repeat16(own));
}

/* ==== Types ================================================================
 *
 * All by halves of 128 columns. */

/* Eight columns of IQ2.  The word of a point has their levels in halves of bytes, of
 * which the upper two bits are zero, as lookup() wants it. */
static const uint8_t magnitudes_iq2[16] = { 8, 25, 43 };

INLINE vi put_iq2(struct out *o, int at, const uint32_t *grid, vu index, vu signs, int g)
{
    const vu table = repeat16(magnitudes_iq2), word = gather(grid, index);
    return put_eight(o, at, lookup(table, word), lookup(table, word >> 4), signs, g,
                     BIAS_IQ2);
}

#define UNPACK(name)                                                                     \
    INLINE void unpack_##name(struct out *o, struct tile *w, struct rows *r)

/* 32 columns, number u: four indices; four sevens of signs and a scale. */
INLINE void unpack_32_iq2_xxs(struct out *o, struct tile *w, int u, vu index, vu word)
{
    const vu signs = even_signs(four_sevens(word)), times = top_scale(word);
    set_scales(w, u, times, times, BIAS_IQ2);
    LOOP for (int g = 0; g < 4; g++)
    {
        const vi part =
            put_iq2(o, 4 * u + g, grid_words.iq2_xxs, index >> 8 * g & 255, signs, g);
        o->sum = add_scaled(o->sum, part, times);
    }
}

UNPACK(iq2_xxs)
{
    vu head[4];
    peek(head, r, 0);
    w->min[0] = half(head[0]) * 0.125f;
    for (int h = 0; h < 2; h++) {
        LOOP for (int k = 0; k < 2; k++)
        {
            const int u = 4 * h + 2 * k;
            vu c[4];
            take(c, r, AT(iq2_xxs, qs) + 8 * (size_t)u);
            unpack_32_iq2_xxs(o, w, u, c[0], c[1]);
            unpack_32_iq2_xxs(o, w, u + 1, c[2], c[3]);
        }
    }
}

/* The same for four of 9 bits of index and 7 of signs, and two scales. */
INLINE void unpack_32_iq2_xs(struct out *o, struct tile *w, int u, vu a, vu b, vu s0,
                             vu s1)
{
    const vu index[4] = { a & 511, a >> 16 & 511, b & 511, b >> 16 & 511 };
    const vu times[2] = { s0, s1 };
    /* of groups 0, 2, 1, 3 */
    const vu signs = even_signs((a >> 9 & 0x007f007f) | (b >> 1 & 0x7f007f00));
    set_scales(w, u, s0, s1, BIAS_IQ2);
    LOOP for (int g = 0; g < 4; g++)
    {
        const vi part =
            put_iq2(o, 4 * u + g, grid_words.iq2_xs, index[g], signs, g / 2 + g % 2 * 2);
        o->sum = add_scaled(o->sum, part, times[g / 2]);
    }
}

UNPACK(iq2_xs)
{
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_xs)); /* the last two: scales */
    w->min[0] = half(head[0]) * 0.125f;
    for (int h = 0; h < 2; h++) {
        const struct eight_scales e = eight_scales(tail[2 + h]);
        LOOP for (int k = 0; k < 2; k++)
        {
            const int u = 4 * h + 2 * k;
            vu c[4];
            take(c, r, AT(iq2_xs, qs) + 8 * (size_t)u);
            unpack_32_iq2_xs(o, w, u, c[0], c[1], one_scale(&e, 4 * k),
                             one_scale(&e, 4 * k + 1));
            unpack_32_iq2_xs(o, w, u + 1, c[2], c[3], one_scale(&e, 4 * k + 2),
                             one_scale(&e, 4 * k + 3));
        }
    }
}

UNPACK(iq2_s)
{
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_s)); /* upper bits of indices, two columns; scales, two */
    w->min[0] = half(head[0]) * 0.125f;
    for (int h = 0; h < 2; h++) {
        const struct eight_scales e = eight_scales(tail[2 + h]);
        const vu high = tail[h];
        vu c[4], signs[4];
        take(c, r, AT(iq2_s, qs) + 16 * (size_t)h);
        take(signs, r, AT(iq2_s, signs) + 16 * (size_t)h);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 4 * h + i;
            const vu times[2] = { one_scale(&e, 2 * i), one_scale(&e, 2 * i + 1) };
            set_scales(w, u, times[0], times[1], BIAS_IQ2);
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu index = byte_of(c[i], g) | move_bits(high, 8 * i + 2 * g, 8, 3);
                const vi part =
                    put_iq2(o, 4 * u + g, grid_words.iq2_s, index, signs[i], g);
                o->sum = add_scaled(o->sum, part, times[g / 2]);
            }
        }
    }
}

UNPACK(iq3_xxs)
{
    const uint32_t *grid = grid_words.points_iq3_xxs;
    vu head[4];
    peek(head, r, 0);
    w->min[0] = half(head[0]) * 0.25f;
    for (int h = 0; h < 2; h++) {
        vu c[8], words[4]; /* indices of 32 groups of 4 */
        take(c, r, AT(iq3_xxs, qs) + 32 * (size_t)h);
        take(words, r, AT(iq3_xxs, signs) + 16 * (size_t)h);
        take(c + 4, r, AT(iq3_xxs, qs) + 32 * (size_t)h + 16);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 4 * h + i;
            const vu signs = even_signs(four_sevens(words[i])),
                     times = top_scale(words[i]);
            set_scales(w, u, times, times, BIAS_IQ3_XXS);
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu two = c[2 * i + g / 2] >> 16 * (g % 2);
                const vi part =
                    put_eight(o, 4 * u + g, gather(grid, two & 255),
                              gather(grid, two >> 8 & 255), signs, g, BIAS_IQ3_XXS);
                o->sum = add_scaled(o->sum, part, times);
            }
        }
    }
}

UNPACK(iq3_s)
{
    const uint32_t *grid = grid_words.points_iq3_s;
    vu head[4], high[4], tail[4];
    peek(head, r, 0);
    peek(high, r, AT(iq3_s, qh));
    peek(tail, r, TAIL(iq3_s)); /* the last: scales */
    w->min[0] = half(head[0]);
    for (int h = 0; h < 2; h++) {
        const struct eight_scales e = eight_scales(tail[3] >> 16 * h);
        const vu ninth = high[h];
        vu c[8], signs[4]; /* lower bits of the indices of 32 groups of 4 */
        take(c, r, AT(iq3_s, qs) + 32 * (size_t)h);
        take(signs, r, AT(iq3_s, signs) + 16 * (size_t)h);
        take(c + 4, r, AT(iq3_s, qs) + 32 * (size_t)h + 16);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 4 * h + i;
            const vu times = one_scale(&e, i);
            vi sum = { 0 };
            set_scales(w, u, times, times, BIAS_IQ3_S);
            LOOP for (int g = 0; g < 4; g++)
            {
                const int bit = 8 * i + 2 * g;
                const vu two = c[2 * i + g / 2] >> 16 * (g % 2);
                const vu first = (two & 255) | move_bits(ninth, bit, 8, 1);
                const vu second = (two >> 8 & 255) | move_bits(ninth, bit + 1, 8, 1);
                const vi part = put_eight(o, 4 * u + g, gather(grid, first),
                                          gather(grid, second), signs[i], g, BIAS_IQ3_S);
                sum = (vi)_mm256_add_epi16((__m256i)sum, (__m256i)part);
            }
            o->sum = add_scaled(o->sum, sum, times);
        }
    }
}

/* ==== Kernels ============================================================== */

INLINE vf add_whole(vf y, vi sum, const struct tile *w, const struct act_block *x)
{
    return madd(to_float(sum) * w->min[0], splat_float(x->d[0]), y);
}

/* acc[t] += a super-block, for T tokens. */
INLINE void whole_block(vf acc[], const struct tile *w, const void *x, size_t x_stride,
                        struct ask ask, const int T, const struct shape s)
{
    vi sum[MAX_TOKENS];
    LOOP for (int t = 0; t < T; t++) sum[t] = (vi){ 0 };
    for (int u = 0; u < ACT_BLOCK / 32; u++) {
        ask_for(ask, u, ACT_BLOCK / 32);
        LOOP for (int t = 0; t < T; t++) sum[t] =
            pairs(sum[t], w->pair[u], token(x, x_stride, t)->sum + 2 * u);
        LOOP for (int k = 0; k < 8; k += s.chunk)
        {
            const vu times = times_of(w, 2 * u + k / 4);
            LOOP for (int t = 0; t < T; t++)
            {
                const int8_t *q = token(x, x_stride, t)->q + 32 * u + 4 * k;
                vi part = { 0 };
                LOOP for (int i = 0; i < s.chunk; i++) part =
                    dot_step(part, w->code[8 * u + k + i], q + 4 * i);
                sum[t] = add_scaled(sum[t], part, times);
            }
        }
    }
    LOOP for (int t = 0; t < T; t++) acc[t] =
        add_whole(acc[t], sum[t], w, token(x, x_stride, t));
}

#define WHOLE_BLOCK whole_block(acc, w, x, x_stride, ask, T, s)

/* Steps that 16 bits have room for: 4 * 30 * 2 * 127, or 124 * 2 * 127. */
PRODUCT(product_coarse, WHOLE_BLOCK, .chunk = 1)
PRODUCT(product_fine, WHOLE_BLOCK, .chunk = 4)

#define GRID_FNS(name, product)                                                          \
    static void tile_##name(struct tile *w, struct rows r, int blocks)                   \
    {                                                                                    \
        struct out o = { .code = w->code };                                              \
        r.quiet = true;                                                                  \
        (void)blocks;                                                                    \
        unpack_##name(&o, w, &r);                                                        \
    }                                                                                    \
    ONE(name)                                                                            \
    {                                                                                    \
        struct out o = { .x = x->q, .fused = true };                                     \
        struct tile w;                                                                   \
        (void)blocks;                                                                    \
        unpack_##name(&o, &w, &r);                                                       \
        return add_whole(y, o.sum, &w, x);                                               \
    }                                                                                    \
    SINGLE(name, sizeof(struct block_##name))                                            \
    KERNEL(name, product, single_##name, QK_K)

GRID_FNS(iq2_xxs, product_coarse)
GRID_FNS(iq2_xs, product_coarse)
GRID_FNS(iq2_s, product_coarse)
GRID_FNS(iq3_xxs, product_coarse)
GRID_FNS(iq3_s, product_fine)

mul_fn mul_grid_avx2(uint32_t type)
{
    switch (type) {
    case GGF_IQ2_XXS: return mul_iq2_xxs;
    case GGF_IQ2_XS: return mul_iq2_xs;
    case GGF_IQ2_S: return mul_iq2_s;
    case GGF_IQ3_XXS: return mul_iq3_xxs;
    case GGF_IQ3_S: return mul_iq3_s;
    default: return NULL;
    }
}
