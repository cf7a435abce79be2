/* refine.c - the search for better scales: the same bits as plain C. */
#include "check.h"

#include "../../quant/refine_blocks.h"

#include "../../libgguf/libgguf.h"

#include <string.h>

enum { WEIGHTS = 512 };

/* Weights of the size that the scales give them; some count nothing. */
static void fill(float *x, float *w, struct refine_subs *s, const struct refine_format *f)
{
    const int steps = f->scale_high - f->scale_low + 1;
    memset(s, 0, sizeof *s);
    for (int j = 0; j < REFINE_SUBS; j++) {
        s->d[j] = 0.01f * check_rnd_normal();
        s->dmin[j] = f->min_high ? 0.002f * check_rnd_normal() : 0;
        s->scale[j] = (float)(f->scale_low + (int)(check_rnd() % (unsigned)steps));
        s->min[j] = f->min_high ? (float)(check_rnd() % (unsigned)(f->min_high + 1)) : 0;
    }
    for (int i = 0; i < WEIGHTS; i++) {
        x[i] = check_rnd_normal() * (float)f->high * s->d[i / f->n % REFINE_SUBS] * 8;
        w[i] = check_rnd() % 8 ? check_rnd_normal() * check_rnd_normal() : 0;
        if (w[i] < 0) w[i] = -w[i];
    }
}

static void check_subs(refine_fn fn, refine_fn ref, const struct refine_format *f,
                       int subs, int radius, const struct area *in)
{
    struct refine_subs a, b;
    const size_t n = (size_t)subs * (size_t)f->n;
    float x[WEIGHTS], w[WEIGHTS];
    fill(x, w, &a, f);
    float *edge = area_place(in, 2 * n * sizeof *edge, 1); /* nothing is read beyond */
    memcpy(edge, w, n * sizeof *edge);
    memcpy(edge + n, x, n * sizeof *edge);
    b = a;
    ref(x, w, subs, f, radius, &a);
    fn(edge + n, edge, subs, f, radius, &b);
    for (int j = 0; j < subs; j++) {
        const float p[] = { a.scale[j], a.min[j], a.error[j], a.w[j],
                            a.wl[j],    a.wll[j], a.wx[j],    a.wxl[j] };
        const float q[] = { b.scale[j], b.min[j], b.error[j], b.w[j],
                            b.wl[j],    b.wll[j], b.wx[j],    b.wxl[j] };
        if (memcmp(p, q, sizeof p))
            check_fail("%d sub-blocks, radius %d: number %d differs", subs, radius, j);
    }
}

static void check_kind(const struct refine_kind *k)
{
    const struct refine_format *f = &k->format;
    const refine_fn fn = refine_steps();
    const refine_fn ref =
        (refine_fn)check_begin((check_fn)fn, "refine_%s", ggf_type_name(k->type));
    if (!ref) return;
    struct area in = area_new(2 * WEIGHTS * sizeof(float));
    const int full = f->n == 32 ? 16 : REFINE_SUBS, step = full / (f->n == 32 ? 2 : 1);
    for (int round = 0; round < 20 && fn != ref; round++)
        for (int subs = step; subs <= full; subs += step)
            for (int radius = 0; radius <= 4 && !check_failed(); radius++)
                check_subs(fn, ref, f, subs, radius, &in);
    area_free(&in);
    float x[WEIGHTS], w[WEIGHTS];
    struct refine_subs s;
    fill(x, w, &s, f);
    bench_begin(sizeof x);
    bench_unit("w", full * f->n);
    while (bench_more()) fn(x, w, full, f, 1, &s);
    check_end();
}

void check_refine(void)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
        if (refine_kind(type)) check_kind(refine_kind(type));
}
