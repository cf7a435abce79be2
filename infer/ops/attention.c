/* attention.c - norms, rotation, scores, weighted values, output gate. */
#include "attention.h"
#include "rope.h"

#include <math.h>
#include <string.h>

/* Where things lie in a projected row. */
static float *query(const struct attention *a, float *row, uint32_t head)
{
    return row + (size_t)head * 2 * a->head_dim; /* its gate follows */
}

static float *key(const struct attention *a, float *row, uint32_t kv_head)
{
    return row + ((size_t)a->n_head * 2 + kv_head) * a->head_dim;
}

static float *value(const struct attention *a, float *row, uint32_t kv_head)
{
    return key(a, row, a->n_head_kv + kv_head);
}

static void prepare(const struct attention *a, const struct vec_ops *ops,
                    const struct kv_cache *cache, uint32_t pos, float *row,
                    const float *rope)
{
    const uint32_t dim = a->head_dim;
    for (uint32_t h = 0; h < a->n_head; h++) {
        float *q = query(a, row, h);
        ops->rms_norm(q, q, a->q_norm, dim, a->eps);
        rope_apply(q, rope, a->n_rot);
    }
    for (uint32_t h = 0; h < a->n_head_kv; h++) {
        float *k = key(a, row, h);
        const size_t at = ((size_t)h * cache->n_ctx + pos) * dim;
        ops->rms_norm(k, k, a->k_norm, dim, a->eps);
        rope_apply(k, rope, a->n_rot);
        memcpy(cache->k + at, k, dim * sizeof *k);
        memcpy(cache->v + at, value(a, row, h), dim * sizeof *k);
    }
}

/* One query against the n keys up to its own. */
static void attend(const struct attention *a, const struct vec_ops *ops,
                   const struct kv_cache *cache, uint32_t head, size_t n, const float *q,
                   float *scores, float *out)
{
    const uint32_t group = a->n_head / a->n_head_kv; /* whole: hparams.c has checked */
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
    const uint32_t dim = a->head_dim, kv_head = head / group;
    const float *k = cache->k + (size_t)kv_head * cache->n_ctx * dim;
    const float *v = cache->v + (size_t)kv_head * cache->n_ctx * dim;
    const float scale = 1.0f / sqrtf((float)dim);
    ops->dots(scores, q, k, n, dim, scale);
    softmax(ops, scores, n);
    ops->mix(out, scores, v, n, dim);
    ops->sigm_mul(out, q + dim, dim);
}

void attention_team(const struct member *me, const struct attention *a,
                    const struct vec_ops *ops, const struct kv_cache *cache, uint32_t pos,
                    uint32_t tokens, float *projected, const float *rope, float *scores,
                    float *out)
{
    const size_t width = a->in.width;
    for (uint64_t t; team_next(me, tokens, &t);)
        prepare(a, ops, cache, pos + (uint32_t)t, projected + t * width,
                rope + t * a->n_rot);

    /* The last tokens have the longest work: they come first. */
    for (uint64_t i; team_next(me, (uint64_t)tokens * a->n_head, &i);) {
        const uint32_t head = (uint32_t)(i % a->n_head);
        const uint32_t t = tokens - 1 - (uint32_t)(i / a->n_head);
        attend(a, ops, cache, head, (size_t)pos + t + 1,
               query(a, projected + t * width, head), scores,
               out + ((size_t)t * a->n_head + head) * a->head_dim);
    }
}
