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
    void *copy; /* of all but routed experts; NULL: everything is mapped */
    uint64_t copy_bytes;

    struct matrix embedding; /* rows are looked up, not multiplied */
    decode_fn decode_embedding;
    const float *output_norm;
    struct linear head;
    struct layer *layers;
    struct expert_store *experts;
    uint8_t *tiers;          /* [n_layer]: enum q3n_expert_tier, for the store */
    struct offload *offload; /* what a device computes (gpu/offload.h); NULL: nothing */
    struct model_memory memory;
};

/* Fill everything from `embedding` on from file and pack, checking every tensor.
 * direct: experts are to be read, not mapped. */
int model_bind(struct q3n_model *model, const struct q3n_model_options *options,
               bool direct, ggf_error *err);
void model_unbind(struct q3n_model *model);

/* ---- weights.c: the tensors that are not routed experts -------------------- */

/* tensor_data: in the mapped file ... */
int weights_map(struct q3n_model *model, ggf_error *err);
/* ... or, all but routed experts, read into memory of our own.  once: the system may
 * forget what it has of the file.  Without memory (GGF_E_NOMEM) nothing has changed. */
int weights_read(struct q3n_model *model, bool once, ggf_error *err);
/* Lock them (false: refused); read those at once that are mapped. */
bool weights_lock(const struct q3n_model *model);
void weights_populate(const struct q3n_model *model);

/* ---- identity.c ---------------------------------------------------------------- */

/* Of the hyperparameters, and of all tensors name, type, shape and how they begin: equal
 * for models that give the same logits, and hardly ever for others. */
int model_identity(const q3n_model *model, uint8_t out[GGF_SHA256_BYTES], ggf_error *err);

/* ---- placement.c: what goes where -------------------------------------------- */

struct placement {
    enum q3n_load_mode mode; /* not AUTO */
    uint64_t slots;          /* memory for experts that are read */
    bool copy; /* everything else is read too, though the mode is not direct */
};

/* Decide for a model that is bound with everything mapped.  GGF_E_ARG if the limits that
 * were given contradict each other, or are too narrow: the message says what would do. */
int placement_choose(const struct q3n_model *model,
                     const struct q3n_model_options *options, struct placement *out,
                     ggf_error *err);

#endif
