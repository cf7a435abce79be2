/* followers.h - experts that the host has computed are copied to slots of a pool, while
 * everything else goes on: the next token may find them there. */
#ifndef INFER_GPU_FOLLOWERS_H
#define INFER_GPU_FOLLOWERS_H

#include "misses.h"
#include "pool.h"
#include "staging.h"

enum { MOST_FOLLOWERS = 2 }; /* experts that are on their way at the same time */

struct followers;

/* staging: NULL, or what copies go through. */
int followers_new(struct followers **out, struct expert_pool *pool,
                  struct staging *staging, ggf_error *err);
void followers_free(struct followers *f); /* NULL is allowed; nothing is on its way */

/* How many are on their way. */
uint32_t followers_count(const struct followers *f);
/* One more, number i of the demand, into a slot that nobody else uses. */
int followers_add(struct followers *f, const struct expert_demand *d, uint32_t i,
                  uint32_t slot, ggf_error *err);
/* What goes through pieces is handed to the device. */
void followers_hand_over(struct followers *f);
/* If all have come they are in the pool from the next time on that their layer is shown,
 * and what the copy took is added to `upload`. */
void followers_settle(struct followers *f, struct rate *upload);
/* The same, once they have. */
void followers_await(struct followers *f, struct rate *upload);

#endif
