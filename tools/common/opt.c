/* opt.c - see opt.h. */
#include "opt.h"

#include "../../libgguf/libgguf.h"
#include "out.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int opt_error(const struct opt_program *p, const char *format, ...)
{
    va_list ap;
    fprintf(stderr, "%s: ", p->name);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, "\nTry '%s --help'.\n", p->name);
    return OPT_USAGE;
}

static void print_help(const struct opt_program *p)
{
    printf("Usage: %s %s\n\n%s\n", p->name, p->usage, p->about);
    if (p->options->kind != OPT_HEADING) putchar('\n');
    for (const struct opt *o = p->options; o->names || o->help; o++) {
        if (o->kind == OPT_HEADING) {
            printf("\n%s\n", o->help);
            continue;
        }
        char left[80];
        snprintf(left, sizeof left, "%s%s%s", o->names, o->arg ? " " : "",
                 o->arg ? o->arg : "");
        const int wide = strlen(left) > 30;
        if (wide) printf("  %s\n", left);
        else printf("  %-30s ", left);
        for (const char *h = o->help; *h; h++) {
            if (h == o->help && wide) printf("%33s", "");
            putchar(*h);
            if (*h == '\n') printf("%33s", "");
        }
        putchar('\n');
    }
    printf("  %-30s show this help\n", "-h, --help");
    printf("  %-30s show the version\n", "--version");
}

/* Does the word, up to len bytes, equal one of the names "-a, --abc"? */
static bool is_named(const char *names, const char *word, size_t len)
{
    while (names && *names) {
        const size_t n = strcspn(names, ",");
        bool same = n == len;
        for (size_t i = 0; i < n && same; i++)
            same = names[i] == word[i] || (i >= 2 && names[i] == '-' && word[i] == '_');
        if (same) return true;
        names += n;
        names += strspn(names, ", ");
    }
    return false;
}

static const struct opt *find(const struct opt_program *p, const char *word, size_t len)
{
    for (const struct opt *o = p->options; o->names || o->help; o++)
        if (o->kind != OPT_HEADING && is_named(o->names, word, len)) return o;
    return NULL;
}

bool opt_size(const char *text, uint64_t *bytes)
{
    char *end;
    errno = 0;
    const double v = strtod(text, &end);
    if (end == text || errno || !(v >= 0)) return false;
    int shift = 0;
    switch (*end) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    case 't':
    case 'T': shift = 40; break;
    default: break;
    }
    if (shift) end++;
    if (shift && *end == 'i') end++;
    if (*end == 'B' || *end == 'b') end++;
    const double scaled = v * (double)(1ull << shift);
    if (*end || scaled >= 0x1p63) return false;
    *bytes = (uint64_t)scaled;
    return true;
}

static bool store_int(const char *text, int *out)
{
    char *end;
    errno = 0;
    const long v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < INT_MIN || v > INT_MAX) return false;
    *out = (int)v;
    return true;
}

static bool store_u64(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 0);
    if (end == text || *end || errno || strchr(text, '-')) return false;
    *out = v;
    return true;
}

static bool store_float(const char *text, float *out)
{
    char *end;
    const float v = strtof(text, &end);
    if (end == text || *end || v != v) return false;
    *out = v;
    return true;
}

static bool store_item(const char *text, struct opt_list *list)
{
    const char **items = realloc(list->items, (size_t)(list->count + 1) * sizeof *items);
    if (!items) return false;
    list->items = items;
    list->items[list->count++] = text;
    return true;
}

/* Put an argument where the option wants it; false if it does not parse. */
static bool store(const struct opt *o, const char *text)
{
    switch (o->kind) {
    case OPT_INT: return store_int(text, o->value);
    case OPT_U64: return store_u64(text, o->value);
    case OPT_FLOAT: return store_float(text, o->value);
    case OPT_SIZE: return opt_size(text, o->value);
    case OPT_LIST: return store_item(text, o->value);
    default: *(const char **)o->value = text; return true;
    }
}

static const char *expectation(enum opt_kind kind)
{
    switch (kind) {
    case OPT_INT: return "a whole number";
    case OPT_U64: return "a whole number of 0 or more";
    case OPT_FLOAT: return "a number";
    case OPT_SIZE: return "a size such as 512M or 12G";
    default: return "a value";
    }
}

/* Handle the option word argv[*i], taking its argument too; `enough`: the positional
 * arguments that must be there were seen.  OPT_GO to go on. */
static int take_option(const struct opt_program *p, int argc, char **argv, int *i,
                       bool enough)
{
    const char *word = argv[*i], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
    const size_t len = equals ? (size_t)(equals - word) : strlen(word);
    if (is_named("-h, --help", word, len) && !find(p, word, len)) {
        print_help(p);
        return out_close_stdout(p->name, OPT_DONE);
    }
    if (is_named("--version", word, len)) {
        printf("%s %s\n", p->name, ggf_version());
        return out_close_stdout(p->name, OPT_DONE);
    }
    const struct opt *o = find(p, word, len);
    if (!o) return opt_error(p, "unknown option %s", word);
    if (o->kind == OPT_FLAG || o->kind == OPT_FLAG_OFF) {
        if (equals) return opt_error(p, "option %.*s takes no value", (int)len, word);
        *(bool *)o->value = o->kind == OPT_FLAG;
        return OPT_GO;
    }
    const char *value = equals ? equals + 1 : NULL;
    if (!value && o->kind == OPT_ATTACHED) value = "";
    if (!value && o->kind == OPT_OPTIONAL) {
        const char *next = *i + 1 < argc ? argv[*i + 1] : "-";
        const bool positional = !enough && (*i + 2 == argc || access(next, F_OK) == 0);
        const bool take = next[0] != '-' && !positional;
        value = take ? argv[++*i] : "";
    }
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (!value) return opt_error(p, "option %s needs %s", word, expectation(o->kind));
    if (!store(o, value))
        return opt_error(p, "option %.*s: '%s' is not %s", (int)len, word, value,
                         expectation(o->kind));
    return OPT_GO;
}

int opt_parse(const struct opt_program *p, int argc, char **argv, char ***args,
              int *n_args)
{
    int n = 0;
    bool options = true;
    for (int i = 1; i < argc; i++) {
        if (options && !strcmp(argv[i], "--")) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1]) {
            const int r = take_option(p, argc, argv, &i, n >= p->min_args);
            if (r != OPT_GO) return r;
        } else {
            argv[n++] = argv[i];
        }
    }
    *args = argv;
    *n_args = n;
    if (n < p->min_args)
        return opt_error(p, "missing argument; usage: %s %s", p->name, p->usage);
    if (p->max_args >= 0 && n > p->max_args)
        return opt_error(p, "unexpected argument '%s'", argv[p->max_args]);
    return OPT_GO;
}
