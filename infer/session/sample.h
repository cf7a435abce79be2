/* sample.h - choosing the next token from its logits.
 *
 * The steps, their order and their meaning are llama.cpp's: repetition penalties, top-k,
 * top-p, min-p, temperature, draw.  The generator is our own, so the same seed gives the
 * same tokens everywhere, but not those of another program. */
#ifndef INFER_SESSION_SAMPLE_H
#define INFER_SESSION_SAMPLE_H

#include "../../libgguf/libgguf.h"

/* The penalties look at so many tokens back. */
enum { Q3N_PENALTY_WINDOW = 64 };

struct q3n_sample_params {
    float temp;           /* logits are divided by it; 0: always the likeliest token */
    int top_k;            /* keep the k likeliest; 0: all */
    float top_p;          /* keep the fewest that have this probability; 1: all */
    float min_p;          /* drop what is less likely than this times the best; 0: none */
    float repeat_penalty; /* recent tokens: divide a positive logit, multiply a
                             negative one; 1: off */
    float presence_penalty; /* recent tokens: subtract from the logit; 0: off */
    uint64_t seed;
};

/* llama.cpp's: 0.8, 40, 0.95, 0.05, 1, 0, and a seed of 0. */
struct q3n_sample_params q3n_sample_defaults(void);

/* 0, or GGF_E_ARG naming the parameter that makes no sense. */
int q3n_sample_check(const struct q3n_sample_params *params, ggf_error *err);

typedef struct q3n_sampler q3n_sampler;

/* Checks the parameters, too. */
int q3n_sampler_new(q3n_sampler **out, uint32_t n_vocab,
                    const struct q3n_sample_params *params, ggf_error *err);
void q3n_sampler_free(q3n_sampler *s); /* NULL is allowed */

/* Remember a token, of the prompt or chosen, for the penalties. */
void q3n_sampler_accept(q3n_sampler *s, int32_t id);

/* Choose from n_vocab logits; what is not a number is never chosen unless nothing else is
 * there.  Equal logits count in the order of their ids. */
int32_t q3n_sampler_pick(q3n_sampler *s, const float *logits);

#endif
