/* vec_neon.c - four floats at a time; a rest of fewer goes through four floats on the
 * stack. */
#include "vec.h"

#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Arrays of vectors live in registers only if the loops over them are unrolled. */
#define each_vector(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

/* Up to four of the n floats at x, zeros after them. */
static inline float32x4_t load(const float *x, size_t n)
{
    if (n >= 4) return vld1q_f32(x);
    float rest[4] = { 0 };
    memcpy(rest, x, n * sizeof *x);
    return vld1q_f32(rest);
}

static inline void store(float *x, float32x4_t v, size_t n)
{
    if (n >= 4) {
        vst1q_f32(x, v);
        return;
    }
    float rest[4];
    vst1q_f32(rest, v);
    memcpy(x, rest, n * sizeof *x);
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, where the Taylor series to the 7th power is good
 * to a tenth of a unit in the last place.  What would be below the normal numbers is 0.
 */
static inline float32x4_t exp4(float32x4_t x)
{
    const float32x4_t least = vdupq_n_f32(-87.3f);
    const uint32x4_t zero = vcltq_f32(x, least);
    x = vminq_f32(vmaxq_f32(x, least), vdupq_n_f32(88.3f)); /* a NaN stays one */
    const float32x4_t k = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    /* ln 2 in two parts, the first short enough that k times it is exact */
    float32x4_t r = vfmsq_n_f32(x, k, 0.693145752f);
    r = vfmsq_n_f32(r, k, 1.42860677e-6f);
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 720), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 120), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 24), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 6), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    const int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(k), vdupq_n_s32(127));
    p = vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(p), zero));
}

static inline float32x4_t sigmoid4(float32x4_t x)
{
    const float32x4_t one = vdupq_n_f32(1.0f);
    return vdivq_f32(one, vaddq_f32(one, exp4(vnegq_f32(x))));
}

decl_dot_fn(dot_neon)
{
    float32x4_t a = vdupq_n_f32(0), b = a, c = a, d = a;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        a = vfmaq_f32(a, vld1q_f32(x + i), vld1q_f32(y + i));
        b = vfmaq_f32(b, vld1q_f32(x + i + 4), vld1q_f32(y + i + 4));
        c = vfmaq_f32(c, vld1q_f32(x + i + 8), vld1q_f32(y + i + 8));
        d = vfmaq_f32(d, vld1q_f32(x + i + 12), vld1q_f32(y + i + 12));
    }
    for (; i < n; i += 4) a = vfmaq_f32(a, load(x + i, n - i), load(y + i, n - i));
    return vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));
}

decl_axpy_fn(axpy_neon)
{
    for (size_t i = 0; i < n; i += 4)
        store(y + i, vfmaq_n_f32(load(y + i, n - i), load(x + i, n - i), a), n - i);
}

decl_scale_fn(scale_neon)
{
    for (size_t i = 0; i < n; i += 4)
        store(x + i, vmulq_n_f32(load(x + i, n - i), a), n - i);
}

decl_max_fn(max_neon)
{
    float32x4_t most = vdupq_n_f32(-INFINITY);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t v = vld1q_f32(x + i);
        most = vbslq_f32(vcgtq_f32(v, most), v, most); /* vmaxq would keep a NaN */
    }
    float max = vmaxvq_f32(most);
    for (; i < n; i++)
        if (x[i] > max) max = x[i];
    return max;
}

decl_mix_fn(mix_neon)
{
    size_t j = 0;
    for (; j + 32 <= n; j += 32) {
        float32x4_t sum[8];
        each_vector (b, 8) sum[b] = vld1q_f32(y + j + 4 * b);
        for (size_t i = 0; i < rows; i++) {
            const float *x = v + i * n + j;
            each_vector (b, 8) sum[b] = vfmaq_n_f32(sum[b], vld1q_f32(x + 4 * b), p[i]);
        }
        each_vector (b, 8) vst1q_f32(y + j + 4 * b, sum[b]);
    }
    for (; j < n; j += 4) {
        float32x4_t sum = load(y + j, n - j);
        for (size_t i = 0; i < rows; i++)
            sum = vfmaq_n_f32(sum, load(v + i * n + j, n - j), p[i]);
        store(y + j, sum, n - j);
    }
}

decl_rms_norm_fn(rms_norm_neon)
{
    float64x2_t a = vdupq_n_f64(0), b = a;
    for (size_t i = 0; i < n; i += 4) {
        const float32x4_t v = load(x + i, n - i);
        const float64x2_t low = vcvt_f64_f32(vget_low_f32(v));
        const float64x2_t high = vcvt_high_f64_f32(v);
        a = vfmaq_f64(a, low, low);
        b = vfmaq_f64(b, high, high);
    }
    const double mean = vaddvq_f64(vaddq_f64(a, b)) / (double)n;
    const float32x4_t root = vsqrtq_f32(vdupq_n_f32((float)mean + eps));
    const float32x4_t scale = vdivq_f32(vdupq_n_f32(1.0f), root);
    for (size_t i = 0; i < n; i += 4) {
        const float32x4_t v = vmulq_f32(load(x + i, n - i), scale);
        store(y + i, vmulq_f32(v, load(w + i, n - i)), n - i);
    }
}

