/* inspect_diff.c - what differs between two models: keys, tensors, data. */
#include "inspect.h"
#include "stream.h"
#include "table.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TILE (1u << 20)

struct diff {
    const struct inspect *in;
    const ggf_file *a, *b;
    struct table table;
    struct progress progress;
    uint64_t differing, equal;
    uint64_t not_compared; /* data missing */
    _Atomic uint64_t done;
};

/* A row of the output; first and second are NULL where the thing is not there. */
static void report(struct diff *d, const char *name, const char *first,
                   const char *second)
{
    d->differing++;
    if (d->in->json) {
        struct json *j = d->in->json;
        json_open(j, NULL, '{');
        json_str(j, "name", name);
        if (first) json_str(j, "first", first);
        if (second) json_str(j, "second", second);
        json_close(j, '}');
        return;
    }
    table_cell(&d->table, "%s", first && second ? "~" : first ? "-" : "+");
    table_cell(&d->table, "%s", name);
    table_cell(&d->table, "%s", first ? first : "");
    table_cell(&d->table, "%s", second ? second : "");
}

/* ---- Keys ------------------------------------------------------------------ */

static char *value_text(const struct ggf_kv *kv, bool full)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f) return NULL;
    if (kv->type == GGF_KV_ARRAY)
        fprintf(f, "%s[%" PRIu64 "] ", ggf_kv_type_name(kv->elem_type), kv->count);
    else if (kv->type != GGF_KV_STRING) fprintf(f, "%s ", ggf_kv_type_name(kv->type));
    print_value(f, kv, full);
    fclose(f);
    return text;
}

