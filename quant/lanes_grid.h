/* lanes_grid.h - search_grid.c with a sub-block in each lane of a vector.
 *
 * A template, included after lanes.h.  Only looking for the nearest point of a grid is
 * done for one group at a time: there the lanes are candidates.  Each adds up its cost in
 * the order of grid_nearest(), and the first of the smallest is taken.
 *
 * What the includer defines besides:
 *
 *   gather_int(p, index)  p[index] for each lane, int32_t
 *   load_short(p)         LANES neighbouring uint16_t as a vu
 *   root(a)               square roots
 *   negative(a)           a bit for each lane of a vi: less than 0
 *   same(a, b)            a bit for each lane: equal numbers
 *   below(n)              a vm: the first n lanes
 *   smallest(a)           the smallest number of all lanes, in each
 *   pick4(t, i), pick8(t, i)  t[i] by the low 2 or 3 bits of i, of a table of 4 or 8
 * floats that is repeated over the lanes of t */
#include "search_grid.h"

#include <float.h>

struct lanes_sub {
    vf x[32], w[32], wx[32];
    /* Block by block. */
    float magnitude[32 * LANES], root[32 * LANES];
};

INLINE vu splat_int(uint32_t i) { return i - (vu){ 0 }; }

INLINE vu lane_numbers(void)
{
    vu v = { 0 };
    for (int i = 0; i < LANES; i++) v[i] = (uint32_t)i;
    return v;
}

/* m has all bits of a lane or none. */
INLINE vu take(vu m, vu a, vu b) { return (a & m) | (b & ~m); }

/* What LANES points cost; cost has for each coordinate what its levels do. */
INLINE vf lanes_cost(const struct grid_kind k, const vf *cost, vu code)
{
    vf sum = k.bits == 2 ? pick4(cost[0], code) : pick8(cost[0], code);
    LOOP for (int i = 1; i < k.dim; i++)
    {
        code >>= k.bits;
        sum += k.bits == 2 ? pick4(cost[i], code) : pick8(cost[i], code);
    }
    return sum;
}

/* The place in `list`, of n, of what costs least.  Most lists are short. */
INLINE unsigned lanes_least(const struct grid_kind k, const uint16_t *list, int n,
                            const vf *cost)
{
    const vf none = splat(FLT_MAX);
    const vf sum = lanes_cost(k, cost, load_short(list));
    vf least = choose(both(below(n), less(sum, none)), sum, none);
    if (n <= LANES) return (unsigned)__builtin_ctz(same(least, smallest(least)));
    const vu lane = lane_numbers();
    vu at = lane;
    for (int c = LANES; c < n; c += LANES) {
        const vf more = lanes_cost(k, cost, load_short(list + c));
        const vm better = both(below(n - c), less(more, least));
        least = choose(better, more, least);
        at = (vu)choose(better, (vf)(lane + (uint32_t)c), (vf)at);
    }
    uint32_t place[LANES];
    memcpy(place, &at, sizeof at);
    unsigned equal = same(least, smallest(least));
    unsigned first = place[__builtin_ctz(equal)];
    while (equal &= equal - 1)
        if (place[__builtin_ctz(equal)] < first) first = place[__builtin_ctz(equal)];
    return first;
}

/* As grid_nearest().  x and root are the group's; value[i] is what level i means, again
 * and again. */
INLINE unsigned lanes_nearest(const struct grid_kind k, const uint16_t *list,
                              const float *x, const float *root, vf value)
{
    vf cost[8];
    LOOP for (int i = 0; i < k.dim; i++)
    {
        const vf d = value - x[i];
        cost[i] = root[i] * d * d;
    }
    return list[1 + lanes_least(k, list + 1, list[0], cost)];
}

/* The levels of a group, packed. */
INLINE vu lanes_code(const struct grid_kind k, const vf *x, vf id)
{
    vu code = { 0 };
    LOOP for (int i = 0; i < k.dim; i++)
    {
        const vf l = level(0.5f * (id * x[i] - 1), 0, k.levels - 1);
        code |= (vu)to_whole(l) << k.bits * i;
    }
    return code;
}

/* Points for the groups of which `which` has a bit; of lanes not in `live` any.  Returns
 * the bits of those whose levels were none. */
