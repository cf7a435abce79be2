/* synth_fill.c - see synth_fill.h. */
#include "synth_fill.h"

#include "random_blocks.h"

#include <math.h>
#include <stdlib.h>

uint64_t synth_bytes(const struct tensor *t)
{
    return ggf_row_bytes(t->type, t->ne[0]) * t->ne[1] * t->ne[2];
}

/* ---- The router ------------------------------------------------------------ */

/* z with P(normal > z) = p, for 0 < p < 1/2, to 1/256: coarse enough that the last bit of
 * a machine's erfc() does not matter. */
static double normal_tail(double p)
{
    double low = 0, high = 8;
    while (high - low > 1e-9) {
        const double z = (low + high) / 2;
        if (erfc(z / sqrt(2)) / 2 > p) low = z;
        else high = z;
    }
    return rint(256 * low) / 256;
}

/* A router row of length s gives logits of deviation s.  The largest `used` logits win;
 * their threshold t is that of equal rows.  So an expert is chosen with probability p if
 * s = t / normal_tail(p).  Here p falls with the expert's rank r as 1 / (r + 1)^skew, at
 * most 0.4, and the ranks are dealt out at random. */
static void popularity(const struct synth *s, struct random *r, float *lengths)
{
    const uint64_t n = s->shape.experts;
    const double mean = (double)s->shape.used / (double)n;
    const double threshold = mean < 0.5 ? normal_tail(mean) : 0;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += pow((double)i + 1, -(double)s->skew);
    for (uint64_t i = 0; i < n; i++) {
        const double p =
            (double)s->shape.used * pow((double)i + 1, -(double)s->skew) / sum;
        lengths[i] = 1;
        if (s->skew > 0 && threshold > 0)
            lengths[i] = (float)(threshold / normal_tail(p < 0.4 ? p : 0.4));
    }
    for (uint64_t i = n; i-- > 1;) { /* shuffle */
        const uint64_t j = random_u64(r) % (i + 1);
        const float swap = lengths[i];
        lengths[i] = lengths[j];
        lengths[j] = swap;
    }
}

static int fill_router(const struct synth *s, const struct tensor *t, float *v,
                       ggf_error *err)
{
    struct random r;
    random_seed(&r, s->seed, random_hash(t->name));
    float *lengths = malloc(t->ne[1] * sizeof *lengths);
    if (!lengths) return ggf_no_memory(err);
    popularity(s, &r, lengths);
    for (uint64_t e = 0; e < t->ne[1]; e++)
        /* NOLINTNEXTLINE(clang-analyzer-core*): ne[1] is the number of experts */
        random_blocks(GGF_F32, lengths[e] / sqrtf((float)t->ne[0]), &r, v + e * t->ne[0],
                      t->ne[0]);
    free(lengths);
    return 0;
}

/* ---- Other small tensors ---------------------------------------------------- */

static void fill_vector(const struct synth *s, const struct tensor *t, float *v)
{
    struct random r;
    random_seed(&r, s->seed, random_hash(t->name));
    for (uint64_t i = 0; i < t->ne[0] * t->ne[1]; i++) {
        switch (t->fill) {
        case FILL_NORM: v[i] = 1 + 0.1f * random_normal(&r); break;
        case FILL_DECAY: v[i] = -0.05f - 0.95f * random_uniform(&r); break;
        case FILL_DT: v[i] = -3 + 4 * random_uniform(&r); break;
        case FILL_CONV: v[i] = 0.5f * random_normal(&r); break;
        default: v[i] = random_normal(&r) / sqrtf((float)t->ne[0]); break;
        }
    }
}

bool synth_is_small(const struct tensor *t)
{
    if (t->fill == FILL_EMBD) return false;
    return t->fill != FILL_WEIGHTS || t->ne[1] * t->ne[2] == 1;
}

int synth_fill_small(const struct synth *s, const struct tensor *t, float *v,
                     ggf_error *err)
{
    if (t->fill == FILL_ROUTER) return fill_router(s, t, v, err);
    fill_vector(s, t, v);
    return 0;
}

/* ---- Matrices --------------------------------------------------------------- */

/* In blocks of the type. */
static uint64_t matrix_blocks(const struct tensor *t)
{
    return t->ne[0] * t->rows / ggf_type_info(t->type)->block;
}

static uint64_t piece_blocks(const struct tensor *t)
{
    return SYNTH_PIECE / ggf_type_info(t->type)->block_bytes;
}

static uint64_t matrix_pieces(const struct tensor *t)
{
    const uint64_t each = piece_blocks(t);
    return (matrix_blocks(t) + each - 1) / each;
}

uint64_t synth_pieces(const struct tensor *t)
{
    return t->ne[1] / t->rows * t->ne[2] * matrix_pieces(t);
}

size_t synth_fill_piece(const struct synth *s, const struct tensor *t, uint64_t piece,
                        uint8_t *to, uint64_t *offset)
{
    const uint64_t block_bytes = ggf_type_info(t->type)->block_bytes;
    const uint64_t blocks = matrix_blocks(t), each = piece_blocks(t);
    const uint64_t matrix = piece / matrix_pieces(t);
    const uint64_t first = piece % matrix_pieces(t) * each;
    const uint64_t n = blocks - first < each ? blocks - first : each;
    const float deviation = t->fill == FILL_EMBD ? 1 : 1 / sqrtf((float)t->ne[0]);
    struct random r;
    random_seed(&r, s->seed ^ random_hash(t->name), piece);
    random_blocks(t->type, deviation, &r, to, n);
    *offset = (matrix * blocks + first) * block_bytes;
    return n * block_bytes;
}

void synth_fill_matrix(const struct synth *s, const struct tensor *t, uint64_t matrix,
                       uint8_t *to)
{
    const uint64_t n = matrix_pieces(t);
    uint64_t offset;
    for (uint64_t i = 0; i < n; i++)
        to += synth_fill_piece(s, t, matrix * n + i, to, &offset);
}
