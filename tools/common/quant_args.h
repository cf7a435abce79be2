/* quant_args.h - gguf-quant's command line: its options and words. */
#ifndef TOOLS_QUANT_ARGS_H
#define TOOLS_QUANT_ARGS_H

#include "opt.h"
#include "quant_type.h"
#include "target.h"
#include "tensor_type.h"

#include <limits.h>

struct quant_args {
    bool allow_requantize, keep_output, pure, shrink, keep_split, dry_run, force, json,
        quiet, compat;
    const char *matrix, *rules_file, *output_type, *embedding_type, *prune, *kinds,
        *plan_in, *plan_out, *compare, *card, *pack, *sens;
    struct target target;
    struct opt_list include, exclude, rules, overrides;
    const char *input;
    char output[PATH_MAX];    /* with `pack` the dense GGUF, and */
    char pack_path[PATH_MAX]; /* the experts */
    struct quant_type type;
    char *command;  /* the command line, for a shell */
    bool plan_only; /* all types are in plan_in: `type` was not given */
    int threads, refine;
};

/* For messages: its name; for mistakes in the command line, opt_error(). */
extern const struct opt_program quant_program;

/* Parse and check.  Returns OPT_GO, or the status to end with; *args stays the module's.
 */
int quant_args_parse(const struct quant_args **args, int argc, char **argv);
void quant_args_free(void);

/* Types are to be chosen for a size. */
bool quant_by_target(const struct quant_args *args);

/* There is a prediction: errors are measured. */
bool quant_is_priced(const struct quant_args *args);

/* What the user calls the type: "Q4_K_M", "UD-Q4_K_XL", "AUTO", "PLAN", "COPY". */
const char *quant_args_type(const struct quant_args *args);

#endif
