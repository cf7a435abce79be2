/* job.h - one text to be generated: what is asked, and a pipe for what comes of it.
 *
 * Two hold a job: the connection that wants the text, and the scheduler, which makes it.
 * Each lets go of it on its own (job_drop); neither waits for the other to do so.  What
 * was not fetched yet piles up: a slow reader does not hold up the others, and gets
 * larger pieces. */
#ifndef INFER_SERVE_JOB_H
#define INFER_SERVE_JOB_H

#include "../session/generate.h"
#include "../session/logprob.h"

#include <pthread.h>
#include <stdatomic.h>

/* A token of the text, and what else could have come. */
struct job_token {
    int32_t id;
    float logprob;
    struct q3n_logprob top[Q3N_MAX_LOGPROBS];
    uint32_t n_top;
};

/* What was generated since the last time. */
struct job_piece {
    char *text; /* whole characters, not NUL-terminated */
    size_t len, room;
    struct job_token *tokens; /* those whose text is complete; none unless asked for */
    size_t n_tokens, token_room;
};
void job_piece_free(struct job_piece *p);

enum job_state { JOB_QUEUED, JOB_READING, JOB_GENERATING, JOB_ENDED };

struct job_counts {
    uint32_t n_prompt, n_cached; /* tokens of the prompt; of these, not computed again */
    uint32_t n_read;             /* held so far, while it is being read */
    uint32_t n_predicted;
    double queue_seconds, prompt_seconds, predicted_seconds;
};

struct job {
    /* What is asked; set by the connection before it is submitted, then the scheduler's
     * until it ends.  Owned, but see job_like(). */
    struct q3n_ids prompt;
    q3n_sampler *sampler;
    q3n_stops *stops;     /* NULL: none */
    q3n_grammar *grammar; /* the form of the text, behind the thoughts; NULL: none */
    struct job *leader;   /* whose prompt, stops and grammar these are; NULL: its own */
    bool thinking;        /* it starts with thoughts */
    int64_t limit;        /* most tokens; -1: as many as the context holds */
    int n_logprobs;       /* likeliest tokens to report, -1: nothing of probabilities */
    bool ignore_eos;
    bool forget; /* read the prompt anew, whatever is known of it */
    int slot;    /* that shall do it; -1: any */
    uint64_t id;

    atomic_bool cancelled; /* nobody wants it any more */

    struct job *next; /* the scheduler's */
    double submitted;

    atomic_int holders;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    struct job_piece piece;
    enum job_state state;
    struct job_counts counts;
    enum q3n_stop why; /* it ended, if `failed` is 0 */
    int failed;        /* GGF_E_...; */
    ggf_error error;   /* its sentence */
};

/* Held once. */
int job_new(struct job **out, ggf_error *err);
/* Another text to the same prompt, with the leader's prompt, stops and grammar: it holds
 * the leader, and is begun when that one has read the prompt, which then needs no
 * reading. The sampler is left to the caller. */
int job_like(struct job **out, struct job *leader, ggf_error *err);
void job_hold(struct job *job);
void job_drop(struct job *job); /* NULL is allowed */

/* ---- For the scheduler ---- */

/* Append to the piece; n_tokens may be 0.  GGF_E_NOMEM. */
int job_put(struct job *job, const char *text, size_t len, const struct job_token *tokens,
            size_t n_tokens, ggf_error *err);
void job_report(struct job *job, enum job_state state, const struct job_counts *counts);
/* err: why it failed; NULL: it did not. */
void job_end(struct job *job, enum q3n_stop why, const struct job_counts *counts,
             const ggf_error *err);

/* ---- For the connection ---- */

/* Wait until there is something new, at most so many seconds.  The piece, whose old
 * contents are freed, becomes what came; the state that of the job.  After JOB_ENDED the
 * job's other members may be read without lock. */
enum job_state job_wait(struct job *job, double seconds, struct job_piece *piece);
enum job_state job_state(struct job *job);

#endif
