/* act_avx2.c - encoding activations, 32 elements at a time. */
#include "../act.h"

#include <immintrin.h>
#include <string.h>

decl_act_fn(act_encode_avx2);

/* The largest |x| as an integer, so that a NaN is above all numbers. */
static inline __m256i max_abs_32(const float *x, __m256i max)
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    for (int i = 0; i < 32; i += 8) {
        const __m256i bits = _mm256_loadu_si256((const void *)(x + i));
        max = _mm256_max_epi32(max, _mm256_and_si256(bits, mask));
    }
    return max;
}

static inline uint32_t max_lanes(__m256i v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

static inline __m256i codes_8(const float *x, __m256 inverse)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

/* 32 codes and their two sums. */
static inline void encode_32(const float *x, float inverse, int8_t *q, int16_t *sum)
{
    const __m256 by = _mm256_set1_ps(inverse);
    const __m256i ab = _mm256_packs_epi32(codes_8(x, by), codes_8(x + 8, by));
    const __m256i cd = _mm256_packs_epi32(codes_8(x + 16, by), codes_8(x + 24, by));
    /* packing works within halves: put the fours back in order */
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i all = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), order);
    _mm256_storeu_si256((void *)q, all);
    const __m256i two = _mm256_maddubs_epi16(_mm256_set1_epi8(1), all);
    __m256i s = _mm256_madd_epi16(two, _mm256_set1_epi16(1));
    s = _mm256_hadd_epi32(s, s);
    s = _mm256_hadd_epi32(s, s);
    sum[0] = (int16_t)_mm256_extract_epi32(s, 0);
    sum[1] = (int16_t)_mm256_extract_epi32(s, 4);
}

/* Groups of `group` elements: as act_encode_c, 32 elements where it takes one. */
decl_act_fn(act_encode_avx2)
{
    for (size_t i = 0; i < n; i += ACT_BLOCK, dst++) {
        const size_t have = n - i < ACT_BLOCK ? n - i : ACT_BLOCK;
        if (have < ACT_BLOCK) memset(dst, 0, sizeof *dst);
        for (size_t j = 0; j < have; j += group) {
            const float *from = x + i + j;
            __m256i max = _mm256_setzero_si256();
            for (size_t k = 0; k < group; k += 32) max = max_abs_32(from + k, max);
            float inverse;
            const float d = act_scale(max_lanes(max), &inverse);
            for (size_t k = 0; k < group; k += 32) {
                if (inverse > 0)
                    encode_32(from + k, inverse, dst->q + j + k, dst->sum + (j + k) / 16);
                else {
                    memset(dst->q + j + k, 0, 32);
                    memset(dst->sum + (j + k) / 16, 0, 4);
                }
                dst->d[(j + k) / 32] = d;
            }
        }
    }
}
