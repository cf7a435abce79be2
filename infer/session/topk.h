/* topk.h - the best of a row of numbers, without sorting all of it.
 *
 * `key` holds no NaN.  Better is what is greater, and of equals the lower index. */
#ifndef INFER_SESSION_TOPK_H
#define INFER_SESSION_TOPK_H

#include <stdint.h>

/* The indices of the k best of key[0 .. n), 0 < k <= n, best first. */
void topk_row(const float *key, uint32_t n, uint32_t k, uint32_t *out);

/* Bring a list of n indices into order, the best first. */
void topk_sort(const float *key, uint32_t *ids, uint32_t n);

#endif
