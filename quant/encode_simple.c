/* encode_simple.c - the encoders of encode_simple.h in plain C, and MXFP4. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grids.h"
#include "search.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* Towards zero; what x86 makes of values that fit no int, on every machine. */
static inline int to_int(float f)
{
    return f >= -0x1p31f && f < 0x1p31f ? (int)f : INT_MIN;
}

/* Ties away from zero, as roundf(). */
static inline int round_away(float f)
{
    const int i = to_int(f);
    if (i == INT_MIN) return i; /* no number to round */
    const float rest = f - (float)i;
    return rest >= 0.5f ? i + 1 : rest <= -0.5f ? i - 1 : i;
}

/* ---- What encode_simple.h asks for ---------------------------------------- */

/* The value of largest magnitude of each block. */
static void search_largest(const float *x, int blocks, float *value)
{
    for (int b = 0; b < blocks; b++) value[b] = largest(x + 32 * b, 32);
}

static void search_extremes(const float *x, int blocks, float *low, float *high)
{
    for (int b = 0; b < blocks; b++, x += 32) {
        low[b] = high[b] = x[0];
        for (int i = 1; i < 32; i++) {
            if (x[i] < low[b]) low[b] = x[i];
            if (x[i] > high[b]) high[b] = x[i];
        }
    }
}

/* Codes of a block: (x - offset) * id + add, cut to an integer, `most` at most. */
static void search_truncate(const float *x, float offset, float id, float add, int most,
                            uint8_t codes[32])
{
    for (int i = 0; i < 32; i++) {
        const int8_t q = (int8_t)to_int((x[i] - offset) * id + add);
        codes[i] = (uint8_t)(q < most ? q : most);
    }
}

/* Codes of a block: x * id, rounded. */
static void search_round(const float *x, float id, uint8_t codes[32])
{
    for (int i = 0; i < 32; i++) codes[i] = (uint8_t)round_away(x[i] * id);
}

#define SEARCH(name)  search_##name
#define ENCODER(name) encode_##name
#include "encode_simple.h"

/* ---- MXFP4: importances make no difference -------------------------------- */

/* The power of two that brings the largest value to 4..8.  The logarithm is rounded to
 * float first: just below a power of two it rounds up to it, and the bytes depend on
 * that. */
static uint8_t mxfp4_exponent(float most)
{
    if (!(most > 0)) return 0;
    return (uint8_t)to_int(floorf((float)log2((double)most)) - 2 + 127);
}

/* The nearest of the 16 values, the first of equals; levels rise with the code in each
 * sign, so only those of the value's sign are tried. */
static void mxfp4_codes(const float *x, float d, uint8_t codes[32])
{
    float error[32];
    for (int i = 0; i < 32; i++) {
        error[i] = fabsf(x[i]);
        codes[i] = 0;
    }
    for (int c = 1; c < 8; c++) {
        const float v = (float)levels_fp4[c] * d;
        for (int i = 0; i < 32; i++) {
            const float e = fabsf(v - fabsf(x[i]));
            if (e < error[i]) {
                error[i] = e;
                codes[i] = (uint8_t)(x[i] < 0 ? c + 8 : c);
            }
        }
    }
}

decl_encode_fn(encode_mxfp4)
{
    (void)weights;
    struct block_mxfp4 *b = dst;
    for (; n; n -= QK_32, b++, x += QK_32) {
        uint8_t codes[32];
        b->e = mxfp4_exponent(fabsf(largest(x, QK_32)));
        mxfp4_codes(x, e8m0_half(b->e), codes);
        pack_nibbles(codes, b->qs);
    }
}
