/* completion.h - what requests for prompts share; see completion.c. */
#ifndef INFER_SERVE_COMPLETION_H
#define INFER_SERVE_COMPLETION_H

#include "server.h"

/* The prompt of a chat; q3n_rendered_free() it. */
int completion_render(const q3n_server *s, const struct request *r,
                      struct q3n_rendered *out, ggf_error *err);

/* Append the tokens of an array; `name` is what errors call it. */
int completion_ids(const q3n_server *s, const json_t *v, const char *name,
                   struct q3n_ids *ids, ggf_error *err);

#endif
