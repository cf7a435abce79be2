/* divergence.h - how far a model is from a reference: what llama-perplexity calls the
 * KL-divergence statistics, with its definitions. */
#ifndef TOOLS_DIVERGENCE_H
#define TOOLS_DIVERGENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct json;

/* A mean and its uncertainty: standard deviation / sqrt(n - 1), 0 for ten values or less.
 */
struct estimate {
    double mean, error;
};
struct estimate estimate(double sum, double sum_of_squares, size_t n);
/* exp of it, the error carried along. */
struct estimate estimate_exp(struct estimate e);

/* What was found at each prediction; arrays of n > 0. */
struct divergence {
    size_t n;
    float *nll, *base_nll; /* -log p of the token that came */
    float *kld;            /* of the distributions */
    float *dp;             /* p - base p of the token that came */
    bool *same;            /* do both think the same token likeliest? */
    float *ranked_kld;     /* by divergence_rank(): kld and dp in ascending order */
    float *ranked_dp;
};

bool divergence_alloc(struct divergence *d, size_t n);
void divergence_free(struct divergence *d);

/* When all predictions are in, before anything below. */
void divergence_rank(struct divergence *d);

struct estimate divergence_kld(const struct divergence *d);
struct estimate divergence_same_top(const struct divergence *d); /* a share */

/* Between the neighbours of rank fraction * (n - 1) of ascending values. */
double percentile(const float *ranked, size_t n, double fraction);

void divergence_print(const struct divergence *d, FILE *f);
void divergence_json(const struct divergence *d, struct json *j);

#endif
