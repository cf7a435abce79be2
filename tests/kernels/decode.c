/* decode.c - the decoders: same bits as plain C for any bits of input. */
#include "check.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/decode.h"

#include <math.h>
#include <string.h>

enum { MAX_BLOCKS = 5, PLAIN_MAX = 67, BENCH = 4096 };

/* Equal bits; any NaN equals any other, since which of two operands' NaN a product keeps
 * is up to the compiler. */
static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

static void check_type(uint32_t type, const struct ggf_type_info *t)
{
    const decode_fn fn = decode_for(type);
    const decode_fn ref = (decode_fn)check_begin((check_fn)fn, "decode_%s", t->name);
    if (!ref) return;
    const size_t most = t->block == 1 ? PLAIN_MAX : MAX_BLOCKS;
    struct area in = area_new((size_t)ggf_row_bytes(type, BENCH));
    struct area out = area_new(BENCH * sizeof(float));
    float expected[MAX_BLOCKS * 256];

    for (int pattern = 0; pattern < ROW_PATTERNS; pattern++)
        for (size_t blocks = 0; blocks <= most && !check_failed(); blocks++)
            for (int high = 0; high < 2; high++) {
                const size_t n = blocks * t->block;
                const size_t bytes = (size_t)ggf_row_bytes(type, n);
                void *src = area_place(&in, bytes, high);
                float *dst = area_place(&out, n * sizeof *dst, high);
                fill_row(type, src, n, (enum row_pattern)pattern);
                ref(src, expected, n);
                fn(src, dst, n);
                if (!same(dst, expected, n))
                    check_fail("blocks=%zu pattern=%d: other values", blocks, pattern);
                if (!area_intact(&out, dst, n * sizeof *dst))
                    check_fail("blocks=%zu pattern=%d: wrote outside", blocks, pattern);
            }
    void *src = area_place(&in, (size_t)ggf_row_bytes(type, BENCH), 0);
    float *dst = area_place(&out, BENCH * sizeof *dst, 0);
    fill_row(type, src, BENCH, ROW_RANDOM);
    for (bench_begin(BENCH * sizeof *dst); bench_more();) fn(src, dst, BENCH);
    check_end();
    area_free(&in);
    area_free(&out);
}

void check_decode(void)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        const struct ggf_type_info *t = ggf_type_info(type);
        if (t) check_type(type, t);
    }
}
