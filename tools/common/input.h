/* input.h - whole texts from files and from stdin. */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include "../../libgguf/libgguf.h"

struct input {
    char *bytes; /* NUL-terminated for convenience; may hold more of them */
    size_t len;
};

/* Read a file, or stdin if path is "-", to its end.  Release with free(in->bytes). */
int input_read(struct input *in, const char *path, ggf_error *err);

/* Is it a regular file that begins with these bytes? */
bool input_begins(const char *path, const char *bytes);

/* Parse ids separated by blanks, commas or brackets, as many as there are: into a
 * malloc'ed list.  `what` names the source in messages. */
int input_ids(int32_t **ids, size_t *n, const char *text, const char *what,
              ggf_error *err);

#endif
