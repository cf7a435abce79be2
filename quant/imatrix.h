/* imatrix.h - importance matrices: how much each input column of a weight matters.
 *
 * Reads both forms that llama-imatrix writes: GGUF, with sums of squared activations
 * and token counts for each weight (and each expert), and the older .dat, with means.
 * Files are mapped and values computed when asked for, so a matrix larger than memory
 * is no matter. */
#ifndef QUANT_IMATRIX_H
#define QUANT_IMATRIX_H

#include "../libgguf/libgguf.h"

typedef struct imatrix imatrix;

struct imatrix_entry {
    const char *name;      /* of the weight: "blk.0.ffn_down_exps.weight" */
    uint64_t n_values;     /* columns, times experts */
    uint64_t n_slices;     /* experts that are counted on their own; else 1 */
    uint64_t width;        /* values of a slice */
    const uint8_t *sums;   /* n_values of f32, not aligned */
    const uint8_t *counts; /* n_slices of f32, not aligned; NULL in a .dat */
    int32_t calls;         /* .dat: what the values are to be divided by, if above 0 */

    /* What only q3n-imatrix writes, of f32, not aligned; NULL where it is not there. */
    const uint8_t *means;       /* n_values: sums of the activations themselves */
    const uint8_t *gated_sums;  /* n_values: of squares, times the squared weight that */
    const uint8_t *gated_count; /* n_slices: the router gave; sums of these weights */

    /* After imatrix_condition(): weights to which each slice is drawn, or NULL, and as
     * many tokens that they count for. */
    const float **priors;
    float *prior_tokens;
};

/* Open and check a file.  Which form it is in its first bytes tell. */
int imatrix_open(imatrix **out, const char *path, ggf_error *err);
/* The same from memory; the bytes must stay until imatrix_close(). */
int imatrix_open_buffer(imatrix **out, const void *bytes, size_t len, ggf_error *err);
/* NULL is allowed. */
void imatrix_close(imatrix *m);

/* Keep only entries whose name contains one of `include`, if there are any of those,
 * and none of `exclude`. */
void imatrix_filter(imatrix *m, const char *const *include, int n_include,
                    const char *const *exclude, int n_exclude);

/* Read through the values left: each must be finite and not negative. */
int imatrix_check(const imatrix *m, ggf_error *err);

uint64_t imatrix_count(const imatrix *m);
/* In the order of their names. */
const struct imatrix_entry *imatrix_at(const imatrix *m, uint64_t index);
/* NULL if there is none. */
const struct imatrix_entry *imatrix_find(const imatrix *m, const char *name);

/* The name of the text the matrix was made from: the first, or NULL.  Not
 * NUL-terminated. */
const struct ggf_str *imatrix_dataset(const imatrix *m);
/* All of them; of a .dat one or none. */
const struct ggf_str *imatrix_datasets(const imatrix *m, uint64_t *n);
/* Pieces of text it was made from, and their size in tokens; 0 if not known. */
uint32_t imatrix_chunks(const imatrix *m);
uint32_t imatrix_chunk_size(const imatrix *m);

/* Weights `first` to first + n - 1 of an entry, as the encoders take them: mean squares.
 * Where an expert saw no token each weight is 1, as in llama-quantize. */
void imatrix_weights(const struct imatrix_entry *e, uint64_t first, uint64_t n,
                     float *out);

#endif
