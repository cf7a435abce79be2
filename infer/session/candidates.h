/* candidates.h - the tokens that may still be chosen, and the steps that cut them down.
 *
 * The steps mean what llama.cpp's samplers of these names mean, and may come in any
 * order.  A token whose logit is -INFINITY is out, wherever it stands; no logit is NaN or
 * INFINITY.  At least one candidate stays, and `min_keep` if there are as many. */
#ifndef INFER_SESSION_CANDIDATES_H
#define INFER_SESSION_CANDIDATES_H

#include <stdbool.h>
#include <stdint.h>

struct candidates {
    float *row;       /* the logit of each token */
    uint32_t n_vocab; /* tokens */
    uint32_t *ids;    /* room for all; the candidates, if listed */
    float *score;     /* room for all; only cut_typical() needs it */
    uint32_t n;
    uint32_t min_keep;
    bool listed; /* else all tokens are candidates, and n is n_vocab */
    bool sorted; /* listed from the likeliest on */
};

/* All of the row. */
void candidates_all(struct candidates *c);

/* The k likeliest; k <= 0: all. */
void cut_top_k(struct candidates *c, int k);
/* The fewest likeliest that have together at least probability p. */
void cut_top_p(struct candidates *c, float p);
/* Those at least p times as likely as the likeliest. */
void cut_min_p(struct candidates *c, float p);
/* Those whose surprise is nearest to what is expected, up to probability p: Meister et
 * al. 2022, Locally Typical Sampling. */
void cut_typical(struct candidates *c, float p);
/* Those whose logit is within n standard deviations of the best; n <= 0: all. */
void cut_top_n_sigma(struct candidates *c, float n);
/* With a chance of p, all but the least likely of those with a probability of
 * `threshold` and more go. */
void cut_xtc(struct candidates *c, float p, float threshold, uint64_t *random);
/* Divide by t; 0: only the likeliest stays.  With a range, t - range .. t + range by the
 * entropy of the candidates, as a share of the greatest possible, to the power given. */
void apply_temperature(struct candidates *c, float t, float range, float exponent);

/* One of the candidates, by the softmax of their logits; -1 if all are out. */
int32_t candidates_draw(const struct candidates *c, uint64_t *random);

#endif
