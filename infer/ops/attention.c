/* attention.c - norms, rotation, scores, weighted values, output gate.
 *
 * Keys are taken in spans of fixed places.  What a query gets from a span, its part, is
 * computed without looking at the others: the largest score, and sums relative to it.
 * Parts are then merged in order (the online softmax of "FlashAttention", Dao et al.
 * 2022).  So a result does not depend on who computed which part, and one token's spans
 * can be shared among threads. */
#include "attention.h"
#include "rope.h"

#include <math.h>
#include <string.h>

enum {
    SPAN = 256,       /* keys in a part */
    TILE = 32,        /* values decoded at once: 32 KiB of 256 floats */
    BLOCK_TOKENS = 4, /* that meet keys and values together */
    PART_HEAD = 16,   /* floats before the sums of values in a part */
};

/* ---- Where things lie ------------------------------------------------------ */

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

/* The heads that share keys and values. */
static uint32_t share(const struct attention *a)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): hparams.c has checked the numbers
     */
    return a->n_head / a->n_head_kv;
}

static size_t spans(size_t keys) { return (keys + SPAN - 1) / SPAN; }

/* A part: largest score, sum of the weights, then from PART_HEAD on the weighted sum of
 * the values.  Weights are e^(score - largest). */
static size_t part_floats(const struct attention *a) { return PART_HEAD + a->head_dim; }

/* Bytes of an encoded query, in whatever form. */
static size_t query_bytes(const struct attention *a)
{
    const size_t f32 = act_bytes(ACT_F32, a->head_dim);
    const size_t q8 = act_bytes(ACT_Q8_0, a->head_dim);
    return f32 > q8 ? f32 : q8;
}

size_t attention_scratch(const struct attention *a)
{
    const size_t rows = (size_t)BLOCK_TOKENS * share(a);
    return rows * (query_bytes(a) / sizeof(float) + SPAN + 2 * part_floats(a)) +
           (size_t)TILE * a->head_dim;
}

size_t attention_shared(const struct attention *a, uint32_t n_ctx)
{
    return spans(n_ctx) * BLOCK_TOKENS * a->n_head * part_floats(a);
}

/* ---- Queries, keys and values ---------------------------------------------- */

static void prepare(const struct attention *a, const struct vec_ops *ops,
                    const struct attention_run *run, size_t token)
{
    const struct kv_cache *c = run->cache;
    const uint32_t dim = a->head_dim;
    const float scale = 1.0f / sqrtf((float)dim);
    const float *rope = run->rope + token * a->n_rot;
    float *row = run->projected + token * a->in.width;
    for (uint32_t h = 0; h < a->n_head; h++) {
        float *q = query(a, row, h);
        ops->rms_norm(q, q, a->q_norm, dim, a->eps);
        rope_apply(q, rope, a->n_rot);
        for (uint32_t i = 0; i < dim; i++) q[i] *= scale;
    }
    for (uint32_t h = 0; h < a->n_head_kv; h++) {
        float *k = key(a, row, h);
        ops->rms_norm(k, k, a->k_norm, dim, a->eps);
        rope_apply(k, rope, a->n_rot);
        c->k.encode(k, dim, NULL, kv_row(c, &c->k, h, run->pos + token));
        c->v.encode(value(a, row, h), dim, NULL, kv_row(c, &c->v, h, run->pos + token));
    }
}

/* ---- Parts ------------------------------------------------------------------ */

/* Neighbouring tokens with all heads that share a key head: a row is a token's head,
 * heads first. */
struct block {
    const struct attention *a;
    const struct vec_ops *ops;
    const struct attention_run *run;
    uint32_t kv_head, token, tokens, rows;
    uint8_t *queries; /* encoded, query_bytes() each */
    float *scores;    /* [SPAN, rows] */
    float *values;    /* [head_dim, TILE] */
    float *parts[2];  /* [part_floats(), rows] */
};

static void block_init(struct block *b, uint32_t kv_head, uint32_t token)
{
    const struct attention *a = b->a;
    const uint32_t rest = b->run->tokens - token;
    b->kv_head = kv_head;
    b->token = token;
    b->tokens = rest < BLOCK_TOKENS ? rest : BLOCK_TOKENS;
    b->rows = b->tokens * share(a);
    float *p = b->run->scratch;
    b->queries = (uint8_t *)p;
    p += b->rows * query_bytes(a) / sizeof *p;
    b->scores = p;
    b->values = b->scores + (size_t)b->rows * SPAN;
    b->parts[0] = b->values + (size_t)TILE * a->head_dim;
    b->parts[1] = b->parts[0] + b->rows * part_floats(a);
}

static float *query_of(const struct block *b, uint32_t r)
{
    const struct attention *a = b->a;
    float *row = b->run->projected + (b->token + r / share(a)) * (size_t)a->in.width;
    return query(a, row, b->kv_head * share(a) + r % share(a));
}

static void encode_queries(const struct block *b)
{
    for (uint32_t r = 0; r < b->rows; r++)
        act_encode(b->run->cache->k.act, query_of(b, r), b->a->head_dim,
                   b->queries + r * query_bytes(b->a));
}

/* How many keys of those from `first` on, at most `most`, row r sees. */
static size_t visible(const struct block *b, uint32_t r, size_t first, size_t most)
{
    const size_t end = (size_t)b->run->pos + b->token + r / share(b->a) + 1;
    if (end <= first) return 0;
    return end - first < most ? end - first : most;
}

/* Scores become weights; the sum of values is still nothing. */
static void begin_part(const struct block *b, float *part, float *scores, size_t n)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (scores[i] > max) max = scores[i];
    part[0] = max;
    part[1] = b->ops->exp_sum(scores, max, n);
    memset(part + PART_HEAD, 0, b->a->head_dim * sizeof *part);
}

