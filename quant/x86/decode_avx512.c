/* decode_avx512.c - decoders with AVX-512.
 *
 * A code of 4 bits or 2 is not computed with: all 16 values it can have for the scale in
 * force are computed at once, by the operations of the plain C decoder, and vpermps
 * picks. It looks at the low 4 bits of an index only, so that nothing need be masked; a
 * code of 2 bits has its table four times over. */
#include "../blocks.h"
#include "../decode.h"
#include "../fp.h"
#include "../grids.h"
#include "../scales.h"

#include <immintrin.h>

decl_decode_fn(decode_f16_avx512);
decl_decode_fn(decode_bf16_avx512);
decl_decode_fn(decode_q4_0_avx512);
decl_decode_fn(decode_q4_1_avx512);
decl_decode_fn(decode_q5_0_avx512);
decl_decode_fn(decode_q5_1_avx512);
decl_decode_fn(decode_q8_0_avx512);
decl_decode_fn(decode_q2_k_avx512);
decl_decode_fn(decode_q3_k_avx512);
decl_decode_fn(decode_q4_k_avx512);
decl_decode_fn(decode_q5_k_avx512);
decl_decode_fn(decode_q6_k_avx512);
decl_decode_fn(decode_iq4_nl_avx512);
decl_decode_fn(decode_iq4_xs_avx512);
decl_decode_fn(decode_mxfp4_avx512);

static inline float half(uint16_t h) { return _cvtsh_ss(h); }

static inline __m128i load16(const void *p) { return _mm_loadu_si128(p); }
static inline __m256i load32(const void *p) { return _mm256_loadu_si256(p); }

/* 16 bytes to the low bytes of 16 integers. */
static inline __m512i spread16(const void *p) { return _mm512_cvtepu8_epi32(load16(p)); }

/* first, first + 1, ... first + 15 */
static inline __m512 count_from(int first)
{
    const __m512i i =
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(i, _mm512_set1_epi32(first)));
}

/* 0 1 2 3 0 1 2 3 ... */
static inline __m512 count4(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}

static inline __m512 times(__m512 levels, float d)
{
    return _mm512_mul_ps(levels, _mm512_set1_ps(d));
}

static inline __m512 times_plus(__m512 levels, float d, float m)
{
    return _mm512_add_ps(times(levels, d), _mm512_set1_ps(m));
}

static inline void pick16(float *dst, __m512i codes, __m512 table)
{
    _mm512_storeu_ps(dst, _mm512_permutexvar_ps(codes, table));
}

/* 16 bytes of nibbles to 32 weights: first the low halves, then the high ones. */
static inline void pick32(float *dst, const void *qs, __m512 table)
{
    const __m512i v = spread16(qs);
    pick16(dst, v, table);
    pick16(dst + 16, _mm512_srli_epi32(v, 4), table);
}

/* Wider codes are computed with: 16 signed bytes times d, plus m. */
static inline __m512 product16(__m128i codes, float d)
{
    return times(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)), d);
}

static inline void put16(float *dst, __m128i codes, float d)
{
    _mm512_storeu_ps(dst, product16(codes, d));
}

static inline void put16_add(float *dst, __m128i codes, float d, float m)
{
    _mm512_storeu_ps(dst, _mm512_add_ps(product16(codes, d), _mm512_set1_ps(m)));
}

static inline __m128i low16(__m256i v) { return _mm256_castsi256_si128(v); }
static inline __m128i high16(__m256i v) { return _mm256_extracti128_si256(v, 1); }

/* 16 bytes of nibbles to 32 bytes: first the low halves, then the high ones. */
static inline __m256i nibbles(const void *qs)
{
    const __m128i v = load16(qs);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(v, 4), v);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Nibble `upper` (0 or 1) of 32 bytes. */
static inline __m256i nibble(const void *qs, int upper)
{
    const __m256i v = load32(qs);
    return _mm256_and_si256(upper ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
}

/* The 2 bits at 2 * run of 32 bytes. */
static inline __m256i field2(__m256i v, int run)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(2 * run)),
                            _mm256_set1_epi8(3));
}

/* ---- Halves --------------------------------------------------------------- */

decl_decode_fn(decode_f16_avx512)
{
    const uint8_t *p = src;
    for (; n >= 16; n -= 16, p += 32, dst += 16)
        _mm512_storeu_ps(dst, _mm512_cvtph_ps(load32(p)));
    const __mmask16 rest = (__mmask16)((1u << n) - 1);
    _mm512_mask_storeu_ps(dst, rest, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(rest, p)));
}

