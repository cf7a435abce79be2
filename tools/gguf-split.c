/* gguf-split - cut a model into the files of a split set, and join them again.
 *
 * File names, cuts and the order and types of the keys are llama-gguf-split's. */
#include "common/opt.h"
#include "common/out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TILE       (64u << 20) /* between two updates of the progress line */
#define MAX_SHARDS 65535u      /* split.no and split.count are u16 */
#define NOT_GIVEN  UINT64_MAX

static bool split_mode, merge_mode, no_tensor_first, dry_run, force;
static uint64_t max_tensors = NOT_GIVEN;
static const char *max_size_text;

static const struct opt options[] = {
    { "--split", NULL, OPT_FLAG, &split_mode,
      "cut IN into OUT-00001-of-0000N.gguf (the default)" },
    { "--merge", NULL, OPT_FLAG, &merge_mode,
      "join the set whose first file is IN into the file OUT" },
    { "--split-max-tensors", "N", OPT_U64, &max_tensors,
      "at most N tensors in a file (default: 128)" },
    { "--split-max-size", "N(M|G)", OPT_STR, &max_size_text,
      "at most N megabytes (10^6) or gigabytes (10^9) of tensor data in a\n"
      "file; a larger tensor gets a file of its own" },
    { "--no-tensor-first-split", NULL, OPT_FLAG, &no_tensor_first,
      "the first file holds the metadata only" },
    { "--dry-run", NULL, OPT_FLAG, &dry_run, "print the files that would be written" },
    { "--force", NULL, OPT_FLAG, &force, "replace existing files" },
    { 0 },
};

static const struct opt_program program = {
    "gguf-split",
    "[options] IN.gguf OUT",
    "Split a GGUF model into several files, or merge them.  OUT is the prefix of the\n"
    "files' names when splitting, the file's name when merging.",
    options,
    2,
    2,
};

/* The tensors first..end-1 of the input. */
struct part {
    uint64_t first, end, bytes;
    ggf_writer *writer;
    char *path;
};

struct plan {
    struct part *parts;
    uint32_t n_parts;
};

/* ---- Where to cut ---------------------------------------------------------- */

static struct part *open_part(struct plan *p, uint64_t first, ggf_error *err)
{
    if (p->n_parts == MAX_SHARDS) {
        ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "more than %u files would be needed",
                 MAX_SHARDS);
        return NULL;
    }
    struct part *parts = realloc(p->parts, (p->n_parts + 1) * sizeof *parts);
    if (!parts) {
        ggf_no_memory(err);
        return NULL;
    }
    p->parts = parts;
    parts[p->n_parts] = (struct part){ .first = first, .end = first };
    return &parts[p->n_parts++];
}

/* By tensors: before every multiple of N.  By size: before a tensor whose padded size
 * would take the sum over the limit. */
static int make_plan(struct plan *p, const ggf_file *in, uint64_t max_size,
                     ggf_error *err)
{
    const uint64_t align = ggf_shard(in, 0)->alignment, n = ggf_tensor_count(in);
    struct part *part = open_part(p, 0, err);
    if (part && no_tensor_first) part = open_part(p, 0, err);
    for (uint64_t i = 0; i < n && part; i++) {
        const uint64_t bytes = (ggf_tensor(in, i)->bytes + align - 1) / align * align;
        const bool cut = max_size
                             ? part->bytes + bytes > max_size && part->end > part->first
                             : i > 0 && i % max_tensors == 0;
        if (cut) part = open_part(p, i, err);
        if (!part) break;
        part->end = i + 1;
        part->bytes += bytes;
    }
    return part ? 0 : err->code;
}

/* ---- Headers --------------------------------------------------------------- */

static int copy_keys(ggf_writer *w, const ggf_file *in, ggf_error *err)
{
    int s = 0;
    for (uint64_t i = 0; i < ggf_kv_count(in) && !s; i++)
        s = ggf_writer_set_kv(w, ggf_kv(in, i), err);
    return s;
}

