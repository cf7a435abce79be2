/* tile_unpack.h - a part of tile.h: the stored types, from bytes to codes and scales.
 *
 * Written on vectors of 32-bit columns, one row in each lane, so that all is shifting and
 * masking whatever the width; decode_*.c say what the fields mean. */

/* Where a tile's rows are: their bytes from here on, `stride` apart, and those of the
 * next tile.  Rows are too many streams, and too short, for the hardware to see ahead, so
 * every take() asks for some of the next tile.  It does so twice: what is FAR behind that
 * comes to L2, since a core has few slots for lines on their way from memory and drops
 * what it is asked for when all are taken; the second time finds it near or asks again.
 * Where products with many tokens follow, which leave memory idle, those ask (struct
 * ask).
 */
struct rows {
    const uint8_t *p, *next;
    size_t stride;
    bool quiet; /* take() does not ask */
};

#define AT(name, field) offsetof(struct block_##name, field)

/* Bytes asked for by each take(), a quarter more than it takes: heads and tails too. */
enum { AHEAD = LANES * 20, FAR = 8 << 10 };

/* Four columns from byte `at` of each row on: of a head or tail, and of the codes. */
INLINE void peek(vu c[4], const struct rows *r, size_t at)
{
    columns(c, r->p + at, r->stride);
}

INLINE void take(vu c[4], struct rows *r, size_t at)
{
    columns(c, r->p + at, r->stride);
    if (!r->quiet) {
        LOOP for (int i = 0; i < AHEAD; i += 64)
        {
            __builtin_prefetch(r->next + i, 0, 3);
            __builtin_prefetch(r->next + FAR + i, 0, 2);
        }
    }
    __asm__ volatile("" ::: "memory"); /* or the compiler gathers them all in one place */
    r->next += AHEAD;
}

/* The last 16 bytes of a block. */
#define TAIL(name) (sizeof(struct block_##name) - 16)

/* Where codes go: into the tile, or with a single token straight into sums, which spares
 * the way through memory.  A sum is of 16 columns also where 32 share a scale: a step has
 * to wait for the one before, so that two short chains are done sooner than a long one.
 */
struct sink {
    vu *code;
#if FUSE_SINGLE
    const int8_t *x;
    vi sum[ACT_BLOCK / 16];
    bool fused; /* into the sums */
#endif
};

INLINE void put(struct sink *s, int i, vu code)
{
#if FUSE_SINGLE
    if (s->fused) {
        s->sum[i / 4] = dot(s->sum[i / 4], code, s->x + 4 * i);
        return;
    }
#endif
    s->code[i] = code;
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

/* 16 levels as lookup() takes them, `bias` in each byte. */
INLINE vu level_table(const int8_t level[16], uint32_t bias)
{
    return repeat16(level) ^ bias;
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

/* Bits of v that are at `from`, shifted to `to` and alone there. */
INLINE vu move_bits(vu v, int from, int to, uint32_t mask)
{
    return (from > to ? v >> (from - to) : v << (to - from)) & mask << to;
}

/* What a code at some place is to be multiplied with. */
INLINE float unit_at(int place) { return 1.0f / (float)(1 << place); }

/* 32 bytes of a row, the 64 columns of part g: low halves are codes 0..31, high ones
 * 32..63. */
INLINE void put_nibbles_64(struct sink *s, struct rows *r, size_t qs, int g)
{
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, qs + 32 * g + 4 * k);
        LOOP for (int i = 0; i < 4; i++)
        {
            put(s, 16 * g + k + i, low4(c[i]));
            put(s, 16 * g + k + i + 8, move_bits(c[i], 4, PLACE_OF_HIGH4, 0x0f0f0f0f));
        }
    }
}

/* The same with fifth bits. */
INLINE void put_five_bits_64(struct sink *s, struct rows *r, size_t qs, int g,
                             const vu *fifth)
{
    const uint32_t one = 0x01010101;
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, qs + 32 * g + 4 * k);
        LOOP for (int i = 0; i < 4; i++)
        {
            const vu bits = fifth[k + i];
            put(s, 16 * g + k + i, low4(c[i]) | move_bits(bits, 2 * g, 4, one));
            put(s, 16 * g + k + i + 8, high4(c[i]) | move_bits(bits, 2 * g + 1, 4, one));
        }
    }
}

/* Two bits, 128 columns of half h: the lowest pairs are codes 0..31, and so on.  `third`:
 * NULL, or the third bits. */
INLINE void put_two_bits_128(struct sink *s, struct rows *r, size_t qs, int h,
                             const vu *third)
{
    LOOP for (int k = 0; k < 8; k += 4)
    {
        vu c[4];
        take(c, r, qs + 32 * h + 4 * k);
        LOOP for (int i = 0; i < 4; i++) LOOP for (int b = 0; b < 4; b++)
        {
            const int place = place_of_two(b, third != NULL);
            vu code = move_bits(c[i], 2 * b, place, 0x03030303);
            if (third) code |= move_bits(third[k + i], 4 * h + b, place + 2, 0x01010101);
            put(s, 32 * h + 8 * b + k + i, code);
        }
    }
}

