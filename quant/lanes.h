/* lanes.h - the searches of search.c with a block in each lane of a vector.
 *
 * A template: x86/encode_avx2.c and its like define a vector of LANES 32-bit lanes with a
 * few operations and include this file.
 *
 * The reference's sums run from element 0 on and round at every step, so they cannot be
 * cut up.  Here element i of LANES blocks is one vector: every lane does what search.c
 * does for its block, in that order, and where that would branch a mask selects.  So the
 * bits are the same, and so are the bytes written.
 *
 * What the includer defines:
 *
 *   LANES, vu, vi, vf       vectors of uint32_t, int32_t and float
 *   vm                      a mask with one truth for each lane
 *   less(a, b), nonzero(a)  comparisons; false and true for a NaN, as < and != 0 are
 *   both(m, n), any(m)      of masks
 *   choose(m, a, b)         m ? a : b
 *   lower(a, b), upper(a, b)  minimum and maximum, of numbers
 *   magnitude(a)
 *   gather(p, index)        p[index] for each lane
 *   load(p)                 LANES neighbouring floats
 *   to_whole(a)             to int32_t; INT_MIN where it does not fit
 *   store_bytes(p, v)       the low byte of each lane of a vi */
#include "grids.h"
#include "search.h"
#include "unroll.h"

#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE vf splat(float f) { return f - (vf){ 0 }; }

INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }

/* As clamp(round_even(f), low, high), as a float.  The mantissa of f + 1.5 * 2^23 is the
 * integer plus 2^22, whatever f is; with the exponent of 2^23 it is a float again. */
INLINE vf level(vf f, int low, int high)
{
    const float middle = 12582912.0f;
    const vu bits = ((vu)(f + middle) & 0x7fffff) | 0x4b000000;
    const vf v = upper((vf)bits, splat(middle + (float)low));
    return lower(v, splat(middle + (float)high)) - middle;
}

/* Where the blocks of lanes start; without enough blocks the last one is repeated. */
INLINE vi lane_starts(int blocks, int n)
{
    vi at = { 0 };
    for (int i = 0; i < LANES; i++) at[i] = (i < blocks ? i : blocks - 1) * n;
    return at;
}

/* Element i of every lane's block. */
INLINE void spread(const float *x, vi at, int n, vf *v)
{
    for (int i = 0; i < n; i++) v[i] = gather(x + i, at);
}

/* Codes of n neighbouring values: nearest to r * (x - offset) within low..high. */
INLINE void put_codes(const float *x, int n, float r, float offset, int low, int high,
                      uint8_t *codes)
{
    for (int i = 0; i < n; i += LANES) {
        const vf l = level(r * (load(x + i) - offset), low, high);
        store_bytes(codes + i, to_whole(l - (float)low));
    }
}

/* As search_divide(). */
INLINE void lanes_divide(const float *x, int n, float d, float add, int low, int high,
                         uint8_t *codes)
{
    if (d == 0) return;
    for (int i = 0; i < n; i += LANES) {
        const vf l = level((load(x + i) + add) / d, low, high);
        store_bytes(codes + i, to_whole(l - (float)low));
    }
}

/* The value of largest magnitude of each lane, the first of equals. */
INLINE vf largest_lanes(const vf *x, int n)
{
    vf most = { 0 }, value = { 0 };
    for (int i = 0; i < n; i++) {
        const vm more = less(most, magnitude(x[i]));
        most = choose(more, magnitude(x[i]), most);
        value = choose(more, x[i], value);
    }
    return value;
}

/* ---- x ~ scale * l, l in -half..half-1 ------------------------------------ */

struct lanes_fit {
    vf a, b;
};

INLINE struct lanes_fit lanes_fit_range(const vf *x, const vf *w, const vf *wx, int n,
                                        int half, vf r)
{
    struct lanes_fit f = { { 0 }, { 0 } };
    for (int i = 0; i < n; i++) {
        const vf l = level(r * x[i], -half, half - 1);
        f.a += wx[i] * l;
        f.b += w[i] * l * l;
    }
    return f;
}

