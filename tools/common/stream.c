/* stream.c - lanes over mapped tensor data: who may go on, and which pages are there.
 *
 * Every lane has a cursor, and so have two helpers: `fetch` runs ahead of the fastest
 * lane, `drop` behind the slowest.  A thread takes the cursor that most needs to move,
 * moves it by one piece without holding the lock, and looks again. */
#include "stream.h"

#include "../../quant/pages.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE       (256u << 10) /* of a lane: stays in a core's own cache */
#define FETCH_PIECE (4u << 20)
#define AHEAD       (16u << 20) /* fetched, but not seen by the slowest lane */
#define READAHEAD   (16u << 20) /* asked of the disk behind that */
#define BEHIND      (16u << 20) /* dropped once there is as much */
#define MAX_THREADS 16

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

struct cursor {
    uint64_t tensor, offset; /* the next byte */
    uint64_t position;       /* bytes done, over all tensors */
    bool busy;
};

struct stream {
    const ggf_file *file;
    const struct stream_lane *lanes;
    int n_lanes;
    uint64_t total;
    struct cursor *cursors; /* of the lanes, then fetch and drop */
    struct progress *progress;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int status;
    ggf_error *err;
};

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

int stream_fetch(const void *bytes, uint64_t len, ggf_error *err)
{
    const uintptr_t page = page_bytes(), start = (uintptr_t)bytes & ~(page - 1);
    const size_t n = (size_t)((uintptr_t)bytes + len - start);
    /* EINVAL: an older kernel, where the first touch brings them in. */
    if (madvise((void *)start, n, MADV_POPULATE_READ) == 0 || errno == EINVAL) return 0;
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read the data: %s",
                    errno == EFAULT ? "the disk failed or the file was cut"
                                    : strerror(errno));
}

void stream_drop(const void *bytes, uint64_t len)
{
    pages_advise(bytes, len, MADV_DONTNEED);
}

static uint64_t slowest_lane(const struct stream *s)
{
    uint64_t slowest = s->total;
    for (int i = 0; i < s->n_lanes; i++)
        if (s->cursors[i].position < slowest) slowest = s->cursors[i].position;
    return slowest;
}

/* The cursor to move now, NULL if there is none (yet, or any more). */
static struct cursor *pick(struct stream *s)
{
    const uint64_t slowest = slowest_lane(s);
    struct cursor *fetch = &s->cursors[s->n_lanes], *drop = fetch + 1, *best = NULL;
    if (!fetch->busy && fetch->position < s->total && fetch->position - slowest < AHEAD)
        return fetch;
    if (!drop->busy && slowest - drop->position >= BEHIND) return drop;
    for (int i = 0; i < s->n_lanes; i++) {
        struct cursor *c = &s->cursors[i];
        if (!c->busy && c->position < fetch->position &&
            (!best || c->position < best->position))
            best = c;
    }
    return best;
}

static int fetch_piece(const struct stream *s, const struct ggf_tensor *t,
                       uint64_t offset, size_t len, ggf_error *err)
{
    const uint64_t left = t->bytes - offset - len;
    if (left)
        madvise((void *)((uintptr_t)(t->data + offset + len) & ~(page_bytes() - 1)),
                left < READAHEAD ? left : READAHEAD, MADV_WILLNEED);
    if (!stream_fetch(t->data + offset, len, err)) return 0;
    return ggf_fail(err, GGF_E_IO, t->offset + offset,
                    "cannot read tensor '%s' of %s: the disk failed or the file was cut",
                    t->name, ggf_shard(s->file, t->shard)->path);
}

/* Move a cursor by `len`; without the lock. */
static int move(struct stream *s, const struct cursor *c, const struct ggf_tensor *t,
                size_t len, ggf_error *err)
{
    const ptrdiff_t who = c - s->cursors;
    if (who == s->n_lanes) return fetch_piece(s, t, c->offset, len, err);
    if (who > s->n_lanes) stream_drop(t->data + c->offset, len);
    else s->lanes[who].step(s->lanes[who].user, t, c->tensor, c->offset, len);
    return 0;
}

static size_t piece_at(const struct stream *s, const struct cursor *c,
                       const struct ggf_tensor *t)
{
    const size_t most = c < s->cursors + s->n_lanes ? PIECE : FETCH_PIECE;
    const uint64_t left = t->bytes - c->offset;
    return left < most ? (size_t)left : most;
}

static void advance(struct cursor *c, const struct ggf_tensor *t, size_t len)
{
    c->position += len;
    c->offset += len;
    if (c->offset == t->bytes) c->tensor++, c->offset = 0;
    c->busy = false;
}

static void *work(void *arg)
{
    struct stream *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->status && slowest_lane(s) < s->total) {
        struct cursor *c = pick(s);
        if (!c) {
            pthread_cond_wait(&s->moved, &s->lock);
            continue;
        }
        const struct ggf_tensor *t = ggf_tensor(s->file, c->tensor);
        const size_t len = piece_at(s, c, t);
        c->busy = true;
        pthread_mutex_unlock(&s->lock);
        ggf_error err;
        const int status = move(s, c, t, len, &err);
        pthread_mutex_lock(&s->lock);
        advance(c, t, len);
        if (status && !s->status) {
            s->status = status;
            if (s->err) *s->err = err;
        }
        if (s->progress) progress_update(s->progress, slowest_lane(s), t->name);
        pthread_cond_broadcast(&s->moved);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* One thread more than lanes run at a time, as one is often waiting for the disk. */
static int count_threads(int n_lanes)
{
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const int n = (n_lanes < cpus ? n_lanes : (int)cpus) + 1;
    return n < MAX_THREADS ? n : MAX_THREADS;
}

int stream_tensors(const ggf_file *file, const struct stream_lane *lanes, int n_lanes,
                   struct progress *progress, ggf_error *err)
{
    struct stream s = { .file = file,
                        .lanes = lanes,
                        .n_lanes = n_lanes,
                        .progress = progress,
                        .err = err,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .moved = PTHREAD_COND_INITIALIZER };
    for (uint64_t i = 0; i < ggf_tensor_count(file); i++)
        s.total += ggf_tensor(file, i)->bytes;
    if (progress) progress->total = s.total;
    s.cursors = calloc((size_t)n_lanes + 2, sizeof *s.cursors);
    if (!s.cursors) return ggf_no_memory(err);
    pthread_t threads[MAX_THREADS];
    int n = 0;
    for (const int want = count_threads(n_lanes) - 1; n < want; n++)
        if (pthread_create(&threads[n], NULL, work, &s) != 0) break;
    work(&s); /* this thread is one of them */
    while (n) pthread_join(threads[--n], NULL);
    if (progress) progress_end(progress);
    free(s.cursors);
    return s.status;
}
