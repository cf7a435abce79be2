/* trace.h - files that keep which experts a model sent its tokens to.
 *
 *   trace    every choice: for each batch and layer the experts of each token, the most
 *            probable first, with the router's weights
 *   history  only how often each expert was chosen
 *
 * docs/expert-store.md specifies both.  They carry the model's identity, so that nothing
 * is concluded from the choices of another one. */
#ifndef INFER_EXPERTS_TRACE_H
#define INFER_EXPERTS_TRACE_H

#include "../../libgguf/libgguf.h"

enum {
    TRACE_ID_BYTES = GGF_SHA256_BYTES,
    TRACE_MAX_LAYERS = 4096,
    TRACE_MAX_EXPERTS = 65536
};

/* Of which model. */
struct trace_model {
    uint8_t id[TRACE_ID_BYTES]; /* q3n_model_identity() */
    uint32_t n_layer, n_expert, n_used;
    uint64_t dense_bytes;         /* that a token reads besides its routed experts */
    const uint64_t *expert_bytes; /* [n_layer]: of one expert, or the layer's mean */
};

/* ---- Writing ------------------------------------------------------------- */

struct trace_writer;

/* Nothing is visible under the name before trace_finish(). */
int trace_create(struct trace_writer **out, const char *path, bool force,
                 const struct trace_model *model, ggf_error *err);
/* A layer's choices for tokens of a batch: ids and weights are [n_used, tokens].  Layers
 * ascend; one that is not behind the last begins a new batch.  The first failure is kept
 * for trace_finish(). */
void trace_add(struct trace_writer *w, uint32_t layer, uint32_t tokens,
               const uint32_t *ids, const float *weights);
/* w is gone afterwards, whatever the result. */
int trace_finish(struct trace_writer *w, ggf_error *err);
void trace_discard(struct trace_writer *w); /* NULL is allowed */

/* counts: [n_expert, n_layer]. */
int history_write(const char *path, bool force, const struct trace_model *model,
                  const uint64_t *counts, ggf_error *err);

/* ---- Reading ------------------------------------------------------------- */

struct trace;

/* A trace or a history.  It is read and checked as a whole. */
int trace_open(struct trace **out, const char *path, ggf_error *err);
/* The same of bytes, which are copied. */
int trace_open_buffer(struct trace **out, const void *bytes, size_t len, const char *name,
                      ggf_error *err);
void trace_close(struct trace *t); /* NULL is allowed */

const struct trace_model *trace_model(const struct trace *t);
bool trace_is_history(const struct trace *t);
/* GGF_E_ARG unless both are of one model. */
int trace_check_model(const struct trace *t, const struct trace_model *model,
                      ggf_error *err);

struct trace_choice {
    uint16_t expert;
    uint16_t weight; /* 65535 is 1 */
};

/* A layer's choices in a batch. */
struct trace_block {
    uint32_t layer, tokens;
    bool first;                         /* of its batch */
    bool prompt;                        /* the batch has more than one token */
    const struct trace_choice *choices; /* [n_used, tokens] */
};
/* The next one; *at is 0 before the first.  False behind the last, and always for a
 * history. */
bool trace_next(const struct trace *t, uint64_t *at, struct trace_block *out);

/* Add how often each expert was chosen to counts[n_expert, n_layer]. */
void trace_count(const struct trace *t, uint64_t *counts);

#endif
