/* route.cu - which experts a token is sent to. */
#include "route.cuh"

enum { ROUTE_WARPS = 4 };

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
