/* chatopt.h - the options that say how conversations become prompts, and a conversation
 * that becomes them; the same in all programs that know chats. */
#ifndef TOOLS_CHATOPT_H
#define TOOLS_CHATOPT_H

#include "../../infer/text/template.h"
#include "opt.h"

struct chat_options {
    const char *file, *text, *kwargs; /* NULL: not given */
    bool jinja, no_jinja;
};

/* Rows for a table of options; o is a struct chat_options. */
#define CHAT_OPTIONS(o)                                                                  \
    { "--chat-template", "TEMPLATE", OPT_STR, &(o).text,                                 \
      "Jinja, or the name of a template that is built in\n(chatml), instead of the "     \
      "model's" },                                                                       \
        { "--chat-template-file", "FILE", OPT_STR, &(o).file, "the same, from a file" }, \
        { "--chat-template-kwargs", "JSON", OPT_STR, &(o).kwargs,                        \
          "variables for it: '{\"enable_thinking\": false}'" },                          \
        { "--jinja", NULL, OPT_FLAG, &(o).jinja,                                         \
          "fail if the model has no template (otherwise: ChatML)" },                     \
    {                                                                                    \
        "--no-jinja", NULL, OPT_FLAG, &(o).no_jinja,                                     \
            "ChatML, whatever template the model has"                                    \
    }

/* OPT_GO, or OPT_USAGE after saying what is wrong.  `used`: there is a conversation. */
int chat_options(const struct opt_program *program, const struct chat_options *o,
                 bool used);

struct chat {
    q3n_template *template;
    json_t *messages, *tools, *extra; /* tools and extra: NULL if there are none */
    char *bos, *eos;                  /* names of the model's tokens, or NULL */
};

/* Find the template and make an empty conversation.  Release with chat_close(), also
 * after a failure.  GGF_E_NOT_FOUND if the vocabulary cannot do ChatML and nothing else
 * is given. */
int chat_open(struct chat *c, const struct chat_options *o, const ggf_file *file,
              const q3n_tokenizer *t, ggf_error *err);
void chat_close(struct chat *c);

/* Append a message; role is "system", "user" or "assistant".  Bytes that are no UTF-8
 * become U+FFFD. */
int chat_say(struct chat *c, const char *role, const char *text, size_t len,
             ggf_error *err);
/* The conversation as the template has it, with the start of a reply if asked for. */
int chat_render(const struct chat *c, bool reply, struct q3n_rendered *out,
                ggf_error *err);

#endif
