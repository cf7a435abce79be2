/* eval.h - an evaluation: models, a text in windows, and what is compared with what.
 * eval.c opens it, eval_run.c runs it, eval_report.c and eval_html.c print
 * what came out. */
#ifndef TOOLS_EVAL_H
#define TOOLS_EVAL_H

#include "../../infer/text/tokenizer.h"
#include "divergence.h"
#include "follow.h"
#include "kldbase.h"
#include "out.h"
#include "paired.h"
#include "windows.h"

struct eval_options {
    const char *file;                      /* the text; NULL: that of the base file */
    const char *base;                      /* base file to read or to write; NULL: none */
    const char *base_model;                /* NULL: none */
    const struct q3n_model_options *model; /* of each model, but for what is here; the
                                              pack is the first one's */
    bool dry_run;                          /* write nothing */
    bool save;                             /* write the base file, */
    enum kld_form form;                    /* in this form */
    bool force;                            /* replace it */
    uint32_t n_ctx;                        /* of a window, if there is a text */
    uint32_t max_windows;
    uint32_t n_ubatch;
    uint32_t type_k, type_v; /* of keys and values, but for the reference: float32 */
};

/* A model that runs, and what was found of it. */
struct eval_model {
    const char *path;
    q3n_model *model;
    q3n_session *session;
    struct divergence d; /* a place for each prediction */
    double nll, nll_squares;
    struct paired paired;  /* with the first model, for all but that */
    struct follow *follow; /* with the base model; NULL if there is none of its shape */
};

struct eval {
    const struct eval_options *o;
    struct eval_model *models; /* the one of -m, then those of --compare, */
    uint32_t n_models;
    struct eval_model *base; /* the reference, if it runs too: behind these */
    struct trail *trail;     /* of it */
    uint32_t n_running;      /* all of them */
    struct q3n_ids ids;      /* of the text, unless it is the base file's */
    struct kld_base windows; /* and tokens; records if a base file is read */
    bool compares;           /* there is something to be compared with */
    ggf_output *out;         /* the base file being written, or NULL */
    size_t done;             /* predictions so far */
    double start, seconds;
    int32_t bos;
    int threads;
};

/* Load the models of `paths`, the first being the one of -m, and what else `o` names;
 * start the output.  `o` and `paths` must outlive the evaluation.  To be closed in any
 * case. */
int eval_open(struct eval *e, const struct eval_options *o, const char *const *paths,
              uint32_t n_paths, ggf_error *err);
/* Do it all; the file, if one is written, is there afterwards. */
int eval_run(struct eval *e, ggf_error *err);
void eval_close(struct eval *e);

/* Perplexity of a model. */
struct estimate eval_ppl(const struct eval *e, const struct eval_model *m);

/* The results. */
void eval_print(const struct eval *e, FILE *f);
void eval_json(const struct eval *e, FILE *f);
void eval_html(const struct eval *e, FILE *f); /* only if it compares */

#endif
