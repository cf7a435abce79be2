/* run_command.c - what a user asks of the chat itself; see run_chat.h. */
#include "run_chat.h"

#include "chat_file.h"
#include "out.h"

#include <inttypes.h>
#include <string.h>

static bool has_role(const json_t *message, const char *role)
{
    const char *s = json_string_value(json_object_get(message, "role"));
    return s && !strcmp(s, role);
}

static void say(const char *text) { fprintf(stderr, "%s\n", text); }

/* ==== The commands ======================================================== */
/* NOLINTBEGIN(readability-non-const-parameter): all are of one type */

static int help(struct dialog *d, const char *arg, enum command_result *what,
                ggf_error *err);

/* All but the system message. */
static int clear(struct dialog *d, const char *arg, enum command_result *what,
                 ggf_error *err)
{
    json_t *m = d->run->chat.messages;
    const size_t first = has_role(json_array_get(m, 0), "system");
    (void)arg, (void)what, (void)err;
    for (size_t n = json_array_size(m); n > first; n--) json_array_remove(m, n - 1);
    say("A new conversation.");
    return 0;
}

static int save(struct dialog *d, const char *arg, enum command_result *what,
                ggf_error *err)
{
    (void)what;
    int r = chat_file_write(arg, d->run->chat.messages, d->run->o->force, err);
    if (!r) r = turns_save(d, err);
    if (!r) fprintf(stderr, "Saved to %s.\n", arg);
    return r;
}

static int load(struct dialog *d, const char *arg, enum command_result *what,
                ggf_error *err)
{
    json_t *messages;
    (void)what;
    const int r = chat_file_read(&messages, arg, err);
    if (r) return r;
    json_decref(d->run->chat.messages);
    d->run->chat.messages = messages;
    fprintf(stderr, "%zu messages.\n", json_array_size(messages));
    return 0;
}

static int stats(struct dialog *d, const char *arg, enum command_result *what,
                 ggf_error *err)
{
    const struct run *run = d->run;
    (void)arg, (void)what, (void)err;
    run_print_stats(run, false);
    fprintf(stderr, "context  %10u of %u tokens\n", q3n_session_pos(run->g.session),
            q3n_session_ctx(run->g.session));
    if (!run->cache) return 0;
    char size[24];
    const struct q3n_checkpoint_stats s = q3n_checkpoints_stats(run->cache);
    fprintf(stderr, "kept     %10s for %u states, which spared %" PRIu64 " tokens\n",
            out_size(size, s.ram_bytes), s.in_ram, s.tokens);
    return 0;
}

/* Without a text there is none. */
static int system_message(struct dialog *d, const char *arg, enum command_result *what,
                          ggf_error *err)
{
    struct chat *chat = &d->run->chat;
    (void)what;
    if (has_role(json_array_get(chat->messages, 0), "system"))
        json_array_remove(chat->messages, 0);
    if (!*arg) {
        say("No system message.");
        return 0;
    }
    const int r = chat_say(chat, "system", arg, strlen(arg), err);
    if (r) return r;
    const size_t last = json_array_size(chat->messages) - 1;
    json_t *m = json_incref(json_array_get(chat->messages, last));
    json_array_remove(chat->messages, last);
    say("From the next message on.");
    return json_array_insert_new(chat->messages, 0, m) ? ggf_no_memory(err) : 0;
}

static int regen(struct dialog *d, const char *arg, enum command_result *what,
                 ggf_error *err)
{
    json_t *m = d->run->chat.messages;
    size_t n = json_array_size(m);
    (void)arg;
    while (n && !has_role(json_array_get(m, n - 1), "user")) n--;
    if (!n)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "there is nothing to answer yet");
    while (json_array_size(m) > n) json_array_remove(m, n);
    *what = COMMAND_AGAIN;
    return 0;
}

static int leave(struct dialog *d, const char *arg, enum command_result *what,
                 ggf_error *err)
{
    (void)d, (void)arg, (void)err;
    *what = COMMAND_EXIT;
    return 0;
}

/* ==== The table =========================================================== */

static const struct command {
    const char *name, *arg; /* NULL: takes none; in brackets: may be left out */
    const char *about;
    int (*run)(struct dialog *d, const char *arg, enum command_result *what,
               ggf_error *err);
} commands[] = {
    { "/clear", NULL, "begin a new conversation; the system message stays", clear },
    { "/save", "FILE", "write the conversation as JSON", save },
    { "/load", "FILE", "go on with a conversation that was written", load },
    { "/stats", NULL, "speed, memory, and what is held", stats },
    { "/system", "[TEXT]", "set the system message, or do without one", system_message },
    { "/regen", NULL, "answer the last message again", regen },
    { "/help", NULL, "this list", help },
    { "/exit", NULL, "end the program", leave },
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int help(struct dialog *d, const char *arg, enum command_result *what,
                ggf_error *err)
{
    (void)d, (void)arg, (void)what, (void)err;
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        fprintf(stderr, "%-7s %-6s  %s\n", c->name, c->arg ? c->arg : "", c->about);
    }
    say("\nA line that ends in \\ goes on with the next; from \"\"\" to \"\"\" all lines "
        "are one message.\nA message that starts with / is written with //.  Ctrl-C "
        "stops a reply, Ctrl-D ends.");
    return 0;
}

/* NOLINTEND(readability-non-const-parameter) */

int run_command(struct dialog *d, const char *line, enum command_result *what,
                ggf_error *err)
{
    const size_t n = strcspn(line, " \t\n");
    const char *arg = line + n + strspn(line + n, " \t\n");
    *what = COMMAND_DONE;
    for (int i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &commands[i];
        if (strlen(c->name) != n || memcmp(c->name, line, n) != 0) continue;
        if (*arg && !c->arg)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s takes nothing", c->name);
        if (!*arg && c->arg && *c->arg != '[')
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s wants a %s", c->name,
                            c->arg);
        return c->run(d, arg, what, err);
    }
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "there is no command %.*s; /help lists them", (int)n, line);
}
