/* act.c - encoding activations for the integer kernels: the reference, and the choice of
 * form and variant.  act.h has the layout. */
#include "act.h"

#include "../libgguf/libgguf.h"

#include <string.h>

#if defined(__x86_64__)
#include "x86/act.h"
#elif defined(__aarch64__)
#include "arm/act.h"
#endif

enum act_kind act_kind_of(uint32_t type, int exact)
{
    if (exact) return ACT_F32;
    switch (type) {
    case GGF_Q4_0:
    case GGF_Q4_1:
    case GGF_Q5_0:
    case GGF_Q5_1:
    case GGF_Q8_0:
    case GGF_IQ4_NL:
    case GGF_MXFP4: return ACT_Q8_0;
    case GGF_Q2_K:
    case GGF_Q3_K:
    case GGF_Q4_K:
    case GGF_Q5_K:
    case GGF_Q6_K:
    case GGF_IQ4_XS:
    case GGF_IQ2_XXS:
    case GGF_IQ2_XS:
    case GGF_IQ2_S:
    case GGF_IQ3_XXS:
    case GGF_IQ3_S: return ACT_Q8_K;
    default: return ACT_F32;
    }
}

static size_t act_blocks(size_t n) { return (n + ACT_BLOCK - 1) / ACT_BLOCK; }

size_t act_bytes(enum act_kind kind, size_t n)
{
    if (kind == ACT_F32) return (n * sizeof(float) + 63) / 64 * 64;
    return act_blocks(n) * sizeof(struct act_block);
}

/* One group: codes and the scale they share. */
static float encode_group(const float *x, size_t n, int8_t *q)
{
    uint32_t max = 0; /* of |x|: as integers, so that a NaN is above all numbers */
    for (size_t i = 0; i < n; i++) {
        const uint32_t abs = f32_bits(x[i]) & 0x7fffffff;
        if (abs > max) max = abs;
    }
    float inverse;
    const float d = act_scale(max, &inverse);
    for (size_t i = 0; i < n; i++) {
        /* Adding 1.5 * 2^23 leaves the nearest integer in the low bits. */
        const float shifted = inverse > 0 ? x[i] * inverse + 12582912.0f : 0;
        q[i] = (int8_t)(f32_bits(shifted) & 0xff);
    }
    return d;
}

static decl_act_fn(act_encode_c)
{
    for (size_t i = 0; i < n; i += ACT_BLOCK, dst++) {
        const size_t have = n - i < ACT_BLOCK ? n - i : ACT_BLOCK;
        memset(dst, 0, sizeof *dst);
        for (size_t j = 0; j < have; j += group) {
            const float d = encode_group(x + i + j, group, dst->q + j);
            for (size_t k = j / 32; k < (j + group) / 32; k++) dst->d[k] = d;
        }
        for (size_t j = 0; j < ACT_BLOCK; j++)
            dst->sum[j / 16] = (int16_t)(dst->sum[j / 16] + dst->q[j]);
    }
}

act_fn act_encoder(void)
{
    act_fn f = act_encode_c;
#if defined(__x86_64__)
    act_init_x86(&f);
#elif defined(__aarch64__)
    act_init_arm(&f);
#endif
    return f;
}

void act_encode(enum act_kind kind, const float *x, size_t n, void *dst)
{
    if (kind == ACT_F32) {
        memcpy(dst, x, n * sizeof *x);
        memset((char *)dst + n * sizeof *x, 0, act_bytes(kind, n) - n * sizeof *x);
    } else {
        act_encoder()(x, n, kind == ACT_Q8_K ? 256 : 32, dst);
    }
}
