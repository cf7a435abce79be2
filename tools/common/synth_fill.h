/* synth_fill.h - the values of made-up tensors.
 *
 * Matrices are made in pieces, so memory stays small; each piece has a random sequence of
 * its own, so the bytes depend on the seed and the tensor's name alone, and an expert's
 * are the same in a GGUF and in a pack. */
#ifndef TOOLS_SYNTH_FILL_H
#define TOOLS_SYNTH_FILL_H

#include "synth.h"

#include <stdbool.h>
#include <stdint.h>

uint64_t synth_bytes(const struct tensor *t);

/* Small float tensors are made in one go; v has room for all of it. */
bool synth_is_small(const struct tensor *t);
int synth_fill_small(const struct synth *s, const struct tensor *t, float *v,
                     ggf_error *err);

enum { SYNTH_PIECE = 1 << 20 }; /* most bytes of a piece; none crosses two matrices */

uint64_t synth_pieces(const struct tensor *t); /* of the whole tensor */
/* Make a piece; returns its bytes and where in the tensor they belong. */
size_t synth_fill_piece(const struct synth *s, const struct tensor *t, uint64_t piece,
                        uint8_t *to, uint64_t *offset);
/* One of the tensor's matrices, all pieces of it. */
void synth_fill_matrix(const struct synth *s, const struct tensor *t, uint64_t matrix,
                       uint8_t *to);

#endif
