/* halves.c - hashing a record while it is read.  A thread that reads and then hashes
 * leaves first the processor idle and then the disk.  Where another one of the pool has
 * nothing to do, it reads on, and this one hashes what has landed.
 *
 * The record is not used before all of it was read and its SHA-256 was found right. */
#include "cache.h"

#include <string.h>

/* Of records of 1.77 MB, pieces of 256 KiB took least time: half or twice as much took
 * 5 % more. */
enum { PIECE = 256 << 10 };

/* A record as one stretch of its file and of memory.  The first piece is read by the
 * thread that hashes.  What changes is the mutex's. */
struct halves {
    struct disk_file *file;
    uint64_t offset, bytes, need;
    uint8_t *to;
    uint64_t landed; /* the other pieces, up to here */
    bool reading;    /* the helper is at work */
    bool alone;      /* none has come, and none will */
    int status;      /* of what the helper read */
    ggf_error error;
};

static struct halves measure(const struct expert_store *s, const struct layout *l,
                             uint8_t *to)
{
    const struct disk_piece *first = &l->pieces[0], *last = &l->pieces[l->n - 1];
    return (struct halves){ .file = cache_file(s, first->path),
                            .offset = first->offset,
                            .bytes = last->at + last->bytes,
                            .need = last->at + last->need,
                            .to = to,
                            .landed = PIECE };
}

bool halves_pay(const struct expert_store *s, const struct layout *l)
{
    return reader_idle(&s->readers) && l->bytes >= 2 * PIECE;
}

/* Read what begins at `at`; *end is where it ends.  Called with the mutex, which is let
 * go of meanwhile. */
static int read_piece(struct expert_store *s, const struct halves *h, uint64_t at,
                      uint64_t *end, ggf_error *err)
{
    const uint64_t left = h->bytes - at, n = left < PIECE ? left : PIECE;
    const uint64_t need = h->need - at < n ? h->need - at : n;
    pthread_mutex_unlock(&s->mutex);
    const int e = disk_read(h->file, h->offset + at, h->to + at, n, need, err);
    pthread_mutex_lock(&s->mutex);
    *end = at + n;
    return e;
}

void halves_help(struct expert_store *s, struct record *r)
{
    struct halves *h = r->halves;
    h->reading = true;
    while (h->landed < h->bytes && !h->status) {
        h->status = read_piece(s, h, h->landed, &h->landed, &h->error);
        pthread_cond_broadcast(&s->landed);
    }
    h->reading = false;
    pthread_cond_broadcast(&s->landed);
}

/* What lies behind `at`: read by the helper, or here if none has come. */
static int next_piece(struct expert_store *s, struct record *r, uint64_t at,
                      uint64_t *end, ggf_error *err)
{
    struct halves *h = r->halves;
    if (at && reader_cancel(&s->readers, &r->jobs[1])) h->alone = true;
    if (!at || h->alone) return read_piece(s, h, at, end, err);
    while (h->landed == at && !h->status) pthread_cond_wait(&s->landed, &s->mutex);
    if (h->status && err) *err = h->error;
    *end = h->landed;
    return h->status;
}

static int read_all(struct expert_store *s, struct record *r, ggf_sha256 *sha,
                    ggf_error *err)
{
    const struct halves *h = r->halves;
    int e = 0;
    for (uint64_t at = 0, end; at < h->bytes && !e; at = end) {
        if ((e = next_piece(s, r, at, &end, err))) break;
        pthread_mutex_unlock(&s->mutex);
        ggf_sha256_update(sha, h->to + at, (end < h->need ? end : h->need) - at);
        pthread_mutex_lock(&s->mutex);
    }
    return e;
}

int halves_read(struct expert_store *s, struct record *r, const struct layout *l,
                const struct ggf_pack_record *packed, uint8_t *to, ggf_error *err)
{
    struct halves h = measure(s, l, to);
    uint8_t hash[GGF_SHA256_BYTES];
    ggf_sha256 *sha = ggf_sha256_new();
    if (!sha) return ggf_no_memory(err);
    r->halves = &h;
    reader_push(&s->readers, &r->jobs[1], true);
    const int e = read_all(s, r, sha, err);
    reader_cancel(&s->readers, &r->jobs[1]);
    while (h.reading) pthread_cond_wait(&s->landed, &s->mutex);
    r->halves = NULL;
    ggf_sha256_final(sha, hash);
    ggf_sha256_free(sha);
    if (e || !memcmp(hash, packed->sha256, sizeof hash)) return e;
    return ggf_pack_verify_record(cache_pack(s, r), packed, to,
                                  err); /* says what is wrong */
}
