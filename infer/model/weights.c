/* weights.c - the tensors that every token needs, which is all but the routed experts:
 * mapped, or in memory of our own that nothing can push out.  Such memory is had in huge
 * pages, and is read faster than files whose pages came into memory one by one. */
#include "model.h"
#include "../gpu/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

enum { COPY_ALIGN = 64, HUGE_PAGE = 2 << 20, READ_BYTES = 4 << 20 };

/* Is it no weight that the host needs for every token? */
static bool is_elsewhere(const struct q3n_model *m, const struct ggf_tensor *t)
{
    return ggf_tensor_role(m->file, t) == GGF_ROLE_EXPERTS || offload_holds(m, t);
}

int weights_map(struct q3n_model *m, ggf_error *err)
{
    const uint64_t n = ggf_tensor_count(m->file);
    m->tensor_data = calloc(n ? n : 1, sizeof *m->tensor_data);
    if (!m->tensor_data) return ggf_no_memory(err);
    for (uint64_t i = 0; i < n; i++) m->tensor_data[i] = ggf_tensor(m->file, i)->data;
    return 0;
}

/* ---- Reading ------------------------------------------------------------- */

static uint64_t copy_size(uint64_t bytes)
{
    return (bytes + COPY_ALIGN - 1) / COPY_ALIGN * COPY_ALIGN;
}

static int allocate(struct q3n_model *m, ggf_error *err)
{
    uint64_t total = 0;
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++)
        if (!is_elsewhere(m, ggf_tensor(m->file, i)))
            total += copy_size(ggf_tensor(m->file, i)->bytes);
    m->copy_bytes = (total + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (m->copy_bytes) m->copy = aligned_alloc(HUGE_PAGE, m->copy_bytes);
    if (!m->copy)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "out of memory for %" PRIu64 " bytes of weights", total);
    madvise(m->copy, m->copy_bytes, MADV_HUGEPAGE);
    return 0;
}

struct block {
    int fd;
    uint64_t offset, bytes;
    uint8_t *into;
    const char *path;
    bool once; /* the system need not keep it too */
};

static int read_block(const struct block *b, ggf_error *err)
{
    for (uint64_t done = 0; done < b->bytes;) {
        const uint64_t left = b->bytes - done;
        const ssize_t n =
            pread(b->fd, b->into + done, left < READ_BYTES ? left : READ_BYTES,
                  (off_t)(b->offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return ggf_fail(err, GGF_E_IO, b->offset + done, "cannot read %.200s: %s",
                            b->path, n ? strerror(errno) : "it has been cut short");
        done += (uint64_t)n;
    }
    if (b->once)
        posix_fadvise(b->fd, (off_t)b->offset, (off_t)b->bytes, POSIX_FADV_DONTNEED);
    return 0;
}

static int open_shard(const struct ggf_shard *s, int *fd, ggf_error *err)
{
    struct stat st;
    *fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %.200s: %s", s->path,
                        strerror(errno));
    if (!fstat(*fd, &st) && (uint64_t)st.st_size == s->size) return 0;
    close(*fd);
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                    "%.200s has changed: it should have %" PRIu64 " bytes", s->path,
                    s->size);
}

/* Tensors of one shard, each on a thread. */
static int read_shard(const struct q3n_model *m, uint32_t shard, int fd, bool once,
                      ggf_error *err)
{
    const struct ggf_shard *s = ggf_shard(m->file, shard);
    int status = 0;
#pragma omp parallel for schedule(dynamic) num_threads(m->threads)
    for (uint32_t i = s->first_tensor; i < s->first_tensor + s->n_tensors; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        if (is_elsewhere(m, t)) continue;
        const struct block b = {
            .fd = fd,
            .offset = t->offset,
            .bytes = t->bytes,
            .into = (uint8_t *)m->copy + (m->tensor_data[i] - (uint8_t *)m->copy),
            .path = s->path,
            .once = once,
        };
        ggf_error mine;
        const int e = read_block(&b, &mine);
#pragma omp critical
        if (e && !status) {
            status = e;
            if (err) *err = mine;
        }
    }
    return status;
}

int weights_read(struct q3n_model *m, bool once, ggf_error *err)
{
    int e = allocate(m, err);
    if (e) return e;
    uint8_t *at = m->copy;
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        if (is_elsewhere(m, t)) continue;
        m->tensor_data[i] = at;
        at += copy_size(t->bytes);
    }
    for (uint32_t i = 0; i < ggf_shard_count(m->file) && !e; i++) {
        int fd;
        if ((e = open_shard(ggf_shard(m->file, i), &fd, err))) return e;
        e = read_shard(m, i, fd, once, err);
        close(fd);
    }
    return e;
}

/* ---- Keeping ------------------------------------------------------------- */

bool weights_lock(const struct q3n_model *m)
{
    if (m->copy && mlock(m->copy, m->copy_bytes)) return false;
    for (uint64_t i = 0; i < ggf_tensor_count(m->file) && !m->copy; i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        if (!offload_holds(m, t) && mlock(m->tensor_data[i], t->bytes)) return false;
    }
    return true;
}

void weights_populate(const struct q3n_model *m)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        if (offload_holds(m, t)) continue;
        const uintptr_t first = (uintptr_t)t->data / page * page;
        const uintptr_t end = ((uintptr_t)t->data + t->bytes + page - 1) / page * page;
        if (madvise((void *)first, end - first, MADV_POPULATE_READ))
            madvise((void *)first, end - first, MADV_WILLNEED);
    }
}
