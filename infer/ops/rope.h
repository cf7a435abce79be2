/* rope.h - rotary position embedding, NEOX pairing: dimension i with i + n_rot / 2. */
#ifndef INFER_OPS_ROPE_H
#define INFER_OPS_ROPE_H

#include <stdint.h>

/* cos then sin of the n_rot / 2 angles pos * base^(-2 i / n_rot): n_rot floats. */
void rope_table(float *table, uint32_t n_rot, double base, uint32_t pos);
/* Rotate the first n_rot dimensions of a head; the others pass through. */
void rope_apply(float *x, const float *table, uint32_t n_rot);

#endif
