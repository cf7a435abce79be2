/* error.c - error values and the version.  Nothing here prints. */
#include "libgguf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STR2(x) #x
#define STR(x)  STR2(x)

const char *ggf_version(void)
{
    return STR(GGF_VERSION_MAJOR) "." STR(GGF_VERSION_MINOR) "." STR(GGF_VERSION_PATCH);
}

int ggf_fail(ggf_error *err, int code, uint64_t offset, const char *format, ...)
{
    if (!err) return code;
    err->code = code;
    err->offset = offset;
    char where[64] = "";
    if (offset != GGF_NO_OFFSET)
        snprintf(where, sizeof where, " (at byte %" PRIu64 ", 0x%" PRIx64 ")", offset,
                 offset);
    const size_t tail = strlen(where), room = sizeof err->message - tail;
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(err->message, room, format, ap);
    va_end(ap);
    /* A message too long loses its end, but never the offset. */
    const size_t end = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    memcpy(err->message + end, where, tail + 1);
    return code;
}

int ggf_no_memory(ggf_error *err)
{
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
}

const char *ggf_status_name(int code)
{
    switch (code) {
    case GGF_OK: return "ok";
    case GGF_E_IO: return "input/output error";
    case GGF_E_FORMAT: return "invalid file";
    case GGF_E_TYPE: return "wrong type";
    case GGF_E_NOT_FOUND: return "not found";
    case GGF_E_ARG: return "invalid argument";
    case GGF_E_NOMEM: return "out of memory";
    case GGF_E_EXISTS: return "file exists";
    case GGF_E_HASH: return "hash mismatch";
    default: return "unknown error";
    }
}
