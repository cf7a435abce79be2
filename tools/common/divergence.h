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

/* What was found at each prediction; arrays of n. */
struct divergence {
    size_t n;
    float *nll, *base_nll; /* -log p of the token that came */
    float *kld;            /* of the distributions */
    float *dp;             /* p - base p of the token that came */
    size_t same_top;       /* where both think the same token likeliest */
};

bool divergence_alloc(struct divergence *d, size_t n);
void divergence_free(struct divergence *d);

/* Sort by value and print.  kld and dp are in another order afterwards. */
void divergence_print(struct divergence *d, FILE *f);
void divergence_json(struct divergence *d, struct json *j);

#endif
