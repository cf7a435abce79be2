/* pool.h - routed experts of many layers in slots of a device's memory.
 *
 * Most slots keep what decoding uses (few.h), by the policy that the expert store has
 * too.  Some are for batches that need more of a layer than a few tokens do (stream.h).
 * What is computed is the same wherever an expert was.  Not thread-safe. */
#ifndef INFER_GPU_POOL_H
#define INFER_GPU_POOL_H

#include "../model/model.h"
#include "gpu.h"

struct expert_pool;

/* How many slots some memory gives, and of what size. */
struct pool_shape {
    uint64_t slot_bytes; /* what the largest expert takes */
    uint32_t kept, passing;
};
/* For the layers of `cached` [n_layer]; no slots if they would be too few to be of use:
 * less than the experts of one token. */
struct pool_shape pool_shape(const q3n_model *model, const bool *cached, uint64_t bytes);
/* Memory of the device for such slots, and the table of what is in them. */
uint64_t pool_bytes(const q3n_model *model, const struct pool_shape *shape);

int pool_new(struct expert_pool **out, gpu *g, const q3n_model *model,
             const struct pool_shape *shape, ggf_error *err);
void pool_free(struct expert_pool *pool); /* NULL is allowed */

/* Where experts of a layer are, for struct gpu_moe. */
const struct gpu_expert *pool_table(const struct expert_pool *pool, uint32_t layer);

struct pool_stats {
    uint64_t hits, misses, computed, bytes;
};
struct pool_stats pool_stats(const struct expert_pool *pool);

#endif
