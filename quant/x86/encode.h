/* Included by ../encode.c only.  One early return per level, newest last.
 * Encoders that are faster and write the same bytes; others have plain C only. */
#include "../cpu.h"
#include "encode_x86.h"

static inline void encode_init_x86(encode_fn *t)
{
    const unsigned flags = cpu_flags();

    if (!(flags & CPU_AVX2)) return;
    t[GGF_Q4_0] = encode_q4_0_avx2;
    t[GGF_Q4_1] = encode_q4_1_avx2;
    t[GGF_Q5_0] = encode_q5_0_avx2;
    t[GGF_Q5_1] = encode_q5_1_avx2;
    t[GGF_Q8_0] = encode_q8_0_avx2;
    t[GGF_Q2_K] = encode_q2_k_avx2;
    t[GGF_Q3_K] = encode_q3_k_avx2;
    t[GGF_Q4_K] = encode_q4_k_avx2;
    t[GGF_Q5_K] = encode_q5_k_avx2;
    t[GGF_Q6_K] = encode_q6_k_avx2;
    t[GGF_IQ4_NL] = encode_iq4_nl_avx2;
    t[GGF_IQ4_XS] = encode_iq4_xs_avx2;
    t[GGF_IQ2_XXS] = encode_iq2_xxs_avx2;
    t[GGF_IQ2_XS] = encode_iq2_xs_avx2;
    t[GGF_IQ2_S] = encode_iq2_s_avx2;
    t[GGF_IQ3_XXS] = encode_iq3_xxs_avx2;
    t[GGF_IQ3_S] = encode_iq3_s_avx2;
    t[IQ3_S_COMPAT] = encode_iq3_s_compat_avx2;
    t[GGF_IQ1_S] = encode_iq1_s_avx2;
    t[GGF_IQ1_M] = encode_iq1_m_avx2;

    if (!(flags & CPU_AVX512)) return;
    t[GGF_Q4_0] = encode_q4_0_avx512;
    t[GGF_Q4_1] = encode_q4_1_avx512;
    t[GGF_Q5_0] = encode_q5_0_avx512;
    t[GGF_Q5_1] = encode_q5_1_avx512;
    t[GGF_Q8_0] = encode_q8_0_avx512;
    t[GGF_Q2_K] = encode_q2_k_avx512;
    t[GGF_Q3_K] = encode_q3_k_avx512;
    t[GGF_Q4_K] = encode_q4_k_avx512;
    t[GGF_Q5_K] = encode_q5_k_avx512;
    t[GGF_Q6_K] = encode_q6_k_avx512;
    t[GGF_IQ4_NL] = encode_iq4_nl_avx512;
    t[GGF_IQ4_XS] = encode_iq4_xs_avx512;
    t[GGF_IQ2_XXS] = encode_iq2_xxs_avx512;
    t[GGF_IQ2_XS] = encode_iq2_xs_avx512;
    t[GGF_IQ2_S] = encode_iq2_s_avx512;
    t[GGF_IQ3_XXS] = encode_iq3_xxs_avx512;
    t[GGF_IQ3_S] = encode_iq3_s_avx512;
    t[IQ3_S_COMPAT] = encode_iq3_s_compat_avx512;
    t[GGF_IQ1_S] = encode_iq1_s_avx512;
    t[GGF_IQ1_M] = encode_iq1_m_avx512;
}
