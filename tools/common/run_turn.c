/* run_turn.c - a turn of a conversation: what is new of it is read, the reply written;
 * see run_chat.h.
 *
 * Nothing is read twice.  The session goes on where it was; where the template tells
 * what was before in other words (Qwen3's leaves out earlier thoughts) it goes back to
 * the last state that still holds. */
#include "run_chat.h"

#include "../../infer/now.h"
#include "../../infer/text/align.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ==== What is held ======================================================== */

static int load_cache(struct dialog *d, ggf_error *err)
{
    const struct run_options *o = d->run->o;
    int32_t *tokens = NULL;
    uint32_t n = 0;
    if (!o->cache) return 0;
    const int r = q3n_checkpoints_load(d->run->cache, o->cache, &tokens, &n, err);
    if (r == GGF_E_NOT_FOUND && !o->cache_ro) return run_check_cache(o->cache, err);
    if (!r) d->held = (struct q3n_ids){ tokens, n, n };
    return r;
}

int turns_open(struct dialog *d, ggf_error *err)
{
    struct run *run = d->run;
    const struct q3n_session_options session = q3n_session_settings(run->g.session);
    const struct q3n_checkpoint_options o = {
        .ram_bytes = (uint64_t)run->o->cache_ram << 20,
        .max_states = (uint32_t)run->o->n_checkpoints,
    };
    d->mark = q3n_token_find(run->tokenizer, "<|im_start|>");
    if (!o.ram_bytes || !o.max_states) return 0;
    const int r = q3n_checkpoints_open(&run->cache, run->model, &session, &o, err);
    return r ? r : load_cache(d, err);
}

void turns_close(struct dialog *d)
{
    q3n_ids_free(&d->held);
    free(d->text.bytes);
    free(d->thoughts.bytes);
}

/* The tokens of the session, and the one of the reply that it has not seen yet. */
static int note_held(struct dialog *d, ggf_error *err)
{
    const struct q3n_generator *g = &d->run->g;
    const int32_t *tokens = q3n_session_tokens(g->session);
    const uint32_t n = q3n_session_pos(g->session);
    bool ok = true;
    d->held.n = 0;
    for (uint32_t i = 0; ok && i < n; i++) ok = q3n_ids_push(&d->held, tokens[i]);
    if (ok && g->pending >= 0) ok = q3n_ids_push(&d->held, g->pending);
    return ok ? 0 : ggf_no_memory(err);
}

int turns_save(struct dialog *d, ggf_error *err)
{
    const struct run *run = d->run;
    const q3n_session *s = run->g.session;
    const uint32_t n = q3n_session_pos(s);
    uint32_t saved;
    if (!run->o->cache || run->o->cache_ro || !n) return 0;
    const int r = q3n_checkpoints_keep(run->cache, s, err);
    return r ? r
             : q3n_checkpoints_save(run->cache, run->o->cache, true,
                                    q3n_session_tokens(s), n, &saved, err);
}

/* ==== A prompt ============================================================ */

/* The conversation and the start of a reply, in tokens. */
static int make_prompt(struct dialog *d, struct q3n_ids *ids, bool *thinking,
                       ggf_error *err)
{
    const struct run *run = d->run;
    struct q3n_rendered p = { 0 };
    int r = chat_render(&run->chat, true, &p, err);
    if (!r) r = q3n_rendered_encode(run->tokenizer, &p, ids, err);
    if (!r && !ids->n) r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the prompt is empty");
    if (!r && !q3n_align(run->tokenizer, d->held.ids, d->held.n, ids))
        r = ggf_no_memory(err);
    *thinking = !r && q3n_rendered_opens_thinking(&p);
    q3n_rendered_free(&p);
    return r;
}

/* There must be room for a token of the reply. */
static int check_room(const struct dialog *d, size_t n, ggf_error *err)
{
    const q3n_session *s = d->run->g.session;
    const uint32_t ctx = q3n_session_ctx(s);
    if (n <= ctx) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "this would make the conversation %zu tokens long, but the context "
                    "is %u (-c), of which %u are held; /clear starts anew",
                    n, ctx, q3n_session_pos(s));
}

/* Where the last two messages begin, ascending: what comes after them may be told in
 * other words later. */
static size_t find_marks(const struct dialog *d, const struct q3n_ids *ids,
                         uint32_t marks[2])
{
    size_t n = 0;
    for (size_t i = ids->n; d->mark >= 0 && i-- > 1 && n < 2;)
        if (ids->ids[i] == d->mark) marks[n++] = (uint32_t)i;
    if (n == 2) {
        const uint32_t last = marks[0];
        marks[0] = marks[1];
        marks[1] = last;
    }
    return n;
}

/* ==== A reply ============================================================= */

static int write_reply(struct dialog *d, bool thinking, struct turn *turn, ggf_error *err)
{
    struct run *run = d->run;
    const double start = seconds_now();
    int r = show_begin(d, thinking, err);
    if (r) return r;
    run_start_stats(run);
    r = q3n_generate(&run->g, run->o->n_predict, &turn->why, err);
    ggf_error lost;
    const int e = show_end(d, r ? &lost : err);
    turn->reply_seconds = seconds_now() - start;
    turn->n_reply =
        q3n_session_pos(run->g.session) + (run->g.pending >= 0) - turn->n_prompt;
    return r ? r : e;
}

/* Thoughts are told apart, for templates that want them. */
static int append_reply(struct dialog *d, ggf_error *err)
{
    struct chat *chat = &d->run->chat;
    const struct words *w = &d->thoughts;
    int r =
        chat_say(chat, "assistant", d->text.bytes ? d->text.bytes : "", d->text.n, err);
    if (r || !w->n) return r;
    json_t *last = json_array_get(chat->messages, json_array_size(chat->messages) - 1);
    json_t *thoughts = json_stringn(w->bytes, w->n);
    return json_object_set_new(last, "reasoning_content", thoughts) ? ggf_no_memory(err)
                                                                    : 0;
}

static int read_and_reply(struct dialog *d, const struct q3n_ids *ids, bool thinking,
                          struct turn *turn, ggf_error *err)
{
    struct run *run = d->run;
    uint32_t marks[2];
    struct q3n_prompt p = { .tokens = ids->ids, .n = (uint32_t)ids->n, .marks = marks };
    p.n_marks = find_marks(d, ids, marks);
    const double start = seconds_now();
    run_reading_begin(run);
    int r = q3n_read_prompt(&run->g, run->cache, &p, &turn->why, err);
    run_reading_end(run);
    turn->prompt_seconds = seconds_now() - start;
    turn->n_prompt = p.n;
    turn->n_reused = p.n_reused;
    if (r || turn->why != Q3N_STOP_LIMIT) return r;
    r = write_reply(d, thinking, turn, err);
    turn->answered = !r;
    return r ? r : append_reply(d, err);
}

int turn_reply(struct dialog *d, struct turn *turn, ggf_error *err)
{
    struct run *run = d->run;
    struct q3n_ids ids = { 0 };
    bool thinking;
    *turn = (struct turn){ .why = Q3N_STOP_ASKED };
    int r = make_prompt(d, &ids, &thinking, err);
    if (!r) r = check_room(d, ids.n, err);
    if (!r) {
        r = read_and_reply(d, &ids, thinking, turn, err);
        if (r) q3n_session_reset(run->g.session); /* it may be broken */
        if (r) run->g.pending = -1;
        ggf_error lost;
        const int e = note_held(d, r ? &lost : err);
        if (!r) r = e;
    }
    q3n_ids_free(&ids);
    return r;
}
