/* server.c - opening, readiness, stopping; see serve.h. */
#include "server.h"

#include "http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

int q3n_server_open(q3n_server **out, const struct q3n_serve_options *options,
                    ggf_error *err)
{
    q3n_server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return ggf_no_memory(err);
    s->o = *options;
    s->listener = -1;
    s->started = time(NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->quiet, NULL);
    int r = 0;
    if (!(s->nowhere = fopen("/dev/null", "w")) ||
        getrandom(&s->random, sizeof s->random, 0) < 0)
        r = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "/dev/null: %s", strerror(errno));
    if (!r) r = watch_new(&s->watch, err);
    if (!r) r = http_listen(s, err);
    if (!r) r = http_start(s, err);
    if (!r) *out = s;
    else q3n_server_close(s);
    return r;
}

int q3n_server_port(const q3n_server *s) { return s->port; }

/* What replies of a given form need. */
static int prepare_schemas(q3n_server *s, ggf_error *err)
{
    s->any_object = json_pack("{s:s}", "type", "object");
    return s->any_object ? q3n_trie_new(&s->trie, s->m.tokenizer, err)
                         : ggf_no_memory(err);
}

static int start_scheduler(q3n_server *s, ggf_error *err)
{
    const struct scheduler_options o = {
        .means = { .model = s->m.model,
                   .tokenizer = s->m.tokenizer,
                   .checkpoints = s->m.checkpoints,
                   .every = s->m.checkpoint_every,
                   .watch = s->m.watch,
                   .trie = s->trie,
                   .think_end = q3n_token_find(s->m.tokenizer, "</think>"),
                   .mark = q3n_token_find(s->m.tokenizer, "<|im_start|>") },
        .session = s->m.session,
        .n_slots = s->m.n_slots,
        .n_batch = s->m.n_batch,
        .most_queued = s->m.most_queued,
    };
    return scheduler_new(&s->scheduler, &o, err);
}

int q3n_server_ready(q3n_server *s, const struct q3n_serve_model *model, ggf_error *err)
{
    int loading = SERVER_LOADING;
    s->m = *model;
    int r = prepare_schemas(s, err);
    if (!r) r = start_scheduler(s, err);
    if (!r && !atomic_compare_exchange_strong(&s->state, &loading, SERVER_READY))
        scheduler_stop(s->scheduler);
    return r;
}

void q3n_server_stop(q3n_server *s)
{
    const int before = atomic_exchange(&s->state, SERVER_STOPPING);
    if (before == SERVER_STOPPING) return;
    http_stop(s);
    if (before == SERVER_READY) scheduler_stop(s->scheduler);
}

/* Wait until all answers are given, but not for ever. */
static void wait_for_calls(q3n_server *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 5;
    pthread_mutex_lock(&s->lock);
    while (s->n_calls && !pthread_cond_timedwait(&s->quiet, &s->lock, &t)) {}
    pthread_mutex_unlock(&s->lock);
}

void q3n_server_close(q3n_server *s)
{
    if (!s) return;
    q3n_server_stop(s);
    wait_for_calls(s);
    http_close(s);
    watch_free(s->watch);
    scheduler_free(s->scheduler);
    q3n_trie_free(s->trie);
    json_decref(s->any_object);
    if (s->nowhere) fclose(s->nowhere);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->quiet);
    free(s);
}
