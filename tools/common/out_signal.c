/* out_signal.c - how a signal ends a program: unfinished outputs go, the terminal is as
 * it was, and the shell learns what happened; see out.h. */
#include "out.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct {
    int fd; /* -1: none is kept */
    struct termios settings;
} terminal = { .fd = -1 };

void out_keep_terminal(int fd)
{
    if (!tcgetattr(fd, &terminal.settings)) terminal.fd = fd;
}

/* In the background this would stop the program instead, and the terminal is another's.
 */
static void restore_terminal(void)
{
    if (terminal.fd >= 0 && tcgetpgrp(terminal.fd) == getpgrp())
        tcsetattr(terminal.fd, TCSANOW, &terminal.settings);
}

void out_end_by(int sig)
{
    const struct sigaction usual = { .sa_handler = SIG_DFL };
    sigset_t set;
    ggf_discard_outputs();
    restore_terminal();
    sigaction(sig, &usual, NULL);
    sigemptyset(&set);
    sigaddset(&set, sig);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(sig);
    _exit(128 + sig); /* the first process of a container is not ended by signals */
}

/* A page of a mapped file could not be read. */
static void on_bus_error(int sig)
{
    static const char what[] = ": a file that is in use cannot be read any more: it has "
                               "been cut short, or its disk has failed\n";
    const char *name = program_invocation_short_name;
    const bool said = write(STDERR_FILENO, name, strlen(name)) >= 0 &&
                      write(STDERR_FILENO, what, sizeof what - 1) >= 0;
    (void)said;
    (void)sig;
    ggf_discard_outputs();
    restore_terminal();
    _exit(1);
}

static bool is_ignored(int sig)
{
    struct sigaction before;
    return !sigaction(sig, NULL, &before) && before.sa_handler == SIG_IGN;
}

bool out_hangup_ignored(void) { return is_ignored(SIGHUP); }

void out_handle_signals(void)
{
    const struct sigaction end = { .sa_handler = out_end_by },
                           ignore = { .sa_handler = SIG_IGN },
                           bus = { .sa_handler = on_bus_error };
    sigaction(SIGBUS, &bus, NULL);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    if (!is_ignored(SIGHUP)) sigaction(SIGHUP, &end, NULL);
    if (!is_ignored(SIGPIPE)) sigaction(SIGPIPE, &end, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* write() then fails with EFBIG */
    atexit(ggf_discard_outputs);       /* OpenMP exits if it can start no thread */
}
