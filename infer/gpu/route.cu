/* route.cu - which experts a token is sent to, and that the host is told of it. */
#include "route.cuh"

enum { ROUTE_WARPS = 4, TELL_THREADS = 256 };

/* A warp for each token. */
static __global__ void __launch_bounds__(ROUTE_WARPS *WARP)
    route(const float *logits, uint32_t n, uint32_t n_used, uint32_t tokens,
          uint32_t *ids, float *weights)
{
    after_previous();
    const uint32_t token = blockIdx.x * ROUTE_WARPS + warp_of();
    if (token < tokens)
        route_any<MOST_EXPERTS>(logits + (size_t)token * n, n, n_used,
                                ids + (size_t)token * n_used,
                                weights + (size_t)token * n_used);
}

void gpu_route(gpu *g, const float *logits_d, uint32_t n_expert, uint32_t n_used,
               uint32_t tokens, uint32_t *ids_d, float *weights_d)
{
    LAUNCH(g, route, div_up(tokens, ROUTE_WARPS), ROUTE_WARPS * WARP, 0, logits_d,
           n_expert, n_used, tokens, ids_d, weights_d);
}

struct words {
    struct gpu_words what[GPU_WORDS];
};

/* A row of blocks for each piece. */
static __global__ void tell(const __grid_constant__ struct words w)
{
    after_previous();
    const struct gpu_words &piece = w.what[blockIdx.y];
    const uint32_t i = blockIdx.x * TELL_THREADS + threadIdx.x;
    if (i < piece.n) ((uint32_t *)piece.to_d)[i] = ((const uint32_t *)piece.from_d)[i];
}

void gpu_tell(gpu *g, const struct gpu_words *what, uint32_t n)
{
    struct words w = {};
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        w.what[i] = what[i];
        if (most < what[i].n) most = what[i].n;
    }
    LAUNCH(g, tell, dim3(div_up(most, TELL_THREADS), n), TELL_THREADS, 0, w);
}
