/* source.h - where the experts of a layer lie: slabs of a GGUF or records of a pack, and
 * what of them has to be read from disk.
 *
 * Knows files and shapes, not what is in memory. */
#ifndef INFER_EXPERTS_SOURCE_H
#define INFER_EXPERTS_SOURCE_H

#include "../ops/matrix.h"

/* down(silu(gate x) * up x): gate and up are n_embd -> n_ff, down is n_ff -> n_embd.
 * Each has a type of its own. */
struct expert {
    struct matrix gate, up, down;
};

/* One matrix of all experts of a layer in a plain GGUF. */
struct expert_slab {
    const uint8_t *data;        /* mapped */
    const char *path;           /* of the file with file_size bytes, ... */
    uint64_t file_size, offset; /* ... where it starts */
    uint32_t type;
    uint64_t stride; /* bytes from one expert to the next */
};

struct expert_dims {
    uint32_t n_layer, n_expert, n_embd, n_ff;
    bool exact; /* kernels for float activations */
};

struct source {
    const ggf_pack *pack; /* NULL: slabs */
    uint32_t pack_layer;
    struct expert_slab slab[GGF_PARTS];
    const float *scale[GGF_PARTS]; /* [n_expert] or NULL */
    unsigned in_kinds, mid_kinds;
    uint64_t bytes;      /* of all experts' matrices */
    uint64_t slot_bytes; /* of the largest expert, as it lies in memory of the store */
};

int source_set_slabs(struct source *src, const struct expert_dims *dims,
                     const struct expert_slab slabs[GGF_PARTS], ggf_error *err);
/* Shapes and types of all records are checked. */
int source_set_pack(struct source *src, const struct expert_dims *dims,
                    const ggf_pack *pack, uint32_t pack_layer, ggf_error *err);

/* The record of an expert; NULL if the source is not a pack. */
const struct ggf_pack_record *source_record(const struct source *src, uint32_t expert);

/* A stretch of a file that is read in one go, whole pages, and its place in memory.  The
 * last page may lie behind the end of the file; `need` bytes lie before. */
struct disk_piece {
    const char *path;
    uint64_t file_size, offset, bytes, need, at;
};

/* How an expert is read.  A compressed record is one piece and goes elsewhere first. */
struct layout {
    struct disk_piece pieces[GGF_PARTS];
    int n, n_in;              /* pieces; the first n_in of them hold gate and up */
    uint64_t bytes;           /* in memory of the store */
    uint64_t part[GGF_PARTS]; /* where the matrices are in it */
};
void source_layout(const struct source *src, const struct expert_dims *dims,
                   uint32_t expert, struct layout *out);

/* The expert's matrices: at `memory`, laid out as above; or mapped if that is NULL. */
void source_expert(const struct source *src, const struct expert_dims *dims,
                   uint32_t expert, const uint8_t *memory, struct expert *out);

#endif
