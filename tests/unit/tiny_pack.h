/* tiny_pack.h - a tiny model in a folder of its own, plain and packed; running it with
 * too little memory for its experts. */
#ifndef TEST_TINY_PACK_H
#define TEST_TINY_PACK_H

#include "tiny_model.h"

static char folder[64], source[96], dense[96], pack[96];

static inline void setup_in(const char *parent)
{
    snprintf(folder, sizeof folder, "%s/q3n-test-XXXXXX", parent);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/source.gguf", folder);
    snprintf(dense, sizeof dense, "%s/dense.gguf", folder);
    snprintf(pack, sizeof pack, "%s/dense.xpack", folder);
}

/* In memory where that can be had: files are synced when they are written. */
static inline void setup(void)
{
    setup_in(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
}

static inline void teardown(void)
{
    unlink(source);
    unlink(dense);
    unlink(pack);
    rmdir(folder);
}

static inline void make(const struct tiny *t, int zstd_level)
{
    const struct ggf_pack_options options = { .force = true, .zstd_level = zstd_level };
    ggf_error err;
    ggf_file *f;
    tiny_write(source, t);
    ck_assert_int_eq(ggf_open(&f, source, NULL, &err), 0);
    ck_assert_msg(!ggf_pack_make(f, dense, pack, &options, &err), "%s", err.message);
    ggf_close(f);
}

/* Flip a bit in the middle of a record. */
static inline void damage(uint32_t layer, uint32_t expert)
{
    ggf_error err;
    ggf_pack *p;
    ck_assert_int_eq(ggf_pack_open(&p, pack, &err), 0);
    const struct ggf_pack_record *r = ggf_pack_record(p, layer, expert);
    const long at = (long)(r->offset + r->stored_bytes / 2);
    ggf_pack_close(p);
    FILE *f = fopen(pack, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    const int byte = fgetc(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    fputc(byte ^ 16, f);
    fclose(f);
}

enum {
    RECORD = 3 * EMBD * FF * 4, /* bytes of an expert of the plain model */
    LEAST = 2 * USED * RECORD,
    ALL = 2 * EXPERTS * RECORD,
};

/* Logits of a fixed sequence in steps of `step` tokens, `rounds` times; the last round's
 * count.  Returns the first error. */
static inline int run_in_steps(const char *path, const struct q3n_model_options *options,
                               uint32_t step, int rounds,
                               float logits[TINY_TOKENS * VOCAB],
                               struct q3n_expert_stats *stats, ggf_error *err)
{
    q3n_model *model;
    q3n_session *s;
    int32_t tokens[TINY_TOKENS];
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    int e = q3n_model_open(&model, path, options, err);
    if (e) return e;
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, err), 0);
    for (int r = 0; r < rounds && !e; r++) {
        q3n_session_reset(s);
        for (uint32_t i = 0; i < TINY_TOKENS && !e; i += step)
            e = q3n_session_eval(s, tokens + i, step, 0, logits + (size_t)i * VOCAB, err);
    }
    q3n_model_expert_stats(model, stats);
    q3n_session_free(s);
    q3n_model_close(model);
    return e;
}

#endif
