/* staging.c - see staging.h.
 *
 * Pieces are used in turn.  Experts get numbers in the order in which they are put; of
 * those before `asked` the ones before `taken` have somebody who fills their piece, the
 * ones before `copied` have been handed to the device, by the caller and in order. */
#include "staging.h"

#include "pinned.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECES = 8,
    THREADS = 4 /* that are of use: 10 GB/s each */
};

struct piece {
    uint8_t *memory;
    gpu_mark *copied;
    struct staged what;
    void *to_d;
    bool full;
};

struct staging {
    gpu *g;
    void *memory;
    struct piece pieces[PIECES];
    uint64_t asked, taken, copied;
    struct pinned *pinned; /* NULL: nothing can be read as it is */
    bool direct;           /* something is, */
    gpu_mark *read;        /* and has been */

    pthread_mutex_t mutex;
    pthread_cond_t work, full; /* there is something to fill; or something was */
    pthread_t threads[THREADS];
    int n_threads;
    bool quit;
};

uint64_t staging_bytes(uint64_t slot_bytes) { return PIECES * slot_bytes; }

static struct piece *piece_of(struct staging *s, uint64_t number)
{
    return &s->pieces[number % PIECES];
}

/* ---- Filling --------------------------------------------------------------------- */

static void fill(struct piece *p)
{
    for (int i = 0; i < 3; i++)
        memcpy(p->memory + p->what.at[i], p->what.from[i], p->what.bytes[i]);
}

/* The next one that nobody has taken; with the mutex held, which is let go of meanwhile.
 */
static void fill_next(struct staging *s)
{
    struct piece *p = piece_of(s, s->taken++);
    pthread_mutex_unlock(&s->mutex);
    fill(p);
    pthread_mutex_lock(&s->mutex);
    p->full = true;
    pthread_cond_signal(&s->full); /* there is one caller */
}

static void *filler(void *arg)
{
    struct staging *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (!s->quit) {
        if (s->taken < s->asked) fill_next(s);
        else pthread_cond_wait(&s->work, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

void staged_copy(gpu *g, void *to_d, const struct staged *what)
{
    for (int i = 0; i < 3; i++)
        gpu_copy(g, (uint8_t *)to_d + what->at[i], what->from[i], what->bytes[i]);
}

/* ---- The caller's part ----------------------------------------------------------- */

/* Wait for the oldest piece that was not handed to the device, and hand it over. */
static void copy_one(struct staging *s)
{
    struct piece *p = piece_of(s, s->copied++);
    pthread_mutex_lock(&s->mutex);
    while (!p->full) {
        if (s->taken < s->asked) fill_next(s);
        else pthread_cond_wait(&s->full, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    gpu_copy(s->g, p->to_d, p->memory, p->what.all);
    gpu_mark_copies(p->copied);
}

static bool is_full(struct staging *s, const struct piece *p)
{
    pthread_mutex_lock(&s->mutex);
    const bool full = p->full;
    pthread_mutex_unlock(&s->mutex);
    return full;
}

bool staging_can_read(struct staging *s, const struct staged *what)
{
    for (int i = 0; i < 3; i++)
        if (!s->pinned || !pinned_get(s->pinned, what->from[i], what->bytes[i]))
            return false;
    return true;
}

int staging_put(struct staging *s, void *to_d, const struct staged *what, ggf_error *err)
{
    if (staging_can_read(s, what)) {
        s->direct = true;
        staged_copy(s->g, to_d, what);
        return 0;
    }
    struct piece *p = piece_of(s, s->asked);
    if (s->asked - s->copied == PIECES) copy_one(s);
    const int e = gpu_mark_wait(p->copied, err);
    if (e) return e;
    pthread_mutex_lock(&s->mutex);
    p->what = *what;
    p->to_d = to_d;
    p->full = false;
    s->asked++;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->mutex);
    while (s->copied < s->asked && is_full(s, piece_of(s, s->copied))) copy_one(s);
    return 0;
}

void staging_hand_over(struct staging *s)
{
    while (s->copied < s->asked) copy_one(s);
}

void staging_flush(struct staging *s)
{
    staging_hand_over(s);
    if (!s->direct) return;
    gpu_mark_copies(s->read);
    gpu_mark_wait(s->read, NULL); /* a failure sticks */
    s->direct = false;
}

int staging_reads(struct staging *s, uint8_t *memory, uint64_t bytes, ggf_error *err)
{
    return pinned_new(&s->pinned, s->g, memory, bytes, err);
}

void staging_leaves(struct staging *s, const void *from, uint64_t bytes)
{
    if (!s->pinned) return;
    staging_flush(s); /* a piece may hold more than what leaves */
    pinned_leave(s->pinned, from, bytes);
}

/* ---- Setting up ------------------------------------------------------------------ */

static int get_pieces(struct staging *s, uint64_t slot_bytes, ggf_error *err)
{
    int e = gpu_host_alloc(s->g, &s->memory, NULL, staging_bytes(slot_bytes), err);
    if (!e) e = gpu_mark_new(s->g, &s->read, err);
    for (int i = 0; i < PIECES && !e; i++) {
        s->pieces[i].memory = (uint8_t *)s->memory + i * slot_bytes;
        e = gpu_mark_new(s->g, &s->pieces[i].copied, err);
    }
    return e;
}

int staging_new(struct staging **out, gpu *g, uint64_t slot_bytes, int threads,
                ggf_error *err)
{
    struct staging *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return ggf_no_memory(err);
    s->g = g;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->full, NULL);
    const int e = get_pieces(s, slot_bytes, err);
    if (e) {
        staging_free(s);
        return e == GGF_E_NOMEM ? 0 : e;
    }
    if (threads > THREADS) threads = THREADS;
    while (s->n_threads < threads - 1 &&
           !pthread_create(&s->threads[s->n_threads], NULL, filler, s))
        s->n_threads++;
    *out = s;
    return 0;
}

void staging_free(struct staging *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->mutex);
    s->quit = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->mutex);
    for (int i = 0; i < s->n_threads; i++) pthread_join(s->threads[i], NULL);
    pinned_free(s->pinned);
    gpu_mark_free(s->read);
    for (int i = 0; i < PIECES; i++) gpu_mark_free(s->pieces[i].copied);
    if (s->memory) gpu_host_free(s->g, s->memory);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->full);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}
