/* trace_read.c - reading traces and histories; see trace.h.  Every byte is checked when a
 * file is opened. */
#include "trace.h"

#include "../bytes.h"
#include "trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct trace {
    struct trace_model model;
    bool history;
    uint8_t *bytes; /* of the file */
    uint64_t start, end;
};

static int wrong(ggf_error *err, const char *name, const char *what)
{
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%.200s: %s", name, what);
}

/* ---- Header -------------------------------------------------------------- */

static int check_shape(const struct trace_model *m, const char *name, ggf_error *err)
{
    if (m->n_layer && m->n_layer <= TRACE_MAX_LAYERS && m->n_expert &&
        m->n_expert <= TRACE_MAX_EXPERTS && m->n_used && m->n_used <= m->n_expert)
        return 0;
    return ggf_fail(err, GGF_E_FORMAT, TRACE_AT_LAYERS,
                    "%.200s: %" PRIu32 " layers, %" PRIu32 " experts, %" PRIu32
                    " of them used are impossible",
                    name, m->n_layer, m->n_expert, m->n_used);
}

static int read_header(struct trace *t, uint64_t len, const char *name, ggf_error *err)
{
    const uint8_t *h = t->bytes;
    if (len < TRACE_HEADER) return wrong(err, name, "too short for a trace");
    t->history = !memcmp(h, HISTORY_MAGIC, 8);
    if (!t->history && memcmp(h, TRACE_MAGIC, 8) != 0)
        return wrong(err, name, "not a trace and not a history of experts");
    if (get_u32(h + TRACE_AT_VERSION) != TRACE_VERSION)
        return ggf_fail(err, GGF_E_FORMAT, TRACE_AT_VERSION,
                        "%.200s: version %" PRIu32 ", expected %d", name,
                        get_u32(h + TRACE_AT_VERSION), TRACE_VERSION);
    struct trace_model *m = &t->model;
    m->n_layer = get_u32(h + TRACE_AT_LAYERS);
    m->n_expert = get_u32(h + TRACE_AT_EXPERTS);
    m->n_used = get_u32(h + TRACE_AT_USED);
    m->dense_bytes = get_u64(h + TRACE_AT_DENSE);
    memcpy(m->id, h + TRACE_AT_ID, TRACE_ID_BYTES);
    int e = check_shape(m, name, err);
    if (e) return e;
    t->start = TRACE_HEADER + (uint64_t)m->n_layer * sizeof(uint64_t);
    t->end = len;
    if (len < t->start || get_u64(h + TRACE_AT_DATA_BYTES) != len - t->start)
        return ggf_fail(err, GGF_E_FORMAT, TRACE_AT_DATA_BYTES,
                        "%.200s has %" PRIu64 " bytes, expected %" PRIu64
                        " of data behind a header of %" PRIu64,
                        name, len, get_u64(h + TRACE_AT_DATA_BYTES), t->start);
    /* malloc'd, and the header is a multiple of 8 bytes. */
    m->expert_bytes = (const uint64_t *)(const void *)(h + TRACE_HEADER);
    return 0;
}

/* Sums over a model of these stay far from overflow. */
static int check_sizes(const struct trace_model *m, const char *name, ggf_error *err)
{
    const uint64_t most = UINT64_C(1) << 34;
    for (uint32_t l = 0; l < m->n_layer; l++)
        if (!m->expert_bytes[l] || m->expert_bytes[l] > most)
            return ggf_fail(err, GGF_E_FORMAT, TRACE_HEADER + 8 * (uint64_t)l,
                            "%.200s: an expert of %" PRIu64 " bytes is impossible", name,
                            m->expert_bytes[l]);
    if (m->dense_bytes > UINT64_C(1) << 48)
        return wrong(err, name, "impossibly many bytes besides experts");
    return 0;
}

/* ---- Contents ------------------------------------------------------------ */

static int check_block(const struct trace *t, uint64_t at, const char *name,
                       ggf_error *err)
{
    const struct trace_model *m = &t->model;
    const uint64_t left = t->end - at;
    if (left < TRACE_BLOCK_HEADER) return wrong(err, name, "cut off in a block");
    const uint32_t layer = get_u32(t->bytes + at), tokens = get_u32(t->bytes + at + 4);
    if (layer >= m->n_layer || !tokens || tokens > TRACE_MAX_TOKENS)
        return ggf_fail(err, GGF_E_FORMAT, at,
                        "%.200s: layer %" PRIu32 " with %" PRIu32 " tokens is impossible",
                        name, layer, tokens);
    const uint64_t n = (uint64_t)tokens * m->n_used;
    if (n > (left - TRACE_BLOCK_HEADER) / sizeof(struct trace_choice))
        return wrong(err, name, "cut off in a block");
    const struct trace_choice *c =
        (const struct trace_choice *)(const void *)(t->bytes + at + TRACE_BLOCK_HEADER);
    for (uint64_t i = 0; i < n; i++)
        if (c[i].expert >= m->n_expert)
            return ggf_fail(err, GGF_E_FORMAT, at, "%.200s: expert %u of %" PRIu32, name,
                            c[i].expert, m->n_expert);
    return 0;
}

