/* hparams.c - metadata keys to hyperparameters.
 *
 * Keys and defaults are those of llama.cpp's loader for the architecture; the bounds are
 * ours: wide enough for any sensible model, narrow enough that no product of two of
 * them overflows 64 bits. */
#include "hparams.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const architectures[] = { "qwen3next" };

struct reader {
    const ggf_file *file;
    const char *arch;
    ggf_error *err;
};

static int find_arch(struct reader *r)
{
    struct ggf_str name;
    int e = ggf_get_str(r->file, "general.architecture", &name, r->err);
    if (e) return e;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (name.len == strlen(architectures[i]) &&
            !memcmp(name.data, architectures[i], name.len)) {
            r->arch = architectures[i];
            return 0;
        }
    return ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET,
                    "architecture '%.*s' cannot be run; only 'qwen3next' can",
                    (int)(name.len < 64 ? name.len : 64), name.data);
}

static const struct ggf_kv *find(const struct reader *r, const char *suffix)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", r->arch, suffix);
    return ggf_find_kv(r->file, key);
}

static int missing(const struct reader *r, const char *suffix)
{
    return ggf_fail(r->err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "the metadata has no key '%s.%s', which the model needs", r->arch,
                    suffix);
}

enum { REQUIRED = -1 };

/* A count from lo to hi.  Without the key: `fallback`, unless that is REQUIRED.  Of an
 * array (one value for each layer) the entry `layer` is taken. */
static int get_count(const struct reader *r, const char *suffix, uint32_t layer,
                     int64_t fallback, uint32_t lo, uint32_t hi, uint32_t *out)
{
    const struct ggf_kv *kv = find(r, suffix);
    if (!kv && fallback == REQUIRED) return missing(r, suffix);
    int64_t v = fallback;
    const bool array = kv && kv->type == GGF_KV_ARRAY;
    if (array && layer >= kv->count)
        return ggf_fail(r->err, GGF_E_FORMAT, kv->offset,
                        "key '%s' has %" PRIu64 " entries, none for layer %" PRIu32,
                        kv->key, kv->count, layer);
    if (kv) {
        int e = ggf_kv_i64(kv, array ? layer : 0, &v, r->err);
        if (e) return e;
    }
    if (v < lo || v > hi)
        return ggf_fail(r->err, GGF_E_FORMAT, kv ? kv->offset : GGF_NO_OFFSET,
                        "key '%s.%s' is %" PRId64 ", expected %" PRIu32 " to %" PRIu32,
                        r->arch, suffix, v, lo, hi);
    *out = (uint32_t)v;
    return 0;
}

static int get_real(const struct reader *r, const char *suffix, double fallback,
                    double lo, double hi, double *out)
{
    const struct ggf_kv *kv = find(r, suffix);
    if (!kv && isnan(fallback)) return missing(r, suffix);
    double v = fallback;
    if (kv) {
        int e = ggf_get_f64(r->file, kv->key, &v, r->err);
        if (e) return e;
    }
    if (!(v >= lo && v <= hi))
        return ggf_fail(r->err, GGF_E_FORMAT, kv ? kv->offset : GGF_NO_OFFSET,
                        "key '%s.%s' is %g, expected %g to %g", r->arch, suffix, v, lo,
                        hi);
    *out = v;
    return 0;
}

static int read_blocks(const struct reader *r, struct hparams *hp)
{
    uint32_t nextn = 0;
    int e;
    if ((e = get_count(r, "block_count", 0, REQUIRED, 1, HP_MAX_LAYERS, &hp->n_block)) ||
        (e = get_count(r, "nextn_predict_layers", 0, 0, 0, hp->n_block, &nextn)))
        return e;
    hp->n_layer = hp->n_block - nextn;
    if (!hp->n_layer)
        return ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the file holds just a draft block and no model to run");
    return 0;
}

/* Which layers are recurrent: every one but each interval-th, or as the list says. */
static int read_layer_kinds(const struct reader *r, struct hparams *hp)
{
    uint32_t interval = 0;
    int e = get_count(r, "full_attention_interval", 0, 4, 1, HP_MAX_LAYERS, &interval);
    if (e) return e;
    const struct ggf_kv *list = find(r, "attention.recurrent_layers");
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        hp->recurrent[i] = (i + 1) % interval != 0;
        if (!list) continue;
        uint32_t v = 0;
        if ((e = get_count(r, "attention.recurrent_layers", i, 0, 0, 1, &v))) return e;
        hp->recurrent[i] = v;
    }
    return 0;
}

/* All attention layers must have the same number of heads.  (Without any, the last
 * layer's entry is read, so that the numbers are there.) */
