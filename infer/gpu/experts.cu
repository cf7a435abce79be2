/* experts.cu - the routed experts and the shared one: which tokens go to which, and what
 * becomes of their results.  The products are product_few.cu's and product_many.cu's.
 *
 * A row is a (token, expert) pair or, behind all pairs, a token of the shared expert. For
 * few tokens rows are in the order of the routing and every pair is a tile of its own;
 * for more they are sorted by expert, and the tokens of an expert are multiplied
 * together. Either way a row's result is the same, and the rows of a token are added in
 * the order of the routing. */
#include "activate.cuh"
#include "norm.cuh"

enum {
    SORT_THREADS = 1024,
    SUM_THREADS = 512,
    SUM_ROWS = 12,               /* of a token, that are asked for together */
    PAIR_TOKENS = GPU_FEW_TOKENS /* with so many tokens pairs stay as they are */
};

/* What lies in the scratch memory, and how large it is. */
struct layout {
    uint32_t pairs, rows, ff, blocks, tiles;
    bool sorted;
    struct expert_tile *tile;       /* [tiles] */
    uint32_t *token_of, *expert_of; /* [pairs] in sorted order */
    uint32_t *place;                /* [pairs] in the routing's order: their rows */
    float *shared_weight;           /* [tokens] */
    float *ff_d; /* [2 ff, rows]: gate and up; then the middle in gate's place */
    struct act_block *mid; /* [blocks, rows] */
    float *down;           /* [n_embd, rows] */
    uint64_t bytes;
};

static uint8_t *take(uint8_t *base, uint64_t *at, uint64_t bytes)
{
    uint8_t *p = base + *at;
    *at += (bytes + 255) / 256 * 256;
    return p;
}

static struct layout layout_of(const struct gpu_moe *m, uint32_t tokens, void *scratch)
{
    struct layout l = {};
    uint8_t *const base = (uint8_t *)scratch;
    l.sorted = tokens > PAIR_TOKENS;
    l.pairs = tokens * m->n_used;
    l.rows = l.pairs + (m->n_ff_shared ? tokens : 0);
    l.ff = m->n_ff > m->n_ff_shared ? m->n_ff : m->n_ff_shared;
    l.blocks = act_stride(l.ff);
    l.tiles = l.sorted
                  ? (l.pairs < m->n_expert ? l.pairs : m->n_expert) +
                        l.pairs / MANY_COLUMNS + div_up(l.rows - l.pairs, MANY_COLUMNS)
                  : l.pairs + (m->n_ff_shared ? 1 : 0);
    l.tile = (struct expert_tile *)take(base, &l.bytes, l.tiles * sizeof *l.tile);
    l.token_of = (uint32_t *)take(base, &l.bytes, l.pairs * sizeof *l.token_of);
    l.expert_of = (uint32_t *)take(base, &l.bytes, l.pairs * sizeof *l.expert_of);
    l.place = (uint32_t *)take(base, &l.bytes, l.pairs * sizeof *l.place);
    l.shared_weight = (float *)take(base, &l.bytes, tokens * sizeof *l.shared_weight);
    l.ff_d = (float *)take(base, &l.bytes, (uint64_t)l.rows * 2 * l.ff * sizeof *l.ff_d);
    l.mid = (struct act_block *)take(base, &l.bytes,
                                     (uint64_t)l.rows * l.blocks * sizeof *l.mid);
    l.down = (float *)take(base, &l.bytes, (uint64_t)l.rows * m->n_embd * sizeof *l.down);
    return l;
}

uint64_t gpu_moe_scratch(const struct gpu_moe *m, uint32_t tokens)
{
    return layout_of(m, tokens, NULL).bytes;
}

/* ---- Sorting ------------------------------------------------------------------------
 */

/* By a warp: from[i] becomes the sum of everything before it; returns the sum of all. */
static __device__ uint32_t sums_before(uint32_t *from, uint32_t n)
{
    uint32_t before = 0;
    for (uint32_t i0 = 0; i0 < n; i0 += WARP) {
        const uint32_t i = i0 + lane_of(), own = i < n ? from[i] : 0;
        uint32_t sum = own;
        for (uint32_t d = 1; d < WARP; d *= 2) {
            const uint32_t left = lane_get(sum, (lane_of() - d) % WARP);
            if (lane_of() >= d) sum += left;
        }
        if (i < n) from[i] = before + sum - own;
        before += lane_get(sum, WARP - 1);
    }
    return before;
}

