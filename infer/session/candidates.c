/* candidates.c - see candidates.h.  Nothing here sorts a whole vocabulary if the chain
 * begins with top-k, top-p or min-p, whichever: the few best are picked out, and more of
 * them only if they do not suffice. */
#include "candidates.h"

#include "../splitmix.h"
#include "topk.h"

#include <math.h>
#include <string.h>

static uint32_t id_at(const struct candidates *c, uint32_t i)
{
    return c->listed ? c->ids[i] : i;
}

static float logit_at(const struct candidates *c, uint32_t i)
{
    return c->row[id_at(c, i)];
}

static float best_of(const struct candidates *c)
{
    if (c->sorted) return logit_at(c, 0);
    float best = -INFINITY;
    for (uint32_t i = 0; i < c->n; i++)
        best = logit_at(c, i) > best ? logit_at(c, i) : best;
    return best;
}

static double weight_at(const struct candidates *c, uint32_t i, float best)
{
    return (double)expf(logit_at(c, i) - best);
}

static double sum_weights(const struct candidates *c, float best)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) sum += weight_at(c, i, best);
    return sum;
}

/* In nats. */
static double entropy(const struct candidates *c, float best, double total)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const double p = weight_at(c, i, best) / total;
        if (p > 0) sum -= p * log(p);
    }
    return sum;
}

void candidates_all(struct candidates *c)
{
    c->n = c->n_vocab;
    c->listed = c->sorted = false;
}

static void list_all(struct candidates *c)
{
    if (c->listed) return;
    c->n = 0;
    for (uint32_t i = 0; i < c->n_vocab; i++)
        if (c->row[i] > -INFINITY) c->ids[c->n++] = i;
    if (!c->n) c->ids[c->n++] = 0;
    c->listed = true;
}

/* Have the k likeliest in front of ids[], in order.  What is not listed stays so. */
static void bring_up(struct candidates *c, uint32_t k)
{
    if (!c->listed) {
        topk_row(c->row, c->n_vocab, k, c->ids);
    } else if (!c->sorted) {
        topk_sort(c->row, c->ids, c->n);
        c->sorted = true;
    }
}

/* Keep the n first of those that were brought up, but none that is out. */
static void keep(struct candidates *c, uint32_t n)
{
    c->listed = c->sorted = true;
    while (n > 1 && c->row[c->ids[n - 1]] == -INFINITY) n--;
    c->n = n;
}

static uint32_t at_least(const struct candidates *c, uint32_t n)
{
    n = n > c->min_keep ? n : c->min_keep;
    n = n < c->n ? n : c->n;
    return n ? n : 1;
}

void cut_top_k(struct candidates *c, int k)
{
    if (k <= 0 || (uint32_t)k >= c->n) return;
    bring_up(c, (uint32_t)k);
    keep(c, (uint32_t)k);
}

void cut_top_p(struct candidates *c, float p)
{
    if (p >= 1) return;
    const float best = best_of(c);
    const double enough = (double)p * sum_weights(c, best);
    double sum = 0;
    for (uint32_t up = 0, i = 0; i < c->n; i++) {
        if (i == up) {
            up = 8 * up + 64 < c->n ? 8 * up + 64 : c->n;
            bring_up(c, up);
        }
        sum += (double)expf(c->row[c->ids[i]] - best);
        if (sum >= enough && i + 1 >= c->min_keep) {
            keep(c, i + 1);
            return;
        }
    }
    keep(c, c->n);
}

void cut_min_p(struct candidates *c, float p)
{
    if (p <= 0) return;
    const double least = (double)best_of(c) + log((double)p);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) n += (double)logit_at(c, i) >= least;
    n = at_least(c, n);
    bring_up(c, n);
    keep(c, n);
}

void cut_typical(struct candidates *c, float p)
{
    if (p >= 1) return;
    list_all(c);
    const float best = best_of(c);
    const double total = sum_weights(c, best), expected = entropy(c, best, total);
    for (uint32_t i = 0; i < c->n; i++) {
        const uint32_t id = c->ids[i];
        const double surprise = log(total) - (double)(c->row[id] - best);
        c->score[id] = -(float)fabs(surprise - expected);
    }
    topk_sort(c->score, c->ids, c->n);
    c->sorted = false;
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        sum += weight_at(c, i, best) / total;
        if (sum > (double)p && i + 1 >= c->min_keep) c->n = i + 1;
    }
}

/* What lies so far below the best was no number, or minus infinity (sample.c): it says
 * nothing of how logits are spread. */
#define FAR_BELOW 1e29

void cut_top_n_sigma(struct candidates *c, float n)
{
    if (n <= 0 || c->n < 2) return;
    const float best = best_of(c);
    double sum = 0, squares = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const double below = (double)best - (double)logit_at(c, i);
        if (!(below < FAR_BELOW)) continue;
        sum += below;
        squares += below * below;
        count++;
    }
    if (!count) return;
    const double mean = sum / count, variance = squares / count - mean * mean;
    const double reach = (double)n * sqrt(fmax(variance, 0));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++)
        kept += (double)best - (double)logit_at(c, i) <= reach;
    kept = at_least(c, kept);
    bring_up(c, kept);
    keep(c, kept);
}

void cut_xtc(struct candidates *c, float p, float threshold, uint64_t *random)
{
    if (p <= 0 || threshold > 0.5f || c->n < 2) return;
    if (splitmix_uniform(random) >= (double)p) return;
    const float best = best_of(c);
    const double least = (double)threshold * sum_weights(c, best);
    uint32_t above = 0;
    for (uint32_t i = 0; i < c->n; i++) above += weight_at(c, i, best) >= least;
    if (above < 2 || c->n - (above - 1) < c->min_keep) return;
    bring_up(c, above);
    for (uint32_t i = 0; i + 1 < above; i++) c->row[c->ids[i]] = -INFINITY;
    if (!c->listed) return;
    c->n -= above - 1;
    memmove(c->ids, c->ids + above - 1, c->n * sizeof *c->ids);
}

/* What the temperature is at this entropy. */
static double temperature(const struct candidates *c, float best, double t, double range,
                          double exponent)
{
    uint32_t n = 0;
    if (range <= 0) return t;
    for (uint32_t i = 0; i < c->n; i++) n += logit_at(c, i) > -INFINITY;
    if (n < 2) return t;
    const double share = entropy(c, best, sum_weights(c, best)) / log(n);
    const double least = fmax(0, t - range);
    return least + (t + range - least) * pow(share, exponent);
}

void apply_temperature(struct candidates *c, float t, float range, float exponent)
{
    const float best = best_of(c);
    const double by = temperature(c, best, (double)t, (double)range, (double)exponent);
    if (best == -INFINITY) return;
    if (by <= 0) {
        bring_up(c, 1);
        keep(c, 1);
        return;
    }
    const float scale = (float)(1 / by);
    for (uint32_t i = 0; i < c->n; i++) {
        float *logit = &c->row[id_at(c, i)];
        if (*logit < best) *logit = (*logit - best) * scale;
        else *logit = 0;
    }
}

int32_t candidates_draw(const struct candidates *c, uint64_t *random)
{
    const float best = best_of(c);
    if (best == -INFINITY) return -1;
    double r = splitmix_uniform(random) * sum_weights(c, best);
    uint32_t last = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (logit_at(c, i) == best) last = i;
        r -= weight_at(c, i, best);
        if (r < 0) return (int32_t)id_at(c, i);
    }
    return (int32_t)id_at(c, last); /* rounding */
}
