/* quantize.h - from a plan to files: keys, tensors, shards, all or nothing. */
#ifndef QUANT_QUANTIZE_H
#define QUANT_QUANTIZE_H

#include "convert.h"

struct quantize_options {
    const char *path; /* of the output; with keep_split its shards are named after it */
    bool force;       /* replace what is there */
    int threads;      /* <= 0: one for each processor */
    const char *matrix_path; /* as it is to be recorded; NULL without a matrix */
    const struct provenance *provenance; /* to be recorded; or NULL */
};

/* Carry out a plan that plan_check() found good.  `file` must be open with its data.
 * No file appears under its final name before all are complete. */
int quantize_file(const ggf_file *file, const struct plan *plan,
                  const struct plan_options *plan_options,
                  const struct quantize_options *options,
                  const struct convert_watch *watch, ggf_error *err);

/* Bytes of the file that quantize_file() would write; for plans without keep_split. */
int quantize_size(uint64_t *bytes, const ggf_file *file, const struct plan *plan,
                  const struct plan_options *plan_options,
                  const struct quantize_options *options, ggf_error *err);

/* The name of output file `shard`, into out[size]; -1 if it does not fit. */
int quantize_output_name(char *out, size_t size, const char *path, bool keep_split,
                         uint32_t shard, uint32_t n_shards);

/* ---- Parts of that, for outputs of another form (quantize_pack.h) */

/* Set the keys of all outputs. */
int quantize_keys(ggf_writer *const *writers, uint32_t n, const ggf_file *file,
                  const struct plan *plan, const struct plan_options *plan_options,
                  const struct quantize_options *options, ggf_error *err);

/* The mapping of a part of the source, or NULL if it was not opened by its path: then the
 * memory is the caller's. */
const struct ggf_shard *quantize_mapping(const ggf_file *file, uint32_t shard);

#endif
