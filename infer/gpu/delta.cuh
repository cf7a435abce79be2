/* delta.cuh - what both forms of the gated delta rule share: delta.cu has tokens one
 * after the other, and all that comes behind the rule; delta_chunks.cu prompts, by
 * chunks. */
#ifndef INFER_GPU_DELTA_CUH
#define INFER_GPU_DELTA_CUH

#include "norm.cuh"

static inline __device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static inline __device__ float softplus(float x)
{
    return x > 20.0f ? x : logf(1.0f + expf(x));
}

/* Queries, keys and values: what the convolution runs over. */
static inline __host__ __device__ uint32_t channels(const struct gpu_delta *d)
{
    return d->dim * (2 * d->n_k_heads + d->n_v_heads);
}

/* The channel that is number i of those of a key head and the value heads that share it.
 */
static inline __device__ uint32_t channel_of(const struct gpu_delta *d, uint32_t k_head,
                                             uint32_t i)
{
    const uint32_t dim = d->dim, shares = d->n_v_heads / d->n_k_heads;
    const uint32_t keys = d->n_k_heads * dim; /* channels of all keys, as of queries */
    const uint32_t at = i % dim, of = i / dim;
    return of < 2 ? of * keys + k_head * dim + at
                  : 2 * keys + (k_head * shares + of - 2) * dim + at;
}

/* The tokens of a call that a block works on just now. */
struct run {
    const float *projected;
    size_t width;
    uint32_t first, n;
};

/* ---- Convolution ---------------------------------------------------------------- */

/* What is needed for TILE tokens of one channel; taps that are not there count as zeros
 * before the oldest. */
template <uint32_t TAPS, uint32_t TILE> struct window {
    float w[TAPS], x[TAPS - 1 + TILE];
};

/* All loads at once, so that they are waited for once. */
template <uint32_t TAPS, uint32_t TILE>
static inline __device__ void load(struct window<TAPS, TILE> *win,
                                   const struct gpu_delta *d, const float *state,
                                   const struct run *run, uint32_t channel)
{
    const uint32_t all = channels(d), before = d->taps - 1, none = TAPS - d->taps;
#pragma unroll
    for (uint32_t i = 0; i < TAPS; i++)
        win->w[i] = i < none ? 0 : d->conv_d[(size_t)(i - none) * all + channel];
#pragma unroll
    for (uint32_t i = 0; i < TAPS - 1 + TILE; i++) {
        const uint32_t at =
            run->first + i - none; /* counted from the oldest remembered */
        if (i < none || i - none >= before + run->n) win->x[i] = 0;
        else if (at < before) win->x[i] = state[(size_t)at * all + channel];
        else win->x[i] = run->projected[(at - before) * run->width + channel];
    }
}

/* y[i * stride] = silu(convolution) for token i of n */
template <uint32_t TAPS, uint32_t TILE>
static inline __device__ void convolve(const struct window<TAPS, TILE> *win, uint32_t n,
                                       float *y, uint32_t stride)
{
#pragma unroll
    for (uint32_t i = 0; i < TILE; i++) {
        float sum = 0;
#pragma unroll
        for (uint32_t k = 0; k < TAPS; k++) sum += win->w[k] * win->x[i + k];
        if (i < n) y[i * stride] = sum * sigmoid(sum);
    }
}

/* ---- Gates ---------------------------------------------------------------------- */

/* Of a token and value head. */
struct gate {
    float a, dt, alpha, beta;
};

static inline __device__ struct gate load_gate(const struct gpu_delta *d,
                                               const struct run *run, uint32_t head,
                                               uint32_t token)
{
    const uint32_t shares = d->n_v_heads / d->n_k_heads;
    const float *ba = run->projected + (run->first + token) * run->width + channels(d) +
                      (size_t)d->dim * d->n_v_heads + 2 * (head / shares * shares) +
                      head % shares;
    return { d->a_d[head], d->dt_d[head], ba[shares], ba[0] };
}

/* What the state decays by is its exponential; beta = sigmoid(gate.beta). */
static inline __device__ float log_decay(struct gate g)
{
    return g.a * softplus(g.alpha + g.dt);
}

/* ---- By chunks ------------------------------------------------------------------ */

/* Can prompts go by chunks, on this device? */
bool delta_has_chunks(const struct gpu *g, const struct gpu_delta *d);
/* The rule for them, without what follows it: the norm, and what the convolution is to
 * remember.  scratch: gpu_delta_scratch(). */
void delta_chunks(struct gpu *g, const struct gpu_delta *d,
                  const struct gpu_delta_state *s, uint32_t tokens,
                  const float *projected, size_t width, void *scratch, float *out);

#endif
