/* lanes_iq1.h - search_iq1.c with a block in each lane of a vector.
 *
 * A template, included after lanes_grid.h. */
#include "search_iq1.h"

/* A value's place is how many are smaller or equal and before it. */
INLINE void lanes_order(const float *x_in, int blocks, int n, uint8_t *order)
{
    vf x[32];
    vu place[32] = { { 0 } };
    const vf zero = { 0 }, one = (vf)splat_int(1);
    spread(x_in, lane_starts(blocks, n), n, x);
    for (int i = 1; i < n; i++)
        for (int j = 0; j < i; j++) {
            const vm before = less(x[i], x[j]);
            place[j] += (vu)choose(before, one, zero);
            place[i] += (vu)choose(before, zero, one);
        }
    memset(order, 0, (size_t)blocks * (size_t)n);
    for (int i = 0; i < n; i++)
        for (int b = 0; b < blocks; b++) order[n * b + (int)place[i][b]] = (uint8_t)i;
}

static void lanes_iq1_order(const float *x, int blocks, int n, uint8_t *order)
{
    for (; blocks > 0; blocks -= LANES, x += n * LANES, order += n * LANES) {
        const int here = blocks < LANES ? blocks : LANES;
        if (n == 32) lanes_order(x, here, 32, order);
        else lanes_order(x, here, 16, order);
    }
}

/* The best cut so far; `where` packs what struct iq1_cut has besides the scale. */
struct lanes_cut {
    vf scale, best;
    vu where;
};

INLINE struct lanes_cut lanes_no_cut(void)
{
    return (struct lanes_cut){ { 0 }, splat(-FLT_MAX), splat_int(~0u) };
}

INLINE void lanes_try_cut(vf a, vf b, int one, int two, unsigned down,
                          struct lanes_cut *c)
{
    const vf zero = { 0 };
    const vm more = both(less(zero, b), less(c->best * b, a * a));
    if (!any(more)) return;
    const vf scale = a / b;
    const vu where = splat_int((uint32_t)one | (uint32_t)two << 8 | down << 16);
    c->scale = choose(more, scale, c->scale);
    c->best = choose(more, scale * a, c->best);
    c->where = (vu)choose(more, (vf)where, (vf)c->where);
}

INLINE void lanes_put_cuts(const struct lanes_cut *c, int blocks, struct iq1_cut *cuts)
{
    for (int b = 0; b < blocks; b++) {
        const uint32_t w = c->where[b];
        cuts[b] =
            (struct iq1_cut){ c->scale[b], (int8_t)w, (int8_t)(w >> 8), w >> 16 & 3 };
    }
}

static void cut32_lanes(const float *x_in, const float *w_in, int blocks,
                        struct iq1_cut *cuts)
{
    const float(*v)[3] = values_iq1;
    vf x[32], w[32], sx[33] = { { 0 } }, sw[33] = { { 0 } }, ta[33][2], tb[33][2];
    const vi at = lane_starts(blocks, 32);
    struct lanes_cut c = lanes_no_cut();
    spread(x_in, at, 32, x);
    spread(w_in, at, 32, w);
    for (int j = 0; j < 32; j++) {
        sx[j + 1] = sx[j] + w[j] * x[j];
        sw[j + 1] = sw[j] + w[j];
    }
    for (int two = 0; two <= 32; two++) /* the parts of level 2 */
        LOOP for (int s = 0; s < 2; s++)
        {
            ta[two][s] = (sx[32] - sx[two]) * v[s][2];
            tb[two][s] = (sw[32] - sw[two]) * v[s][2] * v[s][2];
        }
    for (int one = 0; one <= 32; one++) {
        vf a[2], b[2];
        LOOP for (int s = 0; s < 2; s++)
        {
            a[s] = (sx[one] - sx[0]) * v[s][0];
            b[s] = (sw[one] - sw[0]) * v[s][0] * v[s][0];
        }
        for (int two = one; two <= 32; two++) {
            const vf mx = sx[two] - sx[one], mw = sw[two] - sw[one];
            LOOP for (int s = 0; s < 2; s++) lanes_try_cut(
                a[s] + mx * v[s][1] + ta[two][s],
                b[s] + mw * v[s][1] * v[s][1] + tb[two][s], one, two, 3 * s, &c);
        }
    }
    lanes_put_cuts(&c, blocks, cuts);
}

