/* act_neon.c - encoding activations, 16 elements at a time. */
#include "../act.h"

#include <arm_neon.h>
#include <string.h>

decl_act_fn(act_encode_neon);

/* The largest |x| as an integer, so that a NaN is above all numbers. */
static inline uint32_t max_abs(const float *x, size_t n)
{
    const uint32x4_t mask = vdupq_n_u32(0x7fffffff);
    uint32x4_t a = vdupq_n_u32(0), b = a;
    for (size_t i = 0; i < n; i += 8) {
        a = vmaxq_u32(a, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), mask));
        b = vmaxq_u32(b, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i + 4)), mask));
    }
    return vmaxvq_u32(vmaxq_u32(a, b));
}

static inline int16x8_t codes_8(const float *x, float inverse)
{
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), inverse));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4), inverse));
    return vmovn_high_s32(vmovn_s32(low), high);
}

/* 16 codes; returns their sum. */
static inline int16_t encode_16(const float *x, float inverse, int8_t *q)
{
    const int16x8_t a = codes_8(x, inverse), b = codes_8(x + 8, inverse);
    vst1q_s8(q, vmovn_high_s16(vmovn_s16(a), b));
    return vaddvq_s16(vaddq_s16(a, b));
}

/* Groups of `group` elements: as act_encode_c, 16 elements where it takes one. */
decl_act_fn(act_encode_neon)
{
    for (size_t i = 0; i < n; i += ACT_BLOCK, dst++) {
        const size_t have = n - i < ACT_BLOCK ? n - i : ACT_BLOCK;
        memset(dst, 0, sizeof *dst); /* a group without codes stays so */
        for (size_t j = 0; j < have; j += group) {
            float inverse;
            const float d = act_scale(max_abs(x + i + j, group), &inverse);
            for (size_t k = j; inverse > 0 && k < j + group; k += 16)
                dst->sum[k / 16] = encode_16(x + i + k, inverse, dst->q + k);
            for (size_t k = j; k < j + group; k += 32) dst->d[k / 32] = d;
        }
    }
}