/* Up to LANES blocks; *range is the r of the codes, 0 for a block that counts as 0. */
INLINE void symmetric_lanes(const float *x_in, const float *w_in, int blocks, int n,
                            int half, vf *scale, vf *range)
{
    vf x[32], w[32], wx[32];
    const vi at = lane_starts(blocks, n);
    spread(x_in, at, n, x);
    spread(w_in, at, n, w);
    for (int i = 0; i < n; i++) wx[i] = w[i] * x[i];
    const vf m = largest_lanes(x, n), zero = { 0 };
    const vm nothing = less(magnitude(m), splat(SEARCH_EPSILON));

    vf best_r = -(float)half / m;
    struct lanes_fit f = lanes_fit_range(x, w, wx, n, half, best_r);
    vf s = choose(nonzero(f.b), f.a / f.b, zero), best = s * f.a;
    for (int t = -9; t <= 9; t++) {
        if (t == 0) continue;
        const vf r = -((float)half + 0.1f * (float)t) / m;
        f = lanes_fit_range(x, w, wx, n, half, r);
        const vm better = both(less(zero, f.b), less(best * f.b, f.a * f.a));
        best_r = choose(better, r, best_r);
        s = choose(better, f.a / f.b, s);
        best = choose(better, s * f.a, best);
    }
    *scale = choose(nothing, zero, s);
    *range = choose(nothing, zero, best_r);
}

static void lanes_symmetric(const float *x, const float *w, int blocks, int n, int half,
                            float *scale, uint8_t *codes)
{
    for (; blocks > 0; blocks -= LANES) {
        const int here = blocks < LANES ? blocks : LANES;
        vf s, range;
        if (n == 16) symmetric_lanes(x, w, here, 16, half, &s, &range);
        else symmetric_lanes(x, w, here, 32, half, &s, &range);
        for (int b = 0; b < here; b++, x += n, w += n, codes += n) {
            *scale++ = s[b];
            if (range[b] == 0) memset(codes, 0, (size_t)n);
            else put_codes(x, n, range[b], 0, -half, half - 1, codes);
        }
    }
}

/* As sweep_q3() of search.c; a lane in which nothing moves any more stays as it is. */
static bool lanes_sweep_q3(const vf *x, const vf *w, const vf *wx, struct lanes_fit *f,
                           vf *l)
{
    const vf zero = { 0 };
    bool moved = false;
    for (int i = 0; i < 16; i++) {
        vf a = f->a - wx[i] * l[i], b = f->b - w[i] * l[i] * l[i];
        const vf to = level(x[i] * b / a, -4, 3);
        const vm may = both(less(zero, a), nonzero(to - l[i]));
        a += wx[i] * to;
        b += w[i] * to * to;
        const vm move =
            both(both(may, less(zero, b)), less(f->a * f->a * b, a * a * f->b));
        if (!any(move)) continue;
        l[i] = choose(move, to, l[i]);
        f->a = choose(move, a, f->a);
        f->b = choose(move, b, f->b);
        moved = true;
    }
    return moved;
}

static void symmetric_q3_lanes(const float *x_in, int blocks, float *scale,
                               uint8_t *codes)
{
    vf x[16], w[16], wx[16], l[16];
    const vf zero = { 0 };
    spread(x_in, lane_starts(blocks, 16), 16, x);
    const vf m = largest_lanes(x, 16), r = -4.0f / m;
    const vm nothing = less(magnitude(m), splat(SEARCH_EPSILON));
    struct lanes_fit f = { { 0 }, { 0 } };
    for (int i = 0; i < 16; i++) {
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
        l[i] = level(r * x[i], -4, 3);
        f.a += wx[i] * l[i];
        f.b += w[i] * l[i] * l[i];
    }
    for (int i = 0; i < 5; i++)
        if (!lanes_sweep_q3(x, w, wx, &f, l)) break;
    const vf s = choose(nothing, zero, choose(less(zero, f.b), f.a / f.b, zero));
    for (int b = 0; b < blocks; b++) scale[b] = s[b];
    for (int i = 0; i < 16; i++) {
        const vi code = to_whole(choose(nothing, zero, l[i] + 4));
        for (int b = 0; b < blocks; b++) codes[16 * b + i] = (uint8_t)code[b];
    }
}

static void lanes_symmetric_q3(const float *x, int blocks, float *scale, uint8_t *codes)
{
    for (int b = 0; b < blocks; b += LANES)
        symmetric_q3_lanes(x + 16 * b, blocks - b < LANES ? blocks - b : LANES, scale + b,
                           codes + 16 * b);
}

/* ---- x ~ scale * l + low, l in 0..max, low <= 0 --------------------------- */

struct lanes_line {
    vf scale, low, range, offset; /* codes: nearest to range * (x - offset) */
};

struct lanes_sums {
    vf w, wx;
};

