/* metrics.c - /metrics: counters for Prometheus, by llama-server's names where it has
 * them, and where experts came from. */
#include "server.h"

#include <inttypes.h>

static void metric(FILE *f, const char *name, const char *type, const char *help,
                   double value)
{
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name,
            value);
}

static double per(double n, double of) { return of > 0 ? n / of : 0; }

static void write_jobs(FILE *f, const struct scheduler_totals *t)
{
    const struct slot_done *d = &t->done;
    const struct {
        const char *name, *type, *help;
        double value;
    } all[] = {
        { "llamacpp:prompt_tokens_total", "counter", "Prompt tokens computed.",
          (double)d->n_prompt },
        { "llamacpp:prompt_seconds_total", "counter", "Seconds on prompts.",
          d->prompt_seconds },
        { "llamacpp:tokens_predicted_total", "counter", "Tokens generated.",
          (double)d->n_predicted },
        { "llamacpp:tokens_predicted_seconds_total", "counter", "Seconds on generation.",
          d->predicted_seconds },
        { "llamacpp:n_decode_total", "counter", "Steps of the scheduler.",
          (double)t->n_steps },
        { "llamacpp:n_tokens_max", "counter", "Most tokens a slot has held.",
          (double)t->n_most },
        { "llamacpp:n_busy_slots_per_decode", "gauge", "Slots that take part in a step.",
          per((double)t->n_busy, (double)t->n_steps) },
        { "llamacpp:prompt_tokens_seconds", "gauge", "Prompt tokens per second.",
          per((double)d->n_prompt, d->prompt_seconds) },
        { "llamacpp:predicted_tokens_seconds", "gauge", "Generated tokens per second.",
          per((double)d->n_predicted, d->predicted_seconds) },
        { "llamacpp:requests_processing", "gauge", "Requests that have a slot.",
          t->n_processing },
        { "llamacpp:requests_deferred", "gauge", "Requests that wait for a slot.",
          t->n_queued },
        { "q3n:requests_total", "counter", "Requests done.", (double)d->n_jobs },
        { "q3n:prompt_tokens_cached_total", "counter",
          "Prompt tokens that needed no computing.", (double)d->n_cached },
        { "q3n:checkpoints", "gauge", "Checkpoints in memory.", t->kept.in_ram },
        { "q3n:checkpoint_bytes", "gauge", "Memory they take.",
          (double)t->kept.ram_bytes },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        metric(f, all[i].name, all[i].type, all[i].help, all[i].value);
}

static void write_experts(FILE *f, const struct q3n_expert_stats *e)
{
    metric(f, "q3n:experts_mapped_total", "counter",
           "Experts used where they are mapped.", (double)e->mapped);
    metric(f, "q3n:experts_hits_total", "counter", "Experts found in memory.",
           (double)e->hits);
    metric(f, "q3n:experts_misses_total", "counter", "Experts read from disk.",
           (double)e->misses);
    metric(f, "q3n:experts_read_bytes_total", "counter", "Bytes read for them.",
           (double)e->read_bytes);
    metric(f, "q3n:experts_wait_seconds_total", "counter", "Seconds computing waited.",
           e->wait_seconds);
    metric(f, "q3n:experts_memory_bytes", "gauge", "Memory for experts.",
           (double)e->slot_bytes);
    metric(f, "q3n:experts_memory_shrinks_total", "counter",
           "Times that a cgroup's limit took of it.", (double)e->shrinks);
    metric(f, "q3n:experts_memory_grows_total", "counter", "Times that it was extended.",
           (double)e->grows);
    metric(f, "q3n:experts_memory_short_bytes", "gauge",
           "Most that a cgroup left less than one token needs.", (double)e->short_bytes);
}

enum MHD_Result api_metrics(struct call *call)
{
    const q3n_server *s = call->server;
    if (!s->o.metrics)
        return answer_error(call, 501, "the server was started without --metrics");
    const struct scheduler_totals totals = scheduler_totals(s->scheduler);
    struct q3n_expert_stats experts;
    struct answer a;
    q3n_model_expert_stats(s->m.model, &experts);
    answer_begin(s, &a);
    write_jobs(a.json.f, &totals);
    write_experts(a.json.f, &experts);
    return answer_text(call, "text/plain; version=0.0.4", &a);
}
