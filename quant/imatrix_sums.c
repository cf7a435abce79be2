/* imatrix_sums.c - entries, and what files add to them.  imatrix_write.c writes. */
#include "imatrix_sums.h"
#include "imatrix_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 63 - (int)sizeof IMATRIX_GATED_COUNTS + 1 };

static void entry_free(struct imatrix_sum *e)
{
    if (!e) return;
    free(e->name);
    free(e->squares);
    free(e->counts);
    free(e->means);
    free(e->gated);
    free(e->gate_count);
    free(e);
}

void imatrix_sums_free(struct imatrix_sums *s)
{
    for (uint64_t i = 0; i < s->n_entries; i++) entry_free(s->entries[i]);
    for (uint64_t i = 0; i < s->n_datasets; i++) free(s->datasets[i]);
    free(s->entries);
    free(s->datasets);
    *s = (struct imatrix_sums){ 0 };
}

/* ---- Entries ---------------------------------------------------------------- */

/* Where the name is, or would be. */
static uint64_t place_of(const struct imatrix_sums *s, const char *name)
{
    uint64_t low = 0, high = s->n_entries;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (strcmp(s->entries[middle]->name, name) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct imatrix_sum *imatrix_sums_find(const struct imatrix_sums *s, const char *name)
{
    const uint64_t at = place_of(s, name);
    return at < s->n_entries && !strcmp(s->entries[at]->name, name) ? s->entries[at]
                                                                    : NULL;
}

static struct imatrix_sum *entry_new(const char *name, uint64_t width, uint64_t n_slices,
                                     unsigned extras)
{
    struct imatrix_sum *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    const uint64_t n = width * n_slices; /* both are of a file that is in memory */
    const bool mean = extras & IMATRIX_MEAN, gated = extras & IMATRIX_GATED;
    e->width = width;
    e->n_slices = n_slices;
    e->name = strdup(name);
    e->squares = calloc(n, sizeof *e->squares);
    e->counts = calloc(n_slices, sizeof *e->counts);
    if (mean) e->means = calloc(n, sizeof *e->means);
    if (gated) e->gated = calloc(n, sizeof *e->gated);
    if (gated) e->gate_count = calloc(n_slices, sizeof *e->gate_count);
    if (e->name && e->squares && e->counts && (e->means || !mean) &&
        ((e->gated && e->gate_count) || !gated))
        return e;
    entry_free(e);
    return NULL;
}

int imatrix_sums_add(struct imatrix_sum **out, struct imatrix_sums *s, const char *name,
                     uint64_t width, uint64_t n_slices, unsigned extras, ggf_error *err)
{
    *out = NULL;
    if (strlen(name) > NAME_ROOM)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the name '%.200s' is too long for an importance matrix", name);
    const uint64_t at = place_of(s, name);
    if (at < s->n_entries && !strcmp(s->entries[at]->name, name))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "'%s' is there already", name);
    struct imatrix_sum **all =
        realloc(s->entries, (s->n_entries + 1) * sizeof *s->entries);
    if (!all) return ggf_no_memory(err);
    s->entries = all;
    struct imatrix_sum *e = entry_new(name, width, n_slices, extras);
    if (!e) return ggf_no_memory(err);
    memmove(&all[at + 1], &all[at], (s->n_entries - at) * sizeof *all);
    s->n_entries++;
    *out = all[at] = e;
    return 0;
}

int imatrix_sums_dataset(struct imatrix_sums *s, const char *name, size_t len,
                         ggf_error *err)
{
    for (uint64_t i = 0; i < s->n_datasets; i++)
        if (strlen(s->datasets[i]) == len && !memcmp(s->datasets[i], name, len)) return 0;
    char **all = realloc(s->datasets, (s->n_datasets + 1) * sizeof *all);
    if (!all) return ggf_no_memory(err);
    s->datasets = all;
    if (!(all[s->n_datasets] = strndup(name, len))) return ggf_no_memory(err);
    s->n_datasets++;
    return 0;
}

/* ---- Merging ---------------------------------------------------------------- */

static void add_floats(float *to, const uint8_t *from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) to[i] += load_f32(from + 4 * i);
}

static void merge_extras(struct imatrix_sum *to, const struct imatrix_entry *e)
{
    const bool gated = e->gated_sums && e->gated_count;
    if (to->means && e->means) {
        add_floats(to->means, e->means, e->n_values);
    } else {
        free(to->means);
        to->means = NULL;
    }
    if (to->gated && gated) {
        add_floats(to->gated, e->gated_sums, e->n_values);
        add_floats(to->gate_count, e->gated_count, e->n_slices);
        return;
    }
    free(to->gated);
    free(to->gate_count);
    to->gated = to->gate_count = NULL;
}