INLINE vf lanes_error(const vf *x, const vf *w, const vf *l, int n, vf scale, vf low,
                      bool absolute)
{
    vf sum = { 0 };
    for (int i = 0; i < n; i++) {
        const vf d = scale * l[i] + low - x[i];
        sum += w[i] * (absolute ? magnitude(d) : d * d);
    }
    return sum;
}

struct lanes_points {
    vf l, l2, xl; /* sums of w l, w l^2, w x l */
};

/* The codes of range r from `offset` on, and their sums. */
INLINE struct lanes_points lanes_sum_codes(const vf *x, const vf *w, int n, int max, vf r,
                                           vf offset, vf *l)
{
    struct lanes_points p = { { 0 }, { 0 }, { 0 } };
    for (int i = 0; i < n; i++) {
        l[i] = level(r * (x[i] - offset), 0, max);
        const vf wl = w[i] * l[i];
        p.l += wl;
        p.l2 += wl * l[i];
        p.xl += wl * x[i];
    }
    return p;
}

/* The line through them; true where there is one. */
INLINE vm lanes_fit_line(const struct lanes_points *p, const struct lanes_sums *sum,
                         vf *scale, vf *low)
{
    const vf zero = { 0 }, d = sum->w * p->l2 - p->l * p->l;
    const vf s = (sum->w * p->xl - sum->wx * p->l) / d,
             m = (p->l2 * sum->wx - p->l * p->xl) / d;
    const vm above = less(zero, m);
    *scale = choose(above, p->xl / p->l2, s);
    *low = choose(above, zero, m);
    return less(zero, d);
}

INLINE void affine_lanes(const float *x_in, const float *w_in, int blocks, int n,
                         bool absolute, const struct search_affine *how,
                         struct lanes_line *out)
{
    vf x[32], w[32], l[32];
    const vi at = lane_starts(blocks, n);
    spread(x_in, at, n, x);
    spread(w_in, at, n, w);
    vf low = x[0], high = x[0];
    const vf zero = { 0 };
    struct lanes_sums sum = { w[0], w[0] * x[0] };
    for (int i = 1; i < n; i++) {
        low = choose(less(x[i], low), x[i], low);
        high = choose(less(high, x[i]), x[i], high);
        sum.w += w[i];
        sum.wx += w[i] * x[i];
    }
    low = choose(less(zero, low), zero, low);
    const vm wide = less(low, high);
    const vf flat_low = low;

    vf best_r = (float)how->max / (high - low), offset = low, scale = 1 / best_r;
    for (int i = 0; i < n; i++) l[i] = level(best_r * (x[i] - low), 0, how->max);
    vf best = lanes_error(x, w, l, n, scale, low, absolute);
    for (int k = 0; k <= how->steps; k++) {
        const vf r = (how->from + how->by * (float)k + (float)how->max) / (high - low);
        const struct lanes_points p = lanes_sum_codes(x, w, n, how->max, r, low, l);
        vf s, m;
        const vm line = lanes_fit_line(&p, &sum, &s, &m);
        const vf error = lanes_error(x, w, l, n, s, m, absolute);
        const vm better = both(line, less(error, best));
        best = choose(better, error, best);
        best_r = choose(better, r, best_r);
        offset = choose(better, low, offset);
        scale = choose(better, s, scale);
        low = choose(better, m, low);
    }
    out->scale = choose(wide, scale, zero);
    out->low = choose(wide, low, flat_low);
    out->range = choose(wide, best_r, zero);
    out->offset = offset;
}

static void lanes_affine(const float *x, const float *w, int blocks, int n,
                         const struct search_affine *how, float *scale, float *min,
                         uint8_t *codes)
{
    for (; blocks > 0; blocks -= LANES) {
        const int here = blocks < LANES ? blocks : LANES;
        struct lanes_line line;
        if (n == 32) affine_lanes(x, w, here, 32, false, how, &line);
        else if (how->absolute) affine_lanes(x, w, here, 16, true, how, &line);
        else affine_lanes(x, w, here, 16, false, how, &line);
        for (int b = 0; b < here; b++, x += n, w += n, codes += n) {
            *scale++ = line.scale[b];
            *min++ = -line.low[b];
            if (line.range[b] == 0) memset(codes, 0, (size_t)n);
            else put_codes(x, n, line.range[b], line.offset[b], 0, how->max, codes);
        }
    }
}

/* ---- IQ4: uneven levels --------------------------------------------------- */

