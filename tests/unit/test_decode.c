/* test_decode.c - the decoders against the reference engine's output, bit for bit. */
#include "suite.h"
#include "vectors.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/blocks.h"
#include "../../quant/decode.h"
#include "../../quant/fp.h"
#include "../../quant/grids.h"
#include "../../quant/scales.h"

#include <math.h>

static const uint32_t with_vectors[] = {
    GGF_Q4_0,  GGF_Q4_1,  GGF_Q5_0,  GGF_Q5_1,    GGF_Q8_0,   GGF_Q2_K,  GGF_Q3_K,
    GGF_Q4_K,  GGF_Q5_K,  GGF_Q6_K,  GGF_IQ2_XXS, GGF_IQ2_XS, GGF_IQ2_S, GGF_IQ3_XXS,
    GGF_IQ3_S, GGF_IQ1_S, GGF_IQ1_M, GGF_IQ4_NL,  GGF_IQ4_XS, GGF_TQ1_0, GGF_TQ2_0,
    GGF_MXFP4, GGF_NVFP4, GGF_Q1_0,  GGF_Q2_0,
};
enum { N_WITH_VECTORS = sizeof with_vectors / sizeof *with_vectors };

START_TEST(vectors)
{
    const uint32_t type = with_vectors[_i];
    char lower[16], name[64];
    vector_type_name(lower, ggf_type_name(type));
    size_t in_bytes, out_bytes;
    snprintf(name, sizeof name, "d_%s.in.bin", lower);
    uint8_t *in = vector_load(name, &in_bytes);
    snprintf(name, sizeof name, "d_%s.out.f32", lower);
    float *expected = vector_load(name, &out_bytes);
    const size_t n = out_bytes / sizeof *expected;
    ck_assert_uint_eq(ggf_row_bytes(type, n), in_bytes);

    float *got = malloc(out_bytes);
    ck_assert_ptr_nonnull(got);
    decode_for(type)(in, got, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(!memcmp(got + i, expected + i, sizeof *got),
                      "%s: element %zu is %a, not %a", lower, i, (double)got[i],
                      (double)expected[i]);
    free(in);
    free(expected);
    free(got);
}
END_TEST

/* A row may start at any address. */
START_TEST(unaligned)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        const struct ggf_type_info *t = ggf_type_info(type);
        if (!t) continue;
        const size_t n = 2 * t->block, bytes = (size_t)ggf_row_bytes(type, n);
        uint8_t row[2 * 292 + 2];
        float a[512], b[512];
        for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(i * 37 % 113);
        decode_for(type)(row, a, n);
        memmove(row + 1, row, bytes);
        decode_for(type)(row + 1, b, n);
        ck_assert_msg(!memcmp(a, b, n * sizeof *a), "%s", t->name);
    }
}
END_TEST

START_TEST(every_type_has_one)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT + 5; type++)
        ck_assert_msg(!decode_for(type) == !ggf_type_info(type), "type %u", type);
}
END_TEST

START_TEST(integers)
{
    const int8_t i8[2] = { -128, 127 };
    const int16_t i16[2] = { -32768, 32767 };
    const int32_t i32[2] = { -2147483647 - 1, 16777217 };
    const int64_t i64[2] = { -((int64_t)1 << 62), 3 };
    const double f64[2] = { 0.1, -1e300 };
    float out[2];
    decode_for(GGF_I8)(i8, out, 2);
    ck_assert(out[0] == -128.0f && out[1] == 127.0f);
    decode_for(GGF_I16)(i16, out, 2);
    ck_assert(out[0] == -32768.0f && out[1] == 32767.0f);
    decode_for(GGF_I32)(i32, out, 2);
    ck_assert(out[0] == -2147483648.0f && out[1] == 16777216.0f);
    decode_for(GGF_I64)(i64, out, 2);
    ck_assert(out[0] == -0x1p62f && out[1] == 3.0f);
    decode_for(GGF_F64)(f64, out, 2);
    ck_assert(out[0] == 0.1f && isinf(out[1]) && out[1] < 0);
}
END_TEST

