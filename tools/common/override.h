/* override.h - the options that put experts of layers, or the rest of them, somewhere:
 * -ot,
 * --cpu-moe and --n-cpu-moe, as llama.cpp has them for its buffers. */
#ifndef TOOLS_OVERRIDE_H
#define TOOLS_OVERRIDE_H

#include "../../infer/engine.h"
#include "opt.h"

struct override_options {
    struct opt_list tensors; /* REGEX=PLACE,... */
    bool cpu_moe;
    int n_cpu_moe;           /* 0: not given */
    uint8_t *tiers, *places; /* owned */
};

#define OVERRIDE_OPTIONS(o)                                                              \
    { "-ot, --override-tensor", "REGEX=PLACE,...", OPT_LIST, &(o).tensors,               \
      "where experts of matching tensors are: CPU: all in\nmemory for good; MMAP: "      \
      "mapped; DISK: read when\nthey are needed; CUDA0: in a device's memory. And who\n" \
      "computes matching layers, or the output: CPU or CUDA0" },                         \
        { "-cmoe, --cpu-moe", NULL, OPT_FLAG, &(o).cpu_moe,                              \
          "all experts in memory for good" },                                            \
    {                                                                                    \
        "-ncmoe, --n-cpu-moe", "N", OPT_INT, &(o).n_cpu_moe,                             \
            "those of the first N layers"                                                \
    }

/* Find the layers that are meant, into the options of the model at `path`, whose device
 * is set already.  GGF_E_ARG if a pattern matches nothing or cannot be followed.  Until
 * the model is open, o must stay. */
int override_apply(struct override_options *o, const char *path,
                   struct q3n_model_options *out, ggf_error *err);
void override_free(struct override_options *o);

#endif
