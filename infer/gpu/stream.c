/* stream.c - see stream.h.
 *
 * A group is what is in one half of the slots; its experts are a table of the layer in
 * which the others are not there.  The first group of a layer has what the pool keeps as
 * well.  Groups are numbered; group i is in half i % 2.
 *
 * As long as the pool has slots with nothing in them, experts that many tokens use stay
 * there, as many as are a layer's share: the next batch need not copy them. */
#include "stream.h"

#include "offload.h"
#include "pool_parts.h"

#include <stdlib.h>
#include <string.h>

/* With so many (token, expert) pairs for each expert 2 % of all would not be asked for,
 * if they were used alike. */
enum { MANY_PAIRS = 4 };

struct half {
    struct gpu_expert *table;   /* of the host */
    struct gpu_expert *table_d; /* of the group: [n_expert] */
    gpu_mark *there, *unused;   /* it was copied; it was computed with */
};

struct expert_stream {
    struct expert_pool *p;
    struct staging *staging; /* NULL: without */
    void *tables;            /* of both halves; cannot be swapped, or malloc() */
    bool pinned;
    uint32_t room, share; /* slots of a half; of those that are kept, for a layer */
    struct half half[POOL_HALVES];

    uint32_t layer;
    uint64_t filled, used; /* groups so far */
    bool shown;            /* the caller computes with group `used` */
    bool first;            /* the next group is the layer's first */
    bool kept;             /* the pool's table has changed */

    /* What is yet to come of the layer. */
    bool open, ahead, known; /* there is a demand; it was begun ahead; uses are known */
    struct expert_demand demand;
    bool held;      /* some of it is in memory that the store may use again */
    uint32_t next;  /* in the demand */
    uint32_t *uses; /* [n_expert]: by how many tokens */
    uint8_t *stays; /* [n_expert]: it gets a slot that is kept */
    uint32_t *by_uses;
};

/* ---- Setting up ------------------------------------------------------------------ */

static uint64_t table_bytes(const q3n_model *m)
{
    return m->hp.n_expert * sizeof(struct gpu_expert);
}

uint64_t stream_bytes(const q3n_model *m, const struct pool_shape *shape)
{
    return shape->kept ? POOL_HALVES * table_bytes(m) + staging_bytes(shape->slot_bytes)
                       : 0;
}

static bool arrays(struct expert_stream *s)
{
    const uint32_t n_expert = s->p->m->hp.n_expert;
    struct expert_demand *d = &s->demand;
    d->ids = malloc(n_expert * sizeof *d->ids);
    d->flags = malloc(n_expert);
    d->experts = malloc(n_expert * sizeof *d->experts);
    d->records = malloc(n_expert * sizeof *d->records);
    s->uses = calloc(n_expert, sizeof *s->uses);
    s->stays = malloc(n_expert);
    s->by_uses = malloc(n_expert * sizeof *s->by_uses);
    return d->ids && d->flags && d->experts && d->records && s->uses && s->stays &&
           s->by_uses;
}

static int get_halves(struct expert_stream *s, ggf_error *err)
{
    const struct expert_pool *p = s->p;
    const uint32_t n_expert = p->m->hp.n_expert;
    int e = gpu_host_alloc(p->g, &s->tables, NULL, POOL_HALVES * table_bytes(p->m), err);
    s->pinned = !e;
    if (e == GGF_E_NOMEM) {
        s->tables = malloc(POOL_HALVES * table_bytes(p->m));
        e = s->tables ? 0 : ggf_no_memory(err);
    }
    for (uint32_t i = 0; i < POOL_HALVES && !e; i++) {
        struct half *half = &s->half[i];
        half->table = (struct gpu_expert *)s->tables + i * n_expert;
        half->table_d = p->table_d + (size_t)(p->m->hp.n_layer + i) * n_expert;
        if (!(e = gpu_mark_new(p->g, &half->there, err)))
            e = gpu_mark_new(p->g, &half->unused, err);
    }
    return e;
}

/* Pages of the store that the system gets back. */
static void leaves(void *user, const uint8_t *from, uint64_t bytes)
{
    struct expert_stream *s = user;
    staging_leaves(s->staging, from, bytes);
}

static int get_staging(struct expert_stream *s, int threads, ggf_error *err)
{
    struct expert_store *store = s->p->m->experts;
    uint64_t bytes;
    uint8_t *memory = expert_store_memory(store, &bytes);
    const int e = staging_new(&s->staging, s->p->g, s->p->shape.slot_bytes, threads, err);
    if (e || !s->staging || !memory) return e;
    expert_store_on_leaving(store, leaves, s);
    return staging_reads(s->staging, memory, bytes, err);
}

