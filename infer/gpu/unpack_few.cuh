/* unpack_few.cuh - stored weights as a lane of product_few() takes a whole block: what
 * unpack.cuh has, and for some types with fewer steps.
 *
 *   codes may be unsigned, less an offset that the sums of the activations take care of;
 *   they may stay at the place in their bytes where they are stored, for which the scale
 *   is so much smaller: the same bits, as that is a power of two;
 *   scales and mins of neighbours come out of words together.
 *
 * few_weights<type> adds to weights<type>
 *
 *   is_unsigned, offset   of codes(), as above; offset times place() is at most 128
 *   place()               what codes of unit u are multiplied with
 *   scales()              divided by that
 *   all_mins()            mins of a block of 256 times the sums of its activations */
#ifndef INFER_GPU_UNPACK_FEW_CUH
#define INFER_GPU_UNPACK_FEW_CUH

#include "unpack.cuh"

template <uint32_t type> struct few_base : weights<type> {
    enum { is_unsigned = 0, offset = 0 };
    static constexpr __device__ uint32_t place(uint32_t) { return 1; }
    template <class B> static __device__ int all_mins(B b, const uint32_t sums[8])
    {
        int sum = 0;
#pragma unroll
        for (uint32_t u = 0; u < 8; u++) {
            uint32_t m[2] = { 0, 0 };
            if constexpr (weights<type>::has_min) weights<type>::mins(b, u, m);
            if (weights<type>::groups == 1) m[1] = m[0];
            sum = dot2_low(sums[u], m[0] | m[1] << 8, sum);
        }
        return sum;
    }
};
template <uint32_t type> struct few_weights : few_base<type> {
};

/* ---- Blocks of 32 ---------------------------------------------------------------------
 */

template <> struct few_weights<GGF_Q4_0> : few_base<GGF_Q4_0> {
    enum { is_unsigned = 1, offset = 8 };
    template <class B, class K>
    static __device__ void codes(B b, uint32_t, uint32_t t, K, uint32_t *lo, uint32_t *hi)
    {
        const uint32_t q = b.word(2 + 4 * t);
        *lo = q & 0x0f0f0f0f;
        *hi = q >> 4 & 0x0f0f0f0f;
    }
};

template <> struct few_weights<GGF_Q5_0> : few_base<GGF_Q5_0> {
    enum { is_unsigned = 1, offset = 16 };
    template <class B, class K>
    static __device__ void codes(B b, uint32_t, uint32_t t, K, uint32_t *lo, uint32_t *hi)
    {
        const uint32_t q = b.word(6 + 4 * t), high = b.word(2) >> 4 * t;
        *lo = (q & 0x0f0f0f0f) | spread_bits(high) << 4;
        *hi = (q >> 4 & 0x0f0f0f0f) | spread_bits(high >> 16) << 4;
    }
};

/* ---- Super-blocks ---------------------------------------------------------------------
 */

template <class B> static inline __device__ int mins_4_5(B b, const uint32_t sums[8])
{
    int sum = 0;
#pragma unroll
    for (uint32_t u = 0; u < 8; u += 2) {
        const uint32_t four = four_mins(b, u / 4);
        const uint32_t twice = pick_bytes(four, 0, u % 4 ? 0x3322 : 0x1100);
        sum = dot2_low(sums[u], twice, sum);
        sum = dot2_high(sums[u + 1], twice, sum);
    }
    return sum;
}

template <> struct few_weights<GGF_Q4_K> : few_base<GGF_Q4_K> {
    enum { is_unsigned = 1 };
    static constexpr __device__ uint32_t place(uint32_t u) { return u % 2 ? 16 : 1; }
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        q4_k_in_place(b, u, t, lo, hi);
    }
    template <class B> static __device__ void scales(B b, uint32_t u, float *s)
    {
        const float d = half_at(b, 0);
        s[0] = times_byte(u % 2 ? d * 0.0625f : d, four_scales(b, u / 4), u % 4);
    }
    template <class B> static __device__ int all_mins(B b, const uint32_t sums[8])
    {
        return mins_4_5(b, sums);
    }
};

