/* fuzz_schema.c - a schema, a zero byte, and numbers that choose a text of it, byte by
 * byte: a schema is compiled, or refused in words; what is compiled never comes to a dead
 * end, and a complete text is JSON. */
#include "../../infer/session/schema.h"
#include "walk.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MOST_SCHEMA = 5000 };

static void check_json(const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY, NULL);
    CHECK(value);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const uint8_t *zero = len ? memchr(bytes, 0, len) : NULL;
    const size_t n = zero ? (size_t)(zero - bytes) : len;
    q3n_grammar *g = NULL;
    ggf_error err = { 0 };
    if (n > MOST_SCHEMA) return 0;
    if (q3n_schema_parse(&g, (const char *)bytes, n, &err)) {
        CHECK(!g && *err.message);
        return 0;
    }
    if (zero) walk(g, zero + 1, len - n - 1, check_json);
    q3n_grammar_free(g);
    return 0;
}
