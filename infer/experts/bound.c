/* bound.c - what the disk gives to threads that do nothing but read experts: the bound
 * that reading for a model can be compared with. */
#include "../now.h"
#include "../splitmix.h"
#include "cache.h"

#include <stdlib.h>

struct meter {
    const struct expert_store *store;
    size_t room; /* bytes that any expert is read into */
    double end;  /* seconds_now() at which no further read begins */
    _Atomic uint64_t bytes;
    _Atomic int status;
    ggf_error error; /* of the one that set status */
};

/* Bytes of any expert as it is read, whole pages. */
static size_t most_bytes(const struct expert_store *s)
{
    uint64_t most = 0;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++)
        for (uint32_t e = 0; e < s->o.dims.n_expert; e++) {
            struct layout layout;
            uint64_t sum = 0;
            source_layout(&s->sources[l], &s->o.dims, e, &layout);
            for (int i = 0; i < layout.n; i++) sum += layout.pieces[i].bytes;
            if (most < sum) most = sum;
        }
    return most;
}

static int read_one(struct meter *m, uint32_t layer, uint32_t expert, uint8_t *memory,
                    ggf_error *err)
{
    const struct expert_store *s = m->store;
    struct layout l;
    source_layout(&s->sources[layer], &s->o.dims, expert, &l);
    int e = 0;
    for (int i = 0; i < l.n && !e; i++) {
        const struct disk_piece *p = &l.pieces[i];
        e = disk_read(cache_file(s, p->path), p->offset, memory, p->bytes, p->need, err);
        if (!e) atomic_fetch_add(&m->bytes, p->bytes);
        memory += p->bytes;
    }
    return e;
}

static void *read_any(void *arg)
{
    struct meter *m = arg;
    const struct expert_dims *d = &m->store->o.dims;
    uint8_t *memory = aligned_alloc(DISK_ALIGN, m->room);
    uint64_t state = (uint64_t)(seconds_now() * 1e9) ^ (uintptr_t)&state;
    ggf_error err;
    int e = memory ? 0 : ggf_no_memory(&err), none = 0;
    /* One at least, however late the thread began. */
    for (bool more = true; more && !e && !atomic_load(&m->status);
         more = seconds_now() < m->end)
        e = read_one(m, splitmix_below(&state, d->n_layer),
                     splitmix_below(&state, d->n_expert), memory, &err);
    free(memory);
    if (e && atomic_compare_exchange_strong(&m->status, &none, e)) m->error = err;
    return NULL;
}

int expert_store_measure(struct expert_store *s, double seconds, ggf_error *err)
{
    pthread_t threads[EXPERT_IO_MAX];
    int n = 0;
    if (!s->slots.base) return 0;
    const size_t room = most_bytes(s);
    const double start = seconds_now();
    struct meter m = { .store = s, .room = room, .end = start + seconds };
    while (n < s->o.io_threads && !pthread_create(&threads[n], NULL, read_any, &m)) n++;
    if (!n) read_any(&m);
    for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
    const double took = seconds_now() - start;
    if (atomic_load(&m.status)) {
        if (err) *err = m.error;
        return atomic_load(&m.status);
    }
    pthread_mutex_lock(&s->mutex);
    s->stats.disk_gb_s = 1e-9 * (double)atomic_load(&m.bytes) / took;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}
