/* grids.h - the codebooks of the grid types (IQ1, IQ2, IQ3) and of the 4-bit floats.
 *
 * A grid is a set of points in 8 (IQ1, IQ2) or 4 (IQ3) dimensions.  It is kept as a list
 * of codes in rising order, 2 or 3 bits for a coordinate, the first lowest; the functions
 * here make of a code the magnitudes that decoders multiply with, one in a byte, the
 * first lowest.  Encoders search among the coordinates 2 * level + 1. */
#ifndef QUANT_GRIDS_H
#define QUANT_GRIDS_H

#include <stdint.h>

extern const uint16_t grid_iq2_xxs[256], grid_iq2_xs[512], grid_iq2_s[1024];
extern const uint16_t grid_iq3_xxs[256], grid_iq3_s[512];
extern const uint16_t grid_iq1[2048]; /* IQ1_S and IQ1_M */

/* Eight 2-bit levels of a code, each in a byte of its own. */
static inline uint64_t grid_spread2(uint16_t code)
{
    uint64_t x = code;
    x = (x | x << 24) & 0x000000ff000000ff;
    x = (x | x << 12) & 0x000f000f000f000f;
    return (x | x << 6) & 0x0303030303030303;
}

/* Four 3-bit levels of a code, each in a byte of its own. */
static inline uint32_t grid_spread3(uint16_t code)
{
    uint32_t x = code;
    x = (x | x << 10) & 0x003f003f;
    return (x | x << 5) & 0x07070707;
}

/* IQ2: 8 * { 1, 3.125, 5.375 } = 8, 25, 43. */
static inline uint64_t grid_bytes_iq2(uint16_t code)
{
    const uint64_t level = grid_spread2(code);
    return 0x0808080808080808 + level * 17 + (level >> 1 & 0x0101010101010101);
}

/* IQ3_XXS: 4 * { 1, 3, 5, 7, 9, 11, 13, 15.5 }. */
static inline uint32_t grid_bytes_iq3_xxs(uint16_t code)
{
    const uint32_t level = grid_spread3(code);
    return 0x04040404 + level * 8 + ((level + 0x01010101) >> 2 & 0x02020202);
}

/* IQ3_S: 1, 3, ... 15. */
static inline uint32_t grid_bytes_iq3_s(uint16_t code)
{
    return 0x01010101 + grid_spread3(code) * 2;
}

/* Signs of a group of 8 in types that store 7 bits: the number of set bits is even. */
static inline uint8_t grid_signs(unsigned code7)
{
    return (uint8_t)(code7 | (unsigned)__builtin_parity(code7) << 7);
}

/* IQ4_NL and IQ4_XS: denser around zero, as weights are. */
extern const int8_t levels_iq4_nl[16];
/* MXFP4 and NVFP4: twice the E2M1 values 0, 0.5, 1, 1.5, 2, 3, 4, 6; 8 is minus zero. */
extern const int8_t levels_fp4[16];

/* Half way from level k of IQ4 to the next: from there on the next is the nearer. */
static inline float middle_iq4(int k)
{
    return (float)(levels_iq4_nl[k] + levels_iq4_nl[k + 1]) / 2;
}

#endif
