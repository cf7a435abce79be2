/* decode_ref.h - the reference decoders, one for each type: plain C, and the meaning of
 * the types.  For decode.c, which chooses; others ask decode_for(). */
#ifndef QUANT_DECODE_REF_H
#define QUANT_DECODE_REF_H

#include "decode.h"

/* decode_blocks.c: blocks of 32 to 128 weights */
decl_decode_fn(decode_q4_0_c);
decl_decode_fn(decode_q4_1_c);
decl_decode_fn(decode_q5_0_c);
decl_decode_fn(decode_q5_1_c);
decl_decode_fn(decode_q8_0_c);
decl_decode_fn(decode_q8_1_c);
decl_decode_fn(decode_iq4_nl_c);
decl_decode_fn(decode_mxfp4_c);
decl_decode_fn(decode_nvfp4_c);
decl_decode_fn(decode_q2_0_c);
decl_decode_fn(decode_q1_0_c);

/* decode_k.c: super-blocks of 256 weights with a scale for 16 or 32 */
decl_decode_fn(decode_q2_k_c);
decl_decode_fn(decode_q3_k_c);
decl_decode_fn(decode_q4_k_c);
decl_decode_fn(decode_q5_k_c);
decl_decode_fn(decode_q6_k_c);
decl_decode_fn(decode_q8_k_c);
decl_decode_fn(decode_iq4_xs_c);
decl_decode_fn(decode_tq1_0_c);
decl_decode_fn(decode_tq2_0_c);

/* decode_grid.c: super-blocks of 256 weights coded by points of a grid */
decl_decode_fn(decode_iq2_xxs_c);
decl_decode_fn(decode_iq2_xs_c);
decl_decode_fn(decode_iq2_s_c);
decl_decode_fn(decode_iq3_xxs_c);
decl_decode_fn(decode_iq3_s_c);
decl_decode_fn(decode_iq1_s_c);
decl_decode_fn(decode_iq1_m_c);

#endif
