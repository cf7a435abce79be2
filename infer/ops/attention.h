/* attention.h - gated full attention: everything between the two projections. */
#ifndef INFER_OPS_ATTENTION_H
#define INFER_OPS_ATTENTION_H

#include "kv.h"
#include "matrix.h"
#include "vec.h"

struct attention {
    uint32_t n_head, n_head_kv, head_dim, n_rot;
    float eps;
    const float *q_norm, *k_norm; /* head_dim */
    struct linear in;  /* -> for each head query and gate; then keys; then values */
    struct linear out; /* n_head * head_dim -> n_embd */
};

/* Floats of scratch that a thread needs, and those that all share. */
size_t attention_scratch(const struct attention *a);
size_t attention_shared(const struct attention *a, uint32_t n_ctx);

/* A batch of tokens at positions pos, pos + 1, ... */
struct attention_run {
    const struct kv_cache *cache; /* their keys and values are put there */
    uint32_t pos, tokens;
    float *projected;        /* tokens x in.width, changed */
    const float *rope;       /* n_rot for each token */
    float *scratch, *shared; /* of the thread, a multiple of 64 bytes; of all */
    float *out;              /* tokens x n_head * head_dim */
};

void attention_team(const struct member *me, const struct attention *a,
                    const struct vec_ops *ops, const struct attention_run *run);

#endif
