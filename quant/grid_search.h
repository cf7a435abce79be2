/* grid_search.h - from levels that weights would like to have to a point of a grid.
 *
 * Encoders round the weights of a group to levels, each on its own.  If these are no
 * point of the grid (grids.h), the point is taken that costs least among the nearest
 * ones: all points at the few smallest distances, counted in levels, from what was
 * wanted.  Which these are does not depend on the weights, so the lists are made once,
 * when a grid is first used, in memory that is set aside for them. */
#ifndef QUANT_GRID_SEARCH_H
#define QUANT_GRID_SEARCH_H

#include <stdint.h>

enum grid_id {
    GRID_IQ2_XXS,
    GRID_IQ2_XS,
    GRID_IQ2_S,
    GRID_IQ3_XXS,
    GRID_IQ3_S,
    GRID_IQ1,
    GRID_COUNT
};

/* Vectors may read so many elements past the end of a list. */
enum { GRID_PAST = 16 };

struct grid {
    const uint16_t *points; /* codes in rising order */
    int n, bits;            /* 2 bits: 8 levels of 0..2; 3 bits: 4 levels of 0..7 */
    int shells;             /* distances in a list */
    int32_t *where;         /* of a code: its index, or ~ the start of its list */
    uint16_t *lists;        /* a count, then codes by distance and by index */
};

/* Ready for use; from any thread. */
const struct grid *grid_get(enum grid_id id);

static inline int grid_has(const struct grid *g, unsigned code)
{
    return g->where[code] >= 0;
}

/* The index of a point.  For a code that is none (which takes input that is not finite)
 * that of its nearest point. */
static inline unsigned grid_index(const struct grid *g, unsigned code)
{
    const int32_t w = g->where[code];
    return (unsigned)(w >= 0 ? w : g->where[g->lists[~w + 1]]);
}

/* For a code that is no point: the first point of its list that costs least.  cost has
 * for each coordinate 1 << bits numbers, what each level costs there; they are added up
 * from the first coordinate on. */
unsigned grid_nearest(const struct grid *g, unsigned code, const float cost[32]);

#endif
