/* toolcall.h - what a model writes, taken apart while it comes: its thoughts, what it
 * says, and the tools it calls.
 *
 *   <think>...</think>                                    thoughts
 *   <tool_call>{"name": "f", "arguments": {...}}</tool_call>     a call, as JSON
 *   <tool_call><function=f><parameter=p>v</parameter></function></tool_call>  or as XML
 *
 * Text arrives in pieces cut anywhere, as tokens come; what is handed on does not depend
 * on the cuts but for being cut differently itself.  What may be the start of a mark is
 * held back until it is known.  Line breaks around marks belong to the marks.  Bytes that
 * are no UTF-8 become U+FFFD.
 *
 * Thoughts and what is said are handed on at once.  Of a call first the name, then the
 * arguments: JSON as the model writes it, piece by piece; XML is turned into JSON, a
 * parameter at a time.  Such a parameter has the type that the tool's schema gives it if
 * the text can be read so; else, and without a schema, it is a string.
 *
 * A <tool_call> that does not go on as a call is handed on as text.  A call that breaks
 * off in the middle stays as it is: its arguments then are no complete JSON. */
#ifndef INFER_TEXT_TOOLCALL_H
#define INFER_TEXT_TOOLCALL_H

#include "template.h"

typedef struct q3n_reply_parser q3n_reply_parser;

/* Any may be NULL.  Text is not NUL-terminated, names are. */
struct q3n_reply_events {
    void (*content)(void *user, const char *text, size_t len);
    void (*reasoning)(void *user, const char *text, size_t len);
    /* The calls of a reply are numbered from 0. */
    void (*call)(void *user, int index, const char *name);
    /* A piece of its arguments, which together are a JSON object. */
    void (*arguments)(void *user, int index, const char *text, size_t len);
    void *user;
};

struct q3n_reply_options {
    enum q3n_call_form calls; /* NONE: <tool_call> is text */
    bool reasoning;           /* a reply that starts with <think> starts with thoughts */
    bool thinking;            /* the reply starts inside of <think> */
    const json_t *tools;      /* schemas, for the types of XML parameters; or NULL; must
                                 live as long as the parser */
};

int q3n_reply_parser_new(q3n_reply_parser **out, const struct q3n_reply_options *o,
                         const struct q3n_reply_events *events, ggf_error *err);
void q3n_reply_parser_free(q3n_reply_parser *p); /* NULL is allowed */

int q3n_reply_push(q3n_reply_parser *p, const char *text, size_t len, ggf_error *err);
/* The reply is over: what was held back is handed on. */
int q3n_reply_end(q3n_reply_parser *p, ggf_error *err);

/* How many calls there were. */
int q3n_reply_calls(const q3n_reply_parser *p);

#endif
