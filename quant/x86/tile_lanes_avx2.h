/* tile_lanes_avx2.h - vectors of eight rows for ../tile.h. */
#ifndef QUANT_X86_TILE_LANES_AVX2_H
#define QUANT_X86_TILE_LANES_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define LANES 8
typedef uint32_t vu __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));

#define MAX_TOKENS   4
#define FUSE_SINGLE  0
#define SIGNED_CODES 1 /* 128 more would overflow 16 bits */
#define TILE_GRIDS   0 /* mul_grid_avx2.c has them */
#define WIDE_CODES   0

static inline __m256i load_lanes(const uint8_t *p, size_t stride)
{
    const __m128i low = _mm_loadu_si128((const void *)p);
    const __m128i high = _mm_loadu_si128((const void *)(p + 4 * stride));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Rows r and r + 4 to a vector, then the 4x4 transposes in its halves. */
static inline void columns(vu c[4], const uint8_t *p, size_t stride)
{
    const __m256i a = load_lanes(p, stride), b = load_lanes(p + stride, stride);
    const __m256i d = load_lanes(p + 2 * stride, stride);
    const __m256i e = load_lanes(p + 3 * stride, stride);
    const __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
    const __m256i de0 = _mm256_unpacklo_epi32(d, e), de1 = _mm256_unpackhi_epi32(d, e);
    c[0] = (vu)_mm256_unpacklo_epi64(ab0, de0);
    c[1] = (vu)_mm256_unpackhi_epi64(ab0, de0);
    c[2] = (vu)_mm256_unpacklo_epi64(ab1, de1);
    c[3] = (vu)_mm256_unpackhi_epi64(ab1, de1);
}

static inline vf half(vu v)
{
    const __m256i low = (__m256i)(v & 0xffff);
    const __m256i packed = _mm256_packus_epi32(low, low);
    return (vf)_mm256_cvtph_ps(
        _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

static inline vf madd(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

static inline vu repeat16(const void *p)
{
    return (vu)_mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

static inline vu lookup(vu table, vu v)
{
    return (vu)_mm256_shuffle_epi8((__m256i)table, (__m256i)v);
}

/* Into zeros: the instruction keeps what its mask leaves out, so that it would wait for
 * whatever was in its register before. */
static inline vu gather(const uint32_t *table, vu index)
{
    __m256i all = _mm256_set1_epi32(-1);
    __asm__("" : "+x"(all)); /* else the compiler sees that nothing is left out */
    return (vu)_mm256_mask_i32gather_epi32(_mm256_setzero_si256(), (const int *)table,
                                           (__m256i)index, all, 4);
}

static inline __m256i broadcast4(const void *x)
{
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm256_set1_epi32(four);
}

/* Parts are sums of 16 bits: as many steps as the shape's chunk allows. */
static inline vi dot_begin(vi sum) { return (void)sum, (vi){ 0 }; }
static inline vi dot_end(vi sum, vi part)
{
    return sum + (vi)_mm256_madd_epi16((__m256i)part, _mm256_set1_epi16(1));
}

static inline vi dot_step(vi part, vu code, const int8_t *x)
{
    const __m256i two = _mm256_maddubs_epi16((__m256i)code, broadcast4(x));
    return (vi)_mm256_add_epi16((__m256i)part, two);
}

/* |code| <= 128 and |x| <= 127, so two products fit in 16 bits. */
static inline vi dot_step_signed(vi part, vu code, const int8_t *x)
{
    const __m256i c = (__m256i)code, signs = _mm256_sign_epi8(broadcast4(x), c);
    return (vi)_mm256_add_epi16((__m256i)part,
                                _mm256_maddubs_epi16(_mm256_abs_epi8(c), signs));
}

static inline vi pairs(vi acc, vu v, const int16_t *x)
{
    return acc + (vi)_mm256_madd_epi16((__m256i)v, broadcast4(x));
}

#endif
