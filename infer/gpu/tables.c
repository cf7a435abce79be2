/* tables.c - see tables.h. */
#include "tables.h"

#include "../../quant/grids.h"

#include <string.h>

/* Eight magnitudes of each code as two words. */
static void spread8(uint32_t (*words)[2], const uint16_t *codes, int n,
                    uint64_t (*magnitudes)(uint16_t code))
{
    for (int i = 0; i < n; i++) {
        const uint64_t bytes = magnitudes(codes[i]);
        words[i][0] = (uint32_t)bytes;
        words[i][1] = (uint32_t)(bytes >> 32);
    }
}

void grid_tables_make(struct grid_tables *t)
{
    spread8(t->iq2_xxs, grid_iq2_xxs, 256, grid_bytes_iq2);
    spread8(t->iq2_xs, grid_iq2_xs, 512, grid_bytes_iq2);
    spread8(t->iq2_s, grid_iq2_s, 1024, grid_bytes_iq2);
    spread8(t->iq1, grid_iq1, 2048, grid_spread2);
    for (int i = 0; i < 256; i++) t->iq3_xxs[i] = grid_bytes_iq3_xxs(grid_iq3_xxs[i]);
    for (int i = 0; i < 512; i++) t->iq3_s[i] = grid_bytes_iq3_s(grid_iq3_s[i]);
    memcpy(t->iq4_nl, levels_iq4_nl, 16);
    memcpy(t->fp4, levels_fp4, 16);
}