/* Levels nearest to id * x, then A = sum w q x and B = sum w q^2. */
INLINE struct lanes_fit fit_iq4_lanes(const vf *x, const vf *w, vf id)
{
    struct lanes_fit f = { { 0 }, { 0 } };
    const vf zero = { 0 };
    for (int i = 0; i < 32; i++) {
        const vf v = id * x[i];
        vf q = splat(levels_iq4_nl[0]);
        LOOP for (int k = 0; k < 15; k++)
        {
            const float step = (float)(levels_iq4_nl[k + 1] - levels_iq4_nl[k]);
            q += choose(less(v, splat(middle_iq4(k))), zero, splat(step));
        }
        const vf wq = w[i] * q;
        f.a += wq * x[i];
        f.b += wq * q;
    }
    return f;
}

static void iq4_lanes(const float *x_in, const float *w_in, int blocks, float *scale)
{
    vf x[32], w[32];
    const vi at = lane_starts(blocks, 32);
    const vf zero = { 0 };
    spread(x_in, at, 32, x);
    spread(w_in, at, 32, w);
    const float first = levels_iq4_nl[0];
    const vf m = largest_lanes(x, 32);
    struct lanes_fit f = fit_iq4_lanes(x, w, 1 / (-m / first));
    vf d = choose(less(zero, f.b), f.a / f.b, zero), best = d * f.a;
    for (int t = -7; t <= 7; t++) {
        f = fit_iq4_lanes(x, w, ((float)t + first) / m);
        const vm better = both(less(zero, f.b), less(best * f.b, f.a * f.a));
        d = choose(better, f.a / f.b, d);
        best = choose(better, d * f.a, best);
    }
    d = choose(less(magnitude(m), splat(SEARCH_EPSILON)), zero, d);
    for (int b = 0; b < blocks; b++) scale[b] = d[b];
}

static void lanes_iq4(const float *x, const float *w, int blocks, float *scale)
{
    for (int b = 0; b < blocks; b += LANES)
        iq4_lanes(x + 32 * b, w + 32 * b, blocks - b < LANES ? blocks - b : LANES,
                  scale + b);
}

static void lanes_iq4_codes(const float *x, float id, uint8_t qs[16])
{
    const vf zero = { 0 };
    uint8_t codes[32];
    for (int i = 0; i < 32; i += LANES) {
        const vf v = id * load(x + i);
        vf code = zero;
        LOOP for (int k = 0; k < 15; k++) code +=
            choose(less(v, splat(middle_iq4(k))), zero, splat(1));
        store_bytes(codes + i, to_whole(code));
    }
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(codes[i] | codes[i + 16] << 4);
}

/* ---- What encode_simple.h asks for ---------------------------------------- */

static void lanes_largest(const float *x, int blocks, float *value)
{
    for (; blocks > 0; blocks -= LANES, x += 32 * LANES) {
        vf v[32];
        spread(x, lane_starts(blocks, 32), 32, v);
        const vf most = largest_lanes(v, 32);
        for (int b = 0; b < LANES && b < blocks; b++) *value++ = most[b];
    }
}

static void lanes_extremes(const float *x, int blocks, float *low, float *high)
{
    for (; blocks > 0; blocks -= LANES, x += 32 * LANES) {
        vf v[32];
        spread(x, lane_starts(blocks, 32), 32, v);
        vf l = v[0], h = v[0];
        for (int i = 1; i < 32; i++) {
            l = choose(less(v[i], l), v[i], l);
            h = choose(less(h, v[i]), v[i], h);
        }
        for (int b = 0; b < LANES && b < blocks; b++) *low++ = l[b], *high++ = h[b];
    }
}

static void lanes_truncate(const float *x, float offset, float id, float add, int most,
                           uint8_t codes[32])
{
    for (int i = 0; i < 32; i += LANES) {
        const vu q = (vu)to_whole((load(x + i) - offset) * id + add);
        const vf low_byte = to_float((vi)(q << 24) >> 24);
        store_bytes(codes + i, to_whole(lower(low_byte, splat((float)most))));
    }
}

/* Ties away from zero.  What fits no integer has become -2^31 and stays that. */
static void lanes_round(const float *x, float id, uint8_t codes[32])
{
    const float below_half = 0x1.fffffep-2f;
    for (int i = 0; i < 32; i += LANES) {
        const vf v = load(x + i) * id, whole = to_float(to_whole(v)), rest = v - whole;
        const vf up = choose(less(splat(below_half), rest), whole + 1, whole);
        store_bytes(codes + i,
                    to_whole(choose(less(rest, splat(-below_half)), whole - 1, up)));
    }
}
