/* stream.h - experts of a pool for batches that need more of a layer than a few tokens
 * do: they pass through slots of their own, so that a prompt does not push out what the
 * next reply will need. */
#ifndef INFER_GPU_STREAM_H
#define INFER_GPU_STREAM_H

#include "pool.h"

/* Bring what the first of `tokens` tokens need, ids[n_used, tokens], as many of them as
 * there is room for: *n says how many.  Copies are enqueued; before the next call for the
 * same layer what was enqueued must be done. */
int stream_bring(struct expert_pool *pool, uint32_t layer, const uint32_t *ids,
                 uint32_t tokens, uint32_t *n, ggf_error *err);

#endif
