/* line.c - see line.h. */
#include "line.h"

#include "interrupt.h"
#include "out.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY = 1000 }; /* lines */

struct line_reader {
    EditLine *edit; /* NULL: not at a terminal */
    History *history;
    bool goes_on; /* a line of a message that has begun */
    char *line;   /* as getline() wants it */
    size_t room;
    char *text; /* the message */
    size_t n, capacity;
};

static const char *prompt(EditLine *edit)
{
    struct line_reader *r = NULL;
    el_get(edit, EL_CLIENTDATA, (void *)&r);
    return r->goes_on ? ". " : "> ";
}

/* A character, in libedit's place: there a Ctrl-C just before it begins to wait for one
 * would not be seen until the next key. */
static int read_character(EditLine *edit, wchar_t *c)
{
    (void)edit;
    mbstate_t state = { 0 };
    for (;;) {
        char byte;
        if (!interrupt_or_input(STDIN_FILENO)) {
            errno = EINTR;
            return -1;
        }
        const ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return (int)n;
        size_t used = mbrtowc(c, &byte, 1, &state);
        if (used == (size_t)-1) { /* what is no character is left out, not what follows */
            state = (mbstate_t){ 0 };
            used = mbrtowc(c, &byte, 1, &state);
            if (used == (size_t)-1) state = (mbstate_t){ 0 };
        }
        if (used <= 1) return 1;
    }
}

/* Colours and the like come from the terminal's description: one that can do nothing
 * ("dumb") is read like a file. */
static bool at_terminal(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

/* Characters are more than bytes.  Where no language is set (containers, ssh) they would
 * be those of ASCII only, and all others be dropped. */
static void set_characters(void)
{
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1 && !strcmp(nl_langinfo(CODESET), "ANSI_X3.4-1968"))
        setlocale(LC_CTYPE, "C.UTF-8");
}

static int open_terminal(struct line_reader *r, const char *program, ggf_error *err)
{
    HistEvent event;
    out_keep_terminal(STDIN_FILENO);
    set_characters();
    r->edit = el_init(program, stdin, stderr, stderr);
    r->history = history_init();
    if (!r->edit || !r->history) return ggf_no_memory(err);
    history(r->history, &event, H_SETSIZE, HISTORY);
    history(r->history, &event, H_SETUNIQUE, 1);
    el_set(r->edit, EL_CLIENTDATA, r);
    el_set(r->edit, EL_PROMPT, prompt);
    el_set(r->edit, EL_GETCFN, read_character);
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_HIST, history, r->history);
    el_set(r->edit, EL_SIGNAL, 0); /* they are the program's */
    el_source(r->edit, NULL);
    return 0;
}

int line_open(struct line_reader **out, const char *program, ggf_error *err)
{
    struct line_reader *r = calloc(1, sizeof *r);
    *out = NULL;
    if (!r) return ggf_no_memory(err);
    const int e = at_terminal() ? open_terminal(r, program, err) : 0;
    if (e) line_close(r);
    else *out = r;
    return e;
}

void line_close(struct line_reader *r)
{
    if (!r) return;
    if (r->history) history_end(r->history);
    if (r->edit) el_end(r->edit);
    free(r->line);
    free(r->text);
    free(r);
}

bool line_is_terminal(const struct line_reader *r) { return r->edit; }

/* ==== Lines =============================================================== */

static enum line_result edit_line(struct line_reader *r, const char **line, size_t *len)
{
    HistEvent event;
    int n = 0;
    errno = 0;
    *line = el_gets(r->edit, &n);
    if (!*line || n <= 0) return errno == EINTR ? LINE_INTERRUPTED : LINE_END;
    *len = (size_t)n;
    if (**line != '\n') history(r->history, &event, H_ENTER, *line);
    return LINE_MESSAGE;
}

static enum line_result stream_line(struct line_reader *r, const char **line, size_t *len)
{
    errno = 0;
    const ssize_t n = getline(&r->line, &r->room, stdin);
    *line = r->line;
    *len = n < 0 ? 0 : (size_t)n;
    if (n >= 0) return LINE_MESSAGE;
    if (feof(stdin)) return LINE_END;
    return errno == EINTR ? LINE_INTERRUPTED : LINE_FAILED;
}

/* The next line without what ends it, which may be CR LF in files. */
static enum line_result next_line(struct line_reader *r, const char **line, size_t *len)
{
    const enum line_result e =
        r->edit ? edit_line(r, line, len) : stream_line(r, line, len);
    if (e != LINE_MESSAGE || !*len || (*line)[*len - 1] != '\n') return e;
    --*len;
    if (!r->edit && *len && (*line)[*len - 1] == '\r') --*len;
    return e;
}

/* ==== Messages ============================================================ */

static bool append(struct line_reader *r, const char *bytes, size_t len)
{
    if (r->n + len + 1 > r->capacity) {
        const size_t room = 2 * (r->n + len + 1);
        char *more = realloc(r->text, room);
        if (!more) return false;
        r->text = more;
        r->capacity = room;
    }
    memcpy(r->text + r->n, bytes, len);
    r->n += len;
    r->text[r->n] = 0;
    return true;
}

static const char quotes[] = "\"\"\"";
enum { QUOTES = sizeof quotes - 1 };

static bool ends_in_quotes(const char *line, size_t len)
{
    return len >= QUOTES && !memcmp(line + len - QUOTES, quotes, QUOTES);
}

/* Lines up to one that ends in """, which may be the first: it begins behind its own. */
static enum line_result read_block(struct line_reader *r, const char *line, size_t len)
{
    enum line_result e = LINE_MESSAGE;
    for (bool first = true;; first = false) {
        const bool last = ends_in_quotes(line, len);
        const bool skip = first && !len; /* """ alone on the first line is no line */
        if (!append(r, line, last ? len - QUOTES : len)) return LINE_FAILED;
        if (last) return LINE_MESSAGE;
        if (!skip && !append(r, "\n", 1)) return LINE_FAILED;
        r->goes_on = true;
        e = next_line(r, &line, &len);
        if (e != LINE_MESSAGE) return e;
    }
}

/* Lines up to one that does not end in a backslash. */
static enum line_result read_lines(struct line_reader *r, const char *line, size_t len)
{
    while (len && line[len - 1] == '\\') {
        if (!append(r, line, len - 1) || !append(r, "\n", 1)) return LINE_FAILED;
        r->goes_on = true;
        const enum line_result e = next_line(r, &line, &len);
        if (e != LINE_MESSAGE) return e;
    }
    return append(r, line, len) ? LINE_MESSAGE : LINE_FAILED;
}

enum line_result line_read(struct line_reader *r, char **text, size_t *len)
{
    const char *line;
    size_t n;
    r->goes_on = false;
    r->n = 0;
    enum line_result e = next_line(r, &line, &n);
    if (e != LINE_MESSAGE) return e;
    const bool block = n >= QUOTES && !memcmp(line, quotes, QUOTES);
    e = block ? read_block(r, line + QUOTES, n - QUOTES) : read_lines(r, line, n);
    if (e == LINE_END && r->n) e = LINE_MESSAGE; /* the next call says it again */
    *text = r->text;
    *len = r->n;
    return e;
}
