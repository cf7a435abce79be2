/* team.h - threads that walk through the same steps together and share their work.
 *
 * The threads are OpenMP's; loops and barriers are ours, because libgomp's barriers spin
 * for up to 20 ms, which starves the thread that is waited for as soon as the machine has
 * something else to do, and a token takes hundreds of barriers.  Here a thread spins for
 * some microseconds and then sleeps.
 *
 * Functions named _team are called by all threads of a team with the same arguments, each
 * with its own struct member.  What they wrote is visible to all when they return. */
#ifndef INFER_OPS_TEAM_H
#define INFER_OPS_TEAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct member;

struct team_task {
    void (*work)(const struct member *, void *); /* NULL: that was all */
    void *arg;
};

struct team {
    int n; /* threads */
    _Atomic int arrived;
    _Atomic unsigned phase; /* counts barriers */
    _Atomic int sleepers;
    _Atomic uint64_t next; /* of the loop in progress */
    _Atomic int status;    /* 0 until team_fail() */
    struct team_task task; /* of team_ask() */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

struct member {
    struct team *team;
    int id; /* 0 .. n - 1 */
};

/* Call work(member, arg) on `threads` threads and wait for all of them. */
void team_run(int threads, void (*work)(const struct member *, void *), void *arg);

void team_barrier(const struct member *me);

/* One thread goes its own way, and the others are there when it needs them:
 *
 *     team_ask()      by the one: work(member, arg) by all; it must end with a barrier
 *     team_dismiss()  by the one: that was all
 *     team_follow()   by the others, which come back when they are dismissed; the first
 *                     that all do after that must be a barrier, if anything */
void team_ask(const struct member *me, void (*work)(const struct member *, void *),
              void *arg);
void team_dismiss(const struct member *me);
void team_follow(const struct member *me);

/* Note a failure.  True for the first of the team, which may then say what happened; the
 * others see team->status after the next barrier, and the work should end. */
bool team_fail(const struct member *me, int status);

/* Iterations 0 .. n - 1 to whoever is free, in order:
 *
 *     for (uint64_t i; team_next(me, n, &i);) ...
 *
 * Every thread must run the loop to its end, which is a barrier. */
bool team_next(const struct member *me, uint64_t n, uint64_t *i);

/* The same in stretches of neighbours, for what is faster in one go: long ones first, so
 * that few are needed, short ones in the end, so that all finish together.  None is
 * shorter than `least` but the last.
 *
 *     for (struct stretch s; team_next_stretch(me, n, least, &s);) ... s.n of them
 * from s.first on */
struct stretch {
    uint64_t first, n;
};
bool team_next_stretch(const struct member *me, uint64_t n, uint64_t least,
                       struct stretch *s);

#endif
