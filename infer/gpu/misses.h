/* misses.h - who computes experts that are not on the device: the device, once they were
 * copied there, or the host at the same time.  What a byte of an expert costs either way
 * is measured while they are computed.
 *
 * Experts that have yet to be read from disk change the order, not the division: both
 * ways wait for the same reads.  If these take longer than copies and products, all that
 * is left to do behind the last one is one expert's, whoever has it; if they take less,
 * what is read is as good as there. */
#ifndef INFER_GPU_MISSES_H
#define INFER_GPU_MISSES_H

#include <stdbool.h>
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
    uint32_t untimed;                    /* that told nothing of what computing costs */
};

/* How many of n experts, the first of them, are to be copied, and the others computed by
 * the host, so that both are done soonest; `most` at most.  If there never were any of
 * one kind for long, there is one: what it costs may have changed. */
uint32_t misses_to_upload(struct miss_costs *c, const uint64_t *bytes, uint32_t n,
                          uint32_t most);

/* The host has computed in so many seconds, while one of its threads was away for some of
 * them, copying.  They count if it was not away for long. */
void misses_computed(struct miss_costs *c, uint64_t bytes, double seconds, double away);
/* Should it compute first and then copy, for once, because that was never so, or not for
 * long? */
bool misses_apart(const struct miss_costs *c);

/* Put what is in memory before what is being read, either in the order of a demand with
 * these flags; returns how many of `which` [n], indices in the demand, are in memory. */
uint32_t misses_there(const uint8_t *flags, uint32_t *which, uint32_t n);

#endif
