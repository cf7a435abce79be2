/* writer.h - what expert packs ask of a GGUF that is being written, beyond libgguf.h.
 * Internal to libgguf. */
#ifndef GGF_WRITER_H
#define GGF_WRITER_H

#include "libgguf.h"

/* Bytes written before. */
int output_read(const ggf_output *out, uint64_t offset, void *into, size_t len,
                ggf_error *err);

const char *output_path(const ggf_output *out);
const char *writer_path(const ggf_writer *w);
uint64_t writer_tensor_count(const ggf_writer *w);
/* Has every byte of every tensor come? */
int writer_check(const ggf_writer *w, ggf_error *err);
/* SHA-256 of a tensor's data as written; all its pieces must have come. */
int writer_sha256(const ggf_writer *w, uint64_t index, uint8_t out[GGF_SHA256_BYTES],
                  ggf_error *err);
/* The file alone, which the caller is to commit; the writer is gone. */
ggf_output *writer_release(ggf_writer *w);
/* After begin: another text of the same length for a key that has a string.  The key
 * must be there. */
int writer_replace_str(ggf_writer *w, const char *key, const char *text, ggf_error *err);

#endif
