/* imatrix_write.c - sums to files, in the two forms that imatrix_read.c describes. */
#include "imatrix_file.h"
#include "imatrix_sums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- GGUF ------------------------------------------------------------------- */

/* A tensor of the file: name and the floats. */
struct part {
    const char *suffix;
    const float *values;
    uint64_t width;
};

enum { MAX_PARTS = 5 };

/* The tensors of an entry, in their order; `counts` is where its counts are floats. */
static int parts_of(struct part parts[MAX_PARTS], const struct imatrix_sum *e,
                    const float *counts)
{
    int n = 0;
    parts[n++] = (struct part){ IMATRIX_SUMS, e->squares, e->width };
    parts[n++] = (struct part){ IMATRIX_COUNTS, counts, 1 };
    if (e->means) parts[n++] = (struct part){ IMATRIX_MEANS, e->means, e->width };
    if (!e->gated) return n;
    parts[n++] = (struct part){ IMATRIX_GATED_SUMS, e->gated, e->width };
    parts[n++] = (struct part){ IMATRIX_GATED_COUNTS, e->gate_count, 1 };
    return n;
}

static int set_keys(ggf_writer *w, const struct imatrix_sums *s, ggf_error *err)
{
    struct ggf_str *sets = calloc(s->n_datasets + 1, sizeof *sets);
    if (!sets) return ggf_no_memory(err);
    for (uint64_t i = 0; i < s->n_datasets; i++)
        sets[i] = (struct ggf_str){ s->datasets[i], strlen(s->datasets[i]) };
    int r = ggf_writer_set_str(w, "general.type", "imatrix", err);
    if (!r) r = ggf_writer_set_str_array(w, "imatrix.datasets", sets, s->n_datasets, err);
    if (!r) r = ggf_writer_set_u32(w, "imatrix.chunk_count", (uint32_t)s->chunks, err);
    if (!r) r = ggf_writer_set_u32(w, "imatrix.chunk_size", s->chunk_size, err);
    free(sets);
    return r;
}

static int add_tensors(ggf_writer *w, const struct imatrix_sum *e, ggf_error *err)
{
    struct part parts[MAX_PARTS];
    const int n = parts_of(parts, e, NULL);
    int r = 0;
    for (int i = 0; i < n && !r; i++) {
        char name[128];
        const uint64_t ne[4] = { parts[i].width, e->n_slices, 1, 1 };
        snprintf(name, sizeof name, "%s%s", e->name, parts[i].suffix);
        r = ggf_writer_add_tensor(w, name, GGF_F32, ne, err);
    }
    return r;
}

static int write_tensors(ggf_writer *w, const struct imatrix_sum *e, uint64_t *index,
                         ggf_error *err)
{
    float *counts = malloc(e->n_slices * sizeof *counts);
    if (!counts) return ggf_no_memory(err);
    for (uint64_t i = 0; i < e->n_slices; i++) counts[i] = (float)e->counts[i];
    struct part parts[MAX_PARTS];
    const int n = parts_of(parts, e, counts);
    int r = 0;
    for (int i = 0; i < n && !r; i++)
        r = ggf_writer_write(w, (*index)++, 0, parts[i].values,
                             parts[i].width * e->n_slices * sizeof(float), err);
    free(counts);
    return r;
}

int imatrix_sums_write(const struct imatrix_sums *s, const char *path, bool force,
                       ggf_error *err)
{
    const struct ggf_writer_options options = { .force = force };
    ggf_writer *w;
    int r = ggf_writer_create(&w, path, &options, err);
    if (r) return r;
    r = set_keys(w, s, err);
    for (uint64_t i = 0; i < s->n_entries && !r; i++)
        r = add_tensors(w, s->entries[i], err);
    if (!r) r = ggf_writer_begin(w, err);
    uint64_t index = 0;
    for (uint64_t i = 0; i < s->n_entries && !r; i++)
        r = write_tensors(w, s->entries[i], &index, err);
    if (!r) return ggf_writer_finish(w, err);
    ggf_writer_discard(w);
    return r;
}

/* ---- .dat ------------------------------------------------------------------- */

/* An output written front to back. */
struct stream {
    ggf_output *out;
    uint64_t at;
    int status;
    ggf_error *err;
};

static void put(struct stream *f, const void *bytes, size_t len)
{
    if (!f->status) f->status = ggf_output_write(f->out, f->at, bytes, len, f->err);
    f->at += len;
}

static void put_i32(struct stream *f, uint64_t v)
{
    const int32_t i = v < INT32_MAX ? (int32_t)v : INT32_MAX;
    put(f, &i, sizeof i);
}

static void put_text(struct stream *f, const char *text)
{
    put_i32(f, strlen(text));
    put(f, text, strlen(text));
}

static uint64_t most_rows(const struct imatrix_sum *e)
{
    uint64_t most = 0;
    for (uint64_t i = 0; i < e->n_slices; i++)
        if (most < e->counts[i]) most = e->counts[i];
    return most;
}

/* Means times the number of chunks; of an expert without rows ones. */
static void put_entry(struct stream *f, const struct imatrix_sum *e, uint32_t chunk_size)
{
    const uint64_t calls = (most_rows(e) + chunk_size - 1) / chunk_size;
    const float factor = (float)calls;
    float *row = malloc(e->width * sizeof *row);
    if (!row && !f->status) f->status = ggf_no_memory(f->err);
    if (!row) return;
    put_text(f, e->name);
    put_i32(f, calls);
    put_i32(f, e->width * e->n_slices);
    for (uint64_t s = 0; s < e->n_slices; s++) {
        const float count = (float)e->counts[s];
        for (uint64_t i = 0; i < e->width; i++)
            row[i] = (count > 0 ? e->squares[s * e->width + i] / count : 1.0f) * factor;
        put(f, row, e->width * sizeof *row);
    }
    free(row);
}

int imatrix_sums_write_dat(const struct imatrix_sums *s, const char *path, bool force,
                           ggf_error *err)
{
    struct stream f = { .err = err };
    uint64_t n = 0;
    for (uint64_t i = 0; i < s->n_entries; i++) n += most_rows(s->entries[i]) > 0;
    if (!n)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "no entry has any data to write to %s", path);
    const int r = ggf_output_create(&f.out, path, force, err);
    if (r) return r;
    put_i32(&f, n);
    for (uint64_t i = 0; i < s->n_entries; i++)
        if (most_rows(s->entries[i])) put_entry(&f, s->entries[i], s->chunk_size);
    put_i32(&f, s->chunks);
    put_text(&f, s->n_datasets ? s->datasets[0] : "");
    if (!f.status) return ggf_output_commit(f.out, err);
    ggf_output_discard(f.out);
    return f.status;
}
