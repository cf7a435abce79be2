/* now.h - the clock of everything that is timed. */
#ifndef INFER_NOW_H
#define INFER_NOW_H

#include <time.h>

/* Seconds since some moment, on a clock that never goes back. */
static inline double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
