/* imatrix.c - entries of an importance matrix, whatever file they came from: finding,
 * filtering, checking, and the weights themselves.  imatrix_read.c parses the files. */
#include "imatrix_file.h"
#include "pages.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void imatrix_close(imatrix *m)
{
    if (!m) return;
    ggf_close(m->gguf);
    if (m->map) munmap(m->map, m->map_bytes);
    for (uint64_t i = 0; i < m->n_entries; i++) free((char *)m->entries[i].name);
    for (uint64_t i = 0; i < m->n_blocks; i++) free(m->blocks[i]);
    free(m->blocks);
    free(m->entries);
    free(m->datasets);
    free(m);
}

static bool contains_any(const char *name, const char *const *parts, int n)
{
    for (int i = 0; i < n; i++)
        if (strstr(name, parts[i])) return true;
    return false;
}

void imatrix_filter(imatrix *m, const char *const *include, int n_include,
                    const char *const *exclude, int n_exclude)
{
    uint64_t kept = 0;
    for (uint64_t i = 0; i < m->n_entries; i++) {
        const struct imatrix_entry e = m->entries[i];
        const bool keep = (n_include == 0 || contains_any(e.name, include, n_include)) &&
                          !contains_any(e.name, exclude, n_exclude);
        if (keep) m->entries[kept++] = e;
        else free((char *)e.name);
    }
    m->n_entries = kept;
}

uint64_t imatrix_count(const imatrix *m) { return m->n_entries; }

const struct imatrix_entry *imatrix_at(const imatrix *m, uint64_t index)
{
    return index < m->n_entries ? &m->entries[index] : NULL;
}

static int compare_name(const void *name, const void *entry)
{
    return strcmp(name, ((const struct imatrix_entry *)entry)->name);
}

const struct imatrix_entry *imatrix_find(const imatrix *m, const char *name)
{
    if (!m->n_entries) return NULL;
    return bsearch(name, m->entries, m->n_entries, sizeof *m->entries, compare_name);
}

const struct ggf_str *imatrix_dataset(const imatrix *m)
{
    return m->n_datasets ? &m->datasets[0] : NULL;
}

const struct ggf_str *imatrix_datasets(const imatrix *m, uint64_t *n)
{
    *n = m->n_datasets;
    return m->datasets;
}

uint32_t imatrix_chunks(const imatrix *m) { return m->chunks; }

uint32_t imatrix_chunk_size(const imatrix *m) { return m->chunk_size; }

/* Weights of one slice's columns, or a run of them. */
static void slice_weights(const struct imatrix_entry *e, uint64_t slice,
                          const uint8_t *sums, uint64_t n, float *out)
{
    if (e->counts) {
        const float count = load_f32(e->counts + 4 * slice);
        for (uint64_t i = 0; i < n; i++)
            out[i] = count > 0 ? load_f32(sums + 4 * i) / count : 1;
        return;
    }
    const float calls = (float)e->calls;
    for (uint64_t i = 0; i < n; i++) {
        const float v = load_f32(sums + 4 * i);
        out[i] = e->calls > 0 ? v / calls : v;
    }
}

/* The same for a slice with a prior. */
static void drawn_weights(const struct imatrix_entry *e, uint64_t slice, uint64_t first,
                          uint64_t n, float *out)
{
    const float *prior = e->priors[slice] + first % e->width;
    const float tokens = e->prior_tokens[slice];
    const float count = load_f32(e->counts + 4 * slice) + tokens;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (load_f32(e->sums + 4 * (first + i)) + tokens * prior[i]) / count;
}

void imatrix_weights(const struct imatrix_entry *e, uint64_t first, uint64_t n,
                     float *out)
{
    while (n) {
        const uint64_t slice = first / e->width, left = e->width - first % e->width;
        const uint64_t run = n < left ? n : left;
        if (e->priors && e->priors[slice]) drawn_weights(e, slice, first, run, out);
        else slice_weights(e, slice, e->sums + 4 * first, run, out);
        first += run;
        out += run;
        n -= run;
    }
}

/* Give the mapped pages under a range back; they are read again when needed. */
static void forget(const imatrix *m, const uint8_t *bytes, uint64_t len)
{
    if (m->mapped) pages_advise(bytes, len, MADV_DONTNEED);
}

/* The extra statistics: finite, and squares not negative. */
static int check_extra(const struct imatrix_entry *e, const uint8_t *values, uint64_t n,
                       bool squares, ggf_error *err)
{
    for (uint64_t i = 0; values && i < n; i++) {
        const float v = load_f32(values + 4 * i);
        if (!isfinite(v) || (squares && v < 0))
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "importance matrix: an extra statistic of '%.200s' is %g",
                            e->name, (double)v);
    }
    return 0;
}

static int check_extras(const struct imatrix_entry *e, ggf_error *err)
{
    int s = check_extra(e, e->means, e->n_values, false, err);
    if (!s) s = check_extra(e, e->gated_sums, e->n_values, true, err);
    return s ? s : check_extra(e, e->gated_count, e->n_slices, true, err);
}

static int check_entry(const struct imatrix_entry *e, ggf_error *err)
{
    enum { PIECE = 4096 };
    float w[PIECE];
    for (uint64_t i = 0; e->counts && i < e->n_slices; i++) {
        const float count = load_f32(e->counts + 4 * i);
        if (!isfinite(count) || count < 0)
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "importance matrix: count %" PRIu64 " of '%.200s' is %g", i,
                            e->name, (double)count);
    }
    for (uint64_t first = 0; first < e->n_values; first += PIECE) {
        const uint64_t n = e->n_values - first < PIECE ? e->n_values - first : PIECE;
        imatrix_weights(e, first, n, w);
        for (uint64_t i = 0; i < n; i++)
            if (!isfinite(w[i]) || w[i] < 0)
                return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                                "importance matrix: value %" PRIu64 " of '%.200s' is %g, "
                                "expected a finite number of 0 or more",
                                first + i, e->name, (double)w[i]);
    }
    return check_extras(e, err);
}

int imatrix_check(const imatrix *m, ggf_error *err)
{
    for (uint64_t i = 0; i < m->n_entries; i++) {
        const int s = check_entry(&m->entries[i], err);
        if (s) return s;
        forget(m, m->entries[i].sums, 4 * m->entries[i].n_values);
    }
    return 0;
}
