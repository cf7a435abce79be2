/* imatrix_read.c - the two file forms of an importance matrix.
 *
 * GGUF: keys imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size; for each weight
 * NAME two F32 tensors, NAME.in_sum2 [columns, experts] and NAME.counts [1, experts].
 * q3n-imatrix adds NAME.in_sum, or NAME.gated_sum2 and NAME.gated_counts, of the same
 * shapes.
 *
 * .dat: i32 number of entries; for each i32 length of the name, the name, i32 calls,
 * i32 number of values, the values as f32; then, not in old files, i32 chunks, i32
 * length of the dataset's name, the name.  Nothing says that a file is one, so every
 * count is held against the bytes that are left. */
#include "imatrix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUMS   IMATRIX_SUMS
#define COUNTS IMATRIX_COUNTS

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct imatrix_entry *)a)->name,
                  ((const struct imatrix_entry *)b)->name);
}

static int sort_entries(imatrix *m, ggf_error *err)
{
    if (!m->n_entries)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "the importance matrix is empty");
    qsort(m->entries, m->n_entries, sizeof *m->entries, compare_entries);
    for (uint64_t i = 1; i < m->n_entries; i++)
        if (!compare_entries(&m->entries[i - 1], &m->entries[i]))
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "importance matrix: '%.200s' is there twice",
                            m->entries[i].name);
    return 0;
}

/* ---- GGUF ------------------------------------------------------------------- */

/* The length of the name before `suffix`, or 0. */
static size_t base_of(const char *name, const char *suffix)
{
    const size_t n = strlen(name), s = strlen(suffix);
    return n > s && !strcmp(name + n - s, suffix) ? n - s : 0;
}

static int read_keys(imatrix *m, ggf_error *err)
{
    const struct ggf_kv *sets = ggf_find_kv(m->gguf, "imatrix.datasets");
    if (!sets || ggf_get_u32(m->gguf, "imatrix.chunk_count", &m->chunks, NULL) ||
        ggf_get_u32(m->gguf, "imatrix.chunk_size", &m->chunk_size, NULL))
        return ggf_fail(
            err, GGF_E_FORMAT, GGF_NO_OFFSET,
            "not an importance matrix: imatrix.datasets, imatrix.chunk_count or "
            "imatrix.chunk_size is missing");
    if (sets->type != GGF_KV_ARRAY || sets->elem_type != GGF_KV_STRING)
        return ggf_fail(err, GGF_E_TYPE, sets->offset,
                        "imatrix.datasets is not an array of strings");
    if (!sets->count) return 0;
    m->datasets = calloc(sets->count, sizeof *m->datasets);
    if (!m->datasets) return ggf_no_memory(err);
    m->n_datasets = sets->count;
    return ggf_kv_strings(sets, m->datasets, err);
}

/* The counts that belong to a tensor of sums. */
static int find_counts(const imatrix *m, const struct ggf_tensor *sums, char name[64],
                       const struct ggf_tensor **counts, ggf_error *err)
{
    const size_t n = strlen(name);
    if (n + sizeof COUNTS <= 64) {
        memcpy(name + n, COUNTS, sizeof COUNTS);
        *counts = ggf_find_tensor(m->gguf, name);
        name[n] = 0;
    }
    if (!*counts)
        return ggf_fail(err, GGF_E_FORMAT, sums->offset,
                        "importance matrix: '%s' has no %s", name, COUNTS);
    if (sums->type != GGF_F32 || (*counts)->type != GGF_F32)
        return ggf_fail(err, GGF_E_FORMAT, sums->offset,
                        "importance matrix: '%s' is not stored as f32", name);
    if ((*counts)->count != sums->ne[1] || sums->ne[2] != 1 || sums->ne[3] != 1)
        return ggf_fail(err, GGF_E_FORMAT, sums->offset,
                        "importance matrix: '%s' has %" PRIu64 " counts for %" PRIu64
                        " slices",
                        name, (*counts)->count, sums->count / sums->ne[0]);
    return 0;
}

