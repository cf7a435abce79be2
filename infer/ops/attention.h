/* attention.h - gated full attention: everything between the two projections. */
#ifndef INFER_OPS_ATTENTION_H
#define INFER_OPS_ATTENTION_H

#include "matrix.h"
#include "vec.h"

struct attention {
    uint32_t n_head, n_head_kv, head_dim, n_rot;
    float eps;
    const float *q_norm, *k_norm; /* head_dim */
    struct linear in;  /* -> for each head query and gate; then keys; then values */
    struct linear out; /* n_head * head_dim -> n_embd */
};

/* Keys and values of one layer: [head_dim, n_ctx, n_head_kv]. */
struct kv_cache {
    float *k, *v;
    uint32_t n_ctx;
};

/* Floats of scratch that a thread needs. */
size_t attention_scratch(const struct attention *a, uint32_t n_ctx);

/* tokens x in.width projected floats (changed) -> tokens x n_head * head_dim.  The tokens
 * stand at positions pos, pos + 1, ...; their keys and values are put into the cache.
 * rope: n_rot floats for each token. */
void attention_team(const struct member *me, const struct attention *a,
                    const struct vec_ops *ops, const struct kv_cache *cache, uint32_t pos,
                    uint32_t tokens, float *projected, const float *rope, float *scratch,
                    float *out);

#endif
