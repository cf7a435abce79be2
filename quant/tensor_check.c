/* tensor_check.c - see tensor_check.h. */
#include "tensor_check.h"

#include "convert.h"
#include "decode.h"
#include "encode.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { TILE_ELEMENTS = 1 << 17 };

struct work {
    const struct ggf_tensor *source, *there;
    struct plan_item item;
    struct convert_job job; /* of the item */
    uint64_t rows, tile_rows, n_tiles, row_bytes;
};

/* What a tile of rows adds. */
struct sums {
    uint64_t bytes_different, blocks_different;
    double energy, here, there;
};

/* Of one thread: rows as floats, and a tile as it is stored here. */
struct scratch {
    float *x, *y, *w;
    uint8_t *stored;
    uint64_t slice; /* that w is of; UINT64_MAX: none yet */
};

static int check_shapes(const struct ggf_tensor *a, const struct ggf_tensor *b,
                        ggf_error *err)
{
    for (int d = 0; d < 4; d++)
        if (a->ne[d] != b->ne[d])
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "tensor '%s' has %" PRIu64
                            " elements in dimension %d, in the "
                            "source %" PRIu64,
                            a->name, b->ne[d], d, a->ne[d]);
    if (a->ne[0] > PLAN_ROW_MAX)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' has rows of %" PRIu64 " elements, more than the %d "
                        "that can be quantized",
                        a->name, a->ne[0], PLAN_ROW_MAX);
    return 0;
}

static void compare_bytes(const struct work *w, const uint8_t *a, const uint8_t *b,
                          uint64_t bytes, struct sums *s)
{
    const uint32_t block = ggf_type_info(w->there->type)->block_bytes;
    for (uint64_t at = 0; at < bytes; at += block) {
        if (!memcmp(a + at, b + at, block)) continue;
        s->blocks_different++;
        for (uint32_t i = 0; i < block; i++) s->bytes_different += a[at + i] != b[at + i];
    }
}

/* Sum w (x - y)^2; y NULL: sum w x^2. */
static double weighted(const struct work *w, const struct scratch *s, const float *y)
{
    double sum = 0;
    for (uint64_t i = 0; i < w->source->ne[0]; i++) {
        const double d = (double)s->x[i] - (y ? (double)y[i] : 0);
        sum += (w->item.weights ? (double)s->w[i] : 1) * d * d;
    }
    return sum;
}

static void compare_row(const struct work *w, struct scratch *s, uint64_t row,
                        const uint8_t *here, const uint8_t *there, struct sums *sums)
{
    const struct ggf_tensor *t = w->source;
    const uint64_t columns = t->ne[0], slice = row / t->ne[1] % t->ne[2];
    if (w->item.weights && s->slice != slice)
        imatrix_weights(w->item.weights, slice * columns, columns, s->w);
    s->slice = slice;
    decode_for(t->type)(t->data + row * ggf_row_bytes(t->type, columns), s->x, columns);
    sums->energy += weighted(w, s, NULL);
    decode_for(w->there->type)(here, s->y, columns);
    sums->here += weighted(w, s, s->y);
    decode_for(w->there->type)(there, s->y, columns);
    sums->there += weighted(w, s, s->y);
}

static int compare_tile(const struct work *w, uint64_t tile, struct scratch *s,
                        struct sums *sums, ggf_error *err)
{
    const uint64_t first = tile * w->tile_rows, left = w->rows - first;
    const uint64_t n = left < w->tile_rows ? left : w->tile_rows;
    const uint8_t *there = w->there->data + first * w->row_bytes;
    const int e = convert_rows(&w->job, w->there->type, first, n, s->stored, err);
    if (e) return e;
    compare_bytes(w, s->stored, there, n * w->row_bytes, sums);
    for (uint64_t i = 0; i < n; i++)
        compare_row(w, s, first + i, s->stored + i * w->row_bytes,
                    there + i * w->row_bytes, sums);
    return 0;
}

static bool allocate(struct scratch *s, const struct work *w)
{
    const size_t columns = w->source->ne[0];
    *s = (struct scratch){ .slice = UINT64_MAX };
    s->x = malloc(columns * sizeof *s->x);
    s->y = malloc(columns * sizeof *s->y);
    s->w = malloc(columns * sizeof *s->w);
    s->stored = malloc(w->tile_rows * w->row_bytes);
    return s->x && s->y && s->w && s->stored;
}

static void release(struct scratch *s)
{
    free(s->x);
    free(s->y);
    free(s->w);
    free(s->stored);
}

static int compare_all(const struct work *w, struct sums *tiles, int threads,
                       ggf_error *err)
{
    int status = 0;
#pragma omp parallel num_threads(threads)
    {
        struct scratch s;
        ggf_error mine = { 0 };
        int e = allocate(&s, w) ? 0 : ggf_no_memory(&mine);
#pragma omp for schedule(dynamic)
        for (uint64_t tile = 0; tile < w->n_tiles; tile++)
            if (!e) e = compare_tile(w, tile, &s, &tiles[tile], &mine);
#pragma omp critical(tensor_check)
        if (e && !status) {
            status = e;
            if (err) *err = mine;
        }
        release(&s);
    }
    return status;
}

static void add_up(struct tensor_check *out, const struct work *w,
                   const struct sums *tiles)
{
    struct sums all = { 0 };
    for (uint64_t i = 0; i < w->n_tiles; i++) {
        all.bytes_different += tiles[i].bytes_different;
        all.blocks_different += tiles[i].blocks_different;
        all.energy += tiles[i].energy;
        all.here += tiles[i].here;
        all.there += tiles[i].there;
    }
    *out = (struct tensor_check){
        .bytes = w->there->bytes,
        .bytes_different = all.bytes_different,
        .blocks = w->there->bytes / ggf_type_info(w->there->type)->block_bytes,
        .blocks_different = all.blocks_different,
        .error_here = all.energy > 0 ? all.here / all.energy : 0,
        .error_there = all.energy > 0 ? all.there / all.energy : 0,
    };
}

int tensor_check(struct tensor_check *out, const struct ggf_tensor *source,
                 const struct ggf_tensor *there, const struct imatrix_entry *weights,
                 bool compat, int refine, int threads, ggf_error *err)
{
    const uint64_t columns = source->ne[0];
    int s = check_shapes(source, there, err);
    if (s) return s;
    if (!decode_for(source->type) || !decode_for(there->type))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' cannot be read as %s or %s", source->name,
                        ggf_type_name(source->type), ggf_type_name(there->type));
    if (!weights && encode_needs_weights(there->type))
        return ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "tensor '%s' needs an importance matrix to become %s, and there is "
            "no entry for it",
            source->name, ggf_type_name(there->type));
    struct work w = { .source = source, .there = there };
    w.item = (struct plan_item){ .source = source, .weights = weights };
    w.job = (struct convert_job){ .item = &w.item, .compat = compat, .refine = refine };
    w.rows = source->count / columns;
    w.tile_rows = columns < TILE_ELEMENTS ? TILE_ELEMENTS / columns : 1;
    w.n_tiles = (w.rows + w.tile_rows - 1) / w.tile_rows;
    w.row_bytes = ggf_row_bytes(there->type, columns);
    struct sums *tiles = calloc(w.n_tiles + 1, sizeof *tiles);
    if (!tiles) return ggf_no_memory(err);
    s = compare_all(&w, tiles, threads > 0 ? threads : omp_get_num_procs(), err);
    if (!s) add_up(out, &w, tiles);
    free(tiles);
    return s;
}
