/* mul_float_avx512.c - products with plain floats, 16 at a time. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"

#include <immintrin.h>

#define LANES  16
#define TOKENS 4
typedef __m512 vf;

static inline vf load_f32(const void *p) { return _mm512_loadu_ps(p); }
static inline vf load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}
static inline vf load_bf16(const void *p)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline vf madd(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }

static inline float sum_lanes(vf v)
{
    const __m256 high = _mm512_extractf32x8_ps(v, 1);
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#include "../tile_float.h"

mul_fn mul_float_avx512(uint32_t type) { return float_kernel(type); }
