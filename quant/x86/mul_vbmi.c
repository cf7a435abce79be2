/* mul_vbmi.c - products of the types on a grid with encoded activations: 16 rows at a
 * time, the grids looked up in registers instead of gathered from memory.
 *
 * A byte that comes out of a table holds the levels of several coordinates.  Taken by the
 * same shift from all bytes, the codes of a lane are of every fourth column; so the
 * activations are put into that order too, by transposing each 16 as a square of 4 by 4.
 * Sums within a group are exact, so the order changes no bit of a result.
 *
 * IQ2_S stays with gathers: the 1024 points of its grid take too many tables.
 *
 * VPERMB and VPERMI2B look at no more bits of an index than the table needs, which spares
 * most of the masking. */
#include "../../libgguf/libgguf.h"
#include "../grid_bytes.h"
#include "mul_tables.h"
#include "tile_lanes_avx512.h"

#include "../tile.h"

/* ==== Lookups ============================================================== */

INLINE __m512i load64(const uint8_t *p) { return _mm512_load_si512((const void *)p); }

/* By the lower six bits of each byte, and seven. */
INLINE vu lookup64(const uint8_t *table, vu i)
{
    return (vu)_mm512_permutexvar_epi8((__m512i)i, load64(table));
}

INLINE vu lookup128(const uint8_t *table, vu i)
{
    return (vu)_mm512_permutex2var_epi8(load64(table), (__m512i)i, load64(table + 64));
}

/* By eight bits, and nine; a mask for each bit from the seventh on. */
INLINE vu lookup256(const uint8_t *table, vu i, const __mmask64 *bit)
{
    return (vu)_mm512_mask_blend_epi8(bit[0], (__m512i)lookup128(table, i),
                                      (__m512i)lookup128(table + 128, i));
}

INLINE vu lookup512(const uint8_t *table, vu i, const __mmask64 *bit)
{
    return (vu)_mm512_mask_blend_epi8(bit[1], (__m512i)lookup256(table, i, bit),
                                      (__m512i)lookup256(table + 256, i, bit));
}

INLINE __mmask64 top_bits(vu v) { return _mm512_movepi8_mask((__m512i)v); }
INLINE __mmask64 test_bits(vu v, uint32_t mask)
{
    return _mm512_test_epi8_mask((__m512i)v, _mm512_set1_epi32((int)mask));
}

/* Bytes a, b, c, d of each lane. */
INLINE vu reorder(vu v, int a, int b, int c, int d)
{
    const __m128i by = _mm_setr_epi8(
        (char)a, (char)b, (char)c, (char)d, (char)(a + 4), (char)(b + 4), (char)(c + 4),
        (char)(d + 4), (char)(a + 8), (char)(b + 8), (char)(c + 8), (char)(d + 8),
        (char)(a + 12), (char)(b + 12), (char)(c + 12), (char)(d + 12));
    return (vu)_mm512_shuffle_epi8((__m512i)v, _mm512_broadcast_i32x4(by));
}

/* In each lane, the eight bits from a on, from b on, ... */
INLINE vu eight_bits(vu v, int a, int b, int c, int d)
{
    const uint32_t low = (uint32_t)(a | b << 8 | c << 16 | d << 24);
    const uint64_t both = low | (uint64_t)(low + 0x20202020) << 32;
    return (vu)_mm512_multishift_epi64_epi8(_mm512_set1_epi64((int64_t)both), (__m512i)v);
}

/* `a` where the mask is set, else `b`. */
INLINE vu merge(vu a, vu b, uint32_t mask)
{
    return (vu)_mm512_ternarylogic_epi32(_mm512_set1_epi32((int)mask), (__m512i)a,
                                         (__m512i)b, 0xca);
}

/* ==== Groups ===============================================================
 *
 * Signs of 16 columns are the lower halves of a lane's bytes, four neighbours in each. */

/* 16 columns, number q of the block, four levels in each byte. */
INLINE void put_iq2(struct sink *s, int q, vu level, vu sign)
{
    const vu low = merge(level, sign << 4, 0x0f0f0f0f);
    const vu high = merge(level >> 4, sign << 2, 0x0f0f0f0f);
    put(s, 4 * q, lookup64(grid_bytes.codes_iq2[0], low));
    put(s, 4 * q + 1, lookup64(grid_bytes.codes_iq2[1], low));
    put(s, 4 * q + 2, lookup64(grid_bytes.codes_iq2[0], high));
    put(s, 4 * q + 3, lookup64(grid_bytes.codes_iq2[1], high));
}

