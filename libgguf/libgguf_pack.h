/* libgguf_pack.h - reading, checking and writing expert packs.
 *
 * Included by libgguf.h, whose conventions hold here. */
#ifndef LIBGGUF_PACK_H
#define LIBGGUF_PACK_H

#include "libgguf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A pack holds the routed experts of one model in a file of their own, one record for
 * each (layer, expert) with its gate, up and down matrix together, laid out for mmap and
 * for O_DIRECT reads.  docs/expert-pack.md specifies the file.  The dense GGUF beside it
 * holds everything else and names the pack.
 *
 * Layers are numbered 0..n_layers-1 in the order they lie in the pack; `block` is the N
 * of the tensor names "blk.N.".  A ggf_pack may be used from many threads at once. */

enum ggf_part { GGF_GATE, GGF_UP, GGF_DOWN, GGF_PARTS };

typedef struct ggf_pack ggf_pack;

struct ggf_pack_info {
    const char *path; /* "" when not opened by path */
    uint64_t file_size;
    uint32_t version;
    uint32_t alignment; /* of records and of the matrices inside them: 4096 */
    uint32_t n_layers;
    uint64_t n_records;                       /* of all layers together */
    uint64_t data_offset;                     /* of the first record */
    uint64_t stored_bytes;                    /* of all records, in the file */
    uint64_t raw_bytes;                       /* of all records, not compressed */
    uint64_t n_compressed;                    /* records stored compressed */
    uint64_t max_raw_bytes, max_stored_bytes; /* of one record */
    int32_t zstd_level;  /* records were compressed with; 0: none was */
    const uint8_t *root; /* SHA-256 that vouches for the whole file */
};

struct ggf_pack_layer {
    uint32_t block;
    uint32_t n_expert;
    uint64_t first_record; /* records first_record .. + n_expert - 1 */
    uint64_t n_embd, n_ff; /* gate and up are [n_embd, n_ff], down is [n_ff, n_embd] */
    bool fused;            /* the source had gate and up in one ffn_gate_up_exps */
};

struct ggf_pack_record {
    uint32_t layer, expert;
    uint64_t offset;       /* in the file, a multiple of the alignment */
    uint64_t stored_bytes; /* in the file; whole alignments unless compressed */
    uint64_t raw_bytes;    /* of the plain record, a multiple of the alignment */
    uint32_t type[GGF_PARTS];
    uint64_t part_offset[GGF_PARTS]; /* of each matrix in the plain record */
    uint64_t part_bytes[GGF_PARTS];  /* of each matrix, without padding */
    bool compressed;                 /* stored as one zstd frame */
    const uint8_t *sha256;           /* of the stored bytes */
    const uint8_t *stored;           /* the stored bytes, mapped */
};

/* Open a pack, mapped read-only.  Header, tables and the root hash are checked; of the
 * records nothing is read yet. */
GGF_API int ggf_pack_open(ggf_pack **out, const char *path, ggf_error *err);
/* A pack in memory; the bytes must stay until ggf_pack_close(). */
GGF_API int ggf_pack_open_buffer(ggf_pack **out, const void *bytes, size_t len,
                                 ggf_error *err);
/* NULL is allowed. */
GGF_API void ggf_pack_close(ggf_pack *pack);

GGF_API const struct ggf_pack_info *ggf_pack_info(const ggf_pack *pack);
/* NULL if there is none. */
GGF_API const struct ggf_pack_layer *ggf_pack_layer(const ggf_pack *pack, uint32_t layer);
/* The layer that holds the experts of a block, or -1. */
GGF_API int64_t ggf_pack_layer_of(const ggf_pack *pack, uint32_t block);
/* NULL if there is none. */
GGF_API const struct ggf_pack_record *ggf_pack_record(const ggf_pack *pack,
                                                      uint32_t layer, uint32_t expert);

/* Hash the stored bytes of a record: GGF_E_HASH if they are damaged.  `stored` is where
 * the caller read them to, or NULL for the mapping. */
