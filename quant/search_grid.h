/* search_grid.h - signs, magnitudes and scale of the sub-blocks of IQ2_XXS, IQ2_XS,
 * IQ2_S, IQ3_XXS and IQ3_S.
 *
 * A sub-block of 16 or 32 weights has signs and magnitudes apart.  Its scale is searched
 * among a handful of ranges around the largest magnitude; in each the groups of 8 or 4
 * magnitudes go to points of the grid, and the range that explains most wins.  What the
 * five types do differently is in `struct grid_kind`.
 *
 * search_grid.c has the reference; lanes_grid.h is the same with a sub-block in each
 * lane. How the fits are stored is up to encode_grid.h. */
#ifndef QUANT_SEARCH_GRID_H
#define QUANT_SEARCH_GRID_H

#include "grid_search.h"

#include <stdbool.h>
#include <stdint.h>

/* Which groups get their points anew once the scale is known: none or those whose levels
 * were no point, all if some group's were not, or all. */
enum refine { REFINE_OFF, REFINE_ALL, REFINE_ALWAYS };

struct grid_kind {
    int n, dim, bits; /* weights in a sub-block and in a group; bits of a level */
    int levels;       /* 0..levels - 1, meaning 1, 3, 5... times the scale */
    float step;       /* ranges tried: top level + step * (-tries..tries) */
    int tries;
    float zero;    /* a largest magnitude below this is 0 */
    bool parity;   /* the number of minus signs in 8 weights is even */
    bool positive; /* the largest magnitude is estimated (search_positive) */
    enum refine refine;
    float sigma, base; /* weights of errors: see encode_grid.h */
    float fudge;       /* the scale is stored times this */
};

static const struct grid_kind grid_kinds[] = {
    [GRID_IQ2_XXS] = { 32, 8, 2, 3, 0.1f, 6, 1e-15f, true, true, REFINE_ALWAYS, 1, 0, 1 },
    [GRID_IQ2_XS] = { 16, 8, 2, 3, 0.1f, 9, 1e-15f, true, false, REFINE_OFF, 1, 0, 1 },
    [GRID_IQ2_S] = { 16, 8, 2, 3, 0.1f, 9, 1e-8f, false, false, REFINE_OFF, 2, 0.25f,
                     0.9875f },
    [GRID_IQ3_XXS] = { 32, 4, 3, 8, 0.2f, 15, 1e-8f, true, false, REFINE_OFF, 2, 0,
                       1.0125f },
    [GRID_IQ3_S] = { 32, 4, 3, 8, 0.2f, 9, 0, false, false, REFINE_ALL, 2, 0, 1.033f },
};

/* A sub-block as it is stored, but for the scale. */
struct grid_fit {
    bool zero; /* nothing but zeros */
    float scale;
    unsigned index[8]; /* of each group's point */
    uint8_t signs[4];  /* of 8 weights each */
};

/* `blocks` neighbouring sub-blocks of grid_kinds[id].n weights; w are the weights of
 * errors. */
void search_grid(enum grid_id id, const float *x, const float *w, int blocks,
                 struct grid_fit *fits);

/* Turn the sign of the weight where that costs least. */
static inline void make_even(const float *x, const float *w, float *magnitude,
                             uint8_t *signs)
{
    int at = 0;
    float least = w[0] * x[0] * x[0];
    for (int i = 1; i < 8; i++) {
        const float cost = w[i] * x[i] * x[i];
        if (cost < least) {
            least = cost;
            at = i;
        }
    }
    magnitude[at] = -magnitude[at];
    *signs ^= (uint8_t)(1 << at);
}

/* A sub-block's magnitudes, of which parity may turn some negative, and signs. */
static inline void split_signs(const struct grid_kind *k, const float *x, const float *w,
                               float *magnitude, uint8_t *signs)
{
    for (int g = 0; g < k->n / 8; g++, x += 8, w += 8, magnitude += 8) {
        unsigned s = 0;
        for (int i = 0; i < 8; i++) {
            magnitude[i] = x[i] >= 0 ? x[i] : -x[i];
            s |= (unsigned)!(x[i] >= 0) << i;
        }
        signs[g] = (uint8_t)s;
        if (k->parity && __builtin_parity(s)) make_even(x, w, magnitude, &signs[g]);
    }
}

#endif
