/* map.h - files mapped read-only.  Internal to libgguf. */
#ifndef GGF_MAP_H
#define GGF_MAP_H

#include "libgguf.h"

/* The whole of a regular file that is not empty; munmap() takes both back. */
int map_file(const uint8_t **bytes, uint64_t *size, const char *path, ggf_error *err);

#endif
