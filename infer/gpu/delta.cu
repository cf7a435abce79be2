/* delta.cu - gated delta net: everything between the two projections.
 *
 * The columns of a state do not meet, so a block takes a panel of them (see ops/vec.h) of
 * one value head into its registers, over all tokens of the run: the state is read once
 * and written once, however long the run is.  What is left for each token and element of
 * the state are four multiplications with additions, 2 million for a layer of
 * Qwen3-Next, while the layer's matrices want 70 million.  Tokens go one after the other;
 * those of a prompt by chunks where the device can (delta_chunks.cu).
 *
 * Convolution and norms of queries and keys are done by each block that needs them, again
 * and again, which is one launch less for every layer and token.  What a token gives does
 * not depend on how a text is cut into runs, to the bit. */
#include "delta.cuh"

constexpr uint32_t PANEL = 16; /* columns of a block: DELTA_PANEL of ops/vec.h */
constexpr uint32_t SHARE = 8;  /* threads that share a column */
constexpr uint32_t RULE_THREADS = PANEL * SHARE;
constexpr uint32_t STAGE = 2048; /* floats of queries, and of keys, held at a time */
constexpr uint32_t LINE = 32;    /* floats of a line of the L2 cache */
constexpr uint32_t MOST_DIM = 256, MOST_TAPS = 16, FINISH_WARPS = 4;
static_assert(LINE * RULE_THREADS == PANEL * MOST_DIM, "a line of a panel for a thread");
constexpr uint32_t FEW_TOKENS = 8; /* so many the rule's last blocks can finish */

/* ---- Convolution ---------------------------------------------------------------- */

/* What a block reads of n channels from `first` on is wanted soon. */
static __device__ void ask_for_channels(const struct gpu_delta *d, const float *state,
                                        uint32_t first, uint32_t n)
{
    const uint32_t all = channels(d), tap = lane_of();
    if (tap >= d->taps) return;
    for (uint32_t c = LINE * warp_of(); c < n; c += LINE * RULE_THREADS / WARP) {
        const size_t at = (size_t)tap * all + first + c;
        ask_for(d->conv_d + at);
        if (tap + 1 < d->taps) ask_for(state + at);
    }
}

/* The last raw inputs of a channel become the remembered ones; where a run is shorter
 * than the memory, they move up in it, the oldest first.  x: they, all of which are read
 * before one is written. */
template <uint32_t TAPS>
static __device__ void recall(const struct gpu_delta *d, const float *state,
                              uint32_t tokens, const float *projected, size_t width,
                              uint32_t channel, float *x)
{
    const uint32_t all = channels(d), before = d->taps - 1;
#pragma unroll
    for (uint32_t i = 0; i < TAPS - 1; i++) {
        const uint32_t at = i + tokens;
        if (i >= before) x[i] = 0;
        else if (at < before) x[i] = state[(size_t)at * all + channel];
        else x[i] = projected[(at - before) * width + channel];
    }
}

template <uint32_t TAPS>
static __device__ void remember(const struct gpu_delta *d, float *state, uint32_t channel,
                                const float *x)
{
#pragma unroll
    for (uint32_t i = 0; i < TAPS - 1; i++)
        if (i + 1 < d->taps) state[(size_t)i * channels(d) + channel] = x[i];
}

/* ---- The rule ------------------------------------------------------------------- */

/* Queries and keys of a token get length 1; returns their product.  A warp's work. */
static __device__ float unit_length(float *q, float *k, uint32_t dim, float eps)
{
    float qq = 0, kk = 0, product = 0;
    for (uint32_t i = lane_of(); i < dim; i += WARP) {
        qq += q[i] * q[i];
        kk += k[i] * k[i];
    }
    const float q_scale = 1.0f / fmaxf(sqrtf(warp_sum(qq)), eps);
    const float k_scale = 1.0f / fmaxf(sqrtf(warp_sum(kk)), eps);
    for (uint32_t i = lane_of(); i < dim; i += WARP) {
        q[i] *= q_scale;
        k[i] *= k_scale;
        product += q[i] * k[i];
    }
    return warp_sum(product);
}

static __device__ float dot(float4 a, const float *s, float sum)
{
    return sum + a.x * s[0] + a.y * s[1] + a.z * s[2] + a.w * s[3];
}

/* One token for a thread's part s of a column: rows 32 i + 4 share ... + 3, so that eight
 * threads read 32 neighbouring floats at once.  As ops/vec.c has it: p = decay S^T k,
 * and S_new^T q = decay S^T q + add (k.q).  Returns the output, unscaled. */
