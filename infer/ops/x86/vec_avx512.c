/* vec_avx512.c - sixteen floats at a time; tails are masked. */
#include "vec.h"

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>

/* Arrays of vectors live in registers only if the loops over them are unrolled. */
#define each_vector(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

static inline __mmask16 tail(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

static inline __m512 load(const float *x, __mmask16 m)
{
    return _mm512_maskz_loadu_ps(m, x);
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, where the Taylor series to the 7th power is good
 * to a tenth of a unit in the last place. */
static inline __m512 exp512(__m512 x)
{
    const __m512 log2e = _mm512_set1_ps(1.44269504f);
    /* ln 2 in two parts, the first short enough that k times it is exact */
    const __m512 ln2_hi = _mm512_set1_ps(0.693145752f);
    const __m512 ln2_lo = _mm512_set1_ps(1.42860677e-6f);
    x = _mm512_max_ps(_mm512_set1_ps(-110), x); /* a NaN stays one */
    x = _mm512_min_ps(_mm512_set1_ps(100), x);
    const __m512 k =
        _mm512_roundscale_ps(_mm512_mul_ps(x, log2e), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(k, ln2_hi, x);
    r = _mm512_fnmadd_ps(k, ln2_lo, r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, k);
}

static inline __m512 sigmoid512(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(
        one, _mm512_add_ps(one, exp512(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

decl_dot_fn(dot_avx512)
{
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        a = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i), a);
        b = _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(y + i + 16), b);
        c = _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 32), _mm512_loadu_ps(y + i + 32), c);
        d = _mm512_fmadd_ps(_mm512_loadu_ps(x + i + 48), _mm512_loadu_ps(y + i + 48), d);
    }
    for (; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        a = _mm512_fmadd_ps(load(x + i, m), load(y + i, m), a);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
}

decl_axpy_fn(axpy_avx512)
{
    const __m512 va = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm512_mask_storeu_ps(y + i, m,
                              _mm512_fmadd_ps(va, load(x + i, m), load(y + i, m)));
    }
}

decl_scale_fn(scale_avx512)
{
    const __m512 va = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        _mm512_mask_storeu_ps(x + i, m, _mm512_mul_ps(va, load(x + i, m)));
    }
}

decl_max_fn(max_avx512)
{
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        /* of a NaN and a number, the second */
        most = _mm512_mask_max_ps(most, m, load(x + i, m), most);
    }
    return _mm512_reduce_max_ps(most);
}

decl_mix_fn(mix_avx512)
{
    size_t j = 0;
    for (; j + 128 <= n; j += 128) {
        __m512 sum[8];
        each_vector (b, 8) sum[b] = _mm512_loadu_ps(y + j + 16 * b);
        for (size_t i = 0; i < rows; i++) {
            const __m512 w = _mm512_set1_ps(p[i]);
            const float *x = v + i * n + j;
            each_vector (b, 8)
                sum[b] = _mm512_fmadd_ps(w, _mm512_loadu_ps(x + 16 * b), sum[b]);
        }
        each_vector (b, 8) _mm512_storeu_ps(y + j + 16 * b, sum[b]);
    }
    for (; j < n; j += 16) {
        const __mmask16 m = tail(n - j);
        __m512 sum = load(y + j, m);
        for (size_t i = 0; i < rows; i++)
            sum = _mm512_fmadd_ps(_mm512_set1_ps(p[i]), load(v + i * n + j, m), sum);
        _mm512_mask_storeu_ps(y + j, m, sum);
    }
}

decl_rms_norm_fn(rms_norm_avx512)
{
    __m512d a = _mm512_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 16) {
        const __m512 v = load(x + i, tail(n - i));
        const __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
        const __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        a = _mm512_fmadd_pd(lo, lo, a);
        b = _mm512_fmadd_pd(hi, hi, b);
    }
    const double mean = _mm512_reduce_add_pd(_mm512_add_pd(a, b)) / (double)n;
    const __m512 scale = _mm512_div_ps(_mm512_set1_ps(1.0f),
                                       _mm512_sqrt_ps(_mm512_set1_ps((float)mean + eps)));
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 v = _mm512_mul_ps(load(x + i, m), scale);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, load(w + i, m)));
    }
}

