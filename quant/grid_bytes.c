/* grid_bytes.c - see grid_bytes.h. */
#include "grid_bytes.h"
#include "grids.h"

#include <pthread.h>
#include <stddef.h>

struct grid_bytes grid_bytes;

/* The lower `bits` of n codes, and the next. */
static void split(uint8_t *low, uint8_t *high, const uint16_t *codes, size_t n, int bits)
{
    for (size_t i = 0; i < n; i++) {
        low[i] = (uint8_t)(codes[i] & ((1 << bits) - 1));
        high[i] = (uint8_t)(codes[i] >> bits);
    }
}

/* Magnitudes by level, of 2 or 3 bits. */
static void make_codes(uint8_t codes[64], const uint8_t *magnitude, int bits,
                       int level_at, int sign_at)
{
    for (int i = 0; i < 64; i++) {
        const int v = magnitude[i >> level_at & ((1 << bits) - 1)];
        codes[i] = (uint8_t)(i >> sign_at & 1 ? 128 - v : 128 + v);
    }
}

static void make_codes_iq3(uint8_t codes[4][64], const uint8_t magnitude[8])
{
    make_codes(codes[0], magnitude, 3, 0, 3);
    make_codes(codes[1], magnitude, 3, 3, 1);
    make_codes(codes[2], magnitude, 3, 0, 5);
    make_codes(codes[3], magnitude, 3, 3, 2);
}

static void make(void)
{
    struct grid_bytes *g = &grid_bytes;
    split(g->iq2_xxs[0], g->iq2_xxs[1], grid_iq2_xxs, 256, 8);
    split(g->iq2_xs[0], g->iq2_xs[1], grid_iq2_xs, 512, 8);
    split(g->iq3_xxs[0], g->iq3_xxs[1], grid_iq3_xxs, 256, 6);
    split(g->iq3_s[0], g->iq3_s[1], grid_iq3_s, 512, 6);
    for (unsigned i = 0; i < 128; i++) g->signs[i] = grid_signs(i);

    uint8_t iq2[4], iq3_xxs[8], iq3_s[8];
    for (uint16_t level = 0; level < 4; level++) iq2[level] = grid_bytes_iq2(level) & 255;
    for (uint16_t level = 0; level < 8; level++) {
        iq3_xxs[level] = grid_bytes_iq3_xxs(level) & 255;
        iq3_s[level] = grid_bytes_iq3_s(level) & 255;
    }
    make_codes(g->codes_iq2[0], iq2, 2, 0, 4);
    make_codes(g->codes_iq2[1], iq2, 2, 2, 5);
    make_codes_iq3(g->codes_iq3_xxs, iq3_xxs);
    make_codes_iq3(g->codes_iq3_s, iq3_s);
}

void grid_bytes_make(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
}
