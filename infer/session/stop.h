/* stop.h - texts that end a reply: "\n\n", "User:".
 *
 * A filter between what is generated and who reads it.  Text that may be the beginning of
 * a stop string is held back until it is known to be none; the stop string itself and
 * what follows never come out.  The result is the same however the text is cut into
 * pieces. */
#ifndef INFER_SESSION_STOP_H
#define INFER_SESSION_STOP_H

#include "../../libgguf/libgguf.h"

typedef struct q3n_stops q3n_stops; /* immutable: many filters may share one */

/* GGF_E_ARG if one is empty or not UTF-8: a reader shall get whole characters. */
int q3n_stops_new(q3n_stops **out, const char *const *strings, size_t n, ggf_error *err);
void q3n_stops_free(q3n_stops *stops); /* NULL is allowed */

typedef struct q3n_stop_filter q3n_stop_filter;

/* At the start of a text.  The stops stay the caller's. */
int q3n_stop_filter_new(q3n_stop_filter **out, const q3n_stops *stops, ggf_error *err);
void q3n_stop_filter_free(q3n_stop_filter *f); /* NULL is allowed */
void q3n_stop_filter_reset(q3n_stop_filter *f);

/* The most that it holds back, in bytes. */
size_t q3n_stop_most_held(const q3n_stop_filter *f);

/* Take in len bytes of whole characters and write what may be read to out, which must
 * have room for len + q3n_stop_most_held() bytes; returns how many were written, also
 * whole characters.  *which becomes the index of the string that ended the text, -1 if
 * it goes on.  The first to be complete ends it; of those complete at the same byte, the
 * longest.  Afterwards nothing is taken in. */
size_t q3n_stop_push(q3n_stop_filter *f, const char *text, size_t len, char *out,
                     int *which);

/* The text ends: what was held back.  Room for q3n_stop_most_held() bytes. */
size_t q3n_stop_end(q3n_stop_filter *f, char *out);

#endif
