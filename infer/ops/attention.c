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

/* Heads that share their keys and values, at neighbouring tokens: every key that is
 * brought into the cache meets all of them. */
struct query_block {
    uint32_t head, heads, kv_head;
    uint32_t token, tokens;
};

enum { BLOCK_TOKENS = 4, KEY_TILE = 32 }; /* 32 keys of 256 floats: 32 KiB */

size_t attention_scratch(const struct attention *a, uint32_t n_ctx)
{
    return (size_t)BLOCK_TOKENS * (a->n_head / a->n_head_kv) * n_ctx;
}

/* How many of the keys from `first` on in a tile a token at `pos` sees. */
static size_t visible(size_t pos, size_t first)
{
    if (pos < first) return 0;
    return pos + 1 - first < KEY_TILE ? pos + 1 - first : KEY_TILE;
}

/* All rows of a block against all keys they see, tile by tile: scores into the scratch,
 * or with the scores values into the output.  Every row's sums go in the order of keys,
 * so they do not depend on what else is in the block. */
struct sweep {
    const struct attention *a;
    const struct vec_ops *ops;
    const struct kv_cache *cache;
    const struct query_block *block;
    size_t pos; /* of the block's first token */
    float *projected, *scores, *out;
};

static float *scores_of(const struct sweep *s, uint32_t t, uint32_t h)
{
    const size_t keys = s->pos + s->block->tokens;
    return s->scores + ((size_t)t * s->block->heads + h) * keys;
}

static float *query_of(const struct sweep *s, uint32_t t, uint32_t h)
{
    float *row = s->projected + (size_t)(s->block->token + t) * s->a->in.width;
    return query(s->a, row, s->block->head + h);
}

static float *out_of(const struct sweep *s, uint32_t t, uint32_t h)
{
    const size_t token = s->block->token + t;
    return s->out + (token * s->a->n_head + s->block->head + h) * s->a->head_dim;
}

static void score(const struct sweep *s)
{
    const size_t dim = s->a->head_dim;
    const float *k = s->cache->k + (size_t)s->block->kv_head * s->cache->n_ctx * dim;
    const float scale = 1.0f / sqrtf((float)dim);
    for (size_t first = 0; first < s->pos + s->block->tokens; first += KEY_TILE)
        for (uint32_t t = 0; t < s->block->tokens; t++)
            for (uint32_t h = 0; h < s->block->heads; h++)
                s->ops->dots(scores_of(s, t, h) + first, query_of(s, t, h),
                             k + first * dim, visible(s->pos + t, first), dim, scale);
}

static void weigh(const struct sweep *s)
{
    const size_t dim = s->a->head_dim;
    const float *v = s->cache->v + (size_t)s->block->kv_head * s->cache->n_ctx * dim;
    for (size_t first = 0; first < s->pos + s->block->tokens; first += KEY_TILE)
        for (uint32_t t = 0; t < s->block->tokens; t++)
            for (uint32_t h = 0; h < s->block->heads; h++)
                s->ops->mix(out_of(s, t, h), scores_of(s, t, h) + first, v + first * dim,
                            visible(s->pos + t, first), dim);
}

static void attend(const struct sweep *s)
{
    const size_t dim = s->a->head_dim;
    score(s);
    for (uint32_t t = 0; t < s->block->tokens; t++)
        for (uint32_t h = 0; h < s->block->heads; h++) {
            softmax(s->ops, scores_of(s, t, h), s->pos + t + 1);
            memset(out_of(s, t, h), 0, dim * sizeof(float));
        }
    weigh(s);
    for (uint32_t t = 0; t < s->block->tokens; t++)
        for (uint32_t h = 0; h < s->block->heads; h++)
            s->ops->sigm_mul(out_of(s, t, h), query_of(s, t, h) + dim, dim);
}

void attention_team(const struct member *me, const struct attention *a,
                    const struct vec_ops *ops, const struct kv_cache *cache, uint32_t pos,
                    uint32_t tokens, float *projected, const float *rope, float *scratch,
                    float *out)
{
    const size_t width = a->in.width;
    for (uint64_t t; team_next(me, tokens, &t);)
        prepare(a, ops, cache, pos + (uint32_t)t, projected + t * width,
                rope + t * a->n_rot);

    /* All heads of a key head together, unless that leaves threads without work.  The
     * last tokens have the longest work: they come first. */
    /* NOLINTBEGIN(clang-analyzer-core.DivideZero): hparams.c has checked the numbers */
    const uint32_t share = a->n_head / a->n_head_kv;
    const uint32_t blocks = (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    const uint32_t heads =
        (uint64_t)blocks * a->n_head_kv >= (uint64_t)me->team->n ? share : 1;
    const uint32_t per_token = a->n_head / heads;
    for (uint64_t i; team_next(me, (uint64_t)blocks * per_token, &i);) {
        struct query_block b = { .head = (uint32_t)(i % per_token) * heads,
                                 .heads = heads };
        b.kv_head = b.head / share;
        b.token = (blocks - 1 - (uint32_t)(i / per_token)) * BLOCK_TOKENS;
        b.tokens = tokens - b.token < BLOCK_TOKENS ? tokens - b.token : BLOCK_TOKENS;
        /* NOLINTEND(clang-analyzer-core.DivideZero) */
        attend(&(struct sweep){ a, ops, cache, &b, (size_t)pos + b.token, projected,
                                scratch, out });
    }
}
