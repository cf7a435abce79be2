/* activate.cuh - between the products of an expert. */
#ifndef INFER_GPU_ACTIVATE_CUH
#define INFER_GPU_ACTIVATE_CUH

#include "product.cuh"
#include "../ops/silu.h"

enum { ACTIVATE_THREADS = FEW_THREADS };

/* What the shared expert counts for a token. */
static inline __device__ void weigh_shared(const float *gate, const float *norm,
                                           uint32_t n, float *weight)
{
    SHARED(float, scratch, [ACTIVATE_THREADS / WARP]);
    float sum = 0;
    for (uint32_t i = threadIdx.x; i < n; i += ACTIVATE_THREADS)
        sum = fma1(gate[i], norm[i], sum);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *weight = silu_sigmoid(sum);
}

/* Row `row` of the products of gate and up, by a block. */
static inline __device__ void activate_row(const struct product &p, uint32_t row)
{
    const bool shared = row >= p.pairs;
    const uint32_t n = shared ? p.n_ff_shared : p.n_ff;
    float *const gate = p.y + (size_t)row * p.y_stride, *const up = gate + p.part_width;
    if (shared)
        weigh_shared(p.then.shared_gate, p.x + (size_t)(row - p.pairs) * p.x_stride,
                     p.n_embd, p.then.shared_weight + row - p.pairs);
    for (uint32_t b = warp_of(); b < act_blocks(n); b += ACTIVATE_THREADS / WARP) {
        float4 v[2];
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t i = ACT_BLOCK * b + 128 * h + 4 * lane_of();
            v[h] = make_float4(0, 0, 0, 0);
            if (i >= n) continue;
            const float4 g = *(const float4 *)(gate + i), u = *(const float4 *)(up + i);
            v[h] = make_float4(silu_times(g.x, u.x), silu_times(g.y, u.y),
                               silu_times(g.z, u.z), silu_times(g.w, u.w));
            *(float4 *)(gate + i) = v[h];
        }
        acts_put(p.then.mid + (size_t)row * p.then.stride, n, b, v);
    }
}

#endif
