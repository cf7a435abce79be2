/* splitmix.h - random numbers where any good generator with a seed will do: splitmix64
 * (Steele, Lea and Flood 2014), a counter and a mixing function.  Any state is a seed. */
#ifndef INFER_SPLITMIX_H
#define INFER_SPLITMIX_H

#include <stdint.h>

static inline uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* In [0, 1), all 53 bits. */
static inline double splitmix_uniform(uint64_t *state)
{
    return (double)(splitmix64(state) >> 11) * 0x1p-53;
}

/* One of 0 .. n - 1, n < 2^32. */
static inline uint32_t splitmix_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)((splitmix64(state) >> 32) * n >> 32);
}

#endif
