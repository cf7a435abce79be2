/* encode_iq4.c - the encoders of encode_iq4.h in plain C, and their searches. */
#include "encode_ref.h"
#include "grids.h"
#include "search.h"

#include <math.h>

/* The levels nearest to id * x. */
static void nearest_levels(const float *x, float id, float q[32])
{
    float v[32];
    for (int i = 0; i < 32; i++) {
        v[i] = id * x[i];
        q[i] = levels_iq4_nl[0];
    }
    for (int k = 0; k < 15; k++) {
        const float m = middle_iq4(k),
                    step = (float)(levels_iq4_nl[k + 1] - levels_iq4_nl[k]);
        for (int i = 0; i < 32; i++) q[i] += v[i] < m ? 0 : step;
    }
}

/* Their codes, two in a byte: 16 apart. */
static void search_iq4_codes(const float *x, float id, uint8_t qs[16])
{
    int code[32] = { 0 };
    for (int k = 0; k < 15; k++) {
        const float m = middle_iq4(k);
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
static float search_scale(const float *x, const float *w)
{
    float a, b;
    const float m = largest(x, 32), first = levels_iq4_nl[0];
    if (fabsf(m) < SEARCH_EPSILON) return 0;
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

static void search_iq4(const float *x, const float *w, int blocks, float *scale)
{
    for (int b = 0; b < blocks; b++) scale[b] = search_scale(x + 32 * b, w + 32 * b);
}

#define SEARCH(name)  search_##name
#define ENCODER(name) encode_##name
#include "encode_iq4.h"
