/* sample.h - choosing the next token from its logits.
 *
 * The steps, their names, order and meaning are llama.cpp's.  The generator is our own,
 * so the same seed gives the same tokens everywhere, but not those of another program.
 *
 *   what the grammar forbids, logit bias, then
 *   penalties  dry  top_n_sigma  top_k  typ_p  top_p  min_p  xtc  temperature
 *   or another order of these, then a draw
 *
 * One sampler belongs to one sequence of tokens and to one caller at a time. */
#ifndef INFER_SESSION_SAMPLE_H
#define INFER_SESSION_SAMPLE_H

#include "grammar.h"
#include "trie.h"

enum q3n_step {
    Q3N_STEP_NONE, /* ends a list of steps */
    Q3N_STEP_PENALTIES,
    Q3N_STEP_DRY,
    Q3N_STEP_TOP_N_SIGMA,
    Q3N_STEP_TOP_K,
    Q3N_STEP_TYPICAL,
    Q3N_STEP_TOP_P,
    Q3N_STEP_MIN_P,
    Q3N_STEP_XTC,
    Q3N_STEP_TEMPERATURE,
    Q3N_N_STEPS,
};

struct q3n_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY: never choose it */
};

struct q3n_sample_params {
    enum q3n_step steps[Q3N_N_STEPS]; /* each once at most, up to Q3N_STEP_NONE */
    uint64_t seed;

    float temp;              /* divide the logits by it; 0: the likeliest that is left */
    float dynatemp_range;    /* more and less of it, by the entropy of what is left; 0: */
    float dynatemp_exponent; /* off.  The share of the entropy goes to this power */

    int top_k;         /* keep the k likeliest; 0: all */
    float top_p;       /* keep the fewest that have this probability; 1: all */
    float min_p;       /* drop what is less likely than this times the best; 0: none */
    float typical_p;   /* keep what is typical, up to this probability; 1: all */
    float top_n_sigma; /* keep what is within n standard deviations; 0 or less: all */
    float
        xtc_probability; /* chance that all but the last of the tokens with probability */
    float xtc_threshold; /* xtc_threshold and more are dropped; 0, or above 0.5: off */
    uint32_t min_keep;   /* top_p, min_p, typ_p and xtc leave so many; 0 counts as 1 */

    /* Penalties for what was among the last tokens. */
    int penalty_last_n;   /* so many; 0: off, -1: all of the context */
    float repeat_penalty; /* divide a positive logit, multiply a negative one; 1: off */
    float frequency_penalty; /* subtract for each time it was there */
    float presence_penalty;  /* subtract once */

    /* DRY: a token that would go on with a repetition of L tokens, L at least
     * dry_allowed_length, loses multiplier * base^(L - dry_allowed_length).  No
     * repetition reaches over a sequence breaker. */
    float dry_multiplier; /* 0: off */
    float dry_base;
    int dry_allowed_length;
    int dry_last_n; /* look so far back; 0: off, -1: all of the context */
    const char *const *dry_breakers; /* of 1 to 64 bytes; copied by the sampler */
    size_t n_dry_breakers;

    uint32_t n_ctx; /* what "all of the context" is */

    const struct q3n_logit_bias *bias; /* copied by the sampler */
    size_t n_bias;
};

/* llama.cpp's: see docs/sampling.md.  The seed is 0, the context 4096. */
struct q3n_sample_params q3n_sample_defaults(void);

/* 0, or GGF_E_ARG naming the parameter that makes no sense. */
int q3n_sample_check(const struct q3n_sample_params *params, ggf_error *err);

/* The steps by name, separated by ';' ("top_k;temperature"), or by llama.cpp's letters
 * ("kt").  GGF_E_ARG for a name that is none, or comes twice. */
int q3n_sample_steps(enum q3n_step steps[Q3N_N_STEPS], const char *names, ggf_error *err);
int q3n_sample_letters(enum q3n_step steps[Q3N_N_STEPS], const char *letters,
                       ggf_error *err);
const char *q3n_sample_step_name(enum q3n_step step);

typedef struct q3n_sampler q3n_sampler;

/* Checks the parameters, too.  The tokenizer tells DRY what text a token is; it stays the
 * caller's, and may be NULL if dry_multiplier is 0.  About 8 bytes for each token of the
 * vocabulary; nothing is allocated later. */
int q3n_sampler_new(q3n_sampler **out, uint32_t n_vocab, const q3n_tokenizer *tokenizer,
                    const struct q3n_sample_params *params, ggf_error *err);
void q3n_sampler_free(q3n_sampler *s); /* NULL is allowed */

/* From now on let only tokens be chosen that go on in the grammar, and the end of the
 * reply exactly when the text so far is complete.  Grammar and trie are shared, stay the
 * caller's and must live longer; NULL for both: no grammar.  GGF_E_NOMEM. */
int q3n_sampler_constrain(q3n_sampler *s, const q3n_grammar *grammar,
                          const q3n_trie *trie, ggf_error *err);

/* No tokens seen and a grammar at its beginning, but the generator goes on: for another
 * reply, to a prompt that is told anew. */
void q3n_sampler_forget(q3n_sampler *s);

/* Remember a token of the prompt: penalties count it, the grammar does not. */
void q3n_sampler_prompt(q3n_sampler *s, int32_t id);
/* Remember a token that was chosen.  False, and nothing is remembered, if the grammar
 * does not let it come here. */
bool q3n_sampler_accept(q3n_sampler *s, int32_t id);

/* Choose from n_vocab logits; what is not a number is never chosen unless nothing else is
 * there.  Equal logits count in the order of their ids.  -1 if no token may be chosen:
 * each has a bias of -INFINITY or is forbidden by the grammar, or memory for the grammar
 * ran out. */
int32_t q3n_sampler_pick(q3n_sampler *s, const float *logits);

#endif
