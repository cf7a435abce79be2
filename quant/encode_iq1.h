/* encode_iq1.h - encoders of IQ1_S and IQ1_M.
 *
 * A template as encode_k.h is one; SEARCH() here has iq1_order, iq1_cut32, iq1_cut16 and
 * iq1_point, of search_iq1.h.  From the cuts the groups go to points of the grid, and the
 * scales become small integers times a binary16 for the super-block. */
#include "blocks.h"
#include "fp.h"
#include "grids.h"
#include "search.h"
#include "search_iq1.h"

#include <math.h>
#include <string.h>

/* What was found for a block.  `down` has a bit for each half: shifted down, bit 0 for
 * the first. */
struct iq1_fit {
    float scale; /* 0: nothing found */
    unsigned down;
    unsigned index[4];
};

/* ---- From cuts to points ---------------------------------------------------- */

/* The value of weight i's level. */
static inline float value_iq1(const uint16_t *code, int n, unsigned down, int i)
{
    return values_iq1[down >> i / (n / 2) & 1][code[i / 8] >> 2 * (i % 8) & 3];
}

/* Move groups to points of the grid; if there were any to move, fit the scale again. */
static void points_iq1(const struct grid *grid, const float *x, const float *w, int n,
                       float *scale, unsigned down, uint16_t *code)
{
    bool moved = false;
    for (int g = 0; g < n / 8; g++) {
        if (grid_has(grid, code[g])) continue;
        code[g] = (uint16_t)SEARCH(iq1_point)(grid, code[g], x + 8 * g, w + 8 * g, *scale,
                                              values_iq1[down >> g / (n / 16) & 1]);
        moved = true;
    }
    if (!moved) return;
    float a = 0, b = 0;
    for (int i = 0; i < n; i++) {
        const float q = value_iq1(code, n, down, i), wq = w[i] * q;
        a += wq * x[i];
        b += wq * q;
    }
    if (a > 0 && b > 0) *scale = a / b;
}

static void fit_iq1(const struct grid *grid, const float *x, const float *w, int n,
                    const uint8_t *order, const struct iq1_cut *c, struct iq1_fit *f)
{
    uint16_t code[4] = { 0 };
    const bool flip = c->scale < 0;
    f->scale = flip ? -c->scale : c->scale;
    f->down = (c->down >> 1 | (c->down & 1) << 1) ^ (flip ? 3 : 0);
    for (int j = 0; j < n; j++) {
        const int l = j < c->one ? 0 : j < c->two ? 1 : 2, i = order[j];
        code[i / 8] |= (uint16_t)((flip ? 2 - l : l) << 2 * (i % 8));
    }
    points_iq1(grid, x, w, n, &f->scale, f->down, code);
    for (int g = 0; g < n / 8; g++) f->index[g] = grid_index(grid, code[g]);
}

/* All blocks of n weights of up to two super-blocks; a largest magnitude below `zero`
 * counts as 0. */
static void fits_iq1(const float *x, const float *w, int blocks, int n, float zero,
                     struct iq1_fit *fits)
{
    const struct grid *grid = grid_get(GRID_IQ1);
    float sorted_x[2 * QK_K], sorted_w[2 * QK_K], late[2 * QK_K];
    uint8_t order[2 * QK_K];
    struct iq1_cut cuts[32];
    SEARCH(iq1_order)(x, blocks, n, order);
    for (int j = 0; j < blocks * n; j++) {
        const int i = j / n * n + order[j];
        sorted_x[j] = x[i];
        sorted_w[j] = w[i];
        late[j] = order[j] >= n / 2 ? 1 : 0;
    }
    if (n == 32) SEARCH(iq1_cut32)(sorted_x, sorted_w, blocks, cuts);
    else SEARCH(iq1_cut16)(sorted_x, sorted_w, late, blocks, cuts);
    for (int b = 0; b < blocks; b++, x += n, w += n) {
        fits[b] = (struct iq1_fit){ 0 };
        if (cuts[b].one >= 0 && !(fabsf(largest(x, n)) < zero))
            fit_iq1(grid, x, w, n, order + n * b, &cuts[b], &fits[b]);
    }
}

/* ---- The super-block -------------------------------------------------------- */

static float most_iq1(const struct iq1_fit *f, int n)
{
    float most = 0;
    for (int j = 0; j < n; j++)
        if (!(most > f[j].scale)) most = f[j].scale;
    return most;
}

