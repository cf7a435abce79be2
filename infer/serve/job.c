/* job.c - see job.h. */
#include "job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void job_piece_free(struct job_piece *p)
{
    free(p->text);
    free(p->tokens);
    *p = (struct job_piece){ 0 };
}

int job_new(struct job **out, ggf_error *err)
{
    struct job *job = calloc(1, sizeof *job);
    *out = job;
    if (!job) return ggf_no_memory(err);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&job->lock, NULL);
    job->n_logprobs = -1;
    job->limit = -1;
    job->slot = -1;
    job->holders = 1;
    return 0;
}

int job_like(struct job **out, struct job *leader, ggf_error *err)
{
    struct job *job;
    const int r = job_new(&job, err);
    *out = job;
    if (r) return r;
    job_hold(leader);
    job->leader = leader;
    job->prompt = leader->prompt;
    job->stops = leader->stops;
    job->grammar = leader->grammar;
    job->thinking = leader->thinking;
    job->limit = leader->limit;
    job->n_logprobs = leader->n_logprobs;
    job->slot = leader->slot;
    return 0;
}

void job_hold(struct job *job) { job->holders++; }

/* NOLINTNEXTLINE(misc-no-recursion): a leader has none */
void job_drop(struct job *job)
{
    if (!job || --job->holders > 0) return;
    if (job->leader) {
        job_drop(job->leader);
    } else {
        q3n_ids_free(&job->prompt);
        q3n_stops_free(job->stops);
        q3n_grammar_free(job->grammar);
    }
    q3n_sampler_free(job->sampler);
    job_piece_free(&job->piece);
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->changed);
    free(job);
}

/* Room for n more elements of `each` bytes behind the first `used`. */
static void *grow(void *list, size_t used, size_t n, size_t *room, size_t each)
{
    if (used + n <= *room) return list;
    const size_t wanted = used + n > 2 * *room ? used + n : 2 * *room;
    void *more = realloc(list, wanted * each);
    if (more) *room = wanted;
    return more;
}

static bool append(struct job_piece *p, const char *text, size_t len,
                   const struct job_token *tokens, size_t n)
{
    if (len) {
        char *more = grow(p->text, p->len, len, &p->room, 1);
        if (!more) return false;
        p->text = more;
        memcpy(p->text + p->len, text, len);
        p->len += len;
    }
    if (n) {
        struct job_token *more =
            grow(p->tokens, p->n_tokens, n, &p->token_room, sizeof *tokens);
        if (!more) return false;
        p->tokens = more;
        memcpy(p->tokens + p->n_tokens, tokens, n * sizeof *tokens);
        p->n_tokens += n;
    }
    return true;
}

int job_put(struct job *job, const char *text, size_t len, const struct job_token *tokens,
            size_t n_tokens, ggf_error *err)
{
    pthread_mutex_lock(&job->lock);
    const bool ok = append(&job->piece, text, len, tokens, n_tokens);
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
    return ok ? 0 : ggf_no_memory(err);
}

void job_report(struct job *job, enum job_state state, const struct job_counts *counts)
{
    pthread_mutex_lock(&job->lock);
    job->state = state;
    job->counts = *counts;
    pthread_mutex_unlock(&job->lock);
}

void job_end(struct job *job, enum q3n_stop why, const struct job_counts *counts,
             const ggf_error *err)
{
    pthread_mutex_lock(&job->lock);
    job->state = JOB_ENDED;
    job->why = why;
    job->counts = *counts;
    if (err) {
        job->failed = err->code;
        job->error = *err;
    }
    pthread_cond_signal(&job->changed);
    pthread_mutex_unlock(&job->lock);
}

static struct timespec in_seconds(double seconds)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const double whole = floor(seconds);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

enum job_state job_wait(struct job *job, double seconds, struct job_piece *piece)
{
    const struct timespec until = in_seconds(seconds);
    job_piece_free(piece);
    pthread_mutex_lock(&job->lock);
    int r = 0;
    while (!r && !job->piece.len && !job->piece.n_tokens && job->state != JOB_ENDED)
        r = pthread_cond_timedwait(&job->changed, &job->lock, &until);
    *piece = job->piece;
    job->piece = (struct job_piece){ 0 };
    const enum job_state state = job->state;
    pthread_mutex_unlock(&job->lock);
    return state;
}

enum job_state job_state(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    const enum job_state state = job->state;
    pthread_mutex_unlock(&job->lock);
    return state;
}
