/* capture.h - the inputs of weight matrices, kept for some of the tokens of a session.
 *
 * Where collect.h adds inputs up, this keeps them as they are: what an error in a matrix
 * does to its output depends on how the columns of the input go together. */
#ifndef INFER_CAPTURE_H
#define INFER_CAPTURE_H

#include "../engine.h"
#include "../ops/observe.h"

typedef struct q3n_capture q3n_capture;

/* Of each batch keep row 0 and every `stride`-th after it, until there are `tokens` of
 * them.  Takes memory for all at once: for Qwen3-Next-80B 2.7 MB for each token. */
int q3n_capture_new(q3n_capture **out, const q3n_model *model, uint32_t tokens,
                    uint32_t stride, ggf_error *err);
void q3n_capture_free(q3n_capture *c); /* NULL is allowed */

/* For q3n_session_observe().  One session at a time. */
const struct observer *q3n_capture_observer(const q3n_capture *c);
/* After each batch, of n tokens. */
void q3n_capture_next(q3n_capture *c, uint32_t n);

/* Column k of row i: x[at[i] * n + k]. */
struct captured {
    const float *x;
    uint32_t n, rows;
    const uint32_t *at;   /* NULL: row i is at i */
    const float *weights; /* [rows]: the router's; NULL for what is not routed */
};

/* What a tensor of the model (of stacked experts, one of them) was multiplied with.
 * False if that is not known: it is no matrix of the forward pass, or none was kept. */
bool q3n_capture_inputs(const q3n_capture *c, const char *tensor, uint32_t expert,
                        struct captured *inputs);

#endif
