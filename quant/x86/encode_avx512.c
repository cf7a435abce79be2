/* encode_avx512.c - the encoders with 16 blocks at a time, a block in each lane. */
#include "encode_x86.h"

#include <immintrin.h>

#define LANES 16
typedef uint32_t vu __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef float vf __attribute__((vector_size(64)));
typedef __mmask16 vm;

static inline vm less(vf a, vf b)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
}

static inline vm nonzero(vf a)
{
    return _mm512_cmp_ps_mask((__m512)a, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

static inline vm both(vm m, vm n) { return (vm)(m & n); }
static inline int any(vm m) { return m != 0; }

static inline vf choose(vm m, vf a, vf b)
{
    return (vf)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a);
}

static inline vf lower(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
static inline vf upper(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
static inline vf magnitude(vf a) { return (vf)_mm512_abs_ps((__m512)a); }

static inline vf gather(const float *p, vi index)
{
    return (vf)_mm512_i32gather_ps((__m512i)index, p, 4);
}

static inline vi gather_int(const int32_t *p, vi index)
{
    return (vi)_mm512_i32gather_epi32((__m512i)index, p, 4);
}

static inline vf load(const float *p) { return (vf)_mm512_loadu_ps(p); }
static inline void store(float *p, vf v) { _mm512_storeu_ps(p, (__m512)v); }
static inline vf root(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }

static inline vu load_short(const uint16_t *p)
{
    return (vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

static inline unsigned negative(vi a) { return _mm512_movepi32_mask((__m512i)a); }

static inline unsigned same(vf a, vf b)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
}

static inline vm below(int n) { return (vm)(n < 16 ? (1 << n) - 1 : 0xffff); }

static inline vf smallest(vf a)
{
    __m512 m = (__m512)a;
    m = _mm512_min_ps(m, _mm512_shuffle_f32x4(m, m, 0x4e));
    m = _mm512_min_ps(m, _mm512_shuffle_f32x4(m, m, 0xb1));
    m = _mm512_min_ps(m, _mm512_permute_ps(m, 0x4e));
    return (vf)_mm512_min_ps(m, _mm512_permute_ps(m, 0xb1));
}

static inline vf pick4(vf t, vu i)
{
    return (vf)_mm512_permutevar_ps((__m512)t, (__m512i)i);
}

static inline vf pick8(vf t, vu i)
{
    return (vf)_mm512_permutexvar_ps((__m512i)i, (__m512)t);
}

static inline vi to_whole(vf a) { return (vi)_mm512_cvttps_epi32((__m512)a); }

static inline void store_bytes(void *p, vi v)
{
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8((__m512i)v));
}

#define SEARCH(name)  lanes_##name
#define ENCODER(name) encode_##name##_avx512
#define REFINER(name) name##_avx512
#include "../lanes.h"
#include "../encode_k.h"
#include "../encode_iq4.h"
#include "../encode_simple.h"
#include "../lanes_grid.h"
#include "../encode_grid.h"
#include "../lanes_iq1.h"
#include "../encode_iq1.h"
#include "../lanes_refine.h"
