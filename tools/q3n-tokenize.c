/* q3n-tokenize - text to token ids and back, with a model's tokenizer. */
#include "../infer/text/tokenizer.h"
#include "common/chatopt.h"
#include "common/input.h"
#include "common/opt.h"
#include "common/out.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *model, *prompt, *file, *chat;
    bool from_stdin, ids, no_parse_special, show_count, jsonl, decode;
    struct chat_options chat_options;
} opt;

static const struct opt options[] = {
    { "-m, --model", "FILE", OPT_STR, &opt.model, "model or vocabulary (GGUF)" },
    { "-p, --prompt", "TEXT", OPT_STR, &opt.prompt, "the text" },
    { "-f, --file", "FILE", OPT_STR, &opt.file, "read the text from a file" },
    { "--stdin", NULL, OPT_FLAG, &opt.from_stdin, "read the text from standard input" },
    { "--ids", NULL, OPT_FLAG, &opt.ids, "print only the ids, as [1, 2, 3]" },
    { "--no-parse-special", NULL, OPT_FLAG, &opt.no_parse_special,
      "names of control tokens are ordinary text" },
    { "--show-count", NULL, OPT_FLAG, &opt.show_count,
      "print how many tokens there are" },
    { "--jsonl", NULL, OPT_FLAG, &opt.jsonl,
      "for each line {\"text\": ...} on standard input\nprint a line {\"ids\": [...]}" },
    { "--decode", NULL, OPT_FLAG, &opt.decode,
      "print the text of the ids given as arguments,\nor on standard input" },
    { "--chat", "FILE", OPT_STR, &opt.chat,
      "print the prompt that a conversation becomes, or with\n--ids its ids; FILE is "
      "JSON: "
      "an array of messages, or\n{\"messages\": [...], \"tools\": [...],\n"
      "\"add_generation_prompt\": true,\n\"chat_template_kwargs\": {...}}" },
    CHAT_OPTIONS(opt.chat_options),
    { 0 },
};

static const struct opt_program program = {
    .name = "q3n-tokenize",
    .usage = "-m MODEL.gguf (-p TEXT | -f FILE | --stdin | --jsonl | --decode [ID...] | "
             "--chat FILE)",
    .about = "Shows what tokens a model makes of a text.",
    .options = options,
    .max_args = -1,
};

/* ==== Text to ids ========================================================= */

/* With the id that the model wants in front, if any. */
static int encode(const q3n_tokenizer *t, const char *text, size_t len,
                  struct q3n_ids *ids, ggf_error *err)
{
    const int32_t bos = q3n_tokenizer_bos(t);
    ids->n = 0;
    if (bos >= 0 && !q3n_ids_push(ids, bos)) return ggf_no_memory(err);
    return q3n_encode(t, text, len, !opt.no_parse_special, ids, err);
}

static void print_ids(const struct q3n_ids *ids)
{
    putchar('[');
    for (size_t i = 0; i < ids->n; i++) printf("%s%d", i ? ", " : "", ids->ids[i]);
    puts("]");
}

/* A line for each token.  One that is a part of a character shows as U+FFFD. */
static int print_tokens(const q3n_tokenizer *t, const struct q3n_ids *ids, ggf_error *err)
{
    for (size_t i = 0; i < ids->n; i++) {
        const struct ggf_str s = q3n_token_text(t, ids->ids[i]);
        struct q3n_stream stream = { 0 };
        char *shown = malloc(3 * (s.len + 4) + 12);
        if (!shown) return ggf_no_memory(err);
        size_t n = q3n_stream_push(&stream, s.data, s.len, shown);
        n += q3n_stream_end(&stream, shown + n);
        printf("%6d -> '", ids->ids[i]);
        fwrite(shown, 1, n, stdout);
        puts("'");
        free(shown);
    }
    return 0;
}

static int tokenize(const q3n_tokenizer *t, ggf_error *err)
{
    struct input in = { 0 };
    int r = 0;
    if (!opt.prompt) r = input_read(&in, opt.file ? opt.file : "-", err);
    if (r) return r;
    const char *text = opt.prompt ? opt.prompt : in.bytes;
    struct q3n_ids ids = { 0 };
    r = encode(t, text, opt.prompt ? strlen(text) : in.len, &ids, err);
    if (!r && opt.ids) print_ids(&ids);
    else if (!r) r = print_tokens(t, &ids, err);
    if (!r && opt.show_count) printf("Total number of tokens: %zu\n", ids.n);
    q3n_ids_free(&ids);
    free(in.bytes);
    return r;
}

/* ==== JSON lines ========================================================== */

static int encode_line(const q3n_tokenizer *t, const char *line, size_t len,
                       uint64_t number, struct q3n_ids *ids, ggf_error *err)
{
    json_error_t why;
    json_t *doc = json_loadb(line, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "line %llu: %s",
                        (unsigned long long)number, why.text);
    const json_t *text = json_object_get(doc, "text");
    const int r =
        json_is_string(text)
            ? encode(t, json_string_value(text), json_string_length(text), ids, err)
            : ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "line %llu: no string \"text\"",
                       (unsigned long long)number);
    json_decref(doc);
    return r;
}

static int tokenize_lines(const q3n_tokenizer *t, ggf_error *err)
{
    struct q3n_ids ids = { 0 };
    char *line = NULL;
    size_t size = 0;
    int r = 0;
    ssize_t len;
    for (uint64_t number = 1; !r && (len = getline(&line, &size, stdin)) >= 0; number++) {
        r = encode_line(t, line, (size_t)len, number, &ids, err);
        if (r) break;
        printf("{\"ids\": ");
        for (size_t i = 0; i < ids.n; i++) printf("%s%d", i ? ", " : "[", ids.ids[i]);
        puts(ids.n ? "]}" : "[]}");
    }
    free(line);
    q3n_ids_free(&ids);
    return r;
}

