/* team.c - see team.h. */
#include "team.h"

#include <omp.h>

/* Some ten to fifty microseconds; and as long as a device takes for a layer. */
enum { SPINS = 1000, FOLLOW_SPINS = 10 * SPINS };

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A sleeper counts itself before it looks at the phase for the last time, and the last to
 * arrive moves the phase on before it looks for sleepers: one of the two sees the other.
 */
static void sleep_until(struct team *t, unsigned phase)
{
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->phase) == phase) pthread_cond_wait(&t->wake, &t->mutex);
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->mutex);
}

static void barrier(struct team *t, int spins)
{
    const unsigned phase = atomic_load_explicit(&t->phase, memory_order_relaxed);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&t->next, 0, memory_order_relaxed);
        atomic_store(&t->phase, phase + 1);
        if (!atomic_load(&t->sleepers)) return;
        pthread_mutex_lock(&t->mutex);
        pthread_cond_broadcast(&t->wake);
        pthread_mutex_unlock(&t->mutex);
        return;
    }
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&t->phase, memory_order_acquire) != phase) return;
        pause_cpu();
    }
    sleep_until(t, phase);
}

void team_barrier(const struct member *me) { barrier(me->team, SPINS); }

void team_ask(const struct member *me, void (*work)(const struct member *, void *),
              void *arg)
{
    me->team->task = (struct team_task){ work, arg };
    team_barrier(me);
    work(me, arg);
}

void team_dismiss(const struct member *me)
{
    me->team->task = (struct team_task){ 0 };
    team_barrier(me);
}

void team_follow(const struct member *me)
{
    for (;;) {
        barrier(me->team, FOLLOW_SPINS);
        const struct team_task task = me->team->task;
        if (!task.work) return;
        task.work(me, task.arg);
    }
}

bool team_fail(const struct member *me, int status)
{
    int none = 0;
    return atomic_compare_exchange_strong(&me->team->status, &none, status);
}

bool team_next(const struct member *me, uint64_t n, uint64_t *i)
{
    *i = atomic_fetch_add_explicit(&me->team->next, 1, memory_order_relaxed);
    if (*i < n) return true;
    team_barrier(me);
    return false;
}

bool team_next_stretch(const struct member *me, uint64_t n, uint64_t least,
                       struct stretch *s)
{
    struct team *t = me->team;
    uint64_t from = atomic_load_explicit(&t->next, memory_order_relaxed);
    do {
        const uint64_t left = from < n ? n - from : 0;
        const uint64_t share = left / (2 * (uint64_t)t->n);
        s->first = from;
        s->n = share > least ? share : least < left ? least : left;
    } while (s->n && !atomic_compare_exchange_weak_explicit(&t->next, &from, from + s->n,
                                                            memory_order_relaxed,
                                                            memory_order_relaxed));
    if (s->n) return true;
    team_barrier(me);
    return false;
}

void team_run(int threads, void (*work)(const struct member *, void *), void *arg)
{
    struct team team = { .n = threads };
    pthread_mutex_init(&team.mutex, NULL);
    pthread_cond_init(&team.wake, NULL);
#pragma omp parallel num_threads(threads)
    {
        /* The system may give fewer threads than were asked for. */
#pragma omp single
        team.n = omp_get_num_threads();
        const struct member me = { &team, omp_get_thread_num() };
        work(&me, arg);
    }
    pthread_cond_destroy(&team.wake);
    pthread_mutex_destroy(&team.mutex);
}
