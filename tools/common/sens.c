/* sens.c - see sens.h. */
#include "sens.h"

#include "regex.h"
#include "text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MOST = 16 << 20, VALUE_MOST = 1000000000 };

/* A line REGEX,DENSITY or a column of the table. */
struct rule {
    char *word; /* the pattern or the name */
    struct regex *regex;
    double value;
    int line;
};

struct sens {
    struct rule *rules;
    size_t n, room;
    bool table; /* words are names, values are drops */
    char file[200];
};

/* What is left to read. */
struct reader {
    sens *s;
    const char *at, *end;
    int line;
};

static int fail_at(const sens *s, int line, ggf_error *err, const char *what,
                   const char *word)
{
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %d: %s '%.100s'", s->file,
                    line, what, word);
}

/* ---- Reading ---------------------------------------------------------------- */

/* [*from, *to) without blanks at its ends. */
static void trim(const char **from, const char **to)
{
    while (*from < *to && isspace((unsigned char)**from)) ++*from;
    while (*from < *to && isspace((unsigned char)(*to)[-1])) --*to;
}

/* The next line that says something; false at the end. */
static bool next_line(struct reader *r, const char **from, const char **to)
{
    while (r->at < r->end) {
        const char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
        *from = r->at;
        *to = newline ? newline : r->end;
        r->at = newline ? newline + 1 : r->end;
        r->line++;
        trim(from, to);
        if (*from < *to && **from != '#') return true;
    }
    return false;
}

/* A number from 0 to VALUE_MOST, or nothing, which is 0 where that is allowed. */
static int parse_number(const struct reader *r, const char *from, const char *to,
                        bool or_nothing, double *out, ggf_error *err)
{
    char word[64], *end;
    trim(&from, &to);
    const size_t n = (size_t)(to - from);
    *out = 0;
    if (!n && or_nothing) return 0;
    if (n < sizeof word) {
        memcpy(word, from, n);
        word[n] = 0;
        *out = strtod(word, &end);
        if (n && !*end && *out >= 0 && *out <= VALUE_MOST) return 0;
    } else {
        memcpy(word, from, sizeof word - 1);
        word[sizeof word - 1] = 0;
    }
    return fail_at(r->s, r->line, err, "expected a number from 0 to 1e9, found", word);
}

/* A rule more, with a word and no value yet. */
static int add_rule(const struct reader *r, const char *from, const char *to,
                    ggf_error *err)
{
    sens *s = r->s;
    trim(&from, &to);
    if (s->n == s->room) {
        const size_t room = s->room ? 2 * s->room : 64;
        struct rule *rules = realloc(s->rules, room * sizeof *rules);
        if (!rules) return ggf_no_memory(err);
        s->rules = rules;
        s->room = room;
    }
    struct rule *rule = &s->rules[s->n];
    *rule = (struct rule){ .word = strndup(from, (size_t)(to - from)), .line = r->line };
    if (!rule->word) return ggf_no_memory(err);
    s->n++;
    return *rule->word ? 0 : fail_at(s, r->line, err, "expected a name before", ",");
}

/* REGEX,DENSITY; there may be commas in the pattern. */
static int read_rule(const struct reader *r, const char *from, const char *to,
                     ggf_error *err)
{
    const char *comma = memrchr(from, ',', (size_t)(to - from));
    ggf_error why;
    if (!comma)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s, line %d: expected REGEX,DENSITY", r->s->file, r->line);
    int status = add_rule(r, from, comma, err);
    if (status) return status;
    struct rule *rule = &r->s->rules[r->s->n - 1];
    if (regex_new(&rule->regex, rule->word, &why))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %d: %s", r->s->file,
                        r->line, why.message);
    return parse_number(r, comma + 1, to, false, &rule->value, err);
}

static const char *field_end(const char *from, const char *to)
{
    const char *comma = memchr(from, ',', (size_t)(to - from));
    return comma ? comma : to;
}

/* The names behind "QTYPE,", then the line of drops. */
static int read_table(struct reader *r, const char *from, const char *to, ggf_error *err)
{
    sens *s = r->s;
    int status = 0;
    s->table = true;
    for (from = field_end(from, to); from < to && !status; from = field_end(from, to)) {
        from++;
        status = add_rule(r, from, field_end(from, to), err);
    }
    if (status) return status;
    if (!next_line(r, &from, &to))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s, line %d: the table ends before its values", s->file,
                        r->line);
    size_t n = 0;
    for (from = field_end(from, to); from < to && !status; n++) {
        from++;
        const char *end = field_end(from, to), *last = end;
        if (n >= s->n) break;
        if (last > from && last[-1] == '%') last--;
        status = parse_number(r, from, last, true, &s->rules[n].value, err);
        from = end;
    }
    if (status) return status;
    if (n != s->n || from < to)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s, line %d: not one value for each of %zu tensors", s->file,
                        r->line, s->n);
    if (next_line(r, &from, &to))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s, line %d: a second line of values, expected one", s->file,
                        r->line);
    return 0;
}