/* The scales of a unit of codes b, for 16 groups in the order of their columns: two for
 * each b. */
INLINE void units_of_two(vf unit[4], vf d, bool third)
{
    LOOP for (int b = 0; b < 4; b++) unit[b] = d * unit_at(place_of_two(b, third));
}

SUPER(q2_k)
{
    vu packed[4], tail[4];
    peek(packed, r, AT(q2_k, scales));
    peek(tail, r, TAIL(q2_k));
    vf unit[4];
    units_of_two(unit, half(tail[3]), false);
    w->min[0] = half(tail[3] >> 16);
    LOOP for (int i = 0; i < 4; i++)
    {
        const vu mins = high4(packed[i]), scales = low4(packed[i]);
        LOOP for (int j = 4 * i; j < 4 * i + 4; j++) w->scale[j] =
            unit[j / 2 % 4] * byte_to_float(scales, j % 4);
        w->pair[2 * i] = (mins & 0xff) | (mins << 8 & 0xff0000);
        w->pair[2 * i + 1] = (mins >> 16 & 0xff) | (mins >> 8 & 0xff0000);
    }
    put_two_bits_128(s, r, AT(q2_k, qs), 0, NULL);
    put_two_bits_128(s, r, AT(q2_k, qs), 1, NULL);
}

/* A set bit of hmask adds 4 to codes of -4..-1; here to 0..3, with an offset of 4 that
 * group_offset() knows. */
SUPER(q3_k)
{
    vu tail[4], third[8];
    peek(tail, r, TAIL(q3_k)); /* two bytes of no use, the scales, d */
    const vu a = tail[0] >> 16 | tail[1] << 16, b = tail[1] >> 16 | tail[2] << 16,
             c = tail[2] >> 16 | tail[3] << 16;
    vf unit[4];
    units_of_two(unit, half(tail[3] >> 16), true);
    const vu scales[4] = { low4(a) | (c << 4 & 0x30303030),
                           low4(b) | (c << 2 & 0x30303030), high4(a) | (c & 0x30303030),
                           high4(b) | (c >> 2 & 0x30303030) };
    LOOP for (int i = 0; i < 16; i++) w->scale[i] =
        unit[i / 2 % 4] * (byte_to_float(scales[i / 4], i % 4) - 32.0f);
    take_bits(third, r, AT(q3_k, hmask));
    put_two_bits_128(s, r, AT(q3_k, qs), 0, third);
    put_two_bits_128(s, r, AT(q3_k, qs), 1, third);
}

/* The head of Q4_K and Q5_K: d, dmin and eight 6-bit scales and mins (see scales.h);
 * every second scale is for codes at `place`. */
INLINE void scales_and_mins(struct tile *w, const struct rows *r, int place)
{
    vu head[4];
    peek(head, r, 0);
    const vf d = half(head[0]), unit[2] = { d, d * unit_at(place) };
    const vu scales[2] = { head[1] & 0x3f3f3f3f,
                           low4(head[3]) | (head[1] >> 2 & 0x30303030) };
    const vu mins[2] = { head[2] & 0x3f3f3f3f,
                         high4(head[3]) | (head[2] >> 2 & 0x30303030) };
    w->min[0] = half(head[0] >> 16);
    LOOP for (int j = 0; j < 8; j++)
    {
        const vu min = mins[j / 4] >> 8 * (j % 4) & 255;
        w->scale[j] = unit[j % 2] * byte_to_float(scales[j / 4], j % 4);
        w->pair[j] = min | min << 16;
    }
}

SUPER(q4_k)
{
    scales_and_mins(w, r, PLACE_OF_HIGH4);
    LOOP for (int g = 0; g < 4; g++) put_nibbles_64(s, r, AT(q4_k, qs), g);
}

SUPER(q5_k)
{
    vu fifth[8];
    scales_and_mins(w, r, 0);
    take_bits(fifth, r, AT(q5_k, qh));
    LOOP for (int g = 0; g < 4; g++) put_five_bits_64(s, r, AT(q5_k, qs), g, fifth);
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

/* ---- What the types on a grid share; tile_grid.h has the rest ---- */

/* d * (s + 1/2) * unit for scales s in four bits. */
INLINE vf half_steps(vf d, vu s, float unit)
{
    return d * (to_float((vi)s) + 0.5f) * unit;
}

/* 16 scales of four bits in two columns. */
INLINE void scales_of_16(struct tile *w, vf d, const vu *packed)
{
    LOOP for (int j = 0; j < 16; j++) w->scale[j] =
        half_steps(d, packed[j / 8] >> 4 * (j % 8) & 15, 0.25f);
}