/* The data of NAME + suffix if it is f32 of this shape, else NULL. */
static const uint8_t *find_extra(const imatrix *m, const char *name, const char *suffix,
                                 uint64_t width, uint64_t slices)
{
    char full[64];
    if (snprintf(full, sizeof full, "%s%s", name, suffix) >= (int)sizeof full)
        return NULL;
    const struct ggf_tensor *t = ggf_find_tensor(m->gguf, full);
    const bool fits = t && t->type == GGF_F32 && t->ne[0] == width &&
                      t->ne[1] == slices && t->count == width * slices;
    return fits ? t->data : NULL;
}

static int read_pair(imatrix *m, const struct ggf_tensor *sums, size_t length,
                     ggf_error *err)
{
    char name[64];
    memcpy(name, sums->name, length);
    name[length] = 0;
    const struct ggf_tensor *counts = NULL;
    const int s = find_counts(m, sums, name, &counts, err);
    if (s) return s;
    struct imatrix_entry *e = &m->entries[m->n_entries];
    *e = (struct imatrix_entry){ .name = strdup(name),
                                 .n_values = sums->count,
                                 .n_slices = sums->ne[1],
                                 .width = sums->ne[0],
                                 .sums = sums->data,
                                 .counts = counts->data };
    if (!e->name) return ggf_no_memory(err);
    e->means = find_extra(m, name, IMATRIX_MEANS, e->width, e->n_slices);
    e->gated_sums = find_extra(m, name, IMATRIX_GATED_SUMS, e->width, e->n_slices);
    e->gated_count = find_extra(m, name, IMATRIX_GATED_COUNTS, 1, e->n_slices);
    m->n_entries++;
    return 0;
}

static int read_gguf(imatrix *m, ggf_error *err)
{
    int s = read_keys(m, err);
    const uint64_t n = ggf_tensor_count(m->gguf);
    m->entries = calloc(n / 2 + 1, sizeof *m->entries);
    if (!m->entries) return ggf_no_memory(err);
    uint64_t lone = 0;
    for (uint64_t i = 0; i < n && !s; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->gguf, i);
        const size_t length = base_of(t->name, SUMS);
        if (length && m->n_entries == n / 2)
            s = ggf_fail(err, GGF_E_FORMAT, t->offset,
                         "importance matrix: there are more sums than counts");
        else if (length) s = read_pair(m, t, length, err);
        else if (base_of(t->name, COUNTS)) lone++;
    }
    if (!s && lone != m->n_entries)
        s = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                     "importance matrix: %" PRIu64 " tensors of counts, %" PRIu64
                     " of sums",
                     lone, m->n_entries);
    return s;
}

/* ---- .dat ------------------------------------------------------------------- */

struct cursor {
    const uint8_t *start, *p, *end;
};

static uint64_t left_in(const struct cursor *c) { return (uint64_t)(c->end - c->p); }

static int cut_short(const struct cursor *c, const char *what, ggf_error *err)
{
    return ggf_fail(err, GGF_E_FORMAT, (uint64_t)(c->p - c->start),
                    "neither GGUF nor an importance matrix in the old format: %s", what);
}

static int take_i32(struct cursor *c, int32_t *v, ggf_error *err)
{
    if (left_in(c) < 4) return cut_short(c, "the file ends in a number", err);
    memcpy(v, c->p, 4);
    c->p += 4;
    return 0;
}

/* A length and as many bytes, none of them 0. */
static int take_text(struct cursor *c, struct ggf_str *out, ggf_error *err)
{
    int32_t n = 0;
    const int s = take_i32(c, &n, err);
    if (s) return s;
    if (n < 0 || (uint64_t)n > left_in(c) || memchr(c->p, 0, (size_t)n))
        return cut_short(c, "a name does not end where it should", err);
    *out = (struct ggf_str){ (const char *)c->p, (uint64_t)n };
    c->p += n;
    return 0;
}

