/* test_toolcall.c - replies taken apart: thoughts, text, calls in both forms, and the
 * same from a reply in one piece, byte by byte, and cut anywhere. */
#include "../../infer/text/toolcall.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* ==== What comes out, as text ============================================= */

struct record {
    char text[80000];
    size_t n;
    char last; /* what the end of the text is: c, r, a */
};

static void put(struct record *r, const char *text, size_t len)
{
    ck_assert_uint_lt(r->n + len, sizeof r->text);
    memcpy(r->text + r->n, text, len);
    r->n += len;
    r->text[r->n] = 0;
}

static void begin(struct record *r, char kind)
{
    static const char *const names[] = {
        ['c'] = "|say:", ['r'] = "|think:", ['a'] = "|args:"
    };
    if (r->last != kind) put(r, names[(int)kind], strlen(names[(int)kind]));
    r->last = kind;
}

static void on_content(void *user, const char *text, size_t len)
{
    ck_assert_uint_gt(len, 0);
    begin(user, 'c');
    put(user, text, len);
}

static void on_reasoning(void *user, const char *text, size_t len)
{
    ck_assert_uint_gt(len, 0);
    begin(user, 'r');
    put(user, text, len);
}

static void on_call(void *user, int index, const char *name)
{
    char text[2000];
    struct record *r = user;
    snprintf(text, sizeof text, "|call%d:%s", index, name);
    put(r, text, strlen(text));
    r->last = 0;
}

static void on_arguments(void *user, int index, const char *text, size_t len)
{
    (void)index;
    ck_assert_uint_gt(len, 0);
    begin(user, 'a');
    put(user, text, len);
}

/* The reply in pieces of `size` bytes; 0: pieces of pseudo-random sizes. */
static void take_apart(struct record *r, const char *reply,
                       const struct q3n_reply_options *o, size_t size, unsigned seed)
{
    const struct q3n_reply_events events = { on_content, on_reasoning, on_call,
                                             on_arguments, r };
    q3n_reply_parser *p;
    ggf_error err;
    *r = (struct record){ 0 };
    ck_assert_int_eq(q3n_reply_parser_new(&p, o, &events, &err), 0);
    for (size_t left = strlen(reply), n; left; left -= n, reply += n) {
        seed = seed * 1103515245 + 12345;
        n = size ? size : 1 + (seed >> 16) % 13;
        if (n > left) n = left;
        ck_assert_int_eq(q3n_reply_push(p, reply, n, &err), 0);
    }
    ck_assert_int_eq(q3n_reply_end(p, &err), 0);
    q3n_reply_parser_free(p);
}

/* ==== Replies ============================================================= */

