/* places.c - see places.h. */
#include "places.h"

#include "imatrix_file.h"

#include <stdlib.h>

/* So that a tensor has its places whatever else is measured (FNV-1a). */
static uint64_t seed_of(const struct places *p)
{
    uint64_t h = 0xcbf29ce484222325;
    for (const char *c = p->tensor->name; *c; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3;
    return (h ^ p->first_slice) * 0x100000001b3;
}

static double token_count(const struct imatrix_entry *w, uint64_t slice)
{
    const float count = load_f32(w->counts + 4 * slice);
    return count > 0 ? (double)count : 0;
}

/* By the tokens that the experts saw, if they are counted and there were any. */
static void fill_use(struct places *p, const struct imatrix_entry *w)
{
    const bool counted = w && w->counts && w->n_slices == p->tensor->ne[2];
    double total = 0;
    for (uint64_t i = 0; i < p->n_slices; i++)
        total += p->use[i] = counted ? token_count(w, p->first_slice + i) : 0;
    for (uint64_t i = 0; i < p->n_slices; i++)
        p->use[i] = total > 0 ? p->use[i] / total * (double)p->n_slices : 1;
}

static size_t columns_at(const struct places *p, uint64_t column)
{
    const uint64_t left = p->tensor->ne[0] - column;
    return left < PLACE_BLOCK ? (size_t)left : PLACE_BLOCK;
}

/* The sum of w over a block of a slice. */
static double block_weight(const struct places *p, const struct imatrix_entry *w,
                           uint64_t slice, uint64_t column)
{
    const size_t n = columns_at(p, column);
    float values[PLACE_BLOCK];
    double sum = 0;
    if (!w) return (double)n;
    imatrix_weights(w, slice * p->tensor->ne[0] + column, n, values);
    for (size_t i = 0; i < n; i++) sum += (double)values[i];
    return sum;
}

/* Without any weight above 0 all blocks are alike. */
static void fill_until(struct places *p, const struct imatrix_entry *w)
{
    const uint64_t n = p->n_slices * p->row_blocks;
    double sum = 0;
    for (int plain = 0; plain < 2 && !(sum > 0); plain++)
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t slice = i / p->row_blocks;
            const uint64_t column = i % p->row_blocks * PLACE_BLOCK;
            sum += p->use[slice] *
                   block_weight(p, plain ? NULL : w, p->first_slice + slice, column);
            p->until[i] = sum;
        }
    p->average = sum / ((double)p->n_slices * (double)p->tensor->ne[0]);
}

int places_init(struct places *p, const struct ggf_tensor *t,
                const struct imatrix_entry *weights, uint64_t first_slice,
                uint64_t n_slices, ggf_error *err)
{
    *p = (struct places){ .tensor = t,
                          .row_blocks = (t->ne[0] + PLACE_BLOCK - 1) / PLACE_BLOCK,
                          .slice_rows = t->ne[1] * t->ne[3],
                          .first_slice = first_slice,
                          .n_slices = n_slices ? n_slices : t->ne[2] - first_slice };
    p->n = p->row_blocks * p->slice_rows * p->n_slices;
    p->seed = seed_of(p);
    p->use = calloc(p->n_slices, sizeof *p->use);
    p->until = calloc(p->n_slices * p->row_blocks, sizeof *p->until);
    if (!p->use || !p->until) {
        places_free(p);
        return ggf_no_memory(err);
    }
    fill_use(p, weights);
    fill_until(p, weights);
    return 0;
}

void places_free(struct places *p)
{
    free(p->use);
    free(p->until);
    p->use = p->until = NULL;
}

/* Row `row` of those of a slice of the range, in whatever slice of the fourth dimension.
 */
static struct place make_place(const struct places *p, uint64_t slice, uint64_t row,
                               uint64_t column)
{
    const struct ggf_tensor *t = p->tensor;
    struct place place = { .slice = p->first_slice + slice,
                           .column = column,
                           .n = columns_at(p, column) };
    place.row = (row / t->ne[1] * t->ne[2] + place.slice) * t->ne[1] + row % t->ne[1];
    return place;
}

struct place places_at(const struct places *p, uint64_t i)
{
    const uint64_t row = i / p->row_blocks, slice = row / p->slice_rows;
    struct place place =
        make_place(p, slice, row % p->slice_rows, i % p->row_blocks * PLACE_BLOCK);
    place.factor = p->use[slice];
    return place;
}

/* The first unit that ends beyond a point. */
static uint64_t find_unit(const struct places *p, double at)
{
    uint64_t low = 0, high = p->n_slices * p->row_blocks - 1;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        if (p->until[mid] > at) high = mid;
        else low = mid + 1;
    }
    return low;
}

/* Points of Weyl's sequence for the golden ratio, laid over the units; where a unit is
 * hit tells the row. */
struct place places_draw(const struct places *p, uint64_t i)
{
    const uint64_t units = p->n_slices * p->row_blocks;
    const double point = (double)((p->seed + i * 0x9e3779b97f4a7c15) >> 11) * 0x1p-53;
    const double at = point * p->until[units - 1];
    const uint64_t unit = find_unit(p, at), slice = unit / p->row_blocks;
    const double before = unit ? p->until[unit - 1] : 0, size = p->until[unit] - before;
    const double inside = size > 0 ? (at - before) / size * (double)p->slice_rows : 0;
    const uint64_t row =
        inside < (double)p->slice_rows ? (uint64_t)inside : p->slice_rows - 1;
    struct place place = make_place(p, slice, row, unit % p->row_blocks * PLACE_BLOCK);
    place.factor = size > 0 ? p->use[slice] / size : 0;
    return place;
}
