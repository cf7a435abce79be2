/* completion.c - /chat/completions and /completions: from a request to a job, and what
 * they share with /apply-template. */
#include "completion.h"

#include "../session/gbnf.h"
#include "../session/schema.h"
#include "demand.h"
#include "reply.h"

#include <math.h>
#include <stdlib.h>

/* ---- Prompts ----------------------------------------------------------------------- */

int completion_render(const q3n_server *s, const struct request *r,
                      struct q3n_rendered *out, ggf_error *err)
{
    const struct q3n_conversation c = {
        .messages = r->messages,
        .tools = r->tool_choice == TOOLS_NONE ? NULL : r->tools,
        .extra = r->template_args,
        .add_generation_prompt = r->add_generation_prompt,
        .bos = s->m.bos,
        .eos = s->m.eos,
    };
    return q3n_template_apply(s->m.template, &c, out, err);
}

static int chat_ids(const q3n_server *s, const struct request *r, struct q3n_ids *ids,
                    bool *thinking, ggf_error *err)
{
    struct q3n_rendered prompt;
    const int e = completion_render(s, r, &prompt, err);
    if (e) return e;
    *thinking = q3n_rendered_opens_thinking(&prompt);
    const int r2 = q3n_rendered_encode(s->m.tokenizer, &prompt, ids, err);
    q3n_rendered_free(&prompt);
    return r2;
}

/* An array of token ids. */
int completion_ids(const q3n_server *s, const json_t *v, const char *name,
                   struct q3n_ids *ids, ggf_error *err)
{
    const uint32_t n_vocab = q3n_tokenizer_count(s->m.tokenizer);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        const json_int_t n = json_integer_value(id);
        if (!json_is_integer(id) || n < 0 || n >= n_vocab)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "%s[%zu] must be a token of the vocabulary of %u", name, i,
                            n_vocab);
        if (!q3n_ids_push(ids, (int32_t)n)) return ggf_no_memory(err);
    }
    return 0;
}

static int text_ids(const q3n_server *s, const json_t *prompt, struct q3n_ids *ids,
                    ggf_error *err)
{
    const int32_t bos = q3n_tokenizer_bos(s->m.tokenizer);
    /* OpenAI's clients may send a list of prompts: here of one. */
    if (json_is_array(prompt) && json_array_size(prompt) == 1 &&
        !json_is_integer(json_array_get(prompt, 0)))
        prompt = json_array_get(prompt, 0);
    if (json_is_array(prompt) &&
        (!json_array_size(prompt) || json_is_number(json_array_get(prompt, 0))))
        return completion_ids(s, prompt, "prompt", ids, err);
    if (!json_is_string(prompt))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "prompt must be one text, or one array of token ids");
    if (bos >= 0 && !q3n_ids_push(ids, bos)) return ggf_no_memory(err);
    return q3n_encode(s->m.tokenizer, json_string_value(prompt),
                      json_string_length(prompt), true, ids, err);
}

/* ---- Jobs -------------------------------------------------------------------------- */

/* The bias that is asked, and never a token that ends the reply. */
static int without_end(const q3n_server *s, struct q3n_sample_params *p,
                       struct q3n_logit_bias **bias, ggf_error *err)
{
    int n;
    const int32_t *eog = q3n_tokenizer_eog(s->m.tokenizer, &n);
    *bias = malloc((p->n_bias + (size_t)n + 1) * sizeof **bias);
    if (!*bias) return ggf_no_memory(err);
    for (size_t i = 0; i < p->n_bias; i++) (*bias)[i] = p->bias[i];
    for (int i = 0; i < n; i++)
        (*bias)[p->n_bias++] = (struct q3n_logit_bias){ eog[i], -INFINITY };
    p->bias = *bias;
    return 0;
}

/* Number `index` of the replies has a seed of its own. */
static int new_sampler(const q3n_server *s, const struct request *r, int64_t index,
                       struct job *job, ggf_error *err)
{
    struct q3n_sample_params p = r->sample;
    struct q3n_logit_bias *bias = NULL;
    p.seed += (uint64_t)index;
    p.n_ctx = scheduler_totals(s->scheduler).n_ctx;
    int e = r->ignore_eos ? without_end(s, &p, &bias, err) : 0;
    if (!e)
        e = q3n_sampler_new(&job->sampler, q3n_model_info(s->m.model)->n_vocab,
                            s->m.tokenizer, &p, err);
    free(bias);
    return e;
}

