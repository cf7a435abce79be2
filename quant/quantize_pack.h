/* quantize_pack.h - from a choice for each expert to a dense GGUF and its expert pack. */
#ifndef QUANT_QUANTIZE_PACK_H
#define QUANT_QUANTIZE_PACK_H

#include "expert_budget.h"
#include "quantize.h"

/* Called from one thread at a time, with bytes of source. */
typedef void (*quantize_progress_fn)(void *user, uint64_t done, uint64_t total);

/* Write options->path, which ends in ".gguf", and `pack_path` in the same folder. Experts
 * are encoded by all threads and go straight to their places: memory is one expert for
 * each thread.  Both files appear or none; their bytes depend on neither threads nor
 * instruction set. */
int quantize_to_pack(const ggf_file *file, const struct plan *plan,
                     const struct plan_options *plan_options,
                     const struct quantize_options *options, const char *pack_path,
                     const struct expert_budget *experts, quantize_progress_fn progress,
                     void *user, ggf_error *err);

/* Bytes of both files: the dense GGUF with its tensors as in the plan; the pack at most
 * (a page may be saved). */
int quantize_pack_size(uint64_t *dense, uint64_t *pack, const ggf_file *file,
                       const struct plan *plan, const struct plan_options *plan_options,
                       const struct quantize_options *options, const char *pack_path,
                       const struct expert_budget *experts, ggf_error *err);

#endif
