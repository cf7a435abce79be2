/* search.c - see search.h.
 *
 * The parts over n values are inlined with n a constant, so that the compiler can use
 * SIMD for what is not a sum.  Instead of keeping the codes of the best range, its two
 * numbers are kept and the codes made anew at the end. */
#include "search.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
enum { MAX_N = 32 };

/* l = the integer nearest to r * (x - offset), in low..high. */
ALWAYS_INLINE void make_levels(const float *x, int n, float r, float offset, int low,
                               int high, float *l)
{
    for (int i = 0; i < n; i++)
        l[i] = (float)clamp(round_even(r * (x[i] - offset)), low, high);
}

static void store_codes(const float *l, int n, int add, uint8_t *codes)
{
    for (int i = 0; i < n; i++) codes[i] = (uint8_t)((int)l[i] + add);
}

/* ---- x ~ scale * l, l in -half..half-1 ------------------------------------ */

/* What decides about a scale: with A = sum w x l and B = sum w l^2 the best scale for
 * levels l is A / B, and the error falls with A^2 / B. */
struct fit {
    float a, b;
};

ALWAYS_INLINE struct fit fit_levels(const float *wx, const float *w, const float *l,
                                    int n)
{
    struct fit f = { 0, 0 };
    for (int i = 0; i < n; i++) {
        f.a += wx[i] * l[i];
        f.b += w[i] * l[i] * l[i];
    }
    return f;
}

ALWAYS_INLINE float symmetric_n(const float *x, const float *w, int n, int half,
                                uint8_t *codes)
{
    const float m = largest(x, n);
    if (fabsf(m) < SEARCH_EPSILON) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float wx[MAX_N], l[MAX_N];
    for (int i = 0; i < n; i++) wx[i] = w[i] * x[i];

    float best_r = -(float)half / m;
    make_levels(x, n, best_r, 0, -half, half - 1, l);
    struct fit f = fit_levels(wx, w, l, n);
    float scale = f.b != 0 ? f.a / f.b : 0, best = scale * f.a;
    for (int t = -9; t <= 9; t++) {
        if (t == 0) continue;
        const float r = -((float)half + 0.1f * (float)t) / m;
        make_levels(x, n, r, 0, -half, half - 1, l);
        f = fit_levels(wx, w, l, n);
        if (f.b > 0 && f.a * f.a > best * f.b) {
            best_r = r;
            scale = f.a / f.b;
            best = scale * f.a;
        }
    }
    make_levels(x, n, best_r, 0, -half, half - 1, l);
    store_codes(l, n, half, codes);
    return scale;
}

void search_symmetric(const float *x, const float *w, int blocks, int n, int half,
                      float *scale, uint8_t *codes)
{
    for (int b = 0; b < blocks; b++, x += n, w += n, codes += n)
        scale[b] = n == 16 ? symmetric_n(x, w, 16, half, codes)
                           : symmetric_n(x, w, 32, half, codes);
}

/* Move one code after the other to where it is best with the others fixed.  True if any
 * has moved. */
static bool sweep_q3(const float *x, const float *w, struct fit *f, float *l)
{
    bool moved = false;
    for (int i = 0; i < 16; i++) {
        float a = f->a - w[i] * x[i] * l[i];
        if (!(a > 0)) continue;
        float b = f->b - w[i] * l[i] * l[i];
        const float to = (float)clamp(round_even(x[i] * b / a), -4, 3);
        if (to == l[i]) continue;
        a += w[i] * x[i] * to;
        b += w[i] * to * to;
        if (b > 0 && a * a * f->b > f->a * f->a * b) {
            l[i] = to;
            *f = (struct fit){ a, b };
            moved = true;
        }
    }
    return moved;
}

static float symmetric_q3(const float *x, uint8_t *codes)
{
    const float m = largest(x, 16);
    if (fabsf(m) < SEARCH_EPSILON) {
        memset(codes, 0, 16);
        return 0;
    }
    float w[16], wx[16], l[16];
    for (int i = 0; i < 16; i++) {
        w[i] = x[i] * x[i];
        wx[i] = w[i] * x[i];
    }
    make_levels(x, 16, -4.0f / m, 0, -4, 3, l);
    struct fit f = fit_levels(wx, w, l, 16);
    for (int i = 0; i < SEARCH_SWEEPS; i++)
        if (!sweep_q3(x, w, &f, l)) break;
    store_codes(l, 16, 4, codes);
    return f.b > 0 ? f.a / f.b : 0;
}

void search_symmetric_q3(const float *x, int blocks, float *scale, uint8_t *codes)
{
    for (int b = 0; b < blocks; b++, x += 16, codes += 16)
        scale[b] = symmetric_q3(x, codes);
}

/* ---- x ~ scale * l + low, l in 0..max, low <= 0 --------------------------- */

ALWAYS_INLINE float affine_error(const float *x, const float *w, const float *l, int n,
                                 float scale, float low, bool absolute)
{
    float e[MAX_N], sum = 0;
    for (int i = 0; i < n; i++) {
        const float d = scale * l[i] + low - x[i];
        e[i] = w[i] * (absolute ? fabsf(d) : d * d);
    }
    for (int i = 0; i < n; i++) sum += e[i];
    return sum;
}

