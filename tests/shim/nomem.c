/* nomem.c - for LD_PRELOAD: memory runs out.
 *
 * The FAIL_AT-th allocation since main() began fails, and FAIL_COUNT - 1 after it (1),
 * but not those of libcrypto, which does not survive it while it starts; nor does the
 * CUDA runtime before main().  With FAIL_REPORT=FILE the number of allocations is written
 * there at the end.  glibc only: its own names for the allocator are what is called. */
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

typedef int main_fn(int argc, char **argv, char **env);
static main_fn *program;

static int begin(int argc, char **argv, char **env)
{
    const char *at = getenv("FAIL_AT"), *count = getenv("FAIL_COUNT");
    atomic_store(&calls, 0);
    if (at) {
        end = atol(at) + (count ? atol(count) : 1);
        first = atol(at);
    }
    return program(argc, argv, env);
}

/* NOLINTNEXTLINE(cert-dcl51-cpp): glibc's, which calls constructors and then main */
int __libc_start_main(main_fn *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*rtld_fini)(void), void *stack_end)
{
    typedef int start_fn(main_fn *, int, char **, void (*)(void), void (*)(void),
                         void (*)(void), void *);
    start_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    program = main;
    return next(begin, argc, argv, init, fini, rtld_fini, stack_end);
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