/* The same with two levels in each byte of `first` and two in those of `second`. */
INLINE void put_iq3(struct sink *s, uint8_t codes[4][64], int q, vu first, vu second,
                    vu sign)
{
    put(s, 4 * q, lookup64(codes[0], merge(first, sign << 3, 0x07070707)));
    put(s, 4 * q + 1, lookup64(codes[1], merge(first, sign, 0x38383838)));
    put(s, 4 * q + 2, lookup64(codes[2], merge(second, sign << 3, 0x07070707)));
    put(s, 4 * q + 3, lookup64(codes[3], merge(second, sign >> 1, 0x38383838)));
}

/* Four times seven stored signs. */
INLINE vu signs_of_sevens(vu word)
{
    return lookup128(grid_bytes.signs, eight_bits(word, 0, 7, 14, 21));
}

/* ==== Types ================================================================
 *
 * First all lookups of a block, then all products: what waits for the products of a group
 * would keep those of the next from starting. */

/* A block's levels and signs, as put_iq2() and put_iq3() take them. */
struct levels {
    vu first[16], second[16], signs[16];
};

/* 32 columns, number u of the block: levels of coordinates 0..3 and 4..7 of four groups
 * of eight, in the order 0, 2, 1, 3; their signs in the order itself. */
INLINE void set_iq2(struct levels *l, int u, vu low, vu high, vu signs)
{
    l->first[2 * u] = merge(low, high << 8, 0x00ff00ff);
    l->first[2 * u + 1] = merge(low >> 8, high, 0x00ff00ff);
    l->signs[2 * u] = eight_bits(signs, 0, 4, 8, 12);
    l->signs[2 * u + 1] = eight_bits(signs, 16, 20, 24, 28);
}

/* 16 columns, number q, of four groups of four; the signs of all 32. */
INLINE void set_iq3(struct levels *l, int q, vu first, vu second, vu signs)
{
    l->first[q] = first;
    l->second[q] = second;
    l->signs[q] =
        q % 2 ? eight_bits(signs, 16, 20, 24, 28) : eight_bits(signs, 0, 4, 8, 12);
}

INLINE void put_all_iq2(struct sink *s, const struct levels *l)
{
    LOOP for (int q = 0; q < 16; q++) put_iq2(s, q, l->first[q], l->signs[q]);
}

INLINE void put_all_iq3(struct sink *s, uint8_t codes[4][64], const struct levels *l)
{
    LOOP for (int q = 0; q < 16; q++)
        put_iq3(s, codes, q, l->first[q], l->second[q], l->signs[q]);
}

SUPER(iq2_xxs)
{
    struct levels l;
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]);
    w->offset = offset_of(128);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* twice: four indices; four sevens of signs and a scale */
        take(c, r, AT(iq2_xxs, qs) + 16 * h);
        LOOP for (int i = 0; i < 2; i++)
        {
            const vu index = reorder(c[2 * i], 0, 2, 1, 3), word = c[2 * i + 1];
            const __mmask64 bits[] = { top_bits(index) };
            w->scale[2 * h + i] = half_steps(d, word >> 28, 0.25f);
            set_iq2(&l, 2 * h + i, lookup256(grid_bytes.iq2_xxs[0], index, bits),
                    lookup256(grid_bytes.iq2_xxs[1], index, bits), signs_of_sevens(word));
        }
    }
    put_all_iq2(s, &l);
}

SUPER(iq2_xs)
{
    struct levels l;
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_xs)); /* the last two: scales */
    w->offset = offset_of(128);
    scales_of_16(w, half(head[0]), tail + 2);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* twice: 9 bits of index, 7 of signs */
        take(c, r, AT(iq2_xs, qs) + 16 * h);
        LOOP for (int i = 0; i < 2; i++)
        {
            const vu index = merge(c[2 * i], c[2 * i + 1] << 8, 0x00ff00ff);
            const vu rest = merge(c[2 * i] >> 8, c[2 * i + 1], 0x00ff00ff);
            const __mmask64 bits[] = { top_bits(index), test_bits(rest, 0x01010101) };
            const vu signs = lookup128(grid_bytes.signs, rest >> 1);
            set_iq2(&l, 2 * h + i, lookup512(grid_bytes.iq2_xs[0], index, bits),
                    lookup512(grid_bytes.iq2_xs[1], index, bits),
                    reorder(signs, 0, 2, 1, 3));
        }
    }
    put_all_iq2(s, &l);
}

SUPER(iq3_xxs)
{
    struct levels l;
    vu head[4], words[4];
    peek(head, r, 0);
    const vf d = half(head[0]);
    w->offset = offset_of(128);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* indices of 16 groups of 4 */
        take(c, r, AT(iq3_xxs, qs) + 16 * h);
        if (h % 2 == 0) take(words, r, AT(iq3_xxs, signs) + 8 * h);
        LOOP for (int i = 0; i < 4; i++)
        {
            /* cppcheck-suppress uninitvar; filled when h is even */
            const vu word = words[h % 2 * 2 + i / 2];
            const __mmask64 bits[] = { top_bits(c[i]) };
            w->scale[2 * h + i / 2] = half_steps(d, word >> 28, 0.5f);
            set_iq3(&l, 4 * h + i, lookup256(grid_bytes.iq3_xxs[0], c[i], bits),
                    lookup256(grid_bytes.iq3_xxs[1], c[i], bits), signs_of_sevens(word));
        }
    }
    put_all_iq3(s, grid_bytes.codes_iq3_xxs, &l);
}

