/* What a request says, and what a reply looks like on the wire; no sockets, no model. */
#include "../../infer/serve/reply.h"

#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* ---- Requests ---------------------------------------------------------------------- */

static const struct request_defaults *defaults(void)
{
    static struct request_defaults d;
    d = (struct request_defaults){ .sample = q3n_sample_defaults(),
                                   .n_predict = 77,
                                   .reasoning = true };
    return &d;
}

static void parse(struct request *r, const char *text, bool chat)
{
    ggf_error err;
    const int e = request_parse(r, text, strlen(text), chat, defaults(), &err);
    ck_assert_msg(!e, "%s: %s", text, err.message);
}

START_TEST(members_are_taken)
{
    struct request r;
    parse(&r,
          "{\"prompt\": \"a\", \"temperature\": 0.5, \"top_k\": 7, \"max_tokens\": 9,"
          " \"stop\": [\"x\", \"y\"], \"seed\": 5, \"logit_bias\": [[3, false], [4, 2]],"
          " \"samplers\": [\"top_k\", \"temperature\"], \"user\": {\"any\": 1},"
          " \"logprobs\": 4, \"top_p\": null}",
          false);
    ck_assert_float_eq(r.sample.temp, 0.5f);
    ck_assert_int_eq(r.sample.top_k, 7);
    ck_assert_float_eq(r.sample.top_p, defaults()->sample.top_p);
    ck_assert_int_eq(r.limit, 9);
    ck_assert_int_eq(r.n_stops, 2);
    ck_assert_str_eq(r.stops[1], "y");
    ck_assert_int_eq(r.sample.seed, 5);
    ck_assert_int_eq(r.sample.n_bias, 2);
    ck_assert(r.sample.bias[0].bias < -1e30f && r.sample.bias[1].id == 4);
    ck_assert_int_eq(r.sample.steps[0], Q3N_STEP_TOP_K);
    ck_assert_int_eq(r.sample.steps[2], Q3N_STEP_NONE);
    ck_assert_int_eq(r.n_logprobs, 4);
    request_free(&r);
    parse(&r, "{\"prompt\": [1, 2]}", false);
    ck_assert_int_eq(r.limit, 77);
    ck_assert_int_eq(r.n_logprobs, -1);
    request_free(&r);
    parse(&r,
          "{\"prompt\": \"a\\u0000b\", \"max_tokens\": 2.0, \"seed\": 1e3, \"top_k\": -1,"
          " \"suffix\": \"\", \"logprobs\": 3.0}",
          false);
    ck_assert_int_eq(r.limit, 2);
    ck_assert_int_eq(r.sample.seed, 1000);
    ck_assert_int_eq(r.sample.top_k, -1);
    ck_assert_int_eq(r.n_logprobs, 3);
    ck_assert_uint_eq(json_string_length(r.prompt), 3);
    request_free(&r);
}
END_TEST

/* What says nothing is as good as not there. */
START_TEST(empty_members)
{
    struct request r;
    parse(&r,
          "{\"messages\": [{\"role\": \"user\"}], \"stop\": [\"\", \"x\", \"\"],"
          " \"functions\": [], \"function_call\": null}",
          true);
    ck_assert_int_eq(r.n_stops, 1);
    ck_assert_str_eq(r.stops[0], "x");
    request_free(&r);
}
END_TEST

START_TEST(contents_become_text)
{
    struct request r;
    parse(&r,
          "{\"messages\": [{\"role\": \"developer\", \"content\": [{\"type\": \"text\","
          " \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]},"
          " {\"role\": \"assistant\", \"content\": null}, {\"role\": \"user\"}]}",
          true);
    const json_t *m = json_array_get(r.messages, 0);
    ck_assert_str_eq(json_string_value(json_object_get(m, "role")), "system");
    ck_assert_str_eq(json_string_value(json_object_get(m, "content")), "a\nb");
    for (size_t i = 1; i < 3; i++) {
        m = json_array_get(r.messages, i);
        ck_assert_str_eq(json_string_value(json_object_get(m, "content")), "");
    }
    request_free(&r);
}
END_TEST

