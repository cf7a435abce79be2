/* memread.h - what this machine's memory delivers to threads that only read. */
#ifndef TOOLS_MEMREAD_H
#define TOOLS_MEMREAD_H

#include <stddef.h>

/* GB/s (10^9 bytes per second): the median of five passes over a buffer of `bytes`,
 * which should be far larger than the caches.  0 if there is no memory for it. */
double memread(int threads, size_t bytes);

#endif
