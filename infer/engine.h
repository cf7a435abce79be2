/* engine.h - a model that runs, and one sequence of tokens through it.
 *
 *   struct q3n_model    a loaded model: weights (mapped), hyperparameters, experts.
 *                       Immutable after loading; many sessions may share it.
 *   struct q3n_session  one mutable timeline: KV cache, recurrent state, position.
 *                       One thread at a time; the work inside is spread over threads.
 *
 * Tools, servers and tests see nothing of tensors. */
#ifndef INFER_ENGINE_H
#define INFER_ENGINE_H

#include "../libgguf/libgguf.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct q3n_model q3n_model;
typedef struct q3n_session q3n_session;

struct q3n_model_options {
    const char *experts; /* pack file; NULL: the one that the GGUF names, if any */
    int threads;         /* up to 1024; 0: all the process may use */
    bool exact;          /* float32 activations: slow, for comparisons */
    bool mlock;   /* lock the mapped weights in memory; failing that, warn via stats */
    bool no_mmap; /* read the weights into memory of our own */
    /* A GGUF whose tensors take the place of those of the same name and shape, but for
     * experts in a pack; always mapped.  NULL: none. */
    const char *overlay;
};

/* Open and bind everything; no weight is read yet unless options ask for it. */
int q3n_model_open(q3n_model **out, const char *path,
                   const struct q3n_model_options *options, ggf_error *err);
void q3n_model_close(q3n_model *model); /* NULL is allowed; sessions first */

struct q3n_model_info {
    const char *architecture;
    uint32_t n_vocab, n_layer, n_embd, n_ctx_train, n_expert, n_expert_used;
    uint64_t n_params;      /* weights in all tensors */
    uint64_t bytes;         /* of all tensors, experts included */
    uint64_t bytes_files;   /* of all its files: parts of a split set, and the pack */
    uint64_t bytes_token;   /* weight bytes that one decoded token reads */
    uint64_t bytes_experts; /* of all routed experts */
    uint64_t bytes_session; /* fixed state of a session (recurrent) */
    uint64_t bytes_kv;      /* KV bytes per token of context */
    bool packed;            /* experts come from a pack */
    bool locked;            /* mlock was asked for and succeeded */
};
const struct q3n_model_info *q3n_model_info(const q3n_model *model);
/* The dense GGUF, for the tokenizer's metadata. */
const ggf_file *q3n_model_file(const q3n_model *model);

struct q3n_session_options {
    uint32_t n_ctx;    /* most tokens the session can hold; 0: 4096 or the training
                          context, whichever is less */
    uint32_t n_ubatch; /* most tokens computed at once; 0: 512 */
};

int q3n_session_new(q3n_session **out, q3n_model *model,
                    const struct q3n_session_options *options, ggf_error *err);
void q3n_session_free(q3n_session *session);
/* Forget everything: position 0. */
void q3n_session_reset(q3n_session *session);
/* From now on show the inputs of all matrices to an observer (ops/observe.h); NULL: to
 * nobody. */
struct observer;
void q3n_session_observe(q3n_session *session, const struct observer *observer);
uint32_t q3n_session_pos(const q3n_session *session); /* tokens held so far */
uint32_t q3n_session_ctx(const q3n_session *session);

/* Append n tokens.  logits: NULL, or room for n_vocab floats for each token from
 * number `first_logits` of this call on (n - 1: just the last one).  Fails with
 * GGF_E_ARG when the context is full or an id is not in the vocabulary, with
 * GGF_E_HASH or GGF_E_IO when an expert's bytes are damaged or cannot be read; the
 * session must then be reset. */
int q3n_session_eval(q3n_session *session, const int32_t *tokens, uint32_t n,
                     uint32_t first_logits, float *logits, ggf_error *err);

#endif
