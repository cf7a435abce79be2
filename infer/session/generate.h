/* generate.h - a prompt in, text out: prefill, then token by token through a sampler.
 *
 * Owns the loop, its clock and the pending token; the caller owns everything it uses. */
#ifndef INFER_SESSION_GENERATE_H
#define INFER_SESSION_GENERATE_H

#include "../engine.h"
#include "../text/tokenizer.h"
#include "checkpoint.h"
#include "sample.h"
#include "stop.h"

#include <signal.h>

/* Takes len bytes of whole UTF-8 characters; anything but 0 ends the generation. */
typedef int (*q3n_emit_fn)(void *user, const char *text, size_t len);

struct q3n_generator {
    q3n_session *session;
    const q3n_tokenizer *tokenizer;
    q3n_sampler *sampler;
    uint32_t n_batch; /* prompt tokens computed between two looks at *stop */
    bool ignore_eos;  /* never choose a token that ends the reply */
    q3n_emit_fn emit; /* gets the text of tokens as they come, control tokens left out */
    void *user;
    q3n_reading_fn reading;            /* told how far a prompt is; NULL */
    void *reader;                      /* its user */
    q3n_stop_filter *stops;            /* texts that end the reply; NULL: none */
    const volatile sig_atomic_t *stop; /* not 0: stop as soon as possible; may be NULL */

    /* Filled in.  Zero at the start; release with q3n_generator_free(). */
    float *logits;         /* after the last token */
    uint32_t n_vocab;      /* of them */
    int32_t pending;       /* chosen last and not computed yet, -1: none */
    uint64_t n_prompt;     /* tokens of prompts that were computed */
    uint64_t n_decoded;    /* tokens computed one by one */
    double prompt_seconds; /* on these two */
    double decode_seconds;
};

enum q3n_stop {
    Q3N_STOP_LIMIT,   /* as many tokens as were asked for */
    Q3N_STOP_EOG,     /* the model ended its reply */
    Q3N_STOP_CONTEXT, /* no room for another token */
    Q3N_STOP_STRING,  /* one of the stop strings came; it is left out of the text */
    Q3N_STOP_ASKED,   /* *stop, or emit said so */
};

void q3n_generator_free(struct q3n_generator *g);

/* Compute n > 0 more tokens and leave the logits for what comes next.  A pending token is
 * computed first.  GGF_E_ARG if they do not fit into the context; when *stop is set the
 * rest is left out and *why says so (else *why is Q3N_STOP_LIMIT). */
int q3n_prefill(struct q3n_generator *g, const int32_t *ids, size_t n, enum q3n_stop *why,
                ggf_error *err);

/* The same for a prompt that tells all from the start, of which the session may hold a
 * beginning, or checkpoints (NULL: there are none) may know one: only the rest is
 * computed.  p->stop is g's.  GGF_E_ARG if it does not fit into the context. */
int q3n_read_prompt(struct q3n_generator *g, q3n_checkpoints *c, struct q3n_prompt *p,
                    enum q3n_stop *why, ggf_error *err);

/* Choose, emit and compute up to `limit` tokens (-1: no limit), after one of these. */
int q3n_generate(struct q3n_generator *g, int64_t limit, enum q3n_stop *why,
                 ggf_error *err);

#endif
