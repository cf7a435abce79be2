/* gpu.h - one CUDA device, as the rest of infer/ sees it: plain C.
 *
 * Implemented by the .cu files of this folder, or by none.c in a build without nvcc,
 * where no device is ever found.  Calls that return nothing are enqueued on the device's
 * stream, in order (but for gpu_copy()); the first failure sticks, everything after it
 * does nothing, and gpu_sync() reports it.  Pointers called _d point to memory of the
 * device; what they point to is laid out as on the CPU, so that a file's bytes are
 * uploaded as they are. */
#ifndef INFER_GPU_GPU_H
#define INFER_GPU_GPU_H

#include "../../libgguf/libgguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gpu gpu;

struct gpu_info {
    char name[128];
    int index, major, minor, n_sm;
    uint64_t bytes_total, bytes_free; /* of memory, free: when it was opened */
    uint64_t bytes_cache;             /* before it */
};

/* Devices there are; 0 with a sentence why in err. */
int gpu_count(ggf_error *err);
int gpu_open(gpu **out, int index, ggf_error *err);
void gpu_close(gpu *g); /* NULL is allowed; memory and graphs first */
const struct gpu_info *gpu_describe(const gpu *g);
uint64_t gpu_bytes_free(gpu *g); /* now */

/* ---- Memory and order ------------------------------------------------------- */

/* 256-aligned, and a multiple of 16: products may read to the end of the 16 bytes that a
 * matrix ends in.  That there is not enough (GGF_E_NOMEM) does not stick. */
int gpu_alloc(gpu *g, void **out_d, uint64_t bytes, ggf_error *err);
void gpu_free(gpu *g, void *p_d);
/* Memory of the host that cannot be swapped; *out_d: where the device sees it. */
int gpu_host_alloc(gpu *g, void **out, void **out_d, uint64_t bytes, ggf_error *err);
void gpu_host_free(gpu *g, void *p);
/* The same for memory that is there: whole pages.  Any failure is the caller's to deal
 * with.  It must not be unmapped, nor its pages be given back, before it is unpinned.
 * What is copied must be pinned as a whole, by one call, or not at all. */
int gpu_host_pin(gpu *g, void *p, uint64_t bytes, ggf_error *err);
void gpu_host_unpin(gpu *g, void *p);

/* Memory of gpu_host_alloc() is read and written when the call's turn comes: leave it
 * alone until gpu_sync().  Other memory of the host may change once gpu_upload() is back,
 * but not while a graph that was recorded with it lives; what is downloaded is there
 * after gpu_sync(). */
void gpu_upload(gpu *g, void *to_d, const void *from, uint64_t bytes);
void gpu_download(gpu *g, void *to, const void *from_d, uint64_t bytes);
/* `rows` pieces of `bytes`, strides in bytes; both ways, for keys and values */
void gpu_upload_rows(gpu *g, void *to_d, size_t to_stride, const void *from,
                     size_t from_stride, size_t bytes, size_t rows);
void gpu_download_rows(gpu *g, void *to, size_t to_stride, const void *from_d,
                       size_t from_stride, size_t bytes, size_t rows);
void gpu_zero(gpu *g, void *to_d, uint64_t bytes);
int gpu_sync(gpu *g, ggf_error *err); /* wait; the first failure since gpu_open */

/* ---- Copies beside all else ------------------------------------------------- */

/* gpu_copy() copies to the device while it does other things, if the host's memory cannot
 * be swapped.  Copies are in order among themselves; against all other calls they are in
 * none, and gpu_sync() does not wait for them, unless one of these says so.  Not while a
 * graph is recorded. */
void gpu_copy(gpu *g, void *to_d, const void *from, uint64_t bytes);
void gpu_after_copies(gpu *g); /* all else from here on comes after the copies so far */
void gpu_copies_after(gpu *g); /* copies from here on come after all else so far */

/* A point in either order that others come after.  Nothing comes before one that was not
 * set yet. */
typedef struct gpu_mark gpu_mark;
int gpu_mark_new(gpu *g, gpu_mark **out, ggf_error *err);
void gpu_mark_free(gpu_mark *mark);   /* NULL is allowed */
void gpu_mark_copies(gpu_mark *mark); /* set it: the copies so far */
void gpu_mark_else(gpu_mark *mark);   /* set it: all else so far */
void gpu_after(gpu_mark *mark);       /* all else from here on comes after it */
void gpu_copies_after_mark(gpu_mark *mark);
int gpu_mark_wait(gpu_mark *mark, ggf_error *err); /* and the host */
bool gpu_mark_done(gpu_mark *mark);                /* is it reached? */
/* From one mark to a later one of its kind, both reached; 0 if that is not known. */
double gpu_mark_seconds(const gpu_mark *from, const gpu_mark *to);

/* ---- Graphs ----------------------------------------------------------------- */

/* Calls between begin and end are recorded, not done; a graph does them as one.  What
 * changes from one run to the next must be in memory of the device.  That there is no
 * graph does not stick: the calls are to be made then, and none is recorded again. */
