/* reader.h - threads that read, and the two queues they are fed from.
 *
 * What a read is, the owner of the pool knows; here it is a job and a function.  Jobs
 * that are needed now go before jobs that may be needed.  Everything but reader_open()
 * and reader_close() is called with the owner's mutex held. */
#ifndef INFER_EXPERTS_READER_H
#define INFER_EXPERTS_READER_H

#include "../../libgguf/libgguf.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { READER_MAX = 64 }; /* threads */

/* Lives in what it is to read; in a queue or with a thread it must not move. */
struct read_job {
    struct read_job *next, *prev;
    bool queued;
};

struct read_queue {
    struct read_job *first, *last;
};

/* Called on a thread of the pool with the mutex held; lets go of it while it reads.
 * `memory` is the thread's own, as much as reader_open() was told. */
typedef void (*read_fn)(void *user, struct read_job *job, void *memory);

struct reader_pool {
    pthread_mutex_t *mutex;
    pthread_cond_t work;
    struct read_queue needed, maybe;
    read_fn read;
    void *user;
    size_t memory_bytes;
    pthread_t threads[READER_MAX];
    int n_threads, n_waiting; /* for a job */
    bool stop;
};

/* GGF_E_NOMEM if not one thread can be started. */
int reader_open(struct reader_pool *p, pthread_mutex_t *mutex, int threads,
                size_t memory_bytes, read_fn read, void *user, ggf_error *err);
/* Wait for reads under way; what is still queued is dropped. */
void reader_close(struct reader_pool *p);

void reader_push(struct reader_pool *p, struct read_job *job, bool needed);
/* A job that may be needed is needed now; nothing if it is no longer queued. */
void reader_hurry(struct reader_pool *p, struct read_job *job);
/* Would a job that is pushed now begin at once? */
bool reader_idle(const struct reader_pool *p);
/* Take a job out of its queue; false if it is not in one. */
bool reader_cancel(struct reader_pool *p, struct read_job *job);

#endif
