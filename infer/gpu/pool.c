/* pool.c - see pool.h.
 *
 * A slot is as large as the largest expert.  The slots that are kept are in a list, the
 * most recently used one first; behind them are those of stream.c.  The device has a
 * table of all experts of all layers, of which entries count that the host knows to be
 * right, and two of a layer for stream.c. */
#include "pool_parts.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 256 };

static uint64_t aligned(uint64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

/* ---- Shape --------------------------------------------------------------------- */

static uint64_t matrix_bytes(const struct matrix *m)
{
    return (uint64_t)m->rows * m->row_bytes;
}

static uint64_t largest(const q3n_model *m, uint32_t layer)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < m->hp.n_expert; i++) {
        struct expert e;
        expert_store_shape(m->experts, layer, i, &e);
        const uint64_t bytes = aligned(matrix_bytes(&e.gate)) +
                               aligned(matrix_bytes(&e.up)) +
                               aligned(matrix_bytes(&e.down));
        if (most < bytes) most = bytes;
    }
    return most;
}

static uint64_t table_bytes(const q3n_model *m)
{
    return m->hp.n_expert * sizeof(struct gpu_expert);
}

static uint64_t tables_bytes(const q3n_model *m)
{
    return aligned((m->hp.n_layer + POOL_HALVES) * table_bytes(m));
}

uint64_t pool_bytes(const q3n_model *m, const struct pool_shape *s)
{
    return s->slot_bytes * (s->kept + s->passing) + tables_bytes(m);
}

struct pool_shape pool_shape(const q3n_model *m, const bool *cached, uint64_t bytes)
{
    const uint64_t table = tables_bytes(m);
    const uint32_t n_expert = m->hp.n_expert, n_used = m->hp.n_expert_used;
    struct pool_shape s = { 0 };
    uint32_t layers = 0;
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        const uint64_t most = cached[l] ? largest(m, l) : 0;
        layers += cached[l];
        if (s.slot_bytes < most) s.slot_bytes = most;
    }
    const uint64_t all = (uint64_t)layers * n_expert;
    const uint64_t fit =
        s.slot_bytes && bytes > table ? (bytes - table) / s.slot_bytes : 0;
    const uint64_t n = fit < all ? fit : all;
    /* A quarter is for batches, or half a layer's experts if that is less: what is copied
     * ahead, while the mixer of a layer is computed, is far less. */
    uint64_t passing = n / 4 < n_expert / 2 ? n / 4 : n_expert / 2;
    if (passing < n_used) passing = n_used;
    if (passing < POOL_HALVES) passing = POOL_HALVES;
    if (n < passing + (uint64_t)layers * n_used) return s;
    s.passing = (uint32_t)passing;
    s.kept = (uint32_t)(n - passing);
    return s;
}

/* ---- The list ------------------------------------------------------------------ */

static void put_first(struct expert_pool *p, uint32_t slot)
{
    p->slots[slot].prev = NOWHERE;
    p->slots[slot].next = p->first;
    if (p->first != NOWHERE) p->slots[p->first].prev = slot;
    else p->last = slot;
    p->first = slot;
}

static void take_out(struct expert_pool *p, uint32_t slot)
{
    const struct pool_slot *s = &p->slots[slot];
    if (s->prev != NOWHERE) p->slots[s->prev].next = s->next;
    else p->first = s->next;
    if (s->next != NOWHERE) p->slots[s->next].prev = s->prev;
    else p->last = s->prev;
}

static void use(struct expert_pool *p, uint32_t slot)
{
    take_out(p, slot);
    put_first(p, slot);
}

void pool_empty(struct expert_pool *p, uint32_t slot)
{
    struct pool_slot *s = &p->slots[slot];
    if (s->item == NOWHERE) return;
    p->where[s->item] = NOWHERE;
    s->item = NOWHERE;
    p->n_empty++;
}

void pool_fill(struct expert_pool *p, uint32_t slot, uint32_t item)
{
    pool_empty(p, slot);
    p->slots[slot].item = item;
    p->where[item] = slot;
    p->n_empty--;
}

