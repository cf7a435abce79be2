/* vec.h - the x86 variants, level by level. */
#ifndef INFER_OPS_X86_VEC_H
#define INFER_OPS_X86_VEC_H

#include "../vec.h"
#include "../../../quant/cpu.h"

decl_dot_fn(dot_avx2);
decl_axpy_fn(axpy_avx2);
decl_scale_fn(scale_avx2);
decl_max_fn(max_avx2);
decl_mix_fn(mix_avx2);
decl_rms_norm_fn(rms_norm_avx2);
decl_exp_sum_fn(exp_sum_avx2);
decl_silu_mul_fn(silu_mul_avx2);
decl_sigm_mul_fn(sigm_mul_avx2);
decl_conv_fn(conv_avx2);
decl_delta_fn(delta_avx2);

decl_dot_fn(dot_avx512);
decl_axpy_fn(axpy_avx512);
decl_scale_fn(scale_avx512);
decl_max_fn(max_avx512);
decl_mix_fn(mix_avx512);
decl_rms_norm_fn(rms_norm_avx512);
decl_exp_sum_fn(exp_sum_avx512);
decl_silu_mul_fn(silu_mul_avx512);
decl_sigm_mul_fn(sigm_mul_avx512);
decl_conv_fn(conv_avx512);
decl_delta_fn(delta_avx512);

static inline void vec_ops_init_x86(struct vec_ops *ops, unsigned flags)
{
    if (!(flags & CPU_AVX2)) return;
    *ops = (struct vec_ops){
        .dot = dot_avx2,
        .axpy = axpy_avx2,
        .scale = scale_avx2,
        .max = max_avx2,
        .mix = mix_avx2,
        .rms_norm = rms_norm_avx2,
        .exp_sum = exp_sum_avx2,
        .silu_mul = silu_mul_avx2,
        .sigm_mul = sigm_mul_avx2,
        .conv = conv_avx2,
        .delta = delta_avx2,
    };
    if (!(flags & CPU_AVX512)) return;
    *ops = (struct vec_ops){
        .dot = dot_avx512,
        .axpy = axpy_avx512,
        .scale = scale_avx512,
        .max = max_avx512,
        .mix = mix_avx512,
        .rms_norm = rms_norm_avx512,
        .exp_sum = exp_sum_avx512,
        .silu_mul = silu_mul_avx512,
        .sigm_mul = sigm_mul_avx512,
        .conv = conv_avx512,
        .delta = delta_avx512,
    };
}

#endif
