/* convert.c - see convert.h. */
#include "convert.h"

#include "decode.h"
#include "encode.h"
#include "refine.h"

#include <inttypes.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    TILE_ELEMENTS = 1 << 19, /* 1 MiB of BF16 source */
    AHEAD = 32,              /* tiles that are being read before their turn */
    PAGES = 64 << 10,        /* what a fault maps around it at most */
};

/* A job cut up.  A unit is a row when encoding and a block when copying. */
struct cut {
    uint64_t n_units, tile_units;                /* the last tile may be shorter */
    uint64_t unit_elements, source_bytes, bytes; /* of a unit */
    uint64_t first_tile;
    _Atomic uint64_t tiles_left;
    encode_fn encode; /* NULL: copy */
    decode_fn decode;
    int refine;
};

struct work {
    const struct convert_job *jobs;
    struct cut *cuts;
    size_t n_jobs;
    int threads;
    uint64_t n_tiles;
    uint64_t row_max, tile_bytes_max; /* sizes for the buffers of a thread */
    const struct convert_watch *watch;
    _Atomic uint64_t next_tile;
    _Atomic bool failed;
    /* Under the critical section "report". */
    uint64_t bytes_done;
    size_t n_reported;
    int status;
    ggf_error *err;
};

struct scratch {
    float *row;     /* decoded */
    float *weights; /* of weights_entry's slice number `slice` */
    uint8_t *out;   /* encoded tile */
    const struct imatrix_entry *weights_entry;
    uint64_t slice;
};

/* ---- Cutting ---------------------------------------------------------------- */

static int cut_item(struct cut *c, const struct convert_job *job, uint32_t type,
                    ggf_error *err)
{
    const struct ggf_tensor *t = job->item->source;
    const struct ggf_type_info *from = ggf_type_info(t->type);
    const bool copy = type == t->type;
    c->unit_elements = copy ? from->block : t->ne[0];
    c->n_units = t->count / c->unit_elements;
    c->source_bytes = ggf_row_bytes(t->type, c->unit_elements);
    c->bytes = ggf_row_bytes(type, c->unit_elements);
    c->tile_units =
        c->unit_elements < TILE_ELEMENTS ? TILE_ELEMENTS / c->unit_elements : 1;
    if (copy) return 0;
    c->encode = job->compat ? encode_for_compat(type) : encode_for(type);
    c->decode = decode_for(t->type);
    c->refine = job->refine;
    if (!c->encode || !c->decode)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' cannot go from %s to %s", t->name,
                        ggf_type_name(t->type), ggf_type_name(type));
    return 0;
}

static int cut_all(struct work *w, ggf_error *err)
{
    w->cuts = calloc(w->n_jobs + 1, sizeof *w->cuts);
    if (!w->cuts) return ggf_no_memory(err);
    for (size_t i = 0; i < w->n_jobs; i++) {
        struct cut *c = &w->cuts[i];
        const int s = cut_item(c, &w->jobs[i], w->jobs[i].item->type, err);
        if (s) return s;
        c->first_tile = w->n_tiles;
        c->tiles_left = (c->n_units + c->tile_units - 1) / c->tile_units;
        w->n_tiles += c->tiles_left;
        if (!c->encode) continue;
        if (c->unit_elements > w->row_max) w->row_max = c->unit_elements;
        if (c->tile_units * c->bytes > w->tile_bytes_max)
            w->tile_bytes_max = c->tile_units * c->bytes;
    }
    return 0;
}

/* The job that tile number `tile` belongs to. */
static size_t job_of(const struct work *w, uint64_t tile)
{
    size_t low = 0, high = w->n_jobs;
    while (high - low > 1) {
        const size_t mid = (low + high) / 2;
        if (w->cuts[mid].first_tile <= tile) low = mid;
        else high = mid;
    }
    return low;
}

static uint64_t tile_source_bytes(const struct cut *c, uint64_t tile)
{
    const uint64_t left = c->n_units - (tile - c->first_tile) * c->tile_units;
    return (left < c->tile_units ? left : c->tile_units) * c->source_bytes;
}

/* ---- One tile --------------------------------------------------------------- */

static int bad_value(const struct ggf_tensor *t, uint64_t element, const char *what,
                     uint32_t type, ggf_error *err)
{
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "tensor '%s', row %" PRIu64 ", column %" PRIu64
                    " on: %s %s holds an infinite or NaN value",
                    t->name, element / t->ne[0], element % t->ne[0], what,
                    ggf_type_name(type));
}