static int read_all(struct reader *r, ggf_error *err)
{
    static const char head[] = "QTYPE,";
    const char *from, *to;
    int status = 0;
    if (memchr(r->at, 0, (size_t)(r->end - r->at)))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s is not a text file",
                        r->s->file);
    while (!status && next_line(r, &from, &to)) {
        const size_t n = (size_t)(to - from);
        if (!r->s->n && n >= strlen(head) && !strncasecmp(from, head, strlen(head)))
            return read_table(r, from, to, err);
        status = read_rule(r, from, to, err);
    }
    if (!status && !r->s->n)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s names no tensor",
                        r->s->file);
    return status;
}

int sens_parse(sens **out, const char *text, size_t n, const char *name, ggf_error *err)
{
    *out = NULL;
    sens *s = calloc(1, sizeof *s);
    if (!s) return ggf_no_memory(err);
    snprintf(s->file, sizeof s->file, "%s", name);
    struct reader r = { .s = s, .at = text, .end = text + n };
    const int status = read_all(&r, err);
    if (status) sens_free(s);
    else *out = s;
    return status;
}

int sens_read(sens **out, const char *path, ggf_error *err)
{
    size_t n;
    *out = NULL;
    char *text = text_read(path, FILE_MOST, &n, err);
    if (!text) return GGF_E_IO;
    const int status = sens_parse(out, text, n, path, err);
    free(text);
    return status;
}

void sens_free(sens *s)
{
    for (size_t i = 0; s && i < s->n; i++) {
        free(s->rules[i].word);
        regex_free(s->rules[i].regex);
    }
    if (s) free(s->rules);
    free(s);
}

/* ---- Applying --------------------------------------------------------------- */

/* 1, 0, or a failure. */
static int matches(const sens *s, const struct rule *rule, const char *name,
                   ggf_error *err)
{
    ggf_error why;
    if (s->table) return !strcmp(rule->word, name);
    const int m = regex_match(rule->regex, name, &why);
    return m >= 0 ? m
                  : ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %d: %s", s->file,
                             rule->line, why.message);
}

static int check_names(const sens *s, const ggf_file *f, ggf_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        int found = 0;
        for (uint64_t k = 0; k < ggf_tensor_count(f) && !found; k++)
            found = matches(s, &s->rules[i], ggf_tensor(f, k)->name, err);
        if (found < 0) return found;
        if (!found)
            return fail_at(s, s->rules[i].line, err,
                           s->table ? "the model has no tensor"
                                    : "no tensor of the model matches",
                           s->rules[i].word);
    }
    return 0;
}

/* The first rule for a tensor, or NULL. */
static int find_rule(const sens *s, const char *name, const struct rule **out,
                     ggf_error *err)
{
    int found = 0;
    *out = NULL;
    for (size_t i = 0; i < s->n && !found; i++) {
        found = matches(s, &s->rules[i], name, err);
        if (found > 0) *out = &s->rules[i];
    }
    return found < 0 ? found : 0;
}

int sens_apply(const sens *s, const ggf_file *f, const struct plan *p,
               struct error_table *t, ggf_error *err)
{
    if (!s) return 0;
    const struct rule **rules = calloc(t->n + 1, sizeof *rules);
    if (!rules) return ggf_no_memory(err);
    double weights = 0, drops = 0;
    int status = check_names(s, f, err);
    for (size_t i = 0; i < t->n && !status; i++) {
        status = find_rule(s, t->entries[i].tensor->name, &rules[i], err);
        if (!rules[i] || (s->table && rules[i]->value <= 0)) continue;
        weights += t->entries[i].weight;
        drops += rules[i]->value;
    }
    for (size_t i = 0; i < t->n && !status; i++) {
        struct error_entry *e = &t->entries[i];
        if (!rules[i] || (s->table && rules[i]->value <= 0)) continue;
        if (s->table) e->weight = weights * (rules[i]->value / drops);
        else
            e->weight =
                rules[i]->value * (double)e->tensor->count / (double)p->n_elements;
    }
    free(rules);
    return status;
}
