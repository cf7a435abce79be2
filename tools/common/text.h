/* text.h - a small text file, whole. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include "../../libgguf/libgguf.h"

/* NUL-terminated, `*n` bytes without that; the caller frees it.  NULL if the file cannot
 * be read or is longer than `most` bytes. */
char *text_read(const char *path, size_t most, size_t *n, ggf_error *err);

#endif
