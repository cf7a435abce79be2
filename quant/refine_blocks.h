/* refine_blocks.h - super-blocks taken apart and put together again, for refine.c. */
#ifndef QUANT_REFINE_BLOCKS_H
#define QUANT_REFINE_BLOCKS_H

#include "refine_steps.h"

#include <stddef.h>
#include <stdint.h>

/* What one stores beside its codes. */
struct super {
    uint16_t d, dmin;           /* binary16 */
    uint8_t scale[16], min[16]; /* as they are packed, from 0 */
};

struct refine_kind {
    uint32_t type;
    size_t bytes; /* of a super-block */
    int zero;     /* what a scale of 0 is packed as */
    struct refine_format format;
    /* What the type has not stays as it is. */
    void (*unpack)(const void *block, struct super *s);
    /* `codes`: one in a byte, from 0. */
    void (*pack)(const struct super *s, const uint8_t *codes, void *block);
};

/* NULL: a type that is not refined. */
const struct refine_kind *refine_kind(uint32_t type);

#endif
