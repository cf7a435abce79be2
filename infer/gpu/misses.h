/* misses.h - who computes experts that are not on the device: the device, once they were
 * copied there, or the host at the same time.  What a byte of an expert costs either way
 * is measured while they are computed. */
#ifndef INFER_GPU_MISSES_H
#define INFER_GPU_MISSES_H

#include <stdint.h>

enum { RATE_TIMES = 5 };

/* The last times that were taken. */
struct rate {
    double of[RATE_TIMES]; /* seconds per byte */
    uint32_t n;            /* so far */
};
void rate_add(struct rate *r, uint64_t bytes, double seconds);
/* Their median; the guess, if there are none. */
double rate_of(const struct rate *r, double guess);

struct miss_costs {
    struct rate upload, compute;
    uint32_t not_uploaded, not_computed; /* divisions in a row */
};

/* How many of n experts, the first of them, are to be copied, and the others computed by
 * the host, so that both are done soonest.  If there never were any of one kind for long,
 * there is one: what it costs may have changed. */
uint32_t misses_to_upload(struct miss_costs *c, const uint64_t *bytes, uint32_t n);

#endif