typedef struct gpu_graph gpu_graph;
int gpu_graph_begin(gpu *g, ggf_error *err);
int gpu_graph_end(gpu *g, gpu_graph **out, ggf_error *err);
void gpu_graph_run(gpu *g, gpu_graph *graph);
void gpu_graph_free(gpu_graph *graph); /* NULL is allowed */

/* ---- Matrices --------------------------------------------------------------- */

/* Rows have a multiple of 32 weights, floats and activations are 16-aligned.  What a
 * token gets is the same, bit by bit, however many tokens a call has.  With quantized
 * weights it is what the CPU's kernels give (quant/mul.h). */

struct gpu_matrix {
    const void *data_d;     /* 16-aligned; rows follow one another */
    uint32_t type, n, rows; /* y = scale W x; W has `rows` rows of n weights */
    size_t row_bytes;
    float scale;
};
struct gpu_part {
    struct gpu_matrix m;
    uint32_t out; /* its first column in the result */
};
enum { GPU_PARTS = 8 };
struct gpu_linear {
    uint32_t n, width, n_parts;   /* n_parts at most GPU_PARTS */
    const struct gpu_part *parts; /* of the host */
};

/* Can the device multiply with that type? */
bool gpu_type(uint32_t type);

/* Activations: 8-bit integers with scales, in both forms that quant/act.h has for the
 * CPU, the same bits; and the floats themselves, for float weights. */
struct gpu_acts {
    const float *x_d; /* [n, tokens] */
    void *q_d;        /* gpu_acts_bytes(n, tokens) */
    uint32_t n, tokens;
};
uint64_t gpu_acts_bytes(uint32_t n, uint32_t tokens);
void gpu_encode(gpu *g, const struct gpu_acts *a); /* q_d from x_d */

void gpu_rows(gpu *g, const struct gpu_matrix *m, const int32_t *ids_d, uint32_t n_ids,
              float *y_d); /* rows of m, decoded: token embeddings */
/* y[t * y_stride + part.out + r] for all parts */
void gpu_linear(gpu *g, const struct gpu_linear *l, const struct gpu_acts *x, float *y_d,
                size_t y_stride);

/* ---- Steps ------------------------------------------------------------------ */

/* What a norm is, and where it goes: y = rms_norm(x) * weight; q = y encoded, unless that
 * is NULL. */
struct gpu_norm_to {
    const float *weight_d; /* [n] */
    float eps;
    float *y_d; /* [n, tokens] */
    void *q_d;
};
/* x += add (unless NULL), and its norm.  n is a multiple of 4. */
void gpu_norm(gpu *g, float *x_d, const float *add_d, uint32_t n, uint32_t tokens,
              const struct gpu_norm_to *to);

/* gpu_linear(), with rows of y one after the other, and what follows it: x += y and its
 * norm; or, of logits y for l->width experts, gpu_route().  For few tokens that is one
 * launch. */
void gpu_linear_norm(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                     float *y_d, float *x_d, const struct gpu_norm_to *to);
void gpu_linear_route(gpu *g, const struct gpu_linear *l, const struct gpu_acts *acts,
                      float *y_d, uint32_t n_used, uint32_t *ids_d, float *weights_d);

/* Positions live on the device: pos_d[0] is that of the run's first token. */
struct gpu_kv {
    void *k_d, *v_d; /* [head_dim, n_ctx, n_head_kv] */
    uint32_t type_k, type_v, n_ctx;
};
/* Keys or values in binary32 are for those who want no rounding, of states neither. */
static inline bool gpu_kv_exact(uint32_t type_k, uint32_t type_v)
{
    return type_k == GGF_F32 || type_v == GGF_F32;
}
struct gpu_attention {
    uint32_t n_head, n_head_kv, head_dim, n_rot;
    float eps;
    double rope_base;
    const float *q_norm_d, *k_norm_d;
};
uint64_t gpu_attention_scratch(const struct gpu_attention *a, uint32_t tokens);
/* projected: [width, tokens] as ops/attention.h has it, changed; out: [n_head * head_dim,
 * tokens]; q: out encoded (unless NULL).  head_dim is a multiple of 32 up to 256.  The
 * run's positions must lie below n_ctx.
 *
 * Up to 8 tokens, and any number if keys or values are float32, have the bits that each
 * has alone.  With more of them queries, keys, values and weights are rounded to binary16
 * for the tensor cores: a score is off by at most 2^-10 of its sum of magnitudes. */
void gpu_attend(gpu *g, const struct gpu_attention *a, const struct gpu_kv *kv,
                const uint32_t *pos_d, uint32_t tokens, float *projected_d, size_t width,
                void *scratch_d, float *out_d, void *q_d);

