/* attention.cu - gated full attention: everything between the two projections.  Norms and
 * rotation (prepare.cuh), what goes to the cache, and parts (attend_few.cu,
 * attend_many.cu) to results.
 */
#include "acts.cuh"
#include "prepare.cuh"

extern "C" {
#include "../../quant/grids.h"
}

#include <math.h>
#include <string.h>

constexpr uint32_t PREPARE_WARPS = 4;
constexpr uint32_t BLOCKS = 256; /* of attend_many(), that we would like to have */

/* ---- Queries, keys and values -------------------------------------------------- */

/* A warp for each head of each kind: queries are normed, rotated and scaled where they
 * are; keys, normed and rotated, and values go to the cache. */
static __global__ void __launch_bounds__(PREPARE_WARPS *WARP)
    prepare(const __grid_constant__ struct attend a,
            const __grid_constant__ struct frequencies f)
{
    SHARED(struct angles, angles, );
    SHARED(float, rows, [PREPARE_WARPS * MOST_DIM]);
    after_previous();
    const uint32_t token = blockIdx.x;
    const uint32_t pos = *a.pos + a.first + token;
    angles_at(&angles, a.n_rot / 2, pos, &f);
    block_sync();

    const uint32_t index = blockIdx.y * PREPARE_WARPS + warp_of();
    float *const row = rows + warp_of() * MOST_DIM;
    if (index >= a.n_head + 2 * a.n_head_kv) return;
    if (index < a.n_head) {
        float *const x = a.projected + token * a.width + (size_t)2 * index * a.head_dim;
        query_row(&a, &angles, x, row);
        for (uint32_t i = lane_of(); i < a.head_dim; i += WARP) x[i] = row[i];
    } else {
        const uint32_t i = index - a.n_head;
        store_row(&a, &angles, token, pos, i % a.n_head_kv, i >= a.n_head_kv, row);
    }
}

/* ---- Parts to results ---------------------------------------------------------- */

/* A block for a head of a token, a thread for four numbers of it.  q: NULL, or the row of
 * the first token, in which the heads are whole blocks. */
static __global__ void __launch_bounds__(MOST_DIM / 4)
    merge(struct attend a, struct act_block *q)
{
    SHARED(float, weights, [ATTEND_SPLITS]);
    SHARED(float4, numbers, [MOST_DIM / 4]);
    after_previous();
    const uint32_t head = blockIdx.x, token = blockIdx.y, dim = a.head_dim;
    const uint32_t seen = visible(&a, token), n = div_up(seen, split_keys(&a, seen));
    const size_t part = part_of(&a, token, head, 0);
    if (warp_of() == 0) {
        float max = -INFINITY, sum = 0;
        for (uint32_t i = lane_of(); i < n; i += WARP)
            max = fmaxf(max, a.sums[2 * (part + i)]);
        max = warp_max(max);
        for (uint32_t i = lane_of(); i < n; i += WARP) {
            weights[i] = weight_of(a.sums[2 * (part + i)], max);
            sum += weights[i] * a.sums[2 * (part + i) + 1];
        }
        sum = warp_sum(sum);
        for (uint32_t i = lane_of(); i < n; i += WARP) weights[i] /= sum;
    }
    block_sync();
    const uint32_t at = 4 * threadIdx.x, row = a.n_head * dim;
    float4 sum = make_float4(0, 0, 0, 0);
    if (at < dim) {
        const float *const values = a.parts + part * dim + at;
        const float *const gate = query(&a, token, head) + dim + at;
#pragma unroll 8
        for (uint32_t i = 0; i < n; i++) {
            const float4 v = *(const float4 *)(values + (size_t)i * dim);
            sum.x += weights[i] * v.x;
            sum.y += weights[i] * v.y;
            sum.z += weights[i] * v.z;
            sum.w += weights[i] * v.w;
        }
        sum.x /= 1.0f + expf(-gate[0]);
        sum.y /= 1.0f + expf(-gate[1]);
        sum.z /= 1.0f + expf(-gate[2]);
        sum.w /= 1.0f + expf(-gate[3]);
        *(float4 *)(a.out + (size_t)token * row + head * dim + at) = sum;
    }
    if (!q) return;
    numbers[threadIdx.x] = sum;
    block_sync();
    if (warp_of() == 0) {
        const float4 v[2] = { numbers[lane_of()], numbers[WARP + lane_of()] };
        acts_put(q + (size_t)token * act_stride(row), row, head, v);
    }
}