static const struct {
    const char *reply, *want;
    enum q3n_call_form calls;
    bool reasoning, thinking;
} replies[] = {
    { "", "", Q3N_CALLS_JSON, true, false },
    { "Hello\n\nthere.\n", "|say:Hello\n\nthere.\n", Q3N_CALLS_JSON, true, false },
    { "\n\nHello", "|say:Hello", Q3N_CALLS_JSON, true, false },
    { "<think>\nhm\n\nso\n</think>\n\nYes.", "|think:hm\n\nso|say:Yes.", Q3N_CALLS_JSON,
      true, false },
    { "hm\n</think>\n\nYes.", "|think:hm|say:Yes.", Q3N_CALLS_NONE, true, true },
    { "<think>\n\n</think>\n\nYes.", "|say:Yes.", Q3N_CALLS_NONE, true, false },
    { "cut off\n", "|think:cut off\n", Q3N_CALLS_NONE, true, true },
    { "a <think>b</think>", "|say:a <think>b</think>", Q3N_CALLS_NONE, true, false },
    { "<think>b</think>", "|say:<think>b</think>", Q3N_CALLS_NONE, false, false },
    { "<think>a < b <tool_call> </thin</think>c", "|think:a < b <tool_call> </thin|say:c",
      Q3N_CALLS_JSON, true, false },
    { "a < b <tool b <tool_cal", "|say:a < b <tool b <tool_cal", Q3N_CALLS_JSON, true,
      false },
    { "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}\n</tool_call>",
      "|call0:f|args:{\"a\": [1, \"}\"]}", Q3N_CALLS_JSON, true, false },
    { "I look.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
      "{}}\n</tool_call>\n<tool_call>\n"
      "{\"name\":\"g\",\"arguments\":{\"x\":\"\\\"</tool_call>\\\\\"}}\n</tool_call>\n",
      "|say:I look.|call0:f|args:{}|call1:g|args:{\"x\":\"\\\"</tool_call>\\\\\"}",
      Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"arguments\": {\"a\": 1}, \"id\": 5, \"name\": "
      "\"f\"}</tool_call>after",
      "|call0:f|args:{\"a\": 1}|say:after", Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\"}</tool_call>", "|call0:f|args:{}", Q3N_CALLS_JSON,
      true, false },
    { "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
      "|call0:f|args:{\"a\": 1}", Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "|call0:f|args:{}",
      Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call>x",
      "|call0:f|args:{\"a\": 1|say:x", Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\"", "|call0:f|args:{\"a\"",
      Q3N_CALLS_JSON, true, false },
    { "<tool_call>not a call</tool_call>", "|say:<tool_call>not a call</tool_call>",
      Q3N_CALLS_JSON, true, false },
    { "x\n<tool_call>\n{\"nom\": 1}", "|say:x\n<tool_call>\n{\"nom\": 1}", Q3N_CALLS_JSON,
      true, false },
    { "<tool_call>{\"name\": 5}</tool_call>", "|say:<tool_call>{\"name\": 5}</tool_call>",
      Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\", \"argu", "|say:<tool_call>{\"name\": \"f\", \"argu",
      Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\"}", "|call0:f|args:{}", Q3N_CALLS_JSON, true, false },
    { "<tool_call>{\"name\": \"f\"}</tool_call>",
      "|say:<tool_call>{\"name\": \"f\"}</tool_call>", Q3N_CALLS_NONE, true, false },
    { "plan\n</think>\n\n<tool_call>\n<function=f>\n<parameter=s>\ntwo\nlines\n</"
      "parameter>\n"
      "<parameter=n>\n5\n</parameter>\n<parameter=o>\n{\"k\": [1.50]}\n</parameter>\n"
      "</function>\n</tool_call>",
      "|think:plan|call0:f|args:{\"s\": \"two\\nlines\", \"n\": 5, \"o\": {\"k\": "
      "[1.50]}}",
      Q3N_CALLS_XML, true, true },
    { "<tool_call><function=f></function></"
      "tool_call>\n<tool_call>\n<function=g>\n<parameter=q>\n"
      "5\n</parameter>\n</function>\n</tool_call>",
      "|call0:f|args:{}|call1:g|args:{\"q\": \"5\"}", Q3N_CALLS_XML, true, false },
    { "<function=f><parameter=n>x</parameter></function>\n<function=f></function>",
      "|call0:f|args:{\"n\": \"x\"}|call1:f|args:{}", Q3N_CALLS_XML, true, false },
    { "<tool_call>\n<function=f>\n<parameter=s>\n\n\n a </parameter </b> "
      "\n\n</parameter>\n"
      "</tool_call>ok",
      "|call0:f|args:{\"s\": \"\\n\\n a </parameter </b> \\n\"}|say:ok", Q3N_CALLS_XML,
      true, false },
    { "<tool_call>\n<function=f>\n<parameter=u>\nnull\n</parameter><parameter=b>\nTrue\n"
      "</parameter><parameter=b>true</parameter></function>\n</tool_call>",
      "|call0:f|args:{\"u\": null, \"b\": \"True\", \"b\": true}", Q3N_CALLS_XML, true,
      false },
    { "<tool_call>\n<function=f>\n<parameter=s>\ncut", "|call0:f|args:{", Q3N_CALLS_XML,
      true, false },
    { "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
      "|say:<tool_call>\n{\"name\": \"f\"}\n</tool_call>", Q3N_CALLS_XML, true, false },
    { "<function=a\nb>", "|say:<function=a\nb>", Q3N_CALLS_XML, true, false },
    { "\xf0\x9f\x98\x80 \xff gr\xc3\xbc\xc3\x9f",
      "|say:\xf0\x9f\x98\x80 \xef\xbf\xbd gr\xc3\xbc\xc3\x9f", Q3N_CALLS_JSON, true,
      false },
};
#define N_REPLIES ((int)(sizeof replies / sizeof *replies))

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": "
    "{\"properties\": {"
    "\"s\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}, \"o\": {\"type\": "
    "\"object\"},"
    "\"u\": {\"type\": [\"string\", \"null\"]}, \"b\": {\"type\": \"boolean\"}}}}}]";

static struct record got;

START_TEST(reply)
{
    json_t *schema = json_loads(tools, 0, NULL);
    ck_assert_ptr_nonnull(schema);
    const struct q3n_reply_options o = { .calls = replies[_i].calls,
                                         .reasoning = replies[_i].reasoning,
                                         .thinking = replies[_i].thinking,
                                         .tools = schema };
    take_apart(&got, replies[_i].reply, &o, SIZE_MAX, 0);
    ck_assert_str_eq(got.text, replies[_i].want);
    for (size_t size = 1; size < 40; size++) {
        take_apart(&got, replies[_i].reply, &o, size, 0);
        ck_assert_str_eq(got.text, replies[_i].want);
    }
    for (unsigned seed = 0; seed < 50; seed++) {
        take_apart(&got, replies[_i].reply, &o, 0, seed);
        ck_assert_str_eq(got.text, replies[_i].want);
    }
    json_decref(schema);
}
END_TEST

/* Heads of calls end somewhere, at the same byte for all cuts. */
START_TEST(long_head)
{
    static struct record whole;
    const struct q3n_reply_options o = { .calls = Q3N_CALLS_JSON };
    for (int length = 16300; length < 16400; length += 7) {
        char text[20000] = "<tool_call>{\"id\": \"";
        memset(text + strlen(text), 'x', (size_t)length);
        strcat(text, "\", \"name\": \"f\"}</tool_call>");
        take_apart(&whole, text, &o, SIZE_MAX, 0);
        take_apart(&got, text, &o, 997, 0);
        ck_assert_str_eq(got.text, whole.text);
    }
    ck_assert_int_eq(strncmp(whole.text, "|say:<tool_call>", 16), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("toolcall");
    TCase *t = tcase_create("replies");
    tcase_add_loop_test(t, reply, 0, N_REPLIES);
    tcase_add_test(t, long_head);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *sr = srunner_create(suite());
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
