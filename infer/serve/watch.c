/* watch.c - see watch.h. */
#include "watch.h"

#include "../now.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct peer {
    int fd;
    double due; /* 0: never */
    struct peer *next, **at;
};

struct watch {
    pthread_mutex_t lock;
    pthread_cond_t end;
    pthread_t thread;
    bool started, stop;
    struct peer *peers;
};

/* Once a second. */
static void *run(void *user)
{
    struct watch *w = user;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        const double now = seconds_now();
        for (struct peer *p = w->peers; p; p = p->next)
            if (p->due > 0 && now > p->due) {
                shutdown(p->fd, SHUT_RDWR);
                p->due = 0;
            }
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        pthread_cond_timedwait(&w->end, &w->lock, &t);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int watch_new(struct watch **out, ggf_error *err)
{
    struct watch *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return ggf_no_memory(err);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->end, NULL);
    const int e = pthread_create(&w->thread, NULL, run, w);
    w->started = e == 0;
    if (e) {
        watch_free(w);
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "no thread can be started: %s",
                        strerror(e));
    }
    *out = w;
    return 0;
}

void watch_free(struct watch *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->end);
    pthread_mutex_unlock(&w->lock);
    if (w->started) pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->end);
    free(w);
}

struct peer *watch_join(struct watch *w, int fd)
{
    struct peer *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->fd = fd;
    p->due = seconds_now() + WATCH_HEADERS;
    pthread_mutex_lock(&w->lock);
    p->next = w->peers;
    p->at = &w->peers;
    if (p->next) p->next->at = &p->next;
    w->peers = p;
    pthread_mutex_unlock(&w->lock);
    return p;
}

void watch_leave(struct watch *w, struct peer *p)
{
    if (!p) return;
    pthread_mutex_lock(&w->lock);
    *p->at = p->next;
    if (p->next) p->next->at = p->at;
    pthread_mutex_unlock(&w->lock);
    free(p);
}

void watch_allow(struct watch *w, struct peer *p, double seconds)
{
    if (!p) return;
    pthread_mutex_lock(&w->lock);
    p->due = seconds > 0 ? seconds_now() + seconds : 0;
    pthread_mutex_unlock(&w->lock);
}
