/* bench_list.c - what may stand behind an option that takes several values. */
#include "bench.h"
#include "kvopt.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool number(const char **at, int *value)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno = 0;
    const long v = strtol(*at, &end, 10);
    if (errno || v > INT_MAX) return false;
    *at = end;
    *value = (int)v;
    return true;
}

static bool add(struct number_list *l, int item, int second)
{
    if (l->n == LIST_MAX) return false;
    l->items[l->n] = item;
    l->seconds[l->n++] = second;
    return true;
}

/* first-last, first-last+step, first-last*factor. */
static bool add_range(struct number_list *l, const char **at, int first)
{
    int last, step = 1;
    ++*at;
    if (!number(at, &last) || last < first) return false;
    const bool times = **at == '*';
    if (times || **at == '+') {
        ++*at;
        if (!number(at, &step) || step < 1 + times || (times && !first)) return false;
    }
    for (int64_t v = first; v <= last; v = times ? v * step : v + step)
        if (!add(l, (int)v, 0)) return false;
    return true;
}

static bool add_list(struct number_list *l, const char *text, int least)
{
    for (;; text++) {
        int v;
        if (!number(&text, &v) || v < least) return false;
        if (!(*text == '-' ? add_range(l, &text, v) : add(l, v, 0))) return false;
        if (*text != ',') return !*text;
    }
}

bool list_numbers(struct number_list *l, const struct opt_list *options, int least)
{
    l->n = 0;
    for (int i = 0; i < options->count; i++)
        if (!add_list(l, options->items[i], least)) return false;
    return true;
}

bool list_pairs(struct number_list *l, const struct opt_list *options)
{
    l->n = 0;
    for (int i = 0; i < options->count; i++) {
        const char *text = options->items[i];
        int a, b;
        if (!number(&text, &a) || *text++ != ',' || !number(&text, &b) || *text ||
            a < 1 || b < 1 || a > INT_MAX - b || !add(l, a, b))
            return false;
    }
    return true;
}

bool list_types(struct number_list *l, const struct opt_list *options)
{
    l->n = 0;
    for (int i = 0; i < options->count; i++)
        for (const char *text = options->items[i];; text++) {
            const size_t len = strcspn(text, ",");
            char name[16] = "";
            uint32_t type;
            if (len >= sizeof name) return false;
            memcpy(name, text, len);
            if (!kv_type_of(name, &type) || !add(l, (int)type, 0)) return false;
            text += len;
            if (!*text) break;
        }
    return true;
}
