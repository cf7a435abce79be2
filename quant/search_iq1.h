/* search_iq1.h - how the weights of IQ1_S and IQ1_M are cut in three.
 *
 * Weights are -1, 0 or 1, moved by a shift of an eighth, times the scale of 32 (IQ1_S) or
 * 16.  Sorted by value, the first are -1, the last 1: all ways to cut the sorted weights
 * are tried with either shift, and the one that explains most wins.  Then each group of 8
 * goes to a point of the grid.
 *
 * search_iq1.c has the reference, lanes_iq1.h is the same with a block in each lane. */
#ifndef QUANT_SEARCH_IQ1_H
#define QUANT_SEARCH_IQ1_H

#include "grid_search.h"

#include <stdint.h>

/* What the levels 0, 1, 2 mean with shift up and down. */
static const float values_iq1[2][3] = { { -0.875f, 0.125f, 1.125f },
                                        { -1.125f, -0.125f, 0.875f } };

/* The best cut of a block: levels are 0 before `one`, 2 from `two` on; `one` is -1 if
 * there is none.  `down` has a bit for each half that is shifted down: bit 0 for the
 * second, 1 for the first. */
struct iq1_cut {
    float scale;
    int one, two;
    unsigned down;
};

/* The numbers of each block's values, n of 16 or 32, in rising order; equal values stay
 * in order. */
void search_iq1_order(const float *x, int blocks, int n, uint8_t *order);

/* Blocks of 32 values in rising order; both halves are shifted alike. */
void search_iq1_cut32(const float *x, const float *w, int blocks, struct iq1_cut *cuts);

/* Blocks of 16; `late` is 1 for values of the second half, 0 for the others. */
void search_iq1_cut16(const float *x, const float *w, const float *late, int blocks,
                      struct iq1_cut *cuts);

/* The nearest point for a group whose levels are none; `value` is what these mean. */
unsigned search_iq1_point(const struct grid *grid, unsigned code, const float *x,
                          const float *w, float scale, const float value[3]);

#endif
