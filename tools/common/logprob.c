/* logprob.c - see logprob.h.  The arithmetic is the one of llama-perplexity's files: what
 * is float here is float there. */
#include "logprob.h"

#include <math.h>
#include <string.h>

struct row_norm row_norm(const float *logits, uint32_t n)
{
    struct row_norm r = { logits[0], logits[0], 0 };
    for (uint32_t i = 1; i < n; i++) {
        if (logits[i] > r.max) r.max = logits[i];
        if (logits[i] < r.min) r.min = logits[i];
    }
    double sum = (double)expf(logits[0] - r.max);
    for (uint32_t i = 1; i < n; i++) sum += (double)expf(logits[i] - r.max);
    r.lse = (float)log(sum);
    return r;
}

void record_encode(uint16_t *record, const float *logits, uint32_t n, struct row_norm r)
{
    const float min = fmaxf(r.min, r.max - 16);
    const float least = min - r.max - r.lse, scale = (r.max - min) / 65535;
    const float inverse = scale > 0 ? 1 / scale : 0;
    memcpy(record, &scale, sizeof scale);
    memcpy(record + 2, &least, sizeof least);
    uint16_t *code = record + 4;
    for (uint32_t i = 0; i < n; i++)
        code[i] = logits[i] > min ? (uint16_t)lrintf(inverse * (logits[i] - min)) : 0;
    if (n % 2) code[n] = 0;
}

static void record_scale(const uint16_t *record, float *scale, float *least)
{
    memcpy(scale, record, sizeof *scale);
    memcpy(least, record + 2, sizeof *least);
}

float record_nll(const uint16_t *record, int32_t token)
{
    float scale, least;
    record_scale(record, &scale, &least);
    return -(scale * (float)record[4 + token] + least);
}

struct row_distance row_distance(const float *logits, uint32_t n, struct row_norm r,
                                 const uint16_t *record)
{
    const uint16_t *code = record + 4;
    float scale, least;
    record_scale(record, &scale, &least);
    uint32_t top = 0, base_top = 0;
    double kld = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (logits[i] > logits[top]) top = i;
        if (code[i] > code[base_top]) base_top = i;
        const float base = scale * (float)code[i] + least;
        if (base > -16) kld += (double)(expf(base) * (base - logits[i] + r.max + r.lse));
    }
    return (struct row_distance){ kld, top == base_top };
}

static uint32_t top_of(const float *logits, uint32_t n)
{
    uint32_t top = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[top]) top = i;
    return top;
}

/* With d = base - its maximum and e the same of the logits, sums over all tokens:
 * kld = sum(exp(d) (d - e)) / sum(exp(d)) - log sum(exp(d)) + log sum(exp(e)). */
struct row_distance row_distance_exact(const float *logits, const float *base, uint32_t n)
{
    const uint32_t top = top_of(logits, n), base_top = top_of(base, n);
    double base_sum = 0, sum = 0, apart = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double d = (double)base[i] - (double)base[base_top];
        const double e = (double)logits[i] - (double)logits[top], p = exp(d);
        base_sum += p;
        sum += exp(e);
        apart += p * (d - e);
    }
    return (struct row_distance){ apart / base_sum - log(base_sum) + log(sum),
                                  top == base_top };
}
