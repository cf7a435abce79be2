/* route.cu - which experts a token is sent to. */
#include "device.cuh"

enum { ROUTE_WARPS = 4, MOST_EXPERTS = 1024, EACH = MOST_EXPERTS / WARP };

struct pick {
    float p;
    uint32_t id;
};

/* The largest of what the lanes have, of equals the one with the lowest id. */
static __device__ struct pick best_of_warp(struct pick best)
{
    for (uint32_t mask = WARP / 2; mask; mask /= 2) {
        const float p = lane_xor(best.p, mask);
        const uint32_t id = lane_xor(best.id, mask);
        if (p > best.p || (p == best.p && id < best.id)) best = { p, id };
    }
    return best;
}

/* A warp for each token; lane l has the experts l, l + 32, ... */
static __global__ void __launch_bounds__(ROUTE_WARPS *WARP)
    route(const float *logits, uint32_t n, uint32_t n_used, uint32_t tokens,
          uint32_t *ids, float *weights)
{
    after_previous();
    const uint32_t token = blockIdx.x * ROUTE_WARPS + warp_of(), lane = lane_of();
    if (token >= tokens) return;
    logits += (size_t)token * n;
    ids += (size_t)token * n_used;
    weights += (size_t)token * n_used;

    float p[EACH], most = -INFINITY, sum = 0, chosen = 0;
#pragma unroll
    for (uint32_t i = 0; i < EACH; i++) {
        const uint32_t id = lane + WARP * i;
        p[i] = id < n ? logits[id] : -INFINITY;
        most = fmaxf(most, p[i]);
    }
    most = warp_max(most);
#pragma unroll
    for (uint32_t i = 0; i < EACH; i++) sum += p[i] = expf(p[i] - most);
    const float scale = 1.0f / warp_sum(sum);
#pragma unroll
    for (uint32_t i = 0; i < EACH; i++) p[i] = lane + WARP * i < n ? p[i] * scale : NAN;

    for (uint32_t k = 0; k < n_used; k++) {
        struct pick best = { -2, 0 }; /* a NaN is never better */
#pragma unroll
        for (uint32_t i = 0; i < EACH; i++)
            if (p[i] > best.p) best = { p[i], lane + WARP * i };
        best = best_of_warp(best);
#pragma unroll
        for (uint32_t i = 0; i < EACH; i++)
            if (best.id == lane + WARP * i) p[i] = -1; /* never chosen again */
        chosen += best.p;
        if (lane == 0) {
            ids[k] = best.id;
            weights[k] = best.p < 0 ? NAN : best.p;
        }
    }
    const float least = 6.103515625e-5f; /* 2^-14, as moe_top() has it */
    warp_sync();
    for (uint32_t k = lane; k < n_used; k += WARP) weights[k] /= fmaxf(chosen, least);
}

void gpu_route(gpu *g, const float *logits_d, uint32_t n_expert, uint32_t n_used,
               uint32_t tokens, uint32_t *ids_d, float *weights_d)
{
    LAUNCH(g, route, div_up(tokens, ROUTE_WARPS), ROUTE_WARPS * WARP, 0, logits_d,
           n_expert, n_used, tokens, ids_d, weights_d);
}
