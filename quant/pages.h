/* pages.h - advice about mapped memory, which the system takes by pages only. */
#ifndef QUANT_PAGES_H
#define QUANT_PAGES_H

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* madvise() of the pages that lie wholly within these bytes. */
static inline void pages_advise(const void *bytes, uint64_t len, int advice)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = ((uintptr_t)bytes + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)bytes + len) & ~(page - 1);
    if (end > start) madvise((void *)start, end - start, advice);
}

#endif
