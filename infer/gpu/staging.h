/* staging.h - experts on their way to a device.  Those in memory that the device can read
 * are copied from there; others go through pieces that cannot be swapped, which threads
 * fill while others are copied.
 *
 * A core copies some 10 GB/s within memory, a device takes 12 to 50: so a few threads
 * fill pieces at the same time, and that they wait for pages of a mapped file costs less.
 */
#ifndef INFER_GPU_STAGING_H
#define INFER_GPU_STAGING_H

#include "gpu.h"

struct staging;

/* An expert's matrices and where in a piece, and behind `to`, they are put. */
struct staged {
    const void *from[3];
    uint64_t bytes[3], at[3];
    uint64_t all; /* bytes from the start to the end of the last one */
};

/* As gpu_copy(), from where they are. */
void staged_copy(gpu *g, void *to_d, const struct staged *what);

/* For experts that are put into `slot_bytes`.  threads: as many as may fill pieces, the
 * caller is one of them.  NULL in *out, and no error, if there is no memory that cannot
 * be swapped. */
int staging_new(struct staging **out, gpu *g, uint64_t slot_bytes, int threads,
                ggf_error *err);
void staging_free(struct staging *s); /* NULL is allowed */
/* What it takes of the host's memory. */
uint64_t staging_bytes(uint64_t slot_bytes);

/* What lies in `memory`, on a page's border, is copied from there, as far as the system
 * allows it, until it is left. */
int staging_reads(struct staging *s, uint8_t *memory, uint64_t bytes, ggf_error *err);
void staging_leaves(struct staging *s, const void *from, uint64_t bytes);

/* Will it be copied from where it is?  Pins that memory now, if it has to be, so that
 * what a copy takes is the link's time. */
bool staging_can_read(struct staging *s, const struct staged *what);
/* Asks for a copy as of gpu_copy().  It is enqueued, behind what was enqueued before,
 * once staging_hand_over() is back; what is copied from has to stay until staging_flush()
 * is, which does the same and then waits until all was read. */
int staging_put(struct staging *s, void *to_d, const struct staged *what, ggf_error *err);
void staging_hand_over(struct staging *s);
void staging_flush(struct staging *s);

#endif
