/* tile_grid.h - a part of tile.h: the types on a grid, from bytes to codes and scales.
 *
 * Eight neighbours of a row come as a word of grid_words.h, a row in each lane.  Their
 * signs go into its free bits; then a table of 16 makes codes of levels with signs. */

/* What is added to codes where products want them unsigned: the least that will do, so
 * that two products fit in 16 bits. */
enum {
    BIAS_IQ2 = SIGNED_GRIDS ? 0 : 43,
    BIAS_IQ3_XXS = SIGNED_GRIDS ? 0 : 62,
    BIAS_IQ3_S = SIGNED_GRIDS ? 0 : 15
};

/* Magnitudes by level, then the same negated: grids.h has the formulas. */
#define PLUS_MINUS(b, m0, m1, m2, m3, m4, m5, m6, m7)                                    \
    {                                                                                    \
        b + m0, b + m1, b + m2, b + m3, b + m4, b + m5, b + m6, b + m7, b - m0, b - m1,  \
            b - m2, b - m3, b - m4, b - m5, b - m6, b - m7                               \
    }
static const int8_t codes_iq2[16] = PLUS_MINUS(BIAS_IQ2, 8, 25, 43, 0, 0, 0, 0, 0);
static const int8_t codes_iq3_xxs[16] =
    PLUS_MINUS(BIAS_IQ3_XXS, 4, 12, 20, 28, 36, 44, 52, 62);
static const int8_t codes_iq3_s[16] = PLUS_MINUS(BIAS_IQ3_S, 1, 3, 5, 7, 9, 11, 13, 15);

/* The signs in byte `at` of each lane to the free bits of a word's coordinates.  Of eight
 * bits, byte k keeps those of its own two coordinates, k and 4 + k; adding what is
 * missing to 8 then sets the fourth bit of a half where the bit was set. */
INLINE vu sign_bits(vu signs, int at)
{
    const uint8_t a = (uint8_t)at, b = (uint8_t)(4 + at), c = (uint8_t)(8 + at),
                  d = (uint8_t)(12 + at);
    const uint8_t four[16] = { a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d };
    const vu own = lookup(signs, repeat16(four)) & 0x88442211;
    return (own + 0x00446677) & 0x88888888;
}

/* The eighth sign of groups that store seven: in each byte the number of bits is even. */
INLINE vu even_signs(vu sevens)
{
    static const uint8_t odd[16] = { 0,   128, 128, 0,   128, 0,   0,   128,
                                     128, 0,   0,   128, 0,   128, 128, 0 };
    const vu table = repeat16(odd);
    return sevens | (lookup(table, low4(sevens)) ^ lookup(table, high4(sevens)));
}

/* Four times seven bits to a byte each. */
INLINE vu four_sevens(vu w)
{
    return (w & 0x7f) | (w << 1 & 0x7f00) | (w << 2 & 0x7f0000) | (w << 3 & 0x7f000000);
}

/* Group g of 8 weights; its signs are in byte `at`. */
INLINE void put_signed(struct sink *s, int g, vu table, vu word, vu signs, int at)
{
    word |= sign_bits(signs, at);
    put(s, 2 * g, lookup(table, low4(word)));
    put(s, 2 * g + 1, lookup(table, high4(word)));
}

/* Two groups of 4 weights in one word. */
INLINE vu gather_two(const uint32_t *grid, vu first, vu second)
{
    return gather(grid, first) | gather(grid, second) << 4;
}

SUPER(iq2_xxs)
{
    const vu table = repeat16(codes_iq2);
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]);
    w->offset = offset_of(BIAS_IQ2);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* twice: four indices; four sevens of signs and a scale */
        take(c, r, AT(iq2_xxs, qs) + 16 * h);
        LOOP for (int i = 0; i < 2; i++)
        {
            const vu index = c[2 * i], signs = even_signs(four_sevens(c[2 * i + 1]));
            w->scale[2 * h + i] = half_steps(d, c[2 * i + 1] >> 28, 0.25f);
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu word = gather(grid_words.iq2_xxs, index >> 8 * g & 255);
                put_signed(s, 8 * h + 4 * i + g, table, word, signs, g);
            }
        }
    }
}