/* Types that only live in memory have no vectors. */
START_TEST(activations)
{
    struct block_q8_1 q1 = { .d = f32_to_f16(0.5f) };
    struct block_q8_k qk = { .d = 0.3f };
    for (int i = 0; i < 32; i++) q1.qs[i] = (int8_t)(i * 8 - 128);
    for (int i = 0; i < 256; i++) qk.qs[i] = (int8_t)(i - 128);
    float out[256];
    decode_for(GGF_Q8_1)(&q1, out, 32);
    for (int i = 0; i < 32; i++) ck_assert(out[i] == (float)(i * 8 - 128) * 0.5f);
    decode_for(GGF_Q8_K)(&qk, out, 256);
    for (int i = 0; i < 256; i++) ck_assert(out[i] == (float)(i - 128) * 0.3f);
}
END_TEST

/* Every binary16 and bfloat16 survives the way to binary32 and back. */
START_TEST(halves_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            ck_assert_uint_eq(f32_to_f16(f), (h & 0x8000) | 0x7e00);
        } else {
            ck_assert_uint_eq(f32_to_f16(f), h);
        }
        ck_assert_uint_eq(f32_to_bf16(b), isnan(b) ? h | 64 : h);
    }
    ck_assert(f16_to_f32(0x3555) == 0x1.554p-2f);
    ck_assert(f16_to_f32(1) == 0x1p-24f);
    ck_assert(f16_to_f32(0x7bff) == 65504.0f);
}
END_TEST

/* Half way between neighbours goes to the even one, anything else to the nearer. */
START_TEST(halves_round_to_nearest_even)
{
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const double a = (double)f16_to_f32((uint16_t)h);
        const double b = (double)f16_to_f32((uint16_t)(h + 1));
        const float middle = (float)((a + b) / 2); /* exact: one more bit */
        ck_assert_uint_eq(f32_to_f16(middle), h + (h & 1));
        ck_assert_uint_eq(f32_to_f16(nextafterf(middle, 0)), h);
        ck_assert_uint_eq(f32_to_f16(nextafterf(middle, 1e30f)), h + 1);
        ck_assert_uint_eq(f32_to_f16(-middle), 0x8000 | (h + (h & 1)));
    }
    ck_assert_uint_eq(f32_to_f16(nextafterf(65520, 0)), 0x7bff);
    ck_assert_uint_eq(f32_to_f16(65520), 0x7c00);
    ck_assert_uint_eq(f32_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(f32_to_f16(0x1p-25f), 0);
    ck_assert_uint_eq(f32_to_f16(nextafterf(0x1p-25f, 1)), 1);
    ck_assert_uint_eq(f32_to_f16(-0x1p-149f), 0x8000);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x3f808000)), 0x3f80);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x3f818000)), 0x3f82);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x3f808001)), 0x3f81);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x7f7fffff)), 0x7f80);
    ck_assert_uint_eq(f32_to_bf16(f32_of_bits(0x00008001)), 1);
}
END_TEST

START_TEST(small_scales)
{
    for (int e = 0; e < 255; e++) ck_assert(e8m0_half((uint8_t)e) == ldexpf(1, e - 128));
    for (int u = 0; u < 127; u++) {
        const int exp = u >> 3, man = u & 7;
        const double v = exp ? ldexp(1 + man / 8.0, exp - 7) : ldexp(man, -9);
        ck_assert(ue4m3_half((uint8_t)u) == (float)(v / 2));
        ck_assert(ue4m3_half((uint8_t)(u | 128)) == (float)(v / 2));
    }
    ck_assert(ue4m3_half(127) == 0);
}
END_TEST

