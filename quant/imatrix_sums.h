/* imatrix_sums.h - importance matrices in the making: sums that grow, are merged with
 * those of files, and are written.
 *
 * Sums are float32 and are added to in float32, as the file stores them: a run that is
 * continued from its file ends with the same bytes as one that was never interrupted. */
#ifndef QUANT_IMATRIX_SUMS_H
#define QUANT_IMATRIX_SUMS_H

#include "imatrix.h"

/* The sums of one weight. */
struct imatrix_sum {
    char *name;
    uint64_t width, n_slices; /* columns; experts that are counted on their own, else 1 */
    float *squares;           /* [n_slices][width]: of x^2 */
    uint64_t *counts;         /* [n_slices]: rows x that were added */
    /* Statistics that llama-imatrix does not have; NULL where they are not known for all
     * rows. */
    float *means;      /* [n_slices][width]: of x */
    float *gated;      /* [n_slices][width]: of (g x)^2, g being the router's weight */
    float *gate_count; /* [n_slices]: of g^2 */
};

struct imatrix_sums {
    struct imatrix_sum **entries; /* sorted by name; NULL at the start */
    uint64_t n_entries;
    char **datasets; /* names of texts */
    uint64_t n_datasets;
    uint64_t chunks;     /* pieces of text, */
    uint32_t chunk_size; /* of so many tokens */
};

void imatrix_sums_free(struct imatrix_sums *s);

/* Which extra statistics an entry has. */
enum imatrix_extra { IMATRIX_PLAIN = 0, IMATRIX_MEAN = 1, IMATRIX_GATED = 2 };

/* A new entry, all zero; stays where it is until imatrix_sums_free().  GGF_E_ARG if the
 * name is there already or too long for a file. */
int imatrix_sums_add(struct imatrix_sum **out, struct imatrix_sums *s, const char *name,
                     uint64_t width, uint64_t n_slices, unsigned extras, ggf_error *err);
/* NULL if there is none. */
struct imatrix_sum *imatrix_sums_find(const struct imatrix_sums *s, const char *name);
/* Remember the name of a text, once. */
int imatrix_sums_dataset(struct imatrix_sums *s, const char *name, size_t len,
                         ggf_error *err);

/* Add the sums of a file, which imatrix_check() found good.  Extra statistics that it
 * lacks are dropped.  With `closed` an entry that is not there yet is an error, else it
 * becomes one.  A .dat file has means instead of sums and no counts of experts: chunks
 * of chunk_size tokens are assumed. */
int imatrix_sums_merge(struct imatrix_sums *s, const imatrix *m, bool closed,
                       ggf_error *err);

/* GGF_E_FORMAT if a sum is not finite: the activations overflow. */
int imatrix_sums_check(const struct imatrix_sums *s, ggf_error *err);

/* Write a file, whole or not at all: GGUF as llama-imatrix writes it, with the extra
 * statistics as tensors that others pass over, or the older .dat. */
int imatrix_sums_write(const struct imatrix_sums *s, const char *path, bool force,
                       ggf_error *err);
int imatrix_sums_write_dat(const struct imatrix_sums *s, const char *path, bool force,
                           ggf_error *err);

#endif
