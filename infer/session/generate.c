/* generate.c - see generate.h. */
#include "generate.h"

#include "../now.h"

#include <math.h>
#include <stdlib.h>

static bool asked_to_stop(const struct q3n_generator *g) { return g->stop && *g->stop; }

void q3n_generator_free(struct q3n_generator *g)
{
    free(g->logits);
    g->logits = NULL;
}

static int prefill(struct q3n_generator *g, const int32_t *ids, size_t n,
                   enum q3n_stop *why, ggf_error *err)
{
    *why = Q3N_STOP_LIMIT;
    for (size_t done = 0; done < n;) {
        if (asked_to_stop(g)) {
            *why = Q3N_STOP_ASKED;
            return 0;
        }
        const uint32_t k = n - done < g->n_batch ? (uint32_t)(n - done) : g->n_batch;
        const bool last = done + k == n;
        const int r = q3n_session_eval(g->session, ids + done, k, k - 1,
                                       last ? g->logits : NULL, err);
        if (r) return r;
        for (uint32_t i = 0; i < k; i++) q3n_sampler_prompt(g->sampler, ids[done + i]);
        done += k;
        g->n_prompt += k;
        if (g->reading) g->reading(g->reader, (uint32_t)done, (uint32_t)n);
    }
    return 0;
}

static bool need_logits(struct q3n_generator *g)
{
    if (!g->logits) g->logits = malloc(g->n_vocab * sizeof *g->logits);
    return g->logits;
}

int q3n_prefill(struct q3n_generator *g, const int32_t *ids, size_t n, enum q3n_stop *why,
                ggf_error *err)
{
    const bool pending = g->logits && g->pending >= 0;
    const uint32_t pos = q3n_session_pos(g->session), ctx = q3n_session_ctx(g->session);
    if (n + pending > ctx - pos)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%zu tokens do not fit: %u of the context of %u are taken", n,
                        pos, ctx);
    if (!need_logits(g)) return ggf_no_memory(err);
    const double start = seconds_now();
    int r = 0;
    if (pending) r = q3n_session_eval(g->session, &g->pending, 1, 0, NULL, err);
    g->pending = -1;
    if (!r) r = prefill(g, ids, n, why, err);
    g->prompt_seconds += seconds_now() - start;
    return r;
}

int q3n_read_prompt(struct q3n_generator *g, q3n_checkpoints *c, struct q3n_prompt *p,
                    enum q3n_stop *why, ggf_error *err)
{
    const uint32_t ctx = q3n_session_ctx(g->session);
    if (p->n > ctx)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%u tokens do not fit into the context of %u", p->n, ctx);
    if (!need_logits(g)) return ggf_no_memory(err);
    const double start = seconds_now();
    g->pending = -1;
    p->stop = g->stop;
    p->reading = g->reading;
    p->user = g->reader;
    const int r = q3n_prompt_eval(g->session, c, p, g->logits, err);
    const uint32_t pos = q3n_session_pos(g->session);
    if (!r) g->n_prompt += pos - p->n_reused;
    *why = pos < p->n ? Q3N_STOP_ASKED : Q3N_STOP_LIMIT;
    q3n_sampler_forget(g->sampler);
    for (uint32_t i = 0; i < p->n; i++) q3n_sampler_prompt(g->sampler, p->tokens[i]);
    g->prompt_seconds += seconds_now() - start;
    return r;
}

/* Room for some text: `few` if that suffices; NULL if out of memory. */
struct room {
    char few[512], *more;
};

static char *room_for(struct room *r, size_t n)
{
    r->more = n > sizeof r->few ? malloc(n) : NULL;
    return n > sizeof r->few ? r->more : r->few;
}

/* Hand over whole characters; what may begin a stop string waits.  False, and *why, if
 * that was the end. */
