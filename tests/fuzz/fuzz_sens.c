/* fuzz_sens.c - any bytes as the file of --sens: read, or refused in words. */
#include "../../tools/common/sens.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    sens *s = NULL;
    ggf_error err = { 0 };
    if (sens_parse(&s, (const char *)bytes, len, "sens.csv", &err)) {
        if (s || !*err.message) __builtin_trap();
        return 0;
    }
    sens_free(s);
    return 0;
}
