/* chatml.c - see chatml.h. */
#include "chatml.h"

#include <stdlib.h>
#include <string.h>

#define IM_START "<|im_start|>"
#define IM_END   "<|im_end|>"

int chatml_check(const q3n_tokenizer *t, ggf_error *err)
{
    if (q3n_token_find(t, IM_START) >= 0 && q3n_token_find(t, IM_END) >= 0) return 0;
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "the vocabulary has no " IM_START " and " IM_END " to chat with");
}

static int put_mark(const q3n_tokenizer *t, const char *mark, struct q3n_ids *out,
                    ggf_error *err)
{
    const int r = chatml_check(t, err);
    if (r) return r;
    if (q3n_ids_push(out, q3n_token_find(t, mark))) return 0;
    return ggf_no_memory(err);
}

/* Role, newline and text in one go: a newline may merge with those the text starts with,
 * as it does where a template is rendered first and tokenized afterwards. */
static int put_body(const q3n_tokenizer *t, const char *role, const char *text,
                    size_t len, struct q3n_ids *out, ggf_error *err)
{
    const size_t n = strlen(role);
    char *body = malloc(n + 1 + len);
    if (!body) return ggf_no_memory(err);
    memcpy(body, role, n);
    body[n] = '\n';
    if (len) memcpy(body + n + 1, text, len);
    const int r = q3n_encode(t, body, n + 1 + len, false, out, err);
    free(body);
    return r;
}

int chatml_message(const q3n_tokenizer *t, const char *role, const char *text, size_t len,
                   struct q3n_ids *out, ggf_error *err)
{
    int r = put_mark(t, IM_START, out, err);
    if (!r) r = put_body(t, role, text, len, out, err);
    if (!r) r = chatml_close_reply(t, out, err);
    return r;
}

int chatml_open_reply(const q3n_tokenizer *t, struct q3n_ids *out, ggf_error *err)
{
    const int r = put_mark(t, IM_START, out, err);
    return r ? r : put_body(t, "assistant", "", 0, out, err);
}

int chatml_close_reply(const q3n_tokenizer *t, struct q3n_ids *out, ggf_error *err)
{
    const int r = put_mark(t, IM_END, out, err);
    return r ? r : q3n_encode(t, "\n", 1, false, out, err);
}
