/* vec_avx512.c - sixteen floats at a time; tails are masked. */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LANES      16
#define NAME(name) name##_avx512
#define LEAST      (-110.0f)
#define MOST       88.3f
typedef __m512 vec;
typedef __m512d wide;
typedef __mmask16 lanes;

static inline lanes tail(size_t n) { return (lanes)(n >= 16 ? 0xffff : (1u << n) - 1); }

static inline vec all(const float *x) { return _mm512_loadu_ps(x); }
static inline void put(float *x, vec v) { _mm512_storeu_ps(x, v); }
static inline vec load(const float *x, lanes m) { return _mm512_maskz_loadu_ps(m, x); }
static inline void store(float *x, lanes m, vec v) { _mm512_mask_storeu_ps(x, m, v); }
static inline vec only(lanes m, vec v) { return _mm512_maskz_mov_ps(m, v); }

static inline vec set(float a) { return _mm512_set1_ps(a); }
static inline vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec over(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec root(vec a) { return _mm512_sqrt_ps(a); }
static inline vec least(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec most(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec muladd(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline vec minus(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }

/* Of a NaN and a number, the second. */
static inline vec most_in(lanes m, vec v, vec so_far)
{
    return _mm512_mask_max_ps(so_far, m, v, so_far);
}

static inline float greatest(vec v) { return _mm512_reduce_max_ps(v); }

static inline vec nearest(vec a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT);
}

/* Goes on below the normal numbers, down to 0. */
static inline vec scaled(vec p, vec k, vec x)
{
    (void)x;
    return _mm512_scalef_ps(p, k);
}

static inline wide low(vec v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline wide high(vec v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }
static inline wide wide_add(wide a, wide b) { return _mm512_add_pd(a, b); }
static inline wide wide_muladd(wide a, wide b, wide c)
{
    return _mm512_fmadd_pd(a, b, c);
}
static inline float sum(vec v) { return _mm512_reduce_add_ps(v); }
static inline double wide_sum(wide v) { return _mm512_reduce_add_pd(v); }

#include "vec_body.h"

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
