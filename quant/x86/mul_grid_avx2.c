/* mul_grid_avx2.c - products of the types on a grid with encoded activations: 8 rows at a
 * time.
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

/* Where they go: sums of one token's products, of the group and of those before it; or a
 * tile. */
struct out {
    const int8_t *x;
    vi sum;
    vf total;
    vu *code;
    bool fused; /* into the sums */
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

/* The group's sum += sums of 16 bits. */
INLINE void add_part(struct out *o, vi part)
{
    o->sum = dot_end(o->sum, part);
    __asm__(""
            : "+x"(o->sum)); /* now: or the compiler keeps all parts for a tree of sums */
}

/* Group j is complete. */
INLINE void end_group(struct out *o, struct tile *w, int j, vf scale)
{
    w->scale[j] = scale;
    o->total = madd(to_float(o->sum), scale, o->total);
    o->sum = (vi){ 0 };
}

/* ==== Scales ===============================================================
 *
 * A stored s means 2 s + 1 times something, which d is multiplied with first: all this is
 * exact. */

INLINE vf scale_of(vf d, vu odd) { return d * to_float((vi)odd); }

/* 2 s + 1 for the four bits at the top. */
INLINE vu top_scale(vu word) { return (word >> 27 & 0x1e) | 1; }

/* The same for all eight of a column, and one of these: a byte has two. */
struct eight_scales {
    vu even, odd;
};

INLINE struct eight_scales eight_scales(vu v)
{
    return (struct eight_scales){ (v << 1 & 0x1e1e1e1e) | 0x01010101,
                                  (v >> 3 & 0x1e1e1e1e) | 0x01010101 };
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

INLINE vu one_scale(const struct eight_scales *e, int i)
{
    return byte_of(i % 2 ? e->odd : e->even, i / 2);
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
INLINE void unpack_32_iq2_xxs(struct out *o, struct tile *w, vf d, int u, vu index,
                              vu word)
{
    const vu signs = even_signs(four_sevens(word));
    LOOP for (int g = 0; g < 4; g++) add_part(
        o, put_iq2(o, 4 * u + g, grid_words.iq2_xxs, index >> 8 * g & 255, signs, g));
    end_group(o, w, u, scale_of(d, top_scale(word)));
}

UNPACK(iq2_xxs)
{
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]) * 0.125f;
    w->offset = offset_of(BIAS_IQ2);
    for (int h = 0; h < 2; h++) {
        LOOP for (int k = 0; k < 2; k++)
        {
            const int u = 4 * h + 2 * k;
            vu c[4];
            take(c, r, AT(iq2_xxs, qs) + 8 * (size_t)u);
            unpack_32_iq2_xxs(o, w, d, u, c[0], c[1]);
            unpack_32_iq2_xxs(o, w, d, u + 1, c[2], c[3]);
        }
    }
}

/* The same for four of 9 bits of index and 7 of signs, and two scales. */
INLINE void unpack_32_iq2_xs(struct out *o, struct tile *w, int u, vu a, vu b, vf s0,
                             vf s1)
{
    const vu index[4] = { a & 511, a >> 16 & 511, b & 511, b >> 16 & 511 };
    /* of groups 0, 2, 1, 3 */
    const vu signs = even_signs((a >> 9 & 0x007f007f) | (b >> 1 & 0x7f007f00));
    LOOP for (int g = 0; g < 4; g++)
    {
        add_part(o, put_iq2(o, 4 * u + g, grid_words.iq2_xs, index[g], signs,
                            g / 2 + g % 2 * 2));
        if (g % 2) end_group(o, w, 2 * u + g / 2, g / 2 ? s1 : s0);
    }
}

UNPACK(iq2_xs)
{
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_xs)); /* the last two: scales */
    const vf d = half(head[0]) * 0.125f;
    w->offset = offset_of(BIAS_IQ2);
    for (int h = 0; h < 2; h++) {
        const struct eight_scales e = eight_scales(tail[2 + h]);
        LOOP for (int k = 0; k < 2; k++)
        {
            const int u = 4 * h + 2 * k;
            vu c[4];
            take(c, r, AT(iq2_xs, qs) + 8 * (size_t)u);
            unpack_32_iq2_xs(o, w, u, c[0], c[1], scale_of(d, one_scale(&e, 4 * k)),
                             scale_of(d, one_scale(&e, 4 * k + 1)));
            unpack_32_iq2_xs(o, w, u + 1, c[2], c[3],
                             scale_of(d, one_scale(&e, 4 * k + 2)),
                             scale_of(d, one_scale(&e, 4 * k + 3)));
        }
    }
}

