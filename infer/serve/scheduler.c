/* scheduler.c - see scheduler.h. */
#include "scheduler.h"

#include "../now.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct action {
    uint32_t slot;
    enum slot_action what;
    const char *path;
    uint32_t n_tokens;
    int result;
    ggf_error *err;
    bool done;
    struct action *next;
};

struct scheduler {
    struct scheduler_options o;
    q3n_lane *lane;
    struct slot *slots;
    struct slot **at_work; /* [n_slots]: those of the batch, */
    struct q3n_run *runs;  /* what they want, */
    float *logits;         /* and get: [n_vocab, n_slots] */
    uint64_t clock;        /* counts jobs that were begun */
    uint32_t turn;         /* the slot whose prompt is read first */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;   /* for what follows */
    pthread_cond_t work;    /* something came */
    pthread_cond_t settled; /* an action is done */
    struct job *first, **last;
    struct action *actions;
    bool stopping;
    struct slot_view *views;
    struct scheduler_totals totals;
};

/* ---- Jobs to slots ----------------------------------------------------------------- */

static struct slot *free_slot(struct scheduler *s, const struct job *job)
{
    struct slot *best = NULL;
    uint32_t most = 0;
    for (uint32_t i = 0; i < s->o.n_slots; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->phase != SLOT_IDLE || (job->slot >= 0 && (uint32_t)job->slot != i))
            continue;
        const uint32_t match = slot_match(slot, &job->prompt);
        if (!best || match > most || (match == most && slot->used < best->used)) {
            best = slot;
            most = match;
        }
    }
    return best;
}

/* Must it wait until its leader has read their prompt? */
static bool must_wait(const struct job *job)
{
    return job->leader && job_state(job->leader) < JOB_GENERATING;
}

/* Take a job out of the queue: one that nobody wants, or one that a slot is free for.
 * NULL: there is none. */
static struct job *take(struct scheduler *s, struct slot **slot)
{
    for (struct job **at = &s->first; *at; at = &(*at)->next) {
        struct job *job = *at;
        const bool unwanted = job->cancelled || s->stopping;
        *slot = unwanted || must_wait(job) ? NULL : free_slot(s, job);
        if (!*slot && !unwanted) continue;
        *at = job->next;
        if (!job->next) s->last = at;
        s->totals.n_queued--;
        return job;
    }
    return NULL;
}

static const ggf_error stopped = { .code = GGF_E_ARG,
                                   .offset = GGF_NO_OFFSET,
                                   .message = "the server is stopping" };

static const ggf_error *reason(bool stopping) { return stopping ? &stopped : NULL; }

/* Holding the lock, which is let go of meanwhile. */
static void admit(struct scheduler *s)
{
    struct slot *slot;
    for (struct job *job; (job = take(s, &slot));) {
        const bool stopping = s->stopping;
        pthread_mutex_unlock(&s->lock);
        if (slot) {
            slot->used = ++s->clock;
            slot_begin(slot, job);
        } else {
            const struct job_counts none = { .n_prompt = (uint32_t)job->prompt.n };
            job_end(job, Q3N_STOP_ASKED, &none, reason(stopping));
        }
        job_drop(job);
        pthread_mutex_lock(&s->lock);
    }
}

/* ---- Actions ----------------------------------------------------------------------- */

static int restore(struct scheduler *s, struct slot *slot, struct action *a)
{
    int32_t *tokens = NULL;
    uint32_t n = 0;
    q3n_checkpoints *c = s->o.means.checkpoints;
    int r = q3n_checkpoints_load(c, a->path, &tokens, &n, a->err);
    if (!r) r = q3n_checkpoints_restore(c, slot->session, tokens, n, a->err);
    if (!r) a->n_tokens = q3n_session_pos(slot->session);
    free(tokens);
    return r;
}

static int save(struct scheduler *s, struct slot *slot, struct action *a)
{
    q3n_checkpoints *c = s->o.means.checkpoints;
    const int r = q3n_checkpoints_keep(c, slot->session, a->err);
    return r ? r
             : q3n_checkpoints_save(c, a->path, true, q3n_session_tokens(slot->session),
                                    q3n_session_pos(slot->session), &a->n_tokens, a->err);
}

static int act(struct scheduler *s, struct slot *slot, struct action *a, bool stopping)
{
    if (stopping) {
        *a->err = stopped;
        return stopped.code;
    }
    switch (a->what) {
    case SLOT_SAVE: return save(s, slot, a);
    case SLOT_RESTORE: return restore(s, slot, a);
    case SLOT_ERASE: break;
    }
    a->n_tokens = q3n_session_pos(slot->session);
    q3n_session_reset(slot->session);
    return 0;
}