static bool deliver(const struct q3n_generator *g, const char *text, size_t len,
                    enum q3n_stop *why)
{
    struct room room = { .more = NULL };
    int which = -1;
    if (g->stops) {
        char *out = room_for(&room, len + q3n_stop_most_held(g->stops));
        *why = Q3N_STOP_ASKED;
        if (!out) return false;
        len = q3n_stop_push(g->stops, text, len, out, &which);
        text = out;
    }
    const bool taken = !len || !g->emit(g->user, text, len);
    free(room.more);
    *why = !taken ? Q3N_STOP_ASKED : which >= 0 ? Q3N_STOP_STRING : Q3N_STOP_LIMIT;
    return taken && which < 0;
}

/* Hand over what the token adds to the text. */
static bool emit(const struct q3n_generator *g, struct q3n_stream *stream, int32_t id,
                 enum q3n_stop *why)
{
    const struct ggf_str text = q3n_token_text(g->tokenizer, id);
    if (q3n_token_is_control(g->tokenizer, id) || !text.len) return true;
    struct room room = { .more = NULL };
    char *out = room_for(&room, 3 * (text.len + sizeof stream->held));
    *why = Q3N_STOP_ASKED;
    if (!out) return false;
    const size_t n = q3n_stream_push(stream, text.data, text.len, out);
    const bool go_on = deliver(g, out, n, why);
    free(room.more);
    return go_on;
}

/* The end of the text: what was held back. */
static void emit_rest(const struct q3n_generator *g, struct q3n_stream *stream,
                      enum q3n_stop *why)
{
    struct room room = { .more = NULL };
    enum q3n_stop end = Q3N_STOP_LIMIT;
    char last[12];
    const size_t n = q3n_stream_end(stream, last);
    if (n && !deliver(g, last, n, &end)) *why = end;
    if (!g->stops) return;
    char *out = room_for(&room, q3n_stop_most_held(g->stops));
    const size_t held = out ? q3n_stop_end(g->stops, out) : 0;
    if (held) g->emit(g->user, out, held);
    free(room.more);
}

static int32_t choose(struct q3n_generator *g)
{
    int n = 0;
    const int32_t *eog = q3n_tokenizer_eog(g->tokenizer, &n);
    if (!g->ignore_eos) n = 0;
    for (int i = 0; i < n; i++)
        if ((uint32_t)eog[i] < g->n_vocab) g->logits[eog[i]] = -INFINITY;
    const int32_t id = q3n_sampler_pick(g->sampler, g->logits);
    q3n_sampler_accept(g->sampler, id);
    return id;
}

static int generate(struct q3n_generator *g, int64_t limit, struct q3n_stream *stream,
                    enum q3n_stop *why, ggf_error *err)
{
    *why = Q3N_STOP_LIMIT;
    for (int64_t i = 0; i != limit; i++) {
        if (asked_to_stop(g)) {
            *why = Q3N_STOP_ASKED;
            return 0;
        }
        if (g->pending >= 0) {
            if (q3n_session_pos(g->session) >= q3n_session_ctx(g->session)) {
                *why = Q3N_STOP_CONTEXT;
                return 0;
            }
            const int r = q3n_session_eval(g->session, &g->pending, 1, 0, g->logits, err);
            if (r) return r;
            g->n_decoded++;
        }
        g->pending = choose(g);
        if (g->pending < 0)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "no token may come next");
        if (q3n_token_is_eog(g->tokenizer, g->pending)) {
            *why = Q3N_STOP_EOG;
            g->pending = -1;
            return 0;
        }
        if (!emit(g, stream, g->pending, why)) return 0;
    }
    *why = Q3N_STOP_LIMIT;
    return 0;
}

int q3n_generate(struct q3n_generator *g, int64_t limit, enum q3n_stop *why,
                 ggf_error *err)
{
    struct q3n_stream stream = { 0 };
    const double start = seconds_now();
    if (g->stops) q3n_stop_filter_reset(g->stops);
    const int r = generate(g, limit, &stream, why, err);
    if (*why != Q3N_STOP_STRING) emit_rest(g, &stream, why);
    g->decode_seconds += seconds_now() - start;
    return r;
}
