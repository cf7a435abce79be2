/* tile_float.h - products of F32, F16 and BF16 rows with plain floats.
 *
 * A template: x86/mul_float_avx2.c and its like define a vector and include this file.  A
 * (row, token) has one vector of partial sums, element i in lane i % LANES, whatever else
 * is computed beside it; a rest of less than a vector counts as filled up with zeros.
 *
 * What the includer defines:
 *
 *   LANES, vf                        a vector of floats
 *   TOKENS                           how many tokens times four rows fit in registers
 *   load_f32, load_f16, load_bf16    a vector from any address
 *   madd(a, b, c)                    a * b + c, rounded once
 *   sum_lanes(v)                     in a fixed order */
#include "mul.h"
#include "unroll.h"

#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef vf (*load_fn)(const void *p);

enum { ROWS = 4 };

INLINE const char *at(const void *base, size_t stride, int i, size_t offset)
{
    return (const char *)base + (size_t)i * stride + offset;
}

/* R rows of `size` bytes an element, times T tokens. */
INLINE void float_tile(float *y, size_t y_stride, const void *w, size_t w_stride,
                       const void *x, size_t x_stride, size_t n, const int R, const int T,
                       const load_fn load, const size_t size)
{
    const size_t whole = n / LANES * LANES;
    vf sum[ROWS][TOKENS];
    LOOP for (int r = 0; r < R; r++) LOOP for (int t = 0; t < T; t++) sum[r][t] =
        (vf){ 0 };
    for (size_t i = 0; i < whole; i += LANES) {
        vf v[TOKENS];
        LOOP for (int t = 0; t < T; t++) v[t] =
            load_f32(at(x, x_stride, t, i * sizeof(float)));
        LOOP for (int r = 0; r < R; r++)
        {
            const vf row = load(at(w, w_stride, r, i * size));
            LOOP for (int t = 0; t < T; t++) sum[r][t] = madd(row, v[t], sum[r][t]);
        }
    }
    if (whole < n) {
        vf v[TOKENS];
        LOOP for (int t = 0; t < T; t++)
        {
            float rest[LANES] = { 0 };
            memcpy(rest, at(x, x_stride, t, whole * sizeof(float)),
                   (n - whole) * sizeof(float));
            v[t] = load_f32(rest);
        }
        LOOP for (int r = 0; r < R; r++)
        {
            float rest[LANES] = { 0 };
            memcpy(rest, at(w, w_stride, r, whole * size), (n - whole) * size);
            const vf row = load(rest);
            LOOP for (int t = 0; t < T; t++) sum[r][t] = madd(row, v[t], sum[r][t]);
        }
    }
    LOOP for (int t = 0; t < T; t++) LOOP for (int r = 0; r < R; r++)
        y[(size_t)t * y_stride + (size_t)r] = sum_lanes(sum[r][t]);
}

#define CALL(r, t, load, size)                                                           \
    float_tile(y + j * y_stride + i, y_stride, (const char *)w + i * w_stride, w_stride, \
               (const char *)x + j * x_stride, x_stride, n, r, t, load, size)

#define FLOAT_KERNEL(type, load, size)                                                   \
    static decl_mul_fn(mul_##type)                                                       \
    {                                                                                    \
        for (size_t i = 0; i < rows;) {                                                  \
            const int four = rows - i >= ROWS;                                           \
            for (size_t j = 0; j < tokens;) {                                            \
                const int many = tokens - j >= TOKENS;                                   \
                if (four && many) CALL(ROWS, TOKENS, load, size);                        \
                else if (four) CALL(ROWS, 1, load, size);                                \
                else if (many) CALL(1, TOKENS, load, size);                              \
                else CALL(1, 1, load, size);                                             \
                j += many ? TOKENS : 1;                                                  \
            }                                                                            \
            i += four ? ROWS : 1;                                                        \
        }                                                                                \
    }

FLOAT_KERNEL(f32, load_f32, 4)
FLOAT_KERNEL(f16, load_f16, 2)
FLOAT_KERNEL(bf16, load_bf16, 2)

/* The kernel of a type, or NULL if it has to be decoded first. */
INLINE mul_fn float_kernel(uint32_t type)
{
    return type == GGF_F32    ? mul_f32
           : type == GGF_F16  ? mul_f16
           : type == GGF_BF16 ? mul_bf16
                              : NULL;
}
