/* probe.h - gguf-quant's --probe: what an error in each kind of tensor does to this
 * model, found by running it.
 *
 * One kind of tensors after another (of experts, in bands of layers) is stored in a
 * coarse type; the divergence that comes of it takes the place of the published
 * densities.  Then some whole plans are tried, which gives the curve from cost to
 * divergence. */
#ifndef TOOLS_PROBE_H
#define TOOLS_PROBE_H

#include "../../quant/budget.h"
#include "../../quant/predict.h"

#include <stdbool.h>

enum { PROBE_WINDOWS = 16, PROBE_CTX = 512 };

struct probe {
    const char *text;  /* file to run the model on; NULL: no probe, or */
    const char *in;    /* a file with what one found */
    const char *out;   /* NULL, or where to keep that */
    const char *model; /* the source's path, for the engine */
    int n_windows;     /* of PROBE_CTX tokens, at most */
    bool quiet, force; /* force: replace `out` */
};

struct probe_result {
    uint64_t tokens;      /* in the windows */
    size_t n_outputs;     /* tensors whose error is that of what they give */
    int n_kinds, n_plans; /* tried */
    double noise;         /* of the divergences, relative */
    double seconds;
};

/* Measure the errors of all types, then run the model.  Weights in
 * the table, which is that of a plan by `options` of all tensors of `file`, become those
 * of this model, and *predict the curve for them. */
int probe_run(struct predict *predict, struct probe_result *result,
              struct error_table *table, const struct probe *probe, const ggf_file *file,
              const struct plan_options *options, const struct budget_options *budget,
              ggf_error *err);

#endif
