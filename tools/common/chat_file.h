/* chat_file.h - conversations in files: {"messages": [{"role": ..., "content": ...}]}, as
 * servers of the OpenAI kind take them. */
#ifndef TOOLS_CHAT_FILE_H
#define TOOLS_CHAT_FILE_H

#include "../../libgguf/libgguf.h"

#include <jansson.h>

/* GGF_E_EXISTS if the file is there, without `force`. */
int chat_file_write(const char *path, const json_t *messages, bool force, ggf_error *err);

/* The messages, from such an object or from a file that is the array; json_decref() them.
 * GGF_E_FORMAT if it is neither, or one has no role or no text. */
int chat_file_read(json_t **messages, const char *path, ggf_error *err);

#endif
