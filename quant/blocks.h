/* blocks.h - the blocks that quantized rows are stored in.
 *
 * A row is a run of blocks; a block holds `QK` neighbouring weights as small codes and
 * the scales that turn them into numbers.  Layouts are ggml's, little-endian, without
 * padding; decode*.c say what the fields mean.  Blocks in a file have no alignment to
 * speak of, hence packed: never form a pointer to a field wider than a byte. */
#ifndef QUANT_BLOCKS_H
#define QUANT_BLOCKS_H

#include <stdint.h>

enum { QK_32 = 32, QK_NVFP4 = 64, QK_Q2_0 = 64, QK_Q1_0 = 128, QK_K = 256 };

/* d, m, dmin are binary16 unless said. */
#define BLOCK(name, bytes, ...)                                                          \
    struct __attribute__((packed)) block_##name {                                        \
        __VA_ARGS__                                                                      \
    };                                                                                   \
    _Static_assert(sizeof(struct block_##name) == (bytes),                               \
                   "a " #name " block has " #bytes " bytes")

/* ---- 32 weights ---- */
BLOCK(q4_0, 18, uint16_t d; uint8_t qs[16];);
BLOCK(q4_1, 20, uint16_t d, m; uint8_t qs[16];);
BLOCK(q5_0, 22, uint16_t d; uint32_t qh; uint8_t qs[16];);
BLOCK(q5_1, 24, uint16_t d, m; uint32_t qh; uint8_t qs[16];);
BLOCK(q8_0, 34, uint16_t d; int8_t qs[32];);
BLOCK(q8_1, 36, uint16_t d, s; int8_t qs[32];); /* s = d * sum of qs; never in files */
BLOCK(iq4_nl, 18, uint16_t d; uint8_t qs[16];);
BLOCK(mxfp4, 17, uint8_t e; uint8_t qs[16];); /* e: power of two, E8M0 */

/* ---- 64 and 128 weights ---- */
BLOCK(nvfp4, 36, uint8_t d[4]; uint8_t qs[32];); /* d: UE4M3, one for 16 weights */
BLOCK(q2_0, 18, uint16_t d; uint8_t qs[16];);
BLOCK(q1_0, 18, uint16_t d; uint8_t qs[16];);

/* ---- 256 weights ---- */
BLOCK(q2_k, 84, uint8_t scales[16]; uint8_t qs[64]; uint16_t d, dmin;);
BLOCK(q3_k, 110, uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d;);
BLOCK(q4_k, 144, uint16_t d, dmin; uint8_t scales[12]; uint8_t qs[128];);
BLOCK(q5_k, 176, uint16_t d, dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128];);
BLOCK(q6_k, 210, uint8_t ql[128]; uint8_t qh[64]; int8_t scales[16]; uint16_t d;);
BLOCK(q8_k, 292, float d; int8_t qs[256]; int16_t bsums[16];); /* never in files */
BLOCK(iq4_xs, 136, uint16_t d; uint16_t scales_h; uint8_t scales_l[4]; uint8_t qs[128];);
BLOCK(iq2_xxs, 66, uint16_t d; uint32_t qs[16];); /* pairs: indices, signs and scale */
BLOCK(iq2_xs, 74, uint16_t d; uint16_t qs[32]; uint8_t scales[8];);
BLOCK(iq2_s, 82, uint16_t d; uint8_t qs[32]; uint8_t signs[32]; uint8_t qh[8];
      uint8_t scales[8];);
BLOCK(iq3_xxs, 98, uint16_t d; uint8_t qs[64]; uint32_t signs[8];);
BLOCK(iq3_s, 110, uint16_t d; uint8_t qs[64]; uint8_t qh[8]; uint8_t signs[32];
      uint8_t scales[4];);
BLOCK(iq1_s, 50, uint16_t d; uint8_t qs[32]; uint16_t qh[8];);
BLOCK(iq1_m, 56, uint8_t qs[32]; uint8_t qh[16]; uint16_t scales[4];);
BLOCK(tq1_0, 54, uint8_t qs[48]; uint8_t qh[4]; uint16_t d;);
BLOCK(tq2_0, 66, uint8_t qs[64]; uint16_t d;);

#endif
