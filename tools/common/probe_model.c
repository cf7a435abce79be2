/* probe_model.c - see probe_model.h. */
#include "probe_model.h"

#include "input.h"
#include "logprob.h"
#include "windows.h"
#include "../../quant/convert.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { UBATCH = 512 };

/* ---- Temporary files ---------------------------------------------------------- */

static const char *temporary_folder(void)
{
    const char *folder = getenv("TMPDIR");
    return folder && *folder ? folder : "/tmp";
}

/* Memory that the system may write out, in a file without a name. */
static int map_temporary(void **map, size_t bytes, ggf_error *err)
{
    char name[PATH_MAX];
    *map = NULL;
    snprintf(name, sizeof name, "%s/q3n-probe-XXXXXX", temporary_folder());
    const int fd = mkstemp(name);
    if (fd >= 0) unlink(name);
    /* Room is taken now: a disk that fills up later would end the process. */
    const int no_room = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes);
    void *p = no_room ? MAP_FAILED
                      : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const int why = no_room ? no_room : errno;
    if (fd >= 0) close(fd);
    if (p == MAP_FAILED)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                        "no room for %zu bytes of logits in %s: %s", bytes,
                        temporary_folder(), strerror(why));
    *map = p;
    return 0;
}

/* ---- The text ------------------------------------------------------------------- */

static int take_windows(struct probe_model *m, const struct q3n_ids *ids,
                        const char *text, ggf_error *err)
{
    const size_t have = ids->n / m->n_ctx;
    if (have < 2)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s has %zu tokens, a probe needs two windows of %" PRIu32, text,
                        ids->n, m->n_ctx);
    if (m->n_windows > have) m->n_windows = (uint32_t)have;
    m->tokens = calloc((size_t)m->n_windows * m->n_ctx, sizeof *m->tokens);
    if (!m->tokens) return ggf_no_memory(err);
    for (size_t w = 0; w < m->n_windows; w++)
        memcpy(m->tokens + w * m->n_ctx, ids->ids + w * have / m->n_windows * m->n_ctx,
               m->n_ctx * sizeof *m->tokens);
    return 0;
}

static int read_text(struct probe_model *m, const char *text, ggf_error *err)
{
    struct input in = { 0 };
    struct q3n_ids ids = { 0 };
    q3n_tokenizer *t = NULL;
    int s = q3n_tokenizer_load(&t, m->file, err);
    if (!s) s = input_read(&in, text, err);
    if (!s) s = q3n_encode(t, in.bytes, in.len, false, &ids, err);
    if (!s) m->bos = q3n_tokenizer_bos(t);
    if (!s) s = take_windows(m, &ids, text, err);
    q3n_ids_free(&ids);
    q3n_tokenizer_free(t);
    free(in.bytes);
    return s;
}

/* ---- Running -------------------------------------------------------------------- */

/* The source's logits are kept when there is nothing to compare with yet. */
struct pass {
    const struct probe_model *m;
    bool keep;
    int threads;
    double *window; /* sums of the divergence */
};

static int take_rows(void *user, const struct window_rows *w, ggf_error *err)
{
    (void)err;
    const struct pass *p = user;
    const size_t n = p->m->n_vocab;
    float *base =
        p->m->logits + ((size_t)w->window * window_predictions(p->m->n_ctx) + w->row) * n;
    double sum = 0;
    if (p->keep) {
        q3n_capture_next(p->m->inputs, w->n);
        memcpy(base, w->logits[0], w->n * n * sizeof *base);
        return 0;
    }
    /* In the order of the rows, whatever the threads. */
    double *kld = calloc(w->n, sizeof *kld);
    if (!kld) return ggf_no_memory(err);
#pragma omp parallel for schedule(static) num_threads(p->threads)
    for (uint32_t i = 0; i < w->n; i++)
        kld[i] = row_distance_exact(w->logits[0] + i * n, base + i * n, (uint32_t)n).kld;
    for (uint32_t i = 0; i < w->n; i++) sum += kld[i];
    p->window[w->window] += sum;
    free(kld);
    return 0;
}

static int run(const struct probe_model *m, q3n_model *model, struct pass *pass,
               ggf_error *err)
{
    const struct q3n_session_options so = { .n_ctx = m->n_ctx, .n_ubatch = UBATCH };
    q3n_session *session = NULL;
    pass->threads = m->threads > 0 ? m->threads : omp_get_num_procs();
    const struct observer *observer = pass->keep ? q3n_capture_observer(m->inputs) : NULL;
    const struct windows w = { .sessions = &session,
                               .n_sessions = 1,
                               .observers = &observer,
                               .tokens = m->tokens,
                               .n_ctx = m->n_ctx,
                               .n_windows = m->n_windows,
                               .n_ubatch = UBATCH,
                               .n_vocab = m->n_vocab,
                               .bos = m->bos,
                               .rows = take_rows,
                               .user = pass };
    int s = q3n_session_new(&session, model, &so, err);
    if (!s) s = windows_run(&w, err);
    q3n_session_free(session);
    return s;
}

