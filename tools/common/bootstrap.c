/* bootstrap.c - see bootstrap.h. */
#include "bootstrap.h"

#include "../../infer/splitmix.h"
#include "order.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* b NULL: a mean of a. */
static struct interval bootstrap(const double *a, const double *b, size_t n)
{
    double drawn[BOOTSTRAP_DRAWS], sum_a = 0, sum_b = 0;
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        sum_a += a[i];
        sum_b += b ? b[i] : 1;
    }
    struct interval r = { sum_a / sum_b, NAN, NAN };
    if (n < 2) return r;
    for (int k = 0; k < BOOTSTRAP_DRAWS; k++) {
        double from_a = 0, from_b = 0;
        for (size_t i = 0; i < n; i++) {
            const size_t at = splitmix_below(&state, (uint32_t)n);
            from_a += a[at];
            from_b += b ? b[at] : 1;
        }
        drawn[k] = from_a / from_b;
    }
    qsort(drawn, BOOTSTRAP_DRAWS, sizeof *drawn, rising_double);
    r.low = drawn[BOOTSTRAP_DRAWS / 40];
    r.high = drawn[BOOTSTRAP_DRAWS - 1 - BOOTSTRAP_DRAWS / 40];
    return r;
}

struct interval bootstrap_mean(const double *v, size_t n)
{
    return bootstrap(v, NULL, n);
}

struct interval bootstrap_ratio(const double *a, const double *b, size_t n)
{
    return bootstrap(a, b, n);
}