/* Values from `first` on as floats; those that are floats stay where they are. */
static const float *values_of(const struct block *b, size_t first, size_t n)
{
    const struct kv_cache *c = b->run->cache;
    const uint8_t *rows = kv_row(c, &c->v, b->kv_head, first);
    if (c->v.row_bytes == b->a->head_dim * sizeof(float)) return (const void *)rows;
    c->v.decode(rows, b->values, n * b->a->head_dim);
    return b->values;
}

/* What the keys of the span from `first` on give to all rows. */
static void attend(const struct block *b, size_t first, float *parts)
{
    const struct kv_cache *c = b->run->cache;
    const size_t dim = b->a->head_dim, each = part_floats(b->a);
    const size_t keys = visible(b, b->rows - 1, first, SPAN);
    c->k.mul(b->scores, SPAN, kv_row(c, &c->k, b->kv_head, first), c->k.row_bytes, keys,
             b->queries, query_bytes(b->a), b->rows, dim);
    for (uint32_t r = 0; r < b->rows; r++)
        begin_part(b, parts + r * each, b->scores + (size_t)r * SPAN,
                   visible(b, r, first, SPAN));
    for (size_t i = 0; i < keys; i += TILE) {
        const size_t n = keys - i < TILE ? keys - i : TILE;
        const float *v = values_of(b, first + i, n);
        for (uint32_t r = 0; r < b->rows; r++)
            b->ops->mix(parts + r * each + PART_HEAD, b->scores + (size_t)r * SPAN + i, v,
                        visible(b, r, first + i, n), dim);
    }
}

static void merge(const struct block *b, float *into, const float *part)
{
    const size_t dim = b->a->head_dim;
    float weight = 1;
    if (part[0] > into[0]) {
        const float shrink = expf(into[0] - part[0]);
        for (size_t i = 0; i < dim; i++) into[PART_HEAD + i] *= shrink;
        into[0] = part[0];
        into[1] *= shrink;
    } else {
        weight = expf(part[0] - into[0]);
    }
    into[1] += weight * part[1];
    b->ops->axpy(into + PART_HEAD, weight, part + PART_HEAD, dim);
}

/* The output of row r: values over weights, gated. */
static void finish(const struct block *b, uint32_t r, const float *part)
{
    const size_t dim = b->a->head_dim;
    const uint32_t heads = share(b->a), head = b->kv_head * heads + r % heads;
    float *out =
        b->run->out + ((b->token + r / heads) * (size_t)b->a->n_head + head) * dim;
    const float scale = 1.0f / part[1];
    for (size_t i = 0; i < dim; i++) out[i] = scale * part[PART_HEAD + i];
    b->ops->sigm_mul(out, query_of(b, r) + dim, dim);
}

/* ---- Who does what ----------------------------------------------------------- */

/* All spans of a block, one after the other. */
static void whole_block(struct block *b, uint32_t kv_head, uint32_t token)
{
    const size_t each = part_floats(b->a);
    block_init(b, kv_head, token);
    encode_queries(b);
    attend(b, 0, b->parts[0]);
    for (size_t first = SPAN; visible(b, b->rows - 1, first, 1); first += SPAN) {
        attend(b, first, b->parts[1]);
        for (uint32_t r = 0; r < b->rows; r++)
            if (visible(b, r, first, 1))
                merge(b, b->parts[0] + r * each, b->parts[1] + r * each);
    }
    for (uint32_t r = 0; r < b->rows; r++) finish(b, r, b->parts[0] + r * each);
}

/* Few tokens: a span of one key head is a piece of work. */
static void split_team(const struct member *me, struct block *b)
{
    const struct attention *a = b->a;
    const struct attention_run *run = b->run;
    const size_t n_spans = spans((size_t)run->pos + run->tokens), each = part_floats(a);
    const size_t span_floats = (size_t)run->tokens * a->n_head * each;
    for (uint64_t i; team_next(me, n_spans * a->n_head_kv, &i);) {
        const size_t span = i / a->n_head_kv;
        block_init(b, (uint32_t)(i % a->n_head_kv), 0);
        encode_queries(b);
        attend(b, span * SPAN,
               run->shared + span * span_floats + b->kv_head * b->rows * each);
    }
    for (uint64_t i; team_next(me, (uint64_t)run->tokens * a->n_head, &i);) {
        const uint32_t rows = run->tokens * share(a);
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are tokens and heads */
        const uint32_t r = (uint32_t)(i % rows);
        float *part = run->shared + i * each;
        block_init(b, (uint32_t)(i / rows), 0);
        for (size_t span = 1; span < n_spans; span++)
            if (visible(b, r, span * SPAN, 1)) merge(b, part, part + span * span_floats);
        finish(b, r, part);
    }
}

void attention_team(const struct member *me, const struct attention *a,
                    const struct vec_ops *ops, const struct attention_run *run)
{
    const uint32_t blocks = (run->tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    struct block b = { .a = a, .ops = ops, .run = run };
    for (uint64_t t; team_next(me, run->tokens, &t);) prepare(a, ops, run, t);
    if (blocks == 1 && run->pos + run->tokens > SPAN) {
        split_team(me, &b);
        return;
    }
    /* The last tokens have the longest work: they come first. */
    for (uint64_t i; team_next(me, (uint64_t)blocks * a->n_head_kv, &i);)
        whole_block(&b, (uint32_t)(i % a->n_head_kv),
                    (blocks - 1 - (uint32_t)(i / a->n_head_kv)) * BLOCK_TOKENS);
}
