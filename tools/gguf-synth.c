/* gguf-synth - write a qwen3next model with random weights, of any shape and type.
 *
 * The file is what benchmarks and tests run on where the real model is too large or not
 * at hand: right names, shapes, types and sizes, weights that keep activations finite,
 * and nothing learned.  Tensors are generated in pieces, so memory stays small; each
 * piece has a random sequence of its own, so the bytes depend on the seed alone. */
#include "common/out.h"
#include "common/random_blocks.h"
#include "common/synth.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const struct shape shapes[] = {
    { "qwen3-next-80b", 48, 2048, 16, 2, 256, 64, 4, 16, 32, 128, 4, 512, 10, 512, 512,
      151936, 262144 },
    { "q3n-mini", 8, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 16, 2, 256, 256, 4096, 4096 },
    { "tiny", 4, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 8, 2, 256, 256, 128, 4096 },
};

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
    if (!v) return ggf_no_memory(err);
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
        int e = buffer ? 0 : ggf_no_memory(&why);
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
    e = synth_set_metadata(s, vocab, w, err);
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
    synth_list_tensors(s);
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

static struct synth synth;
static struct {
    const char *shape, *type, *gate, *up, *down;
    struct shape set; /* what options say; 0: as the shape has it */
    int threads;
} arg = { .shape = "tiny", .type = "Q4_K" };

static const struct opt options[] = {
    { "--shape", "NAME", OPT_STR, &arg.shape,
      "start from qwen3-next-80b, q3n-mini or tiny (tiny)" },
    { "--type", "TYPE", OPT_STR, &arg.type, "of all matrices (Q4_K)" },
    { "--type-gate", "TYPE", OPT_STR, &arg.gate, "of the experts' gate matrices" },
    { "--type-up", "TYPE", OPT_STR, &arg.up, "of the experts' up matrices" },
    { "--type-down", "TYPE", OPT_STR, &arg.down, "of the experts' down matrices" },
    { "--tensor-type", "REGEX=TYPE", OPT_LIST, &synth.overrides,
      "of matrices whose name matches; the first match counts" },
    { "--seed", "N", OPT_U64, &synth.seed, "another seed gives another model (0)" },
    { "--routing-skew", "S", OPT_FLOAT, &synth.skew,
      "expert number r of a layer is chosen about 1/r^S times\nas often as the "
      "first; "
      "0: all alike (0)" },
    { "--fused-gate-up", NULL, OPT_FLAG, &synth.fused, "gate and up in one tensor" },
    { "--legacy-ssm-in", NULL, OPT_FLAG, &synth.legacy,
      "the delta layers' input in one tensor, as in files of 2025" },
    { "--mtp", NULL, OPT_FLAG, &synth.mtp, "append a multi-token-prediction block" },
    { "--vocab-from", "FILE", OPT_STR, &synth.vocab_from,
      "copy the tokenizer of this GGUF file" },
    { "-t, --threads", "N", OPT_INT, &arg.threads, "0: all (0)" },
    { "--force", NULL, OPT_FLAG, &synth.force, "replace OUT.gguf if it is there" },
    { "--dry-run", NULL, OPT_FLAG, &synth.dry_run, "print sizes, write nothing" },
    { NULL, NULL, OPT_HEADING, NULL, "Dimensions (default: as the shape has them)" },
    { "--layers", "N", OPT_U64, &arg.set.layers, "blocks, without --mtp's" },
    { "--embd", "N", OPT_U64, &arg.set.embd, "width of the residual stream" },
    { "--vocab", "N", OPT_U64, &arg.set.vocab, "rows of token_embd and output" },
    { "--ctx", "N", OPT_U64, &arg.set.ctx, "training context to claim" },
    { "--interval", "N", OPT_U64, &arg.set.interval, "every N-th layer is attention" },
    { "--heads", "N", OPT_U64, &arg.set.heads, "query heads" },
    { "--heads-kv", "N", OPT_U64, &arg.set.heads_kv, "key and value heads" },
    { "--head-dim", "N", OPT_U64, &arg.set.head_dim, "size of an attention head" },
    { "--rope-dims", "N", OPT_U64, &arg.set.rope_dims, "rotated part of a head" },
    { "--ssm-k-heads", "N", OPT_U64, &arg.set.k_heads, "delta layers: key heads" },
    { "--ssm-v-heads", "N", OPT_U64, &arg.set.v_heads, "delta layers: value heads" },
    { "--ssm-state", "N", OPT_U64, &arg.set.state, "delta layers: size of a head" },
    { "--ssm-conv", "N", OPT_U64, &arg.set.conv,
      "delta layers: taps of the convolution" },
    { "--experts", "N", OPT_U64, &arg.set.experts, "experts of a layer" },
    { "--experts-used", "N", OPT_U64, &arg.set.used, "experts chosen for a token" },
    { "--ff", "N", OPT_U64, &arg.set.ff, "width of an expert" },
    { "--ff-shared", "N", OPT_U64, &arg.set.ff_shared, "width of the shared expert" },
    { 0 }
};

static const struct opt_program program = {
    "gguf-synth",
    "[options] OUT.gguf",
    "Write a qwen3next model with random weights in any quantized type.",
    options,
    1,
    1
};

/* The shape that was named, with the dimensions that were given. */
static int take_shape(struct shape *p)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(arg.shape, shapes[i].name)) *p = shapes[i];
    if (!p->name) return opt_error(&program, "unknown shape '%s'", arg.shape);
    uint64_t *to = &p->layers;
    for (const uint64_t *from = &arg.set.layers; from <= &arg.set.ctx; from++, to++)
        if (*from) *to = *from;
    return shape_fault(p) ? opt_error(&program, "%s", shape_fault(p)) : 0;
}

static int take_types(struct synth *s)
{
    if (!type_option(arg.type, &s->type) ||
        !type_option(arg.gate ? arg.gate : arg.type, &s->type_gate) ||
        !type_option(arg.up ? arg.up : arg.type, &s->type_up) ||
        !type_option(arg.down ? arg.down : arg.type, &s->type_down))
        return opt_error(&program, "unknown tensor type in --type options");
    if (s->fused && arg.up)
        return opt_error(&program, "--type-up has no effect with --fused-gate-up");
    if (s->overrides.count > (int)(sizeof s->patterns / sizeof *s->patterns))
        return opt_error(&program, "more than 64 --tensor-type options");
    for (int i = 0; i < s->overrides.count; i++)
        if (!compile_override(s, i))
            return opt_error(&program, "--tensor-type %s is not REGEX=TYPE",
                             s->overrides.items[i]);
    return 0;
}

int main(int argc, char **argv)
{
    char **args;
    int n_args;
    int status = opt_parse(&program, argc, argv, &args, &n_args);
    if (status != OPT_GO) return status;
    if ((status = take_shape(&synth.shape))) return status;
    if (synth.skew < 0) return opt_error(&program, "--routing-skew is negative");
    if (arg.threads < 0) return opt_error(&program, "--threads is negative");
    if ((status = take_types(&synth))) return status;
    if (arg.threads > 0) omp_set_num_threads(arg.threads);
    out_handle_signals();
    status = run(&synth, args[0]);
    for (int i = 0; i < synth.overrides.count; i++) pcre2_code_free(synth.patterns[i]);
    free(synth.overrides.items);
    free(synth.tensors);
    return status;
}