GGF_API int ggf_pack_verify_record(const ggf_pack *pack, const struct ggf_pack_record *r,
                                   const void *stored, ggf_error *err);
/* The plain record, raw_bytes long, into memory of `size` bytes; decompresses where
 * needed.  `stored` as above.  Does not hash. */
GGF_API int ggf_pack_read(const ggf_pack *pack, const struct ggf_pack_record *r,
                          const void *stored, void *into, size_t size, ggf_error *err);

/* Does this dense GGUF belong to this pack?  Compares the root hash it names. */
GGF_API int ggf_pack_matches(const ggf_file *dense, const ggf_pack *pack, ggf_error *err);
/* The path of the pack that a dense GGUF names, malloc'd: a file in the same folder,
 * or in that of the GGUF which a symbolic link stands for.  GGF_E_NOT_FOUND if it names
 * none. */
GGF_API int ggf_pack_path(char **out, const ggf_file *dense, ggf_error *err);

/* The routed experts of a block in a plain model.  With a fused tensor gate and up are
 * the same one: of its 2 * n_ff rows for each expert the first half is gate, the second
 * up. */
struct ggf_expert_layer {
    struct ggf_pack_layer shape;
    const struct ggf_tensor *tensor[GGF_PARTS];
};
/* All of them by block: what ggf_pack_make() would pack.  *out is the caller's to free().
 * GGF_E_NOT_FOUND if the model has none, GGF_E_FORMAT if their shapes do not fit. */
GGF_API int ggf_expert_layers(struct ggf_expert_layer **out, uint32_t *n,
                              const ggf_file *model, ggf_error *err);

/* ---- Whole packs: make, restore, verify, repair.  These read and write gigabytes;
 * memory stays at a few records per thread. */

/* Called now and then from the thread that called the function; counts bytes. */
typedef void (*ggf_progress_fn)(void *user, uint64_t done, uint64_t total);
/* Called for each damaged record, or with r NULL for other damage, from the thread that
 * called the function. */
typedef void (*ggf_pack_bad_fn)(void *user, const struct ggf_pack_record *r,
                                const ggf_error *what);

struct ggf_pack_options {
    bool force;     /* replace existing files */
    int zstd_level; /* make: compress records; 0 stores them plain */
    int threads;    /* 0: all the process may use */
    ggf_progress_fn progress;
    ggf_pack_bad_fn bad; /* verify, repair */
    void *user;          /* for both */
};

struct ggf_pack_plan {
    uint32_t n_layers;
    uint64_t n_records;
    uint64_t expert_bytes; /* of the experts' matrices */
    uint64_t dense_bytes;  /* of all other tensors */
    uint64_t pack_bytes; /* of the pack without compression, but for its source section */
};

/* What ggf_pack_make() would do.  GGF_E_NOT_FOUND if the model has no routed experts. */
GGF_API int ggf_pack_plan(struct ggf_pack_plan *out, const ggf_file *model,
                          ggf_error *err);

/* Split a model (opened by path, with its data) into a dense GGUF and a pack.  Both must
 * lie in the same folder; either both appear or none. */
GGF_API int ggf_pack_make(const ggf_file *model, const char *dense_path,
                          const char *pack_path, const struct ggf_pack_options *options,
                          ggf_error *err);

/* ---- Packs from records that the caller makes, each matrix in a type of its own: for
 * programs that quantize.  Order of calls: create, begin the dense GGUF, write, write the
 * dense tensors (before or after that), finish. */

/* Fill a plain record: matrix i is part_bytes[i] long and goes to raw + part_offset[i].
 * Offset, stored bytes and hash of the record are not known yet.  Called from many
 * threads; the bytes may depend on the record only. */
typedef int (*ggf_pack_fill_fn)(void *user, const struct ggf_pack_record *record,
                                uint8_t *raw, ggf_error *err);