/* In this order: llama-gguf-split sets the count again when it knows it. */
static int set_split_keys(ggf_writer *w, uint32_t no, uint32_t count, uint64_t tensors,
                          ggf_error *err)
{
    int s = ggf_writer_set_u16(w, "split.no", (uint16_t)no, err);
    if (!s) s = ggf_writer_set_i32(w, "split.tensors.count", (int32_t)tensors, err);
    if (!s) s = ggf_writer_set_u16(w, "split.count", (uint16_t)count, err);
    return s;
}

static int start_part(struct part *part, const ggf_file *in, uint32_t no, uint32_t count,
                      ggf_error *err)
{
    const struct ggf_writer_options o = { .force = force };
    int s = ggf_writer_create(&part->writer, part->path, &o, err);
    if (!s && no == 0) s = copy_keys(part->writer, in, err);
    /* A merged file keeps split.no and split.tensors.count; its count of 0 says that
     * there are no other files. */
    if (!s && merge_mode) s = ggf_writer_set_u16(part->writer, "split.count", 0, err);
    else if (!s) s = set_split_keys(part->writer, no, count, ggf_tensor_count(in), err);
    for (uint64_t i = part->first; i < part->end && !s; i++) {
        const struct ggf_tensor *t = ggf_tensor(in, i);
        s = ggf_writer_add_tensor(part->writer, t->name, t->type, t->ne, err);
    }
    return s ? s : ggf_writer_begin(part->writer, err);
}

/* ---- Data ------------------------------------------------------------------ */

static int copy_tensor(ggf_writer *w, uint64_t index, const struct ggf_tensor *t, int fd,
                       struct progress *progress, uint64_t *done, ggf_error *err)
{
    int s = 0;
    for (uint64_t at = 0; at < t->bytes && !s; at += TILE) {
        const uint64_t n = t->bytes - at < TILE ? t->bytes - at : TILE;
        s = ggf_writer_copy(w, index, at, fd, t->offset + at, n, err);
        progress_update(progress, *done += n, t->name);
    }
    return s;
}

static int copy_data(const struct plan *p, const ggf_file *in, ggf_error *err)
{
    struct progress progress = { .what = merge_mode ? "merging" : "splitting" };
    uint64_t done = 0;
    uint32_t shard = 0;
    int fd = -1, s = 0;
    for (uint32_t i = 0; i < p->n_parts; i++) progress.total += p->parts[i].bytes;
    for (uint32_t i = 0; i < p->n_parts && !s; i++) {
        const struct part *part = &p->parts[i];
        for (uint64_t t = part->first; t < part->end && !s; t++) {
            const struct ggf_tensor *tensor = ggf_tensor(in, t);
            if (fd < 0 || tensor->shard != shard) {
                if (fd >= 0) close(fd);
                shard = tensor->shard;
                fd = open(ggf_shard(in, shard)->path, O_RDONLY | O_CLOEXEC);
            }
            if (fd < 0)
                s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s",
                             ggf_shard(in, shard)->path, strerror(errno));
            else
                s = copy_tensor(part->writer, t - part->first, tensor, fd, &progress,
                                &done, err);
        }
    }
    if (fd >= 0) close(fd);
    progress_end(&progress);
    return s;
}

/* All files get their names or none. */
static int commit(struct plan *p, ggf_error *err)
{
    ggf_writer **writers = malloc(p->n_parts * sizeof *writers);
    if (!writers) return ggf_no_memory(err);
    for (uint32_t i = 0; i < p->n_parts; i++) {
        writers[i] = p->parts[i].writer;
        p->parts[i].writer = NULL;
    }
    const int s = ggf_writers_finish(writers, p->n_parts, err);
    free(writers);
    return s;
}

/* ---- The whole ------------------------------------------------------------- */

