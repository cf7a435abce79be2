/* refine.c - see refine.h. */
#include "refine.h"

#include "blocks.h"
#include "decode.h"
#include "fp.h"
#include "grids.h"
#include "refine_blocks.h"
#include "search.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include "x86/refine.h"
#endif

/* ---- The kernel in plain C -------------------------------------------------- */

/* The code of v, a weight over its scale; from format->low. */
static int nearest(float v, const struct refine_format *f)
{
    if (!f->uneven) return clamp(round_even(v), f->low, f->high);
    int k = 0;
    for (int step = 8; step; step /= 2)
        if (!(v < middle_iq4(k + step - 1))) k += step;
    return k;
}

static float refined_level(float v, const struct refine_format *f)
{
    const int code = nearest(v, f);
    return f->uneven ? levels_iq4_nl[code] : (float)code;
}

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

static float refined_error(const float *x, const float *w, const struct refine_format *f,
                           float d, float m)
{
    const float id = inverse(d);
    float sum = 0;
    for (int i = 0; i < f->n; i++) {
        const float e = d * refined_level((x[i] + m) * id, f) - m - x[i];
        sum += w[i] * e * e;
    }
    return sum;
}

static void try_steps(const float *x, const float *w, const struct refine_format *f,
                      int radius, int b, struct refine_subs *s)
{
    const int scale = (int)s->scale[b], min = (int)s->min[b];
    const int min_radius = f->min_high ? radius : 0;
    s->error[b] = refined_error(x, w, f, s->d[b] * s->scale[b], s->dmin[b] * s->min[b]);
    for (int i = -radius; i <= radius; i++)
        for (int j = -min_radius; j <= min_radius; j++) {
            const float near = (float)clamp(scale + i, f->scale_low, f->scale_high),
                        m = (float)clamp(min + j, 0, f->min_high);
            const float error = refined_error(x, w, f, s->d[b] * near, s->dmin[b] * m);
            if (!(error < s->error[b])) continue;
            s->error[b] = error;
            s->scale[b] = near;
            s->min[b] = m;
        }
}

static void sum_levels(const float *x, const float *w, const struct refine_format *f,
                       int b, struct refine_subs *s)
{
    const float m = s->dmin[b] * s->min[b], id = inverse(s->d[b] * s->scale[b]);
    s->w[b] = s->wl[b] = s->wll[b] = s->wx[b] = s->wxl[b] = 0;
    for (int i = 0; i < f->n; i++) {
        const float l = refined_level((x[i] + m) * id, f), wl = w[i] * l;
        s->w[b] += w[i];
        s->wl[b] += wl;
        s->wll[b] += wl * l;
        s->wx[b] += w[i] * x[i];
        s->wxl[b] += wl * x[i];
    }
}

static decl_refine_fn(refine_steps_c)
{
    for (int b = 0; b < subs; b++, x += format->n, w += format->n) {
        try_steps(x, w, format, radius, b, s);
        sum_levels(x, w, format, b, s);
    }
}

refine_fn refine_steps(void)
{
    refine_fn f = refine_steps_c;
#if defined(__x86_64__)
    refine_init_x86(&f);
#endif
    return f;
}

/* ---- The descent -------------------------------------------------------------- */

/* Super-blocks that are refined at once, so many that the kernel's lanes are full. */
struct group {
    const struct refine_kind *kind;
    decode_fn decode;
    const float *x, *w; /* [256, blocks] */
    int blocks, subs;   /* subs: in each super-block */
    struct super super[2];
    struct refine_subs s;
};

static void set_d(const struct group *g, int block, uint16_t d, uint16_t dmin,
                  struct refine_subs *s)
{
    for (int j = g->subs * block; j < g->subs * (block + 1); j++) {
        s->d[j] = f16_to_f32(d);
        s->dmin[j] = f16_to_f32(dmin);
    }
}

static void load_super(struct group *g, int block, const void *stored)
{
    struct super *u = &g->super[block];
    *u = (struct super){ 0 };
    g->kind->unpack(stored, u);
    set_d(g, block, u->d, u->dmin, &g->s);
    for (int j = 0; j < g->subs; j++) {
        g->s.scale[g->subs * block + j] = (float)(u->scale[j] - g->kind->zero);
        g->s.min[g->subs * block + j] = u->min[j];
    }
}

/* The d and dmin with the least error for the codes: of f(d, m) = sum w (d a - m b - x)^2
 * where a = scale * l and b = min.  False if there is none. */
static bool fit(const struct group *g, int block, uint16_t *d, uint16_t *dmin)
{
    const struct refine_subs *s = &g->s;
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int j = g->subs * block; j < g->subs * (block + 1); j++) {
        const double scale = (double)s->scale[j], min = (double)s->min[j];
        aa += scale * scale * (double)s->wll[j];
        ab += scale * min * (double)s->wl[j];
        bb += min * min * (double)s->w[j];
        ax += scale * (double)s->wxl[j];
        bx += min * (double)s->wx[j];
    }
    const double det = aa * bb - ab * ab;
    double m = 0;
    if (!(aa > 0)) return false;
    if (det > 1e-9 * aa * bb) m = (ab * ax - aa * bx) / det;
    if (!(m > 0)) m = 0;
    *d = f32_to_f16((float)((ax + m * ab) / aa));
    *dmin = f32_to_f16((float)m);
    return true;
}