uint32_t pool_keep(struct expert_pool *p, uint32_t item)
{
    while (p->slots[p->turn].item != NOWHERE) p->turn = (p->turn + 1) % p->shape.kept;
    pool_fill(p, p->turn, item);
    use(p, p->turn);
    return p->turn;
}

/* ---- Setting up ---------------------------------------------------------------- */

static bool arrays(struct expert_pool *p)
{
    const uint32_t n_expert = p->m->hp.n_expert;
    const size_t n = (size_t)p->m->hp.n_layer * n_expert;
    const uint32_t n_slots = p->shape.kept;
    struct expert_demand *d = &p->demand;
    p->table = calloc(n, sizeof *p->table);
    p->where = malloc(n * sizeof *p->where);
    p->slots = malloc(n_slots * sizeof *p->slots);
    p->asked = malloc(n_expert * sizeof *p->asked);
    p->uses = calloc(n_expert, sizeof *p->uses);
    d->ids = malloc(n_expert * sizeof *d->ids);
    d->flags = malloc(n_expert);
    d->experts = malloc(n_expert * sizeof *d->experts);
    d->records = malloc(n_expert * sizeof *d->records);
    if (!p->table || !p->where || !p->slots || !p->asked || !p->uses || !d->ids ||
        !d->flags || !d->experts || !d->records)
        return false;
    memset(p->where, 0xff, n * sizeof *p->where);
    p->first = p->last = NOWHERE;
    for (uint32_t i = 0; i < n_slots; i++) {
        p->slots[i].item = NOWHERE;
        put_first(p, i);
    }
    p->n_empty = n_slots;
    return true;
}

int pool_new(struct expert_pool **out, gpu *g, const q3n_model *m,
             const struct pool_shape *shape, ggf_error *err)
{
    struct expert_pool *p = calloc(1, sizeof *p);
    void *memory;
    *out = p;
    if (!p) return ggf_no_memory(err);
    p->g = g;
    p->m = m;
    p->shape = *shape;
    if (!arrays(p)) return ggf_no_memory(err);
    const int e = gpu_alloc(g, &memory, pool_bytes(m, shape), err);
    p->memory_d = memory;
    p->table_d =
        e ? NULL
          : (struct gpu_expert *)(p->memory_d +
                                  shape->slot_bytes * (shape->kept + shape->passing));
    return e;
}

void pool_free(struct expert_pool *p)
{
    if (!p) return;
    if (p->memory_d) gpu_free(p->g, p->memory_d);
    free(p->table);
    free(p->where);
    free(p->slots);
    free(p->asked);
    free(p->uses);
    free(p->demand.ids);
    free(p->demand.flags);
    free(p->demand.experts);
    free(p->demand.records);
    free(p);
}

const struct gpu_expert *pool_table(const struct expert_pool *p, uint32_t layer)
{
    return p->table_d + (size_t)layer * p->m->hp.n_expert;
}

void pool_upload_table(struct expert_pool *p, uint32_t layer)
{
    const size_t n_expert = p->m->hp.n_expert;
    gpu_upload(p->g, p->table_d + layer * n_expert, p->table + layer * n_expert,
               n_expert * sizeof *p->table);
}

struct pool_stats pool_stats(const struct expert_pool *p)
{
    return (struct pool_stats){ p->hits, p->misses, p->bytes };
}

/* ---- Bringing them --------------------------------------------------------------- */

void pool_place(struct expert_pool *p, uint32_t slot, const struct expert *e,
                struct staged *out, struct gpu_expert *entry)
{
    const struct matrix *part[GGF_PARTS] = { &e->gate, &e->up, &e->down };
    uint64_t at = 0;
    for (int k = 0; k < GGF_PARTS; k++) {
        out->from[k] = part[k]->data;
        out->bytes[k] = matrix_bytes(part[k]);
        out->at[k] = at;
        out->all = at + out->bytes[k];
        entry->data_d[k] = pool_slot_at(p, slot) + at;
        entry->type[k] = part[k]->type;
        entry->scale[k] = part[k]->scale;
        p->bytes += out->bytes[k];
        at += aligned(out->bytes[k]);
    }
}

