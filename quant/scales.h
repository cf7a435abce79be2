/* scales.h - how K-quants pack the 6-bit scales of a super-block into 12 bytes. */
#ifndef QUANT_SCALES_H
#define QUANT_SCALES_H

#include <stdint.h>

/* Q4_K and Q5_K: 8 pairs of scale and min.  The first four pairs are the low 6 bits of
 * bytes 0-3 and 4-7; the last four have their low 4 bits in the halves of bytes 8-11 and
 * their high 2 bits in the bits that the first four left free. */
static inline void unpack_scale_min(const uint8_t packed[12], uint8_t scale[8],
                                    uint8_t min[8])
{
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        min[j] = packed[j + 4] & 63;
        scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        min[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

static inline void pack_scale_min(const uint8_t scale[8], const uint8_t min[8],
                                  uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

/* Q3_K: 16 scales 0..63 that mean -32..31.  Low 4 bits in the halves of bytes 0-7, high 2
 * bits of scale j in byte 8 + j % 4. */
static inline void unpack_scales_q3(const uint8_t packed[12], uint8_t scale[16])
{
    for (int j = 0; j < 16; j++) {
        const int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
        scale[j] = (uint8_t)(low | (packed[8 + j % 4] >> 2 * (j / 4) & 3) << 4);
    }
}

static inline void pack_scales_q3(const uint8_t scale[16], uint8_t packed[12])
{
    for (int j = 0; j < 8; j++)
        packed[j] = (uint8_t)((scale[j] & 15) | (scale[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        packed[8 + j] = (uint8_t)(scale[j] >> 4 | scale[j + 4] >> 4 << 2 |
                                  scale[j + 8] >> 4 << 4 | scale[j + 12] >> 4 << 6);
}

#endif
