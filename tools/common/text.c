/* text.c - see text.h. */
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *text_read(const char *path, size_t most, size_t *n, ggf_error *err)
{
    FILE *f = fopen(path, "rb");
    char *text = f ? malloc(most + 1) : NULL;
    *n = text ? fread(text, 1, most + 1, f) : 0;
    const bool ok = text && !ferror(f) && *n <= most;
    if (!ok)
        ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read %s: %s", path,
                 text && *n > most ? "it is too long" : strerror(errno));
    if (f) fclose(f);
    if (!ok) {
        free(text);
        return NULL;
    }
    text[*n] = 0;
    return text;
}
