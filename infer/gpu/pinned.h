/* pinned.h - memory of the host that a device copies from without a detour: it is pinned
 * piece by piece, each when something in it is first asked for, so that nobody waits for
 * gigabytes at the start.  A system that refuses once is not asked again. */
#ifndef INFER_GPU_PINNED_H
#define INFER_GPU_PINNED_H

#include "gpu.h"

struct pinned;

enum { PINNED_PIECE = 32 << 20 };

/* base: on a page's border. */
int pinned_new(struct pinned **out, gpu *g, uint8_t *base, uint64_t bytes,
               ggf_error *err);
void pinned_free(struct pinned *p); /* NULL is allowed */

/* May the device read there as it is?  Not if it is somewhere else. */
bool pinned_get(struct pinned *p, const void *from, uint64_t bytes);
/* As gpu_copy(), if it may: piece by piece, as a copy must not leave what was pinned by
 * one call. */
void pinned_copy(const struct pinned *p, void *to_d, const void *from, uint64_t bytes);
/* The pages are about to be given back to the system. */
void pinned_leave(struct pinned *p, const void *from, uint64_t bytes);

#endif
