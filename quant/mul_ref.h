/* mul_ref.h - the reference products, for mul.c, which chooses; others ask mul_for(). */
#ifndef QUANT_MUL_REF_H
#define QUANT_MUL_REF_H

#include "mul.h"

/* mul_ref.c: stored codes times encoded activations, in whole numbers within a group */
decl_mul_fn(mul_q4_0_c);
decl_mul_fn(mul_q4_1_c);
decl_mul_fn(mul_q5_0_c);
decl_mul_fn(mul_q5_1_c);
decl_mul_fn(mul_q8_0_c);
decl_mul_fn(mul_iq4_nl_c);
decl_mul_fn(mul_mxfp4_c);
decl_mul_fn(mul_q2_k_c);
decl_mul_fn(mul_q3_k_c);
decl_mul_fn(mul_q4_k_c);
decl_mul_fn(mul_q5_k_c);
decl_mul_fn(mul_q6_k_c);
decl_mul_fn(mul_iq4_xs_c);
decl_mul_fn(mul_iq2_xxs_c);
decl_mul_fn(mul_iq2_xs_c);
decl_mul_fn(mul_iq2_s_c);
decl_mul_fn(mul_iq3_xxs_c);
decl_mul_fn(mul_iq3_s_c);

#endif