struct gpu_delta {
    uint32_t dim, n_k_heads, n_v_heads, taps;
    float eps;
    const float *conv_d, *dt_d, *a_d, *norm_d; /* as ops/delta.h */
};
struct gpu_delta_state {
    float *conv_d; /* as ops/delta.h */
    float *s_d;    /* [dim, dim, n_v_heads]; panels as ops/vec.h, so that a state may
                      move between CPU and device byte by byte */
    bool exact;    /* any number of tokens have the bits that each has alone */
};
uint64_t gpu_delta_scratch(const struct gpu_delta *d, uint32_t tokens);
/* projected: [width, tokens] as ops/delta.h has it; out: [dim * n_v_heads, tokens]; q:
 * out encoded (unless NULL).  dim is a multiple of 8 up to 256, taps are at most 16.
 *
 * Up to 8 tokens have the bits that each has alone.  More of them are taken 32 at once if
 * dim is 128 and the device's tensor cores have tf32, to which states, keys, queries and
 * values are rounded: by at most 2^-11 of themselves. */
void gpu_delta_rule(gpu *g, const struct gpu_delta *d, const struct gpu_delta_state *s,
                    uint32_t tokens, const float *projected_d, size_t width,
                    void *scratch_d, float *out_d, void *q_d);

/* Softmax over logits [n_expert, tokens], the n_used largest (of equals the lower id)
 * with weights p / max(sum of the chosen, 2^-14): as moe_top(). */
void gpu_route(gpu *g, const float *logits_d, uint32_t n_expert, uint32_t n_used,
               uint32_t tokens, uint32_t *ids_d, float *weights_d);

/* As gpu_download(), of up to GPU_WORDS pieces of 32-bit words to memory of
 * gpu_host_alloc(): a launch, and so much shorter than copies where there is little. */
enum { GPU_WORDS = 3 };
struct gpu_words {
    void *to_d; /* where the device sees it */
    const void *from_d;
    uint32_t n;
};
void gpu_tell(gpu *g, const struct gpu_words *what, uint32_t n);

/* An expert's matrices on the device; types and scales may differ from one to the next.
 * A NULL gate: it is not there. */
struct gpu_expert {
    const void *data_d[3]; /* gate, up, down (enum ggf_part) */
    uint32_t type[3];
    float scale[3];
};
struct gpu_moe {
    uint32_t n_embd, n_expert, n_used, n_ff, n_ff_shared;
    const struct gpu_expert *experts_d; /* [n_expert] */
    uint64_t types[3]; /* of all gates, ups, downs there can be: bits 1 << type */
    struct gpu_matrix shared[3];
    const float *shared_gate_d; /* [n_embd]: the shared one counts sigmoid(gate . norm) */
};
uint64_t gpu_moe_scratch(const struct gpu_moe *m, uint32_t tokens);

/* x += routed experts, most probable first, then the shared one: in steps, for the tokens
 * of one batch with the same scratch memory.  n_used may be 0: then there need be no
 * experts.
 *
 * sort      which tokens go to which expert; always the first
 * products  of experts first .. end - 1, the shared one being number n_expert: a row of
 *           n_embd floats for each (token, expert) pair that is theirs; acts: the norm.
 *           Left out are experts that are not there, and, of up to GPU_FEW_TOKENS
 *           tokens, pairs whose id is UINT32_MAX; the ids of these may change after sort
 * sum       of all rows of each token */
enum { GPU_FEW_TOKENS = 8 };
void gpu_moe_sort(gpu *g, const struct gpu_moe *m, const uint32_t *ids_d, uint32_t tokens,
                  void *scratch_d);
void gpu_moe_products(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                      const uint32_t *ids_d, uint32_t first, uint32_t end,
                      void *scratch_d);

/* What others have computed; NULL: nothing.  Who it was makes no difference to a sum. */
struct gpu_moe_given {
    const float *sum_d;      /* [n_embd, tokens]: of routed experts; the sum goes on */
    const uint32_t *place_d; /* [n_used, tokens]: of up to GPU_FEW_TOKENS, the number of
                                a pair's row in rows_d, or UINT32_MAX: it is not there */
    const float *rows_d;     /* [n_embd, ...] */
};
/* next: the norm of x that is wanted then, or NULL. */
void gpu_moe_sum(gpu *g, const struct gpu_moe *m, uint32_t tokens, const float *weights_d,
                 const struct gpu_moe_given *given, void *scratch_d, float *x_d,
                 const struct gpu_norm_to *next);

/* All of that, with experts that are all there. */
void gpu_experts(gpu *g, const struct gpu_moe *m, const struct gpu_acts *acts,
                 const uint32_t *ids_d, const float *weights_d, void *scratch_d,
                 float *x_d, const struct gpu_norm_to *next);

/* ---- Measuring: peak.cu, for measure.c ------------------------------------------ */

/* Read all of it, 16-aligned, and leave the word at sink_d as it may be. */
void gpu_read_all(gpu *g, const void *from_d, uint64_t bytes, uint32_t *sink_d);
/* Products in matrices of 8- or 16-bit numbers, as many as it returns. */
double gpu_multiply(gpu *g, uint32_t bits, uint32_t steps, uint32_t *sink_d);

#ifdef __cplusplus
}
#endif

#endif
