/* pool_parts.h - inside the pool: its slots and what is in them, for pool.c, which brings
 * what a few tokens need, and stream.c, for batches of more. */
#ifndef INFER_GPU_POOL_PARTS_H
#define INFER_GPU_POOL_PARTS_H

#include "pool.h"

#include <stdatomic.h>

#define NOWHERE UINT32_MAX

struct pool_slot {
    uint32_t item;       /* layer * n_expert + expert, or NOWHERE */
    uint32_t prev, next; /* of those that are kept */
};

struct expert_pool {
    gpu *g;
    const q3n_model *m;
    struct pool_shape shape;
    uint8_t *memory_d;           /* the slots */
    struct gpu_expert *table_d;  /* [n_expert, n_layer] */
    struct gpu_expert *table;    /* the host's */
    uint32_t *where;             /* [n_expert, n_layer]: slot or NOWHERE */
    struct pool_slot *slots;     /* kept ones first */
    uint32_t first, last, turn;  /* of the list; the next slot that a batch takes */
    uint32_t *asked, n_asked;    /* [n_expert]: experts of the tokens in hand */
    uint32_t *uses;              /* [n_expert]: by how many of them */
    struct expert_demand demand; /* those that are not there */
    _Atomic uint64_t hits, misses, bytes;
};

static inline bool pool_keeps(const struct expert_pool *p, uint32_t slot)
{
    return slot < p->shape.kept;
}

static inline uint32_t pool_item(const struct expert_pool *p, uint32_t layer,
                                 uint32_t expert)
{
    return layer * p->m->hp.n_expert + expert;
}

/* Nothing is in the slot; or an expert, to be copied there. */
void pool_empty(struct expert_pool *p, uint32_t slot);
void pool_fill(struct expert_pool *p, uint32_t slot, uint32_t item);

/* Get the first `missing` experts of p->demand into their slots, and the layer's table to
 * the device.  Where that fails, those asked for are nowhere. */
int pool_fetch(struct expert_pool *p, uint32_t layer, uint32_t missing, ggf_error *err);

#endif
