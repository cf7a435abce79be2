/* convert.h - the work of quantizing: all threads busy on pieces of tensors.
 *
 * Tensors are cut into tiles of rows of about half a million elements.  Threads take
 * tiles in order, across tensors, and write each to its place in the output: memory
 * depends on the number of threads and the length of a row, not on the model, and the
 * bytes depend on neither threads nor timing. */
#ifndef QUANT_CONVERT_H
#define QUANT_CONVERT_H

#include "plan.h"

struct convert_job {
    const struct plan_item *item;
    const struct ggf_shard *mapped; /* the file mapping that the source lies in, whose
                                       pages may be let go of; or NULL */
    ggf_writer *to;                 /* begun */
    uint64_t index;                 /* of the tensor there */
    bool compat;                    /* encode_for_compat() */
    int refine;                     /* level, refine.h */
};

struct convert_watch {
    /* Called by one thread at a time, both may be NULL: after each tile, with the bytes
     * of source done so far; and for each finished job in the order of the list. */
    void (*progress)(void *user, uint64_t bytes, size_t job);
    void (*finished)(void *user, size_t job);
    void *user;
};

/* Copy, or decode and encode, all jobs.  threads <= 0: one for each processor.  Fails
 * if a source or an encoded row holds an infinity or NaN. */
int convert_run(const struct convert_job *jobs, size_t n, int threads,
                const struct convert_watch *watch, ggf_error *err);

/* Rows first .. first + n - 1 of a job's item in a type, to out[n * bytes of a row]: what
 * convert_run() would write of an item of that type.  `to` and `index` are not used.  May
 * be called from many threads. */
int convert_rows(const struct convert_job *job, uint32_t type, uint64_t first, uint64_t n,
                 uint8_t *out, ggf_error *err);

#endif
