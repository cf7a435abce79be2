/* plan.h - what becomes of a model's tensors: order, names, types, sizes, importances.
 *
 * Made from the header alone and before anything is written, so that it can be shown
 * (--dry-run) and so that whatever would fail fails at the start.  mix.h decides the
 * types; metadata.h the keys; quantize.h does the work. */
#ifndef QUANT_PLAN_H
#define QUANT_PLAN_H

#include "imatrix.h"
#include "metadata.h"
#include "mix.h"

/* Rows are quantized whole, so their length bounds the memory of a thread. */
enum { PLAN_ROW_MAX = 1 << 20 };

struct plan_options {
    struct mix_options mix; /* has_matrix is set by plan_make() */
    bool allow_requantize;  /* sources may be quantized already */
    bool keep_split;        /* one output per shard, tensors in the source's order */
    int refine;             /* level, refine.h */
    const imatrix *matrix;  /* or NULL */
    const struct kv_override *overrides;
    int n_overrides;
    const uint32_t *prune; /* layers to leave out */
    int n_prune;
    /* The type that the user demands for a tensor, or MIX_NO_TYPE; may be NULL. */
    int (*forced)(void *user, const char *name);
    void *user;
};

struct plan_item {
    const struct ggf_tensor *source;
    char name[64];    /* in the output: layers are renumbered after pruning */
    uint32_t type;    /* in the output; equal to source->type: copied as it is */
    uint32_t refused; /* the type that the row length ruled out, else type */
    uint64_t bytes;   /* in the output */
    const struct imatrix_entry *weights; /* or NULL */
};

struct plan {
    struct mix_model model;
    struct plan_item *items; /* in output order */
    size_t n_items;
    uint64_t n_elements, source_bytes, bytes;
    size_t n_changed;   /* items whose type changes */
    size_t n_fallback;  /* of these, whose row ruled the first choice out */
    size_t n_unmatched; /* of these, without importances although there is a matrix */
    size_t n_matched;   /* items that the matrix has an entry for */
    uint32_t n_layers;  /* block_count of the output */
    bool mixed;         /* types were set by plan_set_types() */
};

/* Fails if the model lacks the keys that the rules ask for, or for the reasons of
 * mix_choose().  The plan points into `file` and the matrix. */
int plan_make(struct plan *plan, const ggf_file *file, const struct plan_options *options,
              ggf_error *err);
/* The same tensors under other options, which may differ in `mix` alone. */
int plan_again(struct plan *out, const struct plan *plan,
               const struct plan_options *options, ggf_error *err);
void plan_free(struct plan *plan);

/* The tensor of item `i` as mix_allows() and mix_choose() want it. */
struct mix_tensor plan_mix_tensor(const struct plan *plan,
                                  const struct plan_options *options, size_t i);

/* What the matrix has for a tensor of the file, whatever becomes of it; NULL if nothing.
 * Fails if that is of another shape. */
int plan_importances(const struct imatrix_entry **out, const struct ggf_tensor *tensor,
                     const struct plan_options *options, ggf_error *err);

/* Give each item the type that types[] has for it, and count anew.  They must have blocks
 * that the rows fit. */
void plan_set_types(struct plan *plan, const struct plan_options *options,
                    const uint32_t *types);

/* What general.file_type is to say.  For a copy, what the source says or else a guess
 * from its most frequent tensor type; after plan_set_types(), the file type that the type
 * with most bytes suggests. */
uint32_t plan_file_type(const struct plan *plan, const ggf_file *file,
                        const struct plan_options *options);

/* Can it be carried out?  Fails with the first reason why not: a type that has no
 * encoder, a source already quantized, importances that are missing or of another
 * shape. */
int plan_check(const struct plan *plan, const struct plan_options *options,
               ggf_error *err);

#endif
