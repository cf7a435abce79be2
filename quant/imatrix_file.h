/* imatrix_file.h - what an imatrix holds.  Internal to imatrix.c and imatrix_read.c. */
#ifndef QUANT_IMATRIX_FILE_H
#define QUANT_IMATRIX_FILE_H

#include "imatrix.h"

struct imatrix {
    ggf_file *gguf; /* of the GGUF form, else NULL */
    void *map;      /* of a .dat opened by path, else NULL */
    size_t map_bytes;
    bool mapped; /* the values lie in a file mapping, not in the caller's memory */
    struct imatrix_entry *entries; /* names are owned; sorted by name */
    uint64_t n_entries;
    struct ggf_str dataset;
    bool has_dataset;
    uint32_t chunks;
};

#endif
