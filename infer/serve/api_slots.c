/* api_slots.c - /slots: what each is doing, and saving, restoring, erasing it. */
#include "server.h"

#include <stdlib.h>
#include <string.h>

/* ---- Looking ----------------------------------------------------------------------- */

static void write_slot(const struct call *call, struct json *j, uint32_t number,
                       const struct slot_view *v, uint32_t n_ctx)
{
    static const char *const phases[] = { "idle", "reading", "generating" };
    (void)call;
    json_open(j, NULL, '{');
    json_u64(j, "id", number);
    json_u64(j, "n_ctx", n_ctx);
    json_bool(j, "is_processing", v->phase != SLOT_IDLE);
    json_str(j, "state", phases[v->phase]);
    json_u64(j, "id_task", v->job);
    json_u64(j, "n_held", v->n_held);
    json_u64(j, "n_prompt", v->counts.n_prompt);
    json_u64(j, "n_prompt_read", v->counts.n_read);
    json_u64(j, "n_prompt_cached", v->counts.n_cached);
    json_u64(j, "n_decoded", v->counts.n_predicted);
    json_close(j, '}');
}

enum MHD_Result api_slots(struct call *call)
{
    const q3n_server *s = call->server;
    const uint32_t n = s->m.n_slots;
    if (!s->o.slots)
        return answer_error(call, 501, "the server was started with --no-slots");
    struct slot_view *views = calloc(n, sizeof *views);
    if (!views) return answer_error(call, 500, "out of memory");
    const uint32_t n_ctx = scheduler_totals(s->scheduler).n_ctx;
    scheduler_views(s->scheduler, views, n);
    struct answer a;
    answer_begin(s, &a);
    json_open(&a.json, NULL, '[');
    for (uint32_t i = 0; i < n; i++) write_slot(call, &a.json, i, &views[i], n_ctx);
    json_close(&a.json, ']');
    free(views);
    return answer_json(call, 200, &a);
}

/* ---- Acting ------------------------------------------------------------------------ */

/* A plain name of a file, which cannot lead out of the folder. */
static bool plain(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/') && strlen(name) <= 200;
}

/* The file that the body names. */
static int path_of(char **out, const struct call *call, ggf_error *err)
{
    const char *folder = call->server->o.save_path;
    json_t *body;
    *out = NULL;
    if (!folder)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "slots are not saved: the server was started without "
                        "--slot-save-path");
    int e = request_json(&body, call->body ? call->body : "", call->len, err);
    if (e) return e;
    const char *name = json_string_value(json_object_get(body, "filename"));
    if (!plain(name))
        e = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "filename must be a name without folders, and not begin with a dot");
    else if (asprintf(out, "%s/%s", folder, name) < 0) {
        *out = NULL;
        e = ggf_no_memory(err);
    }
    json_decref(body);
    return e;
}

static int action_of(const struct call *call, enum slot_action *out, uint32_t *slot,
                     ggf_error *err)
{
    static const char *const names[] = { "save", "restore", "erase" };
    const char *name =
        MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "action");
    char *end;
    const unsigned long n = strtoul(call->path + strlen("/slots/"), &end, 10);
    if (*end || end == call->path + strlen("/slots/") || n >= call->server->m.n_slots)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "there are only the slots 0 to %u",
                        call->server->m.n_slots - 1);
    *slot = (uint32_t)n;
    for (unsigned i = 0; i < 3; i++)
        if (name && !strcmp(name, names[i])) {
            *out = (enum slot_action)i;
            return 0;
        }
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "action must be save, restore or erase");
}

static enum MHD_Result answer_action(const struct call *call, enum slot_action action,
                                     uint32_t slot, uint32_t n)
{
    static const char *const counts[] = { "n_saved", "n_restored", "n_erased" };
    struct answer a;
    answer_begin(call->server, &a);
    json_open(&a.json, NULL, '{');
    json_u64(&a.json, "id_slot", slot);
    json_u64(&a.json, counts[action], n);
    json_close(&a.json, '}');
    return answer_json(call, 200, &a);
}

enum MHD_Result api_slot_action(struct call *call)
{
    const q3n_server *s = call->server;
    enum slot_action action = SLOT_ERASE;
    uint32_t slot = 0, n = 0;
    char *path = NULL;
    ggf_error err;
    if (!s->o.slots)
        return answer_error(call, 501, "the server was started with --no-slots");
    int e = action_of(call, &action, &slot, &err);
    if (!e && action != SLOT_ERASE) e = path_of(&path, call, &err);
    if (!e) e = scheduler_act(s->scheduler, slot, action, path, &n, &err);
    free(path);
    if (e)
        return answer_error(call, e == GGF_E_IO || e == GGF_E_NOMEM ? 500 : 400,
                            err.message);
    return answer_action(call, action, slot, n);
}
