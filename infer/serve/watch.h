/* watch.h - a clock for clients: who takes too long to send a request is cut off, however
 * regularly a byte of it arrives. */
#ifndef INFER_SERVE_WATCH_H
#define INFER_SERVE_WATCH_H

#include "../../libgguf/libgguf.h"

struct watch;
struct peer; /* a connection */

enum {
    WATCH_HEADERS = 30, /* seconds for the headers, also until there is a next request */
    WATCH_BODY = 30,    /* seconds for the body, and one more for */
    WATCH_BODY_STEP = 65536, /* so many bytes of it */
};

int watch_new(struct watch **out, ggf_error *err);
void watch_free(struct watch *w); /* when all peers have left; NULL is allowed */

/* A connection; its first request is due.  NULL if out of memory. */
struct peer *watch_join(struct watch *w, int fd);
void watch_leave(struct watch *w, struct peer *p); /* before fd is closed */

/* From now on so many seconds; 0: as long as it takes. */
void watch_allow(struct watch *w, struct peer *p, double seconds);

#endif
