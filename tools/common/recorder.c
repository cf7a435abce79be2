/* recorder.c - see recorder.h. */
#include "recorder.h"

#include "out.h"

#include <stdlib.h>
#include <unistd.h>

static void see(void *user, const struct routed *b)
{
    struct recorder *r = user;
    if (r->writer) trace_add(r->writer, b->layer, b->tokens, b->ids, b->weights);
    if (!r->o.save_history) return;
    uint64_t *counts = r->counts + (size_t)b->layer * r->model.n_expert;
    for (uint64_t i = 0; i < (uint64_t)b->tokens * b->n_used; i++) counts[b->ids[i]]++;
}

static int read_history(struct recorder *r, q3n_model *model, ggf_error *err)
{
    struct trace *t;
    int e = trace_open(&t, r->o.history, err);
    if (!e) e = trace_check_model(t, &r->model, err);
    if (!e) trace_count(t, r->counts);
    trace_close(t);
    return e ? e : q3n_model_warm(model, r->counts, &r->loaded, err);
}

/* That the file is there already is better said before the work than after it. */
static int check_name(const struct recorder *r, ggf_error *err)
{
    if (!r->o.save_history || r->force || access(r->o.save_history, F_OK)) return 0;
    return ggf_fail(err, GGF_E_EXISTS, GGF_NO_OFFSET, "%.200s is there already",
                    r->o.save_history);
}

int recorder_spare(const struct recorder_options *o, const char *const *inputs, size_t n,
                   ggf_error *err)
{
    int e = out_spare(o->trace, inputs, n, err);
    if (!e) e = out_spare(o->save_history, inputs, n, err);
    return e ? e : out_spare(o->trace, &o->history, 1, err);
}

int recorder_open(struct recorder *r, const struct recorder_options *o, bool force,
                  q3n_model *model, ggf_error *err)
{
    *r = (struct recorder){ .o = *o, .force = force, .watch = { see, r } };
    if (!o->trace && !o->history && !o->save_history) return 0;
    int e = check_name(r, err);
    if (e || (e = q3n_model_trace(model, &r->model, err))) return e;
    r->counts = calloc((size_t)r->model.n_layer * r->model.n_expert, sizeof *r->counts);
    if (!r->counts) return ggf_no_memory(err);
    if (o->history && (e = read_history(r, model, err))) return e;
    return o->trace ? trace_create(&r->writer, o->trace, force, &r->model, err) : 0;
}

const struct route_watch *recorder_watch(struct recorder *r)
{
    return r->o.trace || r->o.save_history ? &r->watch : NULL;
}

int recorder_finish(struct recorder *r, ggf_error *err)
{
    int e = 0;
    if (r->writer) e = trace_finish(r->writer, err);
    r->writer = NULL;
    if (e || !r->o.save_history) return e;
    return history_write(r->o.save_history, r->force, &r->model, r->counts, err);
}

void recorder_close(struct recorder *r)
{
    trace_discard(r->writer);
    q3n_model_trace_free(&r->model);
    free(r->counts);
    *r = (struct recorder){ 0 };
}