/* The scale 2 * code + 1 in units of 1 / id. */
static unsigned scale_iq1(float id, float scale)
{
    return (unsigned)clamp(round_even(0.5f * (id * scale - 1)), 0, 7);
}

static void weights_iq1(const float *x, const float *weights, float *w)
{
    if (weights) importance(x, weights, QK_K, 2 * sum_of_squares(x, QK_K) / QK_K, w);
    else
        for (int i = 0; i < QK_K; i++) w[i] = x[i] * x[i];
}

static void store_iq1_s(const struct iq1_fit *f, struct block_iq1_s *b)
{
    for (int j = 0; j < 8; j++)
        for (int g = 0; g < 4; g++) {
            b->qs[4 * j + g] = (uint8_t)f[j].index[g];
            b->qh[j] |= (uint16_t)(f[j].index[g] >> 8 << 3 * g);
        }
    const float most = most_iq1(f, 8);
    if (most == 0) return;
    const float d = most / 15, id = 1 / d;
    b->d = f32_to_f16(d * 1.125f);
    for (int j = 0; j < 8; j++)
        b->qh[j] |=
            (uint16_t)(scale_iq1(id, f[j].scale) << 12 | (f[j].down ? 0x8000 : 0));
}

/* With all codes chosen, the scale that fits the whole super-block best. */
static float refit_iq1(const struct iq1_fit *f, const unsigned *code, const float *x,
                       const float *w, float d)
{
    float a = 0, b = 0;
    for (int j = 0; j < 16; j++) {
        uint16_t points[2];
        for (int g = 0; g < 2; g++) points[g] = grid_iq1[f[j].index[g]];
        for (int i = 0; i < 16; i++) {
            const float q = value_iq1(points, 16, f[j].down, i) *
                            (float)(2 * code[j] + 1),
                        wq = w[16 * j + i] * q;
            a += wq * x[16 * j + i];
            b += wq * q;
        }
    }
    return b > 0 ? a / b : d;
}

static void store_iq1_m(const struct iq1_fit *f, const float *x, const float *w,
                        struct block_iq1_m *b)
{
    unsigned code[16];
    for (int k = 0; k < 32; k++) {
        const unsigned index = f[k / 2].index[k & 1];
        b->qs[k] = (uint8_t)index;
        b->qh[k / 2] |= (uint8_t)(index >> 8 << 4 * (k & 1));
    }
    const float most = most_iq1(f, 16);
    if (most == 0) return;
    const float d = most / 15, id = 1 / d;
    for (int j = 0; j < 16; j++) {
        code[j] = scale_iq1(id, f[j].scale);
        b->scales[j / 4] |= (uint16_t)(code[j] << 3 * (j % 4));
        b->qh[j] |= (uint8_t)((f[j].down & 1) << 3 | (f[j].down >> 1) << 7);
    }
    const unsigned h = f32_to_f16(refit_iq1(f, code, x, w, d) * 1.1125f);
    for (int k = 0; k < 4; k++) b->scales[k] |= (uint16_t)((h >> 4 * k & 15) << 12);
}

/* Two super-blocks at once, to give vectors more to do. */
decl_encode_fn(ENCODER(iq1_s))
{
    struct block_iq1_s *b = dst;
    for (size_t i = 0; i < n; i += 2 * QK_K) {
        float w[2 * QK_K];
        struct iq1_fit fits[16];
        const int blocks = n - i < 2 * QK_K ? 1 : 2;
        for (int k = 0; k < blocks; k++)
            weights_iq1(x + i + QK_K * k, weights + i + QK_K * k, w + QK_K * k);
        fits_iq1(x + i, w, 8 * blocks, 32, 1e-12f, fits);
        for (int k = 0; k < blocks; k++, b++) {
            memset(b, 0, sizeof *b);
            store_iq1_s(fits + 8 * k, b);
        }
    }
}

decl_encode_fn(ENCODER(iq1_m))
{
    struct block_iq1_m *b = dst;
    for (size_t i = 0; i < n; i += QK_K, b++) {
        float w[QK_K];
        struct iq1_fit fits[16];
        weights_iq1(x + i, weights ? weights + i : NULL, w);
        fits_iq1(x + i, w, 16, 16, 1e-7f, fits);
        memset(b, 0, sizeof *b);
        store_iq1_m(fits, x + i, w, b);
    }
}
