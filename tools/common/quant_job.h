/* quant_job.h - what gguf-quant has in hand while it works. */
#ifndef TOOLS_QUANT_JOB_H
#define TOOLS_QUANT_JOB_H

#include "digest.h"
#include "quant_args.h"
#include "sens.h"
#include "../../quant/lint.h"
#include "../../quant/recipe.h"

struct quant_job {
    const struct quant_args *args;
    struct tensor_rules rules;
    struct plan_options options;
    ggf_file *file; /* the source */
    imatrix *matrix;
    struct plan plan;
    struct target_result target; /* if types were chosen for a size */
    struct lint lint;
    recipe *plan_in;                 /* or NULL */
    sens *sens;                      /* or NULL */
    char matrix_sha256[DIGEST_TEXT]; /* or "" */
    struct provenance provenance;    /* recipe NULL: no such keys */
};

/* Fill in job->rules and job->options as job->args say; they point into the job.  Returns
 * OPT_GO, or the status to end with. */
int quant_options_make(struct quant_job *job);
void quant_options_free(struct quant_job *job);

#endif