/* Tell the kernel about source bytes: what comes, or that we are through.  Rounded
 * outward, for a fault maps what is around it, but never out of the mapping: what lies
 * beside it in memory is not ours to drop. */
static void advise(const struct ggf_shard *mapped, const uint8_t *bytes, uint64_t len,
                   int advice)
{
    const uintptr_t mask = PAGES - 1;
    if (!mapped) return;
    uintptr_t start = (uintptr_t)bytes & ~mask,
              end = ((uintptr_t)bytes + len + mask) & ~mask;
    const uintptr_t low = (uintptr_t)mapped->bytes, high = low + mapped->size;
    if (start < low) start = low;
    if (end > high) end = high;
    madvise((void *)start, end - start, advice);
}

/* n elements of the source from `first` on: are they good? */
static int check_source(const struct ggf_tensor *t, const uint8_t *from, uint64_t first,
                        uint64_t n, ggf_error *err)
{
    const size_t bad = row_bad_block(t->type, from, n);
    if (bad == SIZE_MAX) return 0;
    return bad_value(t, first + bad * ggf_type_info(t->type)->block, "the source in",
                     t->type, err);
}

static int copy_units(const struct convert_job *job, const struct cut *c, uint64_t first,
                      uint64_t n, ggf_error *err)
{
    const struct ggf_tensor *t = job->item->source;
    const uint8_t *from = t->data + first * c->bytes;
    const int e =
        check_source(t, from, first * c->unit_elements, n * c->unit_elements, err);
    return e ? e
             : ggf_writer_write(job->to, job->index, first * c->bytes, from, n * c->bytes,
                                err);
}

/* The importances of a row, or NULL: those of its expert, dimension 2. */
static const float *row_weights(struct scratch *s, const struct plan_item *item,
                                uint64_t row)
{
    const struct ggf_tensor *t = item->source;
    if (!item->weights) return NULL;
    const uint64_t slice = row / t->ne[1] % t->ne[2];
    if (s->weights_entry != item->weights || s->slice != slice)
        imatrix_weights(item->weights, slice * t->ne[0], t->ne[0], s->weights);
    s->weights_entry = item->weights;
    s->slice = slice;
    return s->weights;
}

/* Encode n rows to `out`. */
static int encode_rows(const struct plan_item *item, uint32_t type, const struct cut *c,
                       struct scratch *s, uint64_t first, uint64_t n, uint8_t *out,
                       ggf_error *err)
{
    const struct ggf_tensor *t = item->source;
    const uint8_t *from = t->data + first * c->source_bytes;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t row = first + i, columns = c->unit_elements;
        uint8_t *to = out + i * c->bytes;
        const int e =
            check_source(t, from + i * c->source_bytes, row * columns, columns, err);
        if (e) return e;
        c->decode(from + i * c->source_bytes, s->row, columns);
        const float *const weights = row_weights(s, item, row);
        c->encode(s->row, columns, weights, to);
        refine_row(type, c->refine, s->row, columns, weights, to);
        const size_t bad = row_bad_block(type, to, columns);
        if (bad != SIZE_MAX)
            return bad_value(t, row * columns + bad * ggf_type_info(type)->block,
                             "the result in", type, err);
    }
    return 0;
}

static int encode_units(const struct convert_job *job, const struct cut *c,
                        struct scratch *s, uint64_t first, uint64_t n, ggf_error *err)
{
    const int e = encode_rows(job->item, job->item->type, c, s, first, n, s->out, err);
    return e ? e
             : ggf_writer_write(job->to, job->index, first * c->bytes, s->out,
                                n * c->bytes, err);
}

static void advise_tile(const struct work *w, uint64_t tile, int advice)
{
    if (tile >= w->n_tiles) return;
    const size_t j = job_of(w, tile);
    const struct cut *c = &w->cuts[j];
    const uint64_t first = (tile - c->first_tile) * c->tile_units;
    advise(w->jobs[j].mapped, w->jobs[j].item->source->data + first * c->source_bytes,
           tile_source_bytes(c, tile), advice);
}

