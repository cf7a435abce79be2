/* model.h - what a loaded model is made of.  Private to infer/: tools see engine.h. */
#ifndef INFER_MODEL_H
#define INFER_MODEL_H

#include "../engine.h"
#include "../experts/store.h"
#include "../ops/attention.h"
#include "../ops/delta.h"
#include "../ops/moe.h"
#include "../../quant/decode.h"
#include "hparams.h"

struct layer {
    bool recurrent; /* delta, else attention */
    const float *mixer_norm, *ffn_norm;
    union {
        struct attention attention;
        struct delta_net delta;
    };
    struct moe moe;
};

/* A list of allocations that live as long as the model. */
struct model_memory {
    void **blocks;
    size_t n;
};

struct q3n_model {
    struct hparams hp;
    struct vec_ops ops;
    struct q3n_model_info info;
    int threads;
    bool exact;

    ggf_file *file;
    ggf_file *overlay;           /* tensors of it come before those of `file`; or NULL */
    ggf_pack *pack;              /* NULL: the experts are in the file */
    const uint8_t **tensor_data; /* of each tensor: mapped, or our own copy */
    void *copy;                  /* of all weights, without mmap */

    struct matrix embedding; /* rows are looked up, not multiplied */
    decode_fn decode_embedding;
    const float *output_norm;
    struct linear head;
    struct layer *layers;
    struct expert_store *experts;
    struct model_memory memory;
};

/* Fill everything from `embedding` on from file and pack, checking every tensor. */
int model_bind(struct q3n_model *model, ggf_error *err);

#endif