template <uint32_t REGS>
static __device__ float step(float *s, const float4 *q, const float4 *k, float v,
                             float decay, float beta, float kq)
{
    float4 keys[REGS / 4];
    float sk = 0, sq = 0, sk2 = 0, sq2 = 0;
#pragma unroll
    for (uint32_t i = 0; i < REGS / 4; i += 2) {
        keys[i] = k[SHARE * i];
        keys[i + 1] = k[SHARE * (i + 1)];
        sk = dot(keys[i], s + 4 * i, sk);
        sk2 = dot(keys[i + 1], s + 4 * i + 4, sk2);
        sq = dot(q[SHARE * i], s + 4 * i, sq);
        sq2 = dot(q[SHARE * (i + 1)], s + 4 * i + 4, sq2);
    }
    sk = warp_sum<SHARE>(sk + sk2);
    sq = warp_sum<SHARE>(sq + sq2);
    const float more = beta * (v - decay * sk);
#pragma unroll
    for (uint32_t i = 0; i < REGS / 4; i++) {
        s[4 * i] = decay * s[4 * i] + keys[i].x * more;
        s[4 * i + 1] = decay * s[4 * i + 1] + keys[i].y * more;
        s[4 * i + 2] = decay * s[4 * i + 2] + keys[i].z * more;
        s[4 * i + 3] = decay * s[4 * i + 3] + keys[i].w * more;
    }
    return decay * sq + more * kq;
}

/* Where number i of a panel of the state is in shared memory.  The rows of neighbouring
 * threads are 64 numbers apart: each 64 are turned by 4 more, so that these are in
 * different banks. */
static __device__ uint32_t panel_at(uint32_t i)
{
    return (i & ~63u) + ((i + i / 64 * 4) & 63);
}

/* A thread's part of a panel, `columns` wide, to or from shared memory. */
template <uint32_t REGS, bool STORE>
static __device__ void move(float *s, float *panel, uint32_t dim, uint32_t columns)
{
    const uint32_t column = threadIdx.x / SHARE, share = threadIdx.x % SHARE;
#pragma unroll
    for (uint32_t i = 0; i < REGS; i++) {
        const uint32_t row = 32 * (i / 4) + 4 * share + i % 4;
        const bool there = row < dim && column < columns;
        float *const at = panel + panel_at(row * columns + column);
        if (STORE && there) *at = s[i];
        if (!STORE) s[i] = there ? *at : 0;
    }
}

/* What a block of the rule works on: a panel of a value head. */
struct panel {
    uint32_t head, k_head, first, columns;
};

/* A tile in shared memory: queries and keys [DIM, TILE], values and outputs [PANEL,
 * TILE]. */
struct tile {
    float *q, *k, *v, *o, *decay, *beta, *kq;
};

/* Queries, keys and values of run->n tokens, convolved. */
template <uint32_t TAPS, uint32_t TILE>
static __device__ void convolve_tile(const struct gpu_delta *d, const float *state,
                                     const struct run *run, const struct panel *p,
                                     const struct tile *tile)
{
    constexpr uint32_t DIM = STAGE / TILE;
    const uint32_t q_channel = p->k_head * d->dim;
    const uint32_t k_channel = (d->n_k_heads + p->k_head) * d->dim;
    const uint32_t v_channel = (2 * d->n_k_heads + p->head) * d->dim + p->first;
    struct window<TAPS, TILE> queries, keys, values;
    if (threadIdx.x < p->columns) load(&values, d, state, run, v_channel + threadIdx.x);
    for (uint32_t c = threadIdx.x; c < DIM; c += RULE_THREADS)
        if (c < d->dim) {
            load(&queries, d, state, run, q_channel + c);
            load(&keys, d, state, run, k_channel + c);
            convolve(&queries, run->n, tile->q + c, DIM);
            convolve(&keys, run->n, tile->k + c, DIM);
        } else {
            for (uint32_t t = 0; t < run->n; t++)
                tile->q[t * DIM + c] = tile->k[t * DIM + c] = 0;
        }
    if (threadIdx.x < p->columns) convolve(&values, run->n, tile->v + threadIdx.x, PANEL);
}

/* A thread for each token; the others get the gate of the last. */
static __device__ struct gate load_gates(const struct gpu_delta *d, const struct run *run,
                                         const struct panel *p)
{
    return load_gate(d, run, p->head, min(threadIdx.x, run->n - 1));
}

static __device__ void open_gate(struct gate g, const struct run *run,
                                 const struct tile *tile)
{
    if (threadIdx.x >= run->n) return;
    tile->beta[threadIdx.x] = sigmoid(g.beta);
    tile->decay[threadIdx.x] = expf(log_decay(g));
}