static void upload(struct expert_pool *p, uint32_t item, const struct expert *e)
{
    struct staged what;
    pool_place(p, p->where[item], e, &what, &p->table[item]);
    for (int k = 0; k < GGF_PARTS; k++)
        gpu_upload(p->g, (void *)p->table[item].data_d[k], what.from[k], what.bytes[k]);
}

/* Hash what is mapped and was not hashed before; by one thread, since the others may not
 * even be there. */
struct check {
    struct expert_pool *p;
    const struct expert_demand *demand;
    ggf_error *err;
    int status;
};

static void check(const struct member *me, void *arg)
{
    struct check *c = arg;
    c->status = expert_store_check_team(me, c->p->m->experts, c->demand, c->err);
}

int pool_check(struct expert_pool *p, const struct expert_demand *d, ggf_error *err)
{
    struct check c = { p, d, err, 0 };
    if (d->unchecked) team_run(1, check, &c);
    return c.status;
}

/* All chunks of the demand. */
static int fetch(struct expert_pool *p, uint32_t layer, ggf_error *err)
{
    struct expert_store *store = p->m->experts;
    struct expert_demand *d = &p->demand;
    int e = pool_check(p, d, err);
    if (e) return e;
    do {
        for (uint32_t i = d->first; i < d->first + d->count && !e; i++) {
            e = expert_store_wait(store, d, i, EXPERT_READY, err);
            if (!e) upload(p, pool_item(p, layer, d->ids[i]), &d->experts[i]);
        }
    } while (!e && expert_store_next(store, d));
    return e;
}

/* The slots of experts that did not come hold nothing. */
static void forget(struct expert_pool *p, uint32_t layer)
{
    for (uint32_t i = 0; i < p->n_asked; i++) {
        const uint32_t slot = p->where[pool_item(p, layer, p->asked[i])];
        if (slot != NOWHERE) pool_empty(p, slot);
    }
}

/* Get the first `missing` experts of p->demand into their slots, and the layer's table to
 * the device.  Where that fails, those asked for are nowhere. */
static int bring(struct expert_pool *p, uint32_t layer, uint32_t missing, ggf_error *err)
{
    p->hits += p->n_asked - missing;
    p->misses += missing;
    if (!missing) return 0;
    expert_store_begin(p->m->experts, &p->demand, layer, missing, p->uses);
    const int e = fetch(p, layer, err);
    expert_store_end(p->m->experts, &p->demand);
    if (e) forget(p, layer);
    else pool_upload_table(p, layer);
    return e;
}

/* ---- For a few tokens ------------------------------------------------------------ */

static void ask(struct expert_pool *p, const uint32_t *ids, uint32_t pairs)
{
    memset(p->uses, 0, p->m->hp.n_expert * sizeof *p->uses);
    p->n_asked = 0;
    for (uint32_t i = 0; i < pairs; i++)
        if (!p->uses[ids[i]]++) p->asked[p->n_asked++] = ids[i];
}

/* Those that are not there get the slots that were not used for longest, and are what the
 * store is asked for. */
static uint32_t assign(struct expert_pool *p, uint32_t layer)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < p->n_asked; i++) {
        const uint32_t slot = p->where[pool_item(p, layer, p->asked[i])];
        if (slot == NOWHERE) p->demand.ids[missing++] = p->asked[i];
        else use(p, slot);
    }
    for (uint32_t i = 0; i < missing; i++) {
        const uint32_t slot = p->last;
        use(p, slot);
        pool_fill(p, slot, pool_item(p, layer, p->demand.ids[i]));
    }
    return missing;
}

int pool_bring(struct expert_pool *p, uint32_t layer, const uint32_t *ids,
               uint32_t tokens, ggf_error *err)
{
    ask(p, ids, tokens * p->m->hp.n_expert_used);
    return bring(p, layer, assign(p, layer), err);
}
