/* mul_float_avx2.c - products with plain floats, 8 at a time. */
#include "../../libgguf/libgguf.h"
#include "mul_tables.h"

#include <immintrin.h>

#define LANES  8
#define TOKENS 2
typedef __m256 vf;

static inline vf load_f32(const void *p) { return _mm256_loadu_ps(p); }
static inline vf load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}
static inline vf load_bf16(const void *p)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vf madd(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }

static inline float sum_lanes(vf v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#include "../tile_float.h"

mul_fn mul_float_avx2(uint32_t type) { return float_kernel(type); }