/* The tokens of a tile, one after the other; then their outputs. */
template <uint32_t REGS>
static __device__ void rule_tile(const struct gpu_delta *d, const struct run *run,
                                 const struct panel *p, const struct tile *tile, float *s,
                                 float *out)
{
    constexpr uint32_t DIM = SHARE * REGS;
    const uint32_t column = threadIdx.x / SHARE, share = threadIdx.x % SHARE;
    const float scale = 1.0f / sqrtf((float)d->dim);
    for (uint32_t t = warp_of(); t < run->n; t += RULE_THREADS / WARP) {
        const float kq =
            unit_length(tile->q + t * DIM, tile->k + t * DIM, d->dim, d->eps);
        if (lane_of() == 0) tile->kq[t] = kq;
    }
    block_sync();
    for (uint32_t t = 0; t < run->n; t++) {
        const float4 *const q = (const float4 *)(tile->q + t * DIM) + share;
        const float4 *const k = (const float4 *)(tile->k + t * DIM) + share;
        const float v = column < p->columns ? tile->v[t * PANEL + column] : 0;
        const float o =
            step<REGS>(s, q, k, v, tile->decay[t], tile->beta[t], tile->kq[t]);
        if (share == 0) tile->o[t * PANEL + column] = scale * o;
    }
    block_sync();
    for (uint32_t i = threadIdx.x; i < run->n * PANEL; i += RULE_THREADS) {
        const size_t t = run->first + i / PANEL, c = i % PANEL;
        if (c < p->columns)
            out[(t * d->n_v_heads + p->head) * d->dim + p->first + c] = tile->o[i];
    }
}

/* ---- What follows ---------------------------------------------------------------- */

/* Value heads that a warp finishes together: those of 128 in pairs that share keys, so
 * that it has a block of encoded activations. */
static inline __host__ __device__ uint32_t heads_together(const struct gpu_delta *d)
{
    return d->dim == 128 && d->n_v_heads / d->n_k_heads % 2 == 0 ? 2 : 1;
}

/* norm(o) silu(z) of one head of a token, or of two neighbours of 128, a warp's work.  q:
 * NULL, or their block there.  All loads are on their way together. */
static __device__ void gated_norm(const struct gpu_delta *d, const float *z, float *o,
                                  struct act_block *q, uint32_t block)
{
    constexpr uint32_t STEP = 4 * WARP, PARTS = MOST_DIM / STEP;
    const uint32_t row = d->n_v_heads * d->dim, first = 4 * lane_of();
    const bool pair = heads_together(d) == 2;
    const uint32_t n = pair ? 2 * d->dim : d->dim;
    float4 x[PARTS];
    float sum[PARTS], all = 0, gate[PARTS][4], w[PARTS][4];
#pragma unroll
    for (uint32_t k = 0; k < PARTS; k++) {
        const uint32_t i = first + STEP * k;
        x[k] = i < n ? *(const float4 *)(o + i) : make_float4(0, 0, 0, 0);
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            gate[k][j] = i < n ? z[i + j] : 0;
            w[k][j] = i < n ? d->norm_d[(pair ? first : i) + j] : 0;
        }
    }
#pragma unroll
    for (uint32_t k = 0; k < PARTS; k++) {
        sum[k] = squares(x[k]);
        all = add(all, sum[k]);
    }
#pragma unroll
    for (uint32_t k = 0; k < PARTS; k++) {
        const uint32_t i = first + STEP * k;
        const float total = warp_sum(pair ? sum[k] : all);
        const float scale = 1.0f / sqrtf(total / (float)d->dim + d->eps);
        if (i < n) {
            x[k].x *= scale * w[k][0] * (gate[k][0] * sigmoid(gate[k][0]));
            x[k].y *= scale * w[k][1] * (gate[k][1] * sigmoid(gate[k][1]));
            x[k].z *= scale * w[k][2] * (gate[k][2] * sigmoid(gate[k][2]));
            x[k].w *= scale * w[k][3] * (gate[k][3] * sigmoid(gate[k][3]));
            *(float4 *)(o + i) = x[k];
        }
    }
    if (q) acts_put(q, row, block, x);
}

/* These channels' raw inputs, by `threads` threads of which this is number `me`; it has
 * several on their way together. */
