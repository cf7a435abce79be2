/* pool_parts.h - inside the pool: its slots and what is in them, for few.c, which brings
 * what a few tokens need, and stream.c, for batches of more. */
#ifndef INFER_GPU_POOL_PARTS_H
#define INFER_GPU_POOL_PARTS_H

#include "../experts/policy.h"
#include "pool.h"
#include "staging.h"

#include <stdatomic.h>

#define NOWHERE  UINT32_MAX
#define RESERVED (UINT32_MAX - 1)

enum { POOL_HALVES = 2 }; /* of the slots that experts pass through */

struct pool_slot {
    uint32_t item; /* layer * n_expert + expert; NOWHERE; or RESERVED */
};

struct expert_pool {
    gpu *g;
    const q3n_model *m;
    struct pool_shape shape;
    uint8_t *memory_d;          /* the slots, kept ones first */
    struct gpu_expert *table_d; /* [n_expert, n_layer + POOL_HALVES] */
    struct gpu_expert *table;   /* the host's, [n_expert, n_layer] */
    uint32_t *where;            /* [n_expert, n_layer]: slot that is kept, or NOWHERE */
    struct pool_slot *slots;    /* [kept] */
    bool *changed;              /* [n_layer]: the device has not seen it yet */
    struct policy policy;       /* of items that are kept */
    uint32_t n_empty, turn;     /* slots with nothing; where one was found last */
    uint32_t layer, *uses;      /* [n_expert]: what a few tokens ask for now */
    _Atomic uint64_t hits, misses, computed, bytes;
};

static inline uint32_t pool_item(const struct expert_pool *p, uint32_t layer,
                                 uint32_t expert)
{
    return layer * p->m->hp.n_expert + expert;
}

static inline uint8_t *pool_slot_at(const struct expert_pool *p, uint32_t slot)
{
    return p->memory_d + slot * p->shape.slot_bytes;
}

/* Nothing is in the slot; or an expert, to be copied there. */
void pool_empty(struct expert_pool *p, uint32_t slot);
void pool_fill(struct expert_pool *p, uint32_t slot, uint32_t item);
/* The same with one that has nothing in it: there is one.  Returns it. */
uint32_t pool_keep(struct expert_pool *p, uint32_t item);
/* The slot is neither filled nor empty: something is on its way there. */
void pool_reserve(struct expert_pool *p, uint32_t slot);

/* The policy learns how often a batch uses each expert of a layer. */
void pool_count(struct expert_pool *p, uint32_t layer, const uint32_t *uses);
/* The same where a few tokens ask for n experts of a layer, which then stay where they
 * are until the next call, or their p->uses is 0.  uses [n_expert]: 0 for the others. */
void pool_ask(struct expert_pool *p, uint32_t layer, const uint32_t *asked, uint32_t n,
              const uint32_t *uses);
/* The slot that should be filled next: an empty one, or that of the expert which is worth
 * least, and how much that is (policy.h); NOWHERE if all are asked for. */
uint32_t pool_spare(struct expert_pool *p, double *worth);

/* Ask for an expert to be copied into a slot, through `staging` unless that is NULL, and
 * say what the device's table will say of it; counts its bytes. */
int pool_copy(struct expert_pool *p, struct staging *staging, uint32_t slot,
              const struct expert *e, struct gpu_expert *entry, ggf_error *err);
/* Would that copy be made from where the expert is?  Prepares it for that. */
bool pool_reads(struct staging *staging, const struct expert *e);
/* What the host knows of a layer to the device. */
void pool_upload_table(struct expert_pool *p, uint32_t layer);
/* Hash what is mapped and was not hashed before. */
int pool_check(struct expert_pool *p, const struct expert_demand *d, ggf_error *err);

#endif
