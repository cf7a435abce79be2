/* misses.c - see misses.h. */
#include "misses.h"

#include "../experts/store.h"

#include <math.h>
#include <string.h>

/* Until something was measured: a link of 12, products of 30 GB/s. */
#define UPLOAD_GUESS  (1 / 12e9)
#define COMPUTE_GUESS (1 / 30e9)
enum { LONG = 64 };

void rate_add(struct rate *r, uint64_t bytes, double seconds)
{
    if (!bytes || !(seconds > 0)) return;
    r->of[r->n++ % RATE_TIMES] = seconds / (double)bytes;
}

double rate_of(const struct rate *r, double guess)
{
    const uint32_t n = r->n < RATE_TIMES ? r->n : RATE_TIMES;
    double sorted[RATE_TIMES] = { 0 };
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at && sorted[at - 1] > r->of[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = r->of[i];
    }
    return n ? sorted[n / 2] : guess;
}

static uint32_t soonest(double upload, double compute, const uint64_t *bytes, uint32_t n,
                        uint32_t most)
{
    double up = 0, here = 0, least;
    uint32_t best = 0;
    for (uint32_t i = 0; i < n; i++) here += compute * (double)bytes[i];
    least = here;
    for (uint32_t i = 0; i < n && i < most; i++) {
        up += upload * (double)bytes[i];
        here -= compute * (double)bytes[i];
        const double both = fmax(up, here);
        if (both > least) continue;
        least = both;
        best = i + 1;
    }
    return best;
}

uint32_t misses_to_upload(struct miss_costs *c, const uint64_t *bytes, uint32_t n,
                          uint32_t most)
{
    uint32_t best = soonest(rate_of(&c->upload, UPLOAD_GUESS),
                            rate_of(&c->compute, COMPUTE_GUESS), bytes, n, most);
    if (!best && n && most && c->not_uploaded >= LONG) best = 1;
    if (best == n && n && c->not_computed >= LONG) best = n - 1;
    c->not_uploaded = best ? 0 : c->not_uploaded + 1;
    c->not_computed = best < n ? 0 : c->not_computed + 1;
    return best;
}

void misses_computed(struct miss_costs *c, uint64_t bytes, double seconds, double away)
{
    c->untimed++;
    if (4 * away > seconds) return;
    rate_add(&c->compute, bytes, seconds);
    c->untimed = 0;
}

bool misses_apart(const struct miss_costs *c)
{
    return !c->compute.n || c->untimed >= LONG;
}

/* Is i needed before k? */
static bool is_before(const uint8_t *flags, uint32_t i, uint32_t k)
{
    const bool i_there = flags[i] & DEMAND_HIT, k_there = flags[k] & DEMAND_HIT;
    return i_there != k_there ? i_there : i < k;
}

uint32_t misses_there(const uint8_t *flags, uint32_t *which, uint32_t n)
{
    uint32_t there = 0;
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t i = which[k];
        uint32_t at = k;
        for (; at && is_before(flags, i, which[at - 1]); at--) which[at] = which[at - 1];
        which[at] = i;
        there += (flags[i] & DEMAND_HIT) != 0;
    }
    return there;
}
