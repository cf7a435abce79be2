/* vec.h - the arm variants. */
#ifndef INFER_OPS_ARM_VEC_H
#define INFER_OPS_ARM_VEC_H

#include "../vec.h"
#include "../../../quant/cpu.h"

decl_dot_fn(dot_neon);
decl_axpy_fn(axpy_neon);
decl_scale_fn(scale_neon);
decl_max_fn(max_neon);
decl_mix_fn(mix_neon);
decl_rms_norm_fn(rms_norm_neon);
decl_exp_sum_fn(exp_sum_neon);
decl_silu_mul_fn(silu_mul_neon);
decl_sigm_mul_fn(sigm_mul_neon);
decl_conv_fn(conv_neon);
decl_delta_fn(delta_neon);

static inline void vec_ops_init_arm(struct vec_ops *ops, unsigned flags)
{
    if (!(flags & CPU_NEON)) return;
    *ops = (struct vec_ops){
        .dot = dot_neon,
        .axpy = axpy_neon,
        .scale = scale_neon,
        .max = max_neon,
        .mix = mix_neon,
        .rms_norm = rms_norm_neon,
        .exp_sum = exp_sum_neon,
        .silu_mul = silu_mul_neon,
        .sigm_mul = sigm_mul_neon,
        .conv = conv_neon,
        .delta = delta_neon,
    };
}

#endif
