/* few.c - see few.h. */
#include "few.h"

#include "../now.h"
#include "followers.h"
#include "offload.h"
#include "pool_parts.h"

#include <stdlib.h>
#include <string.h>

/* Copies whose time is taken. */
struct timed {
    gpu_mark *from, *to;
    uint64_t bytes; /* 0: there are none */
};

struct expert_few {
    struct expert_pool *p;
    struct staging *staging;
    enum q3n_device_misses how;
    uint32_t most_uploads; /* for a layer, of those that need not be */
    struct miss_costs costs;
    gpu_mark *known; /* the choice has come to the host */
    struct timed now;

    struct expert_demand *open; /* the layer's; NULL: there is none */
    bool reading;               /* copies are made from memory of the store until */
    gpu_mark *read;             /* this is reached */

    struct followers *followers;

    /* Of a chunk of the demand, as indices there: */
    uint32_t *up, *here, *left; /* to be copied, computed here, with no slot yet */
    uint32_t n_up, n_here, n_left;
    uint64_t *bytes; /* [n_expert]: of experts in question */
    uint32_t *late;  /* [pairs]: ids of those that are copied, or none */
    uint8_t *later;  /* [n_expert]: is it one? */
};

/* ---- Setting up ------------------------------------------------------------------ */

static uint32_t pairs_of(const struct expert_pool *p)
{
    return GPU_FEW_TOKENS * p->m->hp.n_expert_used;
}

static bool arrays(struct expert_few *f)
{
    const size_t n = f->p->m->hp.n_expert;
    f->up = malloc(n * sizeof *f->up);
    f->here = malloc(n * sizeof *f->here);
    f->left = malloc(n * sizeof *f->left);
    f->bytes = malloc(n * sizeof *f->bytes);
    f->later = calloc(n, 1);
    f->late = malloc(pairs_of(f->p) * sizeof *f->late);
    return f->up && f->here && f->left && f->bytes && f->later && f->late;
}

int few_new(struct expert_few **out, struct expert_pool *p, struct staging *staging,
            enum q3n_device_misses how, uint32_t most_uploads, ggf_error *err)
{
    struct expert_few *f = calloc(1, sizeof *f);
    *out = f;
    if (!f) return ggf_no_memory(err);
    f->p = p;
    f->staging = staging;
    f->how = how;
    f->most_uploads = most_uploads ? most_uploads : UINT32_MAX;
    if (!arrays(f)) return ggf_no_memory(err);
    gpu_mark **marks[] = { &f->known, &f->read, &f->now.from, &f->now.to };
    int e = followers_new(&f->followers, p, staging, err);
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !e; i++)
        e = gpu_mark_new(p->g, marks[i], err);
    return e;
}

void few_free(struct expert_few *f)
{
    if (!f) return;
    few_settle(f);
    gpu_mark_free(f->known);
    gpu_mark_free(f->read);
    gpu_mark_free(f->now.from);
    gpu_mark_free(f->now.to);
    followers_free(f->followers);
    free(f->up);
    free(f->here);
    free(f->left);
    free(f->bytes);
    free(f->later);
    free(f->late);
    free(f);
}

bool few_wants_norm(const struct expert_few *f) { return f->how != Q3N_MISSES_UPLOAD; }

/* ---- Copies ---------------------------------------------------------------------- */

static void hand_over(struct expert_few *f)
{
    if (f->staging) staging_hand_over(f->staging);
}

/* What copies took, if they are done by now. */
static void take_time(struct expert_few *f, struct timed *t)
{
    if (!t->bytes || !gpu_mark_done(t->to)) return;
    rate_add(&f->costs.upload, t->bytes, gpu_mark_seconds(t->from, t->to));
    t->bytes = 0;
}

/* The store may use the memory again that was copied from. */
static void await_reading(struct expert_few *f)
{
    if (f->reading) gpu_mark_wait(f->read, NULL); /* a failure sticks */
    f->reading = false;
}

