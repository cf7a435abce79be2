/* encode_iq4.c - encoders of IQ4_NL and IQ4_XS: 4-bit codes for 16 uneven levels. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grids.h"
#include "search.h"

#include <math.h>
#include <string.h>

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

/* Half way from level k to the next: from there on the next is the nearer. */
static float middle(int k)
{
    return (float)(levels_iq4_nl[k] + levels_iq4_nl[k + 1]) / 2;
}

/* The levels nearest to id * x. */
static void nearest_levels(const float *x, float id, float q[32])
{
    float v[32];
    for (int i = 0; i < 32; i++) {
        v[i] = id * x[i];
        q[i] = levels_iq4_nl[0];
    }
    for (int k = 0; k < 15; k++) {
        const float m = middle(k),
                    step = (float)(levels_iq4_nl[k + 1] - levels_iq4_nl[k]);
        for (int i = 0; i < 32; i++) q[i] += v[i] < m ? 0 : step;
    }
}

/* Their codes, two in a byte: 16 apart. */
static void nearest_codes(const float *x, float id, uint8_t qs[16])
{
    int code[32] = { 0 };
    for (int k = 0; k < 15; k++) {
        const float m = middle(k);
        for (int i = 0; i < 32; i++) code[i] += id * x[i] < m ? 0 : 1;
    }
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(code[i] | code[i + 16] << 4);
}

/* Levels, then A = sum w q x and B = sum w q^2 as in search.c. */
static void fit(const float *x, const float *w, float id, float *a, float *b)
{
    float q[32];
    nearest_levels(x, id, q);
    *a = *b = 0;
    for (int i = 0; i < 32; i++) {
        const float wq = w[i] * q[i];
        *a += wq * x[i];
        *b += wq * q[i];
    }
}

/* The scale of 32 values: the largest one at about -127, the range moved a little. */
static float search_scale(const float *x, const float *weights, float sigma2)
{
    float w[32], a, b;
    const float m = largest(x, 32), first = levels_iq4_nl[0];
    if (fabsf(m) < SEARCH_EPSILON) return 0;
    if (weights) importance(x, weights, 32, sigma2, w);
    else
        for (int i = 0; i < 32; i++) w[i] = x[i] * x[i];

    fit(x, w, 1 / (-m / first), &a, &b);
    float d = b > 0 ? a / b : 0, best = d * a;
    for (int t = -7; t <= 7; t++) {
        fit(x, w, ((float)t + first) / m, &a, &b);
        if (b > 0 && a * a > best * b) {
            d = a / b;
            best = d * a;
        }
    }
    return d;
}

/* Codes are chosen with the scale before it is rounded for storing. */
decl_encode_fn(encode_iq4_nl)
{
    struct block_iq4_nl *b = dst;
    for (size_t i = 0; i < n; i += QK_32, b++) {
        const float sigma2 = sum_of_squares(x + i, 32) * (2.0f / 32);
        const float d = search_scale(x + i, weights ? weights + i : NULL, sigma2);
        b->d = f32_to_f16(d);
        nearest_codes(x + i, inverse(d), b->qs);
    }
}

static void encode_block_iq4_xs(const float *x, const float *weights,
                                struct block_iq4_xs *b)
{
    float scale[8];
    const float sigma2 = sum_of_squares(x, QK_K) * (2.0f / QK_K);
    for (int k = 0; k < 8; k++)
        scale[k] = search_scale(x + 32 * k, weights ? weights + 32 * k : NULL, sigma2);
    const float d = -largest(scale, 8) / 32, id = inverse(d);
    unsigned high = 0;
    b->d = f32_to_f16(d);
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int k = 0; k < 8; k++) {
        const int l = clamp(round_even(id * scale[k]), -32, 31);
        nearest_codes(x + 32 * k, inverse(d * (float)l), b->qs + 16 * k);
        b->scales_l[k / 2] |= (uint8_t)(((l + 32) & 15) << 4 * (k & 1));
        high |= (unsigned)(l + 32) >> 4 << 2 * k;
    }
    b->scales_h = (uint16_t)high;
}

decl_encode_fn(encode_iq4_xs)
{
    struct block_iq4_xs *b = dst;
    for (size_t i = 0; i < n; i += QK_K, b++)
        encode_block_iq4_xs(x + i, weights ? weights + i : NULL, b);
}
