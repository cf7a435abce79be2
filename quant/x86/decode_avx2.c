/* decode_avx2.c - decoders with AVX2: codes are brought to bytes, bytes widened to floats
 * 8 at a time.  Products and sums are rounded one by one, as in the plain C decoders,
 * which say what the fields mean. */
#include "../blocks.h"
#include "../decode.h"
#include "../fp.h"
#include "../grids.h"
#include "../scales.h"

#include <immintrin.h>

decl_decode_fn(decode_f16_avx2);
decl_decode_fn(decode_bf16_avx2);
decl_decode_fn(decode_q4_0_avx2);
decl_decode_fn(decode_q4_1_avx2);
decl_decode_fn(decode_q5_0_avx2);
decl_decode_fn(decode_q5_1_avx2);
decl_decode_fn(decode_q8_0_avx2);
decl_decode_fn(decode_q2_k_avx2);
decl_decode_fn(decode_q3_k_avx2);
decl_decode_fn(decode_q4_k_avx2);
decl_decode_fn(decode_q5_k_avx2);
decl_decode_fn(decode_q6_k_avx2);
decl_decode_fn(decode_iq4_nl_avx2);
decl_decode_fn(decode_iq4_xs_avx2);
decl_decode_fn(decode_mxfp4_avx2);

static inline float half(uint16_t h) { return _cvtsh_ss(h); }

static inline __m128i load16(const void *p) { return _mm_loadu_si128(p); }
static inline __m256i load32(const void *p) { return _mm256_loadu_si256(p); }
static inline __m128i low16(__m256i v) { return _mm256_castsi256_si128(v); }
static inline __m128i high16(__m256i v) { return _mm256_extracti128_si256(v, 1); }

/* The lowest 8 bytes, signed. */
static inline __m256 widen8(__m128i v)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}

/* 16 weights: code * d */
static inline void put16(float *dst, __m128i codes, float d)
{
    const __m256 s = _mm256_set1_ps(d);
    _mm256_storeu_ps(dst, _mm256_mul_ps(widen8(codes), s));
    _mm256_storeu_ps(dst + 8, _mm256_mul_ps(widen8(_mm_srli_si128(codes, 8)), s));
}

/* 16 weights: code * d + m */
static inline void put16_add(float *dst, __m128i codes, float d, float m)
{
    const __m256 s = _mm256_set1_ps(d), a = _mm256_set1_ps(m);
    const __m256 lo = _mm256_mul_ps(widen8(codes), s);
    const __m256 hi = _mm256_mul_ps(widen8(_mm_srli_si128(codes, 8)), s);
    _mm256_storeu_ps(dst, _mm256_add_ps(lo, a));
    _mm256_storeu_ps(dst + 8, _mm256_add_ps(hi, a));
}

static inline void put32(float *dst, __m256i codes, float d)
{
    put16(dst, low16(codes), d);
    put16(dst + 16, high16(codes), d);
}

static inline void put32_add(float *dst, __m256i codes, float d, float m)
{
    put16_add(dst, low16(codes), d, m);
    put16_add(dst + 16, high16(codes), d, m);
}

/* 16 bytes of nibbles to 32 bytes: first the low halves, then the high ones. */
static inline __m256i nibbles(const void *qs)
{
    const __m128i v = load16(qs);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* `value` in the bytes whose bit is set, else 0. */
static inline __m256i bits_to_bytes(uint32_t bits, char value)
{
    const __m256i which = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                             0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(value));
}

/* ---- Halves --------------------------------------------------------------- */

decl_decode_fn(decode_f16_avx2)
{
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(load16(p + 2 * i)));
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        dst[i] = half(h);
    }
}

decl_decode_fn(decode_bf16_avx2)
{
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i wide = _mm256_cvtepu16_epi32(load16(p + 2 * i));
        _mm256_storeu_si256((void *)(dst + i), _mm256_slli_epi32(wide, 16));
    }
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        dst[i] = bf16_to_f32(h);
    }
}

/* ---- Blocks of 32 --------------------------------------------------------- */

decl_decode_fn(decode_q4_0_avx2)
{
    const struct block_q4_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        put32(dst, _mm256_sub_epi8(nibbles(b->qs), _mm256_set1_epi8(8)), half(b->d));
}

decl_decode_fn(decode_q4_1_avx2)
{
    const struct block_q4_1 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        put32_add(dst, nibbles(b->qs), half(b->d), half(b->m));
}

decl_decode_fn(decode_q5_0_avx2)
{
    const struct block_q5_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        /* low + 16 * bit - 16 */
        const __m256i clear = bits_to_bytes(~b->qh, 16);
        put32(dst, _mm256_sub_epi8(nibbles(b->qs), clear), half(b->d));
    }
}

decl_decode_fn(decode_q5_1_avx2)
{
    const struct block_q5_1 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const __m256i codes = _mm256_or_si256(nibbles(b->qs), bits_to_bytes(b->qh, 16));
        put32_add(dst, codes, half(b->d), half(b->m));
    }
}

decl_decode_fn(decode_q8_0_avx2)
{
    const struct block_q8_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) put32(dst, load32(b->qs), half(b->d));
}

static inline __m256i levels_of(const int8_t table[16], const void *qs)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(table)), nibbles(qs));
}

