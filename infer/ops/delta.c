/* delta.c - convolution, delta rule and gated norm, one key head at a time.
 *
 * A key head with the value heads that share it touches channels and states that no
 * other head touches, so heads are the pieces of work, and the states of a head stay in
 * the cache of one core while its tokens pass. */
#include "delta.h"

#include <math.h>
#include <string.h>

enum {
    TILE = 64, /* tokens at a time */
    AHEAD = 4, /* tokens between fetching and using */
    LINE = 16, /* floats in a line of the cache */
    MAX_TAPS = 16
};

size_t delta_scratch(const struct delta_net *d)
{
    return TILE * (3 * (size_t)d->dim + 2);
}

/* A run of tokens of the batch. */
struct span {
    const float *projected; /* of the whole batch */
    uint32_t first, n;
};

/* Rows of `projected` lie far apart, and no processor guesses the next: fetch n floats of
 * the row that will be needed soon. */
static inline void fetch(const struct delta_net *d, struct span span, uint32_t token,
                         size_t column, uint32_t n)
{
    token += AHEAD;
    if (token >= span.first + span.n) return;
    const float *x = span.projected + (size_t)token * d->in.width + column;
    for (uint32_t i = 0; i < n; i += LINE) __builtin_prefetch(x + i);
}

/* silu(conv) of dim channels from `channel` on, into rows of dim floats. */
static void convolve(const struct delta_net *d, const struct vec_ops *ops,
                     const struct delta_state *state, struct span span, uint32_t channel,
                     float *y)
{
    const uint32_t channels = delta_channels(d), before = d->taps - 1;
    for (uint32_t i = 0; i < span.n; i++) {
        const float *x[MAX_TAPS];
        fetch(d, span, span.first + i, channel, d->dim);
        for (uint32_t k = 0; k < d->taps; k++) {
            const uint32_t at =
                span.first + i + k; /* counted from the oldest remembered */
            x[k] = channel + (at < before
                                  ? state->conv + (size_t)at * channels
                                  : span.projected + (size_t)(at - before) * d->in.width);
        }
        ops->conv(y + (size_t)i * d->dim, x, d->conv + channel, channels, d->taps,
                  d->dim);
    }
}

/* decay = exp(a softplus(alpha + dt)), beta = sigmoid(b) of one value head. */
static void gates(const struct delta_net *d, struct span span, uint32_t k_head,
                  uint32_t share, float *decay, float *beta)
{
    const uint32_t shares = d->n_v_heads / d->n_k_heads, head = k_head * shares + share;
    const size_t column =
        delta_channels(d) + (size_t)d->dim * d->n_v_heads + (size_t)2 * shares * k_head;
    for (uint32_t i = 0; i < span.n; i++) {
        const float *ba =
            span.projected + (span.first + i) * (size_t)d->in.width + column;
        beta[i] = sigmoid(ba[share]);
        decay[i] = expf(d->a[head] * softplus(ba[shares + share] + d->dt[head]));
    }
}

/* norm(o) silu(z) of one value head; o, rows of dim floats, is lost. */
static void gated_norm(const struct delta_net *d, const struct vec_ops *ops,
                       struct span span, uint32_t head, float *o, float *out)
{
    const uint32_t dim = d->dim;
    for (uint32_t t = span.first; t < span.first + span.n; t++, o += dim) {
        const size_t column = delta_channels(d) + (size_t)head * dim;
        const float *z = span.projected + (size_t)t * d->in.width + column;
        fetch(d, span, t, column, dim);
        ops->rms_norm(o, o, d->norm, dim, d->eps);
        ops->silu_mul(out + ((size_t)t * d->n_v_heads + head) * dim, o, z, dim);
    }
}

static void head_span(const struct delta_net *d, const struct vec_ops *ops,
                      const struct delta_state *state, struct span span, uint32_t k_head,
                      float *scratch, float *out)
{
    const uint32_t dim = d->dim, shares = d->n_v_heads / d->n_k_heads;
    float *q = scratch, *k = q + TILE * dim, *v = k + TILE * dim;
    float *decay = v + TILE * dim, *beta = decay + TILE;
    convolve(d, ops, state, span, k_head * dim, q);
    convolve(d, ops, state, span, (d->n_k_heads + k_head) * dim, k);
    for (uint32_t i = 0; i < span.n; i++) {
        l2_norm(ops, q + (size_t)i * dim, dim, d->eps);
        l2_norm(ops, k + (size_t)i * dim, dim, d->eps);
    }
    for (uint32_t share = 0; share < shares; share++) {
        const uint32_t head = k_head * shares + share;
        convolve(d, ops, state, span, (2 * d->n_k_heads + head) * dim, v);
        gates(d, span, k_head, share, decay, beta);
        const struct delta_run run = {
            .s = state->s + (size_t)head * dim * dim,
            .q = q,
            .k = k,
            .v = v,
            .decay = decay,
            .beta = beta,
            .o = v,
            .dim = dim,
            .tokens = span.n,
            .v_stride = dim,
            .o_stride = dim,
            .scale = 1.0f / sqrtf((float)dim),
        };
        ops->delta(&run);
        gated_norm(d, ops, span, head, v, out);
    }
}

/* The last raw inputs of dim channels become the remembered ones. */
static void remember(const struct delta_net *d, const struct delta_state *state,
                     uint32_t tokens, const float *projected, uint32_t channel)
{
    const uint32_t channels = delta_channels(d), before = d->taps - 1;
    for (uint32_t i = 0; i < before; i++) {
        const uint32_t at = i + tokens;
        const float *from = at < before ? state->conv + (size_t)at * channels
                                        : projected + (size_t)(at - before) * d->in.width;
        memcpy(state->conv + (size_t)i * channels + channel, from + channel,
               d->dim * sizeof *from);
    }
}

void delta_team(const struct member *me, const struct delta_net *d,
                const struct vec_ops *ops, const struct delta_state *state,
                uint32_t tokens, const float *projected, float *scratch, float *out)
{
    const uint32_t shares = d->n_v_heads / d->n_k_heads;
    for (uint64_t i; team_next(me, d->n_k_heads, &i);) {
        const uint32_t h = (uint32_t)i;
        for (uint32_t t = 0; t < tokens; t += TILE) {
            const struct span span = { projected, t,
                                       tokens - t < TILE ? tokens - t : TILE };
            head_span(d, ops, state, span, h, scratch, out);
        }
        remember(d, state, tokens, projected, h * d->dim);
        remember(d, state, tokens, projected, (d->n_k_heads + h) * d->dim);
        for (uint32_t share = 0; share < shares; share++)
            remember(d, state, tokens, projected,
                     (2 * d->n_k_heads + h * shares + share) * d->dim);
    }
}
