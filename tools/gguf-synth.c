/* gguf-synth - write a qwen3next model with random weights, of any shape and type.
 *
 * The file is what benchmarks and tests run on where the real model is too large or not
 * at hand: right names, shapes, types and sizes, weights that keep activations finite,
 * and nothing learned.  Tensors are generated in pieces, so memory stays small; each
 * piece has a random sequence of its own, so the bytes depend on the seed alone. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/opt.h"
#include "common/out.h"
#include "common/random_blocks.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    const char *name;
    uint64_t layers, embd, heads, heads_kv, head_dim, rope_dims, interval;
    uint64_t k_heads, v_heads, state, conv;
    uint64_t experts, used, ff, ff_shared, vocab, ctx;
};

static const struct shape shapes[] = {
    { "qwen3-next-80b", 48, 2048, 16, 2, 256, 64, 4, 16, 32, 128, 4, 512, 10, 512, 512,
      151936, 262144 },
    { "q3n-mini", 8, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 16, 2, 256, 256, 4096, 4096 },
    { "tiny", 4, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 8, 2, 256, 256, 128, 4096 },
};

/* What a tensor is filled with. */
enum fill {
    FILL_WEIGHTS, /* deviation 1/sqrt(row): outputs as large as inputs */
    FILL_EMBD,    /* deviation 1 */
    FILL_NORM,    /* around 1 */
    FILL_ROUTER,  /* rows of different length: see popularity() */
    FILL_CONV,    /* deviation 1/2: four taps */
    FILL_DECAY,   /* ssm_a: -0.05 .. -1 */
    FILL_DT,      /* ssm_dt: -3 .. 1 */
};

struct tensor {
    char name[64];
    uint32_t type;
    enum fill fill;
    uint64_t ne[4];
};

struct synth {
    struct shape shape;
    uint32_t type, type_gate, type_up, type_down;
    struct opt_list overrides;
    float skew;
    uint64_t seed;
    bool fused, legacy, mtp, force, dry_run;
    const char *vocab_from;
    struct tensor *tensors;
    size_t n, capacity;
    pcre2_code *patterns[64];
    uint32_t pattern_types[64];
};

/* ---- The tensors ----------------------------------------------------------- */

/* The type of a matrix: overrides first, then --type; a row that is no whole number of
 * blocks falls back to q8_0 or f16, as quantizers do. */
static uint32_t matrix_type(const struct synth *s, const char *name, uint32_t type,
                            uint64_t row)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    for (int i = 0; i < s->overrides.count; i++)
        if (pcre2_match(s->patterns[i], (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0,
                        match, NULL) >= 0) {
            type = s->pattern_types[i];
            break;
        }
    pcre2_match_data_free(match);
    if (row % ggf_type_info(type)->block == 0) return type;
    return row % 32 == 0 ? GGF_Q8_0 : GGF_F16;
}

static void add(struct synth *s, int64_t block, const char *name, enum fill fill,
                uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t ne2)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 256;
        s->tensors = realloc(s->tensors, s->capacity * sizeof *s->tensors);
        if (!s->tensors) abort();
    }
    struct tensor *t = &s->tensors[s->n++];
    *t = (struct tensor){ .fill = fill, .ne = { ne0, ne1, ne2, 1 } };
    if (block < 0) snprintf(t->name, sizeof t->name, "%s", name);
    else snprintf(t->name, sizeof t->name, "blk.%" PRId64 ".%s", block, name);
    t->type = type == GGF_F32 ? GGF_F32 : matrix_type(s, t->name, type, ne0);
}

static void matrix(struct synth *s, int64_t block, const char *name, uint64_t ne0,
                   uint64_t ne1)
{
    add(s, block, name, FILL_WEIGHTS, s->type, ne0, ne1, 1);
}

static void vector(struct synth *s, int64_t block, const char *name, enum fill fill,
                   uint64_t n)
{
    add(s, block, name, fill, GGF_F32, n, 1, 1);
}

