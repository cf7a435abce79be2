/* random_blocks.h - random weights straight in a stored type, without encoding floats.
 *
 * Every bit pattern of a block's payload is a valid weight, so random bytes will do; only
 * the scales are set, such that the weights have the standard deviation asked for and a
 * mean near zero. */
#ifndef TOOLS_RANDOM_BLOCKS_H
#define TOOLS_RANDOM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A small fast generator (xoshiro256++, public domain by Blackman and Vigna). */
struct random {
    uint64_t s[4];
};
/* Different (seed, stream) give unrelated sequences. */
void random_seed(struct random *r, uint64_t seed, uint64_t stream);
uint64_t random_u64(struct random *r);
/* Uniform in [0, 1). */
float random_uniform(struct random *r);
/* Near normal, mean 0 and standard deviation 1, never beyond 3.5; integer arithmetic, so
 * that every machine draws the same. */
float random_normal(struct random *r);
/* A number for a text, to seed with. */
uint64_t random_hash(const char *text);

/* Can weights of this type be made up?  All but the integer and run-time types. */
bool random_blocks_known(uint32_t type);
/* n blocks of `type` with the given standard deviation into dst. */
void random_blocks(uint32_t type, float deviation, struct random *r, void *dst, size_t n);

#endif