decl_exp_sum_fn(exp_sum_neon)
{
    const float32x4_t s = vdupq_n_f32(shift);
    float64x2_t a = vdupq_n_f64(0), b = a;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const float32x4_t e = exp4(vsubq_f32(vld1q_f32(x + i), s));
        vst1q_f32(x + i, e);
        a = vaddq_f64(a, vcvt_f64_f32(vget_low_f32(e)));
        b = vaddq_f64(b, vcvt_high_f64_f32(e));
    }
    double sum = vaddvq_f64(vaddq_f64(a, b));
    if (i < n) { /* what is not there would count as exp(-shift) */
        store(x + i, exp4(vsubq_f32(load(x + i, n - i), s)), n - i);
        for (; i < n; i++) sum += x[i];
    }
    return (float)sum;
}

decl_silu_mul_fn(silu_mul_neon)
{
    for (size_t i = 0; i < n; i += 4) {
        const float32x4_t v = load(g + i, n - i);
        const float32x4_t silu = vmulq_f32(v, sigmoid4(v));
        store(y + i, vmulq_f32(load(x + i, n - i), silu), n - i);
    }
}

decl_sigm_mul_fn(sigm_mul_neon)
{
    for (size_t i = 0; i < n; i += 4) {
        const float32x4_t v = sigmoid4(load(g + i, n - i));
        store(y + i, vmulq_f32(load(y + i, n - i), v), n - i);
    }
}

decl_conv_fn(conv_neon)
{
    for (size_t i = 0; i < n; i += 4) {
        float32x4_t sum = vdupq_n_f32(0);
        for (size_t k = 0; k < taps; k++)
            sum =
                vfmaq_f32(sum, load(w + k * w_stride + i, n - i), load(x[k] + i, n - i));
        store(y + i, vmulq_f32(sum, sigmoid4(sum)), n - i);
    }
}

/* A panel of the state, of N vectors, from column c on, all tokens: it stays in the
 * first-level cache.  See delta_columns in vec.c for the formula; here a token's products
 * are made while the token before changes the state, so that a token loads and stores the
 * state once. */
static inline __attribute__((always_inline)) void delta_panel(const struct delta_run *run,
                                                              size_t c, const int N)
{
    const size_t dim = run->dim, width = 4 * (size_t)N;
    float *const state = run->s + c * dim, *s = state;
    const float *q = run->q, *k = run->k;
    float32x4_t p[4], r[4], d[4];
    each_vector (b, N) p[b] = r[b] = vdupq_n_f32(0);
    for (size_t i = 0; i < dim; i++, s += width)
        each_vector (b, N) {
            const float32x4_t x = vld1q_f32(s + 4 * b);
            p[b] = vfmaq_n_f32(p[b], x, k[i]);
            r[b] = vfmaq_n_f32(r[b], x, q[i]);
        }
    for (size_t t = 0; t < run->tokens; t++, q += dim, k += dim) {
        const float *v = run->v + t * run->v_stride + c;
        float *o = run->o + t * run->o_stride + c;
        const float decay = run->decay[t], kq = dot_neon(k, q, dim);
        each_vector (b, N) {
            const float32x4_t error = vfmsq_n_f32(vld1q_f32(v + 4 * b), p[b], decay);
            d[b] = vmulq_n_f32(error, run->beta[t]);
            const float32x4_t sum = vfmaq_n_f32(vmulq_n_f32(r[b], decay), d[b], kq);
            vst1q_f32(o + 4 * b, vmulq_n_f32(sum, run->scale));
            p[b] = r[b] = vdupq_n_f32(0);
        }
        const bool last = t + 1 == run->tokens;
        s = state;
        for (size_t i = 0; i < dim; i++, s += width)
            each_vector (b, N) {
                float32x4_t x = vmulq_n_f32(vld1q_f32(s + 4 * b), decay);
                x = vfmaq_n_f32(x, d[b], k[i]);
                vst1q_f32(s + 4 * b, x);
                if (last) continue;
                p[b] = vfmaq_n_f32(p[b], x, k[dim + i]);
                r[b] = vfmaq_n_f32(r[b], x, q[dim + i]);
            }
    }
}

decl_delta_fn(delta_neon)
{
    size_t c = 0;
    for (; c + 16 <= run->dim; c += 16) delta_panel(run, c, 4);
    if (c < run->dim) delta_panel(run, c, 2);
}
