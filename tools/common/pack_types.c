/* pack_types.c - see pack_types.h. */
#include "pack_types.h"

#include <inttypes.h>
#include <stdio.h>

void pack_types_of(struct pack_types *t, const ggf_pack *pack, uint32_t layer)
{
    *t = (struct pack_types){ .least_bytes = UINT64_MAX };
    for (uint32_t e = 0; e < ggf_pack_layer(pack, layer)->n_expert; e++) {
        const struct ggf_pack_record *r = ggf_pack_record(pack, layer, e);
        for (int i = 0; i < GGF_PARTS; i++) t->count[i][r->type[i]]++;
        if (r->raw_bytes < t->least_bytes) t->least_bytes = r->raw_bytes;
        if (r->raw_bytes > t->most_bytes) t->most_bytes = r->raw_bytes;
    }
}

const char *pack_types_only(const struct pack_types *t, enum ggf_part part)
{
    const char *only = NULL;
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        if (!t->count[part][type]) continue;
        if (only) return NULL;
        only = ggf_type_name(type);
    }
    return only;
}

void pack_types_text(char *out, size_t size, const struct pack_types *t,
                     enum ggf_part part)
{
    size_t n = 0;
    *out = 0;
    for (uint32_t type = 0; type < GGF_TYPE_COUNT && n < size; type++)
        if (t->count[part][type])
            n += (size_t)snprintf(out + n, size - n, "%s%" PRIu32 " %s", n ? ", " : "",
                                  t->count[part][type], ggf_type_name(type));
}

void pack_types_json(struct json *j, const char *key, const struct pack_types *t,
                     enum ggf_part part)
{
    json_open(j, key, '{');
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
        if (t->count[part][type]) json_u64(j, ggf_type_name(type), t->count[part][type]);
    json_close(j, '}');
}
