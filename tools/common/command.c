/* command.c - see command.h. */
#include "command.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_plain(const char *s)
{
    return *s &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                     "_-./:=,@%+") == strlen(s);
}

static void put(FILE *f, const char *s)
{
    if (is_plain(s)) {
        fputs(s, f);
        return;
    }
    putc('\'', f);
    for (; *s; s++)
        if (*s == '\'') fputs("'\\''", f);
        else putc(*s, f);
    putc('\'', f);
}

/* A path has a slash, and what is before the last one is a folder. */
static const char *without_folder(const char *s)
{
    char folder[4096];
    const char *slash = strrchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof folder) return s;
    snprintf(folder, sizeof folder, "%.*s/", (int)(slash - s), s);
    return access(folder, F_OK) ? s : slash + 1;
}

char *command_text(const char *name, int argc, char **argv, const char *except)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f) return NULL;
    fputs(name, f);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        if (!strcmp(word, except)) continue;
        putc(' ', f);
        if (*word == '-' && equals) {
            fprintf(f, "%.*s=", (int)(equals - word), word);
            word = equals + 1;
        }
        put(f, without_folder(word));
    }
    return fclose(f) ? NULL : text;
}
