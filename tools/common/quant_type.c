/* quant_type.c - see quant_type.h. */
#include "quant_type.h"

#include "near.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool quant_type_parse(struct quant_type *t, const char *word)
{
    *t = (struct quant_type){ .preset = preset_find(word) };
    t->to = t->preset ? file_type_by_id(t->preset->file_type) : file_type_find(word);
    return t->to || !strcasecmp(word, "COPY");
}

const char *quant_type_name(const struct quant_type *t)
{
    return t->preset ? t->preset->name : t->to ? t->to->name : "COPY";
}

/* printf() at the end of a text; what does not fit is cut. */
static void append(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void append(char *out, size_t size, const char *format, ...)
{
    const size_t n = strlen(out);
    va_list ap;
    va_start(ap, format);
    vsnprintf(out + n, size - n, format, ap);
    va_end(ap);
}

void quant_type_list(char *out, size_t size)
{
    *out = 0;
    append(out, size, "File types:\n");
    for (const struct file_type *t = file_types; t->name; t++)
        append(out, size, "  %-10s %2u  %s\n", t->name, (unsigned)t->id, t->about);
    append(out, size, "  %-10s     every tensor as it is\n\n", "COPY");
    append(out, size,
           "Presets for mixture-of-experts models, after Unsloth's (bits of "
           "Qwen3-Next-80B;\n"
           "gate and up, down):");
    for (const struct preset *p = presets; p->name; p++)
        append(out, size, "\n  %-10s %2u  %s", p->name, (unsigned)p->file_type, p->about);
}

/* Names of file types and presets in one row; NULL behind the last. */
static const char *name_at(size_t i)
{
    size_t n = 0;
    if (i == 0) return "COPY";
    while (file_types[n].name) n++;
    return i <= n ? file_types[i - 1].name : presets[i - 1 - n].name;
}

void quant_type_suggest(char *out, size_t size, const char *word)
{
    near_suggest(out, size, word, name_at);
}
