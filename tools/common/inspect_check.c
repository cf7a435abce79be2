/* inspect_check.c - reads all of a model: sizes, padding, and values that are not
 * numbers. */
#include "inspect.h"
#include "stream.h"

#include "../../infer/now.h"
#include "../../quant/encode.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TILE (1u << 20) /* bytes that one thread checks at a time, in whole rows */

struct check {
    const struct inspect *in;
    struct progress progress;
    uint64_t problems, bytes;
    _Atomic uint64_t done;
};

static void problem(struct check *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void problem(struct check *c, const char *format, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    c->problems++;
    progress_end(&c->progress);
    if (c->in->json) json_str(c->in->json, NULL, text);
    else printf("%s\n", text);
}

/* ---- Layout ---------------------------------------------------------------- */

/* The first byte that is not zero of a stretch that should be padding; `end` if none. */
static uint64_t first_nonzero(const struct ggf_shard *s, uint64_t start, uint64_t end)
{
    if (end > s->size) end = s->size;
    while (start < end && !s->bytes[start]) start++;
    return start;
}

static void check_padding(struct check *c, const struct ggf_shard *s, uint64_t start,
                          uint64_t end, const char *behind)
{
    const uint64_t at = first_nonzero(s, start, end);
    if (at < end && at < s->size)
        problem(c, "%s: padding behind %s is 0x%02x at byte %" PRIu64 ", expected zeros",
                s->path, behind, s->bytes[at], at);
}

static int by_offset(const void *a, const void *b)
{
    const struct ggf_tensor *const *x = a, *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

static void check_end(struct check *c, const struct ggf_shard *s, uint64_t end,
                      uint64_t padded)
{
    if (s->size < end)
        problem(c,
                "%s: %" PRIu64 " bytes of data are missing: the file ends at %" PRIu64
                ", its tensors at %" PRIu64,
                s->path, end - s->size, s->size, end);
    else if (s->size < padded)
        problem(c,
                "%s: the padding behind the last tensor is cut: the file ends at %" PRIu64
                ", expected %" PRIu64,
                s->path, s->size, padded);
    else if (s->size > padded)
        problem(c, "%s: %" PRIu64 " bytes lie behind the last tensor", s->path,
                s->size - padded);
}

/* Tensors one after the other, each padded with zeros, and nothing else. */
static int check_layout(struct check *c, const struct ggf_shard *s, ggf_error *err)
{
    const uint64_t mask = s->alignment - 1;
    uint64_t end = s->data_offset, at = end;
    const struct ggf_tensor **order = malloc((s->n_tensors + 1) * sizeof *order);
    if (!order) return ggf_no_memory(err);
    for (uint32_t i = 0; i < s->n_tensors; i++)
        order[i] = ggf_tensor(c->in->file, s->first_tensor + i);
    for (uint32_t i = 0; i + 1 < s->n_tensors; i++)
        if (order[i]->offset > order[i + 1]->offset) {
            problem(c, "%s: the data of '%s' lies before that of '%s'", s->path,
                    order[i + 1]->name, order[i]->name);
            break;
        }
    qsort(order, s->n_tensors, sizeof *order, by_offset);
    check_padding(c, s, s->header_end, s->data_offset, "the header");
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const struct ggf_tensor *t = order[i];
        if (t->offset > at)
            problem(c, "%s: a gap of %" PRIu64 " bytes before '%s' at byte %" PRIu64,
                    s->path, t->offset - at, t->name, at);
        end = t->offset + t->bytes;
        at = (end + mask) & ~mask;
        check_padding(c, s, end, at, t->name);
    }
    free(order);
    check_end(c, s, end, at);
    return 0;
}

/* ---- Values ---------------------------------------------------------------- */

/* The tensor's bytes, or NULL if the file ends before theirs do. */
static const uint8_t *data_of(const struct check *c, const struct ggf_tensor *t)
{
    const struct ggf_shard *s = ggf_shard(c->in->file, t->shard);
    return t->offset + t->bytes <= s->size ? s->bytes + t->offset : NULL;
}

static void report_bad(struct check *c, const struct ggf_tensor *t, uint64_t block)
{
    const struct ggf_type_info *type = ggf_type_info(t->type);
    const uint64_t element = block * type->block, row = element / t->ne[0];
    char where[64] = "";
    if (t->ne[2] > 1)
        snprintf(where, sizeof where, "%s %" PRIu64 ", ",
                 bytes_per_expert(t) ? "expert" : "matrix", row / t->ne[1]);
    problem(c, "%s: %s%s at byte %" PRIu64 " (%srow %" PRIu64 ", column %" PRIu64 ")",
            t->name, type->quantized ? "a block's scale is" : "a value is",
            " infinite or not a number", t->offset + block * type->block_bytes, where,
            row % t->ne[1], element % t->ne[0]);
}

/* All values of a tensor; several threads, a tile of whole rows each. */
static int check_values(struct check *c, const struct ggf_tensor *t, ggf_error *err)
{
    const uint8_t *data = data_of(c, t);
    if (!data) return 0;
    const uint64_t row = ggf_row_bytes(t->type, t->ne[0]), rows = t->bytes / row;
    const uint64_t step = row < TILE ? TILE / row : 1;
    const struct ggf_type_info *type = ggf_type_info(t->type);
    uint64_t bad = UINT64_MAX;
    int status = 0;
#pragma omp parallel for schedule(dynamic)
    for (uint64_t first = 0; first < rows; first += step) {
        const uint64_t n = rows - first < step ? rows - first : step;
        const uint8_t *tile = data + first * row;
        ggf_error tile_err;
        const int s = stream_fetch(tile, n * row, &tile_err);
        const size_t b = s ? SIZE_MAX : row_bad_block(t->type, tile, n * t->ne[0]);
        stream_drop(tile, n * row);
        const uint64_t done = atomic_fetch_add(&c->done, n * row) + n * row;
#pragma omp critical
        {
            const uint64_t at = first * (t->ne[0] / type->block) + b;
            if (b != SIZE_MAX && at < bad) bad = at;
            if (s && !status) {
                status = s;
                if (err) *err = tile_err;
            }
            progress_update(&c->progress, done, t->name);
        }
    }
    c->bytes += t->bytes;
    if (bad != UINT64_MAX) report_bad(c, t, bad);
    return status;
}

/* ---- The whole ------------------------------------------------------------- */

static void print_result(const struct check *c, double seconds)
{
    char size[24], rate[24];
    out_size(size, c->bytes);
    out_size(rate, seconds > 0 ? (uint64_t)((double)c->bytes / seconds) : 0);
    printf("%s: %" PRIu64 " tensors, %s read in %.1f s (%s/s), ",
           c->problems ? "bad" : "good", ggf_tensor_count(c->in->file), size, seconds,
           rate);
    printf(c->problems ? "%" PRIu64 " problem%s\n" : "no problems\n", c->problems,
           c->problems == 1 ? "" : "s");
}

int inspect_check(const struct inspect *in, ggf_error *err)
{
    const double start = seconds_now();
    struct check c = { .in = in, .progress = { .what = "checking" } };
    int s = 0;
    if (in->json) {
        json_open(in->json, "check", '{');
        json_open(in->json, "problems", '[');
    }
    for (uint32_t i = 0; i < ggf_shard_count(in->file) && !s; i++)
        s = check_layout(&c, ggf_shard(in->file, i), err);
    for (uint64_t i = 0; i < ggf_tensor_count(in->file); i++)
        c.progress.total += ggf_tensor(in->file, i)->bytes;
    for (uint64_t i = 0; i < ggf_tensor_count(in->file) && !s; i++)
        s = check_values(&c, ggf_tensor(in->file, i), err);
    progress_end(&c.progress);
    if (in->json) {
        json_close(in->json, ']');
        json_u64(in->json, "bytes", c.bytes);
        json_bool(in->json, "good", !s && !c.problems);
        json_close(in->json, '}');
    } else if (!s) {
        print_result(&c, seconds_now() - start);
    }
    return s ? s : c.problems != 0;
}
