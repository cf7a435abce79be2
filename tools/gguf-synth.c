/* gguf-synth - write a qwen3next model with random weights, of any shape and type.
 *
 * The file is what benchmarks and tests run on where the real model is too large or not
 * at hand: right names, shapes, types and sizes, weights that keep activations finite,
 * and nothing learned.  With --pack the experts go straight into an expert pack: a model
 * may be half as large as the disk.  common/synth*.c do the work, here are the options.
 */
#include "../infer/now.h"
#include "common/out.h"
#include "common/random_blocks.h"
#include "common/synth.h"
#include "common/synth_fill.h"
#include "common/synth_write.h"

#include <inttypes.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const struct shape shapes[] = {
    { "qwen3-next-80b", 48, 2048, 16, 2, 256, 64, 4, 16, 32, 128, 4, 512, 10, 512, 512,
      151936, 262144 },
    { "q3n-mini", 8, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 16, 2, 256, 256, 4096, 4096 },
    { "tiny", 4, 256, 4, 2, 64, 16, 4, 2, 4, 64, 4, 8, 2, 256, 256, 128, 4096 },
};

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
    const uint64_t all[] = { p->layers,   p->embd,      p->heads,     p->heads_kv,
                             p->head_dim, p->rope_dims, p->interval,  p->k_heads,
                             p->v_heads,  p->state,     p->conv,      p->experts,
                             p->used,     p->ff,        p->ff_shared, p->vocab,
                             p->ctx };
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

/* What the file or both files would hold. */
static int print_plan(const struct synth *s, ggf_error *err)
{
    uint64_t bytes[GGF_TYPE_COUNT] = { 0 }, count[GGF_TYPE_COUNT] = { 0 }, gguf, pack;
    char size[24];
    const int e = synth_sizes(s, &gguf, &pack, err);
    if (e) return e;
    for (size_t i = 0; i < s->n; i++) {
        bytes[s->tensors[i].type] += synth_bytes(&s->tensors[i]);
        count[s->tensors[i].type]++;
    }
    for (uint32_t t = 0; t < GGF_TYPE_COUNT; t++)
        if (count[t])
            printf("%-8s %5" PRIu64 " tensors  %s\n", ggf_type_name(t), count[t],
                   out_size(size, bytes[t]));
    if (s->pack) {
        printf("GGUF                     %s\n", out_size(size, gguf));
        printf("pack                     %s\n", out_size(size, pack));
    }
    printf("total    %5zu tensors  %s\n", s->n, out_size(size, gguf + pack));
    return 0;
}

static uint64_t all_bytes(const struct synth *s)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->n; i++) total += synth_bytes(&s->tensors[i]);
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
    const double start = seconds_now();
    e = out_spare(path, &s->vocab_from, 1, &err);
    if (!e) e = s->dry_run ? print_plan(s, &err) : synth_write(s, vocab, path, &err);
    ggf_close(vocab);
    if (e) return out_error("gguf-synth", &err);
    char size[24], rate[24];
    const double seconds = seconds_now() - start;
    if (!s->dry_run)
        fprintf(stderr, "%s: %zu tensors, %s in %.1f s (%s/s)\n", path, s->n,
                out_size(size, all_bytes(s)), seconds,
                out_size(rate, (uint64_t)((double)all_bytes(s) / seconds)));
    return 0;
}

static struct synth synth;
static struct {
    const char *shape, *type, *gate, *up, *down;
    struct shape set; /* what options say, or NOT_GIVEN: as the shape has it */
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
    { "--pack", "OUT.xpack", OPT_STR, &synth.pack,
      "write the experts there, in the same folder; docs/expert-pack.md" },
    { "-t, --threads", "N", OPT_INT, &synth.threads, "0: all (0)" },
    { "--force", NULL, OPT_FLAG, &synth.force, "replace files that are there" },
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

#define NOT_GIVEN UINT64_MAX

static void forget_dimensions(void)
{
    for (uint64_t *d = &arg.set.layers; d <= &arg.set.ctx; d++) *d = NOT_GIVEN;
}

/* The shape that was named, with the dimensions that were given. */
static int take_shape(struct shape *p)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(arg.shape, shapes[i].name)) *p = shapes[i];
    if (!p->name)
        return opt_error(&program,
                         "--shape '%s' is none of qwen3-next-80b, q3n-mini, tiny",
                         arg.shape);
    uint64_t *to = &p->layers;
    for (const uint64_t *from = &arg.set.layers; from <= &arg.set.ctx; from++, to++)
        if (*from != NOT_GIVEN) *to = *from;
    return shape_fault(p) ? opt_error(&program, "%s", shape_fault(p)) : 0;
}

static int take_types(struct synth *s)
{
    const struct {
        const char *name;
        uint32_t *type;
    } types[] = { { arg.type, &s->type },
                  { arg.gate ? arg.gate : arg.type, &s->type_gate },
                  { arg.up ? arg.up : arg.type, &s->type_up },
                  { arg.down ? arg.down : arg.type, &s->type_down } };
    for (int i = 0; i < 4; i++)
        if (!type_option(types[i].name, types[i].type))
            return opt_error(&program, "'%s' is no tensor type that can be made",
                             types[i].name);
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
    forget_dimensions();
    int status = opt_parse(&program, argc, argv, &args, &n_args);
    if (status != OPT_GO) return status;
    if ((status = take_shape(&synth.shape))) return status;
    if (synth.skew < 0) return opt_error(&program, "--routing-skew is negative");
    if (synth.threads < 0) return opt_error(&program, "--threads is negative");
    if ((status = take_types(&synth))) return status;
    if (synth.threads > 0) omp_set_num_threads(synth.threads);
    out_handle_signals();
    status = run(&synth, args[0]);
    for (int i = 0; i < synth.overrides.count; i++) pcre2_code_free(synth.patterns[i]);
    free(synth.overrides.items);
    free(synth.tensors);
    return out_close_stdout(program.name, status);
}
