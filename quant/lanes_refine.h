/* lanes_refine.h - the kernel of refine_steps.h with a sub-block in each lane; lanes.h
 * says how.  REFINER(name) is what it is called. */
#include "refine_steps.h"

struct lanes_subs {
    vf x[32], w[32];
};

INLINE vf lanes_refined_level(vf v, const struct refine_format *f, bool uneven)
{
    if (!uneven) return level(v, f->low, f->high);
    const vf zero = { 0 };
    vf q = splat(levels_iq4_nl[0]);
    LOOP for (int k = 0; k < 15; k++)
    {
        const float step = (float)(levels_iq4_nl[k + 1] - levels_iq4_nl[k]);
        q += choose(less(v, splat(middle_iq4(k))), zero, splat(step));
    }
    return q;
}

INLINE vf lanes_inverse(vf d)
{
    const vf zero = { 0 };
    return choose(nonzero(d), 1 / d, zero);
}

INLINE vf lanes_refined_error(const struct lanes_subs *b, int n, vf d, vf m,
                              const struct refine_format *f, bool uneven)
{
    const vf inverse = lanes_inverse(d);
    vf sum = { 0 };
    for (int i = 0; i < n; i++) {
        /* cppcheck-suppress uninitvar; spread() fills it */
        const vf l = lanes_refined_level((b->x[i] + m) * inverse, f, uneven);
        const vf e = d * l - m - b->x[i];
        sum += b->w[i] * e * e;
    }
    return sum;
}

/* The best of the multiples around s->scale and s->min, into these and s->error. */
INLINE void lanes_try_steps(const struct lanes_subs *b, int n, bool uneven,
                            const struct refine_format *f, int radius, int first,
                            struct refine_subs *s)
{
    const vf d = load(s->d + first), dmin = load(s->dmin + first), zero = { 0 };
    const vf scale_at = load(s->scale + first), min_at = load(s->min + first);
    const int min_radius = f->min_high ? radius : 0;
    vf scale = scale_at, min = min_at;
    vf best = lanes_refined_error(b, n, d * scale, dmin * min, f, uneven);
    for (int i = -radius; i <= radius; i++) {
        const vf near = lower(upper(scale_at + (float)i, splat((float)f->scale_low)),
                              splat((float)f->scale_high));
        for (int j = -min_radius; j <= min_radius; j++) {
            const vf m = lower(upper(min_at + (float)j, zero), splat((float)f->min_high));
            const vf error = lanes_refined_error(b, n, d * near, dmin * m, f, uneven);
            const vm better = less(error, best);
            best = choose(better, error, best);
            scale = choose(better, near, scale);
            min = choose(better, m, min);
        }
    }
    store(s->scale + first, scale);
    store(s->min + first, min);
    store(s->error + first, best);
}

INLINE void lanes_sum_levels(const struct lanes_subs *b, int n, bool uneven,
                             const struct refine_format *f, int first,
                             struct refine_subs *s)
{
    const vf d = load(s->d + first) * load(s->scale + first),
             m = load(s->dmin + first) * load(s->min + first), inverse = lanes_inverse(d);
    vf w = { 0 }, wl = { 0 }, wll = { 0 }, wx = { 0 }, wxl = { 0 };
    for (int i = 0; i < n; i++) {
        const vf l = lanes_refined_level((b->x[i] + m) * inverse, f, uneven);
        const vf v = b->w[i] * l;
        w += b->w[i];
        wl += v;
        wll += v * l;
        wx += b->w[i] * b->x[i];
        wxl += v * b->x[i];
    }
    store(s->w + first, w);
    store(s->wl + first, wl);
    store(s->wll + first, wll);
    store(s->wx + first, wx);
    store(s->wxl + first, wxl);
}

INLINE void refine_lanes(const float *x, const float *w, int subs, int n, bool uneven,
                         const struct refine_format *f, int radius, int first,
                         struct refine_subs *s)
{
    struct lanes_subs b;
    const vi at = lane_starts(subs, n);
    spread(x, at, n, b.x);
    spread(w, at, n, b.w);
    lanes_try_steps(&b, n, uneven, f, radius, first, s);
    lanes_sum_levels(&b, n, uneven, f, first, s);
}

decl_refine_fn(REFINER(refine_steps))
{
    const int n = format->n;
    for (int first = 0; first < subs; first += LANES) {
        const float *const px = x + first * n, *const pw = w + first * n;
        const int here = subs - first < LANES ? subs - first : LANES;
        if (format->uneven)
            refine_lanes(px, pw, here, 32, true, format, radius, first, s);
        else if (n == 32) refine_lanes(px, pw, here, 32, false, format, radius, first, s);
        else refine_lanes(px, pw, here, 16, false, format, radius, first, s);
    }
}