static void close_demand(struct expert_few *f)
{
    if (!f->open) return;
    await_reading(f);
    expert_store_end(f->p->m->experts, f->open);
    f->open = NULL;
}

void few_settle(struct expert_few *f)
{
    close_demand(f);
    if (f->followers) followers_await(f->followers, &f->costs.upload);
}

/* ---- A layer ----------------------------------------------------------------------- */

/* Experts of a chunk: those that are in memory, or those that are being read. */
struct part {
    const uint32_t *up, *here; /* to be copied, to be computed here */
    uint32_t n_up, n_here;
    bool read;
};

struct few_layer {
    struct expert_few *f;
    struct device_pass *p;
    struct moe_work *w;
    const struct moe *moe;
    struct gpu_moe there;
    struct gpu_acts acts;
    uint32_t layer, tokens;
    uint32_t uploads;     /* so far that need not be */
    uint32_t *place, row; /* of the pairs that are computed here */
    bool encoded;
    struct acts here; /* the norm, for the host's kernels */
    struct part part;
    uint32_t copied; /* of those of the chunk that are to be */
    bool apart;      /* compute, and copy afterwards */
    double away;     /* seconds for which a thread that computes was copying */
    int status;
    ggf_error *err;
};

static struct expert_demand *demand_of(const struct few_layer *l)
{
    return &l->w->demand;
}

static uint32_t item_of(const struct few_layer *l, uint32_t i)
{
    return pool_item(l->f->p, l->layer, demand_of(l)->ids[i]);
}

static double worth_of(const struct few_layer *l, uint32_t i)
{
    return policy_worth(&l->f->p->policy, item_of(l, i));
}

static uint64_t bytes_of(const struct expert *x)
{
    return (uint64_t)x->gate.rows * x->gate.row_bytes +
           (uint64_t)x->up.rows * x->up.row_bytes +
           (uint64_t)x->down.rows * x->down.row_bytes;
}

/* The host's products would not have the same bits, or are not wanted. */
static bool only_there(const struct expert_few *f, const struct expert *x)
{
    return f->how == Q3N_MISSES_UPLOAD || !mul_is_portable(x->gate.type) ||
           !mul_is_portable(x->up.type) || !mul_is_portable(x->down.type);
}

/* ---- Who computes what ------------------------------------------------------------ */

/* The chunk's experts into f->left: first those that only the device can compute, then
 * by falling worth.  Returns how many of the first there are. */
static uint32_t put_in_order(const struct few_layer *l)
{
    struct expert_few *f = l->f;
    const struct expert_demand *d = demand_of(l);
    const uint32_t end = d->first + d->count;
    uint32_t must = 0;
    for (uint32_t i = d->first; i < end; i++)
        if (only_there(f, &d->experts[i])) f->left[must++] = i;
    uint32_t n = must;
    for (uint32_t i = d->first; i < end; i++) {
        uint32_t at = n;
        if (only_there(f, &d->experts[i])) continue;
        for (; at > must && worth_of(l, f->left[at - 1]) < worth_of(l, i); at--)
            f->left[at] = f->left[at - 1];
        f->left[at] = i;
        n++;
    }
    f->n_left = n;
    return must;
}

/* How many of those in f->left are to be copied. */
static uint32_t how_many(struct few_layer *l, uint32_t must)
{
    struct expert_few *f = l->f;
    if (f->how != Q3N_MISSES_AUTO) return must;
    for (uint32_t i = must; i < f->n_left; i++)
        f->bytes[i] = bytes_of(&demand_of(l)->experts[f->left[i]]);
    const uint32_t n = misses_to_upload(&f->costs, f->bytes + must, f->n_left - must,
                                        f->most_uploads - l->uploads);
    l->uploads += n;
    return must + n;
}

/* Those of f->left that are to be copied get slots.  What need not be does not push out
 * what is worth more; it is computed here. */