template <> struct few_weights<GGF_Q5_K> : few_base<GGF_Q5_K> {
    template <class B> static __device__ void scales(B b, uint32_t u, float *s)
    {
        s[0] = times_byte(half_at(b, 0), four_scales(b, u / 4), u % 4);
    }
    template <class B> static __device__ int all_mins(B b, const uint32_t sums[8])
    {
        return mins_4_5(b, sums);
    }
};

template <> struct few_weights<GGF_Q2_K> : few_base<GGF_Q2_K> {
    enum { is_unsigned = 1 };
    static constexpr __device__ uint32_t place(uint32_t u) { return 1u << 2 * (u % 4); }
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        const B q = b.from(16 + 32 * (u / 4) + 4 * t);
        *lo = q.word(0) & 0x03030303 * place(u);
        *hi = q.word(16) & 0x03030303 * place(u);
    }
    template <class B> static __device__ void scales(B b, uint32_t u, float *s)
    {
        const float d = half_at(b, 80) / (float)place(u);
        const uint32_t four = b.word(4 * (u / 2)) & 0x0f0f0f0f;
        s[0] = times_byte(d, four, u % 2 * 2);
        s[1] = times_byte(d, four, u % 2 * 2 + 1);
    }
    template <class B> static __device__ int all_mins(B b, const uint32_t sums[8])
    {
        int sum = 0;
#pragma unroll
        for (uint32_t u = 0; u < 8; u += 2) {
            const uint32_t four = b.word(2 * u) >> 4 & 0x0f0f0f0f;
            sum = dot2_low(sums[u], four, sum);
            sum = dot2_high(sums[u + 1], four, sum);
        }
        return sum;
    }
};

/* Two bits in place, with the third bit above them; that does not fit for the last of
 * four, which go two bits down. */
template <> struct few_weights<GGF_Q3_K> : few_base<GGF_Q3_K> {
    enum { is_unsigned = 1, offset = 4 };
    static constexpr __device__ uint32_t place(uint32_t u)
    {
        return u % 4 == 3 ? 16 : 1u << 2 * (u % 4);
    }
    static __device__ uint32_t three_bits(uint32_t q, uint32_t third, uint32_t u)
    {
        const int to = u % 4 == 3 ? 6 : 2 * (int)(u % 4) + 2, move = (int)u - to;
        const uint32_t low = (u % 4 == 3 ? q >> 2 : q) & 0x03030303 * place(u);
        return low | ((move > 0 ? third >> move : third << -move) & 0x01010101u << to);
    }
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        const B q = b.from(32 + 32 * (u / 4) + 4 * t), third = b.from(4 * t);
        *lo = three_bits(q.word(0), third.word(0), u);
        *hi = three_bits(q.word(16), third.word(16), u);
    }
    /* Groups 0-3, 4-7, 8-11, 12-15 have a word each. */
    template <class B> static __device__ void scales(B b, uint32_t u, float *s)
    {
        const uint32_t k = u / 2, low = b.word(96 + 4 * (k % 2)), high = b.word(104);
        const uint32_t four =
            ((k < 2 ? low : low >> 4) & 0x0f0f0f0f) | (high >> 2 * k << 4 & 0x30303030);
        const float d = half_at(b, 108) / (float)place(u);
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            const uint32_t n = pick_bytes(four, 0x4b000000, 0x7440 | (u % 2 * 2 + i));
            s[i] = mul(d, sub(bits_float(n), 8388640.0f));
        }
    }
};

template <> struct few_weights<GGF_Q6_K> : few_base<GGF_Q6_K> {
    enum { is_unsigned = 1, offset = 32 };
    static __device__ uint32_t six_bits(uint32_t q, uint32_t high, uint32_t run)
    {
        const uint32_t low = (run < 2 ? q : q >> 4) & 0x0f0f0f0f;
        return low |
               ((run < 2 ? high << (4 - 2 * run) : high >> (2 * run - 4)) & 0x30303030);
    }
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        const uint32_t half = u / 4, run = u % 4;
        const B q = b.from(64 * half + 32 * (run & 1) + 4 * t);
        const B high = b.from(128 + 32 * half + 4 * t);
        *lo = six_bits(q.word(0), high.word(0), run);
        *hi = six_bits(q.word(16), high.word(16), run);
    }
};

#endif
