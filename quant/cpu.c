/* cpu.c - CPUID and what the operating system saves of the wide registers. */
#include "cpu.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DETECTED (1u << 31)

static _Atomic unsigned detected; /* 0 until the first call */
static _Atomic unsigned mask = ~0u;

#if defined(__x86_64__)
#include <cpuid.h>

#define LEVEL_AVX2   CPU_AVX2
#define LEVEL_AVX512 (LEVEL_AVX2 | CPU_AVX512)
#define LEVEL_VBMI   (LEVEL_AVX512 | CPU_VBMI)
#define LEVEL_BF16   (LEVEL_VBMI | CPU_BF16)

const struct cpu_level cpu_levels[] = {
    { "c", 0 },
    { "avx2", LEVEL_AVX2 },
    { "avx512", LEVEL_AVX512 },
    { "vbmi", LEVEL_VBMI },
    { "bf16", LEVEL_BF16 },
    { NULL, 0 },
};

static uint64_t xgetbv(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return ((uint64_t)hi << 32) | lo;
}

static int bit(unsigned word, int n) { return word >> n & 1; }

static unsigned detect(void)
{
    unsigned a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!bit(c, 27)) return 0; /* OSXSAVE: else the wide registers are not saved */
    const uint64_t xcr0 = xgetbv();
    if ((xcr0 & 0x06) != 0x06) return 0; /* SSE and AVX state */
    const int fma = bit(c, 12), f16c = bit(c, 29);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!(bit(b, 5) && bit(b, 8) && fma && f16c)) return 0; /* AVX2, BMI2 */
    flags |= CPU_AVX2;
    /* Opmask and ZMM state; F, DQ, BW, VL in EBX, VNNI in ECX. */
    if ((xcr0 & 0xe6) != 0xe6) return flags;
    if (!(bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31) && bit(c, 11)))
        return flags;
    flags |= CPU_AVX512;
    if (!bit(c, 1)) return flags;
    flags |= CPU_VBMI;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && bit(a, 5)) flags |= CPU_BF16;
    return flags;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

const struct cpu_level cpu_levels[] = {
    { "c", 0 },
    { "neon", CPU_NEON },
    { "dotprod", CPU_NEON | CPU_DOTPROD },
    { NULL, 0 },
};

static unsigned detect(void)
{
    enum { ASIMDDP = 1 << 20 }; /* HWCAP_ASIMDDP of asm/hwcap.h */
    return CPU_NEON | (getauxval(AT_HWCAP) & ASIMDDP ? CPU_DOTPROD : 0u);
}

#else
const struct cpu_level cpu_levels[] = { { "c", 0 }, { NULL, 0 } };
static unsigned detect(void) { return 0; }
#endif

/* What Q3N_CPU leaves.  An unknown name allows nothing: a typing error then shows as
 * the slow path and not as a level that was not wanted. */
static unsigned allowed_by_environment(void)
{
    const char *name = getenv("Q3N_CPU");
    if (!name || !*name) return ~0u;
    for (const struct cpu_level *l = cpu_levels; l->name; l++)
        if (!strcmp(l->name, name)) return l->flags;
    return 0;
}

unsigned cpu_flags(void)
{
    unsigned f = atomic_load(&detected);
    if (!f) atomic_store(&detected, f = (detect() & allowed_by_environment()) | DETECTED);
    return f & atomic_load(&mask) & ~DETECTED;
}

void cpu_set_mask(unsigned m) { atomic_store(&mask, m); }

const char *cpu_level_name(void)
{
    const unsigned have = cpu_flags();
    const char *name = cpu_levels[0].name;
    for (const struct cpu_level *l = cpu_levels; l->name; l++)
        if ((l->flags & have) == l->flags) name = l->name;
    return name;
}