/* Each tile is asked for once, when the one AHEAD of it is begun. */
static void read_ahead(const struct work *w, uint64_t tile)
{
    for (uint64_t i = tile ? AHEAD : 0; i <= AHEAD; i++)
        advise_tile(w, tile + i, MADV_WILLNEED);
}

static int do_tile(const struct work *w, size_t j, uint64_t tile, struct scratch *s,
                   ggf_error *err)
{
    const struct convert_job *job = &w->jobs[j];
    const struct cut *c = &w->cuts[j];
    const uint64_t first = (tile - c->first_tile) * c->tile_units,
                   left = c->n_units - first;
    const uint64_t n = left < c->tile_units ? left : c->tile_units;
    const int status = c->encode ? encode_units(job, c, s, first, n, err)
                                 : copy_units(job, c, first, n, err);
    advise_tile(w, tile, MADV_DONTNEED);
    return status;
}

/* ---- The threads ------------------------------------------------------------ */

/* Called with "report" held. */
static void report(struct work *w, size_t j, uint64_t bytes)
{
    w->bytes_done += bytes;
    if (w->watch->progress) w->watch->progress(w->watch->user, w->bytes_done, j);
    while (w->n_reported < w->n_jobs && !w->cuts[w->n_reported].tiles_left) {
        if (w->watch->finished) w->watch->finished(w->watch->user, w->n_reported);
        w->n_reported++;
    }
}

static void fail(struct work *w, int status, const ggf_error *err)
{
    w->failed = true;
#pragma omp critical(report)
    if (!w->status) {
        w->status = status;
        if (w->err) *w->err = *err;
    }
}

static bool alloc_scratch(struct scratch *s, const struct work *w)
{
    s->row = malloc((w->row_max + 1) * sizeof *s->row);
    s->weights = malloc((w->row_max + 1) * sizeof *s->weights);
    s->out = malloc(w->tile_bytes_max + 1);
    return s->row && s->weights && s->out;
}

static void thread_main(struct work *w)
{
    struct scratch s = { 0 };
    ggf_error err = { 0 };
    if (!alloc_scratch(&s, w)) fail(w, ggf_no_memory(&err), &err);
    while (!w->failed) {
        const uint64_t tile = atomic_fetch_add(&w->next_tile, 1);
        if (tile >= w->n_tiles) break;
        const size_t j = job_of(w, tile);
        read_ahead(w, tile);
        const int status = do_tile(w, j, tile, &s, &err);
        if (status) {
            fail(w, status, &err);
            break;
        }
        atomic_fetch_sub(&w->cuts[j].tiles_left, 1);
#pragma omp critical(report)
        report(w, j, tile_source_bytes(&w->cuts[j], tile));
    }
    free(s.row);
    free(s.weights);
    free(s.out);
}

int convert_rows(const struct convert_job *job, uint32_t type, uint64_t first, uint64_t n,
                 uint8_t *out, ggf_error *err)
{
    const struct ggf_tensor *t = job->item->source;
    const uint64_t columns = t->ne[0], bytes = ggf_row_bytes(t->type, columns) * n;
    const uint8_t *from = t->data + ggf_row_bytes(t->type, columns) * first;
    struct cut c = { 0 };
    struct scratch s = { 0 };
    int e = cut_item(&c, job, type, err);
    if (e) return e;
    advise(job->mapped, from, bytes, MADV_WILLNEED);
    if (c.encode) {
        s.row = malloc(columns * sizeof *s.row);
        s.weights = malloc(columns * sizeof *s.weights);
        e = s.row && s.weights ? encode_rows(job->item, type, &c, &s, first, n, out, err)
                               : ggf_no_memory(err);
        free(s.row);
        free(s.weights);
    } else {
        e = check_source(t, from, first * columns, n * columns, err);
        if (!e) memcpy(out, from, bytes);
    }
    advise(job->mapped, from, bytes, MADV_DONTNEED);
    return e;
}

int convert_run(const struct convert_job *jobs, size_t n, int threads,
                const struct convert_watch *watch, ggf_error *err)
{
    struct work w = { .jobs = jobs,
                      .n_jobs = n,
                      .watch = watch,
                      .err = err,
                      .threads = threads > 0 ? threads : omp_get_num_procs() };
    const int s = cut_all(&w, err);
    if (s) {
        free(w.cuts);
        return s;
    }
#pragma omp parallel num_threads(w.threads)
    thread_main(&w);
    free(w.cuts);
    return w.status;
}
