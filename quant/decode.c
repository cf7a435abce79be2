/* decode.c - which decoder a type has on this machine, and the plain number types. */
#include "decode_ref.h"
#include "fp.h"

#include "../libgguf/libgguf.h"

#include <string.h>

#if defined(__x86_64__)
#include "x86/decode.h"
#endif

static decl_decode_fn(decode_f32_c) { memcpy(dst, src, n * sizeof *dst); }

#define DECODE_NUMBERS(name, type, convert)                                              \
    static decl_decode_fn(decode_##name##_c)                                             \
    {                                                                                    \
        for (size_t i = 0; i < n; i++) {                                                 \
            type v;                                                                      \
            memcpy(&v, (const char *)src + i * sizeof v, sizeof v);                      \
            dst[i] = convert(v);                                                         \
        }                                                                                \
    }

DECODE_NUMBERS(f16, uint16_t, f16_to_f32)
DECODE_NUMBERS(bf16, uint16_t, bf16_to_f32)
DECODE_NUMBERS(f64, double, (float))
DECODE_NUMBERS(i8, int8_t, (float))
DECODE_NUMBERS(i16, int16_t, (float))
DECODE_NUMBERS(i32, int32_t, (float))
DECODE_NUMBERS(i64, int64_t, (float))

static const decode_fn reference[GGF_TYPE_COUNT] = {
    [GGF_F32] = decode_f32_c,         [GGF_F16] = decode_f16_c,
    [GGF_BF16] = decode_bf16_c,       [GGF_F64] = decode_f64_c,
    [GGF_I8] = decode_i8_c,           [GGF_I16] = decode_i16_c,
    [GGF_I32] = decode_i32_c,         [GGF_I64] = decode_i64_c,
    [GGF_Q4_0] = decode_q4_0_c,       [GGF_Q4_1] = decode_q4_1_c,
    [GGF_Q5_0] = decode_q5_0_c,       [GGF_Q5_1] = decode_q5_1_c,
    [GGF_Q8_0] = decode_q8_0_c,       [GGF_Q8_1] = decode_q8_1_c,
    [GGF_Q2_K] = decode_q2_k_c,       [GGF_Q3_K] = decode_q3_k_c,
    [GGF_Q4_K] = decode_q4_k_c,       [GGF_Q5_K] = decode_q5_k_c,
    [GGF_Q6_K] = decode_q6_k_c,       [GGF_Q8_K] = decode_q8_k_c,
    [GGF_IQ2_XXS] = decode_iq2_xxs_c, [GGF_IQ2_XS] = decode_iq2_xs_c,
    [GGF_IQ2_S] = decode_iq2_s_c,     [GGF_IQ3_XXS] = decode_iq3_xxs_c,
    [GGF_IQ3_S] = decode_iq3_s_c,     [GGF_IQ1_S] = decode_iq1_s_c,
    [GGF_IQ1_M] = decode_iq1_m_c,     [GGF_IQ4_NL] = decode_iq4_nl_c,
    [GGF_IQ4_XS] = decode_iq4_xs_c,   [GGF_TQ1_0] = decode_tq1_0_c,
    [GGF_TQ2_0] = decode_tq2_0_c,     [GGF_MXFP4] = decode_mxfp4_c,
    [GGF_NVFP4] = decode_nvfp4_c,     [GGF_Q1_0] = decode_q1_0_c,
    [GGF_Q2_0] = decode_q2_0_c,
};

decode_fn decode_for(uint32_t type)
{
    if (type >= GGF_TYPE_COUNT) return NULL;
    decode_fn table[GGF_TYPE_COUNT];
    memcpy(table, reference, sizeof table);
#if defined(__x86_64__)
    decode_init_x86(table);
#endif
    return table[type];
}
