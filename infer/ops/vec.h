/* vec.h - float32 kernels of the forward pass, one table of them for each instruction
 * set.
 *
 * The C versions are the specification.  Variants may add in another order, so results
 * differ by rounding between levels, but for one level a result depends on nothing but
 * the arguments.  exp() inside is good to 2 units in the last place; results too small
 * for a normal float may become 0.  silu_mul has the same bits at all levels, those of
 * silu.h, so that it does not matter who computed an expert. */
#ifndef INFER_OPS_VEC_H
#define INFER_OPS_VEC_H

#include <stddef.h>
#include <stdint.h>

enum { DELTA_PANEL = 16 };

/* One head of the gated delta rule, for a run of tokens in order:
 *
 *     S <- decay S;  p = S^T k;  d = beta (v - p);  S <- S + k d^T;  o = scale S^T q
 *
 * S[i][j] is dim x dim, i along the key and j along the value; dim is a multiple of 8.
 * It lies in panels of DELTA_PANEL columns, each panel row by row (the last panel may be
 * narrower), so that some columns of all rows are a piece of memory that fits a cache
 * whatever its sets.  Token t has its q and k at t * dim, its v at t * v_stride and its o
 * at t * o_stride; o may be v, with the same stride.  What a token gives does not depend
 * on how a text is cut into runs. */
struct delta_run {
    float *s;
    const float *q, *k, *v, *decay, *beta;
    float *o;
    size_t dim, tokens, v_stride, o_stride;
    float scale;
};

#define decl_dot_fn(name)   float(name)(const float *x, const float *y, size_t n)
#define decl_axpy_fn(name)  void(name)(float *y, float a, const float *x, size_t n)
#define decl_scale_fn(name) void(name)(float *x, float a, size_t n)
#define decl_max_fn(name)   float(name)(const float *x, size_t n)
#define decl_mix_fn(name)                                                                \
    void(name)(float *y, const float *p, const float *v, size_t rows, size_t n)
#define decl_rms_norm_fn(name)                                                           \
    void(name)(float *y, const float *x, const float *w, size_t n, float eps)
#define decl_exp_sum_fn(name) float(name)(float *x, float shift, size_t n)
#define decl_silu_mul_fn(name)                                                           \
    void(name)(float *y, const float *x, const float *g, size_t n)
#define decl_sigm_mul_fn(name) void(name)(float *y, const float *g, size_t n)
#define decl_conv_fn(name)                                                               \
    void(name)(float *y, const float *const *x, const float *w, size_t w_stride,         \
               size_t taps, size_t n)
#define decl_delta_fn(name) void(name)(const struct delta_run *run)

struct vec_ops {
    decl_dot_fn(*dot);           /* sum of x y */
    decl_axpy_fn(*axpy);         /* y += a x */
    decl_scale_fn(*scale);       /* x *= a */
    decl_max_fn(*max);           /* the largest x that is a number, or -INFINITY */
    decl_mix_fn(*mix);           /* y += sum over rows i of p[i] v[i * n ...] */
    decl_rms_norm_fn(*rms_norm); /* y = x w / sqrt(mean(x^2) + eps); y may be x */
    decl_exp_sum_fn(*exp_sum);   /* x = exp(x - shift); returns their sum */
    decl_silu_mul_fn(*silu_mul); /* y = x silu(g); y may be x or g */
    decl_sigm_mul_fn(*sigm_mul); /* y = y sigmoid(g) */
    /* y = silu(sum over k of w[k * w_stride + i] x[k][i]): a causal convolution of
     * depth `taps`, the oldest input first */
    decl_conv_fn(*conv);
    decl_delta_fn(*delta);
};

/* The fastest that cpu_flags() allows. */
void vec_ops_init(struct vec_ops *ops);

/* x / max(sqrt(sum of x^2), eps) */
void l2_norm(const struct vec_ops *ops, float *x, size_t n, float eps);
/* In place. */
void softmax(const struct vec_ops *ops, float *x, size_t n);
float sigmoid(float x);
/* x above 20, else log(1 + exp(x)) */
float softplus(float x);

#endif
