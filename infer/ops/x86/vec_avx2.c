/* vec_avx2.c - eight floats at a time; tails go through the masks of AVX. */
#include "vec.h"

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

/* Arrays of vectors live in registers only if the loops over them are unrolled. */
#define each_vector(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

/* Lanes 0..n-1 for n up to 8. */
static inline __m256i tail(size_t n)
{
    static const int32_t ones[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - (n < 8 ? n : 8)));
}

static inline __m256 load(const float *x, __m256i m) { return _mm256_maskload_ps(x, m); }

static inline float sum8(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline double sum4d(__m256d v)
{
    const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, where the Taylor series to the 7th power is good
 * to a tenth of a unit in the last place.  What would be below the normal numbers is 0.
 */
static inline __m256 exp256(__m256 x)
{
    const __m256 log2e = _mm256_set1_ps(1.44269504f);
    /* ln 2 in two parts, the first short enough that k times it is exact */
    const __m256 ln2_hi = _mm256_set1_ps(0.693145752f);
    const __m256 ln2_lo = _mm256_set1_ps(1.42860677e-6f);
    const __m256 least = _mm256_set1_ps(-87.3f);
    const __m256 zero = _mm256_cmp_ps(x, least, _CMP_LT_OQ);
    x = _mm256_max_ps(least, x); /* a NaN stays one */
    x = _mm256_min_ps(_mm256_set1_ps(88.3f), x);
    const __m256 k = _mm256_round_ps(_mm256_mul_ps(x, log2e),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(k, ln2_hi, x);
    r = _mm256_fnmadd_ps(k, ln2_lo, r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    const __m256i bits = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23);
    return _mm256_andnot_ps(zero, _mm256_mul_ps(p, _mm256_castsi256_ps(bits)));
}

static inline __m256 sigmoid256(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    return _mm256_div_ps(
        one, _mm256_add_ps(one, exp256(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

decl_dot_fn(dot_avx2)
{
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        a = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i), a);
        b = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8), _mm256_loadu_ps(y + i + 8), b);
        c = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 16), _mm256_loadu_ps(y + i + 16), c);
        d = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 24), _mm256_loadu_ps(y + i + 24), d);
    }
    for (; i < n; i += 8) {
        const __m256i m = tail(n - i);
        a = _mm256_fmadd_ps(load(x + i, m), load(y + i, m), a);
    }
    return sum8(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
}

decl_axpy_fn(axpy_avx2)
{
    const __m256 va = _mm256_set1_ps(a);
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        _mm256_maskstore_ps(y + i, m,
                            _mm256_fmadd_ps(va, load(x + i, m), load(y + i, m)));
    }
}

decl_scale_fn(scale_avx2)
{
    const __m256 va = _mm256_set1_ps(a);
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        _mm256_maskstore_ps(x + i, m, _mm256_mul_ps(va, load(x + i, m)));
    }
}

decl_max_fn(max_avx2)
{
    const __m256 least = _mm256_set1_ps(-INFINITY);
    __m256 most = least;
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        const __m256 v = _mm256_blendv_ps(least, load(x + i, m), _mm256_castsi256_ps(m));
        most = _mm256_max_ps(v, most); /* of a NaN and a number, the second */
    }
    __m128 half =
        _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

decl_mix_fn(mix_avx2)
{
    size_t j = 0;
    for (; j + 64 <= n; j += 64) {
        __m256 sum[8];
        each_vector (b, 8) sum[b] = _mm256_loadu_ps(y + j + 8 * b);
        for (size_t i = 0; i < rows; i++) {
            const __m256 w = _mm256_set1_ps(p[i]);
            const float *x = v + i * n + j;
            each_vector (b, 8)
                sum[b] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + 8 * b), sum[b]);
        }
        each_vector (b, 8) _mm256_storeu_ps(y + j + 8 * b, sum[b]);
    }
    for (; j < n; j += 8) {
        const __m256i m = tail(n - j);
        __m256 sum = load(y + j, m);
        for (size_t i = 0; i < rows; i++)
            sum = _mm256_fmadd_ps(_mm256_set1_ps(p[i]), load(v + i * n + j, m), sum);
        _mm256_maskstore_ps(y + j, m, sum);
    }
}

decl_rms_norm_fn(rms_norm_avx2)
{
    __m256d a = _mm256_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 8) {
        const __m256 v = load(x + i, tail(n - i));
        const __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        const __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        a = _mm256_fmadd_pd(lo, lo, a);
        b = _mm256_fmadd_pd(hi, hi, b);
    }
    const double mean = sum4d(_mm256_add_pd(a, b)) / (double)n;
    const __m256 scale = _mm256_div_ps(_mm256_set1_ps(1.0f),
                                       _mm256_sqrt_ps(_mm256_set1_ps((float)mean + eps)));
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        const __m256 v = _mm256_mul_ps(load(x + i, m), scale);
        _mm256_maskstore_ps(y + i, m, _mm256_mul_ps(v, load(w + i, m)));
    }
}

decl_exp_sum_fn(exp_sum_avx2)
{
    const __m256 s = _mm256_set1_ps(shift);
    __m256d a = _mm256_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        const __m256 e = _mm256_and_ps(_mm256_castsi256_ps(m),
                                       exp256(_mm256_sub_ps(load(x + i, m), s)));
        _mm256_maskstore_ps(x + i, m, e);
        a = _mm256_add_pd(a, _mm256_cvtps_pd(_mm256_castps256_ps128(e)));
        b = _mm256_add_pd(b, _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1)));
    }
    return (float)sum4d(_mm256_add_pd(a, b));
}

decl_silu_mul_fn(silu_mul_avx2)
{
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        const __m256 v = load(g + i, m);
        const __m256 silu = _mm256_mul_ps(v, sigmoid256(v));
        _mm256_maskstore_ps(y + i, m, _mm256_mul_ps(load(x + i, m), silu));
    }
}

decl_sigm_mul_fn(sigm_mul_avx2)
{
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        const __m256 v = sigmoid256(load(g + i, m));
        _mm256_maskstore_ps(y + i, m, _mm256_mul_ps(load(y + i, m), v));
    }
}

decl_conv_fn(conv_avx2)
{
    for (size_t i = 0; i < n; i += 8) {
        const __m256i m = tail(n - i);
        __m256 sum = _mm256_setzero_ps();
        for (size_t k = 0; k < taps; k++)
            sum = _mm256_fmadd_ps(load(w + k * w_stride + i, m), load(x[k] + i, m), sum);
        _mm256_maskstore_ps(y + i, m, _mm256_mul_ps(sum, sigmoid256(sum)));
    }
}

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
