/* norm.cu - the steps between a layer's parts: residual, norm, and its encoding. */
#include "acts.cuh"

enum { MOST_THREADS = 1024 };

/* A block for each token; a warp has every so many pieces of 256 numbers, a lane eight of
 * each.  What a thread has written in the first pass it reads again itself in the second.
 */
static __global__ void __launch_bounds__(MOST_THREADS)
    norm(float *x, const float *more, const float *weight, uint32_t n, float eps,
         float *y, struct act_block *q)
{
    SHARED(float, scratch, [MOST_THREADS / WARP]);
    after_previous();
    const uint32_t warps = blockDim.x / WARP;
    const size_t at = (size_t)blockIdx.x * n;
    float sum = 0;
    for (uint32_t b = warp_of(); b < act_blocks(n); b += warps)
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t i = ACT_BLOCK * b + 128 * h + 4 * lane_of();
            if (i >= n) continue;
            float4 v = *(const float4 *)(x + at + i);
            if (more) {
                const float4 a = *(const float4 *)(more + at + i);
                v = make_float4(v.x + a.x, v.y + a.y, v.z + a.z, v.w + a.w);
                *(float4 *)(x + at + i) = v;
            }
            sum += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
        }
    const float scale = 1.0f / sqrtf(block_sum(sum, scratch) / (float)n + eps);
    for (uint32_t b = warp_of(); b < act_blocks(n); b += warps) {
        float4 v[2];
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t i = ACT_BLOCK * b + 128 * h + 4 * lane_of();
            v[h] = make_float4(0, 0, 0, 0);
            if (i >= n) continue;
            const float4 w = *(const float4 *)(weight + i);
            const float4 a = *(const float4 *)(x + at + i);
            v[h] = make_float4(a.x * scale * w.x, a.y * scale * w.y, a.z * scale * w.z,
                               a.w * scale * w.w);
            *(float4 *)(y + at + i) = v[h];
        }
        if (q) acts_put(q + (size_t)blockIdx.x * act_stride(n), n, b, v);
    }
}

void gpu_norm(gpu *g, float *x_d, const float *add_d, const float *weight_d, uint32_t n,
              uint32_t tokens, float eps, float *y_d, void *q_d)
{
    uint32_t threads = act_blocks(n) * WARP;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    LAUNCH(g, norm, tokens, threads, 0, x_d, add_d, weight_d, n, eps, y_d,
           (struct act_block *)q_d);
}
