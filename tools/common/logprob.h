/* logprob.h - log-probabilities of one row of logits, and their 16-bit form in the base
 * files of llama-perplexity. */
#ifndef TOOLS_LOGPROB_H
#define TOOLS_LOGPROB_H

#include <stddef.h>
#include <stdint.h>

/* log p of token i is logits[i] - max - lse. */
struct row_norm {
    float max, min;
    float lse; /* log of the sum of exp(logit - max) */
};
struct row_norm row_norm(const float *logits, uint32_t n);

/* -log p */
static inline float row_nll(const float *logits, struct row_norm r, int32_t token)
{
    return r.max + r.lse - logits[token];
}

/* A record: two floats, scale and least log p, over the first four codes' room; then a
 * code for each token, log p = scale * code + least; a zero if their number is odd. */
static inline size_t record_codes(uint32_t n_vocab)
{
    return 2 * (((size_t)n_vocab + 1) / 2) + 4;
}

/* Encode a row.  What is more than 16 below the best becomes the least. */
void record_encode(uint16_t *record, const float *logits, uint32_t n, struct row_norm r);

/* -log p of a token by the record. */
float record_nll(const uint16_t *record, int32_t token);

struct row_distance {
    double kld;   /* sum of p * log(p / q), p from the record and q from the logits */
    int same_top; /* do both think the same token likeliest? */
};
/* Tokens whose log p in the record is -16 or less are left out, as there. */
struct row_distance row_distance(const float *logits, uint32_t n, struct row_norm r,
                                 const uint16_t *record);

/* The same from the logits of both, over all tokens and in double. */
struct row_distance row_distance_exact(const float *logits, const float *base,
                                       uint32_t n);

#endif
