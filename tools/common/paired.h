/* paired.h - two models at the same distance measure, on the same text: which of them is
 * closer to the base, and how sure that is.  Pairs cancel what makes a window hard for
 * both, so much smaller differences show than the errors of the two means suggest. */
#ifndef TOOLS_PAIRED_H
#define TOOLS_PAIRED_H

#include "bootstrap.h"
#include "divergence.h"
#include "out.h"

/* Differences are second minus first: below 0, the second has less. */
struct paired {
    size_t n_windows;
    size_t closer, farther;   /* windows in which the second's mean KLD is less, more */
    struct interval kld;      /* difference of the mean KLD */
    struct interval ratio;    /* the second's mean KLD over the first's */
    struct interval same_top; /* difference of the shares of the same top token */
    struct interval nll;      /* difference of ln PPL */
};

/* Both have n_windows windows of equally many predictions.  False: out of memory. */
bool paired_compare(struct paired *p, const struct divergence *first,
                    const struct divergence *second, size_t n_windows);

void paired_print(const struct paired *p, FILE *f);
void paired_json(const struct paired *p, struct json *j); /* keys into an open object */

#endif
