/* sensitivity.h - how much of a tensor each type loses, measured on a sample of it.
 *
 * The error of a type is sum w (x - x')^2 / sum w x^2, x' being x stored and read back, w
 * the importances times how often the expert is used.  Encoding everything in every type
 * takes hours for a large model; some hundred blocks tell the same to one per cent.
 *
 * Where only some experts are asked for and no token reached any of them, they count
 * alike. */
#ifndef QUANT_SENSITIVITY_H
#define QUANT_SENSITIVITY_H

#include "imatrix.h"

enum { SENSITIVITY_TYPES = 32 };

struct sensitivity {
    const struct ggf_tensor *tensor;     /* with its data, of a type that decodes */
    const struct imatrix_entry *weights; /* of its shape; or NULL: all alike */
    uint32_t types[SENSITIVITY_TYPES];   /* each with an encoder; rows fit their blocks */
    int n_types;
    uint64_t first_slice, n_slices; /* of ne[2], the experts; n_slices 0: all */
    /* out: */
    double error[SENSITIVITY_TYPES];
    double spread[SENSITIVITY_TYPES]; /* standard error, relative; 0 if all was read */
    double energy;                    /* mean of w x^2, experts by their use */
    uint64_t sampled;                 /* elements looked at */
};

struct sensitivity_options {
    int threads;     /* <= 0: one for each processor */
    double spread;   /* stop when the standard error is below; 0: 0.01 */
    uint64_t blocks; /* store at most so many blocks of 256 of a tensor in all types, and
                        read 8 times as many; 0: 1024.  A tensor that has no more is
                        taken whole. */
    bool mapped;     /* data are in mapped files: read with no more around than is asked
                        for, and give the memory back after each tensor */
    int refine;      /* level, refine.h */
    void (*progress)(void *user, size_t done, size_t n); /* under a lock; may be NULL */
    void *user;
};

/* Measure all.  The places looked at depend on the tensor's name, the slices and how much
 * the errors vary; the results on neither threads nor instruction set.  Fails if a value
 * met is infinite, NaN or too large for a type. */
int sensitivity_measure(struct sensitivity *list, size_t n,
                        const struct sensitivity_options *options, ggf_error *err);

#endif
