/* predict.h - from the cost of a plan to the divergence of the model it makes.
 *
 * The mean KL divergence of predictions from the source's is taken as
 *
 *     offset + root sqrt(cost) + slope cost
 *
 * where the cost is that of error_table.h.  The last term is what errors do to a smooth
 * function; the second is what the router adds: an error that is small against the gap
 * between two experts swaps them with a probability that goes with its size, not with
 * its square, and a swap is never small. */
#ifndef QUANT_PREDICT_H
#define QUANT_PREDICT_H

#include "error_table.h"

struct predict {
    double offset, offset_high; /* middle and upper end; the lower one is 0 */
    double root, slope;
    double factor; /* the interval is the value divided by this to multiplied by it */
    bool measured; /* fitted to this model; else from what is published of others */
};

struct prediction {
    double kld, low, high; /* of 10 such intervals 9 should hold the true value */
};

/* What is known without running the model.  Weights of classes are shares there: the
 * curve is for tables whose weights sum to this. */
struct predict predict_published(double sum_of_weights);

/* The sum of the weights of the tensors that have been measured. */
double predict_weights(const struct error_table *t);

/* A plan that was tried. */
struct predict_point {
    double cost, kld; /* > 0 */
};

/* Fit root and slope to points of one text, in proportion.  `others` counts parameters
 * that the caller has fitted to them; n - others >= 3.  `noise` is the relative standard
 * error of the kld from the choice of that text.  False if the points do not allow it. */
bool predict_fit(struct predict *p, const struct predict_point *points, int n, int others,
                 double noise);

/* The cost of a change that alone, in one kind of tensors, gives this divergence, for
 * a slope of 1.  Of several such changes together the costs add up, the divergences do
 * not; and `root` is less than theirs, for only some of the routers lie behind one. */
double predict_cost_alone(double kld, double root);

/* `spread` is the standard error of the cost. */
struct prediction predict_kld(const struct predict *p, double cost, double spread);

#endif