int stream_new(struct expert_stream **out, struct expert_pool *p, int threads,
               ggf_error *err)
{
    struct expert_stream *s = calloc(1, sizeof *s);
    uint32_t layers = 0;
    *out = s;
    if (!s) return ggf_no_memory(err);
    s->p = p;
    s->room = p->shape.passing / POOL_HALVES;
    for (uint32_t l = 0; l < p->m->hp.n_layer; l++)
        layers += p->m->offload->layers[l].pooled;
    if (layers) s->share = (p->shape.kept + layers - 1) / layers;
    if (!arrays(s)) return ggf_no_memory(err);
    const int e = get_halves(s, err);
    return e ? e : get_staging(s, threads, err);
}

void stream_free(struct expert_stream *s)
{
    if (!s) return;
    if (s->staging) expert_store_on_leaving(s->p->m->experts, NULL, NULL);
    staging_free(s->staging);
    for (int i = 0; i < POOL_HALVES; i++) {
        gpu_mark_free(s->half[i].there);
        gpu_mark_free(s->half[i].unused);
    }
    if (s->pinned) gpu_host_free(s->p->g, s->tables);
    else free(s->tables);
    free(s->demand.ids);
    free(s->demand.flags);
    free(s->demand.experts);
    free(s->demand.records);
    free(s->uses);
    free(s->stays);
    free(s->by_uses);
    free(s);
}

struct staging *stream_staging(const struct expert_stream *s) { return s->staging; }

/* ---- Which experts --------------------------------------------------------------- */

static bool is_kept(const struct expert_stream *s, uint32_t expert)
{
    return s->p->where[pool_item(s->p, s->layer, expert)] != NOWHERE;
}

static void open_demand(struct expert_stream *s, uint32_t n, const uint32_t *uses)
{
    expert_store_begin(s->p->m->experts, &s->demand, s->layer, n, uses);
    s->open = true;
    s->next = 0;
}

static void close_demand(struct expert_stream *s)
{
    if (s->open) expert_store_end(s->p->m->experts, &s->demand);
    s->open = false;
}

/* By falling uses, those with the lower number first. */
static void sort_by_uses(const struct expert_stream *s, uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        const uint32_t id = ids[i];
        uint32_t at = i;
        for (; at && s->uses[ids[at - 1]] < s->uses[id]; at--) ids[at] = ids[at - 1];
        ids[at] = id;
    }
}

/* How many more of the layer find a slot that is kept. */
static uint32_t may_stay(const struct expert_stream *s)
{
    uint32_t n = s->share;
    for (uint32_t i = 0; i < s->p->m->hp.n_expert && n; i++) n -= is_kept(s, i);
    return n < s->p->n_empty ? n : s->p->n_empty;
}

/* Which of those that are missing do. */
static void choose_who_stays(struct expert_stream *s, uint32_t n_missing)
{
    uint32_t n = may_stay(s);
    memset(s->stays, 0, s->p->m->hp.n_expert);
    if (!n) return;
    if (n > n_missing) n = n_missing;
    memcpy(s->by_uses, s->demand.ids, n_missing * sizeof *s->by_uses);
    sort_by_uses(s, s->by_uses, n_missing);
    for (uint32_t i = 0; i < n; i++) s->stays[s->by_uses[i]] = 1;
}

/* ---- One after the other --------------------------------------------------------- */

/* What the store lets go of has been read.  What is mapped stays. */
static void settle(struct expert_stream *s)
{
    if (s->staging && s->held) staging_flush(s->staging);
    s->held = false;
}

/* The next expert to be copied: 1; 0: there is none; or an error. */
static int next_expert(struct expert_stream *s, uint32_t *id, const struct expert **x,
                       ggf_error *err)
{
    struct expert_demand *d = &s->demand;
    while (s->open) {
        while (s->next < d->first + d->count) {
            const uint32_t i = s->next++;
            if (s->known && !s->uses[d->ids[i]]) continue;
            const int e = expert_store_wait(s->p->m->experts, d, i, EXPERT_READY, err);
            *id = d->ids[i];
            *x = &d->experts[i];
            s->held |= !!d->records[i];
            return e ? e : 1;
        }
        settle(s);
        if (!expert_store_next(s->p->m->experts, d)) close_demand(s);
    }
    return 0;
}

/* ---- Groups ---------------------------------------------------------------------- */

static struct half *half_of(struct expert_stream *s, uint64_t group)
{
    return &s->half[group % POOL_HALVES];
}

/* What the pool keeps of the layer; returns how many. */
static uint32_t add_kept(struct expert_stream *s, struct gpu_expert *table)
{
    const struct expert_pool *p = s->p;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->m->hp.n_expert; i++)
        if (is_kept(s, i)) {
            table[i] = p->table[pool_item(p, s->layer, i)];
            n++;
        }
    return n;
}