decl_decode_fn(decode_iq4_nl_avx2)
{
    const struct block_iq4_nl *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        put32(dst, levels_of(levels_iq4_nl, b->qs), half(b->d));
}

decl_decode_fn(decode_mxfp4_avx2)
{
    const struct block_mxfp4 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32)
        put32(dst, levels_of(levels_fp4, b->qs), e8m0_half(b->e));
}

decl_decode_fn(decode_iq4_xs_avx2)
{
    const struct block_iq4_xs *b = src;
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d);
        for (int k = 0; k < 8; k++, dst += 32) {
            const int low = b->scales_l[k / 2] >> 4 * (k & 1) & 15;
            const int scale = low | (b->scales_h >> 2 * k & 3) << 4;
            put32(dst, levels_of(levels_iq4_nl, b->qs + 16 * k), d * (float)(scale - 32));
        }
    }
}

/* ---- K-quants ------------------------------------------------------------- */

/* The 2 bits at 2 * run of 32 bytes. */
static inline __m256i field2(__m256i v, int run)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(2 * run)),
                            _mm256_set1_epi8(3));
}

/* `value` in the bytes that have bit `run` set. */
static inline __m256i where_bit(__m256i v, int run, char value)
{
    const __m256i bit = _mm256_set1_epi8((char)(1 << run));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(value));
}

decl_decode_fn(decode_q2_k_avx2)
{
    const struct block_q2_k *b = src;
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d), dmin = half(b->dmin);
        const uint8_t *s = b->scales;
        for (int h = 0; h < 2; h++) {
            const __m256i qs = load32(b->qs + 32 * h);
            for (int run = 0; run < 4; run++, dst += 32, s += 2) {
                const __m256i codes = field2(qs, run);
                put16_add(dst, low16(codes), d * (float)(s[0] & 15),
                          -(dmin * (float)(s[0] >> 4)));
                put16_add(dst + 16, high16(codes), d * (float)(s[1] & 15),
                          -(dmin * (float)(s[1] >> 4)));
            }
        }
    }
}

decl_decode_fn(decode_q3_k_avx2)
{
    const struct block_q3_k *b = src;
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d);
        const __m256i ones = _mm256_set1_epi8(-1);
        const __m256i low_four =
            _mm256_xor_si256(load32(b->hmask), ones); /* take 4 away */
        uint8_t scale[16];
        unpack_scales_q3(b->scales, scale);
        for (int run = 0; run < 8; run++, dst += 32) {
            const __m256i q = field2(load32(b->qs + 32 * (run / 4)), run % 4);
            const __m256i codes = _mm256_sub_epi8(q, where_bit(low_four, run, 4));
            put16(dst, low16(codes), d * (float)(scale[2 * run] - 32));
            put16(dst + 16, high16(codes), d * (float)(scale[2 * run + 1] - 32));
        }
    }
}

decl_decode_fn(decode_q4_k_avx2)
{
    const struct block_q4_k *b = src;
    const __m256i mask = _mm256_set1_epi8(15);
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d), dmin = half(b->dmin);
        uint8_t scale[8], min[8];
        unpack_scale_min(b->scales, scale, min);
        for (int j = 0; j < 8; j += 2, dst += 64) {
            const __m256i v = load32(b->qs + 16 * j);
            put32_add(dst, _mm256_and_si256(v, mask), d * (float)scale[j],
                      -(dmin * (float)min[j]));
            put32_add(dst + 32, _mm256_and_si256(_mm256_srli_epi16(v, 4), mask),
                      d * (float)scale[j + 1], -(dmin * (float)min[j + 1]));
        }
    }
}

decl_decode_fn(decode_q5_k_avx2)
{
    const struct block_q5_k *b = src;
    const __m256i mask = _mm256_set1_epi8(15);
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d), dmin = half(b->dmin);
        const __m256i qh = load32(b->qh);
        uint8_t scale[8], min[8];
        unpack_scale_min(b->scales, scale, min);
        for (int j = 0; j < 8; j++, dst += 32) {
            const __m256i v = load32(b->qs + 32 * (j / 2));
            const __m256i low =
                _mm256_and_si256(j & 1 ? _mm256_srli_epi16(v, 4) : v, mask);
            put32_add(dst, _mm256_or_si256(low, where_bit(qh, j, 16)),
                      d * (float)scale[j], -(dmin * (float)min[j]));
        }
    }
}

decl_decode_fn(decode_q6_k_avx2)
{
    const struct block_q6_k *b = src;
    const __m256i mask = _mm256_set1_epi8(15), middle = _mm256_set1_epi8(32);
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d);
        const int8_t *s = b->scales;
        for (int h = 0; h < 2; h++) {
            const __m256i qh = load32(b->qh + 32 * h);
            for (int run = 0; run < 4; run++, dst += 32, s += 2) {
                const __m256i v = load32(b->ql + 64 * h + 32 * (run & 1));
                const __m256i low =
                    _mm256_and_si256(run & 2 ? _mm256_srli_epi16(v, 4) : v, mask);
                const __m256i high = _mm256_slli_epi16(field2(qh, run), 4);
                const __m256i codes = _mm256_sub_epi8(_mm256_or_si256(low, high), middle);
                put16(dst, low16(codes), d * (float)s[0]);
                put16(dst + 16, high16(codes), d * (float)s[1]);
            }
        }
    }
}
