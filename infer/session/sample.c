/* sample.c - see sample.h.  All three cuts keep the first so many tokens in order of
 * their logits.  With a top-k a heap of that size picks them out; without one they are
 * taken off a heap of all, one by one, until a cut says stop.  Nothing ever sorts a
 * vocabulary of 150,000. */
#include "sample.h"

#include "../splitmix.h"

#include <math.h>
#include <stdlib.h>

struct candidate {
    float logit;
    uint32_t id;
};

struct q3n_sampler {
    struct q3n_sample_params p;
    uint32_t n_vocab;
    uint64_t random; /* state of the generator */
    int32_t recent[Q3N_PENALTY_WINDOW];
    uint64_t n_recent;       /* tokens accepted so far */
    struct candidate *heap;  /* the likeliest on top */
    struct candidate *taken; /* in falling order */
    double *weight;          /* of those taken */
};

struct q3n_sample_params q3n_sample_defaults(void)
{
    return (struct q3n_sample_params){
        .temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f
    };
}

/* ==== The heap ============================================================ */

static bool is_before(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Let heap[i] sink to its place; the top is the likeliest, or the least likely. */
static void sift_down(struct candidate *heap, uint32_t n, uint32_t i, bool least_on_top)
{
    const struct candidate c = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && is_before(heap[child + 1], heap[child]) != least_on_top;
        if (is_before(heap[child], c) == least_on_top) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

static void make_heap(struct candidate *heap, uint32_t n, bool least_on_top)
{
    for (uint32_t i = n / 2; i-- > 0;) sift_down(heap, n, i, least_on_top);
}

static struct candidate heap_pop(struct candidate *heap, uint32_t *n, bool least_on_top)
{
    const struct candidate top = heap[0];
    heap[0] = heap[--*n];
    if (*n) sift_down(heap, *n, 0, least_on_top);
    return top;
}

/* Bring the k likeliest of n candidates, k < n, to `out` in falling order: the least of
 * the best k so far gives way to any that is better. */
static void select_top(struct candidate *all, uint32_t n, uint32_t k,
                       struct candidate *out)
{
    make_heap(all, k, true);
    for (uint32_t i = k; i < n; i++) {
        if (!is_before(all[i], all[0])) continue;
        all[0] = all[i];
        sift_down(all, k, 0, true);
    }
    for (uint32_t left = k; left;) {
        const uint32_t last = left - 1;
        out[last] = heap_pop(all, &left, true);
    }
}

/* ==== The steps =========================================================== */

/* Not the first of its kind among the n recent tokens? */
static bool is_repeated(const q3n_sampler *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (s->recent[i] == s->recent[n]) return true;
    return false;
}

static void apply_penalties(const q3n_sampler *s)
{
    const uint64_t n =
        s->n_recent < Q3N_PENALTY_WINDOW ? s->n_recent : Q3N_PENALTY_WINDOW;
    if (s->p.repeat_penalty == 1 && s->p.presence_penalty == 0) return;
    for (uint64_t i = 0; i < n; i++) {
        if (is_repeated(s, i)) continue;
        float *logit = &s->heap[s->recent[i]].logit;
        if (*logit > 0) *logit /= s->p.repeat_penalty;
        else *logit *= s->p.repeat_penalty;
        *logit -= s->p.presence_penalty;
    }
}

/* Every token with its logit, in the order of ids. */
static void list_candidates(const q3n_sampler *s, const float *logits)
{
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        const float l = logits[i];
        s->heap[i] = (struct candidate){ isnan(l) ? -INFINITY : l, i };
    }
}

static struct candidate likeliest(const q3n_sampler *s)
{
    struct candidate best = s->heap[0];
    for (uint32_t i = 1; i < s->n_vocab; i++)
        if (is_before(s->heap[i], best)) best = s->heap[i];
    return best;
}

static double sum_exp(const struct candidate *c, uint32_t n, double best)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += exp((double)c[i].logit - best);
    return sum;
}

/* Take the tokens that survive top-k, top-p and min-p; returns how many, at least one.
 * Top-p counts probabilities among what top-k left, min-p compares with the best. */
