/* followers.c - see followers.h. */
#include "followers.h"

#include "pool_parts.h"

#include <stdlib.h>

struct followers {
    struct expert_pool *p;
    struct staging *staging;
    struct {
        uint32_t item, slot;
        struct record *held;
        struct gpu_expert entry;
    } each[MOST_FOLLOWERS];
    uint32_t n;
    bool handed; /* their copies have been handed to the device */
    gpu_mark *from, *to;
    uint64_t bytes; /* that were copied between these, and nothing else; or 0 */
};

int followers_new(struct followers **out, struct expert_pool *p, struct staging *staging,
                  ggf_error *err)
{
    struct followers *f = calloc(1, sizeof *f);
    *out = f;
    if (!f) return ggf_no_memory(err);
    f->p = p;
    f->staging = staging;
    const int e = gpu_mark_new(p->g, &f->from, err);
    return e ? e : gpu_mark_new(p->g, &f->to, err);
}

void followers_free(struct followers *f)
{
    if (!f) return;
    gpu_mark_free(f->from);
    gpu_mark_free(f->to);
    free(f);
}

uint32_t followers_count(const struct followers *f) { return f->n; }

/* The time of a copy counts if there is nothing in it that the host does. */
int followers_add(struct followers *f, const struct expert_demand *d, uint32_t i,
                  uint32_t slot, ggf_error *err)
{
    struct expert_pool *p = f->p;
    const uint32_t n = f->n++;
    const uint64_t before = p->bytes;
    const bool direct = pool_reads(f->staging, &d->experts[i]);
    pool_reserve(p, slot);
    f->each[n].item = pool_item(p, d->layer, d->ids[i]);
    f->each[n].slot = slot;
    f->each[n].held = expert_store_hold(p->m->experts, d, i);
    gpu_mark_copies(f->from);
    const int e = pool_copy(p, f->staging, slot, &d->experts[i], &f->each[n].entry, err);
    f->handed = direct && (!n || f->handed);
    f->bytes = f->handed ? p->bytes - before : 0;
    if (f->handed) gpu_mark_copies(f->to);
    return e;
}

void followers_hand_over(struct followers *f)
{
    if (!f->n || f->handed) return;
    if (f->staging) staging_hand_over(f->staging);
    gpu_mark_copies(f->to);
    f->handed = true;
}

void followers_settle(struct followers *f, struct rate *upload)
{
    struct expert_pool *p = f->p;
    if (!f->n || !f->handed || !gpu_mark_done(f->to)) return;
    rate_add(upload, f->bytes, gpu_mark_seconds(f->from, f->to));
    for (uint32_t i = 0; i < f->n; i++) {
        const uint32_t item = f->each[i].item, slot = f->each[i].slot;
        expert_store_release(p->m->experts, f->each[i].held);
        pool_empty(p, slot);
        if (p->where[item] != NOWHERE) continue; /* it came another way */
        pool_fill(p, slot, item);
        p->table[item] = f->each[i].entry;
        p->changed[item / p->m->hp.n_expert] = true;
    }
    f->n = 0;
}

void followers_await(struct followers *f, struct rate *upload)
{
    followers_hand_over(f);
    if (!f->n) return;
    gpu_mark_wait(f->to, NULL); /* a failure sticks */
    followers_settle(f, upload);
}
