/* Included by ../decode.c only.  One early return per level, newest last.
 * The types of the usual mixes; others have plain C only. */
#include "../cpu.h"

decl_decode_fn(decode_f16_avx2);
decl_decode_fn(decode_bf16_avx2);
decl_decode_fn(decode_q4_0_avx2);
decl_decode_fn(decode_q4_1_avx2);
decl_decode_fn(decode_q5_0_avx2);
decl_decode_fn(decode_q5_1_avx2);
decl_decode_fn(decode_q8_0_avx2);
decl_decode_fn(decode_q2_k_avx2);
decl_decode_fn(decode_q3_k_avx2);
decl_decode_fn(decode_q4_k_avx2);
decl_decode_fn(decode_q5_k_avx2);
decl_decode_fn(decode_q6_k_avx2);
decl_decode_fn(decode_iq4_nl_avx2);
decl_decode_fn(decode_iq4_xs_avx2);
decl_decode_fn(decode_mxfp4_avx2);

decl_decode_fn(decode_f16_avx512);
decl_decode_fn(decode_bf16_avx512);
decl_decode_fn(decode_q4_0_avx512);
decl_decode_fn(decode_q4_1_avx512);
decl_decode_fn(decode_q5_0_avx512);
decl_decode_fn(decode_q5_1_avx512);
decl_decode_fn(decode_q8_0_avx512);
decl_decode_fn(decode_q2_k_avx512);
decl_decode_fn(decode_q3_k_avx512);
decl_decode_fn(decode_q4_k_avx512);
decl_decode_fn(decode_q5_k_avx512);
decl_decode_fn(decode_q6_k_avx512);
decl_decode_fn(decode_iq4_nl_avx512);
decl_decode_fn(decode_iq4_xs_avx512);
decl_decode_fn(decode_mxfp4_avx512);

static inline void decode_init_x86(decode_fn *t)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    t[GGF_F16] = decode_f16_avx2;
    t[GGF_BF16] = decode_bf16_avx2;
    t[GGF_Q4_0] = decode_q4_0_avx2;
    t[GGF_Q4_1] = decode_q4_1_avx2;
    t[GGF_Q5_0] = decode_q5_0_avx2;
    t[GGF_Q5_1] = decode_q5_1_avx2;
    t[GGF_Q8_0] = decode_q8_0_avx2;
    t[GGF_Q2_K] = decode_q2_k_avx2;
    t[GGF_Q3_K] = decode_q3_k_avx2;
    t[GGF_Q4_K] = decode_q4_k_avx2;
    t[GGF_Q5_K] = decode_q5_k_avx2;
    t[GGF_Q6_K] = decode_q6_k_avx2;
    t[GGF_IQ4_NL] = decode_iq4_nl_avx2;
    t[GGF_IQ4_XS] = decode_iq4_xs_avx2;
    t[GGF_MXFP4] = decode_mxfp4_avx2;

    if (!(flags & CPU_AVX512)) return;
    t[GGF_F16] = decode_f16_avx512;
    t[GGF_BF16] = decode_bf16_avx512;
    t[GGF_Q4_0] = decode_q4_0_avx512;
    t[GGF_Q4_1] = decode_q4_1_avx512;
    t[GGF_Q5_0] = decode_q5_0_avx512;
    t[GGF_Q5_1] = decode_q5_1_avx512;
    t[GGF_Q8_0] = decode_q8_0_avx512;
    t[GGF_Q2_K] = decode_q2_k_avx512;
    t[GGF_Q3_K] = decode_q3_k_avx512;
    t[GGF_Q4_K] = decode_q4_k_avx512;
    t[GGF_Q5_K] = decode_q5_k_avx512;
    t[GGF_Q6_K] = decode_q6_k_avx512;
    t[GGF_IQ4_NL] = decode_iq4_nl_avx512;
    t[GGF_IQ4_XS] = decode_iq4_xs_avx512;
    t[GGF_MXFP4] = decode_mxfp4_avx512;
}
