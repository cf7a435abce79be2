/* recorder.h - the options about the routing of a run: --trace, --history and
 * --save-history. */
#ifndef TOOLS_RECORDER_H
#define TOOLS_RECORDER_H

#include "../../infer/experts/trace.h"
#include "../../infer/ops/moe.h"

struct recorder_options {
    const char *trace;        /* write every choice here, */
    const char *save_history; /* or how often each expert was chosen */
    const char *history; /* a history or a trace: load what was chosen most; a history
                            that is saved goes on from it */
};

#define RECORDER_OPTIONS(o)                                                              \
    {                                                                                    \
        "--trace", "FILE", OPT_STR, &(o).trace,                                          \
            "write which experts each token was sent to, for\nq3n-trace"                 \
    }
#define HISTORY_OPTIONS(o)                                                               \
    { "--history", "FILE", OPT_STR, &(o).history,                                        \
      "begin with the experts in memory that were used most:\na history or a trace of "  \
      "the same model" },                                                                \
    {                                                                                    \
        "--save-history", "FILE", OPT_STR, &(o).save_history,                            \
            "write how often each expert was used; goes on from\n--history"              \
    }

struct recorder {
    struct recorder_options o;
    bool force;
    struct trace_model model;
    struct trace_writer *writer;
    uint64_t *counts; /* [n_expert, n_layer]; NULL: not wanted */
    uint32_t loaded;  /* experts, because of the history */
    struct route_watch watch;
};

/* Fail if a file to be written is one of n inputs, or the trace is the history. */
int recorder_spare(const struct recorder_options *o, const char *const *inputs, size_t n,
                   ggf_error *err);

/* Begin the files, read the history and load its experts.  After a failure too, close. */
int recorder_open(struct recorder *r, const struct recorder_options *o, bool force,
                  q3n_model *model, ggf_error *err);
/* For the session; NULL if nothing is recorded.  r must not move. */
const struct route_watch *recorder_watch(struct recorder *r);
/* Let the files appear. */
int recorder_finish(struct recorder *r, ggf_error *err);
void recorder_close(struct recorder *r);

#endif
