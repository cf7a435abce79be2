/* logprob.h - log probabilities of the next token, as APIs report them: of the softmax of
 * the model's own logits, before bias, penalties, temperature or any other step of
 * sampling. */
#ifndef INFER_SESSION_LOGPROB_H
#define INFER_SESSION_LOGPROB_H

#include <stdint.h>

enum { Q3N_MAX_LOGPROBS = 20 };

struct q3n_logprob {
    int32_t id;
    float logprob; /* natural */
};

/* Those of the n likeliest, best first, n at most Q3N_MAX_LOGPROBS and n_vocab; returns
 * that of token `id`.  The logits must be numbers, -INFINITY included. */
float q3n_logprobs(const float *logits, uint32_t n_vocab, int32_t id,
                   struct q3n_logprob *top, uint32_t n);

#endif
