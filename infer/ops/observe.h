/* observe.h - watching what goes into the weight matrices.
 *
 * A session may have an observer; the forward pass then shows it the input of every
 * matrix that is multiplied, as float32, before it is encoded for the kernels.  What is
 * computed stays the same, bit for bit. */
#ifndef INFER_OBSERVE_H
#define INFER_OBSERVE_H

#include "team.h"

/* Matrices that have the same input are one place. */
enum observed_place {
    OBSERVED_MIXER,       /* projections into attention or the delta net */
    OBSERVED_MIXER_OUT,   /* the projection back */
    OBSERVED_FFN,         /* router, shared expert's gate and up, and its sigmoid gate */
    OBSERVED_SHARED_DOWN, /* the shared expert's down */
    OBSERVED_EXPERTS,     /* a routed expert's gate and up */
    OBSERVED_DOWN,        /* its down */
    OBSERVED_HEAD,        /* the output matrix, for tokens whose logits are wanted */
    OBSERVED_PLACES,
};

/* The tensors of a layer ("blk.N.NAME.weight") that have their input from a place, fused
 * variants too; the head's is output.weight. */
enum { OBSERVED_WEIGHTS = 8 };
extern const char *const observed_weights[OBSERVED_PLACES][OBSERVED_WEIGHTS];

/* From a tensor's name to its place; the head counts as layer 0.  False if it is no
 * matrix that is multiplied. */
bool observed_place_of(const char *tensor, uint32_t *layer, enum observed_place *place);

enum { OBSERVED_COLUMNS = 64 }; /* most columns shown at once */

/* Some columns of a batch's inputs at a place. */
struct observed {
    enum observed_place place;
    uint32_t layer, expert;   /* 0 where there are none */
    uint32_t n;               /* columns of an input row; */
    uint32_t column, columns; /* shown are these of them */
    uint32_t rows;
    const float *x;       /* column c of row r: x[at[r] * n + c] */
    const uint32_t *at;   /* NULL: row r is at r */
    const float *weights; /* [rows]: the router's; NULL for what is not routed */
};

struct observer {
    /* Called from many threads, never at the same time for the same place, layer, expert
     * and column.  In a batch every input comes once. */
    void (*see)(void *user, const struct observed *o);
    void *user;
};

/* Show what `o` describes, all but column and columns filled in.  Nothing happens if
 * observer is NULL. */
void observe_team(const struct member *me, const struct observer *observer,
                  const struct observed *o);

/* For loops over more than one of them: a row of n columns has so many pieces, ... */
uint32_t observe_pieces(uint32_t n);
/* ... of which this shows one. */
void observe_piece(const struct observer *observer, struct observed o, uint32_t piece);

#endif