static void attention(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    matrix(s, b, "attn_q.weight", p->embd, p->heads * p->head_dim * 2); /* and its gate */
    matrix(s, b, "attn_k.weight", p->embd, p->heads_kv * p->head_dim);
    matrix(s, b, "attn_v.weight", p->embd, p->heads_kv * p->head_dim);
    matrix(s, b, "attn_output.weight", p->heads * p->head_dim, p->embd);
    vector(s, b, "attn_q_norm.weight", FILL_NORM, p->head_dim);
    vector(s, b, "attn_k_norm.weight", FILL_NORM, p->head_dim);
}

static void delta(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    const uint64_t inner = p->v_heads * p->state;
    const uint64_t channels = 2 * p->k_heads * p->state + inner;
    if (s->legacy) {
        matrix(s, b, "ssm_in.weight", p->embd, channels + inner);
    } else {
        matrix(s, b, "attn_qkv.weight", p->embd, channels);
        matrix(s, b, "attn_gate.weight", p->embd, inner);
    }
    matrix(s, b, "ssm_ba.weight", p->embd, 2 * p->v_heads);
    matrix(s, b, "ssm_out.weight", inner, p->embd);
    add(s, b, "ssm_conv1d.weight", FILL_CONV, GGF_F32, p->conv, channels, 1);
    vector(s, b, "ssm_dt.bias", FILL_DT, p->v_heads);
    vector(s, b, "ssm_a", FILL_DECAY, p->v_heads);
    vector(s, b, "ssm_norm.weight", FILL_NORM, p->state);
}

static void feed_forward(struct synth *s, int64_t b)
{
    const struct shape *p = &s->shape;
    add(s, b, "ffn_gate_inp.weight", FILL_ROUTER, GGF_F32, p->embd, p->experts, 1);
    if (s->fused) {
        add(s, b, "ffn_gate_up_exps.weight", FILL_WEIGHTS, s->type_gate, p->embd,
            2 * p->ff, p->experts);
    } else {
        add(s, b, "ffn_gate_exps.weight", FILL_WEIGHTS, s->type_gate, p->embd, p->ff,
            p->experts);
        add(s, b, "ffn_up_exps.weight", FILL_WEIGHTS, s->type_up, p->embd, p->ff,
            p->experts);
    }
    add(s, b, "ffn_down_exps.weight", FILL_WEIGHTS, s->type_down, p->ff, p->embd,
        p->experts);
    vector(s, b, "ffn_gate_inp_shexp.weight", FILL_WEIGHTS, p->embd);
    matrix(s, b, "ffn_gate_shexp.weight", p->embd, p->ff_shared);
    matrix(s, b, "ffn_up_shexp.weight", p->embd, p->ff_shared);
    matrix(s, b, "ffn_down_shexp.weight", p->ff_shared, p->embd);
}

static void block(struct synth *s, uint64_t b)
{
    const struct shape *p = &s->shape;
    const bool next = b >= p->layers; /* the appended multi-token-prediction block */
    vector(s, (int64_t)b, "attn_norm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "post_attention_norm.weight", FILL_NORM, p->embd);
    if (next || (b + 1) % p->interval == 0) attention(s, (int64_t)b);
    else delta(s, (int64_t)b);
    feed_forward(s, (int64_t)b);
    if (!next) return;
    matrix(s, (int64_t)b, "nextn.eh_proj.weight", 2 * p->embd, p->embd);
    vector(s, (int64_t)b, "nextn.enorm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "nextn.hnorm.weight", FILL_NORM, p->embd);
    vector(s, (int64_t)b, "nextn.shared_head_norm.weight", FILL_NORM, p->embd);
}

static void list_tensors(struct synth *s)
{
    const struct shape *p = &s->shape;
    add(s, -1, "token_embd.weight", FILL_EMBD, s->type, p->embd, p->vocab, 1);
    vector(s, -1, "output_norm.weight", FILL_NORM, p->embd);
    matrix(s, -1, "output.weight", p->embd, p->vocab);
    for (uint64_t b = 0; b < p->layers + s->mtp; b++) block(s, b);
}

/* ---- The metadata ---------------------------------------------------------- */

/* general.file_type of a file mostly of this type; 0xffffffff where there is none. */
static uint32_t file_type(uint32_t type)
{
    static const struct {
        uint32_t type, file_type;
    } map[] = { { GGF_F32, 0 },      { GGF_F16, 1 },     { GGF_Q4_0, 2 },
                { GGF_Q4_1, 3 },     { GGF_Q8_0, 7 },    { GGF_Q5_0, 8 },
                { GGF_Q5_1, 9 },     { GGF_Q2_K, 10 },   { GGF_Q3_K, 11 },
                { GGF_Q4_K, 14 },    { GGF_Q5_K, 16 },   { GGF_Q6_K, 18 },
                { GGF_IQ2_XXS, 19 }, { GGF_IQ2_XS, 20 }, { GGF_IQ3_XXS, 23 },
                { GGF_IQ1_S, 24 },   { GGF_IQ4_NL, 25 }, { GGF_IQ3_S, 26 },
                { GGF_IQ2_S, 28 },   { GGF_IQ4_XS, 30 }, { GGF_IQ1_M, 31 },
                { GGF_BF16, 32 },    { GGF_TQ1_0, 36 },  { GGF_TQ2_0, 37 },
                { GGF_MXFP4, 38 },   { GGF_NVFP4, 39 } };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].type == type) return map[i].file_type;
    return UINT32_MAX;
}

