/* fp.h - binary16, bfloat16 and the 8-bit scale formats to float32 and back, by bits.
 *
 * clang 14 has no _Float16 on x86 without AVX512-FP16, and these must give the same bits
 * everywhere; kernels for wider machines have their own instructions. */
#ifndef QUANT_FP_H
#define QUANT_FP_H

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float f32_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Exact; a NaN keeps its payload and becomes quiet. */
static inline float f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31,
                   man = h & 0x3ff;
    if (exp == 31)
        return f32_of_bits(sign | 0x7f800000 | man << 13 | (man ? 0x400000 : 0));
    if (exp) return f32_of_bits(sign | (exp + 112) << 23 | man << 13);
    return f32_of_bits(sign | f32_bits((float)man * 0x1p-24f));
}

/* Nearest, ties to even; gradual underflow; too large becomes infinite; NaN becomes
 * sign | 0x7e00. */
static inline uint16_t f32_to_f16(float f)
{
    const uint32_t bits = f32_bits(f), abs = bits & 0x7fffffff;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (abs > 0x7f800000) return sign | 0x7e00;
    if (abs >= 0x477ff000) return sign | 0x7c00; /* 65520 and more round to 2^16 */
    /* Below 2^-14 let an addition do the rounding: the ulp of 0.5f is 2^-24, that of a
     * subnormal binary16. */
    if (abs < 0x38800000)
        return sign | (uint16_t)(f32_bits(f32_of_bits(abs) + 0.5f) - 0x3f000000);
    return sign | (uint16_t)((abs + 0xfff + (abs >> 13 & 1) - 0x38000000) >> 13);
}

static inline float bf16_to_f32(uint16_t h) { return f32_of_bits((uint32_t)h << 16); }

/* Nearest, ties to even; subnormals stay; a NaN keeps its upper bits and becomes quiet.
 */
static inline uint16_t f32_to_bf16(float f)
{
    const uint32_t bits = f32_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Half of the scale of MXFP4, 2^(e - 127) / 2: the level table holds doubled values.  The
 * two smallest are subnormal.  255 is NaN by the standard; rows with it are refused. */
static inline float e8m0_half(uint8_t e)
{
    return f32_of_bits(e > 1 ? (uint32_t)(e - 1) << 23 : 0x00200000u << e);
}

/* Half of the scale of NVFP4: 4 bits of exponent, bias 7, 3 of mantissa, bit 7 ignored;
 * 0x7f (but not 0xff) is NaN by the standard and counts as 0. */
static inline float ue4m3_half(uint8_t u)
{
    const unsigned exp = u >> 3 & 15, man = u & 7;
    if (u == 0x7f) return 0;
    if (!exp) return (float)man * 0x1p-10f;
    return f32_of_bits((exp + 119) << 23 | man << 20);
}

/* The scale of NVFP4 as llama.cpp rounds it: half up by the next bit alone; from 256 on
 * everything is 448, the largest.  Values that are not above 0 become 0. */
static inline uint8_t f32_to_ue4m3(float f)
{
    if (!(f > 0)) return 0;
    if (f >= 256) return 0x7e;
    const uint32_t bits = f32_bits(f);
    const int exp = (int)(bits >> 23) - 120;
    if (exp <= 0) {
        const int man = (int)(f * 512 + 0.5f);
        return (uint8_t)(man < 7 ? man : 7);
    }
    const uint32_t rounded = (bits >> 20 & 7) + (bits >> 19 & 1), up = rounded >> 3;
    if (exp + (int)up >= 15) return 0x7e;
    return (uint8_t)((unsigned)(exp + (int)up) << 3 | (rounded & 7));
}

#endif
