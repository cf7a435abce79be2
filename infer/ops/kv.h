/* kv.h - the keys and values that an attention layer remembers, in a type of the caller's
 * choice: encoded when they are written, multiplied as they lie or decoded in tiles when
 * they are read. */
#ifndef INFER_OPS_KV_H
#define INFER_OPS_KV_H

#include "../../libgguf/libgguf.h"
#include "../../quant/decode.h"
#include "../../quant/encode.h"
#include "../../quant/mul.h"

/* Keys or values of one layer: [head_dim, n_ctx, n_head_kv]. */
struct kv_rows {
    uint8_t *data;
    size_t row_bytes; /* of head_dim numbers */
    encode_fn encode;
    decode_fn decode;
    enum act_kind act; /* what `mul` multiplies rows with */
    mul_fn mul;
};

struct kv_cache {
    struct kv_rows k, v;
    uint32_t head_dim, n_ctx;
};

struct kv_shape {
    uint32_t type_k, type_v; /* GGF_... */
    uint32_t head_dim, n_head_kv, n_ctx;
    bool exact; /* products with float32 only */
};

/* Is it a type that keys and values can have? */
bool kv_type(uint32_t type);

/* GGF_E_ARG if a type will not do. */
int kv_check(const struct kv_shape *shape, ggf_error *err);
/* The same, or GGF_E_NOMEM.  The memory is not cleared: nothing past
 * the position is ever read. */
int kv_cache_new(struct kv_cache *c, const struct kv_shape *shape, ggf_error *err);
void kv_cache_free(struct kv_cache *c); /* all zeros is fine */

/* Row `pos` of a head. */
static inline uint8_t *kv_row(const struct kv_cache *c, const struct kv_rows *rows,
                              uint32_t head, size_t pos)
{
    return rows->data + ((size_t)head * c->n_ctx + pos) * rows->row_bytes;
}

#endif