static void give_slots(struct few_layer *l, uint32_t must, uint32_t n_up)
{
    struct expert_few *f = l->f;
    const uint32_t n = f->n_left;
    f->n_up = f->n_here = f->n_left = 0;
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t i = f->left[k];
        double worth = 0;
        const uint32_t slot = k < n_up ? pool_spare(f->p, &worth) : NOWHERE;
        if (slot != NOWHERE && (k < must || worth <= worth_of(l, i))) {
            pool_fill(f->p, slot, item_of(l, i));
            f->up[f->n_up++] = i;
        } else if (k < must) {
            f->left[f->n_left++] = i;
        } else {
            f->here[f->n_here++] = i;
        }
    }
}

/* ---- Copying ---------------------------------------------------------------------- */

/* Memory that has to be pinned for a copy is pinned now. */
static void prepare(const struct few_layer *l)
{
    for (uint32_t k = 0; k < l->part.n_up; k++)
        pool_reads(l->f->staging, &demand_of(l)->experts[l->part.up[k]]);
}

/* By the first thread, while the others compute.  What copies of experts take that are in
 * memory is a measure, also where they go through pieces that are filled: of a mapped
 * file nobody knows what has to be read, but who computes would have to wait for it,
 * too. */
static int upload(struct few_layer *l)
{
    struct expert_few *f = l->f;
    const struct expert_demand *d = demand_of(l);
    const struct part *part = &l->part;
    const bool timed = !part->read && !f->now.bytes;
    const uint64_t before = f->p->bytes;
    int e = 0;
    if (!part->n_up) return 0;
    if (timed) {
        prepare(l);
        gpu_mark_copies(f->now.from);
    }
    for (uint32_t k = 0; k < part->n_up && !e; k++) {
        const uint32_t i = part->up[k], item = item_of(l, i);
        f->reading |= !!d->records[i];
        e = expert_store_wait(f->p->m->experts, d, i, EXPERT_READY, l->err);
        if (!e)
            e = pool_copy(f->p, f->staging, f->p->where[item], &d->experts[i],
                          &f->p->table[item], l->err);
        l->copied += !e;
    }
    f->p->changed[l->layer] = true;
    hand_over(f);
    if (f->reading) gpu_mark_copies(f->read);
    if (!timed) return e;
    gpu_mark_copies(f->now.to);
    f->now.bytes = f->p->bytes - before;
    return e;
}

/* The device's products with what was copied. */
static void compute_late(struct few_layer *l)
{
    struct expert_few *f = l->f;
    const uint32_t n_expert = l->moe->n_expert, pairs = l->tokens * l->moe->n_used;
    gpu *g = f->p->g;
    if (!f->n_up) return;
    memset(f->later, 0, n_expert);
    for (uint32_t k = 0; k < f->n_up; k++) f->later[demand_of(l)->ids[f->up[k]]] = 1;
    for (uint32_t i = 0; i < pairs; i++)
        f->late[i] = f->later[l->w->ids[i]] ? l->w->ids[i] : UINT32_MAX;
    gpu_after_copies(g);
    pool_upload_table(f->p, l->layer);
    gpu_upload(g, l->p->d->late, f->late, pairs * sizeof *f->late);
    gpu_moe_products(g, &l->there, &l->acts, l->p->d->late, 0, n_expert,
                     l->p->d->scratch);
}

/* Experts that the device has, or is going to have computed with make room for more of
 * the same layer, which are copied after that. */
static void make_room(struct few_layer *l)
{
    struct expert_pool *p = l->f->p;
    followers_await(l->f->followers, &l->f->costs.upload);
    for (uint32_t e = 0; e < l->moe->n_expert; e++)
        if (p->where[pool_item(p, l->layer, e)] != NOWHERE) p->uses[e] = 0;
    gpu_copies_after(p->g);
}

/* ---- Computing -------------------------------------------------------------------- */

