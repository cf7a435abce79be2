/* slot.c - see slot.h. */
#include "slot.h"

#include "../now.h"

#include <stdlib.h>
#include <string.h>

/* A token that is chosen, but whose text is not yet given out. */
struct slot_held {
    struct job_token token;
    size_t end; /* bytes of text up to and with it */
};

int slot_init(struct slot *slot, const struct slot_means *means, uint32_t number,
              q3n_lane *lane, const struct q3n_session_options *options, ggf_error *err)
{
    *slot = (struct slot){ .means = means, .number = number };
    const int r = q3n_session_new_in(&slot->session, lane, options, err);
    if (!r) q3n_session_watch(slot->session, means->watch);
    return r;
}

void slot_free(struct slot *slot)
{
    q3n_stop_filter_free(slot->stops);
    q3n_session_free(slot->session);
    free(slot->held);
    free(slot->scratch[0]);
    free(slot->scratch[1]);
    *slot = (struct slot){ 0 };
}

uint32_t slot_match(const struct slot *slot, const struct q3n_ids *prompt)
{
    const uint32_t pos = q3n_session_pos(slot->session);
    if (pos >= prompt->n) return 0;
    const bool same =
        !memcmp(q3n_session_tokens(slot->session), prompt->ids, pos * sizeof(int32_t));
    return same ? pos : 0;
}

/* ---- Begin and end ----------------------------------------------------------------- */

/* Where the last two messages start, ascending. */
static void find_marks(struct slot *slot, const struct q3n_ids *prompt)
{
    slot->n_marks = 0;
    if (slot->means->mark < 0) return;
    for (size_t i = prompt->n; i-- > 1 && slot->n_marks < 2;)
        if (prompt->ids[i] == slot->means->mark)
            slot->marks[slot->n_marks++] = (uint32_t)i;
    if (slot->n_marks == 2 && slot->marks[0] > slot->marks[1]) {
        const uint32_t last = slot->marks[0];
        slot->marks[0] = slot->marks[1];
        slot->marks[1] = last;
    }
}

/* Bring the session to the longest beginning of the prompt that is known. */
static int recall(struct slot *slot, const struct job *job, ggf_error *err)
{
    q3n_checkpoints *c = slot->means->checkpoints;
    if (job->forget) q3n_session_reset(slot->session);
    else if (c)
        return q3n_checkpoints_restore(c, slot->session, job->prompt.ids,
                                       (uint32_t)job->prompt.n - 1, err);
    else if (!slot_match(slot, &job->prompt)) q3n_session_reset(slot->session);
    return 0;
}

/* From here on the reply has the form that was asked for. */
static int constrain(struct slot *slot, ggf_error *err)
{
    return q3n_sampler_constrain(slot->job->sampler, slot->job->grammar,
                                 slot->means->trie, err);
}

static int prepare(struct slot *slot, ggf_error *err)
{
    struct job *job = slot->job;
    int r = 0;
    find_marks(slot, &job->prompt);
    slot->stream = (struct q3n_stream){ 0 };
    slot->produced = slot->released = slot->n_held = 0;
    if (job->stops) r = q3n_stop_filter_new(&slot->stops, job->stops, err);
    if (!r) r = recall(slot, job, err);
    if (!r && job->grammar && !job->thinking) r = constrain(slot, err);
    for (size_t i = 0; !r && i < job->prompt.n; i++)
        q3n_sampler_prompt(job->sampler, job->prompt.ids[i]);
    return r;
}

void slot_begin(struct slot *slot, struct job *job)
{
    ggf_error err;
    job_hold(job);
    slot->job = job;
    slot->phase = SLOT_READING;
    slot->since = seconds_now();
    const int r = prepare(slot, &err);
    const uint32_t known = q3n_session_pos(slot->session);
    slot->counts = (struct job_counts){ .n_prompt = (uint32_t)job->prompt.n,
                                        .n_cached = known,
                                        .n_read = known,
                                        .queue_seconds = slot->since - job->submitted };
    if (r) {
        slot_end(slot, Q3N_STOP_ASKED, &err);
        q3n_session_reset(slot->session);
    } else {
        job_report(job, JOB_READING, &slot->counts);
    }
}

static void add_up(struct slot_done *d, const struct job_counts *c)
{
    d->n_jobs++;
    d->n_prompt += c->n_read - c->n_cached;
    d->n_cached += c->n_cached;
    d->n_predicted += c->n_predicted;
    d->prompt_seconds += c->prompt_seconds;
    d->predicted_seconds += c->predicted_seconds;
}

