/* mul.c - which product kernel a weight type has on this machine, the float32 reference,
 * and the way for types without a kernel of their own: decode a piece, then multiply
 * floats. */
#include "decode.h"
#include "grid_bytes.h"
#include "grid_words.h"
#include "mul_ref.h"

#include "../libgguf/libgguf.h"

#if defined(__x86_64__)
#include "x86/mul.h"
#elif defined(__aarch64__)
#include "arm/mul.h"
#endif

/* The reference sums in double: what all float variants approach. */
static decl_mul_fn(mul_f32_c)
{
    for (size_t r = 0; r < rows; r++) {
        const float *a = (const void *)((const char *)w + r * w_stride);
        for (size_t t = 0; t < tokens; t++) {
            const float *b = (const void *)((const char *)x + t * x_stride);
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
            y[t * y_stride + r] = (float)sum;
        }
    }
}

/* The variants of one level; NULL where a lower level has to do. */
static mul_fn float_kernel(uint32_t type)
{
    mul_fn f = type == GGF_F32 ? mul_f32_c : NULL;
#if defined(__x86_64__)
    mul_float_init_x86(type, &f);
#elif defined(__aarch64__)
    mul_float_init_arm(type, &f);
#endif
    return f;
}

/* Decode PIECE weights of a few rows at a time and multiply those; the sums of the pieces
 * are added in their order, so that a row's result is its own. */
static void mul_decoded(uint32_t type, float *y, size_t y_stride, const void *w,
                        size_t w_stride, size_t rows, const void *x, size_t x_stride,
                        size_t tokens, size_t n)
{
    enum { ROWS = 4, PIECE = 1024, TOKENS = 64 }; /* PIECE: a multiple of every block */
    const decode_fn decode = decode_for(type);
    const mul_fn mul = float_kernel(GGF_F32);
    float piece[ROWS * PIECE], sum[TOKENS * ROWS];

    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++) y[t * y_stride + r] = 0;
    for (size_t r0 = 0; r0 < rows; r0 += ROWS) {
        const size_t nr = rows - r0 < ROWS ? rows - r0 : ROWS;
        const char *row = (const char *)w + r0 * w_stride;
        for (size_t i = 0; i < n; i += PIECE) {
            const size_t len = n - i < PIECE ? n - i : PIECE;
            for (size_t r = 0; r < nr; r++)
                decode(row + r * w_stride + ggf_row_bytes(type, i), piece + r * PIECE,
                       len);
            for (size_t t0 = 0; t0 < tokens; t0 += TOKENS) {
                const size_t nt = tokens - t0 < TOKENS ? tokens - t0 : TOKENS;
                const char *act = (const char *)x + t0 * x_stride + i * sizeof(float);
                mul(sum, ROWS, piece, PIECE * sizeof(float), nr, act, x_stride, nt, len);
                for (size_t t = 0; t < nt; t++)
                    for (size_t r = 0; r < nr; r++)
                        y[(t0 + t) * y_stride + r0 + r] += sum[t * ROWS + r];
            }
        }
    }
}

/* Kept from clang-format, which would move every entry with each new one. */
/* clang-format off */
#define DECODED_TYPES(X) \
    X(F16) X(BF16) X(F64) X(I8) X(I16) X(I32) X(I64) \
    X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q8_1) \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(Q8_K) \
    X(IQ2_XXS) X(IQ2_XS) X(IQ2_S) X(IQ3_XXS) X(IQ3_S) X(IQ1_S) X(IQ1_M) \
    X(IQ4_NL) X(IQ4_XS) X(TQ1_0) X(TQ2_0) X(MXFP4) X(NVFP4) X(Q1_0) X(Q2_0)
/* clang-format on */

#define DEFINE(type)                                                                     \
    static decl_mul_fn(mul_decoded_##type)                                               \
    {                                                                                    \
        mul_decoded(GGF_##type, y, y_stride, w, w_stride, rows, x, x_stride, tokens, n); \
    }
DECODED_TYPES(DEFINE)

#define ENTRY(type) [GGF_##type] = mul_decoded_##type,
static const mul_fn decoded[GGF_TYPE_COUNT] = { DECODED_TYPES(ENTRY) };

static const mul_fn encoded[GGF_TYPE_COUNT] = {
    [GGF_Q4_0] = mul_q4_0_c,       [GGF_Q4_1] = mul_q4_1_c,
    [GGF_Q5_0] = mul_q5_0_c,       [GGF_Q5_1] = mul_q5_1_c,
    [GGF_Q8_0] = mul_q8_0_c,       [GGF_IQ4_NL] = mul_iq4_nl_c,
    [GGF_MXFP4] = mul_mxfp4_c,     [GGF_Q2_K] = mul_q2_k_c,
    [GGF_Q3_K] = mul_q3_k_c,       [GGF_Q4_K] = mul_q4_k_c,
    [GGF_Q5_K] = mul_q5_k_c,       [GGF_Q6_K] = mul_q6_k_c,
    [GGF_IQ4_XS] = mul_iq4_xs_c,   [GGF_IQ2_XXS] = mul_iq2_xxs_c,
    [GGF_IQ2_XS] = mul_iq2_xs_c,   [GGF_IQ2_S] = mul_iq2_s_c,
    [GGF_IQ3_XXS] = mul_iq3_xxs_c, [GGF_IQ3_S] = mul_iq3_s_c,
};

mul_fn mul_for(uint32_t type, enum act_kind kind)
{
    if (type >= GGF_TYPE_COUNT) return NULL;
    if (kind == ACT_F32) {
        const mul_fn own = float_kernel(type);
        return own ? own : decoded[type];
    }
    if (kind != act_kind_of(type, 0)) return NULL;
    mul_fn f = encoded[type];
    grid_words_make();
    grid_bytes_make();
#if defined(__x86_64__)
    mul_init_x86(type, &f);
#elif defined(__aarch64__)
    mul_init_arm(type, &f);
#endif
    return f;
}

bool mul_is_portable(uint32_t type) { return act_kind_of(type, 0) != ACT_F32; }
