/* units.cpp - what the lanes of a warp do together: shuffles, votes, matrix units. */
#include "lanes.h"

namespace ptx
{

/* ---- Among the lanes of a warp
 * ---------------------------------------------------------
 */

template <bool exclusive_or>
static void shuffle_lanes(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t *r = w.words(in.o[0]), from[WARP], good = 0;
    const uint32_t *a = w.words(in.o[2]), *b = w.words(in.o[3]), *c = w.words(in.o[4]);
    uint32_t got[WARP];
    for (uint32_t i = 0; i < WARP; i++) {
        const uint32_t keep = c[i] >> 8 & 31, most = (i & keep) | (c[i] & 31 & ~keep);
        from[i] = exclusive_or ? i ^ (b[i] & 31) : (i & keep) | (b[i] & 31 & ~keep);
        if (from[i] <= most) good |= 1u << i;
        else from[i] = i;
        if (!(lanes >> from[i] & 1)) w.fail(in, "lane %u is not there", from[i]);
        got[i] = a[from[i]];
    }
    memcpy(r, got, sizeof got);
    if (in.o[1] != NONE) put_set(w, in.o[1], lanes, good);
}

static void ballot(warp &w, const instr &in, uint32_t lanes)
{
    const uint32_t set = *w.words(in.o[1]) & lanes;
    FOR_LANES(i, lanes) w.words(in.o[0])[i] = set;
}

static void greatest(warp &w, const instr &in, uint32_t lanes)
{
    uint32_t most = 0;
    FOR_LANES(i, lanes) most = std::max(most, w.words(in.o[1])[i]);
    FOR_LANES(i, lanes) w.words(in.o[0])[i] = most;
}

static void sync_warp(warp &w, const instr &, uint32_t) { w.syncs++; }

/* ---- Matrix units -------------------------------------------------------------------
 * "Matrix fragments for mma.m16n8k16" and its kin: lane 4 g + t has of A rows g and g +
 * 8, of B column g, of both word t of each 16 bytes; of C columns 2 t and 2 t + 1. */

/* Blocks of 8 rows, halves of 16 columns of A; A, B: bytes with a sign or without. */
template <int blocks, int halves, class AT, class BT>
static void mma_bytes(warp &w, const instr &in, uint32_t)
{
    enum { N = 2 * blocks, A = N, B = A + blocks * halves, C = B + halves };
    uint32_t c[N][WARP];
    for (uint32_t lane = 0; lane < WARP; lane++)
        for (uint32_t i = 0; i < N; i++) {
            const uint32_t row = lane / 4, column = 2 * (lane % 4) + i % 2;
            uint32_t sum = w.words(in.o[C + i])[lane];
            for (uint32_t half = 0; half < halves; half++)
                for (uint32_t t = 0; t < 4; t++)
                    sum = (uint32_t)dot4<AT, BT>(
                        w.words(in.o[A + blocks * half + i / 2])[4 * row + t],
                        w.words(in.o[B + half])[4 * column + t], (int32_t)sum);
            c[i][lane] = sum;
        }
    for (uint32_t i = 0; i < N; i++) memcpy(w.words(in.o[i]), c[i], sizeof c[i]);
}

/* Operands `first` to first + 3 and `depth` products, of what a[16][] and b[][8] hold.
 * The order in which a unit adds is not told: here the sum is rounded once. */
template <uint32_t depth, size_t columns, size_t rows>
static void float_sums(warp &w, const instr &in, uint32_t first,
                       const float (&a)[16][columns], const float (&b)[rows][8])
{
    static_assert(depth <= columns && depth <= rows, "what there is");
    float c[4][WARP];
    for (uint32_t lane = 0; lane < WARP; lane++)
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
            double sum = ((float *)w.at(in.o[first + i]))[lane];
            for (uint32_t k = 0; k < depth; k++) sum += (double)a[row][k] * b[k][column];
            c[i][lane] = (float)sum;
        }
    for (uint32_t i = 0; i < 4; i++) memcpy(w.at(in.o[i]), c[i], sizeof c[i]);
}

template <int halves> /* of 8 columns of A */
static void mma_halves(warp &w, const instr &in, uint32_t)
{
    enum { A = 4, B = A + 2 * halves, C = B + halves };
    float a[16][16], b[16][8];
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const uint32_t g = lane / 4, t = lane % 4;
        for (uint32_t k = 0; k < halves; k++)
            for (uint32_t j = 0; j < 2; j++) {
                const uint32_t column = 8 * k + 2 * t + j;
                for (uint32_t r = 0; r < 2; r++)
                    a[g + 8 * r][column] = f16_to_f32(
                        (uint16_t)(w.words(in.o[A + 2 * k + r])[lane] >> 16 * j));
                b[column][g] =
                    f16_to_f32((uint16_t)(w.words(in.o[B + k])[lane] >> 16 * j));
            }
    }
    float_sums<8 * halves>(w, in, C, a, b);
}

/* Operands must be rounded: what a unit makes of lower bits is not told. */
static void mma_tf32(warp &w, const instr &in, uint32_t)
{
    enum { A = 4, B = 8, C = 10 };
    float a[16][8], b[8][8];
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t lane = 0; lane < WARP; lane++) {
            const uint32_t word = w.words(in.o[A + i])[lane];
            const uint32_t row = lane / 4, column = lane % 4;
            if (word & 0x1fff && (word & 0x7f800000) != 0x7f800000)
                w.fail(in, "%08x of lane %u is not tf32", word, lane);
            float *const to = i < 4 ? &a[row + i % 2 * 8][column + i / 2 * 4]
                                    : &b[column + (i - 4) * 4][row];
            memcpy(to, &word, sizeof word);
        }
    float_sums<8>(w, in, C, a, b);
}

template <class A, class B> static void byte_units(table &t, const std::string &types)
{
    const std::string mma = "mma.sync.aligned.", rest = ".row.col.s32" + types;
    t[mma + "m8n8k16" + rest] = { "wwwwww", MEET, mma_bytes<1, 1, A, B> };
    t[mma + "m16n8k16" + rest] = { "wwwwwwwwwww", MEET, mma_bytes<2, 1, A, B> };
    t[mma + "m16n8k32" + rest] = { "wwwwwwwwwwwwww", MEET, mma_bytes<2, 2, A, B> };
}

void add_warp_operations(table &t)
{
    t["shfl.sync.bfly.b32"] = { "qwwww", MEET, shuffle_lanes<true> };
    t["shfl.sync.idx.b32"] = { "qwwww", MEET, shuffle_lanes<false> };
    t["vote.sync.ballot.b32"] = { "wpw", MEET, ballot };
    t["redux.sync.max.u32"] = { "www", MEET, greatest };
    t["bar.warp.sync"] = { "w", MEET, sync_warp };
    const std::string mma = "mma.sync.aligned.";
    byte_units<int8_t, int8_t>(t, ".s8.s8.s32");
    byte_units<uint8_t, int8_t>(t, ".u8.s8.s32");
    byte_units<int8_t, uint8_t>(t, ".s8.u8.s32");
    byte_units<uint8_t, uint8_t>(t, ".u8.u8.s32");
    t[mma + "m16n8k8.row.col.f32.f16.f16.f32"] = { "wwwwwwwwwww", MEET, mma_halves<1> };
    t[mma + "m16n8k16.row.col.f32.f16.f16.f32"] = { "wwwwwwwwwwwwww", MEET,
                                                    mma_halves<2> };
    t[mma + "m16n8k8.row.col.f32.tf32.tf32.f32"] = { "wwwwwwwwwwwwww", MEET, mma_tf32 };
}

} // namespace ptx
