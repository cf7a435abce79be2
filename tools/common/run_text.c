/* run_text.c - a prompt and what the model says to it; see run.h. */
#include "run.h"

#include "../../infer/now.h"
#include "escape.h"
#include "memopt.h"
#include "runstats.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHORT = 512 }; /* tokens of a prompt that is soon read */

void run_start_stats(struct run *run)
{
    run->seen_at = seconds_now();
    q3n_model_expert_stats(run->model, &run->seen_experts);
}

/* Memory for experts follows the limits of cgroups: say when it does. */
static void show_limits(struct run *run)
{
    struct q3n_expert_stats now;
    q3n_model_expert_stats(run->model, &now);
    memory_notice(stderr, "\n", &run->seen_limits, &now);
    run->seen_limits = now;
}

/* A line once N more tokens were decoded. */
static void show_stats(struct run *run)
{
    const uint64_t n = run->g.n_decoded - run->seen;
    if (!run->o->stats || n < (uint64_t)run->o->stats) return;
    struct q3n_expert_stats experts;
    const double now = seconds_now();
    q3n_model_expert_stats(run->model, &experts);
    putc('\n', stderr);
    memory_line(stderr, &run->seen_experts, &experts, n, now - run->seen_at);
    run->seen += n;
    run->seen_at = now;
    run->seen_experts = experts;
}

void run_notice(struct run *run)
{
    show_limits(run);
    show_stats(run);
}

void run_print_stats(const struct run *run, bool json)
{
    struct run_stats stats = {
        .info = q3n_model_info(run->model),
        .load_seconds = run->load_seconds,
        .n_prompt = run->g.n_prompt,
        .n_decoded = run->g.n_decoded,
        .prompt_seconds = run->g.prompt_seconds,
        .decode_seconds = run->g.decode_seconds,
    };
    q3n_model_expert_stats(run->model, &stats.experts);
    run_stats_print(&stats, json);
}

static void on_reading(void *user, uint32_t done, uint32_t n)
{
    struct run *run = user;
    if (done == n || seconds_now() - run->reading.start < 1) return;
    run->reading.total = n;
    progress_update(&run->reading, done, "");
}

void run_reading_begin(struct run *run)
{
    const uint32_t ubatch = q3n_session_settings(run->g.session).n_ubatch;
    if (!isatty(STDERR_FILENO)) return;
    run->reading =
        (struct progress){ .what = "reading", .unit = "tokens", .start = seconds_now() };
    run->g.reading = on_reading;
    run->g.reader = run;
    if (run->g.n_batch > ubatch) run->g.n_batch = ubatch; /* no more work, more often */
}

void run_reading_end(struct run *run)
{
    if (run->g.reading) progress_end(&run->reading);
    run->g.reading = NULL;
}

static int print(const char *text, size_t len)
{
    return fwrite(text, 1, len, stdout) != len || fflush(stdout);
}

int run_emit(void *user, const char *text, size_t len)
{
    run_notice(user);
    return print(text, len);
}

/* The newline at the end of a file is none of the prompt's, as in llama.cpp. */
int run_read_prompt(const struct run *run, struct input *in, ggf_error *err)
{
    const struct run_options *o = run->o;
    if (!o->prompt) {
        const int r = input_read(in, o->file, err);
        if (!r && in->len && in->bytes[in->len - 1] == '\n') in->bytes[--in->len] = 0;
        return r;
    }
    in->bytes = strdup(o->prompt);
    if (!in->bytes) return ggf_no_memory(err);
    in->len = o->no_escape ? strlen(in->bytes) : unescape(in->bytes);
    return 0;
}

int run_watch_stops(struct run *run, ggf_error *err)
{
    const struct opt_list *list = &run->o->stops;
    if (!list->count) return 0;
    for (int i = 0; i < list->count && !run->o->no_escape; i++)
        unescape((char *)list->items[i]); /* a word of argv */
    const int r = q3n_stops_new(&run->stops, list->items, (size_t)list->count, err);
    return r ? r : q3n_stop_filter_new(&run->g.stops, run->stops, err);
}

/* Compute tokens and print what the model says to them, behind the prompt: that comes
 * first, but not where a line that tells of progress would take its last one away. */
static int reply(struct run *run, const struct q3n_ids *ids, const struct input *prompt,
                 ggf_error *err)
{
    enum q3n_stop why;
    const bool first = !isatty(STDERR_FILENO) || ids->n <= SHORT;
    if (first) print(prompt->bytes, prompt->len);
    else run_reading_begin(run);
    int r = run_read(run, ids, &why, err);
    run_reading_end(run);
    if (!r && !first && why == Q3N_STOP_LIMIT) print(prompt->bytes, prompt->len);
    if (!r && run->grammar) /* at its beginning */
        r = q3n_sampler_constrain(run->g.sampler, run->grammar, run->trie, err);
    run_start_stats(run);
    if (!r && why == Q3N_STOP_LIMIT)
        r = q3n_generate(&run->g, run->o->n_predict, &why, err);
    if (r) return r;
    putchar('\n');
    fflush(stdout);
    if (why == Q3N_STOP_CONTEXT) fputs("\n" RUN_NAME ": the context is full\n", stderr);
    return 0;
}

int run_text(struct run *run, ggf_error *err)
{
    struct input in = { 0 };
    struct q3n_ids ids = { 0 };
    const int32_t bos = q3n_tokenizer_bos(run->tokenizer);
    int r = run_read_prompt(run, &in, err);
    if (!r && bos >= 0 && !q3n_ids_push(&ids, bos)) r = ggf_no_memory(err);
    if (!r) r = q3n_encode(run->tokenizer, in.bytes, in.len, true, &ids, err);
    if (!r && !ids.n) r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the prompt is empty");
    if (!r && ids.n > q3n_session_ctx(run->g.session))
        r = ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "the %zu tokens of the prompt do not fit into the context of %u (-c)", ids.n,
            q3n_session_ctx(run->g.session));
    if (run->o->no_display_prompt) in.len = 0;
    if (!r) r = reply(run, &ids, &in, err);
    if (!r) r = run_save_cache(run, err);
    q3n_ids_free(&ids);
    free(in.bytes);
    return r;
}