INLINE vu lanes_points_of(const struct grid_kind k, const struct grid *grid,
                          const struct lanes_sub *s, vf id, vf scale, vu which,
                          unsigned live, vu *code)
{
    vu off = { 0 };
    float scales[LANES];
    memcpy(scales, &scale, sizeof scale);
    const vf odd = to_float((vi)((lane_numbers() & ((1u << k.bits) - 1)) * 2 + 1));
    for (int g = 0; g < k.n / k.dim; g++) {
        const vu wanted = (vu)((vi)(which << (31 - g)) < 0);
        vu c = lanes_code(k, s->x + k.dim * g, id);
        const vi where = gather_int(grid->where, (vi)c);
        const vi out = where & (vi)wanted;
        off |= (vu)out >> 31 << g;
        uint32_t codes[LANES];
        int32_t lists[LANES];
        memcpy(codes, &c, sizeof c);
        memcpy(lists, &where, sizeof where);
        for (unsigned left = negative(out) & live; left; left &= left - 1) {
            const int j = __builtin_ctz(left), at = j * k.n + k.dim * g;
            codes[j] = lanes_nearest(k, grid->lists + ~lists[j], s->magnitude + at,
                                     s->root + at, scales[j] * odd);
        }
        memcpy(&c, codes, sizeof c);
        code[g] = take(wanted, c, code[g]);
    }
    return off;
}

/* A and B of search_grid.c. */
INLINE struct lanes_fit lanes_sums_of(const struct grid_kind k, const struct lanes_sub *s,
                                      const vu *code)
{
    const unsigned mask = (1u << k.bits) - 1;
    struct lanes_fit f = { { 0 }, { 0 } };
    LOOP for (int i = 0; i < k.n; i++)
    {
        const vu l = code[i / k.dim] >> k.bits * (i % k.dim) & mask;
        const vf q = to_float((vi)(l * 2 + 1));
        f.a += s->wx[i] * q;
        f.b += s->w[i] * q * q;
    }
    return f;
}

INLINE vf lanes_search(const struct grid_kind k, const struct grid *grid,
                       const struct lanes_sub *s, vf scale, vf most, unsigned live,
                       vu *code)
{
    const vu all = splat_int((1u << k.n / k.dim) - 1), none = { 0 };
    const float top = (float)(2 * k.levels - 1);
    const vf zero = { 0 };
    vu off = k.refine == REFINE_OFF ? none : all;
    vf best = zero;
    struct lanes_fit f;
    for (int t = -k.tries; t <= k.tries; t++) {
        vu c[8];
        const vf id = (top + k.step * (float)t) / most;
        const vu o = lanes_points_of(k, grid, s, id, 1 / id, all, live, c);
        f = lanes_sums_of(k, s, c);
        const vm better = both(less(zero, f.b), less(best * f.b, f.a * f.a));
        scale = choose(better, f.a / f.b, scale);
        best = choose(better, scale * f.a, best);
        off = (vu)choose(better, (vf)o, (vf)off);
        for (int g = 0; g < k.n / k.dim; g++)
            code[g] = (vu)choose(better, (vf)c[g], (vf)code[g]);
    }
    if (k.refine == REFINE_ALL) off = (vu)(off != 0) & all;
    if (k.refine == REFINE_ALWAYS) off = all;
    off = (vu)choose(less(zero, scale), (vf)off, (vf)none);
    lanes_points_of(k, grid, s, 1 / scale, scale, off, live, code);
    f = lanes_sums_of(k, s, code);
    const vf again = choose(less(zero, f.b), f.a / f.b, scale);
    return (vf)take((vu)(off != 0), (vu)again, (vu)scale);
}

/* ---- As search_positive(), without the codes -------------------------------- */

/* As a byte, as a float. */
INLINE vf to_byte(vf whole) { return to_float(to_whole(whole) & 255); }

INLINE vf round_below(vf f, int max) { return level(f, -(1 << 22), max); }

INLINE vf lanes_positive_error(const vf *v, const vf *w, int n, int max, vf r, bool first)
{
    const vf s = 1 / r;
    vf error = { 0 };
    for (int i = 0; i < n; i++) {
        const vf l = first ? to_byte(round_below(r * v[i], (1 << 22) - 1))
                           : round_below(r * v[i], max);
        const vf d = v[i] - s * l;
        error += w[i] * d * d;
    }
    return error;
}

INLINE bool lanes_sweep_positive(const vf *v, const vf *w, int n, int max,
                                 struct lanes_fit *f, vf *l)
{
    const vf zero = { 0 };
    bool moved = false;
    for (int i = 0; i < n; i++) {
        vf a = f->a - w[i] * v[i] * l[i], b = f->b - w[i] * l[i] * l[i];
        const vf to = round_below(v[i] * b / a, max);
        const vm may = both(both(less(zero, a), less(zero, b)), nonzero(to - l[i]));
        a += w[i] * v[i] * to;
        b += w[i] * to * to;
        const vm move = both(may, less(f->a * f->a * b, a * a * f->b));
        if (!any(move)) continue;
        l[i] = choose(move, to_byte(to), l[i]);
        f->a = choose(move, a, f->a);
        f->b = choose(move, b, f->b);
        moved = true;
    }
    return moved;
}