/* The closed forms in grids.h against the level maps of the formats. */
START_TEST(grid_levels)
{
    static const uint8_t iq2[] = { 8, 25, 43 };
    static const uint8_t iq3_xxs[] = { 4, 12, 20, 28, 36, 44, 52, 62 };
    for (int l = 0; l < 3; l++)
        for (int j = 0; j < 8; j++) {
            const uint64_t bytes = grid_bytes_iq2((uint16_t)(l << 2 * j));
            for (int k = 0; k < 8; k++)
                ck_assert_uint_eq(bytes >> 8 * k & 255, iq2[k == j ? l : 0]);
        }
    for (int l = 0; l < 8; l++)
        for (int j = 0; j < 4; j++) {
            const uint32_t x = grid_bytes_iq3_xxs((uint16_t)(l << 3 * j));
            const uint32_t s = grid_bytes_iq3_s((uint16_t)(l << 3 * j));
            for (int k = 0; k < 4; k++) {
                ck_assert_uint_eq(x >> 8 * k & 255, iq3_xxs[k == j ? l : 0]);
                ck_assert_uint_eq(s >> 8 * k & 255, k == j ? 2 * l + 1 : 1);
            }
        }
    for (unsigned s = 0; s < 128; s++) {
        ck_assert_uint_eq(grid_signs(s) & 127, s);
        ck_assert_int_eq(__builtin_parity(grid_signs(s)), 0);
    }
}
END_TEST

/* The lists rise, so no code comes twice, and 2-bit levels stay below 3. */
START_TEST(grid_lists)
{
    static const struct {
        const uint16_t *codes;
        size_t n;
        int dims;
    } grids[] = {
        { grid_iq2_xxs, 256, 8 }, { grid_iq2_xs, 512, 8 },  { grid_iq2_s, 1024, 8 },
        { grid_iq1, 2048, 8 },    { grid_iq3_xxs, 256, 4 }, { grid_iq3_s, 512, 4 },
    };
    for (size_t g = 0; g < sizeof grids / sizeof *grids; g++)
        for (size_t i = 0; i < grids[g].n; i++) {
            const uint16_t code = grids[g].codes[i];
            if (i) ck_assert_uint_gt(code, grids[g].codes[i - 1]);
            if (grids[g].dims == 8) ck_assert_uint_eq(code & code >> 1 & 0x5555, 0);
            else ck_assert_uint_lt(code, 4096);
        }
}
END_TEST

START_TEST(packed_scales)
{
    uint8_t a[16], b[16], packed[12], x[16], y[16];
    for (unsigned round = 0; round < 64; round++) {
        for (unsigned j = 0; j < 16; j++) {
            a[j] = (uint8_t)((round + j * 11) & 63);
            b[j] = (uint8_t)((round * 7 + j * 29) & 63);
        }
        pack_scale_min(a, b, packed);
        unpack_scale_min(packed, x, y);
        ck_assert(!memcmp(a, x, 8) && !memcmp(b, y, 8));
        pack_scales_q3(a, packed);
        unpack_scales_q3(packed, x);
        ck_assert(!memcmp(a, x, 16));
    }
}
END_TEST

int main(void)
{
    TCase *vectors_case = tcase_create("vectors");
    tcase_add_loop_test(vectors_case, vectors, 0, N_WITH_VECTORS);
    tcase_add_test(vectors_case, every_type_has_one);
    tcase_add_test(vectors_case, unaligned);
    tcase_add_test(vectors_case, integers);
    tcase_add_test(vectors_case, activations);
    TCase *pieces_case = tcase_create("pieces");
    tcase_add_test(pieces_case, halves_round_trip);
    tcase_add_test(pieces_case, halves_round_to_nearest_even);
    tcase_add_test(pieces_case, small_scales);
    tcase_add_test(pieces_case, grid_levels);
    tcase_add_test(pieces_case, grid_lists);
    tcase_add_test(pieces_case, packed_scales);
    return SUITE_RUN("decode", vectors_case, pieces_case);
}