/* One block.  Where the pairs of an expert start, its tiles, and then the pairs. */
static __global__ void __launch_bounds__(SORT_THREADS)
    sort_pairs(const uint32_t *ids, uint32_t pairs, uint32_t n_used, uint32_t n_expert,
               uint32_t rows, struct expert_tile *tile, uint32_t n_tiles,
               uint32_t *token_of, uint32_t *expert_of, uint32_t *place)
{
    SHARED_BYTES(bytes); /* three numbers for each expert */
    SHARED(uint32_t, routed_tiles, );
    after_previous();
    uint32_t *const count = (uint32_t *)bytes, *const first = count + n_expert,
                    *const first_tile = first + n_expert;
    const uint32_t me = threadIdx.x;
    for (uint32_t e = me; e < n_expert; e += SORT_THREADS) count[e] = 0;
    block_sync();
    for (uint32_t i = me; i < pairs; i += SORT_THREADS) atomic_add(&count[ids[i]], 1);
    block_sync();
    for (uint32_t e = me; e < n_expert; e += SORT_THREADS) {
        first[e] = count[e];
        first_tile[e] = div_up(count[e], MANY_COLUMNS);
    }
    block_sync();
    if (warp_of() == 0) sums_before(first, n_expert);
    if (warp_of() == 1) {
        const uint32_t all = sums_before(first_tile, n_expert);
        if (lane_of() == 0) routed_tiles = all;
    }
    block_sync();
    for (uint32_t e = me; e < n_expert; e += SORT_THREADS)
        for (uint32_t i = 0; i < count[e]; i += MANY_COLUMNS)
            tile[first_tile[e] + i / MANY_COLUMNS] = {
                e, first[e] + i, min(count[e] - i, (uint32_t)MANY_COLUMNS)
            };
    for (uint32_t i = routed_tiles + me; i < n_tiles; i += SORT_THREADS) {
        const uint32_t at = pairs + (i - routed_tiles) * MANY_COLUMNS;
        tile[i] = { n_expert, at,
                    at < rows ? min(rows - at, (uint32_t)MANY_COLUMNS) : 0 };
    }
    block_sync();
    for (uint32_t i = me; i < pairs; i += SORT_THREADS) {
        const uint32_t at = atomic_add(&first[ids[i]], 1);
        token_of[at] = i / n_used;
        expert_of[at] = ids[i];
        place[i] = at;
    }
}

/* ---- Between the products
 * --------------------------------------------------------------- */

/* A block for each row; where product_few() does not do it. */
static __global__ void __launch_bounds__(ACTIVATE_THREADS)
    activate(const __grid_constant__ struct product p, const uint32_t *expert_of)
{
    after_previous();
    const uint32_t row = blockIdx.x;
    if (expert_wanted(p.experts, p.n_expert, p.expert_first, p.expert_end,
                      row < p.pairs ? expert_of[row] : p.n_expert))
        activate_row(p, row);
}

struct sum {
    const float *down;
    const uint32_t *place; /* of pairs that were sorted, or NULL */
    const float *weights, *shared_weight;
    uint32_t n_used, pairs, n_embd;
    struct gpu_moe_given given;
    float *x;
    struct gpu_norm_to next; /* weight_d: NULL, or that norm of x follows */
};

/* One of a token's rows. */
struct sum_row {
    const float *from;
    float weight;
};

/* Row k; the shared expert's is behind the others. */
static __device__ struct sum_row sum_row_of(const struct sum &s, uint32_t token,
                                            uint32_t k)
{
    if (k == s.n_used)
        return { s.down + (size_t)(s.pairs + token) * s.n_embd, s.shared_weight[token] };
    const uint32_t pair = token * s.n_used + k,
                   there = s.given.place_d ? s.given.place_d[pair] : UINT32_MAX;
    const float *const from =
        there != UINT32_MAX
            ? s.given.rows_d + (size_t)there * s.n_embd
            : s.down + (size_t)(s.place ? s.place[pair] : pair) * s.n_embd;
    return { from, s.weights[pair] };
}

