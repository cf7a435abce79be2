/* run_show.c - a reply while it comes: taken apart into thoughts and text, and shown;
 * see run_chat.h. */
#include "run_chat.h"

#include "out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void keep(struct dialog *d, struct words *w, const char *text, size_t len)
{
    if (w->n + len > w->capacity) {
        const size_t room = 2 * (w->n + len);
        char *more = realloc(w->bytes, room);
        if (!more) {
            d->failed = true;
            return;
        }
        w->bytes = more;
        w->capacity = room;
    }
    memcpy(w->bytes + w->n, text, len);
    w->n += len;
}

static void set_dim(struct dialog *d, bool dim)
{
    if (d->dim && dim != d->dimmed) fputs(dim ? "\033[2m" : "\n\n\033[0m", stdout);
    d->dimmed = dim;
}

static void take_content(void *user, const char *text, size_t len)
{
    struct dialog *d = user;
    keep(d, &d->text, text, len);
    if (!d->dim) return;
    set_dim(d, false);
    fwrite(text, 1, len, stdout);
}

static void take_reasoning(void *user, const char *text, size_t len)
{
    struct dialog *d = user;
    keep(d, &d->thoughts, text, len);
    if (!d->dim) return;
    set_dim(d, true);
    fwrite(text, 1, len, stdout);
}

/* From here on the reply has the form that was asked for, if one was. */
static bool constrain(struct dialog *d, bool thinking)
{
    const struct run *run = d->run;
    ggf_error err;
    d->thinking = thinking;
    if (!run->grammar) return true;
    return !q3n_sampler_constrain(run->g.sampler, thinking ? NULL : run->grammar,
                                  thinking ? NULL : run->trie, &err);
}

/* Without colours thoughts keep their marks; the first may be the template's. */
int show_begin(struct dialog *d, bool thinking, ggf_error *err)
{
    const struct q3n_reply_options o = {
        .reasoning = q3n_template_traits(d->run->chat.template).thinking,
        .thinking = thinking,
    };
    const struct q3n_reply_events events = {
        .content = take_content,
        .reasoning = take_reasoning,
        .user = d,
    };
    d->text.n = d->thoughts.n = 0;
    d->failed = d->dimmed = false;
    d->dim = !d->run->o->json && out_colour(stdout);
    if (thinking && !d->dim && !d->run->o->json) fputs("<think>\n", stdout);
    if (!constrain(d, thinking)) return ggf_no_memory(err);
    return q3n_reply_parser_new(&d->parser, &o, &events, err);
}

/* The mark is a token, so it comes in one piece. */
static bool ends_thoughts(const char *text, size_t len)
{
    static const char mark[] = "</think>";
    return memmem(text, len, mark, sizeof mark - 1);
}

int show_emit(void *user, const char *text, size_t len)
{
    struct dialog *d = user;
    ggf_error err;
    run_notice(d->run);
    if (q3n_reply_push(d->parser, text, len, &err)) d->failed = true;
    if (d->thinking && ends_thoughts(text, len) && !constrain(d, false)) d->failed = true;
    if (d->failed) return 1;
    if (!d->run->o->json && !d->dim) fwrite(text, 1, len, stdout);
    return fflush(stdout) || ferror(stdout);
}

int show_end(struct dialog *d, ggf_error *err)
{
    const int r = q3n_reply_end(d->parser, err);
    q3n_reply_parser_free(d->parser);
    d->parser = NULL;
    if (d->dim && d->dimmed) fputs("\033[0m", stdout);
    if (!d->run->o->json) putchar('\n');
    if (fflush(stdout) || ferror(stdout))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                        "cannot write to standard output: %s", strerror(errno));
    return r || !d->failed ? r : ggf_no_memory(err);
}

static const char *reason(enum q3n_stop why)
{
    switch (why) {
    case Q3N_STOP_LIMIT: return "length";
    case Q3N_STOP_EOG: return "end";
    case Q3N_STOP_CONTEXT: return "context";
    case Q3N_STOP_STRING: return "string";
    default: return "interrupted";
    }
}

void show_json(const struct dialog *d, const struct turn *turn)
{
    struct json j = { .f = stdout, .one_line = true };
    json_open(&j, NULL, '{');
    json_strn(&j, "text", d->text.bytes ? d->text.bytes : "", d->text.n);
    if (d->thoughts.n) json_strn(&j, "reasoning", d->thoughts.bytes, d->thoughts.n);
    json_str(&j, "finish", reason(turn->why));
    json_open(&j, "tokens", '{');
    json_u64(&j, "prompt", turn->n_prompt);
    json_u64(&j, "reused", turn->n_reused);
    json_u64(&j, "reply", turn->n_reply);
    json_close(&j, '}');
    json_open(&j, "timings", '{');
    json_f64(&j, "prompt_seconds", turn->prompt_seconds);
    json_f64(&j, "reply_seconds", turn->reply_seconds);
    json_close(&j, '}');
    json_close(&j, '}');
    json_end(&j);
    fflush(stdout);
}
