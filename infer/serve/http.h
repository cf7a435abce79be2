/* http.h - the HTTP daemon of a server; see http.c. */
#ifndef INFER_SERVE_HTTP_H
#define INFER_SERVE_HTTP_H

#include "server.h"

int http_listen(q3n_server *s, ggf_error *err);
int http_start(q3n_server *s, ggf_error *err);
/* No more connections. */
void http_stop(q3n_server *s);
/* Waits for its threads. */
void http_close(q3n_server *s);

#endif
