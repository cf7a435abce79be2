/* bootstrap.h - how far a mean over windows of text may be trusted, found by drawing the
 * windows again and again with replacement.  Predictions of one window depend on each
 * other, windows hardly do: so a window is what is drawn. */
#ifndef TOOLS_BOOTSTRAP_H
#define TOOLS_BOOTSTRAP_H

#include <stddef.h>

enum { BOOTSTRAP_DRAWS = 10000 };

/* A value, and the 2.5th and 97.5th percentile of what the draws give.  Without at least
 * two windows these two are NaN.  The same input gives the same interval, always. */
struct interval {
    double value, low, high;
};

/* The mean of n > 0 values. */
struct interval bootstrap_mean(const double *v, size_t n);
/* The sum of a[n] over the sum of b[n], drawn in pairs. */
struct interval bootstrap_ratio(const double *a, const double *b, size_t n);

#endif
