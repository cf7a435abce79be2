/* run.h - a model at work in q3n-run: text that is continued (run_text.c, run_cache.c), a
 * chat (run_chat.c), logits of given tokens (run_logits.c).  The program opens what they
 * need.
 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include "../../infer/session/checkpoint.h"
#include "../../infer/session/generate.h"
#include "chatopt.h"
#include "input.h"
#include "opt.h"
#include "out.h"

#define RUN_NAME "q3n-run"

struct run_options {
    const char *prompt, *file;   /* -p: a text, -f: where it is; one of them, or none */
    const char *system;          /* message of a chat; NULL: none */
    const char *system_file;     /* or where it is */
    const char *tokens, *logits; /* files; NULL: text is wanted */
    struct opt_list stops;       /* texts that end a reply */
    const char *cache;           /* file that keeps what the prompt begins with; NULL */
    bool cache_all, cache_ro;    /* and the reply; only what is there is of use */
    int n_checkpoints;           /* most states of a chat that are kept */
    int cache_ram;               /* and MiB for them; 0 of either: none */
    bool single_turn;            /* a chat of one message */
    bool json;                   /* its replies are objects */
    int n_predict;               /* most tokens of a reply; -1: no limit */
    int stats;                   /* tokens between two lines of statistics; 0: no lines */
    bool no_escape;              /* prompt is what it says */
    bool no_display_prompt;
    bool force; /* replace files that are there */
};

struct run {
    const struct run_options *o;
    volatile sig_atomic_t
        *stop; /* not 0: end what is being computed; g looks at it too */
    q3n_model *model;
    q3n_tokenizer *tokenizer;
    const q3n_grammar *grammar; /* of each reply; NULL: none */
    q3n_trie *trie;             /* for the grammar */
    q3n_stops *stops;           /* g.stops looks for them */
    struct chat chat;           /* only where there is one */
    struct q3n_generator g;     /* for logits only its session, and what is counted */
    q3n_checkpoints *cache;     /* what is in o->cache, and the states of a chat */
    bool cache_grew;            /* and more */
    struct progress reading;    /* of a prompt */
    double load_seconds;        /* what opening it all took */
    int32_t *ids;               /* of o->tokens; owned */
    uint32_t n_ids;
    /* At the last line of statistics: */
    uint64_t seen;
    double seen_at;
    struct q3n_expert_stats seen_experts;
    struct q3n_expert_stats seen_limits; /* when memory for them was last looked at */
};

/* ---- Text ---- */

/* The prompt to standard output, and what follows it. */
int run_text(struct run *run, ggf_error *err);

/* The text of -p or -f; free(in->bytes). */
int run_read_prompt(const struct run *run, struct input *in, ggf_error *err);

/* Have g look for o->stops. */
int run_watch_stops(struct run *run, ggf_error *err);

/* Compute the tokens of a prompt, but for those that o->cache knows; the end of a reply:
 * let the file appear. */
int run_read(struct run *run, const struct q3n_ids *ids, enum q3n_stop *why,
             ggf_error *err);
int run_save_cache(struct run *run, ggf_error *err);
/* From here to there a terminal has a line that tells how far a prompt is, if it takes
 * longer than a second. */
void run_reading_begin(struct run *run);
void run_reading_end(struct run *run);
/* Could that file be written?  Asked at the beginning, since it is written at the end. */
int run_check_cache(const char *path, ggf_error *err);

/* For g.emit; `user` is the run: text to standard output, statistics when it is time. */
int run_emit(void *user, const char *text, size_t len);

/* ---- Statistics, on standard error ---- */

/* Decoding begins. */
void run_start_stats(struct run *run);
/* A token came: a line when it is time, or when memory for experts has changed. */
void run_notice(struct run *run);
/* All that was done until now. */
void run_print_stats(const struct run *run, bool json);

/* ---- Chat ---- */

/* The prompt is the first message, those of standard input are the others. */
int run_chat(struct run *run, ggf_error *err);

/* ---- Logits ---- */

/* The file of o->tokens into run->ids. */
int run_read_tokens(struct run *run, ggf_error *err);

/* The logits behind each of them to o->logits, n of the rows at once, as many as the
 * session gives. */
int run_logits(struct run *run, uint32_t n, ggf_error *err);

#endif