/* From a .dat: value / calls is the mean of calls * chunk_size rows, of each expert. */
static void merge_means(struct imatrix_sum *to, const struct imatrix_entry *e,
                        uint32_t chunk_size)
{
    const uint64_t calls = e->calls > 0 ? (uint64_t)e->calls : 1;
    for (uint64_t i = 0; i < e->n_values; i++) {
        const double value = (double)load_f32(e->sums + 4 * i);
        to->squares[i] += (float)(value * (double)chunk_size);
    }
    for (uint64_t i = 0; i < to->n_slices; i++) to->counts[i] += calls * chunk_size;
}

/* An entry without slices becomes one of n: each had all the rows. */
static int split_counts(struct imatrix_sum *to, uint64_t n, ggf_error *err)
{
    uint64_t *counts = calloc(n, sizeof *counts);
    if (!counts) return ggf_no_memory(err);
    for (uint64_t i = 0; i < n; i++) counts[i] = to->counts[0];
    free(to->counts);
    to->counts = counts;
    to->width = to->width * to->n_slices / n;
    to->n_slices = n;
    return 0;
}

/* Bring an entry and a file's to the same slices. */
static int check_shape(struct imatrix_sum *to, const struct imatrix_entry *e,
                       ggf_error *err)
{
    const bool same = to->width * to->n_slices == e->n_values;
    if (same && (e->n_slices == to->n_slices || !e->counts)) return 0;
    if (same && to->n_slices == 1) return split_counts(to, e->n_slices, err);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "importance matrix of another model: '%s' has %" PRIu64
                    " values for %" PRIu64 " experts, expected %" PRIu64 " for %" PRIu64,
                    e->name, e->n_values, e->n_slices, to->width * to->n_slices,
                    to->n_slices);
}

static int merge_entry(struct imatrix_sum *to, const struct imatrix_entry *e,
                       uint32_t chunk_size, ggf_error *err)
{
    const int s = check_shape(to, e, err);
    if (s) return s;
    merge_extras(to, e);
    if (!e->counts) {
        merge_means(to, e, chunk_size);
        return 0;
    }
    add_floats(to->squares, e->sums, e->n_values);
    for (uint64_t i = 0; i < e->n_slices; i++) {
        const double count = (double)load_f32(e->counts + 4 * i);
        to->counts[i] += (uint64_t)llround(fmin(count, 1e18));
    }
    return 0;
}

static int target(struct imatrix_sum **out, struct imatrix_sums *s,
                  const struct imatrix_entry *e, bool closed, ggf_error *err)
{
    const unsigned extras = (e->means ? IMATRIX_MEAN : 0u) |
                            (e->gated_sums && e->gated_count ? IMATRIX_GATED : 0u);
    *out = imatrix_sums_find(s, e->name);
    if (*out) return 0;
    if (closed)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "importance matrix of another model: there is no '%.200s'",
                        e->name);
    return imatrix_sums_add(out, s, e->name, e->width, e->n_slices, extras, err);
}

int imatrix_sums_merge(struct imatrix_sums *s, const imatrix *m, bool closed,
                       ggf_error *err)
{
    uint64_t n;
    int e = 0;
    if (!s->chunk_size) s->chunk_size = imatrix_chunk_size(m);
    if (!s->chunk_size) s->chunk_size = 512; /* llama-imatrix's own */
    for (uint64_t i = 0; i < imatrix_count(m) && !e; i++) {
        struct imatrix_sum *to;
        const struct imatrix_entry *from = imatrix_at(m, i);
        e = target(&to, s, from, closed, err);
        if (!e) e = merge_entry(to, from, s->chunk_size, err);
    }
    const struct ggf_str *sets = imatrix_datasets(m, &n);
    for (uint64_t i = 0; i < n && !e; i++)
        e = imatrix_sums_dataset(s, sets[i].data, sets[i].len, err);
    /* Chunks of another size count by their tokens. */
    const uint64_t size = imatrix_chunk_size(m) ? imatrix_chunk_size(m) : s->chunk_size;
    s->chunks += (imatrix_chunks(m) * size + s->chunk_size - 1) / s->chunk_size;
    return e;
}

int imatrix_sums_check(const struct imatrix_sums *s, ggf_error *err)
{
    for (uint64_t i = 0; i < s->n_entries; i++) {
        const struct imatrix_sum *e = s->entries[i];
        for (uint64_t k = 0; k < e->width * e->n_slices; k++)
            if (!isfinite(e->squares[k]))
                return ggf_fail(
                    err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "the inputs of '%s' are no finite numbers: column %" PRIu64
                    " of expert %" PRIu64 " sums to %g",
                    e->name, k % e->width, k / e->width, (double)e->squares[k]);
    }
    return 0;
}