decl_decode_fn(decode_bf16_avx512)
{
    const uint8_t *p = src;
    for (; n >= 16; n -= 16, p += 32, dst += 16) {
        const __m512i wide = _mm512_cvtepu16_epi32(load32(p));
        _mm512_storeu_si512(dst, _mm512_slli_epi32(wide, 16));
    }
    const __mmask16 rest = (__mmask16)((1u << n) - 1);
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rest, p));
    _mm512_mask_storeu_epi32(dst, rest, _mm512_slli_epi32(wide, 16));
}

/* ---- Blocks of 32 --------------------------------------------------------- */

decl_decode_fn(decode_q4_0_avx512)
{
    const struct block_q4_0 *b = src;
    const __m512 levels = count_from(-8);
    for (; n; n -= QK_32, b++, dst += QK_32)
        pick32(dst, b->qs, times(levels, half(b->d)));
}

decl_decode_fn(decode_q4_1_avx512)
{
    const struct block_q4_1 *b = src;
    const __m512 levels = count_from(0);
    for (; n; n -= QK_32, b++, dst += QK_32)
        pick32(dst, b->qs, times_plus(levels, half(b->d), half(b->m)));
}

decl_decode_fn(decode_q5_0_avx512)
{
    const struct block_q5_0 *b = src;
    const __m256i sixteen = _mm256_set1_epi8(16);
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = half(b->d);
        const __m256i low = nibbles(b->qs);
        const __m256i codes = _mm256_mask_sub_epi8(low, ~b->qh, low, sixteen);
        put16(dst, low16(codes), d);
        put16(dst + 16, high16(codes), d);
    }
}

decl_decode_fn(decode_q5_1_avx512)
{
    const struct block_q5_1 *b = src;
    const __m256i sixteen = _mm256_set1_epi8(16);
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = half(b->d), m = half(b->m);
        const __m256i low = nibbles(b->qs);
        const __m256i codes = _mm256_mask_add_epi8(low, b->qh, low, sixteen);
        put16_add(dst, low16(codes), d, m);
        put16_add(dst + 16, high16(codes), d, m);
    }
}

decl_decode_fn(decode_q8_0_avx512)
{
    const struct block_q8_0 *b = src;
    for (; n; n -= QK_32, b++, dst += QK_32) {
        const float d = half(b->d);
        put16(dst, load16(b->qs), d);
        put16(dst + 16, load16(b->qs + 16), d);
    }
}

static inline __m512 load_levels(const int8_t table[16])
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(table)));
}

decl_decode_fn(decode_iq4_nl_avx512)
{
    const struct block_iq4_nl *b = src;
    const __m512 levels = load_levels(levels_iq4_nl);
    for (; n; n -= QK_32, b++, dst += QK_32)
        pick32(dst, b->qs, times(levels, half(b->d)));
}

decl_decode_fn(decode_mxfp4_avx512)
{
    const struct block_mxfp4 *b = src;
    const __m512 levels = load_levels(levels_fp4);
    for (; n; n -= QK_32, b++, dst += QK_32)
        pick32(dst, b->qs, times(levels, e8m0_half(b->e)));
}

decl_decode_fn(decode_iq4_xs_avx512)
{
    const struct block_iq4_xs *b = src;
    const __m512 levels = load_levels(levels_iq4_nl);
    for (; n; n -= QK_K, b++) {
        const float d = half(b->d);
        for (int k = 0; k < 8; k++, dst += 32) {
            const int low = b->scales_l[k / 2] >> 4 * (k & 1) & 15;
            const int scale = low | (b->scales_h >> 2 * k & 3) << 4;
            pick32(dst, b->qs + 16 * k, times(levels, d * (float)(scale - 32)));
        }
    }
}

/* ---- K-quants ------------------------------------------------------------- */

/* d times 8 or 16 small integers. */
static inline void scale8(float out[8], const uint8_t v[8], float d)
{
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)v));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(d)));
}

static inline void scale16(float out[16], __m512i v, float d)
{
    _mm512_storeu_ps(out, times(_mm512_cvtepi32_ps(v), d));
}

