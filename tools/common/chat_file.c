/* chat_file.c - see chat_file.h. */
#include "chat_file.h"

#include "input.h"

#include <stdlib.h>
#include <string.h>

static int write_text(const char *path, const char *text, bool force, ggf_error *err)
{
    ggf_output *out = NULL;
    const size_t n = strlen(text);
    int r = ggf_output_create(&out, path, force, err);
    if (r) return r;
    r = ggf_output_write(out, 0, text, n, err);
    if (!r) r = ggf_output_write(out, n, "\n", 1, err);
    if (!r) return ggf_output_commit(out, err);
    ggf_output_discard(out);
    return r;
}

int chat_file_write(const char *path, const json_t *messages, bool force, ggf_error *err)
{
    json_t *doc = json_pack("{s:O}", "messages", messages);
    char *text = doc ? json_dumps(doc, JSON_INDENT(2)) : NULL;
    const int r = text ? write_text(path, text, force, err) : ggf_no_memory(err);
    free(text);
    json_decref(doc);
    return r;
}

/* What templates go through must be there. */
static int check(const json_t *messages, const char *path, ggf_error *err)
{
    size_t i;
    const json_t *m;
    if (!json_is_array(messages))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s: no array of messages",
                        path);
    json_array_foreach(
        messages, i,
        m) if (!json_is_string(json_object_get(m, "role")) ||
               !json_is_string(json_object_get(
                   m,
                   "content"))) return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                                                "%s: message %zu has no role or no text",
                                                path, i + 1);
    return 0;
}

int chat_file_read(json_t **messages, const char *path, ggf_error *err)
{
    struct input in = { 0 };
    json_error_t why = { .text = "" };
    *messages = NULL;
    int r = input_read(&in, path, err);
    if (r) return r;
    json_t *doc =
        json_loadb(in.bytes, in.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    free(in.bytes);
    if (!doc)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %d: %s", path,
                        why.line, why.text);
    json_t *list = json_is_array(doc) ? doc : json_object_get(doc, "messages");
    r = check(list, path, err);
    if (!r) *messages = json_incref(list);
    json_decref(doc);
    return r;
}