/* Holding the lock, which is let go of meanwhile. */
static void do_actions(struct scheduler *s)
{
    for (struct action **at = &s->actions; *at;) {
        struct action *a = *at;
        struct slot *slot = &s->slots[a->slot];
        if (slot->phase != SLOT_IDLE && !s->stopping) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        const bool stopping = s->stopping;
        pthread_mutex_unlock(&s->lock);
        const int r = act(s, slot, a, stopping);
        pthread_mutex_lock(&s->lock);
        a->result = r;
        a->done = true;
        pthread_cond_broadcast(&s->settled);
        at = &s->actions;
    }
}

int scheduler_act(struct scheduler *s, uint32_t slot, enum slot_action action,
                  const char *path, uint32_t *n_tokens, ggf_error *err)
{
    struct action a = { .slot = slot, .what = action, .path = path, .err = err };
    pthread_mutex_lock(&s->lock);
    if (s->stopping) {
        pthread_mutex_unlock(&s->lock);
        *err = stopped;
        return err->code;
    }
    struct action **at = &s->actions;
    while (*at) at = &(*at)->next;
    *at = &a;
    pthread_cond_signal(&s->work);
    while (!a.done) pthread_cond_wait(&s->settled, &s->lock);
    pthread_mutex_unlock(&s->lock);
    *n_tokens = a.n_tokens;
    return a.result;
}

/* ---- A step ------------------------------------------------------------------------ */

/* The next token of all that generate, and up to n_batch tokens of prompts; the prompt
 * that comes first is another each time. */
static uint32_t collect(struct scheduler *s)
{
    uint32_t n = 0, left = s->o.n_batch;
    for (uint32_t i = 0; i < s->o.n_slots; i++) {
        if (s->slots[i].phase != SLOT_GENERATING) continue;
        s->at_work[n] = &s->slots[i];
        slot_wants(&s->slots[i], 1, &s->runs[n++]);
    }
    if (++s->turn >= s->o.n_slots) s->turn = 0;
    for (uint32_t i = 0; i < s->o.n_slots && left; i++) {
        const uint32_t at = s->turn + i;
        struct slot *slot = &s->slots[at < s->o.n_slots ? at : at - s->o.n_slots];
        if (slot->phase != SLOT_READING) continue;
        s->at_work[n] = slot;
        slot_wants(slot, left, &s->runs[n]);
        left -= s->runs[n++].n;
    }
    return n;
}

static void step(struct scheduler *s)
{
    const uint32_t n_vocab = q3n_model_info(s->o.means.model)->n_vocab;
    const uint32_t n = collect(s);
    const float *logits = s->logits;
    ggf_error err;
    const int r = q3n_sessions_eval(s->runs, n, s->logits, &err);
    for (uint32_t i = 0; i < n; i++) {
        const bool has = s->runs[i].first_logits < s->runs[i].n;
        if (r) slot_failed(s->at_work[i], &err);
        else slot_computed(s->at_work[i], logits);
        if (has) logits += n_vocab;
    }
}

/* End what nobody wants; how many slots are busy then. */
static uint32_t busy(struct scheduler *s, bool stopping)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->o.n_slots; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->phase == SLOT_IDLE) continue;
        if (stopping || slot->job->cancelled)
            slot_end(slot, Q3N_STOP_ASKED, reason(stopping));
        else n++;
    }
    return n;
}

static void add_up(struct slot_done *sum, const struct slot_done *d)
{
    sum->n_jobs += d->n_jobs;
    sum->n_prompt += d->n_prompt;
    sum->n_cached += d->n_cached;
    sum->n_predicted += d->n_predicted;
    sum->prompt_seconds += d->prompt_seconds;
    sum->predicted_seconds += d->predicted_seconds;
}

/* What others may see, holding the lock. */
static void publish(struct scheduler *s)
{
    struct scheduler_totals *t = &s->totals;
    t->n_processing = 0;
    t->done = (struct slot_done){ 0 };
    for (uint32_t i = 0; i < s->o.n_slots; i++) {
        const struct slot *slot = &s->slots[i];
        struct slot_view *v = &s->views[i];
        v->phase = slot->phase;
        v->n_held = q3n_session_pos(slot->session);
        v->counts = slot->counts;
        if (slot->job) v->job = slot->job->id;
        if (v->n_held > t->n_most) t->n_most = v->n_held;
        t->n_processing += slot->phase != SLOT_IDLE;
        add_up(&t->done, &slot->done);
    }
    if (s->o.means.checkpoints) t->kept = q3n_checkpoints_stats(s->o.means.checkpoints);
}

