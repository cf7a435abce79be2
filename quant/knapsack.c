/* knapsack.c - see knapsack.h.
 *
 * 1. Lagrange: give a byte a price and let each item take its cheapest option, which is a
 *    point of its lower convex hull.  Bisection finds the price at which the choice just
 *    fits.  Total price minus that of the budget bounds every choice from below.
 * 2. Upgrades into what is left of the budget give a first answer.
 * 3. Dynamic programming over the items, largest first, keeps the partial choices that no
 *    other beats in both bytes and cost.  A partial choice whose excess over the bound,
 *    with the bytes that it must leave unused, is above that of the best answer is
 *    dropped; that leaves little beside the hull's path.  Should it still be too much,
 *    only the best of each interval of bytes is kept. */
#include "knapsack.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_STATES = 8192, BISECTIONS = 200 };

/* A partial choice: the options of the first items. */
struct state {
    uint64_t bytes;
    double excess;   /* over the cheapest options at the price lambda */
    uint32_t parent; /* in the layer before */
    uint32_t option;
};

struct layer {
    struct state *states;
    size_t n;
};

struct solver {
    struct knapsack_item *items;
    size_t n, limit;
    uint64_t budget;
    double lambda;
    size_t *order;          /* items, largest first */
    uint64_t *least, *most; /* bytes that items order[i..] take at least, at most */
    double *cheapest;       /* cost + lambda * bytes of the best option, by item */
    struct layer *layers;   /* n + 1 */
    struct state *merged;   /* scratch: limit * KNAPSACK_OPTIONS */
    double best_excess;     /* excess + lambda * unused bytes of the best answer */
};

static double priced(const struct knapsack_option *o, double lambda)
{
    return o->cost + lambda * (double)o->bytes;
}

/* ---- The bound and a first answer ------------------------------------------- */

/* Let each item take its cheapest option at a price, of two alike the smaller one;
 * returns their bytes and the bound that follows. */
static uint64_t choose_at(struct knapsack_item *items, size_t n, uint64_t budget,
                          double lambda, double *bound)
{
    uint64_t bytes = 0;
    *bound = 0;
    for (size_t i = 0; i < n; i++) {
        const struct knapsack_option *o = items[i].options;
        int best = 0;
        for (int k = 1; k < items[i].n_options; k++) {
            const double a = priced(&o[k], lambda), b = priced(&o[best], lambda);
            if (a < b || (a == b && o[k].bytes < o[best].bytes)) best = k;
        }
        items[i].chosen = best;
        bytes += o[best].bytes;
        *bound += priced(&o[best], lambda);
    }
    *bound -= lambda * (double)budget;
    return bytes;
}

/* The smallest options; of two alike the one of less cost. */
static uint64_t choose_smallest(struct knapsack_item *items, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const struct knapsack_option *o = items[i].options;
        int best = 0;
        for (int k = 1; k < items[i].n_options; k++)
            if (o[k].bytes < o[best].bytes ||
                (o[k].bytes == o[best].bytes && o[k].cost < o[best].cost))
                best = k;
        items[i].chosen = best;
        bytes += o[best].bytes;
    }
    return bytes;
}

/* A price above which no item pays for a byte more. */
static double highest_price(const struct knapsack_item *items, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < items[i].n_options; k++)
            for (int m = 0; m < items[i].n_options; m++) {
                const struct knapsack_option *a = &items[i].options[k],
                                             *b = &items[i].options[m];
                if (a->bytes >= b->bytes || a->cost <= b->cost) continue;
                most = fmax(most, (a->cost - b->cost) / (double)(b->bytes - a->bytes));
            }
    return most;
}

/* Leaves the items with a choice that fits. */
static void find_price(struct knapsack_item *items, size_t n, uint64_t budget,
                       struct knapsack_result *r)
{
    double bound, low = 0, high = 2 * highest_price(items, n);
    r->lambda = 0;
    if (choose_at(items, n, budget, 0, &r->bound) <= budget) return;
    for (int i = 0; i < BISECTIONS && low < high; i++) {
        const double mid = low + (high - low) / 2;
        if (mid <= low || mid >= high) break;
        if (choose_at(items, n, budget, mid, &bound) > budget) low = mid;
        else high = mid;
    }
    choose_at(items, n, budget, high, &bound);
    r->bound = bound;
    r->lambda = high;
}

static void add_up(const struct knapsack_item *items, size_t n, struct knapsack_result *r)
{
    r->bytes = 0;
    r->cost = 0;
    for (size_t i = 0; i < n; i++) {
        r->bytes += items[i].options[items[i].chosen].bytes;
        r->cost += items[i].options[items[i].chosen].cost;
    }
}

