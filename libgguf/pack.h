/* pack.h - the expert pack's layout in the file, and what a ggf_pack holds.
 * Internal to libgguf.  docs/expert-pack.md is the specification. */
#ifndef GGF_PACK_H
#define GGF_PACK_H

#include "libgguf.h"

#define PACK_MAGIC     "XPACK\r\n\032"
#define PACK_VERSION   1u
#define PACK_ALIGNMENT 4096u

/* Fields of the header, a block of 4096 bytes; what lies between and behind is zero. */
enum {
    PACK_HEADER_BYTES = 4096,
    H_MAGIC = 0,
    H_VERSION = 8,
    H_ALIGNMENT = 12,
    H_FLAGS = 16, /* none is defined */
    H_N_LAYERS = 20,
    H_N_RECORDS = 24,
    H_FILE_SIZE = 32,
    H_LAYERS_OFFSET = 40,
    H_INDEX_OFFSET = 48,
    H_DATA_OFFSET = 56,
    H_SOURCE_OFFSET = 64,
    H_SOURCE_STORED = 72,
    H_SOURCE_RAW = 80,
    H_ZSTD_LEVEL = 88,
    H_ROOT = 96,
    H_END = 128,
};

/* An entry of the layer table. */
enum {
    L_BLOCK = 0,
    L_N_EXPERT = 4,
    L_FLAGS = 8,
    L_FIRST_RECORD = 16,
    L_N_EMBD = 24,
    L_N_FF = 32,
    L_END = 40,
    PACK_LAYER_BYTES = 64,
    LAYER_FUSED = 1,
};

/* An entry of the index. */
enum {
    R_OFFSET = 0,
    R_STORED = 8,
    R_RAW = 16,
    R_FLAGS = 24,
    R_TYPE = 28,        /* u32 each: gate, up, down */
    R_PART_OFFSET = 40, /* u64 each */
    R_END = 64,
    R_SHA256 = 80,
    PACK_RECORD_BYTES = 112,
    RECORD_ZSTD = 1,
};

/* Limits that keep a lying header from costing memory. */
#define PACK_MAX_LAYERS 65536u
#define PACK_MAX_RECORD (1ull << 30)
#define PACK_MAX_SOURCE (1ull << 30)

struct ggf_pack {
    struct ggf_pack_info info;
    const uint8_t *bytes;
    char *path;
    void *map; /* to munmap, or NULL */
    struct ggf_pack_layer *layers;
    struct ggf_pack_record *records;
    uint64_t index_offset;
    uint64_t source_offset, source_stored, source_raw;
};

/* Where the parts of a plain record lie, from their types and the layer's shape: fills
 * part_bytes, part_offset and raw_bytes.  `at` is the place to blame. */
int pack_place_parts(struct ggf_pack_record *r, const struct ggf_pack_layer *layer,
                     uint64_t at, ggf_error *err);

/* Zero what lies between and behind the matrices of a plain record. */
void pack_zero_padding(const struct ggf_pack_record *r, uint8_t *raw);

/* The root hash of header and tables; `header` may hold any root. */
int pack_root(uint8_t out[GGF_SHA256_BYTES], const uint8_t *header, const uint8_t *layers,
              uint64_t layers_bytes, const uint8_t *index, uint64_t index_bytes,
              const uint8_t *source, uint64_t source_bytes, ggf_error *err);

#endif
