/* quant_job.h - what gguf-quant has in hand while it works. */
#ifndef TOOLS_QUANT_JOB_H
#define TOOLS_QUANT_JOB_H

#include "quant_args.h"

struct quant_job {
    const struct quant_args *args;
    struct tensor_rules rules;
    struct plan_options options;
    ggf_file *file; /* the source */
    imatrix *matrix;
    struct plan plan;
    struct target_result target; /* if types were chosen for a size */
};

#endif
