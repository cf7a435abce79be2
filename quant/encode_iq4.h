/* encode_iq4.h - encoders of IQ4_NL and IQ4_XS: 4-bit codes for 16 uneven levels.
 *
 * A template as encode_k.h is one; SEARCH() here has iq4, the scales of blocks of 32, and
 * iq4_codes, the codes for a scale. */
#include "blocks.h"
#include "fp.h"
#include "search.h"

#include <string.h>

enum { IQ4_BLOCKS = 16 }; /* searched at once */

/* Weights of errors in n values: importances, or by size alone. */
static void weights_iq4(const float *x, const float *weights, int n, float *w)
{
    if (weights) importance(x, weights, n, sum_of_squares(x, n) * (2 / (float)n), w);
    else
        for (int i = 0; i < n; i++) w[i] = x[i] * x[i];
}

static float inverse_iq4(float d) { return d != 0 ? 1 / d : 0; }

/* Codes are chosen with the scale before it is rounded for storing. */
static void encode_blocks_iq4_nl(const float *x, const float *weights, int blocks,
                                 struct block_iq4_nl *b)
{
    float w[IQ4_BLOCKS * 32] = { 0 }, d[IQ4_BLOCKS];
    for (int i = 0; i < blocks; i++)
        weights_iq4(x + 32 * i, weights ? weights + 32 * i : NULL, 32, w + 32 * i);
    SEARCH(iq4)(x, w, blocks, d);
    for (int i = 0; i < blocks; i++) {
        b[i].d = f32_to_f16(d[i]);
        SEARCH(iq4_codes)(x + 32 * i, inverse_iq4(d[i]), b[i].qs);
    }
}

decl_encode_fn(ENCODER(iq4_nl))
{
    struct block_iq4_nl *b = dst;
    while (n) {
        const size_t blocks = n / 32 < IQ4_BLOCKS ? n / 32 : IQ4_BLOCKS;
        encode_blocks_iq4_nl(x, weights, (int)blocks, b);
        n -= 32 * blocks, x += 32 * blocks, b += blocks;
        if (weights) weights += 32 * blocks;
    }
}

static void store_iq4_xs(const float *x, const float scale[8], struct block_iq4_xs *b)
{
    const float d = -largest(scale, 8) / 32, id = inverse_iq4(d);
    unsigned high = 0;
    b->d = f32_to_f16(d);
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int k = 0; k < 8; k++) {
        const int l = clamp(round_even(id * scale[k]), -32, 31);
        SEARCH(iq4_codes)(x + 32 * k, inverse_iq4(d * (float)l), b->qs + 16 * k);
        b->scales_l[k / 2] |= (uint8_t)(((l + 32) & 15) << 4 * (k & 1));
        high |= (unsigned)(l + 32) >> 4 << 2 * k;
    }
    b->scales_h = (uint16_t)high;
}

decl_encode_fn(ENCODER(iq4_xs))
{
    struct block_iq4_xs *b = dst;
    for (size_t i = 0; i < n; i += 2 * QK_K) { /* two super-blocks at once */
        float w[2 * QK_K], scale[16];
        const int blocks = n - i < 2 * QK_K ? 1 : 2;
        for (int k = 0; k < blocks; k++)
            weights_iq4(x + i + QK_K * k, weights ? weights + i + QK_K * k : NULL, QK_K,
                        w + QK_K * k);
        SEARCH(iq4)(x + i, w, 8 * blocks, scale);
        for (int k = 0; k < blocks; k++, b++)
            store_iq4_xs(x + i + QK_K * k, scale + 8 * k, b);
    }
}