UNPACK(iq2_s)
{
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_s)); /* upper bits of indices, two columns; scales, two */
    const vf d = half(head[0]) * 0.125f;
    w->offset = offset_of(BIAS_IQ2);
    for (int h = 0; h < 2; h++) {
        const struct eight_scales e = eight_scales(tail[2 + h]);
        const vu high = tail[h];
        vu c[4], signs[4];
        take(c, r, AT(iq2_s, qs) + 16 * (size_t)h);
        take(signs, r, AT(iq2_s, signs) + 16 * (size_t)h);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 4 * h + i;
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu index = byte_of(c[i], g) | move_bits(high, 8 * i + 2 * g, 8, 3);
                add_part(o, put_iq2(o, 4 * u + g, grid_words.iq2_s, index, signs[i], g));
                if (g % 2)
                    end_group(o, w, 2 * u + g / 2,
                              scale_of(d, one_scale(&e, 2 * i + g / 2)));
            }
        }
    }
}

UNPACK(iq3_xxs)
{
    const uint32_t *grid = grid_words.points_iq3_xxs;
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]) * 0.25f;
    w->offset = offset_of(BIAS_IQ3_XXS);
    for (int h = 0; h < 2; h++) {
        vu c[8], words[4]; /* indices of 32 groups of 4 */
        take(c, r, AT(iq3_xxs, qs) + 32 * (size_t)h);
        take(words, r, AT(iq3_xxs, signs) + 16 * (size_t)h);
        take(c + 4, r, AT(iq3_xxs, qs) + 32 * (size_t)h + 16);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 4 * h + i;
            const vu signs = even_signs(four_sevens(words[i]));
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu two = c[2 * i + g / 2] >> 16 * (g % 2);
                add_part(o,
                         put_eight(o, 4 * u + g, gather(grid, two & 255),
                                   gather(grid, two >> 8 & 255), signs, g, BIAS_IQ3_XXS));
            }
            end_group(o, w, u, scale_of(d, top_scale(words[i])));
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
    const vf d = half(head[0]);
    w->offset = offset_of(BIAS_IQ3_S);
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
            vi sum = { 0 };
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
            add_part(o, sum);
            end_group(o, w, u, scale_of(d, one_scale(&e, i)));
        }
    }
}

/* ==== Kernels ============================================================== */

/* Steps that 16 bits have room for: 4 * 30 * 2 * 127, or 124 * 2 * 127. */
PRODUCT(product_coarse, SUPER_BLOCK, .group = 32, .chunk = 1, .has_offset = true)
PRODUCT(product_coarse_16, SUPER_BLOCK, .group = 16, .chunk = 1, .has_offset = true)
PRODUCT(product_fine, SUPER_BLOCK, .group = 32, .chunk = 4, .has_offset = true)

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
        return madd(o.total, splat_float(x->d[0]), y);                                   \
    }                                                                                    \
    SINGLE(name, sizeof(struct block_##name))                                            \
    KERNEL(name, product, single_##name, QK_K)

GRID_FNS(iq2_xxs, product_coarse)
GRID_FNS(iq2_xs, product_coarse_16)
GRID_FNS(iq2_s, product_coarse_16)
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
