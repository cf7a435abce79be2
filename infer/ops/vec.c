/* vec.c - the C kernels, and the choice among the variants. */
#include "vec.h"
#include "silu.h"
#include "../../quant/cpu.h"

#include <math.h>

#if defined(__x86_64__)
#include "x86/vec.h"
#elif defined(__aarch64__)
#include "arm/vec.h"
#endif

static decl_dot_fn(dot_c)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static decl_axpy_fn(axpy_c)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

static decl_scale_fn(scale_c)
{
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

static decl_max_fn(max_c)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    return max;
}

static decl_mix_fn(mix_c)
{
    for (size_t i = 0; i < rows; i++) axpy_c(y, p[i], v + i * n, n);
}

static decl_rms_norm_fn(rms_norm_c)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    const float scale = 1.0f / sqrtf((float)(sum / (double)n) + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
}

static decl_exp_sum_fn(exp_sum_c)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - shift);
    return (float)sum;
}

static decl_silu_mul_fn(silu_mul_c)
{
    for (size_t i = 0; i < n; i++) y[i] = silu_times(g[i], x[i]);
}

static decl_sigm_mul_fn(sigm_mul_c)
{
    for (size_t i = 0; i < n; i++) y[i] *= sigmoid(g[i]);
}

static decl_conv_fn(conv_c)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (size_t k = 0; k < taps; k++) sum += w[k * w_stride + i] * x[k][i];
        y[i] = sum * sigmoid(sum);
    }
}

/* With the old S: p = decay S^T k, and since the update adds k d^T,
 * S_new^T q = decay S^T q + d (k.q).  So one pass over S reads and one writes. */
static void delta_columns(const struct delta_run *run, float *s, size_t stride, size_t c)
{
    enum { COLUMNS = 8 };
    const size_t dim = run->dim;
    for (size_t t = 0; t < run->tokens; t++) {
        const float *q = run->q + t * dim, *k = run->k + t * dim;
        const float decay = run->decay[t], kq = dot_c(k, q, dim);
        float p[COLUMNS] = { 0 }, r[COLUMNS] = { 0 }, d[COLUMNS];
        for (size_t i = 0; i < dim; i++)
            for (int j = 0; j < COLUMNS; j++) {
                p[j] += s[i * stride + j] * k[i];
                r[j] += s[i * stride + j] * q[i];
            }
        for (int j = 0; j < COLUMNS; j++) {
            d[j] = run->beta[t] * (run->v[t * run->v_stride + c + j] - decay * p[j]);
            run->o[t * run->o_stride + c + j] = run->scale * (decay * r[j] + d[j] * kq);
        }
        for (size_t i = 0; i < dim; i++)
            for (int j = 0; j < COLUMNS; j++)
                s[i * stride + j] = decay * s[i * stride + j] + k[i] * d[j];
    }
}

static decl_delta_fn(delta_c)
{
    for (size_t c = 0; c < run->dim; c += 8) {
        const size_t panel = c / DELTA_PANEL * DELTA_PANEL, rest = run->dim - panel;
        delta_columns(run, run->s + panel * run->dim + c % DELTA_PANEL,
                      rest < DELTA_PANEL ? rest : DELTA_PANEL, c);
    }
}

void vec_ops_init(struct vec_ops *ops)
{
    *ops = (struct vec_ops){
        .dot = dot_c,
        .axpy = axpy_c,
        .scale = scale_c,
        .max = max_c,
        .mix = mix_c,
        .rms_norm = rms_norm_c,
        .exp_sum = exp_sum_c,
        .silu_mul = silu_mul_c,
        .sigm_mul = sigm_mul_c,
        .conv = conv_c,
        .delta = delta_c,
    };
#if defined(__x86_64__)
    vec_ops_init_x86(ops, cpu_flags());
#elif defined(__aarch64__)
    vec_ops_init_arm(ops, cpu_flags());
#endif
}

void l2_norm(const struct vec_ops *ops, float *x, size_t n, float eps)
{
    ops->scale(x, 1.0f / fmaxf(sqrtf(ops->dot(x, x, n)), eps), n);
}

void softmax(const struct vec_ops *ops, float *x, size_t n)
{
    const float sum = ops->exp_sum(x, ops->max(x, n), n);
    ops->scale(x, 1.0f / sum, n);
}

float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

float softplus(float x) { return x > 20.0f ? x : logf(1.0f + expf(x)); }
