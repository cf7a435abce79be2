/* run_chat.c - a conversation: messages of the user, replies of the model; see run.h. */
#include "../../infer/text/chatml.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Compute a message, print the reply, and leave in `ids` what closes it. */
static int take_turn(struct run *run, const char *text, size_t len, struct q3n_ids *ids,
                     ggf_error *err)
{
    int r = chatml_message(run->tokenizer, "user", text, len, ids, err);
    if (!r) r = chatml_open_reply(run->tokenizer, ids, err);
    if (!r) r = run_reply(run, ids, err);
    ids->n = 0;
    if (r) return r;
    *run->stop = 0; /* Ctrl-C ended the reply, not the chat */
    return chatml_close_reply(run->tokenizer, ids, err);
}

static void ask(void)
{
    if (isatty(STDIN_FILENO)) fputs("> ", stderr);
}

/* Lines of standard input up to its end, /exit, or Ctrl-C. */
static int talk(struct run *run, struct q3n_ids *ids, ggf_error *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int r = 0;
    for (ask(); !r && (len = getline(&line, &size, stdin)) >= 0; ask()) {
        if (len && line[len - 1] == '\n') line[--len] = 0;
        if (!strcmp(line, "/exit")) break;
        if (len) r = take_turn(run, line, (size_t)len, ids, err);
        if (r) break;
    }
    free(line);
    return r;
}

int run_chat(struct run *run, ggf_error *err)
{
    const struct run_options *o = run->o;
    struct q3n_ids ids = { 0 };
    struct input in = { 0 };
    int r = 0;
    if (o->system)
        r = chatml_message(run->tokenizer, "system", o->system, strlen(o->system), &ids,
                           err);
    if (!r && (o->prompt || o->file)) {
        r = run_read_prompt(run, &in, err);
        if (!r) r = take_turn(run, in.bytes, in.len, &ids, err);
    }
    if (!r) r = talk(run, &ids, err);
    q3n_ids_free(&ids);
    free(in.bytes);
    return r;
}
