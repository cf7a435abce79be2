/* codes.h - how K-quants pack the codes of a super-block, given one in a byte. */
#ifndef QUANT_CODES_H
#define QUANT_CODES_H

#include <stdint.h>

/* 2-bit codes: a byte of a half holds weights 32 apart. */
static inline void pack2(const uint8_t *codes, uint8_t qs[64])
{
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 128 * h + i;
            qs[32 * h + i] = (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 |
                                       (c[96] & 3) << 6);
        }
}

/* 4-bit codes: a byte of a quarter holds weights 32 apart. */
static inline void pack4(const uint8_t *codes, uint8_t qs[128])
{
    for (int q = 0; q < 4; q++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 64 * q + i;
            qs[32 * q + i] = (uint8_t)((c[0] & 15) | (c[32] & 15) << 4);
        }
}

/* Bit `bit` of code i goes to bit i / 32 of byte i % 32. */
static inline void pack_bit(const uint8_t *codes, int bit, uint8_t mask[32])
{
    for (int i = 0; i < 32; i++) {
        unsigned m = 0;
        for (int j = 0; j < 8; j++) m |= (codes[i + 32 * j] >> bit & 1u) << j;
        mask[i] = (uint8_t)m;
    }
}

/* A half: runs 0 1 of 32 codes in the low nibbles of 64 bytes, 2 3 in the high ones; the
 * upper two bits of all four in 32 more. */
static inline void pack6(const uint8_t *codes, uint8_t ql[64], uint8_t qh[32])
{
    for (int i = 0; i < 32; i++) {
        const uint8_t *c = codes + i;
        ql[i] = (uint8_t)((c[0] & 15) | (c[64] & 15) << 4);
        ql[i + 32] = (uint8_t)((c[32] & 15) | (c[96] & 15) << 4);
        qh[i] =
            (uint8_t)(c[0] >> 4 | c[32] >> 4 << 2 | c[64] >> 4 << 4 | c[96] >> 4 << 6);
    }
}

#endif
