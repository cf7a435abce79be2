/* pack_types.h - which types the experts of a pack's layer have, counted. */
#ifndef TOOLS_PACK_TYPES_H
#define TOOLS_PACK_TYPES_H

#include "../../libgguf/libgguf.h"
#include "out.h"

struct pack_types {
    uint32_t count[GGF_PARTS][GGF_TYPE_COUNT];
    uint64_t least_bytes, most_bytes; /* of a plain record */
};

void pack_types_of(struct pack_types *t, const ggf_pack *pack, uint32_t layer);

/* The one type of a part of all experts, or NULL if there are several. */
const char *pack_types_only(const struct pack_types *t, enum ggf_part part);

/* "3 iq2_s, 12 iq3_s, 1 q4_K" into out[size]. */
void pack_types_text(char *out, size_t size, const struct pack_types *t,
                     enum ggf_part part);

/* {"iq2_s": 3, ...} under `key` in the object that is open. */
void pack_types_json(struct json *j, const char *key, const struct pack_types *t,
                     enum ggf_part part);

#endif
