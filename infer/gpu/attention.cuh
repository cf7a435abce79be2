/* attention.cuh - what the parts of attention share.
 *
 * Keys are taken in splits, by blocks of their own; what a split gives to a query, its
 * part, is the largest score, and sums relative to it, which are then merged (the online
 * softmax of "FlashAttention", Dao et al. 2022).  Where a split begins is computed on the
 * device from the position, so that a recorded graph is good for any. */
#ifndef INFER_GPU_ATTENTION_CUH
#define INFER_GPU_ATTENTION_CUH

#include "kv.cuh"

constexpr uint32_t MOST_DIM = 256;                     /* of a head */
constexpr uint32_t ATTEND_FEW = 8, ATTEND_SPLITS = 64; /* at most */
constexpr uint32_t ATTEND_ROWS = 64; /* heads of tokens for a block of attend_many() */
constexpr uint32_t LEAST_KEYS = 64;  /* of a split but the last */

/* A launch; a copy goes to the device. */
struct attend {
    uint32_t n_head, n_head_kv, head_dim, n_rot, n_ctx;
    float eps;
    const float *q_norm, *k_norm;
    struct kv_rows k, v;
    const uint32_t *pos;    /* of the call's first token, */
    uint32_t first, tokens; /* from which on this is the first of the launch */
    float *projected;       /* of the launch, a row of `width` for each token */
    size_t width;
    float *out;      /* of the launch */
    uint32_t splits; /* at most */
    bool alone;      /* splits are those that a token has alone */
    float *parts;    /* [head_dim, splits, n_head, tokens] */
    float *sums;     /* [2, splits, n_head, tokens]: largest score, sum of the weights */
};

/* base^(-2 i / n_rot) */
struct frequencies {
    double f[MOST_DIM / 2];
};

/* Parts of up to ATTEND_FEW tokens: a block has one, with the query heads that share its
 * keys, and computes in binary32.  f: of one token, which has not been prepared; or
 * NULL. */
void attend_few(gpu *g, const struct attend *a, const struct frequencies *f);
/* Of more: rows, heads of tokens, meet keys in the tensor cores; queries, keys, values
 * and weights are rounded to binary16. */
void attend_many(gpu *g, const struct attend *a);

/* ---- On the device ---------------------------------------------------------------- */

/* Query heads that share keys. */
static inline __host__ __device__ uint32_t share(const struct attend *a)
{
    return a->n_head / a->n_head_kv;
}

/* Of a head of a token; its gate follows. */
static inline __device__ const float *query(const struct attend *a, uint32_t token,
                                            uint32_t head)
{
    return a->projected + token * a->width + (size_t)head * 2 * a->head_dim;
}

/* Keys that a token sees. */
static inline __device__ uint32_t visible(const struct attend *a, uint32_t token)
{
    return *a->pos + a->first + token + 1;
}

/* Keys of a split, for queries which see `keys` of them. */
static inline __device__ uint32_t split_keys(const struct attend *a, uint32_t keys)
{
    if (!a->alone) keys = visible(a, a->tokens - 1);
    return div_up(div_up(keys, a->splits), LEAST_KEYS) * LEAST_KEYS;
}

/* Number of a part. */
static inline __device__ size_t part_of(const struct attend *a, uint32_t token,
                                        uint32_t head, uint32_t split)
{
    return ((size_t)token * a->n_head + head) * a->splits + split;
}

/* e^(score - max), also where there is nothing yet */
static inline __device__ float weight_of(float score, float max)
{
    return score == -INFINITY ? 0 : expf(score - max);
}

#endif
