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
    }
    return 0;
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
    if (!g->logits) g->logits = malloc(g->n_vocab * sizeof *g->logits);
    if (!g->logits) return ggf_no_memory(err);
    const double start = seconds_now();
    int r = 0;
    if (pending) r = q3n_session_eval(g->session, &g->pending, 1, 0, NULL, err);
    g->pending = -1;
    if (!r) r = prefill(g, ids, n, why, err);
    g->prompt_seconds += seconds_now() - start;
    return r;
}

/* Hand over what the token adds to the text. */
static int emit(const struct q3n_generator *g, struct q3n_stream *stream, int32_t id)
{
    const struct ggf_str text = q3n_token_text(g->tokenizer, id);
    if (q3n_token_is_control(g->tokenizer, id) || !text.len) return 0;
    char few[512], *out = few;
    const size_t room = 3 * (text.len + sizeof stream->held);
    if (room > sizeof few) out = malloc(room);
    if (!out) return -1;
    const size_t n = q3n_stream_push(stream, text.data, text.len, out);
    const int r = n ? g->emit(g->user, out, n) : 0;
    if (out != few) free(out);
    return r;
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
        if (q3n_token_is_eog(g->tokenizer, g->pending)) {
            *why = Q3N_STOP_EOG;
            g->pending = -1;
            return 0;
        }
        if (emit(g, stream, g->pending)) {
            *why = Q3N_STOP_ASKED;
            return 0;
        }
    }
    return 0;
}

int q3n_generate(struct q3n_generator *g, int64_t limit, enum q3n_stop *why,
                 ggf_error *err)
{
    struct q3n_stream stream = { 0 };
    char rest[12];
    const double start = seconds_now();
    const int r = generate(g, limit, &stream, why, err);
    const size_t n = q3n_stream_end(&stream, rest);
    if (n) g->emit(g->user, rest, n);
    g->decode_seconds += seconds_now() - start;
    return r;
}
