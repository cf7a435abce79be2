/* kv.c - see kv.h. */
#include "kv.h"

#include <inttypes.h>
#include <stdlib.h>

/* Those of llama.cpp's -ctk and -ctv. */
static const uint32_t types[] = { GGF_F32,  GGF_F16,  GGF_BF16, GGF_Q8_0,  GGF_Q5_1,
                                  GGF_Q5_0, GGF_Q4_1, GGF_Q4_0, GGF_IQ4_NL };

bool kv_type(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i] == type) return true;
    return false;
}

static int check_type(uint32_t type, uint32_t head_dim, ggf_error *err)
{
    if (!kv_type(type))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "keys and values cannot be %s: expected f32, f16, bf16, q8_0, "
                        "q5_1, q5_0, q4_1, q4_0 or iq4_nl",
                        ggf_type_name(type));
    const uint32_t block = ggf_type_info(type)->block;
    if (head_dim % block)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "keys and values of %" PRIu32 " numbers cannot be %s, which has "
                        "blocks of %" PRIu32,
                        head_dim, ggf_type_name(type), block);
    return 0;
}

int kv_check(const struct kv_shape *s, ggf_error *err)
{
    const int e = check_type(s->type_k, s->head_dim, err);
    return e ? e : check_type(s->type_v, s->head_dim, err);
}

static int rows_new(struct kv_rows *r, uint32_t type, const struct kv_shape *s,
                    ggf_error *err)
{
    const enum act_kind act = act_kind_of(type, s->exact);
    uint64_t bytes;
    *r = (struct kv_rows){ .row_bytes = ggf_row_bytes(type, s->head_dim),
                           .encode = encode_for(type),
                           .decode = decode_for(type),
                           .act = act,
                           .mul = mul_for(type, act) };
    if (!__builtin_mul_overflow(r->row_bytes, (uint64_t)s->n_head_kv * s->n_ctx,
                                &bytes) &&
        bytes <= SIZE_MAX - 64)
        r->data = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (r->data) return 0;
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                    "out of memory for a context of %" PRIu32 " tokens", s->n_ctx);
}

int kv_cache_new(struct kv_cache *c, const struct kv_shape *s, ggf_error *err)
{
    *c = (struct kv_cache){ .head_dim = s->head_dim, .n_ctx = s->n_ctx };
    int e = kv_check(s, err);
    if (!e) e = rows_new(&c->k, s->type_k, s, err);
    if (!e) e = rows_new(&c->v, s->type_v, s, err);
    if (e) kv_cache_free(c);
    return e;
}

void kv_cache_free(struct kv_cache *c)
{
    free(c->k.data);
    free(c->v.data);
    *c = (struct kv_cache){ 0 };
}
