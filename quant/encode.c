/* encode.c - which encoder a type has on this machine, and the plain number types. */
#include "encode_ref.h"
#include "fp.h"

#include "../libgguf/libgguf.h"

#include <string.h>

/* The encoders are numbered as the types, and one more. */
enum { IQ3_S_COMPAT = GGF_TYPE_COUNT, ENCODERS };

#if defined(__x86_64__)
#include "x86/encode.h"
#endif

static decl_encode_fn(encode_f32)
{
    (void)weights;
    memcpy(dst, x, n * sizeof *x);
}

static decl_encode_fn(encode_f16)
{
    (void)weights;
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = f32_to_f16(x[i]);
        memcpy((char *)dst + i * sizeof h, &h, sizeof h);
    }
}

static decl_encode_fn(encode_bf16)
{
    (void)weights;
    for (size_t i = 0; i < n; i++) {
        const uint16_t h = f32_to_bf16(x[i]);
        memcpy((char *)dst + i * sizeof h, &h, sizeof h);
    }
}

static const encode_fn reference[ENCODERS] = {
    [GGF_F32] = encode_f32,
    [GGF_F16] = encode_f16,
    [GGF_BF16] = encode_bf16,
    [GGF_Q4_0] = encode_q4_0,
    [GGF_Q4_1] = encode_q4_1,
    [GGF_Q5_0] = encode_q5_0,
    [GGF_Q5_1] = encode_q5_1,
    [GGF_Q8_0] = encode_q8_0,
    [GGF_Q2_K] = encode_q2_k,
    [GGF_Q3_K] = encode_q3_k,
    [GGF_Q4_K] = encode_q4_k,
    [GGF_Q5_K] = encode_q5_k,
    [GGF_Q6_K] = encode_q6_k,
    [GGF_IQ4_NL] = encode_iq4_nl,
    [GGF_IQ4_XS] = encode_iq4_xs,
    [GGF_MXFP4] = encode_mxfp4,
    [GGF_NVFP4] = encode_nvfp4,
    [GGF_IQ2_XXS] = encode_iq2_xxs,
    [GGF_IQ2_XS] = encode_iq2_xs,
    [GGF_IQ2_S] = encode_iq2_s,
    [GGF_IQ3_XXS] = encode_iq3_xxs,
    [GGF_IQ3_S] = encode_iq3_s,
    [GGF_IQ1_S] = encode_iq1_s,
    [GGF_IQ1_M] = encode_iq1_m,
    [GGF_TQ1_0] = encode_tq1_0,
    [GGF_TQ2_0] = encode_tq2_0,
    [GGF_Q1_0] = encode_q1_0,
    [GGF_Q2_0] = encode_q2_0,
    [IQ3_S_COMPAT] = encode_iq3_s_compat,
};

static encode_fn fastest(uint32_t number)
{
    encode_fn table[ENCODERS];
    memcpy(table, reference, sizeof table);
#if defined(__x86_64__)
    encode_init_x86(table);
#endif
    return table[number];
}

encode_fn encode_for(uint32_t type)
{
    return type < GGF_TYPE_COUNT ? fastest(type) : NULL;
}

encode_fn encode_for_compat(uint32_t type)
{
    return type == GGF_IQ3_S ? fastest(IQ3_S_COMPAT) : encode_for(type);
}

bool encode_needs_weights(uint32_t type)
{
    return type == GGF_IQ2_XXS || type == GGF_IQ2_XS || type == GGF_IQ1_S;
}