static int take_entry(imatrix *m, struct cursor *c, ggf_error *err)
{
    struct ggf_str name = { 0 };
    int32_t calls = 0, values = 0;
    int s = take_text(c, &name, err);
    if (!s) s = take_i32(c, &calls, err);
    if (!s) s = take_i32(c, &values, err);
    if (s) return s;
    if (!name.len) return cut_short(c, "a name is empty", err);
    if (values < 1 || (uint64_t)values > left_in(c) / 4)
        return cut_short(c, "an entry has more values than the file", err);
    struct imatrix_entry *e = &m->entries[m->n_entries];
    *e = (struct imatrix_entry){ .name = strndup(name.data, name.len),
                                 .n_slices = 1,
                                 .n_values = (uint64_t)values,
                                 .width = (uint64_t)values,
                                 .sums = c->p,
                                 .calls = calls };
    if (!e->name) return ggf_no_memory(err);
    m->n_entries++;
    c->p += 4 * (uint64_t)values;
    return 0;
}

static int take_trailer(imatrix *m, struct cursor *c, ggf_error *err)
{
    int32_t chunks = 0;
    if (!left_in(c)) return 0;
    m->datasets = calloc(1, sizeof *m->datasets);
    if (!m->datasets) return ggf_no_memory(err);
    int s = take_i32(c, &chunks, err);
    if (!s) s = take_text(c, m->datasets, err);
    if (!s && left_in(c)) s = cut_short(c, "bytes follow where it should end", err);
    m->n_datasets = s ? 0 : 1;
    if (!s && chunks > 0) m->chunks = (uint32_t)chunks;
    return s;
}

static int read_dat(imatrix *m, const uint8_t *bytes, size_t len, ggf_error *err)
{
    enum { SMALLEST = 4 + 1 + 4 + 4 + 4 }; /* an entry with a name of 1 and 1 value */
    struct cursor c = { bytes, bytes, bytes + len };
    int32_t n = 0;
    int s = take_i32(&c, &n, err);
    if (s) return s;
    if (n < 1 || (uint64_t)n > left_in(&c) / SMALLEST)
        return cut_short(&c, "no sensible number of entries", err);
    m->entries = calloc((size_t)n, sizeof *m->entries);
    if (!m->entries) return ggf_no_memory(err);
    for (int32_t i = 0; i < n && !s; i++) s = take_entry(m, &c, err);
    return s ? s : take_trailer(m, &c, err);
}

/* ---- Either ----------------------------------------------------------------- */

static bool is_gguf(const void *bytes, size_t len)
{
    return len >= 4 && !memcmp(bytes, "GGUF", 4);
}

static int map_file(imatrix *m, const char *path, ggf_error *err)
{
    /* O_NONBLOCK: a FIFO is refused below instead of waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        const int s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s", path,
                               strerror(errno));
        if (fd >= 0) close(fd);
        return s;
    }
    void *map = MAP_FAILED;
    if (S_ISREG(st.st_mode) && st.st_size > 0)
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                        "cannot read %s: it is empty or not a regular file", path);
    m->map = map;
    m->map_bytes = (size_t)st.st_size;
    return 0;
}

int imatrix_open(imatrix **out, const char *path, ggf_error *err)
{
    *out = NULL;
    imatrix *m = calloc(1, sizeof *m);
    if (!m) return ggf_no_memory(err);
    m->mapped = true;
    int s = map_file(m, path, err);
    if (!s && is_gguf(m->map, m->map_bytes)) {
        munmap(m->map, m->map_bytes);
        m->map = NULL;
        s = ggf_open(&m->gguf, path, NULL, err);
        if (!s) s = read_gguf(m, err);
    } else if (!s) {
        s = read_dat(m, m->map, m->map_bytes, err);
    }
    if (!s) s = sort_entries(m, err);
    if (s) imatrix_close(m);
    else *out = m;
    return s;
}

int imatrix_open_buffer(imatrix **out, const void *bytes, size_t len, ggf_error *err)
{
    *out = NULL;
    imatrix *m = calloc(1, sizeof *m);
    if (!m) return ggf_no_memory(err);
    int s = 0;
    if (is_gguf(bytes, len)) {
        s = ggf_open_buffer(&m->gguf, bytes, len, NULL, err);
        if (!s) s = read_gguf(m, err);
    } else {
        s = read_dat(m, bytes, len, err);
    }
    if (!s) s = sort_entries(m, err);
    if (s) imatrix_close(m);
    else *out = m;
    return s;
}
