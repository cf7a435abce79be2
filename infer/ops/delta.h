/* delta.h - gated delta net: everything between the two projections. */
#ifndef INFER_OPS_DELTA_H
#define INFER_OPS_DELTA_H

#include "matrix.h"
#include "vec.h"

struct delta_net {
    uint32_t dim, n_k_heads, n_v_heads, taps;
    float eps;
    const float *conv;   /* [channels, taps]: the tap of the oldest input first */
    const float *dt, *a; /* n_v_heads */
    const float *norm;   /* dim */
    struct linear in;    /* -> queries, keys, values; gates z; then for each key head the
                            betas of its value heads, then their alphas */
    struct linear out;   /* dim * n_v_heads -> n_embd */
};

/* Queries, keys and values: what the convolution runs over. */
static inline uint32_t delta_channels(const struct delta_net *d)
{
    return d->dim * (2 * d->n_k_heads + d->n_v_heads);
}

/* What a layer remembers of the tokens so far. */
struct delta_state {
    float *conv; /* [channels, taps - 1]: the last raw inputs, the oldest first */
    float *s;    /* [dim, dim, n_v_heads], see struct delta_run */
};

/* Floats of scratch that a thread needs. */
size_t delta_scratch(const struct delta_net *d);

/* tokens x in.width projected floats -> tokens x dim * n_v_heads, moving the state on. */
void delta_team(const struct member *me, const struct delta_net *d,
                const struct vec_ops *ops, const struct delta_state *state,
                uint32_t tokens, const float *projected, float *scratch, float *out);

#endif