static int check_history(const struct trace *t, const char *name, ggf_error *err)
{
    const uint64_t n = (uint64_t)t->model.n_layer * t->model.n_expert;
    if (t->end - t->start != n * sizeof(uint64_t))
        return wrong(err, name, "a history that is not of one count for each expert");
    for (uint64_t i = 0; i < n; i++)
        if (get_u64(t->bytes + t->start + i * sizeof(uint64_t)) > UINT64_C(1) << 48)
            return wrong(err, name, "a count is impossibly large");
    return 0;
}

static int check(struct trace *t, uint64_t len, const char *name, ggf_error *err)
{
    struct trace_block b;
    uint64_t at = 0;
    int e = read_header(t, len, name, err);
    if (e || (e = check_sizes(&t->model, name, err))) return e;
    if (t->history) return check_history(t, name, err);
    for (uint64_t next = t->start; next < t->end; next = at) {
        if ((e = check_block(t, next, name, err))) return e;
        trace_next(t, &at, &b);
    }
    return 0;
}

bool trace_next(const struct trace *t, uint64_t *at, struct trace_block *out)
{
    if (!*at) { /* whatever layer comes, it begins a batch */
        *at = t->start;
        out->layer = UINT32_MAX;
    }
    if (t->history || *at >= t->end) return false;
    const uint8_t *p = t->bytes + *at;
    const uint32_t layer = get_u32(p);
    out->first = layer <= out->layer;
    out->layer = layer;
    out->tokens = get_u32(p + 4);
    if (out->first) out->prompt = out->tokens > 1;
    out->choices = (const struct trace_choice *)(const void *)(p + TRACE_BLOCK_HEADER);
    *at += TRACE_BLOCK_HEADER +
           (uint64_t)out->tokens * t->model.n_used * sizeof *out->choices;
    return true;
}

/* ---- Files --------------------------------------------------------------- */

static int take(struct trace **out, uint8_t *bytes, uint64_t len, const char *name,
                ggf_error *err)
{
    struct trace *t = calloc(1, sizeof *t);
    int e = t ? 0 : ggf_no_memory(err);
    if (t) t->bytes = bytes;
    else free(bytes);
    if (!e) e = check(t, len, name, err);
    if (e) trace_close(t);
    else *out = t;
    return e;
}

int trace_open_buffer(struct trace **out, const void *bytes, size_t len, const char *name,
                      ggf_error *err)
{
    uint8_t *copy = malloc(len ? len : 1);
    *out = NULL;
    if (!copy) return ggf_no_memory(err);
    if (len) memcpy(copy, bytes, len);
    return take(out, copy, len, name, err);
}

static int read_all(int fd, uint8_t *bytes, uint64_t len, const char *path,
                    ggf_error *err)
{
    for (uint64_t done = 0; done < len;) {
        const ssize_t n = read(fd, bytes + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return ggf_fail(err, GGF_E_IO, done, "cannot read %.200s: %s", path,
                            n ? strerror(errno) : "it has been cut short");
        done += (uint64_t)n;
    }
    return 0;
}

int trace_open(struct trace **out, const char *path, ggf_error *err)
{
    struct stat st;
    *out = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        const int e = errno;
        if (fd >= 0) close(fd);
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %.200s: %s", path,
                        strerror(e));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return wrong(err, path, "not a file");
    }
    const uint64_t len = (uint64_t)st.st_size;
    uint8_t *bytes = malloc(len ? len : 1);
    int e = bytes ? read_all(fd, bytes, len, path, err) : ggf_no_memory(err);
    close(fd);
    if (!e) return take(out, bytes, len, path, err);
    free(bytes);
    return e;
}

void trace_close(struct trace *t)
{
    if (!t) return;
    free(t->bytes);
    free(t);
}

/* ---- What is in it ------------------------------------------------------- */

const struct trace_model *trace_model(const struct trace *t) { return &t->model; }

bool trace_is_history(const struct trace *t) { return t->history; }

int trace_check_model(const struct trace *t, const struct trace_model *m, ggf_error *err)
{
    const struct trace_model *own = &t->model;
    if (own->n_layer == m->n_layer && own->n_expert == m->n_expert &&
        own->n_used == m->n_used && !memcmp(own->id, m->id, TRACE_ID_BYTES))
        return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the %s was recorded with another model",
                    t->history ? "history" : "trace");
}

void trace_count(const struct trace *t, uint64_t *counts)
{
    const uint64_t n = (uint64_t)t->model.n_layer * t->model.n_expert;
    struct trace_block b;
    for (uint64_t i = 0; t->history && i < n; i++)
        counts[i] += get_u64(t->bytes + t->start + i * sizeof *counts);
    for (uint64_t at = 0; trace_next(t, &at, &b);)
        for (uint64_t i = 0; i < (uint64_t)b.tokens * t->model.n_used; i++)
            counts[(uint64_t)b.layer * t->model.n_expert + b.choices[i].expert]++;
}
