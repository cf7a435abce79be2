/* rope.c - see rope.h.  Angles are computed in double: at position 100000 a float angle
 * would be off by some thousandths. */
#include "rope.h"

#include <math.h>

void rope_table(float *table, uint32_t n_rot, double base, uint32_t pos)
{
    const uint32_t half = n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double angle = pos * pow(base, -2.0 * i / n_rot);
        table[i] = (float)cos(angle);
        table[half + i] = (float)sin(angle);
    }
}

void rope_apply(float *x, const float *table, uint32_t n_rot)
{
    const uint32_t half = n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        const float c = table[i], s = table[half + i], a = x[i], b = x[half + i];
        x[i] = a * c - b * s;
        x[half + i] = a * s + b * c;
    }
}
