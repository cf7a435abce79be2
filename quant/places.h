/* places.h - which blocks of a tensor a sample looks at.
 *
 * A block is 256 neighbouring columns of a row, or what is left at the row's end.  Sums
 * over a tensor, such as that of u w x^2 (w: importances, u: how often the expert is
 * used), are estimated from blocks drawn with probabilities that go with u times the sum
 * of the block's w, which is known before a weight is read.  Such a block stands for as
 * much as another, and an expert for as much as it is used. */
#ifndef QUANT_PLACES_H
#define QUANT_PLACES_H

#include "imatrix.h"

enum { PLACE_BLOCK = 256 };

struct place {
    uint64_t slice, row, column; /* row: of all rows of the tensor */
    size_t n;                    /* columns */
    double factor; /* what the block's sum of w x^2 is to be multiplied by */
};

struct places {
    const struct ggf_tensor *tensor;
    uint64_t row_blocks, slice_rows;
    uint64_t first_slice, n_slices;
    uint64_t n;     /* blocks in all */
    uint64_t seed;  /* of the draws: from the tensor's name and the first slice */
    double *use;    /* of each slice of the range; their sum is n_slices */
    double *until;  /* a slice's block of columns after the other: u * sum of w so far */
    double average; /* of u * w */
};

/* `n_slices` experts from `first_slice` on; 0: all from there. `weights` may be NULL.
 * GGF_E_NOMEM is the only failure. */
int places_init(struct places *p, const struct ggf_tensor *tensor,
                const struct imatrix_entry *weights, uint64_t first_slice,
                uint64_t n_slices, ggf_error *err);
void places_free(struct places *p);

/* Block i of n, expert by expert and row by row. The sums over all of them, each with its
 * factor, divided by the number of elements, are the means of u w x^2. */
struct place places_at(const struct places *p, uint64_t i);

/* Block i of a draw: the first m are spread evenly for every m. The mean of their sums,
 * each with its factor, times `average` estimates the same. */
struct place places_draw(const struct places *p, uint64_t i);

#endif
