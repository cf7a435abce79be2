/* pack_files.h - a model with experts in a folder of its own, its pack, and the pack's
 * bytes in memory. */
#ifndef TEST_PACK_FILES_H
#define TEST_PACK_FILES_H

#include "files.h"

#include <string.h>
#include <unistd.h>

enum {
    EMBD = 64,
    FF = 32,
    EXPERTS = 3,
    HEADER = 4096,
    ROOT = 96,
    LAYER = 64,
    ENTRY = 112
};

/* Files of a test, in a folder of its own. */
static char folder[64], model_path[96], dense_path[96], pack_path[96], back_path[96];

/* The pack's bytes in memory. */
static uint8_t *image;
static size_t image_size;

/* Block 1 has split tensors of three types, block 4 fused ones; odd bytes everywhere. */
static inline void write_model(void)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t ne[4];
    } tensors[] = {
        { "token_embd.weight", GGF_F32, { EMBD, 7, 1, 1 } },
        { "blk.1.ffn_gate_exps.weight", GGF_Q8_0, { EMBD, FF, EXPERTS, 1 } },
        { "blk.1.ffn_up_exps.weight", GGF_Q4_0, { EMBD, FF, EXPERTS, 1 } },
        { "blk.1.ffn_down_exps.weight", GGF_F16, { FF, EMBD, EXPERTS, 1 } },
        { "blk.1.ffn_down_exps.scale", GGF_F32, { EXPERTS, 1, 1, 1 } },
        { "blk.4.ffn_gate_up_exps.weight", GGF_F32, { EMBD, 2 * FF, 2, 1 } },
        { "blk.4.ffn_down_exps.weight", GGF_Q5_1, { FF, EMBD, 2, 1 } },
    };
    ggf_error err;
    ggf_writer *w;
    must(ggf_writer_create(&w, model_path, NULL, &err), &err);
    must(ggf_writer_set_str(w, "general.architecture", "test", &err), &err);
    must(ggf_writer_set_u32(w, "general.alignment", 64, &err), &err);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        must(ggf_writer_add_tensor(w, tensors[i].name, tensors[i].type, tensors[i].ne,
                                   &err),
             &err);
    must(ggf_writer_begin(w, &err), &err);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const uint64_t *ne = tensors[i].ne;
        const size_t n = ggf_row_bytes(tensors[i].type, ne[0]) * ne[1] * ne[2];
        uint8_t *bytes = malloc(n);
        for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)(k / 3 * (7 + i) + i);
        must(ggf_writer_write(w, i, 0, bytes, n, &err), &err);
        free(bytes);
    }
    must(ggf_writer_finish(w, &err), &err);
}

static inline void make_pack(int zstd_level)
{
    const struct ggf_pack_options options = { .force = true,
                                              .zstd_level = zstd_level,
                                              .threads = 2 };
    ggf_file *model;
    ggf_error err;
    must(ggf_open(&model, model_path, NULL, &err), &err);
    must(ggf_pack_make(model, dense_path, pack_path, &options, &err), &err);
    ggf_close(model);
    free(image);
    image = read_file(pack_path, &image_size);
}

static inline void setup(void)
{
    strcpy(folder, "/tmp/test_pack.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(dense_path, sizeof dense_path, "%s/dense.gguf", folder);
    snprintf(pack_path, sizeof pack_path, "%s/model.xpack", folder);
    snprintf(back_path, sizeof back_path, "%s/back.gguf", folder);
    write_model();
    make_pack(0);
}

static inline void teardown(void)
{
    unlink(model_path);
    unlink(dense_path);
    unlink(pack_path);
    unlink(back_path);
    /* Fails, and so does the test, if anything else was left behind. */
    ck_assert_int_eq(rmdir(folder), 0);
    free(image);
    image = NULL;
}

static inline ggf_pack *open_image(void)
{
    ggf_pack *pack;
    ggf_error err;
    must(ggf_pack_open_buffer(&pack, image, image_size, &err), &err);
    return pack;
}

#endif