/* ---- Calls ------------------------------------------------------------------------- */

/* How many splits the keys of so many tokens get, at most. */
static uint32_t splits_of(const struct gpu_attention *a, uint32_t tokens)
{
    if (tokens <= ATTEND_FEW) return ATTEND_SPLITS;
    const uint32_t rows = a->n_head / a->n_head_kv * tokens;
    const uint32_t splits = BLOCKS / (div_up(rows, ATTEND_ROWS) * a->n_head_kv);
    return splits < 1 ? 1 : splits > ATTEND_SPLITS ? ATTEND_SPLITS : splits;
}

static uint64_t part_bytes(const struct gpu_attention *a, uint32_t tokens)
{
    return (uint64_t)tokens * a->n_head * splits_of(a, tokens) * (a->head_dim + 2) *
           sizeof(float);
}

uint64_t gpu_attention_scratch(const struct gpu_attention *a, uint32_t tokens)
{
    uint64_t bytes = part_bytes(a, tokens < ATTEND_FEW ? tokens : ATTEND_FEW);
    for (uint32_t t = ATTEND_FEW + 1; t <= tokens; t++)
        if (part_bytes(a, t) > bytes) bytes = part_bytes(a, t);
    return bytes;
}

static struct kv_rows rows_of(uint32_t type, void *data, uint32_t dim)
{
    struct kv_rows kv = { (uint8_t *)data, type, (uint32_t)ggf_row_bytes(type, dim), {} };
    static_assert(sizeof kv.levels == sizeof levels_iq4_nl, "16 bytes");
    memcpy(&kv.levels, levels_iq4_nl, sizeof kv.levels);
    return kv;
}

/* For those who want no rounding tokens are taken ATTEND_FEW at a time. */
void gpu_attend(gpu *g, const struct gpu_attention *c, const struct gpu_kv *kv,
                const uint32_t *pos_d, uint32_t tokens, float *projected_d, size_t width,
                void *scratch_d, float *out_d, void *q_d)
{
    const bool exact = gpu_kv_exact(kv->type_k, kv->type_v);
    const bool few = tokens <= ATTEND_FEW || exact;
    const uint32_t step = few && tokens > ATTEND_FEW ? ATTEND_FEW : tokens;
    const uint32_t row = c->n_head * c->head_dim;
    const bool blocks = c->head_dim == ACT_BLOCK;
    struct act_block *q = blocks ? (struct act_block *)q_d : NULL;
    struct attend a = {};
    a.n_head = c->n_head;
    a.n_head_kv = c->n_head_kv;
    a.head_dim = c->head_dim;
    a.n_rot = c->n_rot;
    a.n_ctx = kv->n_ctx;
    a.eps = c->eps;
    a.q_norm = c->q_norm_d;
    a.k_norm = c->k_norm_d;
    a.k = rows_of(kv->type_k, kv->k_d, c->head_dim);
    a.v = rows_of(kv->type_v, kv->v_d, c->head_dim);
    a.pos = pos_d;
    a.projected = projected_d;
    a.out = out_d;
    a.tokens = tokens;
    a.width = width;
    a.alone = few;
    a.splits = splits_of(c, step);
    a.parts = (float *)scratch_d;
    a.sums = a.parts + (size_t)step * c->n_head * a.splits * c->head_dim;

    struct frequencies f;
    for (uint32_t i = 0; i < c->n_rot / 2; i++)
        f.f[i] = pow(c->rope_base, -2.0 * i / c->n_rot);
    const uint32_t heads = c->n_head + 2 * c->n_head_kv;
    if (tokens > 1)
        LAUNCH(g, prepare, dim3(tokens, div_up(heads, PREPARE_WARPS)),
               PREPARE_WARPS * WARP, 0, a, f);
    for (; a.first < tokens; a.first += step) {
        a.tokens = tokens - a.first < step ? tokens - a.first : step;
        if (few) attend_few(g, &a, tokens > 1 ? NULL : &f);
        else attend_many(g, &a);
        LAUNCH(g, merge, dim3(a.n_head, a.tokens), div_up(a.head_dim, 4 * WARP) * WARP, 0,
               a, q);
        if (q) q += (size_t)step * act_stride(row);
        a.projected += step * width;
        a.out += (size_t)step * row;
    }
    if (q_d && !blocks) {
        const struct gpu_acts acts = { out_d, q_d, row, tokens };
        gpu_encode(g, &acts);
    }
}