decl_exp_sum_fn(exp_sum_avx512)
{
    const __m512 s = _mm512_set1_ps(shift);
    __m512d a = _mm512_setzero_pd(), b = a;
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 e = _mm512_maskz_mov_ps(m, exp512(_mm512_sub_ps(load(x + i, m), s)));
        _mm512_mask_storeu_ps(x + i, m, e);
        a = _mm512_add_pd(a, _mm512_cvtps_pd(_mm512_castps512_ps256(e)));
        b = _mm512_add_pd(b, _mm512_cvtps_pd(_mm512_extractf32x8_ps(e, 1)));
    }
    return (float)_mm512_reduce_add_pd(_mm512_add_pd(a, b));
}

decl_silu_mul_fn(silu_mul_avx512)
{
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 v = load(g + i, m);
        const __m512 silu = _mm512_mul_ps(v, sigmoid512(v));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(load(x + i, m), silu));
    }
}

decl_sigm_mul_fn(sigm_mul_avx512)
{
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        const __m512 v = sigmoid512(load(g + i, m));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(load(y + i, m), v));
    }
}

decl_conv_fn(conv_avx512)
{
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 m = tail(n - i);
        __m512 sum = _mm512_setzero_ps();
        for (size_t k = 0; k < taps; k++)
            sum = _mm512_fmadd_ps(load(w + k * w_stride + i, m), load(x[k] + i, m), sum);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(sum, sigmoid512(sum)));
    }
}

/* V panels of the state from column c on, all tokens: they stay in the first-level cache.
 * width: of a panel.  See delta_columns in vec.c for the formula; here a token's products
 * are made while the token before changes the state, so that a token loads and stores the
 * state once. */
static inline __attribute__((always_inline)) void delta_panels(
    const struct delta_run *run, size_t c, const int V, const int width)
{
    const size_t dim = run->dim;
    const __mmask16 m = tail(width);
    const __m512 scale = _mm512_set1_ps(run->scale);
    float *const state = run->s + c * dim, *s = state;
    const float *q = run->q, *k = run->k;
    __m512 p[4], r[4], d[4];
    each_vector (b, V) p[b] = r[b] = _mm512_setzero_ps();
    for (size_t i = 0; i < dim; i++, s += width)
        each_vector (b, V) {
            const __m512 x = load(s + b * 16 * dim, m);
            p[b] = _mm512_fmadd_ps(_mm512_set1_ps(k[i]), x, p[b]);
            r[b] = _mm512_fmadd_ps(_mm512_set1_ps(q[i]), x, r[b]);
        }
    for (size_t t = 0; t < run->tokens; t++, q += dim, k += dim) {
        const float *v = run->v + t * run->v_stride + c;
        float *o = run->o + t * run->o_stride + c;
        const __m512 decay = _mm512_set1_ps(run->decay[t]);
        const __m512 beta = _mm512_set1_ps(run->beta[t]);
        const __m512 kq = _mm512_set1_ps(dot_avx512(k, q, dim));
        each_vector (b, V) {
            const __m512 error = _mm512_fnmadd_ps(decay, p[b], load(v + 16 * b, m));
            d[b] = _mm512_mul_ps(beta, error);
            const __m512 sum = _mm512_fmadd_ps(d[b], kq, _mm512_mul_ps(decay, r[b]));
            _mm512_mask_storeu_ps(o + 16 * b, m, _mm512_mul_ps(scale, sum));
            p[b] = r[b] = _mm512_setzero_ps();
        }
        const bool last = t + 1 == run->tokens;
        s = state;
        for (size_t i = 0; i < dim; i++, s += width)
            each_vector (b, V) {
                float *at = s + b * 16 * dim;
                __m512 x = _mm512_mul_ps(decay, load(at, m));
                x = _mm512_fmadd_ps(_mm512_set1_ps(k[i]), d[b], x);
                _mm512_mask_storeu_ps(at, m, x);
                if (last) continue;
                p[b] = _mm512_fmadd_ps(_mm512_set1_ps(k[dim + i]), x, p[b]);
                r[b] = _mm512_fmadd_ps(_mm512_set1_ps(q[dim + i]), x, r[b]);
            }
    }
}

decl_delta_fn(delta_avx512)
{
    size_t c = 0;
    for (; c + 64 <= run->dim; c += 64) delta_panels(run, c, 4, 16);
    for (; c + 16 <= run->dim; c += 16) delta_panels(run, c, 1, 16);
    if (c < run->dim) delta_panels(run, c, 1, 8);
}