static void lanes_iq1_cut32(const float *x, const float *w, int blocks,
                            struct iq1_cut *cuts)
{
    for (int b = 0; b < blocks; b += LANES)
        cut32_lanes(x + 32 * b, w + 32 * b, blocks - b < LANES ? blocks - b : LANES,
                    cuts + b);
}

struct lanes_part {
    vf a[3][4], b[3][4];
};

struct lanes_total {
    vf a[4], b[4];
};

INLINE void lanes_make_parts(const vf *x, const vf *w, const vf *late,
                             struct lanes_part *p)
{
    for (int j = 0; j < 16; j++) LOOP for (int l = 0; l < 3; l++)
        {
            const vm second = nonzero(late[j]);
            vf a[2], b[2];
            LOOP for (int s = 0; s < 2; s++)
            {
                const vf wv = w[j] * values_iq1[s][l];
                a[s] = wv * x[j];
                b[s] = wv * values_iq1[s][l];
            }
            LOOP for (int k = 0; k < 4; k++)
            {
                p[j].a[l][k] = choose(second, a[k & 1], a[k >> 1]);
                p[j].b[l][k] = choose(second, b[k & 1], b[k >> 1]);
            }
        }
}

INLINE void lanes_add(struct lanes_total *t, const struct lanes_part *p, int l)
{
    LOOP for (int k = 0; k < 4; k++) t->a[k] += p->a[l][k];
    LOOP for (int k = 0; k < 4; k++) t->b[k] += p->b[l][k];
}

static void cut16_lanes(const float *x_in, const float *w_in, const float *late_in,
                        int blocks, struct iq1_cut *cuts)
{
    vf x[16], w[16], late[16];
    struct lanes_part p[16];
    struct lanes_cut c = lanes_no_cut();
    struct lanes_total before = { { { 0 } }, { { 0 } } };
    const vi at = lane_starts(blocks, 16);
    spread(x_in, at, 16, x);
    spread(w_in, at, 16, w);
    spread(late_in, at, 16, late);
    lanes_make_parts(x, w, late, p);
    for (int one = 0; one <= 16; one++) {
        struct lanes_total so_far = before;
        for (int two = one; two <= 16; two++) {
            struct lanes_total t = so_far;
            for (int j = two; j < 16; j++) lanes_add(&t, &p[j], 2);
            LOOP for (unsigned k = 0; k < 4; k++)
                lanes_try_cut(t.a[k], t.b[k], one, two, k, &c);
            if (two < 16) lanes_add(&so_far, &p[two], 1);
        }
        if (one < 16) lanes_add(&before, &p[one], 0);
    }
    lanes_put_cuts(&c, blocks, cuts);
}

static void lanes_iq1_cut16(const float *x, const float *w, const float *late, int blocks,
                            struct iq1_cut *cuts)
{
    for (int b = 0; b < blocks; b += LANES)
        cut16_lanes(x + 16 * b, w + 16 * b, late + 16 * b,
                    blocks - b < LANES ? blocks - b : LANES, cuts + b);
}

static unsigned lanes_iq1_point(const struct grid *grid, unsigned code, const float *x,
                                const float *w, float scale, const float value[3])
{
    static const struct grid_kind kind = { .dim = 8, .bits = 2 };
    float values[LANES];
    for (int i = 0; i < LANES; i++) values[i] = i % 4 < 3 ? value[i % 4] : 0;
    return lanes_nearest(kind, grid->lists + ~grid->where[code], x, w,
                         scale * load(values));
}
