/* norm.cu - the steps between a layer's parts: residual, norm, and its encoding. */
#include "norm.cuh"

enum { MOST_THREADS = 1024 };

/* A block for each token. */
static __global__ void __launch_bounds__(MOST_THREADS, 1)
    norm(float *x, const float *more, uint32_t n, const __grid_constant__ gpu_norm_to to)
{
    after_previous();
    const size_t at = (size_t)blockIdx.x * n;
    norm_row<1>(to, blockIdx.x, n, x + at, more ? more + at : NULL);
}

void gpu_norm(gpu *g, float *x_d, const float *add_d, uint32_t n, uint32_t tokens,
              const struct gpu_norm_to *to)
{
    uint32_t threads = act_blocks(n) * WARP;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    LAUNCH(g, norm, tokens, threads, 0, x_d, add_d, n, *to);
}