/* The least-squares line through the points (l, x); low <= 0.  False if there is none. */
ALWAYS_INLINE bool fit_line(const float *x, const float *w, const float *l, int n,
                            float sum_w, float sum_wx, float *scale, float *low)
{
    float sl = 0, sl2 = 0, sxl = 0;
    for (int i = 0; i < n; i++) {
        const float wl = w[i] * l[i];
        sl += wl;
        sl2 += wl * l[i];
        sxl += wl * x[i];
    }
    const float d = sum_w * sl2 - sl * sl;
    if (!(d > 0)) return false;
    *scale = (sum_w * sxl - sum_wx * sl) / d;
    *low = (sl2 * sum_wx - sl * sxl) / d;
    if (*low > 0) {
        *low = 0;
        *scale = sxl / sl2;
    }
    return true;
}

ALWAYS_INLINE float affine_n(const float *x, const float *w, int n,
                             const struct search_affine *how, float *min, uint8_t *codes)
{
    float low = x[0], high = x[0], sum_w = w[0], sum_wx = w[0] * x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
        sum_w += w[i];
        sum_wx += w[i] * x[i];
    }
    if (low > 0) low = 0;
    if (high <= low) {
        memset(codes, 0, (size_t)n);
        *min = -low;
        return 0;
    }
    float l[MAX_N], best_r = (float)how->max / (high - low), best_offset = low;
    float scale = 1 / best_r;
    make_levels(x, n, best_r, low, 0, how->max, l);
    float best = affine_error(x, w, l, n, scale, low, how->absolute);
    for (int k = 0; k <= how->steps; k++) {
        /* The range starts at the lowest value found best so far. */
        const float r = (how->from + how->by * (float)k + (float)how->max) / (high - low);
        float s, m;
        make_levels(x, n, r, low, 0, how->max, l);
        if (!fit_line(x, w, l, n, sum_w, sum_wx, &s, &m)) continue;
        const float error = affine_error(x, w, l, n, s, m, how->absolute);
        if (error < best) {
            best = error;
            best_r = r;
            best_offset = low;
            scale = s;
            low = m;
        }
    }
    make_levels(x, n, best_r, best_offset, 0, how->max, l);
    store_codes(l, n, 0, codes);
    *min = -low;
    return scale;
}

void search_affine(const float *x, const float *w, int blocks, int n,
                   const struct search_affine *how, float *scale, float *min,
                   uint8_t *codes)
{
    for (int b = 0; b < blocks; b++, x += n, w += n, codes += n)
        scale[b] = n == 16 ? affine_n(x, w, 16, how, &min[b], codes)
                           : affine_n(x, w, 32, how, &min[b], codes);
}

/* ---- Codes for a scale that is known -------------------------------------- */

void search_divide(const float *x, int n, float d, float add, int low, int high,
                   uint8_t *codes)
{
    if (d == 0) return;
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)(clamp(round_even((x[i] + add) / d), low, high) - low);
}

/* ---- v ~ scale * code, code in 0..max ------------------------------------- */

static float positive_error(const float *v, const float *w, int n, int max, float r)
{
    const float s = 1 / r;
    float error = 0;
    for (int i = 0; i < n; i++) {
        const int l = round_even(r * v[i]);
        const float d = v[i] - s * (float)(l < max ? l : max);
        error += w[i] * d * d;
    }
    return error;
}

/* The first range is tried with codes as they come out of the rounding, in a byte. */
static float positive_first_error(const float *v, const float *w, int n, float r)
{
    const float s = 1 / r;
    float error = 0;
    for (int i = 0; i < n; i++) {
        const float d = v[i] - s * (float)(uint8_t)round_even(r * v[i]);
        error += w[i] * d * d;
    }
    return error;
}

static bool sweep_positive(const float *v, const float *w, int n, int max, struct fit *f,
                           uint8_t *codes)
{
    bool moved = false;
    for (int i = 0; i < n; i++) {
        const float l = (float)codes[i];
        float a = f->a - w[i] * v[i] * l;
        float b = f->b - w[i] * l * l;
        if (!(a > 0 && b > 0)) continue;
        int to = round_even(v[i] * b / a);
        if (to > max) to = max;
        if (to == codes[i]) continue;
        a += w[i] * v[i] * (float)to;
        b += w[i] * (float)to * (float)to;
        if (a * a * f->b > f->a * f->a * b) {
            codes[i] = (uint8_t)to;
            *f = (struct fit){ a, b };
            moved = true;
        }
    }
    return moved;
}

float search_positive(const float *v, const float *w, int n, int max, uint8_t *codes)
{
    float high = 0;
    for (int i = 0; i < n; i++)
        if (v[i] > high) high = v[i];
    if (high < SEARCH_EPSILON) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    float best_r = (float)max / high;
    float best = positive_first_error(v, w, n, best_r);
    for (int t = -4; t <= 4; t++) {
        if (t == 0) continue;
        const float r = (0.1f * (float)t + (float)max) / high;
        const float error = positive_error(v, w, n, max, r);
        if (error < best) {
            best = error;
            best_r = r;
        }
    }
    struct fit f = { 0, 0 };
    for (int i = 0; i < n; i++) {
        int l = round_even(best_r * v[i]);
        if (l > max) l = max;
        codes[i] = (uint8_t)l;
        f.a += w[i] * v[i] * (float)l;
        f.b += w[i] * (float)l * (float)l;
    }
    for (int i = 0; i < SEARCH_SWEEPS; i++)
        if (!sweep_positive(v, w, n, max, &f, codes)) break;
    return f.b > 0 ? f.a / f.b : 0;
}
