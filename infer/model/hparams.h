/* hparams.h - the numbers that describe a model, read from its metadata and checked.
 *
 * What differs between sibling architectures is data here, so that the code that computes
 * has no names of architectures in it. */
#ifndef INFER_HPARAMS_H
#define INFER_HPARAMS_H

#include "../../libgguf/libgguf.h"

#include <stdbool.h>
#include <stdint.h>

enum { HP_MAX_LAYERS = 1024 };

struct hparams {
    const char *arch; /* "qwen3next" */
    uint32_t
        n_block; /* blocks in the file; n_layer of them are the trunk, the rest MTP */
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_ctx_train;
    float eps; /* of every RMS norm, and of the L2 norm of q and k in delta layers */

    /* Full attention. */
    uint32_t n_head, n_head_kv;
    uint32_t head_dim; /* of keys and of values */
    uint32_t n_rot;    /* first dimensions of a head that are rotated */
    double rope_base;

    /* Gated delta net.  Value head j shares the key head j / (n_v_heads / n_k_heads). */
    uint32_t conv_kernel;
    uint32_t state_dim; /* of a key head and of a value head */
    uint32_t n_k_heads, n_v_heads;

    /* Experts. */
    uint32_t n_expert, n_expert_used;
    uint32_t n_ff_exp, n_ff_shexp;

    bool recurrent[HP_MAX_LAYERS]; /* per layer: delta net instead of attention */
};

/* Read and check all of them.  The error names the key, what it holds and what is
 * allowed. */
int hparams_read(struct hparams *hp, const ggf_file *file, ggf_error *err);

#endif