static bool same_value(const struct ggf_kv *a, const struct ggf_kv *b)
{
    return a->type == b->type && a->elem_type == b->elem_type && a->count == b->count &&
           a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

static void report_key(struct diff *d, const struct ggf_kv *a, const struct ggf_kv *b)
{
    char *first = a ? value_text(a, d->in->full) : NULL;
    char *second = b ? value_text(b, d->in->full) : NULL;
    report(d, (a ? a : b)->key, first, second);
    free(first);
    free(second);
}

static void diff_keys(struct diff *d)
{
    for (uint64_t i = 0; i < ggf_kv_count(d->a); i++) {
        const struct ggf_kv *a = ggf_kv(d->a, i), *b = ggf_find_kv(d->b, a->key);
        if (b && same_value(a, b)) d->equal++;
        else report_key(d, a, b);
    }
    for (uint64_t i = 0; i < ggf_kv_count(d->b); i++) {
        const struct ggf_kv *b = ggf_kv(d->b, i);
        if (!ggf_find_kv(d->a, b->key)) report_key(d, NULL, b);
    }
}

/* ---- Tensors --------------------------------------------------------------- */

static const char *tensor_text(char buf[128], const struct ggf_tensor *t)
{
    char shape[96];
    snprintf(buf, 128, "%s %s", ggf_type_name(t->type), shape_text(shape, t));
    return buf;
}

/* The first byte that differs in two equally long stretches, or len. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    uint64_t i = 0;
    while (i < len && a[i] == b[i]) i++;
    return i;
}

/* Compare the data; *at is where it differs first, or UINT64_MAX. */
static int compare_data(struct diff *d, const struct ggf_tensor *a,
                        const struct ggf_tensor *b, uint64_t *at, ggf_error *err)
{
    uint64_t first = UINT64_MAX;
    int status = 0;
#pragma omp parallel for schedule(dynamic)
    for (uint64_t i = 0; i < a->bytes; i += TILE) {
        const uint64_t n = a->bytes - i < TILE ? a->bytes - i : TILE;
        ggf_error tile_err;
        int s = stream_fetch(a->data + i, n, &tile_err);
        if (!s) s = stream_fetch(b->data + i, n, &tile_err);
        uint64_t here = UINT64_MAX;
        if (!s && memcmp(a->data + i, b->data + i, n) != 0)
            here = i + first_difference(a->data + i, b->data + i, n);
        stream_drop(a->data + i, n);
        stream_drop(b->data + i, n);
        const uint64_t done = atomic_fetch_add(&d->done, n) + n;
#pragma omp critical
        {
            if (here < first) first = here;
            if (s && !status) {
                status = s;
                if (err) *err = tile_err;
            }
            progress_update(&d->progress, done, a->name);
        }
    }
    *at = first;
    return status;
}

static int diff_data(struct diff *d, const struct ggf_tensor *a,
                     const struct ggf_tensor *b, ggf_error *err)
{
    uint64_t at = UINT64_MAX;
    char first[128], second[128];
    if (!a->data || !b->data) {
        d->not_compared++;
        return 0;
    }
    const int s = compare_data(d, a, b, &at, err);
    if (s) return s;
    if (at == UINT64_MAX) {
        d->equal++;
        return 0;
    }
    const uint64_t each = bytes_per_expert(a);
    snprintf(second, sizeof second, "data differs from byte %" PRIu64 " on", at);
    if (each)
        snprintf(second, sizeof second,
                 "data differs from byte %" PRIu64 " on, expert %" PRIu64, at, at / each);
    report(d, a->name, tensor_text(first, a), second);
    return 0;
}

static int diff_tensors(struct diff *d, ggf_error *err)
{
    char first[128], second[128];
    int s = 0;
    for (uint64_t i = 0; i < ggf_tensor_count(d->a) && !s; i++) {
        const struct ggf_tensor *a = ggf_tensor(d->a, i),
                                *b = ggf_find_tensor(d->b, a->name);
        if (!b) report(d, a->name, tensor_text(first, a), NULL);
        else if (a->type != b->type || memcmp(a->ne, b->ne, sizeof a->ne) != 0)
            report(d, a->name, tensor_text(first, a), tensor_text(second, b));
        else s = diff_data(d, a, b, err);
    }
    for (uint64_t i = 0; i < ggf_tensor_count(d->b) && !s; i++) {
        const struct ggf_tensor *b = ggf_tensor(d->b, i);
        if (!ggf_find_tensor(d->a, b->name))
            report(d, b->name, NULL, tensor_text(second, b));
    }
    progress_end(&d->progress);
    return s;
}

/* ---- The whole ------------------------------------------------------------- */

static bool start_section(struct diff *d, const char *what)
{
    static const char *const key_heads[] = { "", "key", "first", "second", NULL };
    static const char *const tensor_heads[] = { "", "tensor", "first", "second", NULL };
    const bool keys = what[0] == 'k';
    d->differing = d->equal = 0;
    table_start(&d->table, keys ? key_heads : tensor_heads);
    if (d->in->json) json_open(d->in->json, what, '[');
    return true;
}

static bool end_section(struct diff *d, const char *what)
{
    bool fine = true;
    if (d->in->json) json_close(d->in->json, ']');
    if (d->differing) fine = table_print(&d->table, stdout, d->in->bold);
    if (d->in->json) return fine;
    printf("%s%" PRIu64 " %s equal, %" PRIu64 " differ", d->differing ? "\n" : "",
           d->equal, what, d->differing);
    if (d->not_compared)
        printf(", the data of %" PRIu64 " was not compared (it is missing)",
               d->not_compared);
    printf("\n%s", what[0] == 'k' ? "\n" : "");
    return fine;
}

static int run_diff(struct diff *d, ggf_error *err)
{
    uint64_t differing;
    start_section(d, "keys");
    diff_keys(d);
    bool fine = end_section(d, "keys");
    differing = d->differing;
    start_section(d, "tensors");
    const int s = diff_tensors(d, err);
    fine = end_section(d, "tensors") && fine;
    if (s) return s;
    if (!fine) return ggf_no_memory(err);
    return differing + d->differing + d->not_compared != 0;
}

int inspect_diff(const struct inspect *in, const char *other, ggf_error *err)
{
    bool cut;
    ggf_file *b;
    int s = inspect_open(&b, other, &cut, err);
    if (s) return s;
    struct diff d = {
        .in = in, .a = in->file, .b = b, .progress = { .what = "comparing" }
    };
    for (uint64_t i = 0; i < ggf_tensor_count(d.a); i++)
        d.progress.total += ggf_tensor(d.a, i)->bytes;
    if (in->json) {
        json_open(in->json, "diff", '{');
        json_str(in->json, "other", other);
    }
    s = run_diff(&d, err);
    if (in->json) {
        json_bool(in->json, "equal", s == 0);
        json_close(in->json, '}');
    }
    ggf_close(b);
    return s;
}
