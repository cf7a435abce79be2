/* memread.c - see memread.h.  The bound that decoding is held against. */
#include "../../infer/now.h"
#include "memread.h"
#include "out.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Eight vectors of eight words in flight: enough independent loads to keep the memory
 * busy, whatever the width the compiler picks for them. */
typedef uint64_t words __attribute__((vector_size(64)));

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static uint64_t
read_all(const words *p, size_t n)
{
    words s[8] = { 0 };
    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t k = 0; k < 8; k++) s[k] ^= p[i + k];
    uint64_t x = 0;
    for (size_t k = 0; k < 64; k++) x ^= s[k / 8][k % 8];
    return x;
}

/* The sums must go somewhere, or the compiler makes none. */
static volatile uint64_t memread_sum;

void *memread_new(size_t bytes)
{
    void *const p =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 1, bytes);
    return p;
}

void memread_free(void *memory, size_t bytes)
{
    if (memory) munmap(memory, bytes);
}

double memread(const void *memory, size_t bytes, int threads)
{
    enum { PASSES = 5 };
    const words *const from = memory;
    const size_t each = bytes / sizeof *from / (size_t)threads;
    double seconds[PASSES];
    if (!memory) return 0;
    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t sum = 0;
        const double start = seconds_now();
#pragma omp parallel for num_threads(threads) reduction(^ : sum) schedule(static, 1)
        for (int t = 0; t < threads; t++) sum ^= read_all(from + each * (size_t)t, each);
        seconds[pass] = seconds_now() - start;
        memread_sum = sum;
    }
    (void)memread_sum;
    return (double)bytes / out_median(seconds, PASSES) * 1e-9;
}
