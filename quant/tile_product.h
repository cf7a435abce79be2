/* tile_product.h - a part of tile.h: a tile times many tokens, and the floating-point
 * steps that one token shares with many. */

/* How a type's groups are summed.  `chunk`: steps of four codes that may be added before
 * dot_end(), where sums are kept in 16 bits. */
struct shape {
    int group, chunk;
    bool has_offset, has_min, is_signed, is_q3;
};

/* Where products take unsigned codes of all eight bits (WIDE_CODES), upper codes of a
 * byte stay where they are and their scale is so much smaller: a shift less, and the same
 * bits, as it is a power of two.  The place of code b of four, with a third bit above it
 * or not; and of the upper half of a byte. */
INLINE int place_of_two(int b, bool third)
{
    return !WIDE_CODES ? 0 : third && b == 3 ? 4 : 2 * b;
}
enum { PLACE_OF_HIGH4 = WIDE_CODES ? 4 : 0 };

INLINE const struct act_block *token(const void *x, size_t x_stride, int t)
{
    return (const void *)((const char *)x + (size_t)t * x_stride);
}

/* What takes the offset off the sum of group j: the offset for the activations' sum, or
 * for groups of 16 for one of a pair of sums, which has a zero beside it. */
INLINE vu group_offset(const struct tile *w, int j, const struct shape s)
{
    if (s.group == 32) return w->offset;
    const vu offset = s.is_q3 ? offset_of(4 << place_of_two(j / 2 % 4, true)) : w->offset;
    return j & 1 ? offset & 0xffff0000u : offset & 0xffff;
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
INLINE vf add_block(vf total, vi sum, const struct tile *w, int at,
                    const struct act_block *x, int j, const struct shape s)
{
    vf part = to_float(sum) * w->scale[at];
    if (s.has_min) {
        const vi ones = pairs((vi){ 0 }, splat(0x10001), x->sum + 2 * j);
        part = madd(to_float(ones), -w->min[at], part);
    }
    return madd(part, splat_float(x->d[j]), total);
}

/* Memory that will be needed, asked for bit by bit between products. */
struct ask {
    const uint8_t *p;
    size_t bytes;
};

/* Part i of n. */
INLINE void ask_for(struct ask a, int i, int n)
{
    const size_t part = a.bytes / n;
    for (size_t b = 0; b < part; b += 64) __builtin_prefetch(a.p + i * part + b, 0, 2);
}

/* acc[t] += a super-block that shares one activation scale. */
INLINE void super_block(vf acc[], const struct tile *w, const void *x, size_t x_stride,
                        struct ask ask, const int T, const struct shape s)
{
    vf total[MAX_TOKENS];
    LOOP for (int t = 0; t < T; t++) total[t] = (vf){ 0 };
    for (int j = 0; j < ACT_BLOCK / s.group; j++) {
        vi sum[MAX_TOKENS];
        ask_for(ask, j, ACT_BLOCK / s.group);
        sum_group(sum, w, j, x, x_stride, T, s);
        LOOP for (int t = 0; t < T; t++) total[t] = add_group(total[t], sum[t], w, j);
    }
    LOOP for (int t = 0; t < T; t++) acc[t] =
        add_super_block(acc[t], total[t], w, token(x, x_stride, t), s);
}

/* acc[t] += blocks of 32 with an activation scale each. */
INLINE void blocks_of_32(vf acc[], const struct tile *w, const void *x, size_t x_stride,
                         int blocks, struct ask ask, const int T, const struct shape s)
{
    vf total[MAX_TOKENS];
    LOOP for (int t = 0; t < T; t++) total[t] = (vf){ 0 };
    for (int j = 0; j < blocks; j++) {
        vi sum[MAX_TOKENS];
        ask_for(ask, j, blocks);
        sum_group(sum, w, j, x, x_stride, T, s);
        LOOP for (int t = 0; t < T; t++) total[t] =
            add_block(total[t], sum[t], w, j, token(x, x_stride, t), j, s);
    }
    LOOP for (int t = 0; t < T; t++) acc[t] += total[t];
}

/* acc[t] += the tile times token t; `blocks` of 32 columns.  The first tokens ask. */
typedef void (*product_fn)(vf *acc, const struct tile *w, const void *x, size_t x_stride,
                           size_t tokens, int blocks, struct ask ask);

#define TOKENS(n, call)                                                                  \
    for (const int T = n; tokens >= T; tokens -= T, acc += T)                            \
        call, x = (const char *)x + T * x_stride, ask.bytes = 0;

#define PRODUCT(name, body, ...)                                                         \
    static void name(vf *acc, const struct tile *w, const void *x, size_t x_stride,      \
                     size_t tokens, int blocks, struct ask ask)                          \
    {                                                                                    \
        const struct shape s = { __VA_ARGS__ };                                          \
        (void)blocks;                                                                    \
        if (MAX_TOKENS == 8) TOKENS(8, body)                                             \
        TOKENS(4, body)                                                                  \
        TOKENS(2, body)                                                                  \
        TOKENS(1, body)                                                                  \
    }
#define SUPER_BLOCK  super_block(acc, w, x, x_stride, ask, T, s)
#define BLOCKS_OF_32 blocks_of_32(acc, w, x, x_stride, blocks, ask, T, s)

/* Chunks: a step adds at most 2 * 127 * the largest code to each 16-bit sum. */
#define K32_4BIT   .group = 32, .chunk = 8, .has_min = true
#define K32_5BIT   .group = 32, .chunk = 4, .has_min = true
#define K16_2BIT   .group = 16, .chunk = 4, .has_min = true
#define K16_3BIT   .group = 16, .chunk = 4, .has_offset = true, .is_q3 = true
#define K16_6BIT   .group = 16, .chunk = 2, .has_offset = true
#define ANY32_5BIT .group = 32, .chunk = 4, .has_offset = true
#define ANY32_MIN  .group = 32, .chunk = 4, .has_min = true
#define ANY32_8BIT                                                                       \
    .group = 32, .chunk = 1, .is_signed = SIGNED_CODES, .has_offset = !SIGNED_CODES
/* On a grid, with a bias where products want them unsigned: codes of IQ2 are up to 86, of
 * IQ3_XXS 124, of IQ3_S 30. */
#define GRID     .is_signed = SIGNED_GRIDS, .has_offset = !SIGNED_GRIDS
#define K32_GRID .group = 32, .chunk = 1, GRID
#define K32_FINE .group = 32, .chunk = 4, GRID
#define K16_GRID .group = 16, .chunk = 1, GRID
