/* encode_ref.h - the encoders, one for each type.  For encode.c, which chooses; others
 * ask encode_for(). */
#ifndef QUANT_ENCODE_REF_H
#define QUANT_ENCODE_REF_H

#include "encode.h"

/* encode_simple.c: blocks of 32 weights, or 64 */
decl_encode_fn(encode_q4_0);
decl_encode_fn(encode_q4_1);
decl_encode_fn(encode_q5_0);
decl_encode_fn(encode_q5_1);
decl_encode_fn(encode_q8_0);
decl_encode_fn(encode_mxfp4);
decl_encode_fn(encode_nvfp4);

/* encode_ternary.c: a few levels, and no search */
decl_encode_fn(encode_q1_0);
decl_encode_fn(encode_q2_0);
decl_encode_fn(encode_tq1_0);
decl_encode_fn(encode_tq2_0);

/* encode_k.c: super-blocks of 256 weights */
decl_encode_fn(encode_q2_k);
decl_encode_fn(encode_q3_k);
decl_encode_fn(encode_q4_k);
decl_encode_fn(encode_q5_k);
decl_encode_fn(encode_q6_k);

/* encode_iq4.c: codes that mean unevenly spaced levels */
decl_encode_fn(encode_iq4_nl);
decl_encode_fn(encode_iq4_xs);

/* encode_grid.c: points of a grid.  IQ2_XXS, IQ2_XS and IQ1_S need weights. */
decl_encode_fn(encode_iq2_xxs);
decl_encode_fn(encode_iq2_xs);
decl_encode_fn(encode_iq2_s);
decl_encode_fn(encode_iq3_xxs);
decl_encode_fn(encode_iq3_s);
decl_encode_fn(encode_iq3_s_compat);

/* encode_iq1.c: points of a grid with three levels */
decl_encode_fn(encode_iq1_s);
decl_encode_fn(encode_iq1_m);

#endif