static int check_slot(const q3n_server *s, const struct request *r, ggf_error *err)
{
    if (r->slot < (int64_t)s->m.n_slots) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "id_slot must be below %u",
                    s->m.n_slots);
}

static int fill_job(q3n_server *s, const struct request *r, bool chat, struct job *job,
                    ggf_error *err)
{
    job->limit = r->limit;
    job->n_logprobs = (int)r->n_logprobs;
    job->forget = r->forget;
    job->slot = (int)r->slot;
    int e = check_slot(s, r, err);
    if (!e)
        e = chat ? chat_ids(s, r, &job->prompt, &job->thinking, err)
                 : text_ids(s, r->prompt, &job->prompt, err);
    if (!e && !job->prompt.n)
        e = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the prompt is empty");
    if (!e && r->tool_choice == TOOLS_REQUIRED)
        e = demand_grammar(&job->grammar, r, q3n_template_traits(s->m.template).calls,
                           err);
    if (!e && r->json)
        e = q3n_schema_grammar(&job->grammar, r->schema ? r->schema : s->any_object, err);
    if (!e && r->grammar)
        e = q3n_gbnf_parse(&job->grammar, json_string_value(r->grammar),
                           json_string_length(r->grammar), err);
    if (!e && r->n_stops) e = q3n_stops_new(&job->stops, r->stops, r->n_stops, err);
    return e;
}

/* All of a request: jobs[n_choices], of which the first leads the others. */
static int make_jobs(q3n_server *s, const struct request *r, bool chat, struct job **jobs,
                     ggf_error *err)
{
    int e = job_new(&jobs[0], err);
    if (!e) e = fill_job(s, r, chat, jobs[0], err);
    for (int64_t i = 0; !e && i < r->n_choices; i++) {
        if (i) e = job_like(&jobs[i], jobs[0], err);
        if (!e) e = new_sampler(s, r, i, jobs[i], err);
        if (!e) jobs[i]->id = ++s->n_jobs;
    }
    return e;
}

/* The leader at last. */
static void drop_jobs(struct job **jobs)
{
    for (size_t i = REQUEST_MOST_CHOICES; i-- > 0;) job_drop(jobs[i]);
}

/* ---- Requests ---------------------------------------------------------------------- */

static enum MHD_Result start(struct call *call, struct request *r, struct job **jobs,
                             bool chat)
{
    q3n_server *s = call->server;
    struct reply *reply;
    ggf_error err;
    const size_t n_prompt = jobs[0]->prompt.n, n = (size_t)r->n_choices;
    if (n_prompt >= scheduler_totals(s->scheduler).n_ctx) {
        request_free(r);
        drop_jobs(jobs);
        return answer_too_long(call, n_prompt);
    }
    const bool stream = r->stream;
    if (reply_new(&reply, call, r, jobs, chat, &err))
        return answer_error(call, answer_status(&err), err.message);
    if (scheduler_submit(s->scheduler, jobs, n, &err)) {
        reply_free(reply);
        return answer_error(call, 503, err.message);
    }
    return stream ? reply_stream(call, reply) : reply_at_once(call, reply);
}

static enum MHD_Result complete(struct call *call, bool chat)
{
    q3n_server *s = call->server;
    struct request r;
    struct job *jobs[REQUEST_MOST_CHOICES] = { NULL };
    ggf_error err;
    int e = request_parse(&r, call->body ? call->body : "", call->len, chat,
                          &s->m.defaults, &err);
    if (!e) e = make_jobs(s, &r, chat, jobs, &err);
    if (!e) return start(call, &r, jobs, chat);
    request_free(&r);
    drop_jobs(jobs);
    return answer_error(call, answer_status(&err), err.message);
}

enum MHD_Result api_chat(struct call *call) { return complete(call, true); }

enum MHD_Result api_completions(struct call *call) { return complete(call, false); }
