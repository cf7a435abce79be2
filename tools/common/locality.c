/* locality.c - see locality.h. */
#include "locality.h"

#include "order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ==== Layers ============================================================== */

struct counting {
    struct locality *out;
    const struct trace_model *model;
    uint64_t *counts;    /* [n_expert, n_layer] */
    uint64_t *seen;      /* [n_expert, n_layer]: the token that chose it last, plus 1 */
    uint64_t *token;     /* [n_layer]: tokens so far */
    uint64_t *followers; /* [n_layer]: tokens with one before */
    uint64_t *repeated;  /* [n_layer]: experts that the token before had too */
};

/* The tokens of a sequence come one behind the other; what begins a new trace follows
 * nobody. */
static void count_block(struct counting *c, const struct trace_block *b)
{
    const uint32_t k = c->model->n_used, l = b->layer;
    uint64_t *counts = c->counts + (size_t)l * c->model->n_expert;
    uint64_t *seen = c->seen + (size_t)l * c->model->n_expert;
    for (uint32_t t = 0; t < b->tokens; t++) {
        const uint64_t now = ++c->token[l];
        for (uint32_t i = 0; i < k; i++) {
            const uint32_t e = b->choices[(uint64_t)t * k + i].expert;
            counts[e]++;
            c->repeated[l] += now > 1 && seen[e] == now - 1;
            seen[e] = now;
        }
        c->followers[l] += now > 1;
    }
    if (b->first && b->prompt) c->out->prompt_tokens += b->tokens;
    else if (b->first) c->out->decoded_tokens++;
}

static void sum_layer(const struct counting *c, uint32_t layer)
{
    const uint32_t n = c->model->n_expert;
    struct layer_locality *l = &c->out->layers[layer];
    uint64_t *counts = c->counts + (size_t)layer * n, sum = 0, top = 0;
    double entropy = 0;
    qsort(counts, n, sizeof *counts, falling_u64);
    for (uint32_t e = 0; e < n; e++) {
        sum += counts[e];
        l->used += counts[e] > 0;
        if (e < (n + 9) / 10) top += counts[e];
    }
    for (uint32_t e = 0; e < l->used; e++) {
        const double p = (double)counts[e] / (double)sum;
        entropy -= p * log(p);
    }
    l->top = sum ? (double)top / (double)sum : NAN;
    l->effective = sum ? exp(entropy) : 0;
    l->repeated = c->followers[layer]
                      ? (double)c->repeated[layer] /
                            ((double)c->followers[layer] * c->model->n_used)
                      : NAN;
    c->out->used += l->used;
}

static int measure_layers(struct counting *c, struct trace *const *traces, uint32_t n,
                          ggf_error *err)
{
    const size_t layers = c->model->n_layer, items = layers * c->model->n_expert;
    struct trace_block b;
    c->counts = calloc(items, sizeof *c->counts);
    c->seen = calloc(items, sizeof *c->seen);
    c->token = calloc(layers, sizeof *c->token);
    c->followers = calloc(layers, sizeof *c->followers);
    c->repeated = calloc(layers, sizeof *c->repeated);
    if (!c->counts || !c->seen || !c->token || !c->followers || !c->repeated)
        return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        memset(c->token, 0, layers * sizeof *c->token);
        memset(c->seen, 0, items * sizeof *c->seen);
        for (uint64_t at = 0; trace_next(traces[i], &at, &b);) count_block(c, &b);
    }
    for (uint32_t l = 0; l < c->model->n_layer; l++) sum_layer(c, l);
    return 0;
}

/* ==== Distances =========================================================== */

/* Marks at places, and how many lie below one: a Fenwick tree. */
struct marks {
    uint64_t n;
    uint32_t *sums; /* [n + 1] */
};

static void mark(struct marks *m, uint64_t place, uint32_t change)
{
    for (uint64_t i = place + 1; i <= m->n; i += i & -i) m->sums[i] += change;
}

static uint64_t marks_below(const struct marks *m, uint64_t place)
{
    uint64_t sum = 0;
    for (uint64_t i = place; i; i &= i - 1) sum += m->sums[i];
    return sum;
}

/* Each record has a mark where it was used last; those between are the distance. */
static void find_distances(struct locality *out, const struct replay_log *log,
                           struct marks *m, uint64_t *last, uint64_t *distances)
{
    uint64_t n = 0, uses = 0;
    for (uint64_t g = 0, records = 0; g < log->n_groups; g++) {
        const struct replay_group *group = &log->groups[g];
        for (uint64_t i = group->first; i < group->first + group->n; i++) {
            uint64_t *at = &last[log->items[i]];
            uses += !group->prompt;
            if (*at) {
                if (!group->prompt) distances[n++] = records - marks_below(m, *at);
                mark(m, *at - 1, UINT32_MAX); /* minus one */
            } else {
                records++;
            }
            mark(m, i, 1);
            *at = i + 1;
        }
    }
    out->first_uses = uses ? (double)(uses - n) / (double)uses : NAN;
    out->distance_half = out->distance_most = NAN;
    if (!n) return;
    qsort(distances, n, sizeof *distances, rising_u64);
    out->distance_half = (double)distances[n / 2];
    out->distance_most = (double)distances[n - 1 - n / 10];
}

static int measure_distances(struct locality *out, const struct replay_log *log,
                             ggf_error *err)
{
    const size_t items = (size_t)log->model->n_layer * log->model->n_expert;
    struct marks m = { .n = log->n_items, .sums = calloc(log->n_items + 1, 4) };
    uint64_t *last = calloc(items, sizeof *last);
    uint64_t *distances = malloc(log->n_items * sizeof *distances);
    const bool good = m.sums && last && distances;
    if (good) find_distances(out, log, &m, last, distances);
    free(m.sums);
    free(last);
    free(distances);
    return good ? 0 : ggf_no_memory(err);
}

int locality_measure(struct locality *out, struct trace *const *traces, uint32_t n,
                     const struct replay_log *log, ggf_error *err)
{
    struct counting c = { .out = out, .model = log->model };
    *out =
        (struct locality){ .layers = calloc(log->model->n_layer, sizeof *out->layers) };
    int e = out->layers ? measure_layers(&c, traces, n, err) : ggf_no_memory(err);
    if (!e) e = measure_distances(out, log, err);
    free(c.counts);
    free(c.seen);
    free(c.token);
    free(c.followers);
    free(c.repeated);
    if (e) locality_free(out);
    return e;
}

void locality_free(struct locality *l)
{
    free(l->layers);
    *l = (struct locality){ 0 };
}