INLINE vf lanes_positive(const vf *v, const vf *w, int n, int max)
{
    const vf zero = { 0 };
    vf high = zero, l[32];
    for (int i = 0; i < n; i++) high = choose(less(high, v[i]), v[i], high);
    vf best_r = (float)max / high;
    vf best = lanes_positive_error(v, w, n, max, best_r, true);
    for (int t = -4; t <= 4; t++) {
        if (t == 0) continue;
        const vf r = (0.1f * (float)t + (float)max) / high;
        const vf error = lanes_positive_error(v, w, n, max, r, false);
        const vm better = less(error, best);
        best = choose(better, error, best);
        best_r = choose(better, r, best_r);
    }
    struct lanes_fit f = { { 0 }, { 0 } };
    for (int i = 0; i < n; i++) {
        const vf to = round_below(best_r * v[i], max);
        l[i] = to_byte(to);
        f.a += w[i] * v[i] * to;
        f.b += w[i] * to * to;
    }
    for (int i = 0; i < SEARCH_SWEEPS; i++)
        if (!lanes_sweep_positive(v, w, n, max, &f, l)) break;
    const vf s = choose(less(zero, f.b), f.a / f.b, zero);
    return choose(less(high, splat(SEARCH_EPSILON)), zero, s);
}

/* ---- Sub-blocks ------------------------------------------------------------- */

INLINE void lanes_load(const struct grid_kind k, const float *x, const float *w,
                       int blocks, struct lanes_sub *s, uint8_t signs[][4])
{
    const vi at = lane_starts(blocks, k.n);
    for (int j = 0; j < blocks; j++)
        split_signs(&k, x + k.n * j, w + k.n * j, s->magnitude + k.n * j, signs[j]);
    for (int i = 0; i < k.n * blocks; i += LANES) store(s->root + i, root(load(w + i)));
    spread(s->magnitude, at, k.n, s->x);
    spread(w, at, k.n, s->w);
    for (int i = 0; i < k.n; i++) s->wx[i] = s->w[i] * s->x[i];
}

/* Up to LANES sub-blocks. */
INLINE void lanes_fit_grid(enum grid_id id, const float *x, const float *w, int blocks,
                           struct grid_fit *f)
{
    const struct grid_kind k = grid_kinds[id];
    const struct grid *grid = grid_get(id);
    struct lanes_sub s;
    uint8_t signs[LANES][4];
    vu code[8] = { { 0 } };
    lanes_load(k, x, w, blocks, &s, signs);
    vf most = s.x[0];
    for (int i = 1; i < k.n; i++) most = choose(less(most, s.x[i]), s.x[i], most);
    unsigned live = 0;
    for (int j = 0; j < blocks; j++)
        live |= (unsigned)!(k.zero > 0 ? most[j] < k.zero : most[j] == 0) << j;
    vf scale = most / (float)(2 * k.levels - 1);
    if (k.positive) {
        scale = lanes_positive(s.x, s.w, k.n, k.levels + 1);
        most = scale * (float)k.levels;
        for (int j = 0; j < blocks; j++) live &= ~((unsigned)(most[j] <= 0) << j);
    }
    scale = lanes_search(k, grid, &s, scale, most, live, code);
    for (int j = 0; j < blocks; j++, f++) {
        *f = (struct grid_fit){ .zero = true };
        if (!(live >> j & 1)) continue;
        f->zero = false;
        f->scale = fabsf(scale[j]);
        for (int g = 0; g < k.n / k.dim; g++) f->index[g] = grid_index(grid, code[g][j]);
        for (int g = 0; g < k.n / 8; g++)
            f->signs[g] = signs[j][g] ^ (uint8_t)(scale[j] < 0 ? 0xff : 0);
    }
}

INLINE void lanes_fit_all(enum grid_id id, const float *x, const float *w, int blocks,
                          struct grid_fit *f)
{
    const int n = grid_kinds[id].n;
    for (int b = 0; b < blocks; b += LANES)
        lanes_fit_grid(id, x + n * b, w + n * b, blocks - b < LANES ? blocks - b : LANES,
                       f + b);
}

static void lanes_grid(enum grid_id id, const float *x, const float *w, int blocks,
                       struct grid_fit *f)
{
    switch (id) {
    case GRID_IQ2_XXS: lanes_fit_all(GRID_IQ2_XXS, x, w, blocks, f); break;
    case GRID_IQ2_XS: lanes_fit_all(GRID_IQ2_XS, x, w, blocks, f); break;
    case GRID_IQ2_S: lanes_fit_all(GRID_IQ2_S, x, w, blocks, f); break;
    case GRID_IQ3_XXS: lanes_fit_all(GRID_IQ3_XXS, x, w, blocks, f); break;
    default: lanes_fit_all(GRID_IQ3_S, x, w, blocks, f); break;
    }
}
