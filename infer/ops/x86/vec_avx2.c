/* vec_avx2.c - eight floats at a time; tails go through the masks of AVX. */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES      8
#define NAME(name) name##_avx2
#define LEAST      (-87.3f) /* below are no normal numbers */
#define MOST       88.3f
typedef __m256 vec;
typedef __m256d wide;
typedef __m256i lanes;

static inline lanes tail(size_t n)
{
    static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - (n < 8 ? n : 8)));
}

static inline vec all(const float *x) { return _mm256_loadu_ps(x); }
static inline void put(float *x, vec v) { _mm256_storeu_ps(x, v); }
static inline vec load(const float *x, lanes m) { return _mm256_maskload_ps(x, m); }
static inline void store(float *x, lanes m, vec v) { _mm256_maskstore_ps(x, m, v); }
static inline vec only(lanes m, vec v)
{
    return _mm256_and_ps(_mm256_castsi256_ps(m), v);
}

static inline vec set(float a) { return _mm256_set1_ps(a); }
static inline vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec over(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec root(vec a) { return _mm256_sqrt_ps(a); }
static inline vec least(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec most(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec muladd(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec minus(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }

/* Of a NaN and a number, the second. */
static inline vec most_in(lanes m, vec v, vec so_far)
{
    const vec counted = _mm256_blendv_ps(set(-INFINITY), v, _mm256_castsi256_ps(m));
    return _mm256_max_ps(counted, so_far);
}

static inline float greatest(vec v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

static inline vec nearest(vec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vec scaled(vec p, vec k, vec x)
{
    const __m256i bits = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
    const vec zero = _mm256_cmp_ps(x, set(LEAST), _CMP_LT_OQ);
    return _mm256_andnot_ps(zero, mul(p, _mm256_castsi256_ps(bits)));
}

static inline wide low(vec v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static inline wide high(vec v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }
static inline wide wide_add(wide a, wide b) { return _mm256_add_pd(a, b); }
static inline wide wide_muladd(wide a, wide b, wide c)
{
    return _mm256_fmadd_pd(a, b, c);
}

static inline float sum(vec v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline double wide_sum(wide v)
{
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}

#include "vec_body.h"

/* V panels of the state, 16 or 8 columns wide, from column c on, all tokens: they stay in
 * the first-level cache.  See delta_columns in vec.c for the formula; here a token's
 * products are made while the token before changes the state, so that a token loads and
 * stores the state once. */
static inline __attribute__((always_inline)) void delta_panels(
    const struct delta_run *run, size_t c, const int V, const int width)
{
    const size_t dim = run->dim;
    const int n = V * width / 8; /* vectors in a row */
    const __m256 scale = _mm256_set1_ps(run->scale);
    float *const state = run->s + c * dim, *s = state;
    const float *q = run->q, *k = run->k;
    __m256 p[4], r[4], d[4];
    each_vector (b, n) p[b] = r[b] = _mm256_setzero_ps();
    for (size_t i = 0; i < dim; i++, s += width)
        each_vector (b, n) {
            const __m256 x = _mm256_loadu_ps(s + b / 2 * 16 * dim + b % 2 * 8);
            p[b] = _mm256_fmadd_ps(_mm256_set1_ps(k[i]), x, p[b]);
            r[b] = _mm256_fmadd_ps(_mm256_set1_ps(q[i]), x, r[b]);
        }
    for (size_t t = 0; t < run->tokens; t++, q += dim, k += dim) {
        const float *v = run->v + t * run->v_stride + c;
        float *o = run->o + t * run->o_stride + c;
        const __m256 decay = _mm256_set1_ps(run->decay[t]);
        const __m256 beta = _mm256_set1_ps(run->beta[t]);
        const __m256 kq = _mm256_set1_ps(dot_avx2(k, q, dim));
        each_vector (b, n) {
            const __m256 error =
                _mm256_fnmadd_ps(decay, p[b], _mm256_loadu_ps(v + 8 * b));
            d[b] = _mm256_mul_ps(beta, error);
            const __m256 sum = _mm256_fmadd_ps(d[b], kq, _mm256_mul_ps(decay, r[b]));
            _mm256_storeu_ps(o + 8 * b, _mm256_mul_ps(scale, sum));
            p[b] = r[b] = _mm256_setzero_ps();
        }
        const bool last = t + 1 == run->tokens;
        s = state;
        for (size_t i = 0; i < dim; i++, s += width)
            each_vector (b, n) {
                float *at = s + b / 2 * 16 * dim + b % 2 * 8;
                __m256 x = _mm256_mul_ps(decay, _mm256_loadu_ps(at));
                x = _mm256_fmadd_ps(_mm256_set1_ps(k[i]), d[b], x);
                _mm256_storeu_ps(at, x);
                if (last) continue;
                p[b] = _mm256_fmadd_ps(_mm256_set1_ps(k[dim + i]), x, p[b]);
                r[b] = _mm256_fmadd_ps(_mm256_set1_ps(q[dim + i]), x, r[b]);
            }
    }
}

decl_delta_fn(delta_avx2)
{
    size_t c = 0;
    for (; c + 32 <= run->dim; c += 32) delta_panels(run, c, 2, 16);
    for (; c + 16 <= run->dim; c += 16) delta_panels(run, c, 1, 16);
    if (c < run->dim) delta_panels(run, c, 1, 8);
}
