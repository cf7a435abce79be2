/* run_chat.h - what q3n-run's conversation is made of: the turns (run_turn.c), how
 * replies are shown (run_show.c), commands (run_command.c), the loop over messages
 * (run_chat.c). */
#ifndef TOOLS_RUN_CHAT_H
#define TOOLS_RUN_CHAT_H

#include "../../infer/text/toolcall.h"
#include "line.h"
#include "run.h"

struct words {
    char *bytes;
    size_t n, capacity;
};

struct dialog {
    struct run *run;
    struct line_reader *lines;
    struct q3n_ids held; /* what the session, or a checkpoint, holds, and the token of a
                            reply that comes next */
    int32_t mark;        /* the token that begins a message, -1: unknown */

    /* The reply in hand. */
    q3n_reply_parser *parser;
    struct words text, thoughts; /* what it says, taken apart */
    bool thinking;               /* the form of replies waits until thoughts end */
    bool failed;                 /* no memory for that */
    bool dim;                    /* thoughts are shown dimmed, not marked */
    bool dimmed;                 /* now */
};

/* What a reply took. */
struct turn {
    enum q3n_stop why; /* it ended */
    bool answered;     /* there is a reply, if only the beginning of one */
    uint32_t n_prompt, n_reused, n_reply; /* tokens: in all, not computed again, new */
    double prompt_seconds, reply_seconds;
};

/* ---- run_turn.c ---- */

/* Checkpoints as the options say, and what the file of --prompt-cache knows. */
int turns_open(struct dialog *d, ggf_error *err);
void turns_close(struct dialog *d);

/* Answer what was said, and append the reply to the conversation; not when that fails,
 * or is interrupted before the reply begins. */
int turn_reply(struct dialog *d, struct turn *turn, ggf_error *err);

/* The tokens of now to the file of --prompt-cache, if there is one. */
int turns_save(struct dialog *d, ggf_error *err);

/* ---- run_show.c ---- */

/* A reply begins; `thinking`: inside of thoughts. */
int show_begin(struct dialog *d, bool thinking, ggf_error *err);
/* For g.emit; `user` is the dialog. */
int show_emit(void *user, const char *text, size_t len);
int show_end(struct dialog *d, ggf_error *err);
/* What --json prints of it. */
void show_json(const struct dialog *d, const struct turn *turn);

/* ---- run_command.c ---- */

enum command_result {
    COMMAND_DONE,
    COMMAND_AGAIN, /* the last message wants another reply */
    COMMAND_EXIT,
};

/* A line that starts with '/', NUL-terminated. */
int run_command(struct dialog *d, const char *line, enum command_result *what,
                ggf_error *err);

#endif
