/* grid_bytes.h - grids of IQ2 and IQ3 for kernels that look bytes up in registers.
 *
 * A point of a grid is two bytes: of IQ2 the levels of its first four coordinates, two
 * bits each, and of the other four; of IQ3 three bits each for the first two coordinates
 * and for the other two.  They stand in a table each, so that 64 indices at once become
 * 64 bytes.
 *
 * A code comes out of a level and a sign in one more lookup, of six bits; there is a
 * table for each place where these may stand:
 *
 *             level from bit  sign in bit
 *   IQ2  [0]        0              4
 *        [1]        2              5
 *   IQ3  [0]        0              3
 *        [1]        3              1
 *        [2]        0              5
 *        [3]        3              2
 *
 * Bits that are neither do not matter.  Codes have 128 added. */
#ifndef QUANT_GRID_BYTES_H
#define QUANT_GRID_BYTES_H

#include <stdint.h>

struct grid_bytes {
    uint8_t iq2_xxs[2][256], iq2_xs[2][512];
    uint8_t iq3_xxs[2][256], iq3_s[2][512];
    uint8_t signs[128]; /* seven stored signs to eight */
    uint8_t codes_iq2[2][64], codes_iq3_xxs[4][64], codes_iq3_s[4][64];
} __attribute__((aligned(64)));
extern struct grid_bytes grid_bytes;

/* Fill them, once; mul_for() does. */
void grid_bytes_make(void);

#endif
