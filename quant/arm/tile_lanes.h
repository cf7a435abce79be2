/* tile_lanes.h - vectors of four rows for ../tile.h, all but the products of codes: those
 * are where the levels differ (mul_neon.c, mul_dotprod.c). */
#ifndef QUANT_ARM_TILE_LANES_H
#define QUANT_ARM_TILE_LANES_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 4
typedef uint32_t vu __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(16)));

#define FUSE_SINGLE  1 /* 16 sums leave half of the registers */
#define SIGNED_CODES 1
#define TILE_GRIDS   1
#define SIGNED_GRIDS 1
#define WIDE_CODES   0

static inline uint32x4_t load_row(const uint8_t *p)
{
    return vreinterpretq_u32_u8(vld1q_u8(p));
}

/* The 4x4 transpose: in words, then in pairs of them. */
static inline void columns(vu c[4], const uint8_t *p, size_t stride)
{
    const uint32x4_t a = load_row(p), b = load_row(p + stride);
    const uint32x4_t d = load_row(p + 2 * stride), e = load_row(p + 3 * stride);
    const uint64x2_t ab0 = vreinterpretq_u64_u32(vtrn1q_u32(a, b));
    const uint64x2_t ab1 = vreinterpretq_u64_u32(vtrn2q_u32(a, b));
    const uint64x2_t de0 = vreinterpretq_u64_u32(vtrn1q_u32(d, e));
    const uint64x2_t de1 = vreinterpretq_u64_u32(vtrn2q_u32(d, e));
    c[0] = (vu)vtrn1q_u64(ab0, de0);
    c[1] = (vu)vtrn1q_u64(ab1, de1);
    c[2] = (vu)vtrn2q_u64(ab0, de0);
    c[3] = (vu)vtrn2q_u64(ab1, de1);
}

static inline vf half(vu v)
{
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)v)));
}

static inline vf madd(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

static inline vu repeat16(const void *p) { return (vu)vld1q_u8(p); }

static inline vu lookup(vu table, vu v)
{
    return (vu)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)v);
}

static inline vu gather(const uint32_t *table, vu index)
{
    return (vu){ table[index[0]], table[index[1]], table[index[2]], table[index[3]] };
}

/* Four bytes to all lanes. */
static inline int32x4_t broadcast4(const void *x)
{
    int32_t four;
    memcpy(&four, x, 4);
    return vdupq_n_s32(four);
}

/* Sums are of 32 bits at every step, so the parts are the sums. */
static inline vi dot_begin(vi sum) { return sum; }
static inline vi dot_end(vi sum, vi part) { return (void)sum, part; }
#define dot_step_signed dot_step
#define dot             dot_step

static inline vi pairs(vi acc, vu v, const int16_t *x)
{
    const int16x8_t a = (int16x8_t)v, b = (int16x8_t)broadcast4(x);
    const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
    return acc + (vi)vpaddq_s32(low, vmull_high_s16(a, b));
}

#endif