SUPER(iq3_s)
{
    struct levels l;
    vu head[4], high[4], tail[4], signs[4];
    peek(head, r, 0);
    peek(high, r, AT(iq3_s, qh));
    peek(tail, r, TAIL(iq3_s)); /* the last: scales */
    const vf d = half(head[0]);
    w->offset = offset_of(128);
    LOOP for (int j = 0; j < 8; j++) w->scale[j] =
        d * (to_float((vi)(tail[3] >> 4 * j & 15)) * 2.0f + 1.0f);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* lower bits of the indices of 16 groups of 4 */
        take(c, r, AT(iq3_s, qs) + 16 * h);
        if (h % 2 == 0) take(signs, r, AT(iq3_s, signs) + 8 * h);
        LOOP for (int i = 0; i < 4; i++)
        {
            const int u = 2 * h + i / 2, byte = u % 4; /* 32 columns have a byte */
            const vu ninth = reorder(high[h / 2], byte, byte, byte, byte);
            const __mmask64 bits[] = {
                top_bits(c[i]), test_bits(ninth, i % 2 ? 0x80402010 : 0x08040201)
            };
            set_iq3(&l, 4 * h + i, lookup512(grid_bytes.iq3_s[0], c[i], bits),
                    lookup512(grid_bytes.iq3_s[1], c[i], bits),
                    /* cppcheck-suppress uninitvar; filled when h is even */
                    signs[u % 4]);
        }
    }
    put_all_iq3(s, grid_bytes.codes_iq3_s, &l);
}

/* ==== Kernels ============================================================== */

/* Activations with each 16 codes transposed as 4 by 4. */
INLINE void transpose(struct act_block *to, const struct act_block *x)
{
    const __m512i order = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    LOOP for (int i = 0; i < ACT_BLOCK; i += 64)
    {
        const __m512i q = _mm512_loadu_si512((const void *)(x->q + i));
        _mm512_storeu_si512((void *)(to->q + i), _mm512_shuffle_epi8(q, order));
    }
    memcpy(to->sum, x->sum, sizeof to->sum);
    memcpy(to->d, x->d, sizeof to->d);
}

#define TRANSPOSED_PRODUCT(name, ...)                                                    \
    PRODUCT(columns_##name, SUPER_BLOCK, __VA_ARGS__)                                    \
    static void name(vf *acc, const struct tile *w, const void *x, size_t x_stride,      \
                     size_t tokens, int blocks, struct ask ask)                          \
    {                                                                                    \
        struct act_block few[MAX_TOKENS];                                                \
        for (size_t t = 0; t < tokens; t += MAX_TOKENS) {                                \
            const size_t n = tokens - t < MAX_TOKENS ? tokens - t : MAX_TOKENS;          \
            for (size_t i = 0; i < n; i++)                                               \
                transpose(few + i, token(x, x_stride, (int)(t + i)));                    \
            columns_##name(acc + t, w, few, sizeof *few, n, blocks, ask);                \
            ask.bytes = 0;                                                               \
        }                                                                                \
    }

#define GRID_FNS(name, product, ...)                                                     \
    SUPER_TILE(name)                                                                     \
    TILE(name)                                                                           \
    SUPER_ONE(name, __VA_ARGS__)                                                         \
    ONE(transposed_##name)                                                               \
    {                                                                                    \
        struct act_block one;                                                            \
        transpose(&one, x);                                                              \
        return one_##name(y, r, &one, blocks);                                           \
    }                                                                                    \
    SINGLE(transposed_##name, sizeof(struct block_##name))                               \
    KERNEL(name, product, single_transposed_##name, QK_K)

TRANSPOSED_PRODUCT(product_k16, K16_GRID)
TRANSPOSED_PRODUCT(product_k32, K32_GRID)

GRID_FNS(iq2_xxs, product_k32, K32_GRID)
GRID_FNS(iq2_xs, product_k16, K16_GRID)
GRID_FNS(iq3_xxs, product_k32, K32_GRID)
GRID_FNS(iq3_s, product_k32, K32_GRID)

mul_fn mul_tile_vbmi(uint32_t type)
{
    switch (type) {
    case GGF_IQ2_XXS: return mul_iq2_xxs;
    case GGF_IQ2_XS: return mul_iq2_xs;
    case GGF_IQ3_XXS: return mul_iq3_xxs;
    case GGF_IQ3_S: return mul_iq3_s;
    default: return NULL;
    }
}
