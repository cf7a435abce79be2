/* encode_ref.h - the encoders, one for each type.  For encode.c, which chooses; others
 * ask encode_for(). */
#ifndef QUANT_ENCODE_REF_H
#define QUANT_ENCODE_REF_H

#include "encode.h"

/* encode_simple.c: blocks of 32 weights */
decl_encode_fn(encode_q4_0);
decl_encode_fn(encode_q4_1);
decl_encode_fn(encode_q5_0);
decl_encode_fn(encode_q5_1);
decl_encode_fn(encode_q8_0);
decl_encode_fn(encode_mxfp4);

/* encode_k.c: super-blocks of 256 weights */
decl_encode_fn(encode_q2_k);
decl_encode_fn(encode_q3_k);
decl_encode_fn(encode_q4_k);
decl_encode_fn(encode_q5_k);
decl_encode_fn(encode_q6_k);

/* encode_iq4.c: codes that mean unevenly spaced levels */
decl_encode_fn(encode_iq4_nl);
decl_encode_fn(encode_iq4_xs);

#endif