static uint32_t take(q3n_sampler *s)
{
    const uint32_t n = s->n_vocab;
    const bool cut = s->p.top_k > 0 && (uint32_t)s->p.top_k < n;
    const uint32_t k = cut ? (uint32_t)s->p.top_k : n;
    uint32_t n_heap = n;
    if (cut) select_top(s->heap, n, k, s->taken);
    else make_heap(s->heap, n, false);
    const struct candidate *kept = cut ? s->taken : s->heap;
    const double best = (double)kept[0].logit;
    const double total = s->p.top_p < 1 ? sum_exp(kept, k, best) : INFINITY;
    const double least = s->p.min_p > 0 ? best + log((double)s->p.min_p) : -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < k; i++) {
        if (!cut) s->taken[i] = heap_pop(s->heap, &n_heap, false);
        if (i && (double)s->taken[i].logit < least) return i;
        sum += exp((double)s->taken[i].logit - best);
        if (sum >= (double)s->p.top_p * total) return i + 1;
    }
    return k;
}

/* One of the n taken, by the softmax of logit / temperature. */
static int32_t draw(q3n_sampler *s, uint32_t n)
{
    const double best = s->taken[0].logit;
    double total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += s->weight[i] = exp((s->taken[i].logit - best) / s->p.temp);
    double r = splitmix_uniform(&s->random) * total;
    for (uint32_t i = 0; i < n; i++) {
        r -= s->weight[i];
        if (r < 0) return (int32_t)s->taken[i].id;
    }
    return (int32_t)s->taken[0].id; /* rounding, or no logit was a number */
}

int32_t q3n_sampler_pick(q3n_sampler *s, const float *logits)
{
    list_candidates(s, logits);
    apply_penalties(s);
    if (s->p.temp == 0) return (int32_t)likeliest(s).id;
    return draw(s, take(s));
}

/* ==== Making one ========================================================== */

int q3n_sample_check(const struct q3n_sample_params *p, ggf_error *err)
{
    const struct {
        const char *name;
        float value;
        bool ok;
        const char *want;
    } rules[] = {
        { "temperature", p->temp, p->temp >= 0 && isfinite(p->temp), "0 or more" },
        { "top-k", (float)p->top_k, p->top_k >= 0, "0 or more" },
        { "top-p", p->top_p, p->top_p >= 0 && p->top_p <= 1, "between 0 and 1" },
        { "min-p", p->min_p, p->min_p >= 0 && p->min_p <= 1, "between 0 and 1" },
        { "repeat penalty", p->repeat_penalty,
          p->repeat_penalty > 0 && isfinite(p->repeat_penalty), "above 0" },
        { "presence penalty", p->presence_penalty, isfinite(p->presence_penalty),
          "finite" },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].ok)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s is %g, but must be %s",
                            rules[i].name, (double)rules[i].value, rules[i].want);
    return 0;
}

int q3n_sampler_new(q3n_sampler **out, uint32_t n_vocab,
                    const struct q3n_sample_params *params, ggf_error *err)
{
    const int bad = q3n_sample_check(params, err);
    if (bad) return bad;
    if (!n_vocab)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the vocabulary has no tokens");
    q3n_sampler *s = calloc(1, sizeof *s);
    if (s) {
        s->p = *params;
        s->n_vocab = n_vocab;
        s->random = params->seed;
        s->heap = calloc(n_vocab, sizeof *s->heap);
        s->taken = calloc(n_vocab, sizeof *s->taken);
        s->weight = calloc(n_vocab, sizeof *s->weight);
    }
    if (!s || !s->heap || !s->taken || !s->weight) {
        q3n_sampler_free(s);
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for the sampler");
    }
    *out = s;
    return 0;
}

void q3n_sampler_free(q3n_sampler *s)
{
    if (!s) return;
    free(s->heap);
    free(s->taken);
    free(s->weight);
    free(s);
}

void q3n_sampler_accept(q3n_sampler *s, int32_t id)
{
    if (id < 0 || (uint32_t)id >= s->n_vocab) return;
    s->recent[s->n_recent++ % Q3N_PENALTY_WINDOW] = id;
}