/* Four numbers of a token's x. */
static __device__ float4 sum_four(const struct sum &s, uint32_t token, uint32_t i,
                                  const struct sum_row *row, uint32_t rows)
{
    const size_t at = (size_t)token * s.n_embd + i;
    float4 *const to = (float4 *)(s.x + at);
    const float4 before = *to;
    float4 sum = make_float4(0, 0, 0, 0);
    if (s.given.sum_d) sum = *(const float4 *)(s.given.sum_d + at);
    for (uint32_t k0 = 0; k0 < rows; k0 += SUM_ROWS) {
        float4 v[SUM_ROWS];
        float w[SUM_ROWS];
#pragma unroll
        for (uint32_t k = 0; k < SUM_ROWS; k++) { /* maybe the last one more than once */
            const struct sum_row r = row[min(k0 + k, rows - 1)];
            v[k] = *(const float4 *)(r.from + i);
            w[k] = r.weight;
        }
#pragma unroll
        for (uint32_t k = 0; k < SUM_ROWS; k++) {
            const bool there = k0 + k < rows; /* no branch: loads stay in front */
            sum.x = there ? fma1(w[k], v[k].x, sum.x) : sum.x;
            sum.y = there ? fma1(w[k], v[k].y, sum.y) : sum.y;
            sum.z = there ? fma1(w[k], v[k].z, sum.z) : sum.z;
            sum.w = there ? fma1(w[k], v[k].w, sum.w) : sum.w;
        }
    }
    sum = make_float4(add(before.x, sum.x), add(before.y, sum.y), add(before.z, sum.z),
                      add(before.w, sum.w));
    *to = sum;
    return sum;
}

/* A block for each token: several would have to find out which is the last one, which
 * takes as long as all rows from L2. */
static __global__ void __launch_bounds__(SUM_THREADS, 1)
    sum_experts(const __grid_constant__ struct sum s)
{
    SHARED_BYTES(bytes); /* x, if its norm follows, and then the rows */
    after_previous();
    const uint32_t token = blockIdx.x, rows = s.n_used + (s.shared_weight ? 1 : 0);
    float *const x = (float *)bytes;
    struct sum_row *const row = (struct sum_row *)(x + (s.next.weight_d ? s.n_embd : 0));
    for (uint32_t k = threadIdx.x; k < rows; k += blockDim.x)
        row[k] = sum_row_of(s, token, k);
    block_sync();
    for (uint32_t i = 4 * threadIdx.x; i < s.n_embd; i += 4 * blockDim.x) {
        const float4 v = sum_four(s, token, i, row, rows);
        if (s.next.weight_d) *(float4 *)(x + i) = v;
    }
    if (s.next.weight_d) norm_row<1>(s.next, token, s.n_embd, x, NULL);
}

/* ---- All of it
 * ------------------------------------------------------------------------------ */

/* Matrices of `rows` rows of n, of the routed experts and of the shared one. */
static void set_shapes(struct product *p, uint32_t n, uint32_t rows, uint32_t n_shared,
                       uint32_t rows_shared)
{
    p->few[0] = few_shape_of(n, rows, p->several);
    p->few[1] = few_shape_of(n_shared, rows_shared, p->several);
}

/* most: rows of a matrix. */
static void multiply(gpu *g, const struct layout *l, const struct product *p,
                     uint32_t most)
{
    const uint32_t routed = p->few[0].blocks, shared = p->few[1].blocks;
    if (l->sorted) product_many(g, p, l->tiles, p->n_parts * div_up(most, MANY_ROWS));
    else product_few(g, p, l->tiles, p->n_parts * (routed > shared ? routed : shared));
}

void gpu_moe_sort(gpu *g, const struct gpu_moe *m, const uint32_t *ids_d, uint32_t tokens,
                  void *scratch_d)
{
    const struct layout l = layout_of(m, tokens, scratch_d);
    if (!l.sorted) return;
    LAUNCH(g, sort_pairs, 1, SORT_THREADS, 3 * m->n_expert * sizeof(uint32_t), ids_d,
           l.pairs, m->n_used, m->n_expert, l.rows, l.tile, l.tiles, l.token_of,
           l.expert_of, l.place);
}

