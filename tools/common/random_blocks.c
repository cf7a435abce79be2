/* random_blocks.c - see random_blocks.h. */
#include "random_blocks.h"

#include "../../infer/splitmix.h"
#include "../../libgguf/libgguf.h"

#include <math.h>
#include <string.h>

/* Turns any number into a well mixed one. */
static uint64_t mix(uint64_t v) { return splitmix64(&v); }

void random_seed(struct random *r, uint64_t seed, uint64_t stream)
{
    uint64_t v = mix(seed) ^ mix(~stream);
    for (int i = 0; i < 4; i++) r->s[i] = v = mix(v);
}

static uint64_t rotate(uint64_t v, int by) { return v << by | v >> (64 - by); }

uint64_t random_u64(struct random *r)
{
    uint64_t *s = r->s;
    const uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

float random_uniform(struct random *r) { return (float)(random_u64(r) >> 40) * 0x1p-24f; }

/* The sum of four uniform numbers of 16 bits, less its mean: variance 4/12 * 2^32. */
float random_normal(struct random *r)
{
    const uint64_t v = random_u64(r);
    const int sum = (int)(v & 0xffff) + (int)(v >> 16 & 0xffff) +
                    (int)(v >> 32 & 0xffff) + (int)(v >> 48);
    return (float)(sum - 131070) * (1.7320508f / 65536);
}

/* FNV-1a. */
uint64_t random_hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325;
    while (*text) h = (h ^ (uint8_t)*text++) * 0x100000001b3;
    return h;
}

/* Where a block keeps its half-precision scale d and offset m, m as a multiple of d that
 * makes the mean zero, and the standard deviation of a block with random payload and
 * d = 1 (measured over a million weights; the types of one or two bits, and those with
 * an offset for each scale, by hand). */
static const struct layout {
    float deviation; /* 0: not one of these */
    int d, m;        /* byte offset, or -1 */
    float m_per_d;
} layouts[GGF_TYPE_COUNT] = {
    [GGF_Q4_0] = { 4.61f, 0, -1, 0 },     [GGF_Q4_1] = { 4.61f, 0, 2, -7.5f },
    [GGF_Q5_0] = { 9.23f, 0, -1, 0 },     [GGF_Q5_1] = { 9.23f, 0, 2, -15.5f },
    [GGF_Q8_0] = { 73.9f, 0, -1, 0 },     [GGF_Q2_K] = { 9.842f, 80, 82, 1.5f },
    [GGF_Q3_K] = { 43.3f, 108, -1, 0 },   [GGF_Q4_K] = { 168.3f, 0, 2, 7.5f },
    [GGF_Q5_K] = { 337.1f, 0, 2, 15.5f }, [GGF_Q6_K] = { 1365, 208, -1, 0 },
    [GGF_IQ2_XXS] = { 53.4f, 0, -1, 0 },  [GGF_IQ2_XS] = { 55.7f, 0, -1, 0 },
    [GGF_IQ2_S] = { 56.5f, 0, -1, 0 },    [GGF_IQ3_XXS] = { 142, 0, -1, 0 },
    [GGF_IQ3_S] = { 140.3f, 0, -1, 0 },   [GGF_IQ1_S] = { 7.18f, 0, -1, 0 },
    [GGF_IQ4_NL] = { 67.2f, 0, -1, 0 },   [GGF_IQ4_XS] = { 1243, 0, -1, 0 },
    [GGF_TQ1_0] = { 0.8165f, 52, -1, 0 }, [GGF_TQ2_0] = { 1.118f, 64, -1, 0 },
    [GGF_Q1_0] = { 1, 0, -1, 0 },         [GGF_Q2_0] = { 1.118f, 0, -1, 0 },
    [GGF_IQ1_M] = { 7.18f, -1, -1, 0 },   [GGF_MXFP4] = { 2.923f, -1, -1, 0 },
    [GGF_NVFP4] = { 2.923f, -1, -1, 0 },
};

static bool is_float(uint32_t type)
{
    return type == GGF_F32 || type == GGF_F16 || type == GGF_BF16;
}