static int set_u32(ggf_writer *w, const char *key, uint64_t value, ggf_error *err)
{
    char full[96];
    snprintf(full, sizeof full, "qwen3next.%s", key);
    return ggf_writer_set_u32(w, full, (uint32_t)value, err);
}

static int set_numbers(const struct synth *s, ggf_writer *w, ggf_error *err)
{
    const struct shape *p = &s->shape;
    const struct {
        const char *key;
        uint64_t value;
    } keys[] = {
        { "block_count", p->layers + s->mtp },
        { "context_length", p->ctx },
        { "embedding_length", p->embd },
        { "vocab_size", p->vocab },
        { "attention.head_count", p->heads },
        { "attention.head_count_kv", p->heads_kv },
        { "attention.key_length", p->head_dim },
        { "attention.value_length", p->head_dim },
        { "rope.dimension_count", p->rope_dims },
        { "expert_count", p->experts },
        { "expert_used_count", p->used },
        { "expert_feed_forward_length", p->ff },
        { "expert_shared_feed_forward_length", p->ff_shared },
        { "ssm.conv_kernel", p->conv },
        { "ssm.state_size", p->state },
        { "ssm.group_count", p->k_heads },
        { "ssm.time_step_rank", p->v_heads },
        { "ssm.inner_size", p->v_heads * p->state },
    };
    int e = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !e; i++)
        e = set_u32(w, keys[i].key, keys[i].value, err);
    if (!e && !s->legacy) e = set_u32(w, "full_attention_interval", p->interval, err);
    if (!e && s->mtp) e = set_u32(w, "nextn_predict_layers", 1, err);
    return e;
}

static int set_tokenizer(const ggf_file *vocab, ggf_writer *w, ggf_error *err)
{
    if (!vocab) return ggf_writer_set_str(w, "tokenizer.ggml.model", "none", err);
    for (uint64_t i = 0; i < ggf_kv_count(vocab); i++) {
        const struct ggf_kv *kv = ggf_kv(vocab, i);
        if (strncmp(kv->key, "tokenizer.", 10) != 0) continue;
        const int e = ggf_writer_set_kv(w, kv, err);
        if (e) return e;
    }
    return 0;
}

static int set_metadata(const struct synth *s, const ggf_file *vocab, ggf_writer *w,
                        ggf_error *err)
{
    char name[96];
    snprintf(name, sizeof name, "random %s %s, seed %" PRIu64, s->shape.name,
             ggf_type_name(s->type), s->seed);
    int e = ggf_writer_set_str(w, "general.architecture", "qwen3next", err);
    if (!e) e = ggf_writer_set_str(w, "general.type", "model", err);
    if (!e) e = ggf_writer_set_str(w, "general.name", name, err);
    if (!e) e = set_numbers(s, w, err);
    if (!e) e = ggf_writer_set_f32(w, "qwen3next.rope.freq_base", 1e7f, err);
    if (!e)
        e = ggf_writer_set_f32(w, "qwen3next.attention.layer_norm_rms_epsilon", 1e-6f,
                               err);
    if (!e) e = set_tokenizer(vocab, w, err);
    if (!e && ggf_type_info(s->type)->quantized)
        e = ggf_writer_set_u32(w, "general.quantization_version", 2, err);
    if (!e && file_type(s->type) != UINT32_MAX)
        e = ggf_writer_set_u32(w, "general.file_type", file_type(s->type), err);
    return e;
}

