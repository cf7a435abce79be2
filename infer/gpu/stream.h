/* stream.h - experts of a pool for batches of more tokens than a few: while the device
 * computes with some experts of a layer, others are copied beside it.
 *
 * They pass through slots of their own, so that a prompt does not push out what the next
 * reply will need: half of these are computed with while the other half is filled.  What
 * the pool keeps is used where it is.  So each expert is copied at most once for a layer
 * of a batch, and a batch takes as long as the copies, if it computes in less. */
#ifndef INFER_GPU_STREAM_H
#define INFER_GPU_STREAM_H

#include "pool.h"
#include "staging.h"

struct expert_stream;

int stream_new(struct expert_stream **out, struct expert_pool *pool, int threads,
               ggf_error *err);
void stream_free(struct expert_stream *s); /* NULL is allowed; before its pool */
/* What its copies go through; or NULL. */
struct staging *stream_staging(const struct expert_stream *s);
/* What it takes of the host's memory, which cannot be swapped. */
uint64_t stream_bytes(const q3n_model *model, const struct pool_shape *shape);

/* For each layer of a batch, while nobody else uses the pool:
 *
 *     ahead     the choice is not known; if so many tokens will need nearly all experts,
 *               the first are copied
 *     begin     the choice is known: ids[n_used, tokens], valid up to the end
 *     while (next)
 *         compute with the experts of its table, for struct gpu_moe: all are there once
 *     end       also after an error */
int stream_ahead(struct expert_stream *s, uint32_t layer, uint32_t tokens,
                 ggf_error *err);
int stream_begin(struct expert_stream *s, uint32_t layer, const uint32_t *ids,
                 uint32_t tokens, ggf_error *err);
/* 1; 0: those were all; or an error. */
int stream_next(struct expert_stream *s, const struct gpu_expert **table_d,
                ggf_error *err);
void stream_end(struct expert_stream *s);

#endif
