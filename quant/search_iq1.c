/* search_iq1.c - see search_iq1.h.
 *
 * All sums start at the first weight and round after each operation, as in search.h. */
#include "search_iq1.h"

#include <float.h>
#include <string.h>

void search_iq1_order(const float *x, int blocks, int n, uint8_t *order)
{
    for (int b = 0; b < blocks; b++, x += n, order += n)
        for (int i = 0; i < n; i++) {
            int at = i;
            for (; at > 0 && x[i] < x[order[at - 1]]; at--) order[at] = order[at - 1];
            order[at] = (uint8_t)i;
        }
}

static inline void try_cut(float a, float b, int one, int two, unsigned down, float *best,
                           struct iq1_cut *c)
{
    if (!(b > 0 && a * a > *best * b)) return;
    *c = (struct iq1_cut){ a / b, one, two, down };
    *best = c->scale * a;
}

/* Sums are differences of running ones, of w x and of w. */
static void cut32(const float *x, const float *w, struct iq1_cut *c)
{
    float sx[33] = { 0 }, sw[33] = { 0 }, best = -FLT_MAX;
    for (int j = 0; j < 32; j++) {
        sx[j + 1] = sx[j] + w[j] * x[j];
        sw[j + 1] = sw[j] + w[j];
    }
    *c = (struct iq1_cut){ 0, -1, -1, 0 };
    for (int one = 0; one <= 32; one++)
        for (int two = one; two <= 32; two++)
            for (unsigned s = 0; s < 2; s++) {
                const float *v = values_iq1[s];
                const float a = (sx[one] - sx[0]) * v[0] + (sx[two] - sx[one]) * v[1] +
                                (sx[32] - sx[two]) * v[2];
                const float b = (sw[one] - sw[0]) * v[0] * v[0] +
                                (sw[two] - sw[one]) * v[1] * v[1] +
                                (sw[32] - sw[two]) * v[2] * v[2];
                try_cut(a, b, one, two, 3 * s, &best, c);
            }
}

void search_iq1_cut32(const float *x, const float *w, int blocks, struct iq1_cut *cuts)
{
    for (int b = 0; b < blocks; b++) cut32(x + 32 * b, w + 32 * b, &cuts[b]);
}

/* A sorted weight's part in both sums, for each level and the four ways to shift two
 * halves. */
struct part {
    float a[3][4], b[3][4];
};

static void make_parts(const float *x, const float *w, const float *late, struct part *p)
{
    for (int j = 0; j < 16; j++)
        for (int l = 0; l < 3; l++)
            for (int k = 0; k < 4; k++) {
                const float v = values_iq1[late[j] > 0 ? k & 1 : k >> 1][l];
                p[j].a[l][k] = w[j] * v * x[j];
                p[j].b[l][k] = w[j] * v * v;
            }
}

struct total {
    float a[4], b[4];
};

static inline void add(struct total *t, const struct part *p, int level)
{
    for (int k = 0; k < 4; k++) t->a[k] += p->a[level][k];
    for (int k = 0; k < 4; k++) t->b[k] += p->b[level][k];
}

static void cut16(const struct part *p, struct iq1_cut *c)
{
    struct total before = { { 0 }, { 0 } }; /* `one` */
    float best = -FLT_MAX;
    *c = (struct iq1_cut){ 0, -1, -1, 0 };
    for (int one = 0; one <= 16; one++) {
        struct total so_far = before; /* up to `two` */
        for (int two = one; two <= 16; two++) {
            struct total t = so_far;
            for (int j = two; j < 16; j++) add(&t, &p[j], 2);
            for (unsigned k = 0; k < 4; k++)
                try_cut(t.a[k], t.b[k], one, two, k, &best, c);
            if (two < 16) add(&so_far, &p[two], 1);
        }
        if (one < 16) add(&before, &p[one], 0);
    }
}

void search_iq1_cut16(const float *x, const float *w, const float *late, int blocks,
                      struct iq1_cut *cuts)
{
    for (int b = 0; b < blocks; b++, x += 16, w += 16, late += 16) {
        struct part p[16];
        make_parts(x, w, late, p);
        cut16(p, &cuts[b]);
    }
}

unsigned search_iq1_point(const struct grid *grid, unsigned code, const float *x,
                          const float *w, float scale, const float value[3])
{
    float cost[32] = { 0 };
    for (int i = 0; i < 8; i++)
        for (int l = 0; l < 3; l++) {
            const float d = scale * value[l] - x[i];
            cost[4 * i + l] = w[i] * d * d;
        }
    return grid_nearest(grid, code, cost);
}