void slot_end(struct slot *slot, enum q3n_stop why, const ggf_error *err)
{
    double *clock = slot->phase == SLOT_READING ? &slot->counts.prompt_seconds
                                                : &slot->counts.predicted_seconds;
    *clock = seconds_now() - slot->since;
    slot->phase = SLOT_IDLE;
    add_up(&slot->done, &slot->counts);
    q3n_stop_filter_free(slot->stops);
    slot->stops = NULL;
    job_end(slot->job, why, &slot->counts, err);
    job_drop(slot->job);
    slot->job = NULL;
}

/* ---- Text -------------------------------------------------------------------------- */

static char *scratch(struct slot *slot, int which, size_t n)
{
    if (n > slot->scratch_room[which]) {
        char *more = realloc(slot->scratch[which], n);
        if (!more) return NULL;
        slot->scratch[which] = more;
        slot->scratch_room[which] = n;
    }
    return slot->scratch[which];
}

/* Give out text, and the tokens whose text is given out by now. */
static int release(struct slot *slot, const char *text, size_t len, bool last,
                   ggf_error *err)
{
    size_t n = 0;
    int r = 0;
    slot->released += len;
    while (n < slot->n_held && (last || slot->held[n].end <= slot->released)) n++;
    for (size_t i = 0; !r && i < n; i++)
        r = job_put(slot->job, NULL, 0, &slot->held[i].token, 1, err);
    slot->n_held -= n;
    if (n) memmove(slot->held, slot->held + n, slot->n_held * sizeof *slot->held);
    if (!r && len) r = job_put(slot->job, text, len, NULL, 0, err);
    return r;
}

/* Text through the stop filter; *why is changed if that ends it. */
static int give(struct slot *slot, const char *text, size_t len, enum q3n_stop *why,
                ggf_error *err)
{
    int which = -1;
    slot->produced += len;
    if (slot->stops) {
        char *out = scratch(slot, 1, len + q3n_stop_most_held(slot->stops));
        if (!out) return ggf_no_memory(err);
        len = q3n_stop_push(slot->stops, text, len, out, &which);
        text = out;
    }
    if (which >= 0) *why = Q3N_STOP_STRING;
    return release(slot, text, len, false, err);
}

/* Remember what was likely instead of a token, before the text of it. */
static int watch(struct slot *slot, int32_t id, const float *logits, ggf_error *err)
{
    if (slot->n_held == slot->held_room) {
        const size_t room = 2 * slot->held_room + 8;
        struct slot_held *more = realloc(slot->held, room * sizeof *more);
        if (!more) return ggf_no_memory(err);
        slot->held = more;
        slot->held_room = room;
    }
    struct job_token *t = &slot->held[slot->n_held++].token;
    t->id = id;
    t->n_top = (uint32_t)slot->job->n_logprobs;
    t->logprob = q3n_logprobs(logits, q3n_model_info(slot->means->model)->n_vocab, id,
                              t->top, t->n_top);
    return 0;
}

static int say(struct slot *slot, int32_t id, const float *logits, enum q3n_stop *why,
               ggf_error *err)
{
    const q3n_tokenizer *t = slot->means->tokenizer;
    const struct ggf_str text = q3n_token_text(t, id);
    const size_t len = q3n_token_is_control(t, id) ? 0 : text.len;
    char *out = scratch(slot, 0, 3 * (len + sizeof slot->stream.held));
    if (!out) return ggf_no_memory(err);
    const size_t n = len ? q3n_stream_push(&slot->stream, text.data, len, out) : 0;
    if (slot->job->n_logprobs >= 0) {
        const int r = watch(slot, id, logits, err);
        if (r) return r;
        slot->held[slot->n_held - 1].end = slot->produced + n;
    }
    return give(slot, out, n, why, err);
}

/* What is held back when the text ends. */
static int say_rest(struct slot *slot, enum q3n_stop *why, ggf_error *err)
{
    char last[12];
    const size_t n = q3n_stream_end(&slot->stream, last);
    int r = n ? give(slot, last, n, why, err) : 0;
    if (r || *why == Q3N_STOP_STRING) return r;
    size_t held = 0;
    char *out = NULL;
    if (slot->stops) {
        out = scratch(slot, 1, q3n_stop_most_held(slot->stops));
        if (!out) return ggf_no_memory(err);
        held = q3n_stop_end(slot->stops, out);
    }
    return release(slot, out, held, true, err);
}

