/* slot.h - a session of the server and what it is doing: a prompt that is read piece by
 * piece, then text, token by token, to the job that asked.
 *
 * The scheduler computes; a slot says what it wants next, and is told when that is done.
 * All of it happens in the scheduler's thread. */
#ifndef INFER_SERVE_SLOT_H
#define INFER_SERVE_SLOT_H

#include "../session/checkpoint.h"
#include "job.h"

enum slot_phase { SLOT_IDLE, SLOT_READING, SLOT_GENERATING };

/* What all slots use; the scheduler's. */
struct slot_means {
    q3n_model *model;
    const q3n_tokenizer *tokenizer;
    q3n_checkpoints *checkpoints; /* NULL: none are kept */
    uint32_t every;               /* tokens between two checkpoints; 0: none there */
    int32_t mark;      /* the token that a message starts with; -1: no such thing */
    int32_t think_end; /* the token that ends thoughts; likewise */
    const q3n_trie *trie;
    const struct route_watch *watch; /* NULL: nobody */
};

/* What a slot has done, in all. */
struct slot_done {
    uint64_t n_jobs;
    uint64_t n_prompt, n_cached, n_predicted; /* tokens; n_prompt: computed */
    double prompt_seconds, predicted_seconds;
};

struct slot {
    const struct slot_means *means;
    uint32_t number;
    q3n_session *session;
    enum slot_phase phase;
    uint64_t used; /* when: the higher the later */

    struct job *job;
    struct job_counts counts;
    double since;      /* the phase began */
    uint32_t marks[2]; /* where checkpoints are kept: the last two messages' starts */
    size_t n_marks;
    int32_t pending; /* chosen and not computed yet */
    struct slot_done done;

    /* The text of the job. */
    q3n_stop_filter *stops;
    struct q3n_stream stream;
    size_t produced, released; /* bytes of text; of these, given to the job */
    struct slot_held *held;    /* tokens whose text waits for the stop filter */
    size_t n_held, held_room;
    char *scratch[2]; /* what the stream, and the filter, write to */
    size_t scratch_room[2];
};

int slot_init(struct slot *slot, const struct slot_means *means, uint32_t number,
              q3n_lane *lane, const struct q3n_session_options *options, ggf_error *err);
void slot_free(struct slot *slot);

/* Take on a job, of which the slot becomes a holder.  When it fails, the job has been
 * told. */
void slot_begin(struct slot *slot, struct job *job);

/* Tokens of its session that shall be computed next, at most `most`, of one that is not
 * idle; of the last one logits may be wanted. */
void slot_wants(const struct slot *slot, uint32_t most, struct q3n_run *run);
/* They are computed, with these logits of the last if they were wanted; or failed with
 * err.  May end the job. */
void slot_computed(struct slot *slot, const float *logits);
void slot_failed(struct slot *slot, const ggf_error *err);
/* End the job as it is. */
void slot_end(struct slot *slot, enum q3n_stop why, const ggf_error *err);

/* How many tokens of a prompt its session holds; 0 if it holds others as well. */
uint32_t slot_match(const struct slot *slot, const struct q3n_ids *prompt);

#endif
