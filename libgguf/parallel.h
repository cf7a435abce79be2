/* parallel.h - many like pieces of work for a few threads.  Internal to libgguf. */
#ifndef GGF_PARALLEL_H
#define GGF_PARALLEL_H

#include "libgguf.h"

/* Do item number `item`.  `lane` is the worker's number, 0..threads-1, for scratch memory
 * of its own.  Returns 0 or a negative status. */
typedef int (*work_fn)(void *user, int lane, uint64_t item, ggf_error *err);

/* The number of threads that 0 stands for, and at most one for each item. */
int parallel_threads(int asked, uint64_t items);

/* Run items 0..n-1; they are started in this order.  Lane 0 is the calling thread, which
 * calls `after` (may be NULL) between its items.  After a failure no new item is
 * started; the first failure is returned. */
int parallel_run(int threads, uint64_t n, work_fn work, void (*after)(void *user),
                 void *user, ggf_error *err);

#endif
