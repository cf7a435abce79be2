/* pool.c - see pool.h.
 *
 * A slot is as large as the largest expert; behind those that are kept are those of
 * stream.c.  The device has a table of all experts of all layers, in which those that are
 * not there are NULL once their layer is shown, and two of a layer for stream.c. */
#include "pool_parts.h"

#include "offload.h"

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

/* ---- Slots --------------------------------------------------------------------- */

void pool_empty(struct expert_pool *p, uint32_t slot)
{
    const uint32_t item = p->slots[slot].item;
    if (item == NOWHERE) return;
    p->slots[slot].item = NOWHERE;
    p->n_empty++;
    if (item == RESERVED) return;
    p->where[item] = NOWHERE;
    policy_remove(&p->policy, item);
    p->table[item] = (struct gpu_expert){ 0 };
    p->changed[item / p->m->hp.n_expert] = true;
}

void pool_reserve(struct expert_pool *p, uint32_t slot)
{
    pool_empty(p, slot);
    p->slots[slot].item = RESERVED;
    p->n_empty--;
}

void pool_fill(struct expert_pool *p, uint32_t slot, uint32_t item)
{
    pool_empty(p, slot);
    p->slots[slot].item = item;
    p->where[item] = slot;
    p->n_empty--;
    policy_add(&p->policy, item, false);
}

static uint32_t find_empty(struct expert_pool *p)
{
    while (p->slots[p->turn].item != NOWHERE) p->turn = (p->turn + 1) % p->shape.kept;
    return p->turn;
}

uint32_t pool_keep(struct expert_pool *p, uint32_t item)
{
    pool_fill(p, find_empty(p), item);
    return p->turn;
}

static bool may_go(void *user, uint32_t item)
{
    const struct expert_pool *p = user;
    const uint32_t n_expert = p->m->hp.n_expert;
    return item / n_expert != p->layer || !p->uses[item % n_expert];
}

uint32_t pool_spare(struct expert_pool *p, double *worth)
{
    *worth = 0;
    if (p->n_empty) return find_empty(p);
    const uint32_t victim = policy_victim(&p->policy, may_go, p);
    if (victim == POLICY_NONE) return NOWHERE;
    *worth = policy_worth(&p->policy, victim);
    return p->where[victim];
}

void pool_count(struct expert_pool *p, uint32_t layer, const uint32_t *uses)
{
    const uint32_t n_expert = p->m->hp.n_expert;
    uint64_t sum = 0;
    for (uint32_t e = 0; e < n_expert; e++) sum += uses[e];
    policy_begin(&p->policy, sum);
    for (uint32_t e = 0; e < n_expert; e++)
        if (uses[e]) policy_count(&p->policy, pool_item(p, layer, e), uses[e]);
}

void pool_ask(struct expert_pool *p, uint32_t layer, const uint32_t *asked, uint32_t n,
              const uint32_t *uses)
{
    memcpy(p->uses, uses, p->m->hp.n_expert * sizeof *p->uses);
    p->layer = layer;
    pool_count(p, layer, uses);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t item = pool_item(p, layer, asked[i]);
        if (p->where[item] != NOWHERE) policy_use(&p->policy, item);
    }
}

/* ---- Setting up ---------------------------------------------------------------- */

static bool arrays(struct expert_pool *p)
{
    const uint32_t n_expert = p->m->hp.n_expert;
    const size_t n = (size_t)p->m->hp.n_layer * n_expert;
    const uint32_t n_slots = p->shape.kept;
    p->table = calloc(n, sizeof *p->table);
    p->where = malloc(n * sizeof *p->where);
    p->slots = malloc(n_slots * sizeof *p->slots);
    p->uses = calloc(n_expert, sizeof *p->uses);
    p->changed = malloc(p->m->hp.n_layer * sizeof *p->changed);
    if (!p->table || !p->where || !p->slots || !p->uses || !p->changed ||
        !policy_init(&p->policy, p->m->offload->cache_policy, (uint32_t)n))
        return false;
    memset(p->changed, true, p->m->hp.n_layer * sizeof *p->changed);
    memset(p->where, 0xff, n * sizeof *p->where);
    for (uint32_t i = 0; i < n_slots; i++) p->slots[i].item = NOWHERE;
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
    free(p->uses);
    free(p->changed);
    policy_free(&p->policy);
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
    p->changed[layer] = false;
}

struct pool_stats pool_stats(const struct expert_pool *p)
{
    return (struct pool_stats){ p->hits, p->misses, p->computed, p->bytes };
}

/* ---- For those who bring them
 * --------------------------------------------------------------- */

/* How it gets there. */
static struct staged place(const struct expert *e)
{
    const struct matrix *part[GGF_PARTS] = { &e->gate, &e->up, &e->down };
    struct staged s = { 0 };
    for (int k = 0; k < GGF_PARTS; k++) {
        s.from[k] = part[k]->data;
        s.bytes[k] = matrix_bytes(part[k]);
        s.at[k] = k ? s.at[k - 1] + aligned(s.bytes[k - 1]) : 0;
        s.all = s.at[k] + s.bytes[k];
    }
    return s;
}

bool pool_reads(struct staging *staging, const struct expert *e)
{
    const struct staged what = place(e);
    return staging && staging_can_read(staging, &what);
}

int pool_copy(struct expert_pool *p, struct staging *staging, uint32_t slot,
              const struct expert *e, struct gpu_expert *entry, ggf_error *err)
{
    const struct matrix *part[GGF_PARTS] = { &e->gate, &e->up, &e->down };
    const struct staged what = place(e);
    for (int k = 0; k < GGF_PARTS; k++) {
        entry->data_d[k] = pool_slot_at(p, slot) + what.at[k];
        entry->type[k] = part[k]->type;
        entry->scale[k] = part[k]->scale;
        p->bytes += what.bytes[k];
    }
    if (staging) return staging_put(staging, pool_slot_at(p, slot), &what, err);
    staged_copy(p->g, pool_slot_at(p, slot), &what);
    return 0;
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