/* ---- The router ------------------------------------------------------------ */

/* z with P(normal > z) = p, for 0 < p < 1/2, to 1/256: coarse enough that the last bit of
 * a machine's erfc() does not matter. */
static double normal_tail(double p)
{
    double low = 0, high = 8;
    while (high - low > 1e-9) {
        const double z = (low + high) / 2;
        if (erfc(z / sqrt(2)) / 2 > p) low = z;
        else high = z;
    }
    return rint(256 * low) / 256;
}

/* A router row of length s gives logits of deviation s.  The largest `used` logits win;
 * their threshold t is that of equal rows.  So an expert is chosen with probability p if
 * s = t / normal_tail(p).  Here p falls with the expert's rank r as 1 / (r + 1)^skew, at
 * most 0.4, and the ranks are dealt out at random. */
static void popularity(const struct synth *s, struct random *r, float *lengths)
{
    const uint64_t n = s->shape.experts;
    const double mean = (double)s->shape.used / (double)n;
    const double threshold = mean < 0.5 ? normal_tail(mean) : 0;
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) sum += pow((double)i + 1, -(double)s->skew);
    for (uint64_t i = 0; i < n; i++) {
        const double p =
            (double)s->shape.used * pow((double)i + 1, -(double)s->skew) / sum;
        lengths[i] = 1;
        if (s->skew > 0 && threshold > 0)
            lengths[i] = (float)(threshold / normal_tail(p < 0.4 ? p : 0.4));
    }
    for (uint64_t i = n; i-- > 1;) { /* shuffle */
        const uint64_t j = random_u64(r) % (i + 1);
        const float swap = lengths[i];
        lengths[i] = lengths[j];
        lengths[j] = swap;
    }
}

static void fill_router(const struct synth *s, const struct tensor *t, float *v)
{
    struct random r;
    random_seed(&r, s->seed, random_hash(t->name));
    float *lengths = malloc(t->ne[1] * sizeof *lengths);
    if (!lengths) abort();
    popularity(s, &r, lengths);
    for (uint64_t e = 0; e < t->ne[1]; e++)
        /* NOLINTNEXTLINE(clang-analyzer-core*): ne[1] is the number of experts */
        random_blocks(GGF_F32, lengths[e] / sqrtf((float)t->ne[0]), &r, v + e * t->ne[0],
                      t->ne[0]);
    free(lengths);
}

/* ---- Writing --------------------------------------------------------------- */

#define PIECE_BYTES (1u << 20)

static void fill_vector(const struct synth *s, const struct tensor *t, float *v)
{
    struct random r;
    random_seed(&r, s->seed, random_hash(t->name));
    for (uint64_t i = 0; i < t->ne[0] * t->ne[1]; i++) {
        switch (t->fill) {
        case FILL_NORM: v[i] = 1 + 0.1f * random_normal(&r); break;
        case FILL_DECAY: v[i] = -0.05f - 0.95f * random_uniform(&r); break;
        case FILL_DT: v[i] = -3 + 4 * random_uniform(&r); break;
        case FILL_CONV: v[i] = 0.5f * random_normal(&r); break;
        default: v[i] = random_normal(&r) / sqrtf((float)t->ne[0]); break;
        }
    }
}

/* The small float tensors, each in one go. */
static int write_small(const struct synth *s, size_t index, ggf_writer *w, ggf_error *err)
{
    const struct tensor *t = &s->tensors[index];
    const uint64_t n = t->ne[0] * t->ne[1];
    float *v = malloc(n * sizeof *v);
    if (!v) return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    if (t->fill == FILL_ROUTER) fill_router(s, t, v);
    else fill_vector(s, t, v);
    const int e = ggf_writer_write(w, index, 0, v, n * sizeof *v, err);
    free(v);
    return e;
}

