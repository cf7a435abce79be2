/* shrink.c - see shrink.h. */
#include "shrink.h"
#include "../../quant/condition.h"

#include <inttypes.h>
#include <stdio.h>

int shrink_matrix(imatrix *m, const ggf_file *f, ggf_error *err)
{
    struct condition_report r;
    int s = imatrix_check(m, err);
    if (!s) s = imatrix_condition(m, f, &r, err);
    if (s) return s;
    fprintf(stderr,
            "gguf-quant: of %" PRIu64 " experts %" PRIu64 " saw no token, %" PRIu64
            " fewer than 16; gate and up of %" PRIu64
            " drawn to their layer's mean, down of %" PRIu64
            " to what follows from gate and up, of %" PRIu64 " to its own mean\n",
            r.experts, r.unseen, r.few, r.pooled, r.computed, r.flat);
    return 0;
}
