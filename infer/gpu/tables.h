/* tables.h - the codebooks of quant/grids.h as the device looks them up: magnitudes of
 * four weights in a word, the first lowest. */
#ifndef INFER_GPU_TABLES_H
#define INFER_GPU_TABLES_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct grid_tables {
    uint32_t iq2_xxs[256][2], iq2_xs[512][2], iq2_s[1024][2];
    uint32_t iq3_xxs[256], iq3_s[512];
    uint32_t iq1[2048][2];      /* levels 0, 1, 2 */
    uint32_t iq4_nl[4], fp4[4]; /* 16 signed bytes */
};

void grid_tables_make(struct grid_tables *t);

#ifdef __cplusplus
}
#endif

#endif
