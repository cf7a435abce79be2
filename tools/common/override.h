/* override.h - the options that put the experts of layers somewhere: -ot, --cpu-moe and
 * --n-cpu-moe, as llama.cpp has them for its buffers. */
#ifndef TOOLS_OVERRIDE_H
#define TOOLS_OVERRIDE_H

#include "../../infer/engine.h"
#include "opt.h"

struct override_options {
    struct opt_list tensors; /* REGEX=PLACE,... */
    bool cpu_moe;
    int n_cpu_moe;  /* 0: not given */
    uint8_t *tiers; /* owned */
};

#define OVERRIDE_OPTIONS(o)                                                              \
    { "-ot, --override-tensor", "REGEX=PLACE,...", OPT_LIST, &(o).tensors,               \
      "where experts of matching tensors are: CPU: all in\nmemory for good; MMAP: "      \
      "mapped; DISK: read when\nthey are needed" },                                      \
        { "-cmoe, --cpu-moe", NULL, OPT_FLAG, &(o).cpu_moe,                              \
          "all experts in memory for good" },                                            \
    {                                                                                    \
        "-ncmoe, --n-cpu-moe", "N", OPT_INT, &(o).n_cpu_moe,                             \
            "those of the first N layers"                                                \
    }

/* Find the layers that are meant, into the options of the model at `path`.  GGF_E_ARG if
 * a pattern matches nothing or cannot be followed.  o must outlive the model. */
int override_apply(struct override_options *o, const char *path,
                   struct q3n_model_options *out, ggf_error *err);
void override_free(struct override_options *o);

#endif