static void encode(struct few_layer *l)
{
    const struct moe *moe = l->moe;
    if (l->encoded) return;
    acts_place(&l->here, l->p->w->norm_acts, moe->in_kinds, moe->n_embd,
               l->p->w->n_batch);
    for (uint32_t t = 0; t < l->tokens; t++)
        acts_encode(&l->here, moe->in_kinds, t, l->p->w->norm + (size_t)t * moe->n_embd);
    l->encoded = true;
}

static void work(const struct member *me, void *arg)
{
    struct few_layer *l = arg;
    const q3n_model *m = l->p->model;
    if (me->id == 0 && !l->apart) {
        const double start = seconds_now();
        l->status = upload(l);
        l->away = seconds_now() - start;
    }
    const int e = moe_rows_team(me, l->moe, &m->ops, m->experts, l->w, l->tokens,
                                l->p->d->host.rows, l->err);
    if (me->id == 0 && !l->status) l->status = e;
}

static void check(const struct member *me, void *arg)
{
    struct few_layer *l = arg;
    const int e = expert_store_check_team(me, l->p->model->experts, demand_of(l), l->err);
    if (me->id == 0) l->status = e;
}

static void take_host_time(struct few_layer *l, double seconds)
{
    const struct part *part = &l->part;
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < part->n_here; k++)
        bytes += bytes_of(&demand_of(l)->experts[part->here[k]]);
    misses_computed(&l->f->costs, bytes, seconds, l->away);
}

static int compute_here(struct few_layer *l)
{
    struct expert_few *f = l->f;
    const struct part *part = &l->part;
    const double start = seconds_now();
    l->apart = !part->read && misses_apart(&f->costs);
    l->away = 0;
    encode(l);
    l->row = moe_share(l->moe, l->w, l->tokens, &l->here, part->here, part->n_here,
                       l->row, l->place);
    team_ask(l->p->me, work, l);
    f->p->computed += part->n_here;
    if (!l->status && !part->read) take_host_time(l, seconds_now() - start);
    return !l->status && l->apart ? upload(l) : l->status;
}

static int either(struct few_layer *l)
{
    return l->part.n_here ? compute_here(l) : upload(l);
}

/* ---- All of it -------------------------------------------------------------------- */

/* What has slots is copied, what has been left to the host is computed: what is in memory
 * first, so that it does not wait for what has to be read. */
static int copy_and_compute(struct few_layer *l)
{
    struct expert_few *f = l->f;
    const uint8_t *flags = demand_of(l)->flags;
    const uint32_t up = misses_there(flags, f->up, f->n_up);
    const uint32_t here = misses_there(flags, f->here, f->n_here);
    l->copied = 0;
    l->part = (struct part){ f->up, f->here, up, here, false };
    int e = either(l);
    l->part =
        (struct part){ f->up + up, f->here + here, f->n_up - up, f->n_here - here, true };
    if (!e) e = either(l);
    for (uint32_t k = l->copied; k < f->n_up; k++) /* what failed, or was not begun */
        pool_empty(f->p, f->p->where[item_of(l, f->up[k])]);
    compute_late(l);
    return e;
}

static int chunk(struct few_layer *l)
{
    struct expert_few *f = l->f;
    const uint32_t must = put_in_order(l);
    give_slots(l, must, how_many(l, must));
    const uint32_t n_here = f->n_here;
    int e = copy_and_compute(l);
    while (!e && f->n_left) {
        make_room(l);
        give_slots(l, f->n_left, f->n_left);
        e = copy_and_compute(l);
    }
    f->n_here = n_here;
    return e;
}

/* The missing experts, which are the demand's first ids.  It stays open. */
static int bring(struct few_layer *l, uint32_t missing)
{
    struct expert_few *f = l->f;
    struct expert_store *store = l->p->model->experts;
    struct expert_demand *d = demand_of(l);
    expert_store_begin(store, d, l->layer, missing, l->w->count);
    f->open = d;
    if (d->unchecked) team_ask(l->p->me, check, l);
    for (int e = l->status;;) {
        if (!e) e = chunk(l);
        if (e || d->first + d->count == d->n) return e;
        await_reading(f);
        expert_store_next(store, d);
    }
}

