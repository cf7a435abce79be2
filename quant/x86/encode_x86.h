/* encode_x86.h - the encoders of encode_avx2.c and encode_avx512.c. */
#ifndef QUANT_X86_ENCODE_X86_H
#define QUANT_X86_ENCODE_X86_H

#include "../encode.h"
#include "../refine_steps.h"

#define DECL_ENCODERS(isa)                                                               \
    decl_encode_fn(encode_q4_0_##isa);                                                   \
    decl_encode_fn(encode_q4_1_##isa);                                                   \
    decl_encode_fn(encode_q5_0_##isa);                                                   \
    decl_encode_fn(encode_q5_1_##isa);                                                   \
    decl_encode_fn(encode_q8_0_##isa);                                                   \
    decl_encode_fn(encode_q2_k_##isa);                                                   \
    decl_encode_fn(encode_q3_k_##isa);                                                   \
    decl_encode_fn(encode_q4_k_##isa);                                                   \
    decl_encode_fn(encode_q5_k_##isa);                                                   \
    decl_encode_fn(encode_q6_k_##isa);                                                   \
    decl_encode_fn(encode_iq4_nl_##isa);                                                 \
    decl_encode_fn(encode_iq4_xs_##isa);                                                 \
    decl_encode_fn(encode_iq2_xxs_##isa);                                                \
    decl_encode_fn(encode_iq2_xs_##isa);                                                 \
    decl_encode_fn(encode_iq2_s_##isa);                                                  \
    decl_encode_fn(encode_iq3_xxs_##isa);                                                \
    decl_encode_fn(encode_iq3_s_##isa);                                                  \
    decl_encode_fn(encode_iq3_s_compat_##isa);                                           \
    decl_encode_fn(encode_iq1_s_##isa);                                                  \
    decl_encode_fn(encode_iq1_m_##isa);                                                  \
    decl_refine_fn(refine_steps_##isa)

DECL_ENCODERS(avx2);
DECL_ENCODERS(avx512);

#endif
