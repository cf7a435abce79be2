/* sweep.c - see sweep.h. */
#include "sweep.h"

bool sweep_is_one(const struct sweep *s)
{
    return (uint64_t)s->n * s->each * s->n_layer > s->room;
}

static uint32_t used_at_least(const struct sweep *s, uint32_t least)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++) n += s->uses[i] >= least;
    return n;
}

uint32_t sweep_hot_from(const struct sweep *s)
{
    const uint64_t share = s->room / s->n_layer, room = s->free + s->cold;
    const uint64_t quota = room < share / 4 ? share / 4 : room < share ? room : share;
    uint32_t low = 1, high = UINT32_MAX;
    while (low < high) { /* the least number of uses that few enough have */
        const uint32_t middle = low + (high - low) / 2;
        if (used_at_least(s, middle) * s->each <= quota) high = middle;
        else low = middle + 1;
    }
    return low;
}
