/* density.h - how much an error in a tensor counts: what its name tells. */
#ifndef QUANT_DENSITY_H
#define QUANT_DENSITY_H

#include <stdbool.h>
#include <stdint.h>

/* How much an error in a tensor counts against the same error elsewhere, weight for
 * weight: its class times its depth.  `tied`: there is no output.weight, the embedding
 * serves as head. */
double density_of(const char *name, uint32_t n_layers, bool tied);

/* The fewest bits for a weight of this tensor when the model has `mean` on average.
 * Floors for which a budget has no room step down to those of smaller means. */
double density_floor(const char *name, double mean, bool tied);

#endif