template <uint32_t TAPS>
static __device__ void remember_heads(const struct gpu_delta *d, float *state,
                                      uint32_t k_head, uint32_t tokens,
                                      const float *projected, size_t width, uint32_t me,
                                      uint32_t threads)
{
    constexpr uint32_t TOGETHER = TAPS <= 4 ? 6 : 1;
    const uint32_t n = (2 + d->n_v_heads / d->n_k_heads) * d->dim;
#pragma unroll 1
    for (uint32_t first = me; first < n; first += TOGETHER * threads) {
        float x[TOGETHER][TAPS - 1];
#pragma unroll
        for (uint32_t k = 0; k < TOGETHER; k++) {
            const uint32_t i = first + k * threads;
            if (i < n)
                recall<TAPS>(d, state, tokens, projected, width, channel_of(d, k_head, i),
                             x[k]);
        }
#pragma unroll
        for (uint32_t k = 0; k < TOGETHER; k++) {
            const uint32_t i = first + k * threads;
            if (i < n) remember<TAPS>(d, state, channel_of(d, k_head, i), x[k]);
        }
    }
}

/* All of that for the value heads that share keys, by a block.  A call, so that it costs
 * the rule no registers.  Warps without a norm have the memory, if there are any. */
template <uint32_t TAPS>
static __noinline__ __device__ void finish_heads(const struct gpu_delta *d, float *state,
                                                 uint32_t k_head, uint32_t tokens,
                                                 const float *projected, size_t width,
                                                 float *out, struct act_block *q)
{
    const uint32_t dim = d->dim, warps = blockDim.x / WARP;
    const uint32_t row = d->n_v_heads * dim, each = heads_together(d);
    const uint32_t pieces = d->n_v_heads / d->n_k_heads / each, norms = tokens * pieces;
#pragma unroll 1
    for (uint32_t i = warp_of(); i < norms; i += warps) {
        const uint32_t token = i / pieces, piece = k_head * pieces + i % pieces;
        const uint32_t at = piece * each * dim;
        gated_norm(d, projected + token * width + channels(d) + at,
                   out + (size_t)token * row + at,
                   q ? q + (size_t)token * act_stride(row) : NULL, piece);
    }
    const uint32_t busy = norms < warps ? norms : 0;
    if (warp_of() < busy) return;
    remember_heads<TAPS>(d, state, k_head, tokens, projected, width,
                         threadIdx.x - busy * WARP, blockDim.x - busy * WARP);
}

/* ---- The kernels ----------------------------------------------------------------- */

/* A block for each panel of each value head.  REGS: rows of a column that a thread holds;
 * dim is at most SHARE * REGS, and what is beyond it is zero and stays zero.  counters:
 * one for each key head; or NULL, then finish() is to follow. */
template <uint32_t REGS, uint32_t TAPS>
static __global__ void __launch_bounds__(RULE_THREADS, 64 / REGS)
    rule(const __grid_constant__ struct gpu_delta d, struct gpu_delta_state state,
         uint32_t tokens, const float *projected, size_t width, float *out,
         struct act_block *encoded, uint32_t *counters)
{
    constexpr uint32_t TILE = STAGE / (SHARE * REGS);
    SHARED(float4, stage, [2 * STAGE / 4]);
    SHARED(float, v, [TILE * PANEL]);
    SHARED(float, o, [TILE * PANEL]);
    SHARED(float, decay, [TILE]);
    SHARED(float, beta, [TILE]);
    SHARED(float, kq, [TILE]);
    float *const q = (float *)stage;
    const struct tile tile = { q, q + STAGE, v, o, decay, beta, kq };
    const uint32_t dim = d.dim, first = blockIdx.x * PANEL, head = blockIdx.y;
    const struct panel p = { head, head / (d.n_v_heads / d.n_k_heads), first,
                             dim - first < PANEL ? dim - first : PANEL };
    float *const mine = state.s_d + ((size_t)head * dim + first) * dim;
    const uint32_t n = dim * p.columns;
    float s[REGS];

