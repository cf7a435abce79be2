/* answer.c - responses: JSON and errors; see server.h. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

void answer_begin(const q3n_server *s, struct answer *a)
{
    *a = (struct answer){ .json.one_line = true };
    a->json.f = open_memstream(&a->bytes, &a->len);
    if (!a->json.f) a->json.f = s->nowhere;
}

bool answer_end(const q3n_server *s, struct answer *a)
{
    if (a->json.f == s->nowhere) return false;
    const bool ok = !ferror(a->json.f);
    if (!fclose(a->json.f) && ok) return true;
    free(a->bytes);
    a->bytes = NULL;
    return false;
}

/* When there is no memory for anything else. */
static struct MHD_Response *out_of_memory(void)
{
    static char text[] = "{\"error\": {\"code\": 500, \"message\": \"out of memory\", "
                         "\"type\": \"server_error\"}}";
    return MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
}

enum MHD_Result answer_send(const struct call *call, unsigned status,
                            struct MHD_Response *response)
{
    const char *origin;
    if (!response) return MHD_NO;
    MHD_add_response_header(response, "Server", "q3n");
    if (allow_origin(call, &origin) && origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
        MHD_add_response_header(response, "Vary", "Origin");
    }
    const enum MHD_Result r = MHD_queue_response(call->connection, status, response);
    MHD_destroy_response(response);
    return r;
}

static enum MHD_Result send_bytes(const struct call *call, unsigned status,
                                  const char *type, struct answer *a)
{
    struct MHD_Response *r;
    if (answer_end(call->server, a)) {
        r = MHD_create_response_from_buffer(a->len, a->bytes, MHD_RESPMEM_MUST_FREE);
        if (!r) free(a->bytes);
    } else {
        status = 500;
        r = out_of_memory();
    }
    if (r) MHD_add_response_header(r, "Content-Type", type);
    if (r && status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    return answer_send(call, status, r);
}

enum MHD_Result answer_json(const struct call *call, unsigned status, struct answer *a)
{
    return send_bytes(call, status, "application/json; charset=utf-8", a);
}

enum MHD_Result answer_text(const struct call *call, const char *type, struct answer *a)
{
    return send_bytes(call, 200, type, a);
}

static const char *error_type(unsigned status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 500: return "server_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default: return "invalid_request_error";
    }
}

void answer_error_member(struct json *j, unsigned status, const char *message)
{
    json_open(j, "error", '{');
    json_u64(j, "code", status);
    json_str(j, "message", message);
    json_str(j, "type", error_type(status));
    json_close(j, '}');
}

enum MHD_Result answer_error(const struct call *call, unsigned status,
                             const char *message)
{
    struct answer a;
    answer_begin(call->server, &a);
    json_open(&a.json, NULL, '{');
    answer_error_member(&a.json, status, message);
    json_close(&a.json, '}');
    return answer_json(call, status, &a);
}

enum MHD_Result answer_too_long(const struct call *call, size_t n_prompt)
{
    const uint32_t n_ctx = scheduler_totals(call->server->scheduler).n_ctx;
    struct answer a;
    char message[160];
    snprintf(message, sizeof message,
             "the prompt of %zu tokens leaves no room in the context of %u tokens; "
             "nothing is cut off",
             n_prompt, n_ctx);
    answer_begin(call->server, &a);
    json_open(&a.json, NULL, '{');
    json_open(&a.json, "error", '{');
    json_u64(&a.json, "code", 400);
    json_str(&a.json, "message", message);
    json_str(&a.json, "type", "exceed_context_size_error");
    json_u64(&a.json, "n_prompt_tokens", n_prompt);
    json_u64(&a.json, "n_ctx", n_ctx);
    json_close(&a.json, '}');
    json_close(&a.json, '}');
    return answer_json(call, 400, &a);
}

unsigned answer_status(const ggf_error *err)
{
    return err->code == GGF_E_ARG ? 400 : 500;
}
