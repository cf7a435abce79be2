/* probe.c - how fast experts can be read: by reading some, the way the store does it. */
#include "../now.h"
#include "../splitmix.h"
#include "model.h"

#include <stdlib.h>
#include <string.h>

/* n different ones: the first of a shuffle. */
static void choose(uint64_t *state, uint32_t *ids, uint32_t n, uint32_t of)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t k = i + splitmix_below(state, of - i), id = ids[k];
        ids[k] = ids[i];
        ids[i] = id;
    }
}

int q3n_model_disk_speed(q3n_model *m, uint32_t at_once, double seconds,
                         double *gb_per_second, ggf_error *err)
{
    const uint32_t n = m->hp.n_expert;
    uint64_t state = (uint64_t)(seconds_now() * 1e9);
    struct q3n_expert_stats before, after;
    uint32_t *ids = malloc(n * sizeof *ids);
    int e = 0;
    if (!ids) return ggf_no_memory(err);
    if (at_once > m->hp.n_expert_used) at_once = m->hp.n_expert_used;
    for (uint32_t i = 0; i < n; i++) ids[i] = i;
    expert_store_stats(m->experts, &before);
    const double start = seconds_now();
    do {
        choose(&state, ids, at_once, n);
        e = expert_store_load(m->experts, splitmix_below(&state, m->hp.n_layer), ids,
                              at_once, err);
    } while (!e && seconds_now() - start < seconds);
    const double took = seconds_now() - start;
    expert_store_stats(m->experts, &after);
    *gb_per_second = 1e-9 * (double)(after.read_bytes - before.read_bytes) / took;
    free(ids);
    return e;
}