/* Fill the half that comes next, if there is anything to be computed with. */
static int fill(struct expert_stream *s, ggf_error *err)
{
    struct expert_pool *p = s->p;
    struct half *half = half_of(s, s->filled);
    const uint32_t slots = p->shape.kept + (s->filled % POOL_HALVES ? s->room : 0);
    const struct expert *x;
    uint32_t taken = 0, n = 0, id;
    int e = gpu_mark_wait(half->there, err); /* the table was read */
    if (e) return e;
    memset(half->table, 0, table_bytes(p->m));
    if (s->first) n = add_kept(s, half->table);
    s->first = false;
    gpu_copies_after_mark(half->unused);
    while (taken < s->room && (e = next_expert(s, &id, &x, err)) > 0) {
        const bool stays = s->stays[id];
        const uint32_t slot =
            stays ? pool_keep(p, pool_item(p, s->layer, id)) : slots + taken++;
        if ((e = pool_copy(p, s->staging, slot, x, &half->table[id], err))) return e;
        if (stays) p->table[pool_item(p, s->layer, id)] = half->table[id];
        s->kept |= stays;
        n++;
    }
    if (e < 0 || !n) return e;
    if (s->staging) staging_hand_over(s->staging);
    gpu_copy(p->g, half->table_d, half->table, table_bytes(p->m));
    gpu_mark_copies(half->there);
    s->filled++;
    return 0;
}

/* ---- A layer --------------------------------------------------------------------- */

static void start(struct expert_stream *s, uint32_t layer)
{
    s->layer = layer;
    s->first = true;
    s->kept = s->ahead = s->known = false;
}

int stream_ahead(struct expert_stream *s, uint32_t layer, uint32_t tokens, ggf_error *err)
{
    const struct hparams *hp = &s->p->m->hp;
    uint32_t n = 0;
    int e = 0;
    start(s, layer);
    if ((uint64_t)tokens * hp->n_expert_used < (uint64_t)MANY_PAIRS * hp->n_expert ||
        may_stay(s) || !expert_store_mapped(s->p->m->experts, layer))
        return 0;
    for (uint32_t i = 0; i < hp->n_expert; i++)
        if (!is_kept(s, i)) s->demand.ids[n++] = i;
    if (!n) return 0;
    open_demand(s, n, NULL);
    if (s->demand.unchecked) { /* one that is damaged may not be needed */
        close_demand(s);
        return 0;
    }
    s->ahead = true;
    memset(s->stays, 0, hp->n_expert);
    for (int i = 0; i < POOL_HALVES && s->open && !e; i++) e = fill(s, err);
    return e;
}

int stream_begin(struct expert_stream *s, uint32_t layer, const uint32_t *ids,
                 uint32_t tokens, ggf_error *err)
{
    const struct hparams *hp = &s->p->m->hp;
    uint32_t n = 0;
    memset(s->uses, 0, hp->n_expert * sizeof *s->uses);
    for (uint32_t i = 0; i < tokens * hp->n_expert_used; i++) s->uses[ids[i]]++;
    pool_count(s->p, layer, s->uses);
    for (uint32_t i = 0; i < hp->n_expert; i++) {
        s->p->hits += s->uses[i] && is_kept(s, i);
        s->p->misses += s->uses[i] && !is_kept(s, i);
    }
    s->known = true;
    if (s->ahead) return 0;
    start(s, layer);
    s->known = true;
    for (uint32_t i = 0; i < hp->n_expert; i++)
        if (s->uses[i] && !is_kept(s, i)) s->demand.ids[n++] = i;
    choose_who_stays(s, n);
    if (!n) return 0;
    open_demand(s, n, s->uses);
    return pool_check(s->p, &s->demand, err);
}

/* The caller has enqueued all that reads the group it was shown. */
static void done_with(struct expert_stream *s)
{
    if (s->shown) gpu_mark_else(half_of(s, s->used++)->unused);
    s->shown = false;
}

int stream_next(struct expert_stream *s, const struct gpu_expert **table_d,
                ggf_error *err)
{
    done_with(s);
    if (s->used == s->filled && (s->open || s->first)) {
        const int e = fill(s, err);
        if (e) return e;
    }
    if (s->used == s->filled) return 0;
    struct half *half = half_of(s, s->used);
    gpu_after(half->there);
    *table_d = half->table_d;
    s->shown = true;
    return 1;
}

void stream_end(struct expert_stream *s)
{
    done_with(s);
    s->used = s->filled; /* after an error they differ */
    if (s->staging) staging_hand_over(s->staging);
    settle(s);
    close_demand(s);
    if (!s->kept) return;
    gpu_after_copies(s->p->g); /* also of a group that was not finished */
    pool_upload_table(s->p, s->layer);
    s->kept = false;
}
