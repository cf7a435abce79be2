/* modelopt.h - the options that say which model is run, and with what of the machine; the
 * same in all programs that run one. */
#ifndef TOOLS_MODELOPT_H
#define TOOLS_MODELOPT_H

#include "../../infer/engine.h"
#include "opt.h"

struct model_options {
    const char *path, *experts;
    int ubatch, threads; /* OPT_NOT_GIVEN at the start */
    bool exact, mlock, no_mmap;
};

/* What a struct model_options is at the start. */
#define MODEL_DEFAULTS                                                                   \
    {                                                                                    \
        .ubatch = OPT_NOT_GIVEN, .threads = OPT_NOT_GIVEN                                \
    }

/* Rows for a table of options; o is a struct model_options, `what` the help of -m. */
#define MODEL_OPTIONS(o, what)                                                           \
    { "-m, --model", "FILE", OPT_STR, &(o).path, what },                                 \
    {                                                                                    \
        "--experts", "FILE", OPT_STR, &(o).experts,                                      \
            "its expert pack, if not where the model says"                               \
    }
#define COMPUTE_OPTIONS(o)                                                               \
    { "-ub, --ubatch-size", "N", OPT_INT, &(o).ubatch,                                   \
      "tokens computed at once (512)" },                                                 \
    {                                                                                    \
        "-t, --threads", "N", OPT_INT, &(o).threads, "threads (all the process may use)" \
    }
#define LOADING_OPTIONS(o)                                                               \
    { "--mlock", NULL, OPT_FLAG, &(o).mlock, "lock the weights in memory" },             \
    {                                                                                    \
        "--no-mmap", NULL, OPT_FLAG, &(o).no_mmap,                                       \
            "read the weights instead of mapping them"                                   \
    }
#define EXACT_OPTION(o)                                                                  \
    {                                                                                    \
        "--exact", NULL, OPT_FLAG, &(o).exact,                                           \
            "float32 activations: slow, for comparisons"                                 \
    }

/* Put them into the options of a model.  OPT_GO, or OPT_USAGE after saying what is wrong:
 * a model must be given. */
int model_options(const struct opt_program *program, const struct model_options *o,
                  struct q3n_model_options *out);

/* -ub, or 512. */
uint32_t model_ubatch(const struct model_options *o);

#endif
