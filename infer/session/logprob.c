/* logprob.c - see logprob.h. */
#include "logprob.h"

#include "topk.h"

#include <math.h>

/* log of the sum of exp(logit) */
static double log_total(const float *logits, uint32_t n)
{
    float best = logits[0];
    for (uint32_t i = 1; i < n; i++) best = logits[i] > best ? logits[i] : best;
    double sum = (double)expf(logits[0] - best);
    for (uint32_t i = 1; i < n; i++) sum += (double)expf(logits[i] - best);
    return (double)best + log(sum);
}

float q3n_logprobs(const float *logits, uint32_t n_vocab, int32_t id,
                   struct q3n_logprob *top, uint32_t n)
{
    uint32_t ids[Q3N_MAX_LOGPROBS];
    const double total = log_total(logits, n_vocab);
    if (n) topk_row(logits, n_vocab, n, ids);
    for (uint32_t i = 0; i < n; i++)
        top[i] = (struct q3n_logprob){ (int32_t)ids[i],
                                       (float)((double)logits[ids[i]] - total) };
    return (float)((double)logits[id] - total);
}
