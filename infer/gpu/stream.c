/* stream.c - see stream.h. */
#include "stream.h"

#include "pool_parts.h"

#include <string.h>

/* Does an expert take one of the slots that a batch may have? */
static bool takes_room(const struct expert_pool *p, uint32_t item)
{
    return p->where[item] == NOWHERE || !pool_keeps(p, p->where[item]);
}

/* Tokens whose experts, p->asked, have room together. */
static uint32_t ask(struct expert_pool *p, uint32_t layer, const uint32_t *ids,
                    uint32_t tokens)
{
    const uint32_t n_used = p->m->hp.n_expert_used;
    uint32_t taken = 0, t = 0;
    memset(p->uses, 0, p->m->hp.n_expert * sizeof *p->uses);
    for (p->n_asked = 0; t < tokens; t++, ids += n_used) {
        uint32_t more = 0;
        for (uint32_t k = 0; k < n_used; k++)
            more += !p->uses[ids[k]] && takes_room(p, pool_item(p, layer, ids[k]));
        if (taken + more > p->shape.passing) break;
        taken += more;
        for (uint32_t k = 0; k < n_used; k++)
            if (!p->uses[ids[k]]++) p->asked[p->n_asked++] = ids[k];
    }
    return t;
}

/* A slot for an expert that is not there, which none of those asked for is in. */
static uint32_t find_slot(struct expert_pool *p, uint32_t layer)
{
    const uint32_t n = p->shape.kept + p->shape.passing, n_expert = p->m->hp.n_expert;
    for (;;) {
        const uint32_t slot = p->turn, item = p->slots[slot].item;
        p->turn = slot + 1 < n ? slot + 1 : p->shape.kept;
        if (item == NOWHERE || item / n_expert != layer || !p->uses[item % n_expert])
            return slot;
    }
}

/* Those that are not there get a slot, and are what the store is asked for. */
static uint32_t assign(struct expert_pool *p, uint32_t layer)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < p->n_asked; i++)
        if (p->where[pool_item(p, layer, p->asked[i])] == NOWHERE)
            p->demand.ids[missing++] = p->asked[i];
    for (uint32_t i = 0; i < missing; i++)
        pool_fill(p, find_slot(p, layer), pool_item(p, layer, p->demand.ids[i]));
    return missing;
}

int stream_bring(struct expert_pool *p, uint32_t layer, const uint32_t *ids,
                 uint32_t tokens, uint32_t *n, ggf_error *err)
{
    *n = ask(p, layer, ids, tokens);
    return pool_fetch(p, layer, assign(p, layer), err);
}
