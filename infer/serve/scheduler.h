/* scheduler.h - one thread that owns the sessions and computes for all jobs.
 *
 * Each step takes the next token of every slot that generates, and a piece of the prompts
 * that are being read, so that nobody stands still while a long prompt is read.  Jobs
 * wait in the order they came until a slot is free; of the free ones, the slot that
 * holds most of the prompt takes it, else the one that was not used for longest. */
#ifndef INFER_SERVE_SCHEDULER_H
#define INFER_SERVE_SCHEDULER_H

#include "slot.h"

struct scheduler_options {
    struct slot_means means;
    struct q3n_session_options session; /* of each slot */
    uint32_t n_slots;
    uint32_t n_batch;     /* prompt tokens in one step */
    uint32_t most_queued; /* jobs that may wait */
};

struct scheduler;

/* Starts the thread.  Everything in the options must live longer. */
int scheduler_new(struct scheduler **out, const struct scheduler_options *options,
                  ggf_error *err);
/* Stops, waits for the thread, frees.  NULL is allowed. */
void scheduler_free(struct scheduler *s);
/* Cancel everything; from now on nothing is taken. */
void scheduler_stop(struct scheduler *s);

/* Have the n jobs of a request done, a leader first; the scheduler becomes a holder.
 * GGF_E_ARG when it has stopped or too many wait. */
int scheduler_submit(struct scheduler *s, struct job *const *jobs, size_t n,
                     ggf_error *err);

/* ---- Things to do with an idle slot; they wait until it is. ---- */

enum slot_action { SLOT_SAVE, SLOT_RESTORE, SLOT_ERASE };

/* `path` is the file; *n_tokens: how many are saved, restored or erased. */
int scheduler_act(struct scheduler *s, uint32_t slot, enum slot_action action,
                  const char *path, uint32_t *n_tokens, ggf_error *err);

/* ---- What it is doing ---- */

struct slot_view {
    enum slot_phase phase;
    uint64_t job;    /* its id */
    uint32_t n_held; /* tokens in the session */
    struct job_counts counts;
};

struct scheduler_totals {
    struct slot_done done;    /* by all slots */
    uint64_t n_steps, n_busy; /* steps; slots that took part in them */
    uint32_t n_most;          /* most tokens that a session held */
    uint32_t n_processing, n_queued;
    uint32_t n_slots, n_ctx; /* n_ctx: of a slot */
    struct q3n_checkpoint_stats kept;
};

/* Fills in the views of at most n slots. */
void scheduler_views(struct scheduler *s, struct slot_view *views, uint32_t n);
struct scheduler_totals scheduler_totals(struct scheduler *s);

#endif