    if (LINE * threadIdx.x < n) ask_for(mine + LINE * threadIdx.x);
    if (LINE * threadIdx.x < dim) ask_for(d.norm_d + LINE * threadIdx.x);
    ask_for_channels(&d, state.conv_d, p.k_head * dim, dim);
    ask_for_channels(&d, state.conv_d, (d.n_k_heads + p.k_head) * dim, dim);
    ask_for_channels(&d, state.conv_d, (2 * d.n_k_heads + head) * dim + first, p.columns);
    after_previous();
    /* The state passes through shared memory, so that global memory is met in order. */
    for (uint32_t i = 4 * threadIdx.x; i < n; i += 4 * RULE_THREADS)
        copy_begin<16>(q + panel_at(i), mine + i);
    copy_end();
    copy_wait<0>();
    block_sync();
    move<REGS, false>(s, q, dim, p.columns);
    struct run run = { projected, width, 0, 0 };
    for (; run.first < tokens; run.first += TILE) {
        run.n = tokens - run.first < TILE ? tokens - run.first : TILE;
        block_sync(); /* nobody reads the last tile any more */
        const struct gate gate = load_gates(&d, &run, &p);
        convolve_tile<TAPS, TILE>(&d, state.conv_d, &run, &p, &tile);
        open_gate(gate, &run, &tile);
        block_sync();
        rule_tile<REGS>(&d, &run, &p, &tile, s, out);
    }
    /* What follows does not need the state. */
    const uint32_t shares = d.n_v_heads / d.n_k_heads, k_head = blockIdx.y / shares;
    const bool last = counters && last_block(counters + k_head, gridDim.x * shares);
    move<REGS, true>(s, q, dim, p.columns);
    block_sync();
    for (uint32_t i = 4 * threadIdx.x; i < n; i += 4 * RULE_THREADS)
        *(float4 *)(mine + i) = *(const float4 *)(q + panel_at(i));
    if (last)
        finish_heads<TAPS>(&d, state.conv_d, k_head, tokens, projected, width, out,
                           encoded);
}

/* The first `norms` blocks have value heads of tokens, the others channels. */
static __global__ void __launch_bounds__(FINISH_WARPS *WARP)
    finish(struct gpu_delta d, struct gpu_delta_state state, uint32_t norms,
           uint32_t tokens, const float *projected, size_t width, float *out,
           struct act_block *q)
{
    after_previous();
    if (blockIdx.x < norms) {
        const uint32_t each = heads_together(&d), pieces = d.n_v_heads / each;
        const uint32_t piece = blockIdx.x * FINISH_WARPS + warp_of();
        const uint32_t token = piece / pieces, at = piece % pieces * each * d.dim;
        if (token >= tokens) return;
        if (q) q += (size_t)token * act_stride(d.n_v_heads * d.dim);
        gated_norm(&d, projected + token * width + channels(&d) + at,
                   out + (size_t)piece * each * d.dim, q, piece % pieces);
    } else {
        const uint32_t channel = (blockIdx.x - norms) * blockDim.x + threadIdx.x;
        float x[MOST_TAPS - 1];
        if (channel >= channels(&d)) return;
        recall<MOST_TAPS>(&d, state.conv_d, tokens, projected, width, channel, x);
        remember<MOST_TAPS>(&d, state.conv_d, channel, x);
    }
}

/* The gated norm of `tokens`, encoded if a warp's heads are a whole block of encoded
 * activations, and what the convolution remembers. */
static void finish_all(gpu *g, const struct gpu_delta *d, const struct gpu_delta_state *s,
                       uint32_t tokens, const float *projected_d, size_t width,
                       float *out_d, struct act_block *q)
{
    const uint32_t norms =
        div_up(tokens * d->n_v_heads / heads_together(d), FINISH_WARPS);
    const uint32_t moves = div_up(channels(d), FINISH_WARPS * WARP);
    LAUNCH(g, finish, norms + moves, FINISH_WARPS * WARP, 0, *d, *s, norms, tokens,
           projected_d, width, out_d, q);
}

void gpu_delta_rule(gpu *g, const struct gpu_delta *d, const struct gpu_delta_state *s,
                    uint32_t tokens, const float *projected_d, size_t width,
                    void *scratch_d, float *out_d, void *q_d)
{
    const dim3 grid(div_up(d->dim, PANEL), d->n_v_heads);
    const bool blocks = heads_together(d) * d->dim == ACT_BLOCK;
    struct act_block *const q = (struct act_block *)(blocks ? q_d : NULL);
    const bool few = tokens <= FEW_TOKENS;
    const bool once = few && d->n_k_heads <= GPU_COUNTERS;
    auto *const kernel =
        d->dim <= 128 && d->taps <= 4 ? rule<16, 4> : rule<32, MOST_TAPS>;
    if (few || s->exact || !delta_has_chunks(g, d))
        LAUNCH(g, kernel, grid, RULE_THREADS, 0, *d, *s, tokens, projected_d, width,
               out_d, q, once ? g->counters_d : NULL);
    else delta_chunks(g, d, s, tokens, projected_d, width, scratch_d, out_d);
    if (!once) finish_all(g, d, s, tokens, projected_d, width, out_d, q);
    if (q_d && !blocks) {
        const struct gpu_acts acts = { out_d, q_d, d->n_v_heads * d->dim, tokens };
        gpu_encode(g, &acts);
    }
}
