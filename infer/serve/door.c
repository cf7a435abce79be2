/* door.c - see door.h. */
#include "door.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct door {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    struct MHD_Daemon *daemon;
    int listener, wake[2]; /* a pipe that is closed to stop */
    unsigned inside, most;
    bool stop;
};

/* The daemon's own count, which has those that it could not serve no more. */
static unsigned daemon_count(const struct door *d)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(d->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info ? info->num_connections : 0;
}

/* Wait for room and take it.  False: the door closes. */
static bool take_place(struct door *d)
{
    pthread_mutex_lock(&d->lock);
    while (!d->stop && d->inside >= d->most) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec++;
        if (pthread_cond_timedwait(&d->changed, &d->lock, &t) == ETIMEDOUT)
            d->inside = daemon_count(d);
    }
    d->inside++;
    const bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return !stop;
}

/* True: fd can be read; false: the door closes, or so many milliseconds are over. */
static bool wait_for(const struct door *d, int fd, int milliseconds)
{
    struct pollfd p[2] = { { .fd = d->wake[0], .events = POLLIN },
                           { .fd = fd, .events = POLLIN } };
    return poll(p, 2, milliseconds) > 0 && p[1].revents;
}

static bool closing(struct door *d)
{
    pthread_mutex_lock(&d->lock);
    const bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

static void *run(void *user)
{
    struct door *d = user;
    while (take_place(d)) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd = -1;
        while (fd < 0 && !closing(d)) {
            if (!wait_for(d, d->listener, -1)) continue;
            fd = accept4(d->listener, (struct sockaddr *)&from, &size,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED)
                wait_for(d, -1, 100); /* no file, no memory */
        }
        if (fd < 0 || !MHD_add_connection(d->daemon, fd, (struct sockaddr *)&from, size))
            door_left(d);
    }
    return NULL;
}

int door_open(struct door **out, int listener, struct MHD_Daemon *daemon, unsigned most,
              ggf_error *err)
{
    struct door *d = calloc(1, sizeof *d);
    *out = NULL;
    if (!d) return ggf_no_memory(err);
    d->listener = listener;
    d->daemon = daemon;
    d->most = most;
    int e = pipe2(d->wake, O_CLOEXEC) ? errno : 0;
    if (!e) {
        pthread_mutex_init(&d->lock, NULL);
        pthread_cond_init(&d->changed, NULL);
        *out = d; /* before anybody comes, and leaves */
        if (!(e = pthread_create(&d->thread, NULL, run, d))) return 0;
        *out = NULL;
        close(d->wake[0]);
        close(d->wake[1]);
    }
    free(d);
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "clients cannot be let in: %s",
                    strerror(e));
}

void door_left(struct door *d)
{
    pthread_mutex_lock(&d->lock);
    if (d->inside) d->inside--;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

void door_close(struct door *d)
{
    if (!d || d->listener < 0) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    close(d->wake[1]);
    pthread_join(d->thread, NULL);
    close(d->wake[0]);
    close(d->listener);
    d->listener = -1;
}

void door_free(struct door *d)
{
    if (!d) return;
    door_close(d);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->changed);
    free(d);
}
