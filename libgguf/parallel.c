/* parallel.c - see parallel.h. */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { MAX_THREADS = 64 };

struct job {
    work_fn work;
    void (*after)(void *user);
    void *user;
    uint64_t n;
    _Atomic uint64_t next;
    atomic_bool failed;
    pthread_mutex_t lock; /* of the two below */
    int status;
    ggf_error err;
};

struct worker {
    struct job *job;
    int lane;
    pthread_t thread;
};

int parallel_threads(int asked, uint64_t items)
{
    cpu_set_t set;
    if (asked <= 0) asked = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    if (asked > MAX_THREADS) asked = MAX_THREADS;
    if ((uint64_t)asked > items) asked = items ? (int)items : 1;
    return asked;
}

static void fail(struct job *j, int status, const ggf_error *err)
{
    pthread_mutex_lock(&j->lock);
    if (!j->status) {
        j->status = status;
        j->err = *err;
    }
    pthread_mutex_unlock(&j->lock);
    atomic_store(&j->failed, true);
}

static void *run_worker(void *arg)
{
    const struct worker *w = arg;
    struct job *j = w->job;
    ggf_error err = { 0 };
    while (!atomic_load(&j->failed)) {
        const uint64_t item = atomic_fetch_add(&j->next, 1);
        if (item >= j->n) break;
        const int s = j->work(j->user, w->lane, item, &err);
        if (s) fail(j, s, &err);
        if (w->lane == 0 && j->after) j->after(j->user);
    }
    return NULL;
}

int parallel_run(int threads, uint64_t n, work_fn work, void (*after)(void *user),
                 void *user, ggf_error *err)
{
    struct job j = { .work = work, .after = after, .user = user, .n = n };
    struct worker workers[MAX_THREADS] = { { .job = &j } };
    pthread_mutex_init(&j.lock, NULL);
    int started = 1;
    for (; started < threads && started < MAX_THREADS; started++) {
        workers[started] = (struct worker){ .job = &j, .lane = started };
        /* Fewer threads do the same work. */
        if (pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]))
            break;
    }
    run_worker(&workers[0]);
    for (int i = 1; i < started; i++) pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&j.lock);
    if (j.status && err) *err = j.err;
    return j.status;
}