/* A matrix in pieces of about a megabyte; piece number p has random stream p. */
static int write_matrix(const struct synth *s, size_t index, ggf_writer *w,
                        ggf_error *err)
{
    const struct tensor *t = &s->tensors[index];
    const struct ggf_type_info *type = ggf_type_info(t->type);
    const uint64_t blocks = t->ne[0] * t->ne[1] * t->ne[2] / type->block;
    const uint64_t each = PIECE_BYTES / type->block_bytes;
    const int64_t pieces = (int64_t)((blocks + each - 1) / each);
    const float deviation = t->fill == FILL_EMBD ? 1 : 1 / sqrtf((float)t->ne[0]);
    const uint64_t seed = s->seed ^ random_hash(t->name);
    int status = 0;
#pragma omp parallel
    {
        uint8_t *buffer = malloc(PIECE_BYTES);
        ggf_error why;
        int e = buffer ? 0 : ggf_fail(&why, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < pieces; i++) {
            if (e) continue;
            const uint64_t first = (uint64_t)i * each;
            const uint64_t n = blocks - first < each ? blocks - first : each;
            struct random r;
            random_seed(&r, seed, (uint64_t)i);
            random_blocks(t->type, deviation, &r, buffer, n);
            e = ggf_writer_write(w, index, first * type->block_bytes, buffer,
                                 n * type->block_bytes, &why);
        }
        free(buffer);
        if (e) {
#pragma omp critical
            {
                status = e;
                *err = why;
            }
        }
    }
    return status;
}

static uint64_t tensor_bytes(const struct tensor *t)
{
    return ggf_row_bytes(t->type, t->ne[0]) * t->ne[1] * t->ne[2];
}

static int write_model(struct synth *s, const ggf_file *vocab, const char *path,
                       ggf_error *err)
{
    ggf_writer *w;
    const struct ggf_writer_options options = { .force = s->force };
    int e = ggf_writer_create(&w, path, &options, err);
    if (e) return e;
    e = set_metadata(s, vocab, w, err);
    for (size_t i = 0; i < s->n && !e; i++)
        e = ggf_writer_add_tensor(w, s->tensors[i].name, s->tensors[i].type,
                                  s->tensors[i].ne, err);
    if (!e) e = ggf_writer_begin(w, err);
    struct progress progress = { .what = "writing", .total = ggf_writer_file_size(w) };
    uint64_t done = 0;
    for (size_t i = 0; i < s->n && !e; i++) {
        const struct tensor *t = &s->tensors[i];
        const bool small =
            t->fill != FILL_EMBD && (t->fill != FILL_WEIGHTS || t->ne[1] * t->ne[2] == 1);
        e = small ? write_small(s, i, w, err) : write_matrix(s, i, w, err);
        progress_update(&progress, done += tensor_bytes(t), t->name);
    }
    progress_end(&progress);
    if (e) {
        ggf_writer_discard(w);
        return e;
    }
    return ggf_writer_finish(w, err);
}

/* ---- Options --------------------------------------------------------------- */

static bool type_option(const char *text, uint32_t *type)
{
    const int id = ggf_type_from_name(text);
    if (id < 0 || !random_blocks_known((uint32_t)id)) return false;
    *type = (uint32_t)id;
    return true;
}

/* "REGEX=TYPE" */
static bool compile_override(struct synth *s, int i)
{
    const char *text = s->overrides.items[i], *equals = strrchr(text, '=');
    int code;
    PCRE2_SIZE at;
    if (!equals || !type_option(equals + 1, &s->pattern_types[i])) return false;
    s->patterns[i] =
        pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)(equals - text), 0, &code, &at, NULL);
    return s->patterns[i] != NULL;
}

