/* digest.h - the four digests of gguf-hash behind one set of calls. */
#ifndef TOOLS_DIGEST_H
#define TOOLS_DIGEST_H

#include <stddef.h>

enum digest_kind { DIGEST_XXH64, DIGEST_SHA1, DIGEST_SHA256, DIGEST_UUID, DIGEST_KINDS };

#define DIGEST_TEXT 72 /* room for any digest as text */

struct digest;

/* "xxh64", "sha1", "sha256", "uuid". */
const char *digest_name(enum digest_kind kind);

/* NULL: out of memory. */
struct digest *digest_new(enum digest_kind kind);
void digest_update(struct digest *d, const void *bytes, size_t len);
/* The digest as lower-case text; d is ready for a new message. */
void digest_final(struct digest *d, char text[DIGEST_TEXT]);
void digest_free(struct digest *d);

#endif
