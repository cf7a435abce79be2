/* encode_simple.c - the encoders of encode_simple.h in plain C, MXFP4 and NVFP4. */
#include "blocks.h"
#include "encode_ref.h"
#include "fp.h"
#include "grids.h"
#include "search.h"

#include <math.h>
#include <string.h>

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

/* ---- MXFP4, NVFP4: importances make no difference ------------------------- */

/* The power of two that brings the largest value to 4..8.  The logarithm is rounded to
 * float first: just below a power of two it rounds up to it, and the bytes depend on
 * that. */
static uint8_t mxfp4_exponent(float most)
{
    if (!(most > 0)) return 0;
    return (uint8_t)to_int(floorf((float)log2((double)most)) - 2 + 127);
}

/* The nearest of the 16 values times d, the first of equals; levels rise with the code in
 * each sign, so only those of the value's sign are tried. */
static inline void fp4_codes(const float *x, int n, float d, uint8_t *codes)
{
    float error[32];
    for (int i = 0; i < n; i++) {
        error[i] = fabsf(x[i]);
        codes[i] = 0;
    }
    for (int c = 1; c < 8; c++) {
        const float v = (float)levels_fp4[c] * d;
        for (int i = 0; i < n; i++) {
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
        fp4_codes(x, QK_32, e8m0_half(b->e), codes);
        pack_nibbles(codes, b->qs);
    }
}

/* A scale for 16 weights, which share 8 bytes. */
decl_encode_fn(encode_nvfp4)
{
    (void)weights;
    struct block_nvfp4 *b = dst;
    for (; n; n -= QK_NVFP4, b++)
        for (int s = 0; s < 4; s++, x += 16) {
            uint8_t codes[16];
            b->d[s] = f32_to_ue4m3(fabsf(largest(x, 16)) / 6);
            fp4_codes(x, 16, ue4m3_half(b->d[s]), codes);
            for (int i = 0; i < 8; i++)
                b->qs[8 * s + i] = (uint8_t)(codes[i] | codes[i + 8] << 4);
        }
}
