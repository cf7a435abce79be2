/* pack_source.h - the pack's source section: what the records and the dense GGUF do not
 * hold of the files the pack was made of.  Internal to libgguf.
 *
 * Its bytes, before compression:
 *
 *     u32 files  u32 extras  u64 tensors
 *     files:    u64 size  u64 header bytes  u32 name bytes  u32 0  name  header
 *     tensors:  SHA-256 of each tensor that is not an expert's, in the model's order
 *     extras:   u64 offset  u64 bytes  u32 file  u32 0  bytes
 *
 * A pack that was not made of a model has no files.
 * A header is everything up to the data section.  Extras are bytes between and behind
 * the tensors that are not zero. */
#ifndef GGF_PACK_SOURCE_H
#define GGF_PACK_SOURCE_H

#include "experts.h"

struct source_file {
    const char *name; /* not NUL-terminated */
    uint32_t name_bytes;
    uint64_t size, header_bytes;
    const uint8_t *header;
};

struct source_extra {
    uint64_t offset, bytes;
    uint32_t file;
    const uint8_t *data;
};

struct pack_source {
    uint8_t *raw;
    struct source_file *files;
    struct source_extra *extras;
    const uint8_t *hashes;
    uint32_t n_files, n_extras;
    uint64_t n_hashes;
};

/* Decompress and check the section of a pack. */
int pack_source_load(struct pack_source *out, const ggf_pack *pack, ggf_error *err);
void pack_source_free(struct pack_source *s);

/* The compressed section of a pack without source files takes at most so much. */
uint64_t pack_source_bound(uint64_t n_hashes);

/* ggf_pack_restore() for a pack without source files: GGF_E_ARG if the experts of a block
 * have different types. */
int pack_to_plain(const ggf_file *dense, const ggf_pack *pack, const char *path,
                  const struct ggf_pack_options *options, ggf_error *err);

/* The size of the file it would write. */
int pack_plain_size(uint64_t *bytes, const ggf_file *dense, const ggf_pack *pack,
                    ggf_error *err);

/* Build the section, compressed, malloc'd; hashes are those of the dense tensors.  The
 * model is what the pack was made of, with its input; or NULL if there is none to give
 * back. */
int pack_source_build(uint8_t **out, uint64_t *stored, uint64_t *raw,
                      const ggf_file *model, const struct model_input *in,
                      const uint8_t *hashes, uint64_t n_hashes, ggf_error *err);

#endif
