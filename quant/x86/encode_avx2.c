/* encode_avx2.c - the encoders with 8 blocks at a time, a block in each lane. */
#include "encode_x86.h"

#include <immintrin.h>

#define LANES 8
typedef uint32_t vu __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef float vf __attribute__((vector_size(32)));
typedef __m256 vm; /* all bits of a lane or none */

static inline vm less(vf a, vf b)
{
    return _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
}

static inline vm nonzero(vf a)
{
    return _mm256_cmp_ps((__m256)a, _mm256_setzero_ps(), _CMP_NEQ_UQ);
}

static inline vm both(vm m, vm n) { return _mm256_and_ps(m, n); }
static inline int any(vm m) { return _mm256_movemask_ps(m) != 0; }

static inline vf choose(vm m, vf a, vf b)
{
    return (vf)_mm256_blendv_ps((__m256)b, (__m256)a, m);
}

static inline vf lower(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
static inline vf upper(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }

static inline vf magnitude(vf a)
{
    return (vf)_mm256_andnot_ps(_mm256_set1_ps(-0.0f), (__m256)a);
}

static inline vf gather(const float *p, vi index)
{
    return (vf)_mm256_i32gather_ps(p, (__m256i)index, 4);
}

static inline vi gather_int(const int32_t *p, vi index)
{
    return (vi)_mm256_i32gather_epi32(p, (__m256i)index, 4);
}

static inline vf load(const float *p) { return (vf)_mm256_loadu_ps(p); }
static inline void store(float *p, vf v) { _mm256_storeu_ps(p, (__m256)v); }
static inline vf root(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }

static inline vu load_short(const uint16_t *p)
{
    return (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}

static inline unsigned negative(vi a) { return (unsigned)_mm256_movemask_ps((__m256)a); }

static inline unsigned same(vf a, vf b)
{
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ));
}

static inline vm below(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
}

static inline vf smallest(vf a)
{
    __m256 m = (__m256)a;
    m = _mm256_min_ps(m, _mm256_permute2f128_ps(m, m, 1));
    m = _mm256_min_ps(m, _mm256_permute_ps(m, 0x4e));
    return (vf)_mm256_min_ps(m, _mm256_permute_ps(m, 0xb1));
}

static inline vf pick4(vf t, vu i)
{
    return (vf)_mm256_permutevar_ps((__m256)t, (__m256i)i);
}

static inline vf pick8(vf t, vu i)
{
    return (vf)_mm256_permutevar8x32_ps((__m256)t, (__m256i)i);
}

static inline vi to_whole(vf a) { return (vi)_mm256_cvttps_epi32((__m256)a); }

static inline void store_bytes(void *p, vi v)
{
    const __m256i low =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0,
                         4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i b = _mm256_shuffle_epi8((__m256i)v, low);
    _mm_storel_epi64(
        p, _mm_unpacklo_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
}

#define SEARCH(name)  lanes_##name
#define ENCODER(name) encode_##name##_avx2
#define REFINER(name) name##_avx2
#include "../lanes.h"
#include "../encode_k.h"
#include "../encode_iq4.h"
#include "../encode_simple.h"
#include "../lanes_grid.h"
#include "../encode_grid.h"
#include "../lanes_iq1.h"
#include "../encode_iq1.h"
#include "../lanes_refine.h"
