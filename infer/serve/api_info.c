/* api_info.c - what there is: the page, /health, /models, /props, /experts. */
#include "page.h"
#include "server.h"

#include <stdlib.h>

enum MHD_Result api_page(struct call *call)
{
    if (!call->server->o.page)
        return answer_error(call, 404, "the server was started with --no-ui");
    struct MHD_Response *r = MHD_create_response_from_buffer(
        (size_t)q3n_page_bytes, (void *)q3n_page, MHD_RESPMEM_PERSISTENT);
    if (r) {
        MHD_add_response_header(r, "Content-Type", "text/html; charset=utf-8");
        MHD_add_response_header(r, "Cache-Control", "no-cache");
        MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
        MHD_add_response_header(r, "Content-Security-Policy", "frame-ancestors 'none'");
    }
    return answer_send(call, 200, r);
}

enum MHD_Result api_health(struct call *call)
{
    if (call->server->state == SERVER_LOADING)
        return answer_error(call, 503, "Loading model");
    struct answer a;
    answer_begin(call->server, &a);
    json_open(&a.json, NULL, '{');
    json_str(&a.json, "status", "ok");
    json_close(&a.json, '}');
    return answer_json(call, 200, &a);
}

enum MHD_Result api_models(struct call *call)
{
    const q3n_server *s = call->server;
    const struct q3n_model_info *info = q3n_model_info(s->m.model);
    struct answer a;
    answer_begin(s, &a);
    struct json *j = &a.json;
    json_open(j, NULL, '{');
    json_str(j, "object", "list");
    json_open(j, "data", '[');
    json_open(j, NULL, '{');
    json_str(j, "id", s->m.alias);
    json_str(j, "object", "model");
    json_i64(j, "created", s->started);
    json_str(j, "owned_by", "q3n");
    json_open(j, "meta", '{');
    json_u64(j, "n_vocab", info->n_vocab);
    json_u64(j, "n_ctx_train", info->n_ctx_train);
    json_u64(j, "n_embd", info->n_embd);
    json_u64(j, "n_params", info->n_params);
    json_u64(j, "size", info->bytes);
    json_close(j, '}');
    json_close(j, '}');
    json_close(j, ']');
    json_close(j, '}');
    return answer_json(call, 200, &a);
}

/* ---- /props ------------------------------------------------------------------------ */

/* As it was given: 0.8, not the nearest float's 0.800000012. */
static void setting(struct json *j, const char *key, float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", value);
    json_f64(j, key, strtod(text, NULL));
}

static void params(const q3n_server *s, struct json *j)
{
    const struct q3n_sample_params *p = &s->m.defaults.sample;
    json_open(j, "params", '{');
    json_i64(j, "n_predict", s->m.defaults.n_predict);
    if (s->m.defaults.new_seed) json_i64(j, "seed", -1);
    else json_u64(j, "seed", p->seed);
    setting(j, "temperature", p->temp);
    setting(j, "dynatemp_range", p->dynatemp_range);
    setting(j, "dynatemp_exponent", p->dynatemp_exponent);
    json_i64(j, "top_k", p->top_k);
    setting(j, "top_p", p->top_p);
    setting(j, "min_p", p->min_p);
    setting(j, "typical_p", p->typical_p);
    setting(j, "top_n_sigma", p->top_n_sigma);
    setting(j, "xtc_probability", p->xtc_probability);
    setting(j, "xtc_threshold", p->xtc_threshold);
    json_i64(j, "repeat_last_n", p->penalty_last_n);
    setting(j, "repeat_penalty", p->repeat_penalty);
    setting(j, "presence_penalty", p->presence_penalty);
    setting(j, "frequency_penalty", p->frequency_penalty);
    setting(j, "dry_multiplier", p->dry_multiplier);
    setting(j, "dry_base", p->dry_base);
    json_i64(j, "dry_allowed_length", p->dry_allowed_length);
    json_i64(j, "dry_penalty_last_n", p->dry_last_n);
    json_open(j, "samplers", '[');
    for (int i = 0; i < Q3N_N_STEPS && p->steps[i] != Q3N_STEP_NONE; i++)
        json_str(j, NULL, q3n_sample_step_name(p->steps[i]));
    json_close(j, ']');
    json_close(j, '}');
}

enum MHD_Result api_props(struct call *call)
{
    const q3n_server *s = call->server;
    const struct scheduler_totals totals = scheduler_totals(s->scheduler);
    struct answer a;
    answer_begin(s, &a);
    struct json *j = &a.json;
    json_open(j, NULL, '{');
    json_open(j, "default_generation_settings", '{');
    json_u64(j, "n_ctx", totals.n_ctx);
    params(s, j);
    json_close(j, '}');
    json_u64(j, "total_slots", totals.n_slots);
    json_str(j, "model_alias", s->m.alias);
    json_str(j, "model_path", s->m.path);
    json_str(j, "chat_template", q3n_template_source(s->m.template));
    json_str(j, "bos_token", s->m.bos ? s->m.bos : "");
    json_str(j, "eos_token", s->m.eos ? s->m.eos : "");
    json_open(j, "modalities", '{');
    json_bool(j, "vision", false);
    json_bool(j, "audio", false);
    json_close(j, '}');
    json_str(j, "build_info", ggf_version());
    json_close(j, '}');
    return answer_json(call, 200, &a);
}

/* ---- /experts ---------------------------------------------------------------------- */

/* Where the experts that were used came from, since the start. */
enum MHD_Result api_experts(struct call *call)
{
    struct q3n_expert_stats e;
    struct answer a;
    q3n_model_expert_stats(call->server->m.model, &e);
    answer_begin(call->server, &a);
    struct json *j = &a.json;
    json_open(j, NULL, '{');
    json_u64(j, "mapped", e.mapped);
    json_u64(j, "hits", e.hits);
    json_u64(j, "misses", e.misses);
    json_u64(j, "evictions", e.evictions);
    json_u64(j, "reads", e.reads);
    json_u64(j, "read_bytes", e.read_bytes);
    json_f64(j, "read_seconds", e.read_seconds);
    json_f64(j, "wait_seconds", e.wait_seconds);
    json_u64(j, "guesses", e.guesses);
    json_u64(j, "guesses_used", e.guesses_used);
    json_u64(j, "slot_bytes", e.slot_bytes);
    json_u64(j, "slot_bytes_free", e.slot_bytes_free);
    json_close(j, '}');
    return answer_json(call, 200, &a);
}