bool random_blocks_known(uint32_t type)
{
    return is_float(type) || (type < GGF_TYPE_COUNT && layouts[type].deviation > 0);
}

/* Half precision of a number that is in range, rounded to nearest. */
static uint16_t to_half(float v)
{
    const uint16_t sign = signbit(v) ? 0x8000 : 0;
    int exponent;
    const float fraction = frexpf(fabsf(v), &exponent); /* in [0.5, 1) */
    if (exponent < -13) return sign | (uint16_t)lrintf(ldexpf(fabsf(v), 24));
    return (uint16_t)(sign | ((exponent + 13) * 1024 + (int)lrintf(fraction * 2048)));
}

static void store_half(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }

/* MXFP4's scale is a power of two: 127 stands for 1. */
static uint8_t mxfp4_scale(float d)
{
    const long e = 127 + lrintf(log2f(d));
    return (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
}

/* The byte of NVFP4's scale format (E4M3, halved: 0x38 stands for 1) nearest to d. */
static uint8_t nvfp4_scale(float d)
{
    uint8_t best = 1;
    float error = INFINITY;
    for (uint8_t u = 1; u < 0x7f; u++) {
        const int e = u >> 3, m = u & 7;
        const float v = e ? ldexpf(1 + (float)m / 8, e - 7) : ldexpf((float)m, -9);
        if (fabsf(v - d) < error) {
            error = fabsf(v - d);
            best = u;
        }
    }
    return best;
}

/* IQ1_M hides its scale in the top four bits of four words. */
static void set_iq1m_scale(uint8_t *block, uint16_t half)
{
    for (int i = 0; i < 4; i++)
        block[48 + 2 * i + 1] =
            (uint8_t)((block[48 + 2 * i + 1] & 15) | (half >> 4 * i & 15) << 4);
}

/* Sub-blocks of a K type have a scale and an offset of their own.  Made equal they leave
 * each of them the mean zero; otherwise a matrix would answer to the mean of its input
 * above all, and every token would look alike to what follows, routers among it. */
static void equal_offsets(uint32_t type, uint8_t *block)
{
    if (type == GGF_Q2_K)
        for (int i = 0; i < 16; i++) block[i] = (uint8_t)((block[i] & 15) * 17);
    if (type != GGF_Q4_K && type != GGF_Q5_K) return;
    memcpy(block + 8, block + 4, 4); /* six bits of the first, two of the last four */
    for (int i = 12; i < 16; i++) block[i] = (uint8_t)((block[i] & 15) * 17);
}

static void fill_floats(uint32_t type, float deviation, struct random *r, uint8_t *p,
                        size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float v = deviation * random_normal(r);
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        if (type == GGF_F32) memcpy(p + 4 * i, &v, sizeof v);
        else store_half(p + 2 * i, type == GGF_F16 ? to_half(v) : (uint16_t)(bits >> 16));
    }
}

static void fill_bytes(struct random *r, uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        const uint64_t v = random_u64(r);
        memcpy(p, &v, 8);
    }
    const uint64_t v = random_u64(r);
    memcpy(p, &v, n);
}

void random_blocks(uint32_t type, float deviation, struct random *r, void *dst, size_t n)
{
    if (is_float(type)) {
        fill_floats(type, deviation, r, dst, n);
        return;
    }
    const struct layout *l = &layouts[type];
    const size_t bytes = ggf_type_info(type)->block_bytes;
    const float d = deviation / l->deviation;
    const uint16_t half = to_half(d), half_m = to_half(d * l->m_per_d);
    const uint8_t mxfp4 = mxfp4_scale(d), nvfp4 = nvfp4_scale(d);
    uint8_t *p = dst;
    fill_bytes(r, p, n * bytes);
    for (size_t i = 0; i < n; i++, p += bytes) {
        if (l->d >= 0) store_half(p + l->d, half);
        if (l->m >= 0) store_half(p + l->m, half_m);
        equal_offsets(type, p);
        if (type == GGF_IQ1_M) set_iq1m_scale(p, half);
        if (type == GGF_MXFP4) p[0] = mxfp4;
        if (type == GGF_NVFP4) memset(p, nvfp4, 4);
    }
}
