/* toolcall.c - see toolcall.h.  Finds the marks in a reply and hands on what lies
 * between; the insides of calls are in toolcall_json.c and toolcall_xml.c. */
#include "toolcall_parts.h"

#include <stdlib.h>
#include <string.h>

#define THINK     "<think>"
#define THINK_END "</think>"
#define CALL      "<tool_call>"
#define CALL_END  "</tool_call>"
#define FUNCTION  "<function="

/* A head of a call that is longer is none. */
#define MAX_HEAD ((size_t)16 << 10)

/* ==== What is held ======================================================== */

void reply_drop(struct q3n_reply_parser *p, size_t n)
{
    p->n -= n;
    memmove(p->held, p->held + n, p->n);
    p->seen = p->seen > n ? p->seen - n : 0;
}

ptrdiff_t reply_find(const struct q3n_reply_parser *p, size_t from, const char *text)
{
    if (from >= p->n) return -1;
    const char *found = memmem(p->held + from, p->n - from, text, strlen(text));
    return found ? found - p->held : -1;
}

enum fit reply_fits(const struct q3n_reply_parser *p, size_t at, const char *text)
{
    const size_t n = strlen(text), left = p->n - at;
    if (memcmp(p->held + at, text, left < n ? left : n)) return FIT_NO;
    return left >= n ? FIT_YES : p->over ? FIT_NO : FIT_MAYBE;
}

size_t reply_skip_space(const struct q3n_reply_parser *p, size_t at)
{
    while (at < p->n && p->held[at] && strchr(" \t\r\n", p->held[at])) at++;
    return at;
}

static bool hold(struct q3n_reply_parser *p, const char *text, size_t len)
{
    const size_t most = 3 * (len + 4) + 12; /* as q3n_stream_push() may write */
    if (len > SIZE_MAX / 8 || p->n > SIZE_MAX / 8) return false;
    if (p->n + most > p->capacity) {
        const size_t n = 2 * (p->n + most);
        char *more = realloc(p->held, n);
        if (!more) return false;
        p->held = more;
        p->capacity = n;
    }
    if (text) p->n += q3n_stream_push(&p->utf8, text, len, p->held + p->n);
    else p->n += q3n_stream_end(&p->utf8, p->held + p->n);
    return true;
}

/* ==== Handing on ========================================================== */

void reply_call(struct q3n_reply_parser *p, const char *name)
{
    p->said = true;
    if (p->events.call) p->events.call(p->events.user, p->calls, name);
    p->calls++;
}

void reply_arguments(struct q3n_reply_parser *p, const char *text, size_t len)
{
    if (len && p->events.arguments)
        p->events.arguments(p->events.user, p->calls - 1, text, len);
}

/* The first n bytes held, as thoughts or as said. */
static void hand_on(struct q3n_reply_parser *p, size_t n)
{
    if (!n) return;
    p->skip_newlines = false;
    if (p->state == R_THINK) {
        if (p->events.reasoning) p->events.reasoning(p->events.user, p->held, n);
    } else {
        p->said = true;
        if (p->events.content) p->events.content(p->events.user, p->held, n);
    }
    reply_drop(p, n);
}

/* ==== Marks =============================================================== */

static enum fit find_head(struct q3n_reply_parser *p, size_t at)
{
    const bool xml = p->o.calls == Q3N_CALLS_XML;
    const enum fit bare = xml ? reply_fits(p, at, FUNCTION) : FIT_NO;
    if (bare == FIT_YES) return reply_xml_head(p, at);
    const enum fit f = reply_fits(p, at, CALL);
    if (f != FIT_YES) return bare == FIT_MAYBE ? bare : f;
    const size_t inside = reply_skip_space(p, at + strlen(CALL));
    if (inside == p->n) return p->over ? FIT_NO : FIT_MAYBE;
    return xml ? reply_xml_head(p, inside) : reply_json_head(p, inside);
}

/* A call, if its head is within the first bytes: the same however the text was cut. */
static enum fit at_call(struct q3n_reply_parser *p, size_t at)
{
    if (p->o.calls == Q3N_CALLS_NONE) return FIT_NO;
    const size_t n = p->n;
    if (at >= MAX_HEAD) return FIT_NO;
    if (n > MAX_HEAD) p->n = MAX_HEAD;
    const enum fit f = find_head(p, at);
    p->n = n;
    if (f == FIT_YES) reply_drop(p, p->take);
    return f == FIT_MAYBE && n > MAX_HEAD ? FIT_NO : f;
}

