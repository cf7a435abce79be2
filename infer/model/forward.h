/* forward.h - a batch of tokens through the model. */
#ifndef INFER_FORWARD_H
#define INFER_FORWARD_H

#include "model.h"

/* What one sequence remembers: for each layer its keys and values, or its state. */
struct sequence {
    struct kv_cache *kv;       /* [n_layer]; unused in recurrent layers */
    struct delta_state *delta; /* [n_layer]; unused in attention layers */
};

/* Buffers for a batch of up to n_batch tokens and n_ctx positions. */
struct workspace {
    uint32_t n_batch;
    float *x, *norm;  /* [n_embd, tokens]: the residual stream, and normed */
    float *projected; /* [widest projection, tokens] */
    float *mixed;     /* [widest mixer, tokens]: what attention or delta net give */
    float *out;       /* [n_embd, tokens]: of the mixer's output projection */
    float *rope;      /* [n_rot, tokens] */
    void *norm_acts, *mixed_acts;
    float *thread; /* [thread_floats, threads]: scratch */
    size_t thread_floats;
    float *shared; /* scratch of all */
    struct moe_work moe;
    struct model_memory memory; /* owns all of them */
    uint64_t bytes;             /* of all of them */
    bool counting;              /* only that: nothing is allocated */
};

int workspace_new(struct workspace *w, const q3n_model *model, uint32_t n_batch,
                  uint32_t n_ctx, ggf_error *err);
void workspace_free(struct workspace *w);
/* What it takes. */
uint64_t workspace_bytes(const q3n_model *model, uint32_t n_batch, uint32_t n_ctx);

/* Tokens of one sequence, at positions pos, pos + 1, ... */
struct batch {
    const int32_t *tokens;
    uint32_t n, pos;
    uint32_t first_logits; /* logits are wanted from this token on; n: of none */
    float *logits;         /* [n_vocab, n - first_logits] */
    const struct observer *observer; /* NULL: nobody watches */
    const struct route_watch *watch; /* NULL: nobody */
    struct op_clock *clock;          /* NULL: none */
};

/* Results do not depend on how a sequence is cut into batches, nor on threads: no sum is
 * ever split.  After a failure the sequence is half moved on. */
int forward(const q3n_model *model, const struct sequence *seq, struct workspace *w,
            const struct batch *batch, ggf_error *err);

#endif
