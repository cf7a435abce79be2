/* route.cuh - which experts a token is sent to, by a warp: as moe_top() has it. */
#ifndef INFER_GPU_ROUTE_CUH
#define INFER_GPU_ROUTE_CUH

#include "device.cuh"

enum { MOST_EXPERTS = 1024 };

/* Probabilities as integers that are in the same order: NaN, chosen already, and what is
 * left, which is not negative. */
constexpr uint32_t ROUTE_NAN = 0, ROUTE_CHOSEN = 1, ROUTE_FIRST = 2;

static inline __device__ float route_probability(uint32_t key)
{
    return key < ROUTE_FIRST ? NAN : bits_float(key - ROUTE_FIRST);
}

/* Lane l has the experts l, l + 32, ...: at most EACH of them. */
template <uint32_t EACH>
static inline __device__ void route_token(const float *logits, uint32_t n,
                                          uint32_t n_used, uint32_t *ids, float *weights)
{
    const uint32_t lane = lane_of();
    float p[EACH], most = -INFINITY, sum = 0, chosen = 0;
    uint32_t key[EACH];
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
    for (uint32_t i = 0; i < EACH; i++) {
        const float q = p[i] * scale;
        key[i] = lane + WARP * i < n && q >= 0 ? float_bits(q) + ROUTE_FIRST : ROUTE_NAN;
    }

    for (uint32_t k = 0; k < n_used; k++) {
        uint32_t best = ROUTE_NAN, at = 0;
#pragma unroll
        for (uint32_t i = 0; i < EACH; i++)
            if (key[i] > best) best = key[i], at = lane + WARP * i;
        const uint32_t top = warp_max_uint(best);
        const uint32_t id = ~warp_max_uint(best == top ? ~at : 0); /* the lowest */
#pragma unroll
        for (uint32_t i = 0; i < EACH; i++)
            if (id == lane + WARP * i) key[i] = ROUTE_CHOSEN;
        const float weight = route_probability(top);
        chosen += weight;
        if (lane == k % WARP) {
            ids[k] = id;
            weights[k] = weight;
        }
    }
    const float least = 6.103515625e-5f; /* 2^-14 */
    for (uint32_t k = lane; k < n_used; k += WARP) weights[k] /= fmaxf(chosen, least);
}

/* With the registers that n experts take; `most` is the largest n. */
template <uint32_t most>
static inline __device__ void route_any(const float *logits, uint32_t n, uint32_t n_used,
                                        uint32_t *ids, float *weights)
{
    if (n <= 256) route_token<8>(logits, n, n_used, ids, weights);
    else if (most <= 512 || n <= 512) route_token<16>(logits, n, n_used, ids, weights);
    else route_token<most / WARP>(logits, n, n_used, ids, weights);
}

#endif
