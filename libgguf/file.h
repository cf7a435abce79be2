/* file.h - what a ggf_file holds.  Internal to libgguf. */
#ifndef GGF_FILE_H
#define GGF_FILE_H

#include "libgguf.h"
#include "names.h"

/* A block of copied text (keys, names); freed with the file. */
struct text_block {
    struct text_block *next;
    char text[];
};

struct shard {
    struct ggf_shard view;
    char *path;
    void *map;       /* to munmap, or NULL */
    uint8_t *copied; /* header read through a callback, or NULL */
};

struct ggf_file {
    struct shard *shards;
    uint32_t n_shards;
    struct ggf_kv *kvs;
    uint64_t n_kvs;
    struct ggf_tensor *tensors;
    uint64_t n_tensors;
    struct name_set kv_index, tensor_index;
    struct text_block *text;
};

/* One file's header, as parse_header() found it. */
struct header {
    uint32_t version, alignment;
    uint64_t header_end, data_offset;
    struct ggf_kv *kvs;
    uint64_t n_kvs;
    struct ggf_tensor *tensors; /* offset absolute, data and shard not set */
    uint64_t n_tensors;
    struct name_set kv_index, tensor_index;
    struct text_block *text;
};

/* The bytes at hand: the first `avail` of a file of `size`. */
struct source {
    const uint8_t *bytes;
    uint64_t avail, size;
};

/* Parse and check everything up to the data section.  Returns 0, a negative status, or
 * NEED_MORE when avail < size and the header goes on behind avail. */
enum { NEED_MORE = 1 };
int parse_header(struct header *h, const struct source *src,
                 const struct ggf_open_options *options, ggf_error *err);
void free_header(struct header *h);
void free_text(struct text_block *text);

#endif
