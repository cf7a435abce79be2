/* imatrix_file.h - what an imatrix holds.  Internal to quant/imatrix*.c. */
#ifndef QUANT_IMATRIX_FILE_H
#define QUANT_IMATRIX_FILE_H

#include "imatrix.h"

#include <string.h>

/* Tensors of the GGUF form: the weight's name and */
#define IMATRIX_SUMS         ".in_sum2"
#define IMATRIX_COUNTS       ".counts"
#define IMATRIX_MEANS        ".in_sum"
#define IMATRIX_GATED_SUMS   ".gated_sum2"
#define IMATRIX_GATED_COUNTS ".gated_counts"

struct imatrix {
    ggf_file *gguf; /* of the GGUF form, else NULL */
    void *map;      /* of a .dat opened by path, else NULL */
    size_t map_bytes;
    bool mapped; /* the values lie in a file mapping, not in the caller's memory */
    struct imatrix_entry *entries; /* names are owned; sorted by name */
    uint64_t n_entries;
    struct ggf_str *datasets; /* owned; the texts are in the file */
    uint64_t n_datasets;
    uint32_t chunks, chunk_size;
    void **blocks; /* owned: what imatrix_condition() needs */
    uint64_t n_blocks;
};

/* A number of the file, which lies at any address. */
static inline float load_f32(const uint8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v); /* NOLINT(clang-analyzer-core.*): sums are never NULL */
    return v;
}

#endif
