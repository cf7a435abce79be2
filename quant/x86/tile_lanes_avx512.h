/* tile_lanes_avx512.h - vectors of sixteen rows for ../tile.h, with the products of VNNI.
 */
#ifndef QUANT_X86_TILE_LANES_AVX512_H
#define QUANT_X86_TILE_LANES_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define LANES 16
typedef uint32_t vu __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));

#define MAX_TOKENS   8
#define FUSE_SINGLE  1
#define SIGNED_CODES 0 /* VPDPBUSD wants the weights unsigned */
#define TILE_GRIDS   1
#define SIGNED_GRIDS 0
#define WIDE_CODES   1

static inline __m512i load_lanes(const uint8_t *p, size_t stride)
{
    const size_t four = 4 * stride;
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + four)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 2 * four)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const void *)(p + 3 * four)), 3);
}

/* Rows r, r + 4, r + 8, r + 12 to a vector, then the 4x4 transposes in its quarters. */
static inline void columns(vu c[4], const uint8_t *p, size_t stride)
{
    const __m512i a = load_lanes(p, stride), b = load_lanes(p + stride, stride);
    const __m512i d = load_lanes(p + 2 * stride, stride);
    const __m512i e = load_lanes(p + 3 * stride, stride);
    const __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
    const __m512i de0 = _mm512_unpacklo_epi32(d, e), de1 = _mm512_unpackhi_epi32(d, e);
    c[0] = (vu)_mm512_unpacklo_epi64(ab0, de0);
    c[1] = (vu)_mm512_unpackhi_epi64(ab0, de0);
    c[2] = (vu)_mm512_unpacklo_epi64(ab1, de1);
    c[3] = (vu)_mm512_unpackhi_epi64(ab1, de1);
}

static inline vf half(vu v)
{
    return (vf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)v));
}

static inline vf madd(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

static inline vu repeat16(const void *p)
{
    return (vu)_mm512_broadcast_i32x4(_mm_loadu_si128(p));
}

static inline vu lookup(vu table, vu v)
{
    return (vu)_mm512_shuffle_epi8((__m512i)table, (__m512i)v);
}

static inline vu gather(const uint32_t *table, vu index)
{
    return (vu)_mm512_i32gather_epi32((__m512i)index, table, 4);
}

static inline __m512i broadcast4(const void *x)
{
    int32_t four;
    __builtin_memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
}

/* VPDPBUSD sums in 32 bits, so the parts are the sums. */
static inline vi dot_begin(vi sum) { return sum; }
static inline vi dot_end(vi sum, vi part) { return (void)sum, part; }
static inline vi dot_step(vi part, vu code, const int8_t *x)
{
    return (vi)_mm512_dpbusd_epi32((__m512i)part, (__m512i)code, broadcast4(x));
}
#define dot_step_signed dot_step
#define dot             dot_step

static inline vi pairs(vi acc, vu v, const int16_t *x)
{
    return (vi)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)v, broadcast4(x));
}

#endif
