/* run_chat.c - a conversation: messages of the user, replies of the model; see run.h. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the model has said is kept, for the next prompt. */
static int keep_and_emit(void *user, const char *text, size_t len)
{
    struct run *run = user;
    struct run_text *said = &run->said;
    if (said->n + len > said->capacity) {
        const size_t n = 2 * (said->n + len);
        char *more = realloc(said->bytes, n);
        if (!more) return 1; /* ends the reply */
        said->bytes = more;
        said->capacity = n;
    }
    memcpy(said->bytes + said->n, text, len);
    said->n += len;
    return run_emit(run, text, len);
}

/* Drop from a prompt's tokens those that the session holds.  A template may say what was
 * before in other words (without earlier thoughts, say): then all is read anew. */
static void drop_held(struct run *run, struct q3n_ids *ids)
{
    q3n_session *s = run->g.session;
    const size_t held = q3n_session_pos(s);
    run->g.pending = -1; /* the prompt has it */
    if (held < ids->n &&
        !memcmp(ids->ids, q3n_session_tokens(s), held * sizeof *ids->ids)) {
        ids->n -= held;
        memmove(ids->ids, ids->ids + held, ids->n * sizeof *ids->ids);
    } else {
        q3n_session_reset(s);
    }
}

/* Compute a message and print the reply. */
static int take_turn(struct run *run, const char *text, size_t len, ggf_error *err)
{
    struct q3n_rendered p = { 0 };
    struct q3n_ids ids = { 0 };
    int r = chat_say(&run->chat, "user", text, len, err);
    if (!r) r = chat_render(&run->chat, true, &p, err);
    if (!r) r = q3n_rendered_encode(run->tokenizer, &p, &ids, err);
    if (!r && !ids.n) r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the prompt is empty");
    if (!r) drop_held(run, &ids);
    run->said.n = 0;
    if (!r) r = run_reply(run, &ids, err);
    if (!r) r = chat_say(&run->chat, "assistant", run->said.bytes, run->said.n, err);
    *run->stop = 0; /* Ctrl-C ended the reply, not the chat */
    q3n_rendered_free(&p);
    q3n_ids_free(&ids);
    return r;
}

static void ask(void)
{
    if (isatty(STDIN_FILENO)) fputs("> ", stderr);
}

/* Lines of standard input up to its end, /exit, or Ctrl-C. */
static int talk(struct run *run, ggf_error *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int r = 0;
    for (ask(); !r && (len = getline(&line, &size, stdin)) >= 0; ask()) {
        if (len && line[len - 1] == '\n') line[--len] = 0;
        if (!strcmp(line, "/exit")) break;
        if (len) r = take_turn(run, line, (size_t)len, err);
        if (r) break;
    }
    free(line);
    return r;
}

int run_chat(struct run *run, ggf_error *err)
{
    const struct run_options *o = run->o;
    struct input in = { 0 };
    int r = 0;
    run->g.emit = keep_and_emit;
    if (o->system) r = chat_say(&run->chat, "system", o->system, strlen(o->system), err);
    if (!r && (o->prompt || o->file)) {
        r = run_read_prompt(run, &in, err);
        if (!r) r = take_turn(run, in.bytes, in.len, err);
    }
    if (!r) r = talk(run, err);
    free(in.bytes);
    free(run->said.bytes);
    return r;
}
