/* memread.h - what this machine's memory delivers to threads that only read. */
#ifndef TOOLS_MEMREAD_H
#define TOOLS_MEMREAD_H

#include <stddef.h>

/* `bytes` of memory to be read, which should be far larger than the caches; NULL if there
 * is none.  To be given back with as many. */
void *memread_new(size_t bytes);
void memread_free(void *memory, size_t bytes);

/* GB/s (10^9 bytes per second): the median of five passes over it.  0 for NULL. */
double memread(const void *memory, size_t bytes, int threads);

#endif
