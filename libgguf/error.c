/* error.c - error values and the version.  Nothing here prints. */
#include "libgguf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(err->message, sizeof err->message, format, ap);
    va_end(ap);
    if (n < 0) n = 0;
    if (offset != GGF_NO_OFFSET && (size_t)n < sizeof err->message)
        snprintf(err->message + n, sizeof err->message - (size_t)n,
                 " (at byte %" PRIu64 ", 0x%" PRIx64 ")", offset, offset);
    return code;
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
