/* vec_body.h - the functions of vec.h for vectors of any length, but for the delta rule:
 * the including file says what a vector is and what can be done with it.
 *
 *   LANES, NAME(dot)      floats in a vector; what a function is called at this level
 *   vec, wide, lanes      a vector; half of one, as doubles; which lanes count
 *   tail(n)               the first n lanes, or all
 *   load, store           the lanes that count; loading, the others are 0
 *   all, put              every lane
 *   only(m, v)            v, with 0 in the lanes that do not count
 *   set, add, sub, mul, over, root, least, most, nearest   lane by lane
 *   muladd(a, b, c)       ab + c; minus: c - ab
 *   most_in(m, v, w)      the greater in the lanes that count, w in the others
 *   low, high             half of a vector, widened; wide_add, wide_muladd
 *   sum, greatest, wide_sum   of all lanes
 *   LEAST, MOST           what exp() is computed for; below, it is as at LEAST
 *   scaled(p, k, x)       2^k p; may be 0 for x below LEAST */
#ifndef INFER_OPS_X86_VEC_BODY_H
#define INFER_OPS_X86_VEC_BODY_H

#include "vec.h"

/* Arrays of vectors live in registers only if the loops over them are unrolled. */
#define each_vector(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)

/* e^x = 2^k e^r with |r| <= ln(2) / 2, where the Taylor series to the 7th power is good
 * to a tenth of a unit in the last place. */
static inline vec exp_of(vec x)
{
    const vec in = most(set(LEAST), x); /* a NaN stays one */
    const vec y = least(set(MOST), in);
    const vec k = nearest(mul(y, set(1.44269504f)));
    /* ln 2 in two parts, the first short enough that k times it is exact */
    vec r = minus(k, set(0.693145752f), y);
    r = minus(k, set(1.42860677e-6f), r);
    vec p = set(1.0f / 5040);
    p = muladd(p, r, set(1.0f / 720));
    p = muladd(p, r, set(1.0f / 120));
    p = muladd(p, r, set(1.0f / 24));
    p = muladd(p, r, set(1.0f / 6));
    p = muladd(p, r, set(0.5f));
    p = muladd(p, r, set(1.0f));
    p = muladd(p, r, set(1.0f));
    return scaled(p, k, x);
}

static inline vec sigmoid_of(vec x)
{
    const vec one = set(1.0f);
    return over(one, add(one, exp_of(sub(set(0), x))));
}

decl_dot_fn(NAME(dot))
{
    vec a = set(0), b = a, c = a, d = a;
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        a = muladd(all(x + i), all(y + i), a);
        b = muladd(all(x + i + LANES), all(y + i + LANES), b);
        c = muladd(all(x + i + 2 * LANES), all(y + i + 2 * LANES), c);
        d = muladd(all(x + i + 3 * LANES), all(y + i + 3 * LANES), d);
    }
    for (; i < n; i += LANES) {
        const lanes m = tail(n - i);
        a = muladd(load(x + i, m), load(y + i, m), a);
    }
    return sum(add(add(a, b), add(c, d)));
}

decl_axpy_fn(NAME(axpy))
{
    const vec va = set(a);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        store(y + i, m, muladd(va, load(x + i, m), load(y + i, m)));
    }
}

decl_scale_fn(NAME(scale))
{
    const vec va = set(a);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        store(x + i, m, mul(va, load(x + i, m)));
    }
}

decl_max_fn(NAME(max))
{
    vec v = set(-INFINITY);
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        v = most_in(m, load(x + i, m), v);
    }
    return greatest(v);
}

decl_mix_fn(NAME(mix))
{
    size_t j = 0;
    for (; j + 8 * LANES <= n; j += 8 * LANES) {
        vec s[8];
        each_vector (b, 8) s[b] = all(y + j + LANES * b);
        for (size_t i = 0; i < rows; i++) {
            const vec w = set(p[i]);
            const float *x = v + i * n + j;
            each_vector (b, 8) s[b] = muladd(w, all(x + LANES * b), s[b]);
        }
        each_vector (b, 8) put(y + j + LANES * b, s[b]);
    }
    for (; j < n; j += LANES) {
        const lanes m = tail(n - j);
        vec s = load(y + j, m);
        for (size_t i = 0; i < rows; i++)
            s = muladd(set(p[i]), load(v + i * n + j, m), s);
        store(y + j, m, s);
    }
}

decl_rms_norm_fn(NAME(rms_norm))
{
    wide a = low(set(0)), b = a;
    for (size_t i = 0; i < n; i += LANES) {
        const vec v = load(x + i, tail(n - i));
        const wide lo = low(v), hi = high(v);
        a = wide_muladd(lo, lo, a);
        b = wide_muladd(hi, hi, b);
    }
    const double mean = wide_sum(wide_add(a, b)) / (double)n;
    const vec scale = over(set(1.0f), root(set((float)mean + eps)));
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        const vec v = mul(load(x + i, m), scale);
        store(y + i, m, mul(v, load(w + i, m)));
    }
}

decl_exp_sum_fn(NAME(exp_sum))
{
    const vec s = set(shift);
    wide a = low(set(0)), b = a;
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        const vec e = only(m, exp_of(sub(load(x + i, m), s)));
        store(x + i, m, e);
        a = wide_add(a, low(e));
        b = wide_add(b, high(e));
    }
    return (float)wide_sum(wide_add(a, b));
}

decl_silu_mul_fn(NAME(silu_mul))
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        const vec v = load(g + i, m);
        const vec silu = mul(v, sigmoid_of(v));
        store(y + i, m, mul(load(x + i, m), silu));
    }
}

decl_sigm_mul_fn(NAME(sigm_mul))
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        const vec v = sigmoid_of(load(g + i, m));
        store(y + i, m, mul(load(y + i, m), v));
    }
}

decl_conv_fn(NAME(conv))
{
    for (size_t i = 0; i < n; i += LANES) {
        const lanes m = tail(n - i);
        vec s = set(0);
        for (size_t k = 0; k < taps; k++)
            s = muladd(load(w + k * w_stride + i, m), load(x[k] + i, m), s);
        store(y + i, m, mul(s, sigmoid_of(s)));
    }
}

#endif
