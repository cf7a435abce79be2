/* fuzz_toolcall.c - a byte of options, then a reply: taken apart whole, byte by byte and
 * in pieces, it must give the same thoughts, text and calls, all of it UTF-8. */
#include "../../infer/text/toolcall.h"
#include "../../infer/text/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(x)                                                                         \
    do {                                                                                 \
        if (!(x)) __builtin_trap();                                                      \
    } while (0)

/* All events as one text; neighbours of a kind are one. */
struct record {
    char *text;
    size_t n, capacity;
    char last;
};

static void put(struct record *r, const char *text, size_t len)
{
    if (r->n + len > r->capacity) {
        r->capacity = 2 * (r->n + len);
        r->text = realloc(r->text, r->capacity);
        CHECK(r->text);
    }
    memcpy(r->text + r->n, text, len);
    r->n += len;
}

static void add(struct record *r, char kind, const char *text, size_t len)
{
    CHECK(len);
    if (r->last != kind) put(r, &kind, 1);
    r->last = kind;
    put(r, text, len);
}

static void on_content(void *user, const char *text, size_t len)
{
    add(user, 1, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    add(user, 2, text, len);
}

static void on_call(void *user, int index, const char *name)
{
    const char number = (char)index;
    struct record *r = user;
    r->last = 0;
    put(r, &number, 1);
    put(r, name, strlen(name) + 1);
}

static void on_arguments(void *user, int index, const char *text, size_t len)
{
    CHECK(index >= 0);
    add(user, 3, text, len);
}

static struct record take_apart(const char *text, size_t len, size_t piece,
                                const struct q3n_reply_options *o)
{
    struct record r = { 0 };
    const struct q3n_reply_events events = { on_content, on_reasoning, on_call,
                                             on_arguments, &r };
    q3n_reply_parser *p;
    CHECK(!q3n_reply_parser_new(&p, o, &events, NULL));
    for (size_t i = 0, n; i < len; i += n) {
        n = len - i < piece ? len - i : piece;
        CHECK(!q3n_reply_push(p, text + i, n, NULL));
    }
    CHECK(!q3n_reply_end(p, NULL));
    q3n_reply_parser_free(p);
    return r;
}

static json_t *schema(void)
{
    static json_t *tools;
    if (!tools)
        tools =
            json_pack("[{s:{s:s, s:{s:{s:{s:s}, s:{s:s}, s:{s:[s,s]}}}}}]", "function",
                      "name", "f", "parameters", "properties", "s", "type", "string", "n",
                      "type", "integer", "o", "type", "object", "null");
    return tools;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const size_t pieces[] = { 1, 2, 7, 64 };
    if (!len) return 0;
    const struct q3n_reply_options o = { .calls = bytes[0] % 3,
                                         .reasoning = bytes[0] & 4,
                                         .thinking = (bytes[0] & 12) == 12,
                                         .tools = bytes[0] & 16 ? schema() : NULL };
    const char *text = (const char *)bytes + 1;
    struct record whole = take_apart(text, len - 1, len, &o);
    unsigned n;
    for (size_t i = 0; i < whole.n; i += n)
        CHECK(utf8_decode((const uint8_t *)whole.text + i, whole.n - i, &n) != UTF8_BAD);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct record r = take_apart(text, len - 1, pieces[i], &o);
        CHECK(r.n == whole.n && (!r.n || !memcmp(r.text, whole.text, r.n)));
        free(r.text);
    }
    free(whole.text);
    return 0;
}
