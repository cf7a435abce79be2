/* door.h - lets clients in while there is room for them; the others wait outside, in the
 * system's queue.  (The HTTP library alone would hang up on them.) */
#ifndef INFER_SERVE_DOOR_H
#define INFER_SERVE_DOOR_H

#include "../../libgguf/libgguf.h"

#include <microhttpd.h>

struct door;

/* From now on what comes to `listener` is given to `daemon`, at most `most` connections
 * at once; *out is set before the first.  On failure the listener is still the caller's,
 * later it is the door's. */
int door_open(struct door **out, int listener, struct MHD_Daemon *daemon, unsigned most,
              ggf_error *err);

/* A connection has ended. */
void door_left(struct door *d);

/* Nobody comes in any more, and the port is free.  NULL is allowed, as is twice. */
void door_close(struct door *d);

/* When the daemon is stopped: it calls door_left(). */
void door_free(struct door *d);

#endif
