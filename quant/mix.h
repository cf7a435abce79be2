/* mix.h - which type each tensor of a model gets when it is quantized to a file type.
 *
 * The same decisions as llama-quantize: which tensors are left alone, the bumps for
 * embeddings, values, down projections and early or late layers, and the type taken
 * when a row does not fit.  Pure functions of names, shapes and a few numbers of the
 * model: nothing is read or written here. */
#ifndef QUANT_MIX_H
#define QUANT_MIX_H

#include "filetype.h"
#include "../libgguf/libgguf.h"

enum { MIX_NO_TYPE = -1 };

/* What the rules ask of a model. */
struct mix_model {
    char arch[64];
    uint32_t n_layers;   /* block_count, prediction (nextn) layers included */
    uint32_t n_heads;    /* of layer 0 */
    uint32_t n_heads_kv; /* of layer 0 */
    uint32_t n_experts;
};

/* One tensor, in and out. */
struct mix_tensor {
    const char *name;
    uint32_t type; /* as stored */
    uint64_t ne[4];
    int forced; /* enum ggf_type that the user demands for this name, or MIX_NO_TYPE */

    uint32_t choice;  /* out: the type to store; equal to type: leave it alone */
    uint32_t refused; /* out: the type that the row length ruled out, else choice */
};

struct preset; /* preset.h */

struct mix_options {
    const struct file_type *to;  /* NULL: leave every tensor as it is */
    const struct preset *preset; /* instead of the mixture of `to`; or NULL */
    bool pure;                   /* the base type for all */
    bool keep_output;            /* leave output.weight alone */
    bool has_matrix;             /* some tensor has importances */
    bool compat;                 /* as llama-quantize where that is wrong: mix_allows(),
                                    forced types, IQ3_S (encode.h) */
    int output_type;             /* for output.weight, or MIX_NO_TYPE */
    int embedding_type;          /* for token_embd.weight, or MIX_NO_TYPE */
};

/* Decide all tensors.  They must come in the order in which they are processed, for
 * the rules count.  Fails if a row fits no type or the layer of an expert tensor
 * cannot be read from its name; the message names the tensor. */
int mix_choose(const struct mix_model *model, const struct mix_options *options,
               struct mix_tensor *tensors, size_t n, ggf_error *err);

/* May a tensor of this name, type and shape be quantized at all? */
bool mix_allows(const struct mix_tensor *t, const struct mix_options *options);

/* N of "blk.N.", or -1. */
int mix_layer(const char *name);

/* The order in which llama-quantize works and writes: tensors outside the blocks
 * first, then layer by layer, by the bytes of the name within.  For qsort() and
 * friends: below, equal or above zero. */
int mix_compare_names(const char *a, const char *b);

/* True if llama-quantize refuses to store this tensor in this type without an
 * importance matrix. */
bool mix_wants_matrix(const char *name, uint32_t type, const struct file_type *to);

#endif
