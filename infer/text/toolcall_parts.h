/* toolcall_parts.h - what the files of toolcall.h share. */
#ifndef INFER_TEXT_TOOLCALL_PARTS_H
#define INFER_TEXT_TOOLCALL_PARTS_H

#include "toolcall.h"

enum reply_state {
    R_TEXT,       /* what is said */
    R_THINK,      /* inside of <think> */
    R_ARGUMENTS,  /* JSON: inside of the object that is streamed */
    R_PARAMETERS, /* XML: between parameters */
    R_VALUE,      /* XML: inside of <parameter=...> */
    R_TAIL,       /* behind a call, up to </tool_call> */
};

struct q3n_reply_parser {
    struct q3n_reply_options o;
    struct q3n_reply_events events;
    enum reply_state state;
    struct q3n_stream utf8;
    char *held; /* not yet handed on */
    size_t n, capacity;
    size_t take;        /* of a head: what goes with it */
    size_t seen;        /* of `held`, what a search need not look at again */
    bool said;          /* something came that was neither thought nor line break */
    bool skip_newlines; /* behind a mark */
    bool over;          /* nothing more will come */
    int calls;
    /* JSON */
    int depth;
    bool in_string, escaped;
    /* XML */
    int n_parameters;
    const json_t *properties; /* schemas of the function's parameters, or NULL */
    char *parameter;          /* the name of the one that comes */
};

enum step { STEP_ON, STEP_WAIT, STEP_FAILED };

/* Take this off the front of `held`. */
void reply_drop(struct q3n_reply_parser *p, size_t n);
/* Where `text` is in `held` at or after `from`; -1: nowhere. */
ptrdiff_t reply_find(const struct q3n_reply_parser *p, size_t from, const char *text);
/* Does `held` have `text` at this place?  No, yes, or not enough of it has come
 * (or: out of memory). */
enum fit { FIT_NO, FIT_YES, FIT_MAYBE, FIT_FAILED };
enum fit reply_fits(const struct q3n_reply_parser *p, size_t at, const char *text);
size_t reply_skip_space(const struct q3n_reply_parser *p, size_t at);
/* Announce a call of this name, or hand on a piece of its arguments. */
void reply_call(struct q3n_reply_parser *p, const char *name);
void reply_arguments(struct q3n_reply_parser *p, const char *text, size_t len);

/* The head of a call whose first byte is held[at]: announces it, sets the state and
 * `take` (FIT_YES), says that it is none or that more is needed. */
enum fit reply_json_head(struct q3n_reply_parser *p, size_t at);
enum fit reply_xml_head(struct q3n_reply_parser *p, size_t at);

enum step reply_json_arguments(struct q3n_reply_parser *p);
enum step reply_xml_parameters(struct q3n_reply_parser *p);
enum step reply_xml_value(struct q3n_reply_parser *p);

#endif
