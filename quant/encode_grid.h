/* encode_grid.h - encoders of IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S.
 *
 * A template as encode_k.h is one; SEARCH() here has grid, of search_grid.h.  From the
 * fits of all sub-blocks the scales become small integers times a binary16 for the
 * super-block. Two super-blocks are fitted at once, to give vectors more to do. */
#include "blocks.h"
#include "fp.h"
#include "search.h"
#include "search_grid.h"

#include <string.h>

/* The weights of errors: by importance, or without these by size. */
static void weights_grid(const struct grid_kind *k, const float *x, const float *weights,
                         float *w)
{
    const float sigma2 = k->sigma * sum_of_squares(x, QK_K) / QK_K;
    const float base = k->base > 0 ? k->base * sigma2 : 0;
    if (weights) importance(x, weights, QK_K, sigma2, w);
    else
        for (int i = 0; i < QK_K; i++) w[i] = base + x[i] * x[i];
}

static void fit_grid(enum grid_id id, const float *x, const float *weights, int blocks,
                     struct grid_fit fits[32])
{
    const struct grid_kind *k = &grid_kinds[id];
    float w[2 * QK_K];
    for (int b = 0; b < blocks; b++)
        weights_grid(k, x + QK_K * b, weights ? weights + QK_K * b : NULL, w + QK_K * b);
    SEARCH(grid)(id, x, w, blocks * (QK_K / k->n), fits);
}

/* The largest scale is 31 times that of the super-block, which is returned as it is
 * stored; the others are odd multiples.  False if all are 0. */
static bool scales_grid(enum grid_id id, const struct grid_fit *f, uint16_t *d,
                        uint8_t codes[16])
{
    const struct grid_kind *k = &grid_kinds[id];
    const int n = QK_K / k->n;
    float most = 0;
    for (int j = 0; j < n; j++)
        if (!(most > f[j].scale)) most = f[j].scale;
    if (most == 0) return false;
    const float unit = most / 31, inverse = 1 / unit;
    *d = f32_to_f16(unit * k->fudge);
    for (int j = 0; j < n; j++)
        codes[j] = (uint8_t)clamp(round_even(0.5f * (inverse * f[j].scale - 1)), 0, 15);
    return true;
}

/* Two scales of 4 bits in a byte. */
static void pack_scales_grid(const uint8_t *codes, int n, uint8_t *scales)
{
    for (int j = 0; j < n; j += 2)
        scales[j / 2] = (uint8_t)(codes[j] | codes[j + 1] << 4);
}

/* Four times 7 signs and a scale. */
static uint32_t signs_and_scale(const uint8_t signs[4], unsigned scale)
{
    return (signs[0] & 127u) | (signs[1] & 127u) << 7 | (signs[2] & 127u) << 14 |
           (signs[3] & 127u) << 21 | scale << 28;
}

static void store_iq2_xxs(const struct grid_fit *f, struct block_iq2_xxs *b)
{
    uint8_t scale[16];
    uint16_t d;
    if (!scales_grid(GRID_IQ2_XXS, f, &d, scale)) return;
    b->d = d;
    for (int j = 0; j < 8; j++) {
        const unsigned *i = f[j].index;
        b->qs[2 * j] = i[0] | i[1] << 8 | i[2] << 16 | i[3] << 24;
        b->qs[2 * j + 1] = signs_and_scale(f[j].signs, scale[j]);
    }
}

static void store_iq2_xs(const struct grid_fit *f, struct block_iq2_xs *b)
{
    uint8_t scale[16];
    uint16_t d;
    if (!scales_grid(GRID_IQ2_XS, f, &d, scale)) return;
    b->d = d;
    pack_scales_grid(scale, 16, b->scales);
    for (int k = 0; k < 32; k++) {
        const struct grid_fit *s = &f[k / 2];
        b->qs[k] = (uint16_t)(s->index[k & 1] | (s->signs[k & 1] & 127u) << 9);
    }
}

static void store_iq2_s(const struct grid_fit *f, struct block_iq2_s *b)
{
    uint8_t scale[16];
    uint16_t d;
    if (!scales_grid(GRID_IQ2_S, f, &d, scale)) return;
    b->d = d;
    pack_scales_grid(scale, 16, b->scales);
    for (int k = 0; k < 32; k++) {
        const unsigned index = f[k / 2].index[k & 1];
        b->qs[k] = (uint8_t)index;
        b->qh[k / 4] |= (uint8_t)(index >> 8 << 2 * (k & 3));
        b->signs[k] = f[k / 2].signs[k & 1];
    }
}

static void store_iq3_xxs(const struct grid_fit *f, struct block_iq3_xxs *b)
{
    uint8_t scale[16];
    uint16_t d;
    if (!scales_grid(GRID_IQ3_XXS, f, &d, scale)) return;
    b->d = d;
    for (int j = 0; j < 8; j++) {
        for (int g = 0; g < 8; g++) b->qs[8 * j + g] = (uint8_t)f[j].index[g];
        b->signs[j] = signs_and_scale(f[j].signs, scale[j]);
    }
}

/* llama.cpp leaves sub-blocks of zeros out of the indices and signs, so that those after
 * them come too early and decode wrong; `leave_out` does that too. */
static void store_iq3_s_as(const struct grid_fit *f, bool leave_out,
                           struct block_iq3_s *b)
{
    uint8_t scale[16];
    uint16_t d;
    if (!scales_grid(GRID_IQ3_S, f, &d, scale)) return;
    b->d = d;
    pack_scales_grid(scale, 8, b->scales);
    for (int j = 0, slot = 0; j < 8; j++) {
        if (f[j].zero && leave_out) continue;
        for (int g = 0; g < 8; g++) {
            b->qs[8 * slot + g] = (uint8_t)f[j].index[g];
            b->qh[j] |= (uint8_t)(f[j].index[g] >> 8 << g);
        }
        memcpy(b->signs + 4 * slot++, f[j].signs, 4);
    }
}

static void store_iq3_s(const struct grid_fit *f, struct block_iq3_s *b)
{
    store_iq3_s_as(f, false, b);
}

static void store_iq3_s_compat(const struct grid_fit *f, struct block_iq3_s *b)
{
    store_iq3_s_as(f, true, b);
}

#define ENCODE_GRID_ROWS(name, layout, id)                                               \
    decl_encode_fn(ENCODER(name))                                                        \
    {                                                                                    \
        struct block_##layout *b = dst;                                                  \
        for (size_t i = 0; i < n; i += 2 * QK_K) {                                       \
            struct grid_fit fits[32];                                                    \
            const int blocks = n - i < 2 * QK_K ? 1 : 2;                                 \
            fit_grid(id, x + i, weights ? weights + i : NULL, blocks, fits);             \
            for (int k = 0; k < blocks; k++, b++) {                                      \
                memset(b, 0, sizeof *b);                                                 \
                store_##name(fits + k * (QK_K / grid_kinds[id].n), b);                   \
            }                                                                            \
        }                                                                                \
    }
ENCODE_GRID_ROWS(iq2_xxs, iq2_xxs, GRID_IQ2_XXS)
ENCODE_GRID_ROWS(iq2_xs, iq2_xs, GRID_IQ2_XS)
ENCODE_GRID_ROWS(iq2_s, iq2_s, GRID_IQ2_S)
ENCODE_GRID_ROWS(iq3_xxs, iq3_xxs, GRID_IQ3_XXS)
ENCODE_GRID_ROWS(iq3_s, iq3_s, GRID_IQ3_S)
ENCODE_GRID_ROWS(iq3_s_compat, iq3_s, GRID_IQ3_S)