static float error_of(const struct group *g, int block, const struct refine_subs *s)
{
    float sum = 0;
    for (int j = g->subs * block; j < g->subs * (block + 1); j++) sum += s->error[j];
    return sum;
}

/* Fit d and dmin where that helps. */
static void fit_all(struct group *g, refine_fn steps)
{
    struct refine_subs trial = g->s;
    struct super super[2] = { g->super[0], g->super[1] };
    for (int b = 0; b < g->blocks; b++)
        if (fit(g, b, &super[b].d, &super[b].dmin))
            set_d(g, b, super[b].d, super[b].dmin, &trial);
    steps(g->x, g->w, g->blocks * g->subs, &g->kind->format, 0, &trial);
    for (int b = 0; b < g->blocks; b++) {
        if (!(error_of(g, b, &trial) < error_of(g, b, &g->s))) continue;
        g->super[b] = super[b];
        set_d(g, b, super[b].d, super[b].dmin, &g->s);
    }
}

static void choose_codes(const struct group *g, int block, uint8_t codes[QK_K])
{
    const struct refine_format *f = &g->kind->format;
    const float *x = g->x + QK_K * block;
    for (int j = g->subs * block; j < g->subs * (block + 1); j++, x += f->n) {
        const float m = g->s.dmin[j] * g->s.min[j],
                    id = inverse(g->s.d[j] * g->s.scale[j]);
        for (int i = 0; i < f->n; i++)
            *codes++ = (uint8_t)(nearest((x[i] + m) * id, f) - f->low);
    }
}

/* As decoders see it. */
static double stored_error(const struct group *g, int block, const void *stored)
{
    float y[QK_K];
    double sum = 0;
    g->decode(stored, y, QK_K);
    for (int i = 0; i < QK_K; i++) {
        const double e = (double)g->x[QK_K * block + i] - (double)y[i];
        sum += (double)g->w[QK_K * block + i] * e * e;
    }
    return sum;
}

static void store_super(struct group *g, int block, uint8_t *stored)
{
    uint8_t codes[QK_K], packed[sizeof(struct block_q6_k)];
    struct super *u = &g->super[block];
    for (int j = 0; j < g->subs; j++) {
        u->scale[j] = (uint8_t)((int)g->s.scale[g->subs * block + j] + g->kind->zero);
        u->min[j] = (uint8_t)g->s.min[g->subs * block + j];
    }
    choose_codes(g, block, codes);
    g->kind->pack(u, codes, packed);
    if (stored_error(g, block, packed) < stored_error(g, block, stored))
        memcpy(stored, packed, g->kind->bytes);
}

void refine_weights(const float *x, const float *weights, float w[256])
{
    const float sigma2 = 2 * sum_of_squares(x, QK_K) / QK_K;
    for (int i = 0; i < QK_K; i++)
        w[i] = (weights ? weights[i] : 1) * sqrtf(sigma2 + x[i] * x[i]);
}

bool refine_takes(uint32_t type) { return refine_kind(type); }

/* One or two super-blocks from `stored` on. */
static void refine_group(struct group *g, int level, refine_fn steps, uint8_t *stored)
{
    const int radius = level == 1 ? 1 : 4, rounds = level == 1 ? 2 : 3;
    const size_t bytes = g->kind->bytes;
    for (int b = 0; b < g->blocks; b++) load_super(g, b, stored + bytes * (size_t)b);
    for (int r = 0; r < rounds; r++) {
        steps(g->x, g->w, g->blocks * g->subs, &g->kind->format, radius, &g->s);
        fit_all(g, steps);
    }
    for (int b = 0; b < g->blocks; b++) store_super(g, b, stored + bytes * (size_t)b);
}

void refine_row(uint32_t type, int level, const float *x, size_t n, const float *weights,
                void *row)
{
    const struct refine_kind *k = refine_kind(type);
    if (!k || !level) return;
    const refine_fn steps = refine_steps();
    struct group g = { .kind = k,
                       .decode = decode_for(type),
                       .subs = QK_K / k->format.n };
    const int most = REFINE_SUBS / g.subs;
    float w[2 * QK_K];
    uint8_t *stored = row;
    for (size_t i = 0; i < n; i += QK_K * (size_t)g.blocks) {
        const size_t left = (n - i) / QK_K;
        g.blocks = left < (size_t)most ? (int)left : most;
        g.x = x + i;
        g.w = w;
        for (int b = 0; b < g.blocks; b++)
            refine_weights(g.x + QK_K * b,
                           weights ? weights + i + QK_K * (size_t)b : NULL, w + QK_K * b);
        refine_group(&g, level, steps, stored);
        stored += k->bytes * (size_t)g.blocks;
    }
}
