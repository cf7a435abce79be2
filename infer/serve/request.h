/* request.h - what a client asks for: the JSON body of a completion, read and checked.
 *
 * Nothing is done yet, and nothing here knows a model.  A member that is not known is
 * left alone, as clients send many that concern others; one that is known and cannot be
 * honoured is an error that names it. */
#ifndef INFER_SERVE_REQUEST_H
#define INFER_SERVE_REQUEST_H

#include "../session/logprob.h"
#include "../session/sample.h"

#include <jansson.h>

enum {
    REQUEST_MOST_DEPTH = 128, /* arrays and objects inside of each other */
    REQUEST_MOST_STOPS = 64,
    REQUEST_MOST_BIAS = 4096,
    REQUEST_MOST_BREAKERS = 64,
    REQUEST_MOST_CHOICES = 16,
};

enum tool_choice { TOOLS_NONE, TOOLS_AUTO, TOOLS_REQUIRED };

/* What is so when a request does not say otherwise. */
struct request_defaults {
    struct q3n_sample_params sample;
    bool new_seed;     /* each request has another one, instead of that of sample */
    int64_t n_predict; /* -1: no limit */
    const json_t *template_args; /* for the chat template; NULL: none */
    bool reasoning;              /* thoughts are told apart from the reply */
};

/* Pointers lead into the body, or to the defaults. */
struct request {
    json_t *body; /* owned */
    bool stream, include_usage, ignore_eos, forget, reasoning, add_generation_prompt;
    int64_t limit;      /* tokens to generate; -1: no limit */
    int64_t n_choices;  /* replies, that differ by their seeds; 1 or more */
    int64_t slot;       /* that shall do it; -1: any */
    int64_t n_logprobs; /* likeliest tokens to report; -1: nothing of probabilities */
    struct q3n_sample_params sample; /* bias and breakers are owned: */
    struct q3n_logit_bias *bias;
    const char **breakers;
    const char **stops; /* owned */
    size_t n_stops;
    const json_t *prompt;   /* of a completion: text, or token ids */
    const json_t *messages; /* of a chat: array of objects */
    const json_t *tools;    /* array; NULL: none */
    enum tool_choice tool_choice;
    const char *tool;      /* that is required; NULL: any of them */
    bool json;             /* the reply shall be JSON, */
    const json_t *schema;  /* as this says, if not NULL; */
    const json_t *grammar; /* or match this text in GBNF; NULL */
    json_t *template_args; /* object, owned; NULL: none */
};

/* Text to JSON: an object, UTF-8, not too deep, and of its strings only "messages",
 * "prompt" and "content" may have zeros.  GGF_E_ARG, and a sentence. */
int request_json(json_t **out, const char *text, size_t len, ggf_error *err);

/* A chat, or else a completion of a text.  Release with request_free(), also after it
 * failed.  GGF_E_ARG, and a sentence. */
int request_parse(struct request *r, const char *text, size_t len, bool chat,
                  const struct request_defaults *defaults, ggf_error *err);
void request_free(struct request *r);

#endif
