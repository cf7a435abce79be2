/* probe_model.h - a model run with some of its tensors in other types, and how far its
 * predictions move from those of the model as it is.
 *
 * Tensors are encoded into a file under TMPDIR (or /tmp), which the engine lays over the
 * source and which is removed at once; so is the file with the source's logits, windows *
 * context / 2 * vocabulary floats. */
#ifndef TOOLS_PROBE_MODEL_H
#define TOOLS_PROBE_MODEL_H

#include "divergence.h"
#include "../../infer/session/capture.h"
#include "../../infer/text/tokenizer.h"
#include "../../quant/error_table.h"

#include <stdint.h>

struct probe_model {
    const ggf_file *file; /* the source, with its data, */
    const char *path;     /* as the engine opens it again */
    int threads;          /* <= 0: all the process may use */
    int refine;           /* level of refine.h for what is stored; 0 after opening */
    uint32_t n_ctx, n_windows, n_vocab;
    int32_t bos;
    int32_t *tokens; /* of all windows */
    float *logits;   /* of the source, for each prediction: a mapping of... */
    size_t logits_bytes;
    q3n_model *source;
    q3n_capture *inputs; /* of its matrices, for some of the predictions */
};

enum { PROBE_INPUTS = 256 }; /* tokens kept, at most */

/* Cut a text into windows of n_ctx tokens, take at most n_windows spread evenly over it,
 * and run the source.  To be closed in any case. */
int probe_model_open(struct probe_model *m, const ggf_file *file, const char *path,
                     const char *text, uint32_t n_ctx, uint32_t n_windows, int threads,
                     ggf_error *err);
void probe_model_close(struct probe_model *m);

/* Mean KL divergence, its error being that over windows, when item i of the table's plan
 * is stored as types[i]. */
int probe_model_kld(const struct probe_model *m, const struct error_table *table,
                    const uint32_t *types, struct estimate *kld, ggf_error *err);

#endif
