/* grid_words.h - the grids of IQ2 and IQ3 as product kernels look them up.
 *
 * A word holds eight coordinates, each its level in half a byte: the first four in the
 * low halves of its bytes, the next four in the high ones, so that either four come out
 * with one mask.  The fourth bit of each is free for its sign.  Grids of four coordinates
 * leave the high halves zero; of those there are also the points themselves, a magnitude
 * in each byte. */
#ifndef QUANT_GRID_WORDS_H
#define QUANT_GRID_WORDS_H

#include <stdint.h>

struct grid_words {
    uint32_t iq2_xxs[256], iq2_xs[512], iq2_s[1024];
    uint32_t iq3_xxs[256], iq3_s[512];
    uint32_t points_iq3_xxs[256], points_iq3_s[512];
};
extern struct grid_words grid_words;

/* Fill them, once; mul_for() does. */
void grid_words_make(void);

#endif
