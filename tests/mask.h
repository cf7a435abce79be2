/* mask.h - the bits of q3n_matcher_mask(). */
#ifndef TESTS_MASK_H
#define TESTS_MASK_H

#include <stdbool.h>
#include <stdint.h>

static inline bool has_bit(const uint32_t *mask, uint32_t i)
{
    return mask[i / 32] >> i % 32 & 1;
}

#endif