/* Another option for an item, and what it saves for a byte more. */
struct step {
    double saves;
    size_t item;
    int option;
};

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->saves != y->saves) return x->saves > y->saves ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

/* The step of an item that saves most for a byte, of those that fit. */
static bool best_step(struct step *best, const struct knapsack_item *items, size_t i,
                      uint64_t room)
{
    const struct knapsack_option *o = items[i].options, *now = &o[items[i].chosen];
    *best = (struct step){ .item = i };
    for (int k = 0; k < items[i].n_options; k++) {
        const uint64_t more = o[k].bytes > now->bytes ? o[k].bytes - now->bytes : 0;
        if (o[k].cost >= now->cost || more > room) continue;
        const double saves = (now->cost - o[k].cost) / (more ? (double)more : 0.5);
        if (saves <= best->saves) continue;
        best->saves = saves;
        best->option = k;
    }
    return best->saves > 0;
}

/* While something fits: one step for each item at most, those that save most for a byte
 * first.  False if memory ends. */
static bool upgrade(struct knapsack_item *items, size_t n, uint64_t budget,
                    struct knapsack_result *r)
{
    struct step *steps = malloc((n + 1) * sizeof *steps);
    for (size_t n_steps = 1; steps && n_steps;) {
        n_steps = 0;
        for (size_t i = 0; i < n; i++)
            if (best_step(&steps[n_steps], items, i, budget - r->bytes)) n_steps++;
        qsort(steps, n_steps, sizeof *steps, compare_steps);
        for (size_t k = 0; k < n_steps; k++) {
            struct knapsack_item *item = &items[steps[k].item];
            const uint64_t left = r->bytes - item->options[item->chosen].bytes;
            const uint64_t wanted = item->options[steps[k].option].bytes;
            if (wanted > budget - left) continue;
            r->bytes = left + wanted;
            item->chosen = steps[k].option;
        }
    }
    add_up(items, n, r);
    const bool ok = steps != NULL;
    free(steps);
    return ok;
}

/* ---- Dynamic programming ---------------------------------------------------- */

static uint64_t size_of(const struct knapsack_item *item, bool most)
{
    uint64_t v = item->options[0].bytes;
    for (int k = 1; k < item->n_options; k++) {
        const uint64_t b = item->options[k].bytes;
        if (most ? b > v : b < v) v = b;
    }
    return v;
}

/* Largest first, then in the caller's order: an insertion sort, for qsort() takes no
 * context and the items are some hundreds. */
