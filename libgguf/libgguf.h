/* libgguf - read, check, write and split GGUF model files, and expert packs.
 *
 * This header and libgguf_pack.h, which it includes, are the manual.  Conventions:
 *
 *  - Functions that can fail return 0 or a negative enum ggf_status and, if `err`
 *    is not NULL, say in one sentence what was found and what was expected.
 *  - Every byte of a file is checked once, when it is opened.  After that the
 *    views handed out are plain pointers, valid until the file is closed.
 *  - The library never prints, exits or aborts.  It has no global state, except
 *    the list of unfinished outputs that ggf_discard_outputs() walks.
 *  - A ggf_file may be read from many threads at once.  A ggf_writer may be
 *    written to from many threads once ggf_writer_begin() has returned.
 *  - Files are little-endian, and so must be the machine.
 *  - Sizes and counts are bytes and elements in uint64_t; ne[] is in ggml order,
 *    ne[0] the length of a row, fastest in memory.
 */
#ifndef LIBGGUF_H
#define LIBGGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GGF_VERSION_MAJOR 0
#define GGF_VERSION_MINOR 1
#define GGF_VERSION_PATCH 0

#if defined(GGF_BUILD)
#define GGF_API __attribute__((visibility("default")))
#else
#define GGF_API
#endif

/* "0.1.0" */
GGF_API const char *ggf_version(void);

/* ==== Errors ============================================================== */

enum ggf_status {
    GGF_OK = 0,
    GGF_E_IO = -1,        /* the system refused: open, read, write, map */
    GGF_E_FORMAT = -2,    /* the bytes are not a valid file of their kind */
    GGF_E_TYPE = -3,      /* a key or tensor is there, but of another type */
    GGF_E_NOT_FOUND = -4, /* no such key, tensor, record */
    GGF_E_ARG = -5,       /* the caller asked for something impossible */
    GGF_E_NOMEM = -6,
    GGF_E_EXISTS = -7, /* the output is there already and force was not set */
    GGF_E_HASH = -8,   /* stored and computed hash differ */
};

#define GGF_NO_OFFSET UINT64_MAX

typedef struct ggf_error {
    int code;          /* enum ggf_status */
    uint64_t offset;   /* byte in the file that is wrong, or GGF_NO_OFFSET */
    char message[400]; /* one sentence; names the offset where there is one */
} ggf_error;

/* Fill *err (which may be NULL) and return code.  `offset` is appended to the
 * message unless it is GGF_NO_OFFSET. */
