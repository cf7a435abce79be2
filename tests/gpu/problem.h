/* problem.h - random matrices and activations, and products with them in double precision
 * with how far from them the device may be. */
#ifndef TESTS_GPU_PROBLEM_H
#define TESTS_GPU_PROBLEM_H

#include "../../infer/ops/matrix.h"
#include "../../quant/act.h"
#include "../../quant/decode.h"
#include "../kernels/check.h"
#include "gpu_suite.h"

#include <float.h>
#include <math.h>

/* Types that a test goes through. */
static inline uint32_t problem_types(uint32_t types[GGF_TYPE_COUNT])
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < GGF_TYPE_COUNT; t++)
        if (ggf_type_info(t) && gpu_type(t)) types[n++] = t;
    return n;
}

/* A matrix here and on the device, and its weights as floats times the scale; scale 0:
 * one that makes products with activations of about 1 about 1. */
struct problem_matrix {
    struct gpu_matrix m;
    uint8_t *bytes;
    float *w;
};

static inline struct problem_matrix problem_matrix_of(gpu *g, uint32_t type, uint32_t n,
                                                      uint32_t rows, float scale,
                                                      enum row_pattern pattern)
{
    struct problem_matrix p = {
        .m = { .type = type, .n = n, .rows = rows, .scale = scale }
    };
    p.m.row_bytes = (size_t)ggf_row_bytes(type, n);
    p.bytes = malloc(p.m.row_bytes * rows);
    p.w = malloc((size_t)n * rows * sizeof *p.w);
    ck_assert(p.bytes && p.w);
    for (uint32_t r = 0; r < rows; r++) {
        fill_row(type, p.bytes + r * p.m.row_bytes, n, pattern);
        decode_for(type)(p.bytes + r * p.m.row_bytes, p.w + (size_t)r * n, n);
    }
    if (scale == 0) {
        double square = 0;
        for (size_t i = 0; i < (size_t)n * rows; i++)
            square += (double)p.w[i] * (double)p.w[i];
        p.m.scale = scale = (float)sqrt(rows / square);
    }
    for (size_t i = 0; i < (size_t)n * rows; i++) p.w[i] *= scale;
    p.m.data_d = gpu_memory(g, p.bytes, p.m.row_bytes * rows);
    return p;
}
static inline struct problem_matrix problem_matrix_new(gpu *g, uint32_t type, uint32_t n,
                                                       uint32_t rows, float scale)
{
    return problem_matrix_of(g, type, n, rows, scale, ROW_RANDOM);
}
static inline void problem_matrix_free(gpu *g, struct problem_matrix *p)
{
    gpu_free(g, (void *)(uintptr_t)p->m.data_d);
    free(p->bytes);
    free(p->w);
}

static inline bool is_float_type(uint32_t type)
{
    return type == GGF_F32 || type == GGF_F16 || type == GGF_BF16;
}

/* The form of activations that a type is multiplied with on the device. */
static inline enum act_kind problem_form(uint32_t type)
{
    if (is_float_type(type)) return ACT_F32;
    return ggf_type_info(type)->block > 32 ? ACT_Q8_K : ACT_Q8_0;
}

/* Activations here and there, encoded; rounded: what the codes of a form stand for, if n
 * is a multiple of its blocks. */
struct problem_acts {
    struct gpu_acts a;
    float *x, *rounded[ACT_KINDS];
};
static inline void problem_round(enum act_kind form, const float *x, uint32_t n,
                                 float *rounded)
{
    struct act_block *b = malloc(act_bytes(form, n));
    ck_assert_ptr_nonnull(b);
    act_encode(form, x, n, b);
    for (uint32_t i = 0; i < n; i++)
        rounded[i] = (float)b[i / ACT_BLOCK].q[i % ACT_BLOCK] *
                     b[i / ACT_BLOCK].d[i % ACT_BLOCK / 32];
    free(b);
}
static inline struct problem_acts problem_acts_new(gpu *g, const float *x, uint32_t n,
                                                   uint32_t tokens)
{
    struct problem_acts p = { .a = { .n = n, .tokens = tokens } };
    const size_t bytes = (size_t)n * tokens * sizeof *p.x;
    p.x = malloc(bytes);
    ck_assert_ptr_nonnull(p.x);
    for (size_t i = 0; i < (size_t)n * tokens; i++)
        p.x[i] = x ? x[i] : check_rnd_normal() * (float)(1 + i / 32 % 3);
    for (int form = ACT_Q8_0; form <= ACT_Q8_K; form++) {
        if (form == ACT_Q8_K && n % ACT_BLOCK) continue;
        p.rounded[form] = malloc(bytes);
        ck_assert_ptr_nonnull(p.rounded[form]);
        for (uint32_t t = 0; t < tokens; t++)
            problem_round((enum act_kind)form, p.x + (size_t)t * n, n,
                          p.rounded[form] + (size_t)t * n);
    }
    p.a.x_d = gpu_memory(g, p.x, bytes);
    p.a.q_d = gpu_memory(g, NULL, gpu_acts_bytes(n, tokens));
    gpu_encode(g, &p.a);
    return p;
}
static inline void problem_acts_free(gpu *g, struct problem_acts *p)
{
    gpu_free(g, (void *)(uintptr_t)p->a.x_d);
    gpu_free(g, p->a.q_d);
    free(p->x);
    for (int form = 0; form < ACT_KINDS; form++) free(p->rounded[form]);
}

/* Token t as weights of a type are multiplied with it. */
static inline const float *problem_token(const struct problem_acts *p, uint32_t type,
                                         uint32_t t)
{
    const float *all = is_float_type(type) ? p->x : p->rounded[problem_form(type)];
    return all + (size_t)t * p->a.n;
}

/* The product of n weights and activations.  *bound: how far sums of floats may be from
 * it.  The mins that some types subtract may be larger than what is left, hence the 4. */
static inline double problem_dot(const float *w, const float *v, uint32_t n,
                                 double *bound)
{
    double sum = 0, magnitude = 0;
    for (uint32_t b = 0; b < n; b += 32) {
        double max = 0, weights = 0;
        for (uint32_t i = b; i < b + 32; i++) {
            max = fmax(max, fabs((double)v[i]));
            weights += fabs((double)w[i]);
            sum += (double)w[i] * (double)v[i];
        }
        magnitude += weights * max;
    }
    *bound = 4 * FLT_EPSILON * (n / 32.0 + 16) * magnitude;
    return sum;
}

/* The same row as the kernels of the host multiply it, for types that they encode
 * activations for: to be had from the device bit by bit. */
static inline float problem_exact(const struct problem_matrix *m, uint32_t row,
                                  const float *x)
{
    const enum act_kind form = problem_form(m->m.type);
    void *q = malloc(act_bytes(form, m->m.n));
    float y;
    ck_assert_ptr_nonnull(q);
    act_encode(form, x, m->m.n, q);
    mul_for(m->m.type, form)(&y, 1, m->bytes + row * m->m.row_bytes, m->m.row_bytes, 1, q,
                             0, 1, m->m.n);
    free(q);
    return y * m->m.scale;
}

#endif