/* Holding the lock.  Memory for experts must follow the limits of cgroups also while
 * nothing is computed. */
static void wait_for_work(struct scheduler *s)
{
    if (!q3n_model_info(s->o.means.model)->bytes_slots) {
        pthread_cond_wait(&s->work, &s->lock);
        return;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec++;
    if (!pthread_cond_timedwait(&s->work, &s->lock, &t)) return;
    pthread_mutex_unlock(&s->lock);
    q3n_model_follow_limits(s->o.means.model);
    pthread_mutex_lock(&s->lock);
}

static void *run(void *user)
{
    struct scheduler *s = user;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        admit(s);
        do_actions(s);
        const bool stopping = s->stopping;
        const uint32_t n = busy(s, stopping);
        publish(s);
        if (stopping && !n && !s->first) break;
        if (!n) {
            if (!s->first && !s->actions) wait_for_work(s);
            continue;
        }
        s->totals.n_steps++;
        s->totals.n_busy += n;
        pthread_mutex_unlock(&s->lock);
        step(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- From outside ------------------------------------------------------------------ */

static int new_slots(struct scheduler *s, ggf_error *err)
{
    const uint32_t n = s->o.n_slots;
    const size_t row = q3n_model_info(s->o.means.model)->n_vocab * sizeof *s->logits;
    s->slots = calloc(n, sizeof *s->slots);
    s->views = calloc(n, sizeof *s->views);
    s->at_work = calloc(n, sizeof *s->at_work);
    s->runs = calloc(n, sizeof *s->runs);
    s->logits = calloc(n, row);
    if (!s->slots || !s->views || !s->at_work || !s->runs || !s->logits)
        return ggf_no_memory(err);
    int r = q3n_lane_new(&s->lane, s->o.means.model, &s->o.session, err);
    for (uint32_t i = 0; !r && i < n; i++)
        r = slot_init(&s->slots[i], &s->o.means, i, s->lane, &s->o.session, err);
    return r;
}

int scheduler_new(struct scheduler **out, const struct scheduler_options *options,
                  ggf_error *err)
{
    struct scheduler *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return ggf_no_memory(err);
    s->o = *options;
    s->last = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->settled, NULL);
    int r = new_slots(s, err);
    if (!r) {
        s->totals.n_ctx = q3n_session_ctx(s->slots[0].session);
        s->totals.n_slots = options->n_slots;
        const int e = pthread_create(&s->thread, NULL, run, s);
        s->started = e == 0;
        if (e)
            r = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "no thread can be started: %s",
                         strerror(e));
    }
    if (!r) *out = s;
    else scheduler_free(s);
    return r;
}

void scheduler_stop(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void scheduler_free(struct scheduler *s)
{
    if (!s) return;
    if (s->started) {
        scheduler_stop(s);
        pthread_join(s->thread, NULL);
    }
    for (uint32_t i = 0; s->slots && i < s->o.n_slots; i++) slot_free(&s->slots[i]);
    q3n_lane_free(s->lane);
    free(s->slots);
    free(s->views);
    free(s->at_work);
    free(s->runs);
    free(s->logits);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->settled);
    free(s);
}

static void enqueue(struct scheduler *s, struct job *job)
{
    job_hold(job);
    job->submitted = seconds_now();
    job->next = NULL;
    *s->last = job;
    s->last = &job->next;
    s->totals.n_queued++;
}

int scheduler_submit(struct scheduler *s, struct job *const *jobs, size_t n,
                     ggf_error *err)
{
    int r = 0;
    pthread_mutex_lock(&s->lock);
    if (s->stopping) {
        *err = stopped;
        r = err->code;
    } else if (s->totals.n_queued >= s->o.most_queued) {
        r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "%u requests are waiting already, which is the most",
                     s->totals.n_queued);
    } else {
        for (size_t i = 0; i < n; i++) enqueue(s, jobs[i]);
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void scheduler_views(struct scheduler *s, struct slot_view *views, uint32_t n)
{
    pthread_mutex_lock(&s->lock);
    memcpy(views, s->views, (n < s->o.n_slots ? n : s->o.n_slots) * sizeof *views);
    pthread_mutex_unlock(&s->lock);
}

struct scheduler_totals scheduler_totals(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    const struct scheduler_totals t = s->totals;
    pthread_mutex_unlock(&s->lock);
    return t;
}