/* Dimensions that cannot work; NULL if all is well. */
static const char *shape_fault(const struct shape *p)
{
    const uint64_t all[] = { p->layers,   p->embd,      p->heads,   p->heads_kv,
                             p->head_dim, p->interval,  p->k_heads, p->v_heads,
                             p->state,    p->conv,      p->experts, p->used,
                             p->ff,       p->ff_shared, p->vocab,   p->ctx };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] == 0 || all[i] > 1u << 24) return "a dimension is 0 or above 16777216";
    if (p->layers > 9999) return "more than 9999 layers";
    if (p->heads % p->heads_kv) return "--heads is not a multiple of --heads-kv";
    if (p->v_heads % p->k_heads)
        return "--ssm-v-heads is not a multiple of --ssm-k-heads";
    if (p->used > p->experts) return "--experts-used is more than --experts";
    if (p->rope_dims > p->head_dim || p->rope_dims % 2)
        return "--rope-dims is odd or more than --head-dim";
    return NULL;
}

static void print_plan(const struct synth *s, uint64_t total)
{
    uint64_t bytes[GGF_TYPE_COUNT] = { 0 }, count[GGF_TYPE_COUNT] = { 0 };
    char size[24];
    for (size_t i = 0; i < s->n; i++) {
        bytes[s->tensors[i].type] += tensor_bytes(&s->tensors[i]);
        count[s->tensors[i].type]++;
    }
    for (uint32_t t = 0; t < GGF_TYPE_COUNT; t++)
        if (count[t])
            printf("%-8s %5" PRIu64 " tensors  %s\n", ggf_type_name(t), count[t],
                   out_size(size, bytes[t]));
    printf("total    %5zu tensors  %s\n", s->n, out_size(size, total));
}

static uint64_t all_bytes(const struct synth *s)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->n; i++) total += tensor_bytes(&s->tensors[i]);
    return total;
}

static int run(struct synth *s, const char *path)
{
    ggf_error err = { 0 };
    ggf_file *vocab = NULL;
    const struct ggf_open_options header = { .header_only = true };
    int e = s->vocab_from ? ggf_open(&vocab, s->vocab_from, &header, &err) : 0;
    if (!e && vocab) {
        const struct ggf_kv *tokens = ggf_find_kv(vocab, "tokenizer.ggml.tokens");
        if (tokens && tokens->count) s->shape.vocab = tokens->count;
        else
            e = ggf_fail(&err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "%s has no vocabulary",
                         s->vocab_from);
    }
    if (e) {
        ggf_close(vocab);
        return out_error("gguf-synth", &err);
    }
    list_tensors(s);
    const double start = out_now();
    if (s->dry_run) print_plan(s, all_bytes(s));
    else e = write_model(s, vocab, path, &err);
    ggf_close(vocab);
    if (e) return out_error("gguf-synth", &err);
    char size[24], rate[24];
    const double seconds = out_now() - start;
    if (!s->dry_run)
        fprintf(stderr, "%s: %zu tensors, %s in %.1f s (%s/s)\n", path, s->n,
                out_size(size, all_bytes(s)), seconds,
                out_size(rate, (uint64_t)((double)all_bytes(s) / seconds)));
    return 0;
}