/* What is at held[at], a '<': nothing, or a mark, which is dealt with and dropped
 * together with what stands before it. */
static enum fit at_mark(struct q3n_reply_parser *p, size_t at)
{
    enum fit f;
    if (p->state == R_THINK) {
        f = reply_fits(p, at, THINK_END);
        if (f != FIT_YES) return f;
        reply_drop(p, at + strlen(THINK_END));
        p->state = R_TEXT;
    } else {
        f = p->o.reasoning && !p->said ? reply_fits(p, at, THINK) : FIT_NO;
        if (f == FIT_NO) return at_call(p, at);
        if (f == FIT_MAYBE) return f;
        reply_drop(p, at + strlen(THINK));
        p->state = R_THINK;
    }
    p->skip_newlines = true;
    return f;
}

static size_t count_newlines(const struct q3n_reply_parser *p, size_t at)
{
    size_t n = at;
    while (n < p->n && p->held[n] == '\n') n++;
    return n - at;
}

/* Text up to the next mark: line breaks wait for what comes after them. */
static enum step step_text(struct q3n_reply_parser *p)
{
    if (p->skip_newlines) reply_drop(p, count_newlines(p, 0));
    for (size_t i = 0; i < p->n;) {
        const size_t at = i + count_newlines(p, i);
        if (at < p->n && p->held[at] != '<') {
            i = at + 1;
            continue;
        }
        if (i) { /* what follows starts at the front */
            hand_on(p, i);
            return STEP_ON;
        }
        if (at == p->n) return STEP_WAIT;
        const enum fit f = at_mark(p, at);
        if (f == FIT_YES) return STEP_ON;
        if (f != FIT_NO) return f == FIT_MAYBE ? STEP_WAIT : STEP_FAILED;
        i = at + 1;
    }
    hand_on(p, p->n);
    return STEP_WAIT;
}

static enum fit next_call(const struct q3n_reply_parser *p, size_t at)
{
    const enum fit f = reply_fits(p, at, CALL);
    return f != FIT_NO || p->o.calls != Q3N_CALLS_XML ? f : reply_fits(p, at, FUNCTION);
}

/* What lies between a call and its end is dropped; the next call ends it as well. */
static enum step step_tail(struct q3n_reply_parser *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->held[i] != '<') continue;
        const enum fit end = reply_fits(p, i, CALL_END), next = next_call(p, i);
        if (end == FIT_NO && next == FIT_NO) continue;
        reply_drop(p, end == FIT_YES ? i + strlen(CALL_END) : i);
        if (end != FIT_YES && next != FIT_YES) return STEP_WAIT;
        p->state = R_TEXT;
        p->skip_newlines = true;
        return STEP_ON;
    }
    reply_drop(p, p->n);
    return STEP_WAIT;
}

static enum step step(struct q3n_reply_parser *p)
{
    switch (p->state) {
    case R_ARGUMENTS: return reply_json_arguments(p);
    case R_PARAMETERS: return reply_xml_parameters(p);
    case R_VALUE: return reply_xml_value(p);
    case R_TAIL: return step_tail(p);
    default: return step_text(p);
    }
}

/* ==== Program ============================================================= */

int q3n_reply_parser_new(q3n_reply_parser **out, const struct q3n_reply_options *o,
                         const struct q3n_reply_events *events, ggf_error *err)
{
    q3n_reply_parser *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) return ggf_no_memory(err);
    p->o = *o;
    p->events = *events;
    p->state = o->thinking ? R_THINK : R_TEXT;
    p->skip_newlines = true;
    return 0;
}

void q3n_reply_parser_free(q3n_reply_parser *p)
{
    if (!p) return;
    free(p->held);
    free(p->parameter);
    free(p);
}

static int push(struct q3n_reply_parser *p, const char *text, size_t len, ggf_error *err)
{
    if (!hold(p, text, len)) return ggf_no_memory(err);
    enum step s = STEP_ON;
    while (p->n && s == STEP_ON) s = step(p);
    return s == STEP_FAILED ? ggf_no_memory(err) : 0;
}

int q3n_reply_push(q3n_reply_parser *p, const char *text, size_t len, ggf_error *err)
{
    return len ? push(p, text, len, err) : 0;
}

int q3n_reply_end(q3n_reply_parser *p, ggf_error *err)
{
    p->over = true;
    const int r = push(p, NULL, 0, err);
    if (!r && p->n && (p->state == R_TEXT || p->state == R_THINK)) hand_on(p, p->n);
    return r;
}

int q3n_reply_calls(const q3n_reply_parser *p) { return p->calls; }