GGF_API int ggf_fail(ggf_error *err, int code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* GGF_E_NOMEM, "out of memory". */
GGF_API int ggf_no_memory(ggf_error *err);

/* "invalid format", ...; never NULL. */
GGF_API const char *ggf_status_name(int code);

/* ==== Tensor types ======================================================== */

enum ggf_type {
    GGF_F32 = 0,
    GGF_F16 = 1,
    GGF_Q4_0 = 2,
    GGF_Q4_1 = 3,
    GGF_Q5_0 = 6,
    GGF_Q5_1 = 7,
    GGF_Q8_0 = 8,
    GGF_Q8_1 = 9,
    GGF_Q2_K = 10,
    GGF_Q3_K = 11,
    GGF_Q4_K = 12,
    GGF_Q5_K = 13,
    GGF_Q6_K = 14,
    GGF_Q8_K = 15,
    GGF_IQ2_XXS = 16,
    GGF_IQ2_XS = 17,
    GGF_IQ3_XXS = 18,
    GGF_IQ1_S = 19,
    GGF_IQ4_NL = 20,
    GGF_IQ3_S = 21,
    GGF_IQ2_S = 22,
    GGF_IQ4_XS = 23,
    GGF_I8 = 24,
    GGF_I16 = 25,
    GGF_I32 = 26,
    GGF_I64 = 27,
    GGF_F64 = 28,
    GGF_IQ1_M = 29,
    GGF_BF16 = 30,
    GGF_TQ1_0 = 34,
    GGF_TQ2_0 = 35,
    GGF_MXFP4 = 39,
    GGF_NVFP4 = 40,
    GGF_Q1_0 = 41,
    GGF_Q2_0 = 42,
    GGF_TYPE_COUNT = 43, /* first id that is not a type */
};

struct ggf_type_info {
    const char *name;     /* "q4_K"; NULL for an id that is unused or removed */
    uint32_t block;       /* elements in a block; a row is a whole number of blocks */
    uint32_t block_bytes; /* bytes of a block */
    bool quantized;       /* several elements share a scale */
};

/* The entry for a type id, or NULL if the id is unknown or removed. */
GGF_API const struct ggf_type_info *ggf_type_info(uint32_t type);

/* "q4_K", or "?" for an unknown id. */
GGF_API const char *ggf_type_name(uint32_t type);

/* The id of a name in any case ("Q4_K", "q4_k"), or -1. */
GGF_API int ggf_type_from_name(const char *name);

/* Bytes of a row of n elements.  n must be a multiple of the block and the type
 * valid; the product is not checked for overflow. */
GGF_API uint64_t ggf_row_bytes(uint32_t type, uint64_t n);

/* ==== Reading ============================================================= */

typedef struct ggf_file ggf_file; /* one model: a file or a whole split set */

/* Text inside a file: not NUL-terminated, may hold any byte. */
struct ggf_str {
    const char *data;
    uint64_t len;
};

enum ggf_kv_type {
    GGF_KV_U8 = 0,
    GGF_KV_I8 = 1,
    GGF_KV_U16 = 2,
    GGF_KV_I16 = 3,
    GGF_KV_U32 = 4,
    GGF_KV_I32 = 5,
    GGF_KV_F32 = 6,
    GGF_KV_BOOL = 7,
    GGF_KV_STRING = 8,
    GGF_KV_ARRAY = 9,
    GGF_KV_U64 = 10,
    GGF_KV_I64 = 11,
    GGF_KV_F64 = 12,
    GGF_KV_TYPE_COUNT = 13,
};

/* One metadata entry.  The value lies unaligned in the file's bytes; use the
 * getters below. */
struct ggf_kv {
    const char *key;     /* NUL-terminated copy */
    uint32_t type;       /* enum ggf_kv_type */
    uint32_t elem_type;  /* of an array's elements; else equal to type */
    uint64_t count;      /* elements of an array; else 1 */
    const uint8_t *data; /* the value's bytes, after type (and count) */
    uint64_t bytes;      /* length of data */
    uint64_t offset;     /* of the entry in its file, for messages */
};

/* One tensor.  `data` is NULL if the file was opened without its data. */
struct ggf_tensor {
    const char *name; /* NUL-terminated copy, at most 63 bytes */
    uint32_t type;    /* enum ggf_type */
    uint32_t n_dims;  /* 1..4, as stored */
    uint64_t ne[4];   /* 1 beyond n_dims */
    uint64_t count;   /* elements */
    uint64_t bytes;   /* size of the data, without padding */
    uint64_t offset;  /* of the data in its shard's file, absolute */
    uint32_t shard;   /* index of the file it lies in */
    const uint8_t *data;
};

struct ggf_open_options {
    bool header_only; /* do not require or map tensor data: tensor.data is NULL, and
                         a file cut off after its header is accepted */
    bool one_shard;   /* open just this file, even if it is a part of a set */
    bool allow_gaps;  /* tensors may leave gaps or lie in any order (never overlap) */
};

/* Open a file, mapped read-only.  If it is the first of a split set
 * (NAME-00001-of-0000N.gguf), the others are opened too and the whole looks like
 * one model: metadata of the first shard, tensors of all in order.
 * The files must not be cut short while they are open: reading a page that is gone
 * raises SIGBUS.  options may be NULL. */
GGF_API int ggf_open(ggf_file **out, const char *path,
                     const struct ggf_open_options *options, ggf_error *err);

/* Read a file that lies in memory; the bytes must stay until ggf_close(). */
GGF_API int ggf_open_buffer(ggf_file **out, const void *bytes, size_t len,
                            const struct ggf_open_options *options, ggf_error *err);

/* Read a file through a callback: it must fill `into` with `len` bytes from
 * `offset` on and return 0; any other value fails the open with GGF_E_IO.  Only the
 * header is read (a few growing pieces, 64 MiB at most); tensor.data is NULL. */
typedef int (*ggf_read_fn)(void *user, uint64_t offset, void *into, size_t len);
GGF_API int ggf_open_callback(ggf_file **out, ggf_read_fn read, void *user,
                              uint64_t file_size, const struct ggf_open_options *options,
                              ggf_error *err);

/* NULL is allowed. */
GGF_API void ggf_close(ggf_file *file);

/* A file of a split set; a single file has one. */
struct ggf_shard {
    const char *path;     /* "" when not opened by path */
    uint64_t size;        /* of the file */
    uint64_t header_end;  /* of the last tensor's entry; zeros up to data_offset */
    uint64_t data_offset; /* of the first byte after header and padding; past the end
                             only in a file cut off there and opened header_only */
    uint32_t version;     /* 2 or 3 */
    uint32_t alignment;
    uint32_t first_tensor; /* index of its first tensor */
    uint32_t n_tensors;
    const uint8_t *bytes; /* the mapping or buffer; NULL with a callback */
};

GGF_API uint32_t ggf_shard_count(const ggf_file *file);
GGF_API const struct ggf_shard *ggf_shard(const ggf_file *file, uint32_t index);

GGF_API uint64_t ggf_tensor_count(const ggf_file *file);
GGF_API const struct ggf_tensor *ggf_tensor(const ggf_file *file, uint64_t index);
/* NULL if there is none. */
GGF_API const struct ggf_tensor *ggf_find_tensor(const ggf_file *file, const char *name);

GGF_API uint64_t ggf_kv_count(const ggf_file *file);
GGF_API const struct ggf_kv *ggf_kv(const ggf_file *file, uint64_t index);
/* NULL if there is none. */
GGF_API const struct ggf_kv *ggf_find_kv(const ggf_file *file, const char *key);

/* Typed access.  Integers of any width and sign convert to each other when the value
 * fits, bools to the integers 0 and 1, f32 and f64 to double; anything else is
 * GGF_E_TYPE.  A missing key is
 * GGF_E_NOT_FOUND.  *out is only written on success, so a default can be put there
 * first and GGF_E_NOT_FOUND ignored. */
GGF_API int ggf_get_u32(const ggf_file *file, const char *key, uint32_t *out,
                        ggf_error *err);
GGF_API int ggf_get_u64(const ggf_file *file, const char *key, uint64_t *out,
                        ggf_error *err);
GGF_API int ggf_get_i64(const ggf_file *file, const char *key, int64_t *out,
                        ggf_error *err);
GGF_API int ggf_get_f64(const ggf_file *file, const char *key, double *out,
                        ggf_error *err);
GGF_API int ggf_get_bool(const ggf_file *file, const char *key, bool *out,
                         ggf_error *err);
GGF_API int ggf_get_str(const ggf_file *file, const char *key, struct ggf_str *out,
                        ggf_error *err);

/* A key of the model's architecture: "expert_count" is looked up as
 * "qwen3next.expert_count" when general.architecture is "qwen3next". */
GGF_API int ggf_get_arch_u32(const ggf_file *file, const char *key, uint32_t *out,
                             ggf_error *err);

/* Element `index` of a scalar (index 0) or an array of numbers or bools. */
GGF_API int ggf_kv_i64(const struct ggf_kv *kv, uint64_t index, int64_t *out,
                       ggf_error *err);
GGF_API int ggf_kv_f64(const struct ggf_kv *kv, uint64_t index, double *out,
                       ggf_error *err);
/* All strings of a string or an array of strings, into out[kv->count]. */
GGF_API int ggf_kv_strings(const struct ggf_kv *kv, struct ggf_str *out, ggf_error *err);
/* "u32", "array", ...; "?" for an unknown id. */
GGF_API const char *ggf_kv_type_name(uint32_t type);

/* ==== Roles =============================================================== */

/* What a tensor is for, from its name and its neighbours'. */
enum ggf_role {
    GGF_ROLE_EXPERTS,   /* routed experts: ffn_{gate,up,down,gate_up}_exps */
    GGF_ROLE_SHARED,    /* the shared expert and its gate */
    GGF_ROLE_ROUTER,    /* ffn_gate_inp and its bias */
    GGF_ROLE_ATTENTION, /* softmax attention's matrices */
    GGF_ROLE_DELTA,     /* linear attention and state space layers: ssm_*, and attn_qkv
                           and attn_gate of such a layer */
    GGF_ROLE_FFN,       /* a dense feed-forward block */
    GGF_ROLE_EMBEDDING,
    GGF_ROLE_OUTPUT,
    GGF_ROLE_NORM,
    GGF_ROLE_MTP, /* anything of a multi-token prediction block */
    GGF_ROLE_OTHER,
    GGF_ROLE_COUNT,
};

/* "experts", "shared expert", ...; never NULL. */
GGF_API const char *ggf_role_name(enum ggf_role role);
GGF_API enum ggf_role ggf_tensor_role(const ggf_file *file,
                                      const struct ggf_tensor *tensor);
/* The N of "blk.N.REST", or -1. */
GGF_API int64_t ggf_tensor_layer(const struct ggf_tensor *tensor);
/* How many of the blk.N are multi-token prediction blocks; they come last. */
GGF_API uint32_t ggf_mtp_layers(const ggf_file *file);

/* ==== Split names ========================================================= */

/* "PREFIX-00002-of-00005.gguf" for index 1 of 5, into out (NUL-terminated).
 * Returns the length, or -1 if it does not fit. */
GGF_API int ggf_split_name(char *out, size_t size, const char *prefix, uint32_t index,
                           uint32_t count);
/* The length of PREFIX if name ends in -%05d-of-%05d.gguf, storing the zero-based
 * index and the count; else 0. */
GGF_API size_t ggf_split_parse(const char *name, uint32_t *index, uint32_t *count);

/* ==== Writing files safely ================================================ */

/* A file under a temporary name beside the final one.  Nothing is visible under the
 * final name before ggf_output_commit() has synced it to disk. */
typedef struct ggf_output ggf_output;

GGF_API int ggf_output_create(ggf_output **out, const char *path, bool force,
                              ggf_error *err);
/* Write at a position; threads may write disjoint ranges at once. */
GGF_API int ggf_output_write(ggf_output *out, uint64_t offset, const void *bytes,
                             size_t len, ggf_error *err);
/* Copy `len` bytes of an open file from `from` on, without their passing through the
 * process where the file systems can do that (and sharing the blocks where they can). */
GGF_API int ggf_output_copy(ggf_output *out, uint64_t offset, int fd, uint64_t from,
                            uint64_t len, ggf_error *err);
/* Set the length: a gap never written reads as zeros. */
GGF_API int ggf_output_resize(ggf_output *out, uint64_t size, ggf_error *err);
/* Bring what was written to disk; a commit after this takes no time. */
GGF_API int ggf_output_sync(ggf_output *out, ggf_error *err);
/* Sync, rename to the final name, free.  On failure the temporary file is gone too. */
GGF_API int ggf_output_commit(ggf_output *out, ggf_error *err);
/* The same for several, of which all appear or none: if one cannot get its name those
 * that have theirs go again, and what they replaced is back (on file systems that can
 * exchange names).  ggf_discard_outputs() waits while the names change. */
GGF_API int ggf_outputs_commit(ggf_output *const *outs, size_t n, ggf_error *err);
/* Remove the temporary file and free.  NULL is allowed. */
GGF_API void ggf_output_discard(ggf_output *out);
/* Remove the temporary files of all outputs not committed yet.  May be called from
 * a signal handler that then ends the process. */
GGF_API void ggf_discard_outputs(void);

/* ==== Writing GGUF ======================================================== */

typedef struct ggf_writer ggf_writer;

struct ggf_writer_options {
    bool force;         /* replace an existing file */
    uint32_t alignment; /* 0: as general.alignment says, 32 if it is not set.  Else lay
                           the data out by this and leave the key alone: only to
                           reproduce what tools that ignore the key write, a file that
                           may not be readable */
};

/* Order of calls: create, set keys and add tensors, begin, write, finish.  Without a path
 * nothing can be written: only to ask for the size, then to be discarded. */
GGF_API int ggf_writer_create(ggf_writer **out, const char *path,
                              const struct ggf_writer_options *options, ggf_error *err);

/* Set a key.  If it is there already the old entry goes and the new one is put at the
 * end, which is where llama.cpp's tools put it. */
GGF_API int ggf_writer_set_u16(ggf_writer *w, const char *key, uint16_t v, ggf_error *e);
GGF_API int ggf_writer_set_u32(ggf_writer *w, const char *key, uint32_t v, ggf_error *e);
GGF_API int ggf_writer_set_i32(ggf_writer *w, const char *key, int32_t v, ggf_error *e);
GGF_API int ggf_writer_set_u64(ggf_writer *w, const char *key, uint64_t v, ggf_error *e);
GGF_API int ggf_writer_set_f32(ggf_writer *w, const char *key, float v, ggf_error *e);
GGF_API int ggf_writer_set_bool(ggf_writer *w, const char *key, bool v, ggf_error *e);
GGF_API int ggf_writer_set_str(ggf_writer *w, const char *key, const char *v,
                               ggf_error *e);
/* Any value from its bytes as they stand in a file; kv->key, type, elem_type, count,
 * data and bytes are used.  This is how entries of another file are copied. */
GGF_API int ggf_writer_set_kv(ggf_writer *w, const struct ggf_kv *kv, ggf_error *e);
/* An array of numbers: `count` elements of a fixed-size elem_type. */
GGF_API int ggf_writer_set_array(ggf_writer *w, const char *key, uint32_t elem_type,
                                 const void *elements, uint64_t count, ggf_error *e);
GGF_API int ggf_writer_set_str_array(ggf_writer *w, const char *key,
                                     const struct ggf_str *strings, uint64_t count,
                                     ggf_error *e);
/* Nothing happens if the key is not there. */
GGF_API void ggf_writer_remove_kv(ggf_writer *w, const char *key);

/* Add a tensor; tensors lie in the file in the order of these calls.  The number of
 * dimensions stored is up to the last one above 1, at least 1. */
GGF_API int ggf_writer_add_tensor(ggf_writer *w, const char *name, uint32_t type,
                                  const uint64_t ne[4], ggf_error *err);

/* Bytes of the finished file, known before anything is written; UINT64_MAX if begin
 * will say that it is too large. */
GGF_API uint64_t ggf_writer_file_size(const ggf_writer *w);

/* Write the header.  No more keys or tensors after this. */
GGF_API int ggf_writer_begin(ggf_writer *w, ggf_error *err);

/* Write a piece of tensor number `index`, `offset` bytes from its start.  Pieces may
 * come in any order and from many threads; each byte must be written once. */
GGF_API int ggf_writer_write(ggf_writer *w, uint64_t index, uint64_t offset,
                             const void *bytes, size_t len, ggf_error *err);
/* The same with bytes of an open file, as ggf_output_copy(). */
GGF_API int ggf_writer_copy(ggf_writer *w, uint64_t index, uint64_t offset, int fd,
                            uint64_t from, uint64_t len, ggf_error *err);

/* Check that all bytes came, sync, rename to the final name and free.  Whatever the
 * result, w is gone afterwards. */
GGF_API int ggf_writer_finish(ggf_writer *w, ggf_error *err);
/* The same for the files of a set: all appear or none, as with ggf_outputs_commit(). */
GGF_API int ggf_writers_finish(ggf_writer *const *writers, size_t n, ggf_error *err);
/* Give up: nothing is left on disk.  NULL is allowed. */
GGF_API void ggf_writer_discard(ggf_writer *w);

/* ==== SHA-256 (libcrypto) ================================================= */

#define GGF_SHA256_BYTES 32

typedef struct ggf_sha256 ggf_sha256;
GGF_API ggf_sha256 *ggf_sha256_new(void); /* NULL: out of memory */
GGF_API void ggf_sha256_update(ggf_sha256 *h, const void *bytes, size_t len);
/* Writes the digest and makes h ready for a new message. */
GGF_API void ggf_sha256_final(ggf_sha256 *h, uint8_t out[GGF_SHA256_BYTES]);
GGF_API void ggf_sha256_free(ggf_sha256 *h);
/* All at once. */
GGF_API void ggf_sha256_of(const void *bytes, size_t len, uint8_t out[GGF_SHA256_BYTES]);

#ifdef __cplusplus
}
#endif

#include "libgguf_pack.h"

#endif
