/* api_text.c - text and tokens: /tokenize, /detokenize, /apply-template. */
#include "completion.h"

#include <stdlib.h>
#include <string.h>

static enum MHD_Result refuse(const struct call *call, const ggf_error *err)
{
    return answer_error(call, answer_status(err), err->message);
}

static int body_of(json_t **out, const struct call *call, ggf_error *err)
{
    return request_json(out, call->body ? call->body : "", call->len, err);
}

/* A switch of the body; `otherwise` if it is not there. */
static int switch_of(bool *out, const json_t *body, const char *name, bool otherwise,
                     ggf_error *err)
{
    const json_t *v = json_object_get(body, name);
    *out = v ? json_is_true(v) : otherwise;
    if (!v || json_is_boolean(v)) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s must be true or false", name);
}

/* ---- /tokenize --------------------------------------------------------------------- */

/* Text as a string, or as bytes if it is a part of a character. */
static void write_piece(struct json *j, const struct ggf_str text)
{
    json_t *s = json_stringn(text.data, text.len);
    if (s) {
        json_strn(j, "piece", text.data, text.len);
        json_decref(s);
        return;
    }
    json_open(j, "piece", '[');
    for (size_t i = 0; i < text.len; i++) json_u64(j, NULL, (uint8_t)text.data[i]);
    json_close(j, ']');
}

static enum MHD_Result answer_ids(const struct call *call, const struct q3n_ids *ids,
                                  bool pieces)
{
    struct answer a;
    answer_begin(call->server, &a);
    json_open(&a.json, NULL, '{');
    json_open(&a.json, "tokens", '[');
    for (size_t i = 0; i < ids->n; i++) {
        if (!pieces) {
            json_i64(&a.json, NULL, ids->ids[i]);
            continue;
        }
        json_open(&a.json, NULL, '{');
        json_i64(&a.json, "id", ids->ids[i]);
        write_piece(&a.json, q3n_token_text(call->server->m.tokenizer, ids->ids[i]));
        json_close(&a.json, '}');
    }
    json_close(&a.json, ']');
    json_close(&a.json, '}');
    return answer_json(call, 200, &a);
}

enum MHD_Result api_tokenize(struct call *call)
{
    const q3n_tokenizer *t = call->server->m.tokenizer;
    struct q3n_ids ids = { 0 };
    json_t *body;
    ggf_error err;
    bool add = false, special = true, pieces = false;
    int e = body_of(&body, call, &err);
    if (!e) e = switch_of(&add, body, "add_special", false, &err);
    if (!e) e = switch_of(&special, body, "parse_special", true, &err);
    if (!e) e = switch_of(&pieces, body, "with_pieces", false, &err);
    const json_t *text = json_object_get(body, "content");
    if (!e && !json_is_string(text))
        e = ggf_fail(&err, GGF_E_ARG, GGF_NO_OFFSET, "content must be a string");
    if (!e && add && q3n_tokenizer_bos(t) >= 0 &&
        !q3n_ids_push(&ids, q3n_tokenizer_bos(t)))
        e = ggf_no_memory(&err);
    if (!e)
        e = q3n_encode(t, json_string_value(text), json_string_length(text), special,
                       &ids, &err);
    json_decref(body);
    const enum MHD_Result r = e ? refuse(call, &err) : answer_ids(call, &ids, pieces);
    q3n_ids_free(&ids);
    return r;
}

/* ---- /detokenize ------------------------------------------------------------------- */

static void write_text(struct json *j, const q3n_tokenizer *t, const struct q3n_ids *ids)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    for (size_t i = 0; f && i < ids->n; i++) {
        const struct ggf_str s = q3n_token_text(t, ids->ids[i]);
        fwrite(s.data, 1, s.len, f);
    }
    if (f) fclose(f);
    json_strn(j, "content", text ? text : "", len);
    free(text);
}

enum MHD_Result api_detokenize(struct call *call)
{
    struct q3n_ids ids = { 0 };
    json_t *body;
    ggf_error err;
    int e = body_of(&body, call, &err);
    const json_t *tokens = json_object_get(body, "tokens");
    if (!e && !json_is_array(tokens))
        e = ggf_fail(&err, GGF_E_ARG, GGF_NO_OFFSET, "tokens must be an array");
    if (!e) e = completion_ids(call->server, tokens, "tokens", &ids, &err);
    json_decref(body);
    enum MHD_Result r;
    if (e) {
        r = refuse(call, &err);
    } else {
        struct answer a;
        answer_begin(call->server, &a);
        json_open(&a.json, NULL, '{');
        write_text(&a.json, call->server->m.tokenizer, &ids);
        json_close(&a.json, '}');
        r = answer_json(call, 200, &a);
    }
    q3n_ids_free(&ids);
    return r;
}

/* ---- /apply-template --------------------------------------------------------------- */

enum MHD_Result api_apply_template(struct call *call)
{
    const q3n_server *s = call->server;
    struct request request;
    struct q3n_rendered prompt;
    ggf_error err;
    int e = request_parse(&request, call->body ? call->body : "", call->len, true,
                          &s->m.defaults, &err);
    if (!e) e = completion_render(s, &request, &prompt, &err);
    request_free(&request);
    if (e) return refuse(call, &err);
    struct answer a;
    answer_begin(s, &a);
    json_open(&a.json, NULL, '{');
    json_strn(&a.json, "prompt", prompt.text, prompt.len);
    json_close(&a.json, '}');
    q3n_rendered_free(&prompt);
    return answer_json(call, 200, &a);
}