void gpu_moe_products(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                      const uint32_t *ids_d, uint32_t first, uint32_t end,
                      void *scratch_d)
{
    const struct layout l = layout_of(m, acts->tokens, scratch_d);
    struct product p = {};
    p.grids = g->tables_d;
    p.q = (const struct act_block *)acts->q_d;
    p.x = acts->x_d;
    p.act_stride = act_stride(m->n_embd);
    p.x_stride = m->n_embd;
    p.y = l.ff_d;
    p.y_stride = 2 * (size_t)l.ff;
    p.columns = l.rows;
    p.several = acts->tokens > 1;
    p.experts = m->experts_d;
    p.part = GGF_GATE;
    p.n_parts = 2;
    p.part_width = l.ff;
    p.n_expert = m->n_expert;
    p.n_used = m->n_used;
    p.n_ff = m->n_ff;
    p.n_ff_shared = m->n_ff_shared;
    p.n_embd = m->n_embd;
    p.pairs = l.pairs;
    p.expert_first = first;
    p.expert_end = end;
    for (int i = 0; i < 3; i++) {
        p.types[i] = m->types[i];
        p.shared[i] = m->shared[i];
    }
    p.ids = ids_d;
    p.tiles = l.sorted ? l.tile : NULL;
    p.act_rows = l.sorted ? l.token_of : NULL;
    p.then.mid = l.mid;
    p.then.stride = l.blocks;
    p.then.shared_gate = m->shared_gate_d;
    p.then.shared_weight = l.shared_weight;
    const bool fused = !l.sorted && l.tiles <= GPU_COUNTERS;
    if (fused) p.counters = g->counters_d;
    set_shapes(&p, m->n_embd, m->n_ff, m->n_embd, m->n_ff_shared);
    multiply(g, &l, &p, l.ff);

    if (!fused)
        LAUNCH(g, activate, l.rows, ACTIVATE_THREADS, 0, p,
               l.sorted ? l.expert_of : ids_d);

    p.counters = NULL;
    p.q = l.mid;
    p.x = l.ff_d;
    p.act_stride = l.blocks;
    p.x_stride = 2 * l.ff;
    p.y = l.down;
    p.y_stride = m->n_embd;
    p.part = GGF_DOWN;
    p.n_parts = 1;
    set_shapes(&p, m->n_ff, m->n_embd, m->n_ff_shared, m->n_embd);
    multiply(g, &l, &p, m->n_embd);
}

void gpu_moe_sum(gpu *g, const struct gpu_moe *m, uint32_t tokens, const float *weights_d,
                 const struct gpu_moe_given *given, void *scratch_d, float *x_d,
                 const struct gpu_norm_to *next)
{
    const struct layout l = layout_of(m, tokens, scratch_d);
    const uint32_t threads = div_up(m->n_embd / 4, WARP) * WARP;
    struct sum s = {};
    s.down = l.down;
    s.place = l.sorted ? l.place : NULL;
    s.weights = weights_d;
    s.shared_weight = m->n_ff_shared ? l.shared_weight : NULL;
    s.n_used = m->n_used;
    s.pairs = l.pairs;
    s.n_embd = m->n_embd;
    if (given) s.given = *given;
    s.x = x_d;
    if (next) s.next = *next;
    LAUNCH(g, sum_experts, tokens, min(threads, (uint32_t)SUM_THREADS),
           (next ? m->n_embd * sizeof(float) : 0) +
               (m->n_used + 1) * sizeof(struct sum_row),
           s);
}

void gpu_experts(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                 const uint32_t *ids_d, const float *weights_d, void *scratch_d,
                 float *x_d, const struct gpu_norm_to *next)
{
    gpu_moe_sort(g, m, ids_d, acts->tokens, scratch_d);
    gpu_moe_products(g, m, acts, ids_d, 0, m->n_expert + 1, scratch_d);
    gpu_moe_sum(g, m, acts->tokens, weights_d, NULL, scratch_d, x_d, next);
}