/* The most used one of those that were computed here, from number k on, to that place. */
static uint32_t most_used(const struct few_layer *l, uint32_t k)
{
    uint32_t *here = l->f->here;
    for (uint32_t i = k + 1; i < l->f->n_here; i++) {
        const uint32_t one = here[i];
        if (worth_of(l, one) <= worth_of(l, here[k])) continue;
        here[i] = here[k];
        here[k] = one;
    }
    return here[k];
}

/* Of the experts that were computed here the most used ones are copied while the device
 * goes on, if they are used more than others that are there. */
static int follow(struct few_layer *l)
{
    struct expert_few *f = l->f;
    int e = 0;
    if (followers_count(f->followers) || !f->open) return 0;
    for (uint32_t k = 0; k < f->n_here && k < MOST_FOLLOWERS && !e; k++) {
        const uint32_t i = most_used(l, k);
        double worth;
        const uint32_t slot = pool_spare(f->p, &worth);
        if (slot == NOWHERE || (!f->p->n_empty && worth >= worth_of(l, i))) break;
        e = followers_add(f->followers, demand_of(l), i, slot, l->err);
    }
    return e;
}

/* Those that are missing to the front of the demand's ids; returns how many. */
static uint32_t sort_out(struct few_layer *l)
{
    struct expert_pool *p = l->f->p;
    uint32_t *ids = demand_of(l)->ids, missing = 0;
    const uint32_t n = moe_asked(l->moe, l->w, l->tokens);
    pool_ask(p, l->layer, ids, n, l->w->count);
    for (uint32_t i = 0; i < n; i++)
        if (p->where[pool_item(p, l->layer, ids[i])] == NOWHERE) ids[missing++] = ids[i];
    p->hits += n - missing;
    p->misses += missing;
    return missing;
}

/* The choice and, where it may be needed, the norm. */
static int know(struct few_layer *l, uint32_t first)
{
    struct expert_few *f = l->f;
    device_ask_choice(l->p, first, few_wants_norm(f));
    gpu_mark_else(f->known);
    /* The device goes on while the host learns of it. */
    gpu_moe_sort(f->p->g, &l->there, l->p->d->ids, l->tokens, l->p->d->scratch);
    gpu_moe_products(f->p->g, &l->there, &l->acts, l->p->d->ids, 0, l->moe->n_expert + 1,
                     l->p->d->scratch);
    followers_hand_over(f->followers);
    close_demand(f);
    return gpu_mark_wait(f->known, l->err);
}

int few_experts(struct expert_few *f, struct device_pass *p, uint32_t layer,
                uint32_t first, bool more, ggf_error *err)
{
    const struct device_work *d = p->d;
    struct few_layer l = { .f = f,
                           .p = p,
                           .w = &p->w->moe,
                           .moe = &p->model->layers[layer].moe,
                           .there = p->model->offload->layers[layer].moe,
                           .acts = device_acts(p, first),
                           .layer = layer,
                           .tokens = p->batch->n - first,
                           .place = d->host.place,
                           .err = err };
    const uint32_t pairs = l.tokens * l.moe->n_used;
    take_time(f, &f->now);
    followers_settle(f->followers, &f->costs.upload);
    if (f->p->changed[layer]) pool_upload_table(f->p, layer);
    int e = know(&l, first);
    if (e) return e;
    device_tell_choice(p, layer, l.tokens);
    for (uint32_t i = 0; i < pairs; i++) l.place[i] = UINT32_MAX;
    f->n_here = 0;
    const uint32_t missing = sort_out(&l);
    if (missing) e = bring(&l, missing);
    const struct gpu_moe_given given = { .place_d = device_sees(p, d->host.place),
                                         .rows_d = device_sees(p, d->host.rows) };
    if (!e) device_sum(p, layer, first, l.row ? &given : NULL);
    if (!e) e = follow(&l);
    if (e || !more) close_demand(f);
    return e;
}