struct ggf_pack_content {
    const struct ggf_pack_layer *layers; /* by block; first_record is not read */
    uint32_t n_layers;
    const uint32_t (*types)[GGF_PARTS]; /* of each record: by layer, then expert */
    ggf_pack_fill_fn fill;
    void *user;
};

/* Bytes of the finished pack if nothing is compressed, at most (the hashes of the dense
 * tensors are stored compressed: a page may be saved). */
GGF_API int ggf_pack_size(uint64_t *bytes, const struct ggf_pack_content *content,
                          uint64_t dense_tensors, ggf_error *err);

/* Set the keys that name a pack, without its root: writer_create() does this; apart from
 * it to learn how large the dense GGUF will be. */
GGF_API int ggf_pack_announce(ggf_writer *dense, const char *file_name, ggf_error *err);

typedef struct ggf_pack_writer ggf_pack_writer;

/* `dense` has not begun, has a path in the same folder and gets the keys that name the
 * pack.  Layers and types are copied. */
GGF_API int ggf_pack_writer_create(ggf_pack_writer **out, const char *path,
                                   ggf_writer *dense,
                                   const struct ggf_pack_content *content,
                                   const struct ggf_pack_options *options,
                                   ggf_error *err);
/* Make and write all records. */
GGF_API int ggf_pack_writer_write(ggf_pack_writer *w, ggf_error *err);
/* Once all bytes of the dense GGUF came: hash them, write the tables, name the root in
 * the dense GGUF, let both files appear.  Both writers are gone afterwards, whatever the
 * result. */
GGF_API int ggf_pack_writer_finish(ggf_pack_writer *w, ggf_error *err);
/* Give up: nothing is left of the pack; the dense writer is still the caller's.  NULL is
 * allowed. */
GGF_API void ggf_pack_writer_discard(ggf_pack_writer *w);

/* The model again, bit for bit.  Hashes of all records and tensors are checked on the
 * way.  For a split set `path` gives the prefix: PREFIX.gguf or one of its parts.  A pack
 * that was not made of a model gives a plain GGUF with the same values, if the experts of
 * each block have the same types; else GGF_E_ARG. */
GGF_API int ggf_pack_restore(const ggf_file *dense, const ggf_pack *pack,
                             const char *path, const struct ggf_pack_options *options,
                             ggf_error *err);

/* A file that ggf_pack_restore() writes. */
struct ggf_pack_restored {
    char *path; /* the caller's to free() */
    uint64_t size;
};
/* Number `index` of them, without reading records or tensors.  GGF_E_NOT_FOUND behind the
 * last, GGF_E_ARG as ggf_pack_restore(). */
GGF_API int ggf_pack_restored(const ggf_file *dense, const ggf_pack *pack,
                              const char *path, uint32_t index,
                              struct ggf_pack_restored *out, ggf_error *err);

/* Check every byte: records, padding, and if `dense` is not NULL its tensors.  Returns 0
 * with *n_bad counting the damages reported to options->bad. */
GGF_API int ggf_pack_verify(const ggf_pack *pack, const ggf_file *dense,
                            const struct ggf_pack_options *options, uint64_t *n_bad,
                            ggf_error *err);

/* Rewrite damaged records of the pack at `path` in place from the model it was made of.
 * Nothing is written that does not match the hash in the index.  *n_repaired counts. */
GGF_API int ggf_pack_repair(const char *path, const ggf_file *model,
                            const struct ggf_pack_options *options, uint64_t *n_repaired,
                            ggf_error *err);
/* The same from a copy of the pack. */
GGF_API int ggf_pack_repair_from(const char *path, const ggf_pack *copy,
                                 const struct ggf_pack_options *options,
                                 uint64_t *n_repaired, ggf_error *err);

/* A file the pack was made of. */
struct ggf_pack_source {
    char name[256];
    uint64_t size;
};
/* GGF_E_NOT_FOUND behind the last. */
GGF_API int ggf_pack_source(const ggf_pack *pack, uint32_t index,
                            struct ggf_pack_source *out, ggf_error *err);

#ifdef __cplusplus
}
#endif
#endif