/* ==== Ids to text ========================================================= */

static int print_text(const q3n_tokenizer *t, const char *list, const char *what,
                      ggf_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    int r = input_ids(&ids, &n, list, what, err);
    for (size_t i = 0; i < n && !r; i++) {
        if ((uint32_t)ids[i] >= q3n_tokenizer_count(t)) {
            r = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                         "id %d is not below %u, the size of the vocabulary", ids[i],
                         q3n_tokenizer_count(t));
        } else {
            const struct ggf_str s = q3n_token_text(t, ids[i]);
            fwrite(s.data, 1, s.len, stdout);
        }
    }
    free(ids);
    return r;
}

static int decode(const q3n_tokenizer *t, char **args, int n_args, ggf_error *err)
{
    int r = 0;
    for (int i = 0; i < n_args && !r; i++) r = print_text(t, args[i], "argument", err);
    if (n_args || r) return r;
    struct input in;
    r = input_read(&in, "-", err);
    if (r) return r;
    r = print_text(t, in.bytes, "standard input", err);
    free(in.bytes);
    return r;
}

/* ==== Conversations ======================================================= */

/* The conversation in a JSON document goes into the chat; *reply: its start is wanted. */
static int fill_chat(struct chat *c, json_t *doc, bool *reply, ggf_error *err)
{
    json_t *messages = json_is_array(doc) ? doc : json_object_get(doc, "messages");
    json_t *extra = json_object_get(doc, "chat_template_kwargs");
    const json_t *open = json_object_get(doc, "add_generation_prompt");
    if (!json_is_array(messages))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s: no array of messages",
                        opt.chat);
    *reply = !open || json_is_true(open);
    json_decref(c->messages);
    c->messages = json_incref(messages);
    c->tools = json_incref(json_object_get(doc, "tools"));
    if (!c->extra) c->extra = json_incref(extra);
    else if (extra && json_object_update_missing(c->extra, extra))
        return ggf_no_memory(err);
    return 0;
}

static int print_rendered(const q3n_tokenizer *t, const struct q3n_rendered *p,
                          ggf_error *err)
{
    struct q3n_ids ids = { 0 };
    int r = 0;
    if (opt.ids || opt.show_count) r = q3n_rendered_encode(t, p, &ids, err);
    if (!r && opt.ids) print_ids(&ids);
    else if (!r) fwrite(p->text, 1, p->len, stdout);
    if (!r && opt.show_count) printf("Total number of tokens: %zu\n", ids.n);
    q3n_ids_free(&ids);
    return r;
}

static int show_chat(const q3n_tokenizer *t, const ggf_file *file, ggf_error *err)
{
    struct input in = { 0 };
    struct chat c = { 0 };
    struct q3n_rendered p = { 0 };
    json_error_t why = { .text = "" };
    json_t *doc = NULL;
    bool reply = true;
    int r = input_read(&in, opt.chat, err);
    if (!r) r = chat_open(&c, &opt.chat_options, file, t, err);
    if (!r && !(doc = json_loadb(in.bytes, in.len, JSON_ALLOW_NUL, &why)))
        r = ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %d: %s", opt.chat,
                     why.line, why.text);
    if (!r) r = fill_chat(&c, doc, &reply, err);
    if (!r) r = chat_render(&c, reply, &p, err);
    if (!r) r = print_rendered(t, &p, err);
    q3n_rendered_free(&p);
    json_decref(doc);
    chat_close(&c);
    free(in.bytes);
    return r;
}

/* ==== Program ============================================================= */

static int check_options(int n_args)
{
    const int sources =
        !!opt.prompt + !!opt.file + opt.from_stdin + opt.jsonl + opt.decode + !!opt.chat;
    if (!opt.model) return opt_error(&program, "-m MODEL.gguf is missing");
    if (sources != 1)
        return opt_error(&program,
                         "give one of -p, -f, --stdin, --jsonl, --decode and --chat");
    if (n_args && !opt.decode) return opt_error(&program, "arguments need --decode");
    if ((opt.ids || opt.show_count) && (opt.jsonl || opt.decode))
        return opt_error(&program,
                         "--ids and --show-count need -p, -f, --stdin or --chat");
    if (opt.no_parse_special && (opt.decode || opt.chat))
        return opt_error(&program, "--no-parse-special does nothing with --decode and "
                                   "--chat");
    return chat_options(&program, &opt.chat_options, opt.chat != NULL);
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r == OPT_GO) r = check_options(n_args);
    if (r != OPT_GO) return r;
    out_handle_signals();

    ggf_error err;
    ggf_file *file;
    q3n_tokenizer *t;
    r = ggf_open(&file, opt.model,
                 &(struct ggf_open_options){ .header_only = true, .one_shard = true },
                 &err);
    if (r) return out_error(program.name, &err);
    r = q3n_tokenizer_load(&t, file, &err);
    if (r) {
        ggf_close(file);
        return out_error(program.name, &err);
    }
    r = opt.jsonl    ? tokenize_lines(t, &err)
        : opt.chat   ? show_chat(t, file, &err)
        : opt.decode ? decode(t, args, n_args, &err)
                     : tokenize(t, &err);
    q3n_tokenizer_free(t);
    ggf_close(file);
    return out_close_stdout(program.name, r ? out_error(program.name, &err) : 0);
}
