/* forward.h - a batch of tokens through the model. */
#ifndef INFER_FORWARD_H
#define INFER_FORWARD_H

#include "model.h"

/* What one sequence remembers: for each layer its keys and values, or its state. */
struct sequence {
    struct kv_cache *kv;            /* [n_layer]; unused in recurrent layers */
    struct delta_state *delta;      /* [n_layer]; unused in attention layers */
    struct device_sequence *device; /* of layers on a device, whose others are unused;
                                       NULL: there are none */
};

/* Buffers for a batch of up to n_batch tokens and n_ctx positions. */
struct workspace {
    uint32_t n_batch;
    float *x, *norm;  /* [n_embd, tokens]: the residual stream, and normed */
    float *projected; /* [widest projection, tokens] */
    float *mixed;     /* [widest mixer, tokens]: what attention or delta net give */
    float *out;       /* [n_embd, tokens]: of the mixer's output projection */
    float *rope;      /* [n_rot, tokens] */
    uint32_t *run_of; /* [tokens]: number of the run */
    uint32_t *wanted; /* [tokens]: those whose logits are wanted */
    void *norm_acts, *mixed_acts;
    float *thread; /* [thread_floats, threads]: scratch */
    size_t thread_floats;
    float *shared; /* scratch of all */
    struct moe_work moe;
    struct device_work *device; /* the same on a device, of the lane; NULL: none */
    struct model_memory memory; /* owns all of them but for buffers of the device */
    uint64_t bytes;             /* of all of them */
    bool counting;              /* only that: nothing is allocated */
};

int workspace_new(struct workspace *w, const q3n_model *model, uint32_t n_batch,
                  uint32_t n_ctx, ggf_error *err);
void workspace_free(struct workspace *w);
/* What it takes. */
uint64_t workspace_bytes(const q3n_model *model, uint32_t n_batch, uint32_t n_ctx);

/* A run of tokens of one sequence, at positions pos, pos + 1, ... */
struct run {
    const struct sequence *seq;
    const int32_t *tokens;
    uint32_t n, pos;
    uint32_t first;        /* number of its first token in the batch */
    uint32_t first_logits; /* logits are wanted from this token of it on; n: of none */
};

/* Runs of different sequences, one behind the other. */
struct batch {
    const struct run *runs;
    uint32_t n_runs, n;              /* and tokens of all of them */
    float *logits;                   /* [n_vocab, tokens whose logits are wanted] */
    const struct observer *observer; /* NULL: nobody watches */
    const struct route_watch *watch; /* NULL: nobody */
    struct op_clock *clock;          /* NULL: none */
};

/* The embedding of a token: n_embd floats. */
void embed_row(const q3n_model *model, int32_t token, float *x);

/* Results depend neither on how a sequence is cut into batches, nor on what else is in a
 * batch, nor on threads: no sum is ever split.  After a failure the sequences are half
 * moved on. */
int forward(const q3n_model *model, struct workspace *w, const struct batch *batch,
            ggf_error *err);

#endif
