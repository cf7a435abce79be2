/* reader.c - see reader.h. */
#include "reader.h"

#include <signal.h>
#include <stdlib.h>

/* ---- Queues -------------------------------------------------------------- */

static void append(struct read_queue *q, struct read_job *job)
{
    job->next = NULL;
    job->prev = q->last;
    if (q->last) q->last->next = job;
    else q->first = job;
    q->last = job;
    job->queued = true;
}

static void take_out(struct read_queue *q, struct read_job *job)
{
    if (job->prev) job->prev->next = job->next;
    else q->first = job->next;
    if (job->next) job->next->prev = job->prev;
    else q->last = job->prev;
    job->queued = false;
}

/* The queue a job is in is not noted in it: the second is short. */
static struct read_queue *queue_of(struct reader_pool *p, const struct read_job *job)
{
    for (const struct read_job *j = p->maybe.first; j; j = j->next)
        if (j == job) return &p->maybe;
    return &p->needed;
}

void reader_push(struct reader_pool *p, struct read_job *job, bool needed)
{
    append(needed ? &p->needed : &p->maybe, job);
    pthread_cond_signal(&p->work);
}

void reader_hurry(struct reader_pool *p, struct read_job *job)
{
    if (!job->queued || queue_of(p, job) == &p->needed) return;
    take_out(&p->maybe, job);
    append(&p->needed, job);
}

bool reader_cancel(struct reader_pool *p, struct read_job *job)
{
    if (!job->queued) return false;
    take_out(queue_of(p, job), job);
    return true;
}

bool reader_idle(const struct reader_pool *p)
{
    return p->n_waiting && !p->needed.first && !p->maybe.first;
}

/* ---- Threads ------------------------------------------------------------- */

static struct read_job *next_job(struct reader_pool *p)
{
    struct read_queue *q = p->needed.first ? &p->needed : &p->maybe;
    struct read_job *job = q->first;
    if (job) take_out(q, job);
    return job;
}

static void *read_all(void *arg)
{
    struct reader_pool *p = arg;
    void *memory = p->memory_bytes ? aligned_alloc(4096, p->memory_bytes) : NULL;
    pthread_mutex_lock(p->mutex);
    while (!p->stop) {
        struct read_job *job = next_job(p);
        if (job) {
            p->read(p->user, job, memory);
            continue;
        }
        p->n_waiting++;
        pthread_cond_wait(&p->work, p->mutex);
        p->n_waiting--;
    }
    pthread_mutex_unlock(p->mutex);
    free(memory);
    return NULL;
}

int reader_open(struct reader_pool *p, pthread_mutex_t *mutex, int threads,
                size_t memory_bytes, read_fn read, void *user, ggf_error *err)
{
    *p = (struct reader_pool){ .mutex = mutex,
                               .read = read,
                               .user = user,
                               .memory_bytes = (memory_bytes + 4095) / 4096 * 4096 };
    pthread_cond_init(&p->work, NULL);
    /* Signals are for the threads of the program. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->n_threads < threads && p->n_threads < READER_MAX &&
           !pthread_create(&p->threads[p->n_threads], NULL, read_all, p))
        p->n_threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->n_threads) return 0;
    pthread_cond_destroy(&p->work);
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "no thread can be started to read");
}

void reader_close(struct reader_pool *p)
{
    if (!p->n_threads) return;
    pthread_mutex_lock(p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(p->mutex);
    for (int i = 0; i < p->n_threads; i++) pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    p->n_threads = 0;
}