static int read_heads(const struct reader *r, struct hparams *hp)
{
    bool first = true;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        if (hp->recurrent[i] && !(first && i + 1 == hp->n_layer)) continue;
        uint32_t q = 0, kv = 0;
        int e = get_count(r, "attention.head_count", i, REQUIRED, 1, 1024, &q);
        if (e || (e = get_count(r, "attention.head_count_kv", i, q, 1, q, &kv))) return e;
        if (!first && (q != hp->n_head || kv != hp->n_head_kv))
            return ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET,
                            "layer %" PRIu32
                            " has another number of attention heads than "
                            "the layers before it, which is not supported",
                            i);
        hp->n_head = q;
        hp->n_head_kv = kv;
        first = false;
    }
    if (hp->n_head % hp->n_head_kv)
        return ggf_fail(r->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%" PRIu32 " attention heads cannot share %" PRIu32
                        " key-value heads evenly",
                        hp->n_head, hp->n_head_kv);
    return 0;
}

static int read_attention(const struct reader *r, struct hparams *hp)
{
    uint32_t dim_v = 0;
    int e = read_heads(r, hp);
    if (e) return e;
    const int64_t dim = hp->n_embd / hp->n_head;
    if ((e = get_count(r, "attention.key_length", 0, dim, 2, 4096, &hp->head_dim)) ||
        (e = get_count(r, "attention.value_length", 0, dim, 2, 4096, &dim_v)) ||
        (e = get_count(r, "rope.dimension_count", 0, hp->head_dim, 0, hp->head_dim,
                       &hp->n_rot)) ||
        (e = get_real(r, "rope.freq_base", 1e4, 1, 1e12, &hp->rope_base)))
        return e;
    if (dim_v != hp->head_dim || hp->n_rot % 2)
        return ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "heads with %" PRIu32 " key, %" PRIu32 " value and %" PRIu32
                        " rotated dimensions are not supported",
                        hp->head_dim, dim_v, hp->n_rot);
    const struct ggf_kv *scaling = find(r, "rope.scaling.type");
    struct ggf_str name = { "none", 4 };
    if (scaling && (e = ggf_get_str(r->file, scaling->key, &name, r->err))) return e;
    if (scaling && (name.len != 4 || memcmp(name.data, "none", 4)))
        return ggf_fail(r->err, GGF_E_ARG, scaling->offset,
                        "rope scaling of type '%.*s' is not supported",
                        (int)(name.len < 32 ? name.len : 32), name.data);
    return 0;
}

static int read_delta(const struct reader *r, struct hparams *hp)
{
    uint32_t inner = 0;
    int e;
    if ((e = get_count(r, "ssm.conv_kernel", 0, REQUIRED, 1, 16, &hp->conv_kernel)) ||
        (e = get_count(r, "ssm.state_size", 0, REQUIRED, 8, 1024, &hp->state_dim)) ||
        (e = get_count(r, "ssm.group_count", 0, REQUIRED, 1, 1024, &hp->n_k_heads)) ||
        (e = get_count(r, "ssm.time_step_rank", 0, REQUIRED, 1, 1024, &hp->n_v_heads)) ||
        (e = get_count(r, "ssm.inner_size", 0, REQUIRED, 1, 1 << 20, &inner)))
        return e;
    if (hp->n_v_heads % hp->n_k_heads || inner != hp->state_dim * hp->n_v_heads)
        return ggf_fail(r->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%" PRIu32 " key heads, %" PRIu32 " value heads of %" PRIu32
                        " and an inner size of %" PRIu32 " do not fit together",
                        hp->n_k_heads, hp->n_v_heads, hp->state_dim, inner);
    if (hp->state_dim % 8)
        return ggf_fail(r->err, GGF_E_ARG, GGF_NO_OFFSET,
                        "a state size of %" PRIu32
                        " is not supported, only multiples of 8",
                        hp->state_dim);
    return 0;
}

static int read_experts(const struct reader *r, struct hparams *hp)
{
    int e;
    if ((e = get_count(r, "expert_count", 0, REQUIRED, 1, 4096, &hp->n_expert)) ||
        (e = get_count(r, "expert_used_count", 0, REQUIRED, 1,
                       hp->n_expert < 256 ? hp->n_expert : 256, &hp->n_expert_used)) ||
        (e = get_count(r, "expert_feed_forward_length", 0, REQUIRED, 1, 1 << 18,
                       &hp->n_ff_exp)) ||
        (e = get_count(r, "expert_shared_feed_forward_length", 0, REQUIRED, 1, 1 << 18,
                       &hp->n_ff_shexp)))
        return e;
    return 0;
}

int hparams_read(struct hparams *hp, const ggf_file *file, ggf_error *err)
{
    memset(hp, 0, sizeof *hp);
    struct reader r = { file, NULL, err };
    double eps = 0;
    int e;
    if ((e = find_arch(&r)) || (e = read_blocks(&r, hp)) ||
        (e = get_count(&r, "embedding_length", 0, REQUIRED, 8, 1 << 16, &hp->n_embd)) ||
        (e = get_count(&r, "context_length", 0, REQUIRED, 1, 1 << 28,
                       &hp->n_ctx_train)) ||
        (e = get_real(&r, "attention.layer_norm_rms_epsilon", NAN, 0, 1, &eps)) ||
        (e = read_layer_kinds(&r, hp)) || (e = read_attention(&r, hp)) ||
        (e = read_delta(&r, hp)) || (e = read_experts(&r, hp)))
        return e;
    hp->arch = r.arch;
    hp->eps = (float)eps;
    return 0;
}