static int run_source(struct probe_model *m, ggf_error *err)
{
    const struct q3n_model_options o = { .threads = m->threads > 0 ? m->threads : 0 };
    const uint32_t n = m->n_windows * window_predictions(m->n_ctx);
    struct pass pass = { .m = m, .keep = true };
    void *map = NULL;
    int s = q3n_model_open(&m->source, m->path, &o, err);
    if (s) return s;
    m->n_vocab = q3n_model_info(m->source)->n_vocab;
    m->logits_bytes = (size_t)n * m->n_vocab * sizeof *m->logits;
    s = map_temporary(&map, m->logits_bytes, err);
    m->logits = map;
    const uint32_t stride = (n + PROBE_INPUTS - 1) / PROBE_INPUTS;
    if (!s) s = q3n_capture_new(&m->inputs, m->source, PROBE_INPUTS, stride, err);
    return s ? s : run(m, m->source, &pass, err);
}

int probe_model_open(struct probe_model *m, const ggf_file *file, const char *path,
                     const char *text, uint32_t n_ctx, uint32_t n_windows, int threads,
                     ggf_error *err)
{
    *m = (struct probe_model){ .file = file,
                               .path = path,
                               .threads = threads,
                               .n_ctx = n_ctx,
                               .n_windows = n_windows };
    const int s = read_text(m, text, err);
    return s ? s : run_source(m, err);
}

void probe_model_close(struct probe_model *m)
{
    free(m->tokens);
    q3n_capture_free(m->inputs);
    q3n_model_close(m->source);
    if (m->logits) munmap(m->logits, m->logits_bytes);
    *m = (struct probe_model){ 0 };
}

/* ---- Other types ------------------------------------------------------------------ */

/* Encode the tensors whose type differs from the source's. */
static int write_overlay(const struct probe_model *m, const struct error_table *table,
                         const uint32_t *types, const char *path, ggf_error *err)
{
    const struct convert_watch silent = { 0 };
    struct plan_item *items = calloc(table->n + 1, sizeof *items);
    struct convert_job *jobs = calloc(table->n + 1, sizeof *jobs);
    ggf_writer *w = NULL;
    size_t n = 0;
    int s = items && jobs ? 0 : ggf_no_memory(err);
    if (!s) s = ggf_writer_create(&w, path, NULL, err);
    for (size_t i = 0; i < table->n && !s; i++) {
        const struct error_entry *e = &table->entries[i];
        if (types[i] == e->tensor->type) continue;
        items[n] = (struct plan_item){ .source = e->tensor,
                                       .type = types[i],
                                       .refused = types[i],
                                       .weights = e->importances };
        jobs[n] = (struct convert_job){
            .item = &items[n], .to = w, .index = n, .refine = m->refine
        };
        s = ggf_writer_add_tensor(w, e->tensor->name, types[i], e->tensor->ne, err);
        n++;
    }
    if (!s) s = ggf_writer_begin(w, err);
    if (!s) s = convert_run(jobs, n, m->threads, &silent, err);
    if (!s) {
        s = ggf_writer_finish(w, err);
        w = NULL;
    }
    ggf_writer_discard(w);
    free(items);
    free(jobs);
    return s;
}

static int open_changed(const struct probe_model *m, const struct error_table *table,
                        const uint32_t *types, q3n_model **model, ggf_error *err)
{
    static unsigned count;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/q3n-probe.%ld.%u.gguf", temporary_folder(),
             (long)getpid(), count++);
    const struct q3n_model_options o = { .threads = m->threads > 0 ? m->threads : 0,
                                         .overlay = path };
    int s = write_overlay(m, table, types, path, err);
    if (s) return s;
    s = q3n_model_open(model, m->path, &o, err);
    unlink(path);
    return s;
}

int probe_model_kld(const struct probe_model *m, const struct error_table *table,
                    const uint32_t *types, struct estimate *kld, ggf_error *err)
{
    struct pass pass = { .m = m, .window = calloc(m->n_windows, sizeof(double)) };
    q3n_model *model = NULL;
    int s = pass.window ? 0 : ggf_no_memory(err);
    if (!s) s = open_changed(m, table, types, &model, err);
    if (!s) s = run(m, model, &pass, err);
    double sum = 0, squares = 0;
    for (uint32_t w = 0; w < m->n_windows && !s; w++) {
        const double v = pass.window[w] / window_predictions(m->n_ctx);
        sum += v;
        squares += v * v;
    }
    const double n = m->n_windows;
    *kld = (struct estimate){ sum / n,
                              sqrt(fmax(squares / n - sum * sum / n / n, 0) / (n - 1)) };
    q3n_model_close(model);
    free(pass.window);
    return s;
}