SUPER(iq2_xs)
{
    const vu table = repeat16(codes_iq2);
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_xs)); /* the last two: scales */
    w->offset = offset_of(BIAS_IQ2);
    scales_of_16(w, half(head[0]), tail + 2);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* twice: 9 bits of index, 7 of signs */
        take(c, r, AT(iq2_xs, qs) + 16 * h);
        LOOP for (int i = 0; i < 4; i++)
        {
            const vu signs = even_signs(c[i] >> 9 & 0x007f007f);
            const vu first = gather(grid_words.iq2_xs, c[i] & 511);
            const vu second = gather(grid_words.iq2_xs, c[i] >> 16 & 511);
            put_signed(s, 8 * h + 2 * i, table, first, signs, 0);
            put_signed(s, 8 * h + 2 * i + 1, table, second, signs, 2);
        }
    }
}

SUPER(iq2_s)
{
    const vu table = repeat16(codes_iq2);
    vu head[4], tail[4];
    peek(head, r, 0);
    peek(tail, r, TAIL(iq2_s)); /* upper bits of indices, two columns; scales, two */
    w->offset = offset_of(BIAS_IQ2);
    scales_of_16(w, half(head[0]), tail + 2);
    LOOP for (int h = 0; h < 2; h++)
    {
        vu c[4], signs[4];
        take(c, r, AT(iq2_s, qs) + 16 * h);
        take(signs, r, AT(iq2_s, signs) + 16 * h);
        LOOP for (int i = 0; i < 4; i++) LOOP for (int g = 0; g < 4; g++)
        {
            const vu high = tail[h] >> (8 * i + 2 * g) & 3;
            const vu word = gather(grid_words.iq2_s, (c[i] >> 8 * g & 255) | high << 8);
            put_signed(s, 16 * h + 4 * i + g, table, word, signs[i], g);
        }
    }
}

SUPER(iq3_xxs)
{
    const vu table = repeat16(codes_iq3_xxs);
    vu head[4], words[4];
    peek(head, r, 0);
    const vf d = half(head[0]);
    w->offset = offset_of(BIAS_IQ3_XXS);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* indices of 16 groups of 4 */
        take(c, r, AT(iq3_xxs, qs) + 16 * h);
        if (h % 2 == 0) take(words, r, AT(iq3_xxs, signs) + 8 * h);
        LOOP for (int i = 0; i < 2; i++)
        {
            /* cppcheck-suppress uninitvar; filled when h is even */
            const vu word = words[h % 2 * 2 + i], signs = even_signs(four_sevens(word));
            w->scale[2 * h + i] = half_steps(d, word >> 28, 0.5f);
            LOOP for (int g = 0; g < 4; g++)
            {
                const vu two = c[2 * i + g / 2] >> 16 * (g % 2);
                put_signed(s, 8 * h + 4 * i + g, table,
                           gather_two(grid_words.iq3_xxs, two & 255, two >> 8 & 255),
                           signs, g);
            }
        }
    }
}

SUPER(iq3_s)
{
    const vu table = repeat16(codes_iq3_s);
    vu head[4], high[4], tail[4], signs[4];
    peek(head, r, 0);
    peek(high, r, AT(iq3_s, qh));
    peek(tail, r, TAIL(iq3_s)); /* the last: scales */
    const vf d = half(head[0]);
    w->offset = offset_of(BIAS_IQ3_S);
    LOOP for (int j = 0; j < 8; j++) w->scale[j] =
        d * (to_float((vi)(tail[3] >> 4 * j & 15)) * 2.0f + 1.0f);
    LOOP for (int h = 0; h < 4; h++)
    {
        vu c[4]; /* lower bits of the indices of 16 groups of 4 */
        take(c, r, AT(iq3_s, qs) + 16 * h);
        if (h % 2 == 0) take(signs, r, AT(iq3_s, signs) + 8 * h);
        LOOP for (int g = 0; g < 8; g++)
        {
            const vu two = c[g / 2] >> 16 * (g % 2);
            const vu bits = high[h / 2] >> (16 * (h % 2) + 2 * g);
            const vu word = gather_two(grid_words.iq3_s, (two & 255) | (bits & 1) << 8,
                                       (two >> 8 & 255) | (bits & 2) << 7);
            put_signed(s, 8 * h + g, table, word,
                       /* cppcheck-suppress uninitvar; filled when h is even */
                       signs[h % 2 * 2 + g / 4], g % 4);
        }
    }
}
