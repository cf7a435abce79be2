/* coverage.h - how well a calibration text reached the experts of a model. */
#ifndef TOOLS_COVERAGE_H
#define TOOLS_COVERAGE_H

#include "../../quant/imatrix_sums.h"

#include <stdio.h>

struct json;

/* A table of the layers with experts; false if there are none, or out of memory. */
bool coverage_print(const struct imatrix_sums *s, FILE *f);
/* What is in the matrix, and the counts of every expert. */
void coverage_json(const struct imatrix_sums *s, struct json *j);

#endif