decl_decode_fn(decode_q2_k_avx512)
{
    const struct block_q2_k *b = src;
    const __m512 levels = count4();
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const __m512i scales = spread16(b->scales);
        float dl[16], ml[16];
        scale16(dl, _mm512_and_si512(scales, _mm512_set1_epi32(15)), half(b->d));
        scale16(ml, _mm512_srli_epi32(scales, 4), -half(b->dmin));
        for (int part = 0; part < 4; part++) { /* 16 bytes: 4 runs, 32 weights apart */
            const __m512i v = spread16(b->qs + 16 * part);
            for (int run = 0; run < 4; run++) {
                const int at = 8 * (part / 2) + 2 * run + part % 2;
                const __m512 table = times_plus(levels, dl[at], ml[at]);
                pick16(dst + 16 * at, _mm512_srli_epi32(v, 2 * (unsigned)run), table);
            }
        }
    }
}

decl_decode_fn(decode_q3_k_avx512)
{
    const struct block_q3_k *b = src;
    const __m256i four = _mm256_set1_epi8(4);
    for (; n; n -= QK_K, b++) {
        const __m256i hmask = load32(b->hmask);
        uint8_t scale[16];
        float dl[16];
        unpack_scales_q3(b->scales, scale);
        scale16(dl, _mm512_sub_epi32(spread16(scale), _mm512_set1_epi32(32)), half(b->d));
        for (int run = 0; run < 8; run++, dst += 32) {
            const __m256i q = field2(load32(b->qs + 32 * (run / 4)), run % 4);
            const __m256i bit = _mm256_set1_epi8((char)(1 << run));
            const __mmask32 clear = _mm256_testn_epi8_mask(hmask, bit);
            const __m256i codes = _mm256_mask_sub_epi8(q, clear, q, four);
            put16(dst, low16(codes), dl[2 * run]);
            put16(dst + 16, high16(codes), dl[2 * run + 1]);
        }
    }
}

decl_decode_fn(decode_q4_k_avx512)
{
    const struct block_q4_k *b = src;
    const __m512 levels = count_from(0);
    for (; n; n -= QK_K, b++) {
        uint8_t scale[8], min[8];
        float dl[8], ml[8];
        unpack_scale_min(b->scales, scale, min);
        scale8(dl, scale, half(b->d));
        scale8(ml, min, -half(b->dmin));
        for (int j = 0; j < 8; j += 2, dst += 64) {
            const __m512 low = times_plus(levels, dl[j], ml[j]);
            const __m512 high = times_plus(levels, dl[j + 1], ml[j + 1]);
            for (int i = 0; i < 32; i += 16) {
                const __m512i v = spread16(b->qs + 16 * j + i);
                pick16(dst + i, v, low);
                pick16(dst + 32 + i, _mm512_srli_epi32(v, 4), high);
            }
        }
    }
}

decl_decode_fn(decode_q5_k_avx512)
{
    const struct block_q5_k *b = src;
    const __m256i sixteen = _mm256_set1_epi8(16);
    for (; n; n -= QK_K, b++) {
        const __m256i qh = load32(b->qh);
        uint8_t scale[8], min[8];
        float dl[8], ml[8];
        unpack_scale_min(b->scales, scale, min);
        scale8(dl, scale, half(b->d));
        scale8(ml, min, -half(b->dmin));
        for (int j = 0; j < 8; j++, dst += 32) {
            const __m256i low = nibble(b->qs + 32 * (j / 2), j & 1);
            const __m256i bit = _mm256_set1_epi8((char)(1 << j));
            const __mmask32 set = _mm256_test_epi8_mask(qh, bit);
            const __m256i codes = _mm256_mask_add_epi8(low, set, low, sixteen);
            put16_add(dst, low16(codes), dl[j], ml[j]);
            put16_add(dst + 16, high16(codes), dl[j], ml[j]);
        }
    }
}

decl_decode_fn(decode_q6_k_avx512)
{
    const struct block_q6_k *b = src;
    const __m256i middle = _mm256_set1_epi8(32);
    for (; n; n -= QK_K, b++) {
        const __m128i scales = load16(b->scales);
        float dl[16];
        scale16(dl, _mm512_cvtepi8_epi32(scales), half(b->d));
        for (int run = 0; run < 8; run++, dst += 32) {
            const __m256i low = nibble(b->ql + 64 * (run / 4) + 32 * (run & 1), run & 2);
            const __m256i high = field2(load32(b->qh + 32 * (run / 4)), run % 4);
            const __m256i codes = _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
            const __m256i q = _mm256_sub_epi8(codes, middle);
            put16(dst, low16(q), dl[2 * run]);
            put16(dst + 16, high16(q), dl[2 * run + 1]);
        }
    }
}
