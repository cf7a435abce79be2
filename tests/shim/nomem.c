/* nomem.c - for LD_PRELOAD: memory runs out.
 *
 * The FAIL_AT-th allocation of the process fails, and FAIL_COUNT - 1 after it (1), but
 * not those of libcrypto, which does not survive it while it starts.  With
 * FAIL_REPORT=FILE the number of allocations is written there at the end.  glibc only:
 * its own names for the allocator are what is called. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(cert-dcl51-cpp): they are glibc's, and public */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *old, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
/* NOLINTEND(cert-dcl51-cpp) */

static _Atomic long calls;
static long first = -1, end;

__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("FAIL_AT"), *count = getenv("FAIL_COUNT");
    if (!at) return;
    end = atol(at) + (count ? atol(count) : 1);
    atomic_store(&calls, 0);
    first = atol(at);
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("FAIL_REPORT");
    const long n = atomic_load(&calls);
    FILE *f = path ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%ld\n", n);
    fclose(f);
}

static int fails(const void *caller)
{
    const long n = atomic_fetch_add(&calls, 1);
    Dl_info who;
    if (first < 0 || n < first || n >= end) return 0;
    if (dladdr(caller, &who) && who.dli_fname && strstr(who.dli_fname, "libcrypto"))
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t each)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, each);
}

void *realloc(void *old, size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
}

int posix_memalign(void **out, size_t alignment, size_t n)
{
    void *p = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}
