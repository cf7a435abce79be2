/* rows.cu - which types the device can multiply with, and rows of them decoded. */
#include "unpack.cuh"

enum { ROW_THREADS = 128 };

bool gpu_type(uint32_t type)
{
    switch (type) {
#define ENTRY(T) case T:
        CODED_TYPES(ENTRY)
        FLOAT_TYPES(ENTRY)
#undef ENTRY
        return true;
    default: return false;
    }
}

static __device__ float4 decoded4(uint32_t word, float s, float m, int has_min,
                                  float scale)
{
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = mul(s, (float)(int8_t)(word >> 8 * i));
        if (has_min) v[i] = sub(v[i], m);
        v[i] = mul(v[i], scale);
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}

/* Lane t of four for a unit. */
template <uint32_t type>
static __device__ void decode_unit(const uint8_t *row, uint32_t unit, uint32_t t,
                                   const struct grid_tables *grids, float scale, float *y)
{
    typedef weights<type> W;
    enum { units = W::block / 32 };
    const in_global<W::align> b = { row + (size_t)(unit / units) * W::bytes };
    uint32_t lo, hi, mins[2];
    float s[2], m[2] = { 0, 0 };
    W::codes(b, unit % units, t, global_book<type>(grids), &lo, &hi);
    W::scales(b, unit % units, s);
    if constexpr (W::has_min) {
        const float min = W::min_of(b);
        W::mins(b, unit % units, mins);
        for (int i = 0; i < W::groups; i++) m[i] = mul(min, (float)mins[i]);
    }
    const int last = W::groups - 1;
    float4 *to = (float4 *)(y + 32 * (size_t)unit);
    to[t] = decoded4(lo, s[0], m[0], W::has_min, scale);
    to[4 + t] = decoded4(hi, s[last], m[last], W::has_min, scale);
}

template <uint32_t type>
static __device__ void decode_floats(const uint8_t *row, uint32_t unit, uint32_t t,
                                     float scale, float *y)
{
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
        const uint32_t i = 32 * unit + 16 * half + 4 * t;
        const float4 v = floats<type>::four(row, i);
        *(float4 *)(y + i) = make_float4(mul(v.x, scale), mul(v.y, scale),
                                         mul(v.z, scale), mul(v.w, scale));
    }
}

static __global__ void rows(struct gpu_matrix m, const struct grid_tables *grids,
                            const int32_t *ids, float *y)
{
    after_previous();
    const uint32_t at = blockIdx.x * ROW_THREADS + threadIdx.x, unit = at / 4, t = at % 4;
    if (unit >= m.n / 32) return;
    const uint8_t *row =
        (const uint8_t *)m.data_d + (size_t)(uint32_t)ids[blockIdx.y] * m.row_bytes;
    float *to = y + (size_t)blockIdx.y * m.n;
    switch (m.type) {
#define CASE(T)                                                                          \
    case T: decode_unit<T>(row, unit, t, grids, m.scale, to); break;
        CODED_TYPES(CASE)
#undef CASE
#define CASE(T)                                                                          \
    case T: decode_floats<T>(row, unit, t, m.scale, to); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

void gpu_rows(gpu *g, const struct gpu_matrix *m, const int32_t *ids_d, uint32_t n_ids,
              float *y_d)
{
    const dim3 grid(div_up(m->n / 32 * 4, ROW_THREADS), n_ids);
    LAUNCH(g, rows, grid, ROW_THREADS, 0, *m, g->tables_d, ids_d, y_d);
}