/* ---- Computing --------------------------------------------------------------------- */

void slot_wants(const struct slot *slot, uint32_t most, struct q3n_run *run)
{
    *run = (struct q3n_run){ .session = slot->session };
    if (slot->phase == SLOT_GENERATING) {
        run->tokens = &slot->pending;
        run->n = 1;
        return;
    }
    const struct q3n_ids *prompt = &slot->job->prompt;
    const uint32_t pos = q3n_session_pos(slot->session), n = (uint32_t)prompt->n;
    uint32_t end = n;
    if (slot->means->checkpoints)
        end = q3n_checkpoint_next(pos, n, slot->means->every, slot->marks, slot->n_marks);
    if (end - pos > most) end = pos + most;
    run->tokens = prompt->ids + pos;
    run->n = end - pos;
    run->first_logits = end < n ? run->n : run->n - 1;
}

/* Keep the session's state where q3n_checkpoint_next() said. */
static int keep(struct slot *slot, ggf_error *err)
{
    const uint32_t pos = q3n_session_pos(slot->session), every = slot->means->every;
    const uint32_t n = slot->counts.n_prompt;
    bool here = pos + 1 == n || (every && pos % every == 0);
    for (size_t i = 0; i < slot->n_marks; i++) here |= slot->marks[i] == pos;
    if (!here || pos == n || !slot->means->checkpoints) return 0;
    return q3n_checkpoints_keep(slot->means->checkpoints, slot->session, err);
}

/* Choose a token from the logits.  *ended: it was the last, and *why. */
static int choose(struct slot *slot, const float *logits, enum q3n_stop *why, bool *ended,
                  ggf_error *err)
{
    struct job *job = slot->job;
    *ended = true;
    *why = Q3N_STOP_LIMIT;
    if (job->limit == 0) return 0;
    slot->pending = q3n_sampler_pick(job->sampler, logits);
    if (slot->pending < 0 || !q3n_sampler_accept(job->sampler, slot->pending))
        return ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "no token may be chosen: each has a bias of minus infinity, or is "
            "forbidden by the form of the reply");
    slot->counts.n_predicted++;
    if (q3n_token_is_eog(slot->means->tokenizer, slot->pending)) {
        *why = Q3N_STOP_EOG;
        return 0;
    }
    int r = say(slot, slot->pending, logits, why, err);
    if (!r && job->grammar && job->thinking && slot->pending == slot->means->think_end) {
        job->thinking = false;
        r = constrain(slot, err);
    }
    if (r || *why == Q3N_STOP_STRING) return r;
    if (job->limit >= 0 && slot->counts.n_predicted >= job->limit) return 0;
    *why = Q3N_STOP_CONTEXT;
    *ended = q3n_session_pos(slot->session) == q3n_session_ctx(slot->session);
    return 0;
}

static int next(struct slot *slot, const float *logits, ggf_error *err)
{
    enum q3n_stop why;
    bool ended;
    int r = choose(slot, logits, &why, &ended, err);
    if (r || !ended) {
        if (!r) job_report(slot->job, JOB_GENERATING, &slot->counts);
        return r;
    }
    if (why != Q3N_STOP_STRING) r = say_rest(slot, &why, err);
    if (!r && slot->means->checkpoints)
        r = q3n_checkpoints_keep(slot->means->checkpoints, slot->session, err);
    if (!r) slot_end(slot, why, NULL);
    return r;
}

void slot_failed(struct slot *slot, const ggf_error *err)
{
    slot_end(slot, Q3N_STOP_ASKED, err);
    q3n_session_reset(slot->session);
}

void slot_computed(struct slot *slot, const float *logits)
{
    ggf_error err;
    int r = 0;
    if (slot->phase == SLOT_READING) {
        slot->counts.n_read = q3n_session_pos(slot->session);
        r = keep(slot, &err);
        if (!r && slot->counts.n_read < slot->counts.n_prompt) {
            job_report(slot->job, JOB_READING, &slot->counts);
            return;
        }
        slot->counts.prompt_seconds = seconds_now() - slot->since;
        slot->since = seconds_now();
        slot->phase = SLOT_GENERATING;
    }
    if (!r) r = next(slot, logits, &err);
    if (r) slot_end(slot, Q3N_STOP_ASKED, &err);
}