static int name_parts(struct plan *p, const char *out, ggf_error *err)
{
    const size_t size = strlen(out) + 32;
    for (uint32_t i = 0; i < p->n_parts; i++) {
        char *path = p->parts[i].path = malloc(size);
        if (!path) return ggf_no_memory(err);
        if (merge_mode) strcpy(path, out);
        else ggf_split_name(path, size, out, i, p->n_parts);
    }
    return 0;
}

static void print_plan(const struct plan *p)
{
    for (uint32_t i = 0; i < p->n_parts; i++) {
        char size[24];
        const struct part *part = &p->parts[i];
        printf("%s  %5" PRIu64 " tensors  %12s\n", part->path, part->end - part->first,
               out_size(size, part->bytes));
    }
}

static int write_parts(struct plan *p, const ggf_file *in, ggf_error *err)
{
    int s = 0;
    out_allow_many_files(); /* each stays open until all are whole */
    for (uint32_t i = 0; i < p->n_parts && !s; i++)
        s = start_part(&p->parts[i], in, i, p->n_parts, err);
    if (!s) s = copy_data(p, in, err);
    return s ? s : commit(p, err);
}

static int run(struct plan *p, ggf_file **in, char **args, uint64_t max_size,
               ggf_error *err)
{
    const struct ggf_open_options open_options = { .allow_gaps = true };
    uint32_t count = 0;
    int s = ggf_open(in, args[0], &open_options, err);
    if (!s) ggf_get_u32(*in, "split.count", &count, NULL);
    if (!s && merge_mode && count == 0)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "%s is not the first file of a split set: there is nothing to merge",
                     args[0]);
    if (!s && ggf_tensor_count(*in) > INT32_MAX)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s has too many tensors", args[0]);
    if (merge_mode) max_size = UINT64_MAX;
    if (!s) s = make_plan(p, *in, max_size, err);
    if (!s) s = name_parts(p, args[1], err);
    if (!s && !dry_run) s = write_parts(p, *in, err);
    if (!s) print_plan(p);
    return s;
}

/* "500M" or "2G", decimal as llama-gguf-split reads it. */
static bool parse_max_size(const char *text, uint64_t *size)
{
    char *end;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    const uint64_t unit = *end == 'M' ? 1000000 : *end == 'G' ? 1000000000 : 0;
    return *text >= '0' && *text <= '9' && !errno && unit && !end[1] && n > 0 &&
           !__builtin_mul_overflow(n, unit, size);
}

static int check_usage(uint64_t *max_size)
{
    if (split_mode && merge_mode)
        return opt_error(&program, "--split and --merge exclude each other");
    const bool by_count = max_tensors != NOT_GIVEN;
    if (merge_mode && (by_count || max_size_text || no_tensor_first))
        return opt_error(&program, "options of --split have no effect on --merge");
    if (by_count && max_size_text)
        return opt_error(&program,
                         "--split-max-tensors and --split-max-size exclude each other");
    if (max_tensors == 0)
        return opt_error(&program, "--split-max-tensors must be 1 or more");
    if (max_size_text && !parse_max_size(max_size_text, max_size))
        return opt_error(&program,
                         "--split-max-size: '%s' is not a size such as 500M or 2G",
                         max_size_text);
    return OPT_GO;
}

int main(int argc, char **argv)
{
    char **args;
    int n;
    uint64_t max_size = 0;
    int go = opt_parse(&program, argc, argv, &args, &n);
    if (go == OPT_GO) go = check_usage(&max_size);
    if (go != OPT_GO) return go;
    if (max_tensors == NOT_GIVEN) max_tensors = 128;
    out_handle_signals();
    struct plan plan = { 0 };
    ggf_file *in = NULL;
    ggf_error err;
    int status = run(&plan, &in, args, max_size, &err);
    if (status) status = out_error(program.name, &err);
    for (uint32_t i = 0; i < plan.n_parts; i++) {
        ggf_writer_discard(plan.parts[i].writer);
        free(plan.parts[i].path);
    }
    free(plan.parts);
    ggf_close(in);
    return out_close_stdout(program.name, status);
}
