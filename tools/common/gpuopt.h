/* gpuopt.h - the options that say what of a model a device computes, as llama.cpp has
 * them, and what is said of it. */
#ifndef TOOLS_GPUOPT_H
#define TOOLS_GPUOPT_H

#include "../../infer/engine.h"
#include "opt.h"
#include "out.h"

struct gpu_options {
    const char *layers;  /* a number, "all" or "auto"; NULL: auto */
    const char *misses;  /* "auto", "upload" or "compute"; NULL: auto */
    const char *uploads; /* a number from 1 on; NULL: as many as pay */
    uint64_t vram;
    int main_gpu;
    bool no_kv_offload;
};

/* Rows for a table of options; o is a struct gpu_options. */
#define GPU_OPTIONS(o)                                                                   \
    { .kind = OPT_HEADING, .help = "Device (CUDA)" },                                    \
        { "-ngl, --gpu-layers, --n-gpu-layers", "N", OPT_STR, &(o).layers,               \
          "layers it computes, from the last one down, the output\nmatrix first: a "     \
          "number, all, or auto: as many as fit (auto)" },                               \
        { "--vram", "SIZE", OPT_SIZE, &(o).vram,                                         \
          "most of its memory for weights, context and buffers\n(what is free)" },       \
        { "-nkvo, --no-kv-offload", NULL, OPT_FLAG, &(o).no_kv_offload,                  \
          "keys and values in memory of the host, attention there" },                    \
        { "--device-misses", "WHAT", OPT_STR, &(o).misses,                               \
          "experts of a few tokens that are not in its slots: upload,\n"                 \
          "compute (on the CPU), or auto: what is done sooner (auto)" },                 \
        { "--device-uploads", "N", OPT_STR, &(o).uploads,                                \
          "auto: copy at most N of them for a layer (as many as pay)" },                 \
    {                                                                                    \
        "-mg, --main-gpu", "N", OPT_INT, &(o).main_gpu, "which device, from 0 (0)"       \
    }

/* Put them into the options of a model.  OPT_GO, or OPT_USAGE after saying what is wrong.
 */
int gpu_options(const struct opt_program *program, const struct gpu_options *o,
                struct q3n_model_options *out);

/* What is on the device, in a line; nothing if no device has a part in it. */
void gpu_print(FILE *f, const struct q3n_device_info *d);
/* The member "device" of an object. */
void gpu_json(struct json *j, const struct q3n_device_info *d);
/* The words for what of the layers a device computes: "48 layers, output". */
struct gpu_words {
    char text[48];
};
struct gpu_words gpu_layers(const struct q3n_device_info *d);

#endif
