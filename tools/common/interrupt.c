/* interrupt.c - see interrupt.h.
 *
 * A signal between a look at the flag and poll() would be seen only with the next key: so
 * the handler writes to a pipe that is waited for too.  Blocking the signal there would
 * not do, since another thread may take it. */
#include "interrupt.h"

#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static volatile sig_atomic_t stop;
static int wake[2] = { -1, -1 };

static void on_interrupt(int sig)
{
    const int saved = errno;
    if (stop) out_end_by(sig);
    stop = 1;
    const ssize_t n = write(wake[1], "", 1); /* full: then it wakes anyway */
    (void)n;
    errno = saved;
}

int interrupt_handle(volatile sig_atomic_t **flag, ggf_error *err)
{
    struct sigaction action = { .sa_handler = on_interrupt };
    *flag = &stop;
    if (pipe2(wake, O_NONBLOCK | O_CLOEXEC))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot make a pipe");
    sigaction(SIGINT, &action, NULL);
    return 0;
}

bool interrupt_or_input(int fd)
{
    struct pollfd wait[2] = { { .fd = fd, .events = POLLIN },
                              { .fd = wake[0], .events = POLLIN } };
    char bytes[64];
    while (!stop) {
        if (poll(wait, 2, -1) < 0) continue;
        if (wait[1].revents && read(wake[0], bytes, sizeof bytes) > 0) continue;
        if (wait[0].revents) return true;
    }
    return false;
}
