/* checkpoint.h - states of sequences, kept so that nothing has to be read twice.
 *
 * What a recurrent model remembers cannot be cut back to an earlier token, so it is kept
 * at places that are likely to be come back to: ends of messages, every so many tokens.
 * A checkpoint is the whole state of a session at a place; keys and values are kept once
 * for all checkpoints that share tokens.  A sequence that begins like one that was kept
 * goes on from there, and its logits are the same bit for bit as if all had been read.
 *
 * A checkpoint is found by its tokens, and by nothing but them: who asked does not
 * matter.  On disk it is only found with the same model, types of keys and values and
 * instruction set.  What is damaged is not used, and removed.
 *
 * One caller at a time; sessions may be any of the model's with such types. */
#ifndef INFER_SESSION_CHECKPOINT_H
#define INFER_SESSION_CHECKPOINT_H

#include "../engine.h"

#include <signal.h>

typedef struct q3n_checkpoints q3n_checkpoints;

struct q3n_checkpoint_options {
    uint64_t ram_bytes;  /* most memory for them, */
    uint32_t max_states; /* and most of them in memory */
    const char *dir; /* a folder for what is pushed out of memory or must last; NULL */
    uint64_t disk_bytes; /* most that is left there; 0: no limit */
};

/* With a folder, what is there of this model is found again. */
int q3n_checkpoints_open(q3n_checkpoints **out, q3n_model *model,
                         const struct q3n_session_options *session,
                         const struct q3n_checkpoint_options *options, ggf_error *err);
/* What is in memory only is lost: see flush.  NULL is allowed. */
void q3n_checkpoints_close(q3n_checkpoints *c);

/* Keep the state of a session as it is; but not what alone takes more than may be kept.
 */
int q3n_checkpoints_keep(q3n_checkpoints *c, const q3n_session *session, ggf_error *err);
/* Bring a session to the longest beginning of these tokens that is known: one that it
 * holds already, a checkpoint, or none.  q3n_session_pos() says which; never more than n
 * or what fits.  Logits of a token that is not computed again are not known: leave the
 * last token of a prompt out. */
int q3n_checkpoints_restore(q3n_checkpoints *c, q3n_session *session,
                            const int32_t *tokens, uint32_t n, ggf_error *err);

/* Write to the folder what is not there yet. */
int q3n_checkpoints_flush(q3n_checkpoints *c, ggf_error *err);

/* Write all that is kept of these tokens' beginnings to one file; GGF_E_NOT_FOUND if
 * there is nothing, GGF_E_EXISTS.  *n: tokens of the longest. */
int q3n_checkpoints_save(q3n_checkpoints *c, const char *path, bool force,
                         const int32_t *tokens, uint32_t n, uint32_t *n_saved,
                         ggf_error *err);
/* Keep what such a file holds, if there is room.  All of it is checked before any of it
 * counts; GGF_E_ARG if it is another model's.  The tokens of the longest are put into
 * *tokens, to be freed. */
int q3n_checkpoints_load(q3n_checkpoints *c, const char *path, int32_t **tokens,
                         uint32_t *n, ggf_error *err);

struct q3n_checkpoint_stats {
    uint32_t in_ram, on_disk; /* checkpoints */
    uint64_t ram_bytes, disk_bytes;
    uint64_t hits, disk_hits, misses; /* of q3n_checkpoints_restore(): what was kept was
                                         of use, of these from disk; or was not */
    uint64_t tokens;                  /* that need not be computed */
    uint64_t refused;                 /* files that were damaged */
    uint64_t failed_writes; /* to the folder, of what had to leave memory, and is lost */
};
struct q3n_checkpoint_stats q3n_checkpoints_stats(const q3n_checkpoints *c);

/* ---- prompt.c: reading a prompt with them ---------------------------------------- */

/* Where the next piece of a prompt of n tokens ends that begins at pos < n: at a place to
 * keep, at n - 1 (to read the last token again, for its logits, costs little), or at n.
 * Places are the multiples of `every` (0: none) and marks[n_marks], ascending. */
uint32_t q3n_checkpoint_next(uint32_t pos, uint32_t n, uint32_t every,
                             const uint32_t *marks, size_t n_marks);

/* So many of n tokens that have to be computed are. */
typedef void (*q3n_reading_fn)(void *user, uint32_t done, uint32_t n);

struct q3n_prompt {
    const int32_t *tokens;
    uint32_t n;            /* more than 0 */
    const uint32_t *marks; /* places to keep: ends of messages */
    size_t n_marks;
    uint32_t every;                    /* and so many tokens; 0: only these */
    const volatile sig_atomic_t *stop; /* not 0: stop as soon as possible; NULL */
    q3n_reading_fn reading;            /* told after each batch; NULL */
    void *user;
    uint32_t n_reused; /* filled in: tokens that were not computed */
};

/* Bring a session to hold exactly these tokens, with the logits of the last.  c may be
 * NULL: only what the session holds already is of use then.  When *stop is set,
 * q3n_session_pos() is less than n. */
int q3n_prompt_eval(q3n_session *session, q3n_checkpoints *c, struct q3n_prompt *p,
                    float *logits, ggf_error *err);

#endif