/* What is wrong is named. */
START_TEST(mistakes_are_named)
{
    static const char *const cases[][2] = {
        { "{\"temperature\": -1}", "temperature" },
        { "{\"temperature\": 1e999}", "not JSON" },
        { "{\"top_k\": 1.5}", "top_k" },
        { "{\"top_p\": 2}", "top_p" },
        { "{\"max_tokens\": \"5\"}", "max_tokens" },
        { "{\"stream\": 1}", "stream" },
        { "{\"stop\": 5}", "stop" },
        { "{\"functions\": [{}]}", "functions" },
        { "{\"seed\": \"x\"}", "seed" },
        { "{\"logit_bias\": {\"5x\": 1}}", "logit_bias" },
        { "{\"logit_bias\": 5}", "logit_bias" },
        { "{\"samplers\": [\"top_k\", \"top_k\"]}", "top_k" },
        { "{\"n\": 17}", "n must be" },
        { "{\"n\": 2, \"best_of\": 1}", "best_of" },
        { "{\"suffix\": \"a\"}", "suffix" },
        { "{\"echo\": true}", "echo" },
        { "{\"grammar\": 5}", "grammar must be" },
        { "{\"messages\": [5]}", "messages[0]" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", "content" },
        { "{\"messages\": [{\"role\": \"user\", \"content\":"
          " [{\"type\": \"image_url\"}]}]}",
          "messages[0].content[0]" },
        { "{\"messages\": [{\"role\": \"user\"}], \"tools\": [{}]}", "tools[0]" },
        { "{\"messages\": [{\"role\": \"user\"}], \"tool_choice\": {}}", "tool_choice" },
        { "{\"messages\": [{\"role\": \"user\"}], \"top_logprobs\": 1}", "top_logprobs" },
        { "{\"messages\": [{\"role\": \"user\"}], \"chat_template_kwargs\": []}",
          "kwargs" },
        { "{\"response_format\": {\"type\": \"json_schema\"}}", "schema" },
        { "[1]", "object" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request r;
        ggf_error err;
        const char *text = cases[i][0];
        ck_assert_int_eq(request_parse(&r, text, strlen(text), true, defaults(), &err),
                         GGF_E_ARG);
        ck_assert_msg(strstr(err.message, cases[i][1]), "%s: %s", text, err.message);
        request_free(&r);
    }
}
END_TEST

START_TEST(depth_is_limited)
{
    static char text[4096];
    for (int extra = 0; extra < 2; extra++) {
        /* One level is the body, one the array that holds the others. */
        const int depth = REQUEST_MOST_DEPTH - 1 + extra;
        char *at = text + sprintf(text, "{\"x\": ");
        for (int i = 0; i < depth; i++) *at++ = '[';
        at += sprintf(at, "\"]]\\\"[[\"");
        for (int i = 0; i < depth; i++) *at++ = ']';
        sprintf(at, "}");
        json_t *body;
        ggf_error err;
        ck_assert_int_eq(request_json(&body, text, strlen(text), &err),
                         extra ? GGF_E_ARG : 0);
        json_decref(body);
    }
}
END_TEST

/* ---- Replies ----------------------------------------------------------------------- */

static q3n_server server;
static struct call call;

static void open_server(void)
{
    static const char source[] = "{# <think> <tool_call> {\"name\": \"arguments\"} #}"
                                 "{{ tools }}{{ '<tool_call>{\"name\": ' }}";
    q3n_template *t;
    ck_assert_int_eq(q3n_template_parse(&t, source, strlen(source), NULL), 0);
    server.m.template = t;
    server.m.alias = "m";
    server.nowhere = fopen("/dev/null", "w");
    call.server = &server;
}

static void close_server(void)
{
    q3n_template_free((q3n_template *)server.m.template);
    fclose(server.nowhere);
}

static struct reply *new_reply(bool stream)
{
    static const char body[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"stream\": %s,"
        " \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]}";
    struct request request;
    struct reply *r;
    struct job *job;
    char text[300];
    snprintf(text, sizeof text, body, stream ? "true" : "false");
    parse(&request, text, true);
    ck_assert_int_eq(job_new(&job, NULL), 0);
    job->id = 1;
    ck_assert_int_eq(reply_new(&r, &call, &request, &job, true, NULL), 0);
    return r;
}

static const char written[] =
    "<think>\nhm\n</think>\n\nLet me see.\n<tool_call>\n"
    "{\"name\": \"f\", \"arguments\": {\"x\": [1, \"\xc3\xa9\"]}}"
    "\n</tool_call>";

/* The reply to a text that comes in pieces of n bytes. */
static void feed(struct choice *c, size_t n)
{
    for (size_t at = 0; at < strlen(written); at += n) {
        const size_t left = strlen(written) - at;
        const struct job_piece p = { .text = (char *)written + at,
                                     .len = left < n ? left : n };
        ck_assert(reply_take(c, &p));
    }
    const struct job_counts counts = { .n_prompt = 5, .n_read = 5, .n_predicted = 9 };
    ck_assert(reply_finish(c));
    job_end(c->job, Q3N_STOP_EOG, &counts, NULL);
}

static const char *str(const json_t *v, const char *name)
{
    return json_string_value(json_object_get(v, name));
}

START_TEST(thoughts_text_and_calls_apart)
{
    struct reply *r = new_reply(false);
    struct answer a;
    feed(r->choices, 3);
    answer_begin(&server, &a);
    reply_write(r, &a.json);
    ck_assert(answer_end(&server, &a));
    json_t *v = json_loadb(a.bytes, a.len, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    const json_t *tool = json_array_get(json_object_get(message, "tool_calls"), 0);
    const json_t *function = json_object_get(tool, "function");
    ck_assert_str_eq(str(choice, "finish_reason"), "tool_calls");
    ck_assert_str_eq(str(message, "reasoning_content"), "hm");
    ck_assert_str_eq(str(message, "content"), "Let me see.");
    ck_assert_str_eq(str(function, "name"), "f");
    ck_assert_ptr_nonnull(str(tool, "id"));
    json_t *arguments = json_loads(str(function, "arguments"), 0, NULL);
    ck_assert_int_eq(json_array_size(json_object_get(arguments, "x")), 2);
    json_decref(arguments);
    json_decref(v);
    free(a.bytes);
    reply_free(r);
}
END_TEST

/* Add what the events of a stream say. */
struct heard {
    char content[200], reasoning[200], arguments[200], name[20], reason[20];
    int calls;
};

static void hear(struct heard *h, const json_t *event)
{
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *tool = json_array_get(json_object_get(delta, "tool_calls"), 0);
    const json_t *function = json_object_get(tool, "function");
    if (str(delta, "content")) strcat(h->content, str(delta, "content"));
    if (str(delta, "reasoning_content"))
        strcat(h->reasoning, str(delta, "reasoning_content"));
    if (str(function, "name")) strcat(h->name, str(function, "name"));
    if (str(function, "arguments")) strcat(h->arguments, str(function, "arguments"));
    if (str(choice, "finish_reason")) strcat(h->reason, str(choice, "finish_reason"));
    h->calls += str(tool, "id") != NULL;
}

START_TEST(streams_say_the_same)
{
    struct reply *r = new_reply(true);
    struct heard h = { .calls = 0 };
    answer_begin(&server, &r->out);
    reply_event_start(r->choices);
    feed(r->choices, (size_t)_i);
    reply_event_end(r->choices);
    fflush(r->out.json.f);
    char *rest, *text = strndup(r->out.bytes, r->out.len);
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        ck_assert(!strncmp(line, "data: ", 6));
        json_t *v = json_loads(line + 6, 0, NULL);
        if (!v) ck_assert_str_eq(line + 6, "[DONE]");
        hear(&h, v);
        json_decref(v);
    }
    free(text);
    ck_assert_str_eq(h.content, "Let me see.");
    ck_assert_str_eq(h.reasoning, "hm");
    ck_assert_str_eq(h.name, "f");
    ck_assert_str_eq(h.arguments, "{\"x\": [1, \"\xc3\xa9\"]}");
    ck_assert_str_eq(h.reason, "tool_calls");
    ck_assert_int_eq(h.calls, 1);
    reply_free(r);
}
END_TEST

int main(void)
{
    TCase *requests = tcase_create("requests"), *replies = tcase_create("replies");
    tcase_add_test(requests, members_are_taken);
    tcase_add_test(requests, empty_members);
    tcase_add_test(requests, contents_become_text);
    tcase_add_test(requests, mistakes_are_named);
    tcase_add_test(requests, depth_is_limited);
    tcase_add_checked_fixture(replies, open_server, close_server);
    tcase_add_test(replies, thoughts_text_and_calls_apart);
    tcase_add_loop_test(replies, streams_say_the_same, 1, 12);
    return SUITE_RUN("serve", requests, replies);
}
