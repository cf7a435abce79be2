/* record.h - one piece of a kept state as bytes in a file: docs/sessions.md specifies it.
 *
 *   page    the keys and values of PAGE_TOKENS tokens, all layers
 *   state   those of the tokens behind the last whole page, and the recurrent state
 *
 * A record's key is the SHA-256 of what stands before it (another page's key; before the
 * first page the root, which is model and settings) and of its tokens.  So a key stands
 * for a model, settings and all tokens from the first on. */
#ifndef INFER_SESSION_RECORD_H
#define INFER_SESSION_RECORD_H

#include "../../libgguf/libgguf.h"

enum { PAGE_TOKENS = 256, KEY_BYTES = GGF_SHA256_BYTES, RECORD_HEADER = 160 };

enum record_kind { RECORD_PAGE = 1, RECORD_STATE = 2 };

struct kept_record {
    enum record_kind kind;
    uint32_t start, n_tokens; /* tokens start .. start + n_tokens - 1: of a page
                                 PAGE_TOKENS, of a state fewer */
    uint8_t root[KEY_BYTES], parent[KEY_BYTES], key[KEY_BYTES];
    const int32_t *tokens; /* [n_tokens] */
    const uint8_t *data;
    uint64_t data_bytes;
};

/* Fill in the key. */
void record_set_key(struct kept_record *r);

/* Of the whole record. */
uint64_t record_bytes(const struct kept_record *r);

/* Write it at *at of a file, and move *at behind it. */
int record_write(ggf_output *out, uint64_t *at, const struct kept_record *r,
                 ggf_error *err);

/* Look at the first `len` bytes of a record: at least RECORD_HEADER and the tokens, which
 * end within RECORD_HEAD_MOST.  Everything but the data is checked, r->data is NULL.
 * bytes: aligned to 4, they must outlive r.  name: of the file, for messages. */
enum { RECORD_HEAD_MOST = RECORD_HEADER + PAGE_TOKENS * sizeof(int32_t) };
int record_read_head(struct kept_record *r, const uint8_t *bytes, size_t len,
                     const char *name, ggf_error *err);
/* The same, of a record of which all bytes are there, and only it; the data is checked
 * against the record's SHA-256, too. */
int record_read(struct kept_record *r, const uint8_t *bytes, size_t len, const char *name,
                ggf_error *err);

#endif