int main(int argc, char **argv)
{
    static struct synth s;
    const char *shape = "tiny", *type = "Q4_K", *gate = NULL, *up = NULL, *down = NULL;
    struct shape set = { 0 }; /* what options say; 0: as the shape has it */
    int threads = 0, n_args;
    const struct opt options[] = {
        { "--shape", "NAME", OPT_STR, &shape,
          "start from qwen3-next-80b, q3n-mini or tiny (tiny)" },
        { "--type", "TYPE", OPT_STR, &type, "of all matrices (Q4_K)" },
        { "--type-gate", "TYPE", OPT_STR, &gate, "of the experts' gate matrices" },
        { "--type-up", "TYPE", OPT_STR, &up, "of the experts' up matrices" },
        { "--type-down", "TYPE", OPT_STR, &down, "of the experts' down matrices" },
        { "--tensor-type", "REGEX=TYPE", OPT_LIST, &s.overrides,
          "of matrices whose name matches; the first match counts" },
        { "--seed", "N", OPT_U64, &s.seed, "another seed gives another model (0)" },
        { "--routing-skew", "S", OPT_FLOAT, &s.skew,
          "expert number r of a layer is chosen about 1/r^S times\nas often as the "
          "first; "
          "0: all alike (0)" },
        { "--fused-gate-up", NULL, OPT_FLAG, &s.fused, "gate and up in one tensor" },
        { "--legacy-ssm-in", NULL, OPT_FLAG, &s.legacy,
          "the delta layers' input in one tensor, as in files of 2025" },
        { "--mtp", NULL, OPT_FLAG, &s.mtp, "append a multi-token-prediction block" },
        { "--vocab-from", "FILE", OPT_STR, &s.vocab_from,
          "copy the tokenizer of this GGUF file" },
        { "-t, --threads", "N", OPT_INT, &threads, "0: all (0)" },
        { "--force", NULL, OPT_FLAG, &s.force, "replace OUT.gguf if it is there" },
        { "--dry-run", NULL, OPT_FLAG, &s.dry_run, "print sizes, write nothing" },
        { NULL, NULL, OPT_HEADING, NULL, "Dimensions (default: as the shape has them)" },
        { "--layers", "N", OPT_U64, &set.layers, "blocks, without --mtp's" },
        { "--embd", "N", OPT_U64, &set.embd, "width of the residual stream" },
        { "--vocab", "N", OPT_U64, &set.vocab, "rows of token_embd and output" },
        { "--ctx", "N", OPT_U64, &set.ctx, "training context to claim" },
        { "--interval", "N", OPT_U64, &set.interval, "every N-th layer is attention" },
        { "--heads", "N", OPT_U64, &set.heads, "query heads" },
        { "--heads-kv", "N", OPT_U64, &set.heads_kv, "key and value heads" },
        { "--head-dim", "N", OPT_U64, &set.head_dim, "size of an attention head" },
        { "--rope-dims", "N", OPT_U64, &set.rope_dims, "rotated part of a head" },
        { "--ssm-k-heads", "N", OPT_U64, &set.k_heads, "delta layers: key heads" },
        { "--ssm-v-heads", "N", OPT_U64, &set.v_heads, "delta layers: value heads" },
        { "--ssm-state", "N", OPT_U64, &set.state, "delta layers: size of a head" },
        { "--ssm-conv", "N", OPT_U64, &set.conv,
          "delta layers: taps of the convolution" },
        { "--experts", "N", OPT_U64, &set.experts, "experts of a layer" },
        { "--experts-used", "N", OPT_U64, &set.used, "experts chosen for a token" },
        { "--ff", "N", OPT_U64, &set.ff, "width of an expert" },
        { "--ff-shared", "N", OPT_U64, &set.ff_shared, "width of the shared expert" },
        { 0 }
    };
    const struct opt_program program = {
        "gguf-synth",
        "[options] OUT.gguf",
        "Write a qwen3next model with random weights in any quantized type.",
        options,
        1,
        1
    };
    char **args;
    const int r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r != OPT_GO) return r;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shape, shapes[i].name)) s.shape = shapes[i];
    if (!s.shape.name) return opt_error(&program, "unknown shape '%s'", shape);
    uint64_t *to = &s.shape.layers;
    for (const uint64_t *from = &set.layers; from <= &set.ctx; from++, to++)
        if (*from) *to = *from;
    if (shape_fault(&s.shape)) return opt_error(&program, "%s", shape_fault(&s.shape));
    if (s.skew < 0) return opt_error(&program, "--routing-skew is negative");
    if (!type_option(type, &s.type) || !type_option(gate ? gate : type, &s.type_gate) ||
        !type_option(up ? up : type, &s.type_up) ||
        !type_option(down ? down : type, &s.type_down))
        return opt_error(&program, "unknown tensor type in --type options");
    if (s.fused && up)
        return opt_error(&program, "--type-up has no effect with "
                                   "--fused-gate-up");
    if (s.overrides.count > (int)(sizeof s.patterns / sizeof *s.patterns))
        return opt_error(&program, "more than 64 --tensor-type options");
    for (int i = 0; i < s.overrides.count; i++)
        if (!compile_override(&s, i))
            return opt_error(&program, "--tensor-type %s is not REGEX=TYPE",
                             s.overrides.items[i]);
    if (threads > 0) omp_set_num_threads(threads);
    out_handle_signals();
    const int status = run(&s, args[0]);
    for (int i = 0; i < s.overrides.count; i++) pcre2_code_free(s.patterns[i]);
    free(s.overrides.items);
    free(s.tensors);
    return status;
}
