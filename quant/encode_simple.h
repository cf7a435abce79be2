/* encode_simple.h - encoders of the types with blocks of 32 weights and evenly spaced
 * levels.
 *
 * Without importances Q4 and Q5 take the scale from the largest values; with them they
 * search for it, and the importances are weighted by the size of the values compared with
 * the row's mean square.
 *
 * A template as encode_k.h is one, see there; encode_simple.c says what SEARCH() has
 * here. */
#include "blocks.h"
#include "fp.h"
#include "search.h"

#include <string.h>

/* Up to 16 neighbouring blocks are encoded at once. */
enum { RUN = 16 };
struct run {
    float d[RUN], m[RUN];
    uint8_t codes[RUN * 32];
};

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

static void pack_nibbles(const uint8_t codes[32], uint8_t qs[16])
{
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

/* Bit 4 of 32 codes, eight at a time: the product gathers the lowest bits of 8 bytes in
 * its highest byte. */
static uint32_t pack_fifth_bits(const uint8_t codes[32])
{
    uint32_t qh = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t v;
        memcpy(&v, codes + 8 * i, sizeof v);
        v = (v >> 4 & 0x0101010101010101) * 0x0102040810204080;
        qh |= (uint32_t)(v >> 56) << 8 * i;
    }
    return qh;
}

/* ---- Q4_0, Q5_0: x ~ d * (code - half) ------------------------------------ */

static void symmetric_run(const float *x, const float *weights, float sigma2, int blocks,
                          int half, struct run *r)
{
    if (weights) {
        float w[RUN * 32];
        importance(x, weights, 32 * blocks, sigma2, w);
        SEARCH(symmetric)(x, w, blocks, 32, half, r->d, r->codes);
        return;
    }
    SEARCH(largest)(x, blocks, r->d);
    for (int b = 0; b < blocks; b++) {
        r->d[b] /= (float)-half;
        SEARCH(truncate)
        (x + 32 * b, 0, inverse(r->d[b]), (float)half + 0.5f, 2 * half - 1,
         r->codes + 32 * b);
    }
}

/* ---- Q4_1, Q5_1: x ~ d * code + m ----------------------------------------- */

static void affine_run(const float *x, const float *weights, float sigma2, int blocks,
                       int max, struct run *r)
{
    if (weights) {
        const struct search_affine how = { max, -0.9f, 0.05f, 36, false };
        float w[RUN * 32];
        importance(x, weights, 32 * blocks, sigma2, w);
        SEARCH(affine)(x, w, blocks, 32, &how, r->d, r->m, r->codes);
        for (int b = 0; b < blocks; b++) r->m[b] = -r->m[b];
        return;
    }
    SEARCH(extremes)(x, blocks, r->m, r->d);
    for (int b = 0; b < blocks; b++) {
        r->d[b] = (r->d[b] - r->m[b]) / (float)max;
        SEARCH(truncate)
        (x + 32 * b, r->m[b], inverse(r->d[b]), 0.5f, max, r->codes + 32 * b);
    }
}

/* ---- Rows ----------------------------------------------------------------- */

/* For each run of `blocks` blocks of a row: x, weights and b go with it. */
#define ENCODE_RUNS(name, search, levels, ...)                                           \
    decl_encode_fn(ENCODER(name))                                                        \
    {                                                                                    \
        struct block_##name *b = dst;                                                    \
        struct run r;                                                                    \
        const float sigma2 = weights ? sum_of_squares(x, n) / (float)n : 0;              \
        for (size_t i = 0; i < n; i += RUN * 32) {                                       \
            const int blocks = n - i < RUN * 32 ? (int)(n - i) / 32 : RUN;               \
            search(x + i, weights ? weights + i : NULL, sigma2, blocks, levels, &r);     \
            for (int k = 0; k < blocks; k++, b++) {                                      \
                const uint8_t *const codes = r.codes + 32 * k;                           \
                b->d = f32_to_f16(r.d[k]);                                               \
                __VA_ARGS__                                                              \
                pack_nibbles(codes, b->qs);                                              \
            }                                                                            \
        }                                                                                \
    }
ENCODE_RUNS(q4_0, symmetric_run, 8, )
ENCODE_RUNS(q5_0, symmetric_run, 16, b->qh = pack_fifth_bits(codes);)
ENCODE_RUNS(q4_1, affine_run, 15, b->m = f32_to_f16(r.m[k]);)
ENCODE_RUNS(q5_1, affine_run, 31, b->m = f32_to_f16(r.m[k]);
            b->qh = pack_fifth_bits(codes);)

decl_encode_fn(ENCODER(q8_0))
{
    (void)weights; /* make no difference */
    struct block_q8_0 *b = dst;
    for (size_t i = 0; i < n; i += RUN * 32) {
        const int blocks = n - i < RUN * 32 ? (int)(n - i) / 32 : RUN;
        float most[RUN];
        SEARCH(largest)(x + i, blocks, most);
        for (int k = 0; k < blocks; k++, b++) {
            const float d = fabsf(most[k]) / 127;
            b->d = f32_to_f16(d);
            SEARCH(round)(x + i + 32 * k, inverse(d), (uint8_t *)b->qs);
        }
    }
}
