/* unpack_many.cuh - stored weights as product_many() multiplies them: what unpack.cuh
 * has, and for some types with fewer steps.
 *
 *   codes may stay at the place in their bytes where they are stored, or where they are
 *   near to, for which the scale is so much smaller: the same bits, as that is a power of
 *   two; bytes may have no sign then;
 *   scales and mins of neighbours come out of words together.
 *
 * many_weights<type> adds to weights<type>
 *
 *   is_unsigned    of the bytes that codes() gives
 *   any_scale      a scale may be near the largest float
 *   by_word        codes() takes nothing but words, 4 t bytes from a place that is the
 *                  same for each t, and 4-aligned rows are worth a way of their own
 *   four_units()   scales of units 4 half to 4 half + 3 of a block of 256
 *   two_mins()     of units t and t + 4, in bytes: two numbers for each, those of its
 *                  halves */
#ifndef INFER_GPU_UNPACK_MANY_CUH
#define INFER_GPU_UNPACK_MANY_CUH

#include "unpack.cuh"

template <uint32_t type> struct many_base : weights<type> {
    enum { is_unsigned = 0, any_scale = 0, by_word = 0 };
    template <class B> static __device__ void four_units(B b, uint32_t half, float *s)
    {
        float scale[2];
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) {
            weights<type>::scales(b, 4 * half + k, scale);
#pragma unroll
            for (uint32_t i = 0; i < weights<type>::groups; i++)
                s[weights<type>::groups * k + i] = scale[i];
        }
    }
    template <class B> static __device__ uint32_t two_mins(B b, uint32_t t)
    {
        uint32_t mins = 0;
#pragma unroll
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t m[2];
            weights<type>::mins(b, t + 4 * k, m);
            mins |= (m[0] | m[weights<type>::groups - 1] << 8) << 16 * k;
        }
        return mins;
    }
};
template <uint32_t type> struct many_weights : many_base<type> {
};

template <> struct many_weights<GGF_MXFP4> : many_base<GGF_MXFP4> {
    enum { any_scale = 1 };
};

template <> struct many_weights<GGF_Q8_0> : many_base<GGF_Q8_0> {
    enum { by_word = 1 };
};

/* Scales of odd units are `times` times smaller, as their codes are larger. */
template <uint32_t type, uint32_t times> struct many_4_5 : many_base<type> {
    enum { is_unsigned = 1 };
    template <class B> static __device__ void four_units(B b, uint32_t half, float *s)
    {
        const float d = half_at(b, 0), d_odd = mul(d, 1.0f / times);
        const uint32_t four = four_scales(b, half);
#pragma unroll
        for (uint32_t k = 0; k < 4; k++) s[k] = times_byte(k % 2 ? d_odd : d, four, k);
    }
    template <class B> static __device__ uint32_t two_mins(B b, uint32_t t)
    {
        return pick_bytes(four_mins(b, 0), four_mins(b, 1), 0x4400 + 0x1111 * t);
    }
};

template <> struct many_weights<GGF_Q4_K> : many_4_5<GGF_Q4_K, 16> {
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        q4_k_in_place(b, u, t, lo, hi);
    }
};

/* Odd units: codes times eight, where the fifth bit is the byte's last. */
template <> struct many_weights<GGF_Q5_K> : many_4_5<GGF_Q5_K, 8> {
    static __device__ uint32_t five_bits(uint32_t q, uint32_t high, uint32_t u)
    {
        const int to = u % 2 ? 7 : 4, move = to - (int)u;
        const uint32_t fifth = move < 0 ? high >> -move : high << move;
        return (u % 2 ? q >> 1 & 0x78787878 : q & 0x0f0f0f0f) |
               (fifth & 0x01010101u << to);
    }
    template <class B, class K>
    static __device__ void codes(B b, uint32_t u, uint32_t t, K, uint32_t *lo,
                                 uint32_t *hi)
    {
        const B q = b.from(48 + 32 * (u / 2) + 4 * t), high = b.from(16 + 4 * t);
        *lo = five_bits(q.word(0), high.word(0), u);
        *hi = five_bits(q.word(16), high.word(16), u);
    }
};

/* Codes times four fill a byte, whose sign is then theirs; scales are a quarter. */
template <> struct many_weights<GGF_Q6_K> : many_base<GGF_Q6_K> {
    enum { by_word = 1 };
    static __device__ uint32_t six_bits(uint32_t q, uint32_t high, uint32_t run)
    {
        const uint32_t less = high ^ 0xaaaaaaaa; /* 32, of all four that are there */
        return ((run < 2 ? q << 2 : q >> 2) & 0x3c3c3c3c) |
               (less << (6 - 2 * run) & 0xc0c0c0c0);
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
    /* Signed bytes as 128 more than they are, behind the bits of 2^23. */
    template <class B> static __device__ void four_units(B b, uint32_t half, float *s)
    {
        const float d = mul(half_at(b, 208), 0.25f);
        const B at = b.from(192 + 8 * half);
#pragma unroll
        for (uint32_t k = 0; k < 8; k += 4) {
            const uint32_t four = at.word(k) ^ 0x80808080;
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                const uint32_t n = pick_bytes(four, 0x4b000000, 0x7440 | i);
                s[k + i] = mul(d, sub(bits_float(n), 8388736.0f));
            }
        }
    }
};

#endif
