/* run_chat.c - a conversation: messages of the user, replies of the model; see run.h. */
#include "run_chat.h"

#include "out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void after_reply(const struct dialog *d, const struct turn *turn)
{
    const q3n_session *s = d->run->g.session;
    if (turn->answered && d->run->o->json) show_json(d, turn);
    if (!turn->answered) fputs("\nInterrupted before the reply began.\n", stderr);
    if (turn->why == Q3N_STOP_CONTEXT)
        fprintf(stderr,
                "\n" RUN_NAME ": the context is full: %u tokens are held; /clear starts "
                "anew\n",
                q3n_session_pos(s));
}

/* Answer the conversation as it is now.  Without an answer it is again what it was. */
static int answer(struct dialog *d, json_t *before, ggf_error *err)
{
    struct run *run = d->run;
    struct turn turn = { 0 };
    const int r = turn_reply(d, &turn, err);
    if (!turn.answered) {
        json_t *now = run->chat.messages;
        run->chat.messages = json_incref(before);
        json_decref(now);
    }
    *run->stop = 0; /* Ctrl-C ended the reply, not the chat */
    if (!r) after_reply(d, &turn);
    return r;
}

/* A message, or NULL: what a command wants. */
static int take_message(struct dialog *d, const char *text, size_t len, bool *over,
                        ggf_error *err)
{
    struct chat *chat = &d->run->chat;
    enum command_result what = COMMAND_AGAIN;
    const bool command = len && text[0] == '/' && (len < 2 || text[1] != '/');
    const size_t skip = len > 1 && text[0] == '/' && text[1] == '/';
    json_t *before = json_copy(chat->messages);
    if (!before) return ggf_no_memory(err);
    int r = command ? run_command(d, text, &what, err)
                    : chat_say(chat, "user", text + skip, len - skip, err);
    if (!r && what == COMMAND_AGAIN) r = answer(d, before, err);
    *over = what == COMMAND_EXIT || (!command && d->run->o->single_turn);
    json_decref(before);
    return r;
}

/* At a terminal a mistake is said, and the chat goes on; else it ends it. */
static int forgive(const struct dialog *d, int r, ggf_error *err)
{
    if (!r || !line_is_terminal(d->lines) || d->run->o->single_turn) return r;
    if (r == GGF_E_NOMEM || ferror(stdout)) return r;
    out_error(RUN_NAME, err);
    return 0;
}

/* Messages up to the end of the input, /exit, or Ctrl-C twice. */
static int talk(struct dialog *d, bool over, ggf_error *err)
{
    bool interrupted = false; /* once already */
    int r = 0;
    while (!r && !over) {
        char *text;
        size_t len;
        const enum line_result e = line_read(d->lines, &text, &len);
        if (e == LINE_FAILED)
            return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                            "cannot read the next message: %s", strerror(errno));
        if (e == LINE_INTERRUPTED && line_is_terminal(d->lines) && !interrupted) {
            fputs("\nCtrl-C again, or Ctrl-D, ends the chat.\n", stderr);
            *d->run->stop = 0;
            interrupted = true;
            continue;
        }
        if (e != LINE_MESSAGE) break;
        interrupted = false;
        if (len) r = forgive(d, take_message(d, text, len, &over, err), err);
    }
    return r;
}

static int say_system(struct dialog *d, ggf_error *err)
{
    const struct run_options *o = d->run->o;
    struct input in = { 0 };
    if (o->system)
        return chat_say(&d->run->chat, "system", o->system, strlen(o->system), err);
    int r = o->system_file ? input_read(&in, o->system_file, err) : 0;
    if (in.len && in.bytes[in.len - 1] == '\n') in.len--; /* as of -f */
    if (!r && o->system_file)
        r = chat_say(&d->run->chat, "system", in.bytes, in.len, err);
    free(in.bytes);
    return r;
}

/* The message on the command line is never a command. */
static int first_message(struct dialog *d, ggf_error *err)
{
    struct input in = { 0 };
    json_t *before = json_copy(d->run->chat.messages);
    int r = before ? run_read_prompt(d->run, &in, err) : ggf_no_memory(err);
    if (!r) r = chat_say(&d->run->chat, "user", in.bytes, in.len, err);
    if (!r) r = answer(d, before, err);
    free(in.bytes);
    json_decref(before);
    return r;
}

int run_chat(struct run *run, ggf_error *err)
{
    const struct run_options *o = run->o;
    struct dialog d = { .run = run };
    const bool first = o->prompt || o->file;
    run->g.emit = show_emit;
    run->g.user = &d;
    int r = line_open(&d.lines, RUN_NAME, err);
    if (!r) r = turns_open(&d, err);
    if (!r) r = say_system(&d, err);
    if (!r && first) r = forgive(&d, first_message(&d, err), err);
    if (!r) r = talk(&d, first && o->single_turn, err);
    if (!r) r = turns_save(&d, err);
    turns_close(&d);
    line_close(d.lines);
    return r;
}
