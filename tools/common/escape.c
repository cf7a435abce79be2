/* escape.c - see escape.h. */
#include "escape.h"

#include <string.h>

size_t unescape(char *text)
{
    static const char names[] = "nrt'\"\\", values[] = "\n\r\t'\"\\";
    char *to = text;
    for (const char *p = text; *p; p++) {
        const char *name = *p == '\\' && p[1] ? strchr(names, p[1]) : NULL;
        *to++ = name ? values[name - names] : *p;
        if (name) p++;
    }
    *to = 0;
    return (size_t)(to - text);
}