static void sort_items(struct solver *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const uint64_t bytes = size_of(&s->items[i], true);
        size_t at = i;
        for (; at > 0 && size_of(&s->items[s->order[at - 1]], true) < bytes; at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

static bool prepare(struct solver *s)
{
    s->order = calloc(s->n + 1, sizeof *s->order);
    s->least = calloc(s->n + 1, sizeof *s->least);
    s->most = calloc(s->n + 1, sizeof *s->most);
    s->cheapest = calloc(s->n + 1, sizeof *s->cheapest);
    s->layers = calloc(s->n + 1, sizeof *s->layers);
    s->merged = malloc(s->limit * KNAPSACK_OPTIONS * sizeof *s->merged);
    if (!s->order || !s->least || !s->most || !s->cheapest || !s->layers || !s->merged)
        return false;
    sort_items(s);
    for (size_t i = s->n; i-- > 0;) {
        const struct knapsack_item *item = &s->items[s->order[i]];
        s->least[i] = s->least[i + 1] + size_of(item, false);
        s->most[i] = s->most[i + 1] + size_of(item, true);
        double best = INFINITY;
        for (int k = 0; k < item->n_options; k++)
            best = fmin(best, priced(&item->options[k], s->lambda));
        s->cheapest[s->order[i]] = best;
    }
    return true;
}

static void release(struct solver *s)
{
    for (size_t i = 0; s->layers && i <= s->n; i++) free(s->layers[i].states);
    free(s->order);
    free(s->least);
    free(s->most);
    free(s->cheapest);
    free(s->layers);
    free(s->merged);
}

/* May a partial choice of `depth` items become an answer as good as the best? */
static bool promising(const struct solver *s, const struct state *state, size_t depth)
{
    if (state->bytes > s->budget || s->budget - state->bytes < s->least[depth])
        return false;
    const uint64_t room = s->budget - state->bytes;
    const uint64_t unused = room > s->most[depth] ? room - s->most[depth] : 0;
    return state->excess + s->lambda * (double)unused <= s->best_excess;
}

/* Is b, which is no smaller, worth keeping beside a?  In costs, not in excess. */
static bool improves(const struct solver *s, const struct state *a, const struct state *b)
{
    return b->excess - s->lambda * (double)(b->bytes - a->bytes) < a->excess;
}

/* All extensions of a layer by one item, by bytes, without those that another beats:
 * a merge of one sorted list for each option. */
static size_t extend(struct solver *s, const struct layer *from, size_t depth)
{
    const size_t item = s->order[depth];
    const struct knapsack_option *o = s->items[item].options;
    const int n_options = s->items[item].n_options;
    size_t at[KNAPSACK_OPTIONS] = { 0 }, n = 0;
    for (;;) {
        struct state next = { .bytes = UINT64_MAX, .excess = INFINITY };
        for (int k = 0; k < n_options; k++) {
            if (at[k] == from->n) continue;
            const struct state *f = &from->states[at[k]];
            const uint64_t bytes = f->bytes + o[k].bytes;
            const double excess =
                f->excess + (priced(&o[k], s->lambda) - s->cheapest[item]);
            if (bytes > next.bytes || (bytes == next.bytes && excess >= next.excess))
                continue;
            next = (struct state){ bytes, excess, (uint32_t)at[k], (uint32_t)k };
        }
        if (next.bytes == UINT64_MAX) return n;
        at[next.option]++;
        if (!promising(s, &next, depth + 1)) continue;
        if (n && !improves(s, &s->merged[n - 1], &next)) continue;
        s->merged[n++] = next;
    }
}

/* Keep the least excess of each of `limit` intervals of bytes. */
static size_t thin(struct solver *s, size_t n)
{
    const uint64_t first = s->merged[0].bytes, span = s->merged[n - 1].bytes - first;
    const uint64_t width = span / s->limit + 1;
    size_t kept = 0;
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        const uint64_t interval = (s->merged[i].bytes - first) / width;
        if (interval != last) s->merged[kept++] = s->merged[i];
        else if (s->merged[i].excess < s->merged[kept - 1].excess)
            s->merged[kept - 1] = s->merged[i];
        last = interval;
    }
    return kept;
}

/* False if memory ends. */
static bool fill_layers(struct solver *s)
{
    s->layers[0].states = calloc(1, sizeof(struct state));
    s->layers[0].n = 1;
    if (!s->layers[0].states) return false;
    for (size_t d = 0; d < s->n; d++) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): release() frees all layers */
        size_t n = extend(s, &s->layers[d], d);
        if (n > s->limit) n = thin(s, n);
        struct layer *to = &s->layers[d + 1];
        to->states = malloc((n + 1) * sizeof *to->states);
        if (!to->states) return false;
        memcpy(to->states, s->merged, n * sizeof *to->states);
        to->n = n;
    }
    return true;
}

/* Take over the best of the last layer if it beats the answer so far. */
static void take_best(struct solver *s, struct knapsack_result *r)
{
    const struct layer *last = &s->layers[s->n];
    double best = s->best_excess;
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < last->n; i++) {
        const double v = last->states[i].excess +
                         s->lambda * (double)(s->budget - last->states[i].bytes);
        if (v >= best) continue;
        best = v;
        at = i;
    }
    for (size_t d = s->n; at != SIZE_MAX && d > 0; d--) {
        const struct state *state = &s->layers[d].states[at];
        s->items[s->order[d - 1]].chosen = (int)state->option;
        at = state->parent;
    }
    add_up(s->items, s->n, r);
}

int knapsack_lagrange(struct knapsack_item *items, size_t n, uint64_t budget,
                      struct knapsack_result *r, ggf_error *err)
{
    *r = (struct knapsack_result){ .bytes = choose_smallest(items, n) };
    if (r->bytes > budget)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the smallest choice takes %" PRIu64 " bytes, more than %" PRIu64,
                        r->bytes, budget);
    find_price(items, n, budget, r);
    add_up(items, n, r);
    return upgrade(items, n, budget, r) ? 0 : ggf_no_memory(err);
}

int knapsack_solve(struct knapsack_item *items, size_t n, uint64_t budget, size_t states,
                   struct knapsack_result *r, ggf_error *err)
{
    const int status = knapsack_lagrange(items, n, budget, r, err);
    if (status) return status;
    struct solver s = { .items = items,
                        .n = n,
                        .limit = states ? states : DEFAULT_STATES,
                        .budget = budget,
                        .lambda = r->lambda,
                        .best_excess = fmax(0, r->cost - r->bound) };
    const bool ok = prepare(&s) && fill_layers(&s);
    if (ok) take_best(&s, r);
    release(&s);
    return ok ? 0 : ggf_no_memory(err);
}
