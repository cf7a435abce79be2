/* mul_float_neon.c - products with plain floats, 4 at a time. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"

#include <arm_neon.h>

#define LANES  4
#define TOKENS 4
typedef float vf __attribute__((vector_size(16)));

static inline vf load_f32(const void *p) { return (vf)vld1q_f32(p); }
static inline vf load_f16(const void *p)
{
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf load_bf16(const void *p)
{
    return (vf)vshlq_n_u32(vmovl_u16(vld1_u16(p)), 16);
}

static inline vf madd(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

static inline float sum_lanes(vf v) { return vaddvq_f32((float32x4_t)v); }

#include "../tile_float.h"

mul_fn mul_float_neon(uint32_t type) { return float_kernel(type); }
