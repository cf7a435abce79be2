/* scales.h - how K-quants pack the 6-bit scales of a super-block into 12 bytes. */
#ifndef QUANT_SCALES_H
#define QUANT_SCALES_H

#include <stdint.h>
#include <string.h>

/* Q4_K and Q5_K: 8 pairs of scale and min.  The first four pairs are the low 6 bits of
 * bytes 0-3 and 4-7; the last four have their low 4 bits in the halves of bytes 8-11 and
 * their high 2 bits in the bits that the first four left free. */
static inline void unpack_scale_min(const uint8_t packed[12], uint8_t scale[8],
                                    uint8_t min[8])
{
    uint32_t s, m, low; /* four bytes at a time */
    memcpy(&s, packed, 4);
    memcpy(&m, packed + 4, 4);
    memcpy(&low, packed + 8, 4);
    const uint32_t out[4] = {
        s & 0x3f3f3f3f,
        (low & 0x0f0f0f0f) | (s >> 6 & 0x03030303) << 4,
        m & 0x3f3f3f3f,
        (low >> 4 & 0x0f0f0f0f) | (m >> 6 & 0x03030303) << 4,
    };
    memcpy(scale, out, 8);
    memcpy(min, out + 2, 8);
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
    uint32_t low[2], high;
    memcpy(low, packed, 8);
    memcpy(&high, packed + 8, 4);
    const uint32_t out[4] = {
        (low[0] & 0x0f0f0f0f) | (high & 0x03030303) << 4,
        (low[1] & 0x0f0f0f0f) | (high >> 2 & 0x03030303) << 4,
        (low[0] >> 4 & 0x0f0f0f0f) | (high >> 4 & 0x03030303) << 4,
        (low[1] >> 4 & 0x0f0f0f0f) | (high >> 6 & 0x03030303) << 4,
    };
    memcpy(scale, out, 16);
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
