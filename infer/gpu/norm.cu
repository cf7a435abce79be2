/* norm.cu - the steps between a layer's parts: residual, norm, and its encoding. */
#include "acts.cuh"

enum { MOST_THREADS = 1024 };

/* A block for each token, four numbers for each thread; what a thread has written in the
 * first pass it reads again itself in the second. */
static __global__ void __launch_bounds__(MOST_THREADS)
    norm(float *x, const float *more, const float *weight, uint32_t n, float eps,
         float *y, struct act_chunk *q)
{
    SHARED(float, scratch, [MOST_THREADS / WARP]);
    after_previous();
    const uint32_t first = 4 * threadIdx.x, step = 4 * blockDim.x;
    const size_t at = (size_t)blockIdx.x * n;
    float sum = 0;
    for (uint32_t i = first; i < n; i += step) {
        float4 v = *(const float4 *)(x + at + i);
        if (more) {
            const float4 a = *(const float4 *)(more + at + i);
            v = make_float4(v.x + a.x, v.y + a.y, v.z + a.z, v.w + a.w);
            *(float4 *)(x + at + i) = v;
        }
        sum += (v.x * v.x + v.y * v.y) + (v.z * v.z + v.w * v.w);
    }
    const float scale = 1.0f / sqrtf(block_sum(sum, scratch) / (float)n + eps);
    for (uint32_t i = first; i < acts_end(n); i += step) {
        float4 v = make_float4(0, 0, 0, 0);
        if (i < n) {
            const float4 w = *(const float4 *)(weight + i);
            v = *(const float4 *)(x + at + i);
            v = make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z,
                            v.w * scale * w.w);
            *(float4 *)(y + at + i) = v;
        }
        if (q) acts_put(q + (size_t)blockIdx.x * act_chunks(n), n, i, v);
    }
}

void gpu_norm(gpu *g, float *x_d, const float *add_d, const float *weight_d, uint32_t n,
              uint32_t tokens, float eps, float *y_d, void *q_d)
{
    uint32_t threads = acts_end(n) / 4;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    LAUNCH(g, norm, tokens, threads, 0, x_d, add_d, weight_d, n, eps, y_d,
           (struct act_chunk *)q_d);
}
