/* macpeak.c - see macpeak.h. */
#include "macpeak.h"

#include "../../infer/now.h"
#include "../../quant/cpu.h"
#include "out.h"

#include <stdint.h>

enum { CHAINS = 12, STEPS = 1 << 20, PASSES = 5 }; /* sums in flight; about 5 ms */

#if defined(__x86_64__)
#include <immintrin.h>

#define EACH_CHAIN _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)

/* A value that the compiler does not know, so that nothing moves out of the loop. */
#define UNKNOWN(v) __asm__ volatile("" : "+v"(v))

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void loop_vnni(void)
{
    __m512i sum[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    EACH_CHAIN sum[i] = _mm512_setzero_si512();
    for (int s = 0; s < STEPS; s++) {
        UNKNOWN(a);
        EACH_CHAIN sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    }
    EACH_CHAIN UNKNOWN(sum[i]);
}

#undef UNKNOWN
#define UNKNOWN(v) __asm__ volatile("" : "+x"(v))

/* Pairs of products, added in 16 bits, as the kernels do with codes of few bits. */
__attribute__((target("avx2"))) static void loop_avx2(void)
{
    __m256i sum[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
    EACH_CHAIN sum[i] = _mm256_setzero_si256();
    for (int s = 0; s < STEPS; s++) EACH_CHAIN
        {
            UNKNOWN(a);
            sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(a, b));
        }
    EACH_CHAIN UNKNOWN(sum[i]);
}

/* Also how many products a step of a chain has. */
static void (*loop_for(unsigned flags, int *products))(void)
{
    *products = flags & CPU_AVX512 ? 64 : 32;
    if (flags & CPU_AVX512) return loop_vnni;
    return flags & CPU_AVX2 ? loop_avx2 : 0;
}
#else
static void (*loop_for(unsigned flags, int *products))(void)
{
    (void)flags;
    *products = 0;
    return 0;
}
#endif

double macpeak(int threads)
{
    int products;
    void (*const loop)(void) = loop_for(cpu_flags(), &products);
    double best = 0;
    for (int pass = 0; pass < PASSES && loop; pass++) {
        const double start = seconds_now();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++) loop();
        const double done = (double)threads * CHAINS * STEPS * products;
        const double rate = 1e-9 * done / (seconds_now() - start);
        if (rate > best) best = rate;
    }
    return best;
}
