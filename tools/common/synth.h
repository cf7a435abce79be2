/* synth.h - the models that gguf-synth makes up: shape, tensors, metadata.
 *
 * synth_fill.c fills the tensors, synth_write.c writes them. */
#ifndef TOOLS_SYNTH_H
#define TOOLS_SYNTH_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include "../../libgguf/libgguf.h"
#include "opt.h"

#include <pcre2.h>

struct shape {
    const char *name;
    uint64_t layers, embd, heads, heads_kv, head_dim, rope_dims, interval;
    uint64_t k_heads, v_heads, state, conv;
    uint64_t experts, used, ff, ff_shared, vocab, ctx;
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
    uint64_t rows; /* of one matrix: of an expert's tensor there are many */
    bool expert;
};

struct synth {
    struct shape shape;
    uint32_t type, type_gate, type_up, type_down;
    struct opt_list overrides;
    float skew;
    uint64_t seed;
    bool fused, legacy, mtp, force, dry_run;
    int threads;                   /* 0: all */
    const char *vocab_from, *pack; /* NULL: none */
    struct tensor *tensors;
    size_t n, capacity;
    pcre2_code *patterns[64];
    uint32_t pattern_types[64];
};

/* The tensors of the shape into s->tensors. */
void synth_list_tensors(struct synth *s);

/* All keys; the tokenizer's from `vocab` unless that is NULL. */
int synth_set_metadata(const struct synth *s, const ggf_file *vocab, ggf_writer *w,
                       ggf_error *err);

#endif
